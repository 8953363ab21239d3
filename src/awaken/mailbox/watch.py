"""Several positions in several logs, read as one, and hints of what happens anywhere else.

Above: the stream over several threads and runs, over HTTP and in a program. Below: one `Reader` for each of them, and
the hub, which also tells of what nobody there reads.
Holds: each scope is read as by a reader of its own, without a gap or a repetition, and bounded as that is; none keeps
another from its turn. Hints are best effort: those that are not fetched in time are forgotten, and one that names
nothing stands for them.

Source: docs/concepts/events.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import msgspec

from awaken.domain.clock import Alarm, Clock
from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.mailbox.reader import Hub, Reader
from awaken.store.contract import Signal

MAX_HINTS: Final = 256


class Hint(msgspec.Struct, frozen=True):
    """Something has happened there. What is None is not known; with all of them None, more has than is kept."""

    thread_id: ThreadId | None = None
    run_id: RunId | None = None
    kind: str | None = None


class Hints:
    """What has happened in a scope since it was last fetched."""

    def __init__(self, scope: Scope, wake: Alarm) -> None:
        self._scope = scope
        self._wake = wake
        self._kept: deque[Hint] = deque()
        self.is_cut = False

    def __bool__(self) -> bool:
        return bool(self._kept)

    def take(self) -> tuple[Hint, ...]:
        taken = tuple(self._kept)
        self._kept.clear()
        return taken

    def offer(self, row: EventRow, kinds: Sequence[str]) -> None:
        """Of what this process has committed."""
        if row.scope == self._scope:
            for kind in kinds:
                self._keep(Hint(row.thread_id, row.run_id, kind))

    def stir(self, signal: Signal) -> None:
        """Of what somebody else has committed, only where is known, and perhaps not even that."""
        if signal.threads is None:
            self._keep(Hint())
        else:
            for scope, thread_id in signal.threads:
                if scope == self._scope:
                    self._keep(Hint(thread_id))

    def cut(self) -> None:
        self.is_cut = True
        self._wake.set()

    def _keep(self, hint: Hint) -> None:
        if len(self._kept) >= MAX_HINTS:
            self._kept.clear()
            hint = Hint()
        if not self._kept or self._kept[-1] != hint:
            self._kept.append(hint)
        self._wake.set()


class Watch:
    """Entered means attached everywhere: nothing committed from then on is missed."""

    def __init__(
        self, hub: Hub, clock: Clock, scope: Scope, readers: Mapping[str, Reader], wake: Alarm, *, hints: bool
    ) -> None:
        """`readers`, by names of the caller's, all wake `wake`."""
        self._hub = hub
        self._clock = clock
        self._readers = dict(readers)
        self._wake = wake
        self._hints = Hints(scope, wake) if hints else None
        self._attached = AsyncExitStack()
        self._is_cut = False
        self.turn = ""
        """Whose rows were handed out last."""
        self.position = 0

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as attaching:
            for reader in self._readers.values():
                await attaching.enter_async_context(reader)
            if self._hints is not None:
                self._hub.attach_watcher(self._hints)
                attaching.callback(self._hub.detach_watcher, self._hints)
            self._attached = attaching.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._attached.aclose()

    @property
    def ended(self) -> bool:
        """Nothing will come any more: all of them are runs, and their last events were handed out."""
        return self._hints is None and all([reader.ended for reader in self._readers.values()])

    def has_ended(self, name: str) -> bool:
        return self._readers[name].ended

    @property
    def is_cut(self) -> bool:
        hints = self._hints
        return (
            self._is_cut
            or (hints is not None and hints.is_cut)
            or any([reader.is_cut for reader in self._readers.values()])
        )

    @property
    def is_behind(self) -> bool:
        return any([reader.is_behind for reader in self._readers.values()])

    @property
    def catchups(self) -> int:
        return sum([reader.catchups for reader in self._readers.values()])

    def cut(self) -> None:
        self._is_cut = True
        self._wake.set()

    def take_hints(self) -> tuple[Hint, ...]:
        return () if self._hints is None else self._hints.take()

    async def next_rows(self, timeout_s: float | None = None) -> tuple[EventRow, ...]:
        """What comes next of one of them, which is then the `turn`; none after `timeout_s`, at the end, when cut off,
        and when there are hints.
        """
        deadline_s = None if timeout_s is None else self._clock.monotonic() + timeout_s
        while not self.ended and not self.is_cut:
            for name in [*self._readers]:
                rows = await self._readers[name].next_rows(0.0)
                if rows:
                    self._readers[name] = self._readers.pop(name)  # the others come first the next time
                    self.turn = name
                    return rows
            if self._hints or self.ended:
                return ()
            left_s = None if deadline_s is None else deadline_s - self._clock.monotonic()
            if (left_s is not None and left_s <= 0) or not await self._wake.wait(left_s):
                return ()
        return ()
