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
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import ValidationError
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.run import Run
from awaken.domain.thread import Thread
from awaken.store.contract import (
    Capabilities,
    DispatchQuery,
    MessageQuery,
    RunQuery,
    Store,
    StoredMessage,
    ThreadQuery,
)
from awaken.store.transitions import JournalEntry, Outcome, Transition

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


class CrashingStore:
    """Any store, with its applies counted and, at the point given, its process killed."""

    def __init__(self, store: Store, *, at: CrashPoint | None = None) -> None:
        self._store = store
        self._at = at
        self.apply_count = 0
        """How many applies this process has asked for."""

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.__aexit__(kind, error, trace)

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        self.apply_count += 1
        self._die_if_it_is_time("before")
        outcomes = await self._store.apply(batch)
        self._die_if_it_is_time("after")
        return outcomes

    def _die_if_it_is_time(self, moment: Moment) -> None:
        if self._at is not None and self._at.moment == moment and self._at.number == self.apply_count:
            os.kill(os.getpid(), signal.SIGKILL)

    # --- reads, handed on as they are ---------------------------------------------------------------------------------

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        return await self._store.load_thread(scope, thread_id)

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> list[Thread]:
        return await self._store.list_threads(scope, query)

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        return await self._store.load_run(scope, run_id)

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        return await self._store.latest_run(scope, thread_id)

    async def list_runs(self, scope: Scope, query: RunQuery) -> list[Run]:
        return await self._store.list_runs(scope, query)

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return await self._store.load_dispatch(scope, dispatch_id)

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        return await self._store.active_dispatch(scope, thread_id)

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> list[Dispatch]:
        return await self._store.list_dispatches(scope, query)

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        return await self._store.count_dispatches()

    async def next_due_at(self) -> Instant | None:
        return await self._store.next_due_at()

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        return await self._store.load_message(scope, thread_id, message_id)

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        return await self._store.list_messages(scope, thread_id, query)

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return await self._store.list_journal(scope, run_id)

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        return await self._store.list_events(scope, thread_id, after=after, limit=limit, run_id=run_id)

    async def last_event_seq(self, scope: Scope, thread_id: ThreadId) -> int:
        return await self._store.last_event_seq(scope, thread_id)
