"""The state of a thread: one JSON object beside its conversation, and the two kinds of patches to it.

A caller changes it with a merge patch (RFC 7396): null takes a key away, an object is merged, anything else replaces.
What changed is reported as a patch of operations (RFC 6902), which says no more than the merge patch did.

Above: rules apply patches; agents, `GET` and `PATCH` of a thread's state read and make them. Below: nothing.
Holds: functions here change no value that they are given. A merge patch applied twice does what it does once.

Source: ADR 0037; RFC 6901, RFC 6902, RFC 7396.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from awaken.domain.checking import measured, shown
from awaken.domain.errors import ValidationError

MAX_STATE_BYTES: Final = 256 * 1024
"""Of a state, and of a patch, as JSON."""

Values = dict[str, Any]
JsonPatch = tuple[dict[str, Any], ...]
"""The operations of an RFC 6902 patch."""


class ThreadState(msgspec.Struct, frozen=True):
    """`version` counts the changes; 0 was never changed."""

    values: Values = {}
    version: int = 0


NO_STATE: Final = ThreadState()


class StateTooLarge(ValidationError):
    """The state would be larger than a state may be; it is as it was."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the state of a thread has at most {MAX_STATE_BYTES} bytes of JSON, and would have {size}",
            code="state_too_large",
            loc=("body",),
        )


def checked_patch(patch: object) -> Values:
    """A merge patch as it can be stored. Raises ValidationError, StateTooLarge."""
    found, size = measured(patch, Values, what="the patch of a state")
    if size > MAX_STATE_BYTES:
        raise StateTooLarge(size)
    return found


def checked_version(version: object) -> int | None:
    """The version that a state has to have for a change to be made; None for any. Raises ValidationError."""
    if version is not None and (type(version) is not int or version < 0):
        raise ValidationError(f"if_version is a whole number from 0, and not {shown(version)}", loc=("if_version",))
    return version


def state_bytes(values: Values) -> int:
    """The size of a state as JSON."""
    return len(_encode(values))


def merged(values: Values, patch: Values) -> Values:
    """The object after the merge patch."""
    found = dict(values)
    for key, change in patch.items():
        if change is None:
            found.pop(key, None)
        elif isinstance(change, dict):
            before = found.get(key)
            found[key] = merged(cast(Values, before) if isinstance(before, dict) else {}, cast(Values, change))
        else:
            found[key] = change
    return found


def joined(first: Values, second: Values) -> Values | None:
    """One merge patch that does what the two do, one after the other; None where no single one does.

    That is where an object follows what replaced or removed the value of its key: it would then be merged into the
    value that was there before.
    """
    found = dict(first)
    for key, change in second.items():
        if isinstance(change, dict) and key in found:
            before = found[key]
            both = joined(cast(Values, before), cast(Values, change)) if isinstance(before, dict) else None
            if both is None:
                return None
            found[key] = both
        else:
            found[key] = change
    return found


def operations(before: Values, after: Values, path: str = "") -> JsonPatch:
    """The operations that lead from one object to the other; none where they are the same."""
    found: list[dict[str, Any]] = []
    for key in before:
        if key not in after:
            found.append({"op": "remove", "path": _pointer(path, key)})
    for key, value in after.items():
        place = _pointer(path, key)
        if key not in before:
            found.append({"op": "add", "path": place, "value": value})
            continue
        earlier = before[key]
        if isinstance(earlier, dict) and isinstance(value, dict):
            found += operations(cast(Values, earlier), cast(Values, value), place)
        elif not _is_same(earlier, value):
            found.append({"op": "replace", "path": place, "value": value})
    return tuple(found)


def applied(values: Values, patch: JsonPatch) -> Values:
    """The object after operations as `operations` makes them: `add`, `replace` and `remove` of keys of objects."""
    for operation in patch:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in operation["path"].split("/")[1:]]
        values = _after(values, keys, operation)
    return values


def _after(values: Any, keys: list[str], operation: dict[str, Any]) -> Values:
    found: Values = dict(cast(Values, values)) if isinstance(values, dict) else {}
    if len(keys) > 1:
        found[keys[0]] = _after(found.get(keys[0]), keys[1:], operation)
    elif operation["op"] == "remove":
        found.pop(keys[0], None)
    else:
        found[keys[0]] = operation.get("value")
    return found


def _is_same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, though Python says so."""
    return one is other or _encode(one) == _encode(other)


def _pointer(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"


_encode: Final = msgspec.json.Encoder(order="deterministic").encode
