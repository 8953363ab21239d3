"""Readers of a thread's log: history, then live, without a gap or a duplicate.

Above: streams over HTTP and `run.events()` in a program. Below: `Store.list_events` for what is behind, and the rows of
applied transitions for what is new.
Holds: a row reaches a reader only after its commit. A run never waits for a reader: one that falls behind its bounded
buffer forgets it and pages the log until it is level again.

Source: ADR 0016; docs/concepts/events.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from awaken.domain.clock import Alarm, Clock, sleep
from awaken.domain.errors import DataIntegrity, Unavailable
from awaken.domain.event import TERMINAL_KINDS
from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.domain.log import ALL, Appended, EventRow
from awaken.domain.run import DONE, Run
from awaken.domain.watching import HINT_KINDS
from awaken.mailbox.settings import READER_BUFFER_BYTES, READER_BUFFER_EVENTS, READER_PAGE_EVENTS
from awaken.store.contract import Reads, Signal

_Key = tuple[Scope, ThreadId]
EndOfRun = asyncio.Future[Run | None]
"""Of a run that somebody waits for: its last record, or None when the run has to be looked at again."""


def call_off(end: EndOfRun) -> None:
    """Have whoever waits look at the run again."""
    if not end.done():
        end.set_result(None)


class Watcher(Protocol):
    """Hears of what is committed on any thread."""

    def offer(self, row: EventRow, kinds: Sequence[str]) -> None:
        """The row has events of these kinds, in this order, which are of `HINT_KINDS`."""
        ...

    def stir(self, signal: Signal) -> None: ...

    def cut(self) -> None: ...


class Hub:
    """Hands committed rows to the readers of their thread, and ends of runs to whoever waits for them, in this process.

    What this process commits comes from the outcomes (`publish`, `ended`); of what others commit, `stir` knows only
    where, and everybody concerned looks for himself.
    """

    def __init__(self, store: Reads, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.readers: dict[_Key, dict[Reader, None]] = {}  # ordered, so that a replay hands out in the same order
        self.watchers: dict[Watcher, None] = {}
        """Whoever wants to hear of every thread."""
        self._closed = False
        self._ends: dict[tuple[Scope, RunId], dict[EndOfRun, _Key | None]] = {}
        """Who waits for the end of a run, and in which thread that is, where he knows."""
        self._until_parked: set[EndOfRun] = set()
        """Those of them who are content when it waits for somebody."""

    def publish(self, appended: tuple[Appended, ...]) -> None:
        """Offer rows to whoever watches. Call in commit order; needless while there are no `readers` and `watchers`."""
        for each in appended:
            readers = self.readers.get((each.scope, each.thread_id), ())
            if readers or self.watchers:
                row = each.row()
                for reader in readers:
                    reader.offer(row)
                self._hint(row)

    def _hint(self, row: EventRow) -> None:
        """Most rows are pieces of text, and cost nobody anything here, however many want to hear of what happens."""
        if self.watchers:
            kinds = [event.kind for event in row.events if event.kind in HINT_KINDS and event.visibility is ALL]
            if kinds:
                for watcher in self.watchers:
                    watcher.offer(row, kinds)

    def stir(self, signal: Signal) -> None:
        """Something was committed that nobody here was given: have whoever watches there look."""
        threads = signal.threads
        for watcher in self.watchers:
            watcher.stir(signal)
        for key, readers in self.readers.items():
            if threads is None or key in threads:
                for reader in readers:
                    reader.stir()
        for waiting in [*self._ends.values()]:
            for end, key in [*waiting.items()]:
                if threads is None or key is None or key in threads:
                    call_off(end)

    async def poll_forever(self, interval_s: float) -> None:
        """Behind the signals of a store that other processes use too, in case one is lost: look everywhere."""
        while True:
            await sleep(self._clock, interval_s)
            self.stir(Signal(None))

    def reader(
        self,
        scope: Scope,
        thread_id: ThreadId,
        *,
        after: int = 0,
        run_id: RunId | None = None,
        wake: Alarm | None = None,
    ) -> Reader:
        """A reader of everything after the seq `after`; with a run, of that run's events until its end. `wake`: set
        whenever there may be something, for whoever waits for several readers at once.
        """
        return Reader(self, self._store, self._clock, (scope, thread_id), after, run_id, wake)

    def end_of(
        self, scope: Scope, run_id: RunId, thread_id: ThreadId | None, *, until_parked: bool = False
    ) -> EndOfRun:
        """Resolved when the run ends from now on, or has to be looked at again; with `until_parked` also when it waits
        for somebody. For what ended before it is never resolved.

        Must be forgotten by whoever asked.

        Raises, also from the future:
            Unavailable: The hub is closed: the run may go on elsewhere, or later.
        """
        if self._closed:
            raise _stopping()
        end: EndOfRun = asyncio.get_running_loop().create_future()
        self._ends.setdefault((scope, run_id), {})[end] = None if thread_id is None else (scope, thread_id)
        if until_parked:
            self._until_parked.add(end)
        return end

    def forget(self, scope: Scope, run_id: RunId, end: EndOfRun) -> None:
        """Nobody waits for it any more."""
        self._until_parked.discard(end)
        waiting = self._ends.get((scope, run_id))
        if waiting is not None and waiting.pop(end, self) is not self and not waiting:
            del self._ends[scope, run_id]

    def ended(self, scope: Scope, run_id: RunId, run: Run | None) -> None:
        """Resume whoever waits for the run, which has ended. Call after the commit that ended it."""
        for end in self._ends.pop((scope, run_id), ()):
            if not end.done():
                end.set_result(run)

    def parked(self, scope: Scope, run: Run) -> None:
        """Resume whoever waits until the run has ended or waits for somebody, which it does now."""
        if self._until_parked:
            for end in self._ends.get((scope, run.run_id), ()):
                if end in self._until_parked and not end.done():
                    end.set_result(run)

    @property
    def reader_count(self) -> int:
        return sum(len(readers) for readers in self.readers.values())

    def open(self) -> None:
        """Readers that attach from now on stay."""
        self._closed = False

    def close(self) -> None:
        """Cut every reader off, and those still to come, as a broken connection would: they get no end.
        Whoever waits for an end gets `Unavailable`, and never a run as if it had ended.
        """
        self._closed = True
        for watcher in self.watchers:
            watcher.cut()
        for readers in self.readers.values():
            for reader in readers:
                reader.cut()
        for waiting in self._ends.values():
            for end in waiting:
                if not end.done():
                    end.set_exception(_stopping())
                    end.exception()  # marks it as retrieved: whoever waits gets it all the same
        self._ends.clear()

    def attach_watcher(self, watcher: Watcher) -> None:
        self.watchers[watcher] = None
        if self._closed:
            watcher.cut()

    def detach_watcher(self, watcher: Watcher) -> None:
        self.watchers.pop(watcher, None)

    def attach(self, key: _Key, reader: Reader) -> None:
        self.readers.setdefault(key, {})[reader] = None
        if self._closed:
            reader.cut()

    def detach(self, key: _Key, reader: Reader) -> None:
        readers = self.readers.get(key)
        if readers is not None:
            readers.pop(reader, None)
            if not readers:
                del self.readers[key]


def _stopping() -> Unavailable:
    return Unavailable("awaken is stopping; the run is not lost, ask again later", code="stopping")


class Reader:
    """One position in one log. Entered means attached: nothing committed from then on is missed.

    `ended` is True once the run's last event was handed out (or lies before the start position).
    """

    def __init__(
        self,
        hub: Hub,
        store: Reads,
        clock: Clock,
        key: _Key,
        after: int,
        run_id: RunId | None,
        wake: Alarm | None = None,
    ) -> None:
        self._hub = hub
        self._store = store
        self._key = key
        self._run_id = run_id
        self._run_over = False
        self._clock = clock
        self._wake = wake or Alarm(clock)
        self._buffer: deque[EventRow] = deque()
        self._events = 0
        self._bytes = 0
        self._behind = True
        self._is_stirred = False
        """The log may have grown by what was not offered here."""
        self.position = after
        self.ended = False
        self.is_cut = False
        self.catchups = 0

    async def __aenter__(self) -> Self:
        self._hub.attach(self._key, self)
        if self._run_id is not None:
            # Read before the first page: if the run is over now, its last event lies within what will be paged.
            run = await self._store.load_run(self._key[0], self._run_id)
            self._run_over = run is None or run.status is DONE
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.detach(self._key, self)

    @property
    def is_behind(self) -> bool:
        """The log is paged: more of it is there already."""
        return self._behind

    async def __aiter__(self) -> AsyncIterator[EventRow]:
        while not self.ended and not self.is_cut:
            for row in await self.next_rows():
                yield row

    async def next_rows(self, timeout_s: float | None = None) -> tuple[EventRow, ...]:
        """What comes next, in order: at least one row, or none after `timeout_s`, at the end, or when cut off."""
        deadline_s = None if timeout_s is None else self._clock.monotonic() + timeout_s
        while not self.ended and not self.is_cut:
            rows = await self._page() if self._behind else self._drain()
            if rows:
                return rows
            if self._is_stirred and not self._behind:
                await self._look()
            if self._behind or self.ended:
                continue
            left_s = None if deadline_s is None else deadline_s - self._clock.monotonic()
            if (left_s is not None and left_s <= 0) or not await self._wake.wait(left_s):
                return ()
        return ()

    def offer(self, row: EventRow) -> None:
        """Take a committed row, or remember that the log must be paged for it."""
        if self._behind and self._events >= READER_BUFFER_EVENTS:
            return
        self._buffer.append(row)
        self._events += len(row.events)
        self._bytes += row.payload_bytes
        if self._events > READER_BUFFER_EVENTS or self._bytes > READER_BUFFER_BYTES:
            self._behind = True
            self._forget()
            self.catchups += 1
        self._wake.set()

    def stir(self) -> None:
        """Look whether the log has grown, after what is buffered."""
        self._is_stirred = True
        self._wake.set()

    async def _look(self) -> None:
        """Page if the log goes on behind the position; a run's end may lie there."""
        self._is_stirred = False  # before the reads: a signal that comes while they are on their way counts anew
        try:
            _, last = await self._store.event_bounds(*self._key)
            if last > self.position and not self._buffer:
                if self._run_id is not None:
                    run = await self._store.load_run(self._key[0], self._run_id)
                    self._run_over = run is None or run.status is DONE
                self._behind = True
        except BaseException:
            self._is_stirred = True  # cancelled or refused: the next call must look again
            raise

    def cut(self) -> None:
        self.is_cut = True
        self._wake.set()

    def _forget(self) -> None:
        self._buffer.clear()
        self._events = self._bytes = 0

    async def _page(self) -> tuple[EventRow, ...]:
        """Read on from the position. Level with the log as it was before the read, the reader is live again."""
        self._behind = False
        scope, thread_id = self._key
        try:
            _, mark = await self._store.event_bounds(scope, thread_id)
            page = await self._store.page_events(
                scope, thread_id, after=self.position, limit=READER_PAGE_EVENTS, run_id=self._run_id
            )
            if page.unreadable:
                raise DataIntegrity(page.unreadable[0])
        except BaseException:
            self._behind = True  # cancelled or refused: the next call must read the same page again
            raise
        rows = page.items
        if page.next is not None:
            self._behind = True
            self._forget()
            self.position = page.next
        else:
            self.position = max(self.position, mark, rows[-1].last_seq if rows else 0)
            if self._run_over:
                self.ended = True
        return self._handed(rows)

    def _drain(self) -> tuple[EventRow, ...]:
        """Everything buffered that lies after the position; paging resumes if something is missing in between."""
        rows: list[EventRow] = []
        while self._buffer:
            row = self._buffer.popleft()
            if row.last_seq <= self.position:
                continue
            if row.first_seq > self.position + 1:
                self._behind = True
                self._forget()
                break
            self.position, fresh = row.last_seq, row.starting_after(self.position)
            if self._run_id is None or row.run_id == self._run_id:
                rows.append(fresh)
        self._events = self._bytes = 0
        return self._handed(tuple(rows))

    def _handed(self, rows: tuple[EventRow, ...]) -> tuple[EventRow, ...]:
        if self._run_id is not None and rows and rows[-1].events[-1].kind in TERMINAL_KINDS:
            self.ended = True
        return rows
