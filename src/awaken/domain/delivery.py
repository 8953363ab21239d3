"""How a message wants to be taken: one value, handed unchanged from HTTP and Python to the `Submit` transition.

Above: whoever submits fills it in once. Below: `store.rules.accept` reads it; nothing between the two looks inside.
Holds: a new wish of a caller is a field here, and no new parameter anywhere else. What it may hold is written here
alone: HTTP publishes these bounds, and refuses in these words.

Source: ADR 0002, ADR 0028, ADR 0033.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Literal, cast, get_args

import msgspec

from awaken.domain.checking import checked_choice, checked_seconds, shown
from awaken.domain.clock import LAST_INSTANT, Instant, from_rfc3339
from awaken.domain.dispatch import DEFAULT_PRIORITY
from awaken.domain.errors import ValidationError
from awaken.domain.ids import RunId, checked_id
from awaken.domain.pending import Granularity

Mode = Literal["queue", "reject", "interrupt", "rollback", "steer", "follow_up", "resume"]
"""What a submit does on a thread that is not idle.

`queue`: it waits behind what is there, or goes on with the run that waits for somebody. `reject`: it is refused.
`interrupt`: it clears the thread and takes its place. `rollback`: besides, what the run that is stopped was given and
has said is hidden. `steer`: the run that executes takes it at its next step.
`follow_up`: that run takes it when it would end. `resume`: the run that waits goes on with it, or else it is refused.
"""
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
Strategy = Literal["enqueue", "reject", "interrupt", "rollback"]
"""The modes in which a run is submitted, by the names that callers know."""
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
CLEARING: Final = frozenset({"interrupt", "rollback"})
"""Modes that clear the thread first."""
_FOR_A_RUN: Final = frozenset({"steer", "follow_up", "resume"})
"""Modes in which a message is for a run that is there."""

LAST_PRIORITY: Final = 255
MAX_ATTEMPTS: Final = 100
MAX_DELAY_S: Final = 365 * 86_400
"""A year."""
MAX_DELAY_MS: Final = MAX_DELAY_S * 1000
MAX_DEDUPE_CHARS: Final = 255
DEDUPE_PATTERN: Final = "^[^\\x00-\\x1f\\x7f\ufffd]{1,255}$"
_DEDUPE_KEY: Final = re.compile("[^\x00-\x1f\x7f\ufffd\ud800-\udfff]{1,255}")


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """When and how often what is submitted may run."""

    priority: int = DEFAULT_PRIORITY
    """0 (first) to 255 (last), inside the thread and among threads."""
    max_attempts: int | None = None
    """Failures after which it is given up, 1 to 100; None is the mailbox's own setting."""
    dedupe_key: str | None = None
    """An unfinished run of the thread with this key is the answer, instead of a new one."""
    delay_ms: int = 0
    available_at: Instant | None = None
    """A caller's explicit instant; wins over `delay_ms`."""
    mode: Mode = "queue"
    target_run_id: RunId | None = None
    """The run that it is for; None is whichever the mode finds."""
    granularity: Granularity = "batch"
    """`one`: each message is taken by itself; `batch`: together with its neighbours."""
    barrier: bool = False
    """Of what waits for a run, nothing behind it is taken before it, or together with it."""
    fallback_to_new_run: bool = True
    """Where the run that it is for ends first, it opens a run of its own; False: it is retracted then."""
    interrupt_id: str | None = None
    """Of an interrupt that several submits share: the first of them clears the thread, the others do not."""

    @property
    def is_delayed(self) -> bool:
        return self.delay_ms > 0 or self.available_at is not None

    def check(self) -> None:
        """Raises ValidationError for what is no quantity of its kind, or out of range."""
        if self == _USUAL:
            return
        _check_whole(self.priority, "priority", 0, LAST_PRIORITY, "0 (first) to 255 (last)")
        if self.max_attempts is not None:
            _check_whole(self.max_attempts, "max_attempts", 1, MAX_ATTEMPTS, f"1 to {MAX_ATTEMPTS}")
        if self.dedupe_key is not None:
            _check_dedupe_key(self.dedupe_key)
        if type(self.delay_ms) is not int or not 0 <= self.delay_ms <= MAX_DELAY_MS:
            raise _no_delay(self.delay_ms)
        if self.available_at is not None:
            _check_whole(self.available_at, "available_at", 0, LAST_INSTANT, "milliseconds since 1970, up to year 9999")
        self._check_mode()

    def _check_mode(self) -> None:
        checked_choice(self.mode, MODES, what="mode")
        checked_choice(self.granularity, get_args(Granularity), what="granularity")
        for name in ("barrier", "fallback_to_new_run"):
            if not isinstance(getattr(self, name), bool):
                raise ValidationError(f"{name} is true or false, not {shown(getattr(self, name))}", loc=("body", name))
        for id, name in ((self.target_run_id, "target_run_id"), (self.interrupt_id, "interrupt_id")):
            if id is not None:
                checked_id(id, what=name, loc=("body", name))
        if self.target_run_id is not None and self.mode == "reject":
            raise ValidationError("mode 'reject' is about a thread, and names no run", loc=("body", "target_run_id"))
        if self.interrupt_id is not None and self.mode not in CLEARING:
            raise ValidationError("an interrupt_id goes with a mode that interrupts", loc=("body", "interrupt_id"))
        if self.mode in _FOR_A_RUN and self.dedupe_key is not None:
            raise ValidationError(
                f"a dedupe_key belongs to a new run, and mode {self.mode!r} is for one that is there; send the message"
                " with an id of its own, by which a repetition is known",
                loc=("body", "dedupe_key"),
            )
        if self.mode in ("steer", "resume") and self.is_delayed:
            raise ValidationError(f"mode {self.mode!r} is for now, and takes no delay", loc=("body", "mode"))


_USUAL: Final = Delivery()


def mode_of(strategy: object) -> Mode:
    """The mode that a strategy asks for. Raises ValidationError for what is none."""
    if strategy == "enqueue":
        return "queue"
    found = checked_choice(strategy, STRATEGIES, what="multitask_strategy")
    return cast(Mode, found)


def check_release_wait(seconds: object, mode: Mode) -> None:
    """Raises ValidationError for what is no time to wait for, or goes with no such mode. None is always right."""
    if seconds is None:
        return
    checked_seconds(seconds, what="release_wait_s")
    if mode not in CLEARING:
        raise ValidationError("release_wait_s goes with a run that interrupts", loc=("body", "release_wait_s"))


def delay_ms(delay_s: object) -> int:
    """A delay in seconds, as a `Delivery` holds it. Raises ValidationError when it is out of range, or no number."""
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s <= MAX_DELAY_S:
        raise _no_delay(delay_s)
    return round(delay_s * 1000)


def due_at(at: datetime | str | None, *, delay_s: float = 0.0, what: str = "available_at") -> Instant | None:
    """The instant before which a run does not start, from a `datetime` with a time zone or an RFC 3339 text.

    Raises:
        ValidationError: It is neither, or a delay is given too.
    """
    if at is None:
        return None
    if delay_s:
        raise ValidationError("give either a delay or an instant, not both", loc=("body", "available_at"))
    try:
        return from_rfc3339(at.isoformat() if isinstance(at, datetime) else at)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValidationError(
            f"{shown(at)} is not an instant: give a datetime with a time zone, or a text as 2026-01-31T08:00:00Z",
            loc=("body", what),
        ) from error


def _check_whole(value: object, name: str, least: int, most: int, words: str) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValidationError(f"{name} is a whole number, {words}, and not {shown(value)}", loc=("body", name))


def _check_dedupe_key(key: object) -> None:
    if not isinstance(key, str) or _DEDUPE_KEY.fullmatch(key) is None:
        raise ValidationError(
            f"dedupe_key is a text of 1 to {MAX_DEDUPE_CHARS} characters without control characters, not {shown(key)}",
            loc=("body", "dedupe_key"),
        )


def _no_delay(delay: object) -> ValidationError:
    return ValidationError(
        f"a delay is 0 to {MAX_DELAY_S} seconds, and not {shown(delay)}", loc=("body", "after_seconds")
    )
