"""The thread's state as an agent sees it: read when asked for, changed by merge patches that leave with the run.

Above: `Context.state`. Below: `Entry` for what is stored, `RunPort` for what is to change.
Holds: an agent reads its own changes. They are durable with the next answer of a tool or step of a framework's agent,
and those of a function with the settlement that ends its run: what an execution changed that did not get there is
dropped, and made again by the next one.

Source: ADR 0037, `docs/concepts/state-and-view.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from awaken.domain.checking import shown
from awaken.domain.errors import PermanentFailure, ValidationError
from awaken.domain.state import MAX_STATE_BYTES, Values, checked_patch, merged, state_bytes
from awaken.executors.contract import Entry, RunPort


class State:
    """Like a dict whose values are JSON. Reading waits, because the first time it reads from the store."""

    __slots__ = ("_entry", "_port", "_values")

    def __init__(self, entry: Entry, port: RunPort) -> None:
        self._entry = entry
        self._port = port
        self._values: Values | None = None

    async def values(self) -> Values:
        """The whole state, with what this execution has changed. It is the caller's own."""
        if self._values is None:
            self._values = (await self._entry.state()).values
        return deepcopy(self._values)

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or else the default."""
        return (await self.values()).get(key, default)

    async def set(self, key: str, value: Any) -> None:
        """Put a value in the place of whatever the key had. None takes the key away."""
        if isinstance(value, dict) and key in await self.values():  # a patch alone would merge it into what is there
            await self.patch({key: None})
        await self.patch({key: value})

    async def remove(self, key: str) -> None:
        """Take a key away, if it is there."""
        await self.patch({key: None})

    async def patch(self, changes: Mapping[str, Any]) -> None:
        """Merge changes into the state (RFC 7396): None removes a key, an object is merged, anything else replaces.

        Raises:
            PermanentFailure: The changes have no JSON form, or the state would be larger than 256 KiB. Nothing changed.
        """
        if not isinstance(changes, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PermanentFailure(f"the state is changed by an object, as {{'key': value}}, and not {shown(changes)}")
        try:
            patch = checked_patch(dict(changes))
        except (ValidationError, TypeError, ValueError) as error:
            raise PermanentFailure(f"the state cannot be changed so: {error}") from error
        after = merged(await self.values(), patch)
        size = state_bytes(after)
        if size > MAX_STATE_BYTES:
            raise PermanentFailure(f"the state has at most {MAX_STATE_BYTES} bytes of JSON, and would have {size}")
        self._port.change_state(patch)
        self._values = after
