"""A store that kills its own process at a chosen `apply`, to show what a crash there leaves behind.

    store = CrashingStore(SqliteStore(path), at=CrashPoint.from_environment())
    app = Awaken(store=store)

Run that in a process of its own, with `AWAKEN_CRASH_AT=before:3` or `AWAKEN_CRASH_AT=after:3` in its environment.

Above: whoever tests that a program survives. Below: the store it wraps, which does all the work.
Holds: `before` kills when nothing of the batch has reached the store, `after` when the batch is committed and nobody
has heard so. The signal is SIGKILL: no handler, no `finally` and no exit hook runs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from awaken.domain.errors import ValidationError
from awaken.store.contract import (
    Store,
)
from awaken.store.transitions import Outcome, Transition
from awaken.testing.forwarding import ForwardingStore

CRASH_AT: Final = "AWAKEN_CRASH_AT"
"""The environment variable that names the point: `before:N` or `after:N`, N counting the process's applies from 1."""

Moment = Literal["before", "after"]


class CrashPoint(msgspec.Struct, frozen=True):
    """When to die: right before or right after apply number `number` of this process, counting from 1."""

    moment: Moment
    number: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> CrashPoint | None:
        """What `AWAKEN_CRASH_AT` asks for; None when it is not set.

        Raises:
            ValidationError: It is set to something else than `before:N` or `after:N`.
        """
        text = environment.get(CRASH_AT, "")
        return cls.parse(text) if text else None

    @classmethod
    def parse(cls, text: str) -> CrashPoint:
        """Raises ValidationError."""
        moment, _, number = text.partition(":")
        if moment not in ("before", "after") or not number.isdecimal() or int(number) < 1:
            raise ValidationError(f"{CRASH_AT}={text!r} is not before:N or after:N with N counting from 1")
        return cls(moment, int(number))

    def __str__(self) -> str:
        return f"{self.moment}:{self.number}"


class CrashingStore(ForwardingStore):
    """Any store, with its applies counted and, at the point given, its process killed."""

    def __init__(self, store: Store, *, at: CrashPoint | None = None) -> None:
        super().__init__(store)
        self._at = at
        self.apply_count = 0
        """How many applies this process has asked for."""

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        self.apply_count += 1
        self._die_if_it_is_time("before")
        outcomes = await self._store.apply(batch)
        self._die_if_it_is_time("after")
        return outcomes

    def _die_if_it_is_time(self, moment: Moment) -> None:
        if self._at is not None and self._at.moment == moment and self._at.number == self.apply_count:
            os.kill(os.getpid(), signal.SIGKILL)
