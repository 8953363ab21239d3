"""Delivers what runs, schedules and transactions of callers do to threads: each errand as a transition of the thread
that it is for.

Above: `reactions` hands over what a transition has just written; the engine runs `run_forever`. Below: `Submit` and
`Cancel` for what an errand asks, then `Delivered`, which removes it.
Holds: errands of one sender to one thread are delivered in order, one at a time. Delivering one again changes nothing,
so a crash between the delivery and its record costs a repetition and no more. An errand that the thread cannot take now
(its queue is full, the store does not write) is tried again, and holds up its own lane only; one that it can never take
is reported.

How it works. Usually an errand comes with the outcome that wrote it, and is delivered without being read. A lane is
whole in memory, or cut: then its errands are read again from the first one on when those known have gone, and until
then nothing new is put behind them. A look reads everything that is stored: at a start, where an answer was lost, and
where another transaction than the store's own has written an errand.
One round asks for the first errand of each lane that may go, and removes together what that has settled.

Source: ADR 0035.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from awaken.domain.child import ChildEnd, tell
from awaken.domain.clock import Alarm, Clock, sleep
from awaken.domain.errors import StoreError
from awaken.domain.ids import AgentId, Route, Scope, ThreadId
from awaken.domain.outbox import Begin, ChildWaits, Lane, OutboxRow, Stop, Tell
from awaken.domain.run import RunRequest, Sender, Termination
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.contract import MAX_PAGE, Store
from awaken.store.transitions import (
    Cancel,
    CancelResult,
    ChildNoted,
    Conflict,
    Decide,
    Decided,
    Delivered,
    DeliveredSome,
    Full,
    Gone,
    Handled,
    Known,
    Missing,
    NoteChild,
    Offer,
    Outcome,
    Replayed,
    Ruling,
    Submit,
    Submitted,
    ThreadTransition,
    Undecided,
)

MAX_KNOWN: Final = 10_000
"""Errands kept in memory."""
MAX_KNOWN_OF_LANE: Final = 100
LANES_AT_ONCE: Final = 100
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 30.0
"""An errand that cannot be taken now is tried again after a pause, which doubles from the first to the longest."""

_log = logging.getLogger("awaken.mailbox")
_encode: Final = msgspec.json.Encoder().encode


class _Queue:
    """The errands of a lane, in order, and when the first one may be tried."""

    def __init__(self) -> None:
        self.rows: deque[OutboxRow] = deque()
        self.is_cut = False
        """Others are stored behind them."""
        self.is_filling = False
        self.pause_s = 0.0
        self.not_before_s = 0.0


class Outbox:
    """One per process."""

    def __init__(
        self,
        combiner: Combiner,
        store: Store,
        clock: Clock,
        settings: MailboxSettings,
        offer: Callable[[Route], Offer | None],
        newest: Callable[[AgentId], str | None],
    ) -> None:
        """`newest`: which version an agent has at the moment, where it has any."""
        self._combiner = combiner
        self._store = store
        self._clock = clock
        self._settings = settings
        self._offer = offer
        self._newest = newest
        self._lanes: dict[Lane, _Queue] = {}
        self._count = 0
        """How many errands are in memory."""
        self._must_look = True
        self._is_looking = False
        self._wake = Alarm(clock)

    def post(self, rows: Iterable[OutboxRow]) -> None:
        """They have been written."""
        for row in rows:
            self._add(row, self._is_looking)
        self._wake.set()

    def look(self) -> None:
        """Something may have been written that nobody here was given."""
        self._must_look = True
        self._wake.set()

    async def deliver(self, scope: Scope, sender: str) -> None:
        """Deliver what is stored of a sender now, as far as it is taken, beside whoever else delivers it.

        Raises:
            StoreError: It was not read, or that it was delivered was not written down.
        """
        waiting: dict[Lane, deque[OutboxRow]] = {}
        after, more = 0, True
        while more:
            page = await self._store.list_outbox(after=after, limit=MAX_PAGE)
            for row in page:
                after = row.no
                if (row.scope, row.sender) == (scope, sender):
                    waiting.setdefault(row.lane, deque()).append(row)
            more = len(page) == MAX_PAGE
        while waiting:
            lanes = list(waiting.values())[:LANES_AT_ONCE]
            handled = await self._deliver_first([rows[0] for rows in lanes])
            for rows, done in zip(lanes, handled, strict=True):
                lane = rows.popleft().lane
                if done is None or not rows:
                    del waiting[lane]

    def _add(self, row: OutboxRow, is_cut: bool) -> None:
        """Put it behind the others of its lane; where there is no room, or `is_cut`, it is read later."""
        lane = self._lanes.setdefault(row.lane, _Queue())
        is_full = self._count >= MAX_KNOWN or len(lane.rows) >= MAX_KNOWN_OF_LANE
        if is_cut or is_full or lane.is_cut or lane.is_filling:
            lane.is_cut = True
        elif not lane.rows or row.no > lane.rows[-1].no:
            lane.rows.append(row)
            self._count += 1

    async def run_forever(self) -> None:
        while True:
            if not await self._wake.wait(self._patience_s()):
                self._must_look = self._must_look or not self._store.capabilities.exclusive  # others write there, too
            try:
                while await self._round():
                    pass
            except StoreError as error:
                _log.log(error.log_level, "errands could not be delivered, and are tried again: %s", error)
                await sleep(self._clock, self._settings.store_retry_s)
                self._wake.set()

    async def _round(self) -> bool:
        """Deliver the first errand of each lane that may go; whether there was one."""
        if self._must_look:
            await self._read_all()
        now_s = self._clock.monotonic()
        due = [key for key, lane in self._lanes.items() if lane.not_before_s <= now_s][:LANES_AT_ONCE]
        for key in due:
            if not self._lanes[key].rows:
                await self._fill(key)
        lanes = [lane for lane in map(self._lanes.__getitem__, due) if lane.rows]
        self._drop_empty()
        if not lanes:
            return False
        handled = await self._deliver_first([lane.rows[0] for lane in lanes])
        for lane, done in zip(lanes, handled, strict=True):
            if done is None:
                self._put_off(lane)
        self._forget({done.no for done in handled if done is not None}, lanes)
        return True

    async def _deliver_first(self, rows: list[OutboxRow]) -> list[Handled | None]:
        """Deliver these, each the first of its lane; what became of each, None where it has to be tried again."""
        asked = [self._ask(row) for row in rows]
        await asyncio.wait(asked)
        handled: list[Handled | None] = []
        for row, answer in zip(rows, asked, strict=True):
            done = self._judged(row, answer)
            if done is not None and done.refused is not None:
                await self._tell_of_refusal(row, done.refused)
            handled.append(done)
        settled = tuple([done for done in handled if done is not None])
        if settled:
            await self._combiner.apply(Delivered(rows=settled), DeliveredSome)
        return handled

    async def _read_all(self) -> None:
        """Know of every lane, and of its errands as far as there is room. What is known is read again: it may have been
        posted behind errands that nobody here was given.
        """
        self._must_look, self._is_looking = False, True
        for lane in self._lanes.values():
            lane.rows.clear()
        self._count = 0
        try:
            after, more = 0, True
            while more:
                page = await self._store.list_outbox(after=after, limit=MAX_PAGE)
                for row in page:
                    after = row.no
                    self._add(row, is_cut=False)
                more = len(page) == MAX_PAGE
        except BaseException:
            self._must_look = True
            raise
        finally:
            self._is_looking = False

    async def _fill(self, key: Lane) -> None:
        """Read the first errands of a lane of which none is known."""
        lane = self._lanes[key]
        lane.is_cut, lane.is_filling = False, True  # what is posted meanwhile cuts it again
        try:
            rows = await self._store.list_outbox(lane=key, limit=MAX_KNOWN_OF_LANE)
        except BaseException:
            lane.is_cut = True
            raise
        finally:
            lane.is_filling = False
        lane.rows.extend(rows)
        lane.is_cut = lane.is_cut or len(rows) == MAX_KNOWN_OF_LANE
        self._count += len(rows)

    def _drop_empty(self) -> None:
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.rows or lane.is_cut}

    # --- one errand ---------------------------------------------------------------------------------------------------

    def _ask(self, row: OutboxRow) -> asyncio.Future[Outcome]:
        transition = self._transition(row)
        return self._combiner.ask(transition, len(_encode(row.errand)))

    def _transition(self, row: OutboxRow) -> ThreadTransition:
        errand = row.errand
        if isinstance(errand, Stop):
            return Cancel(scope=row.scope, thread_id=row.thread_id, run_id=errand.run_id)
        if isinstance(errand, Tell):
            opens = replace(errand.opens, request=self._versioned(errand.opens.request))
            return _deciding(row.scope, row.thread_id, replace(errand, opens=opens))
        if isinstance(errand, ChildWaits):
            return NoteChild(scope=row.scope, thread_id=row.thread_id, told=errand)
        request = self._versioned(errand.request)
        return Submit(
            scope=row.scope,
            thread_id=row.thread_id,
            run_id=errand.run_id,
            dispatch_id=errand.dispatch_id,
            request=request,
            messages=errand.messages,
            digest=errand.digest,
            metadata=errand.metadata,
            delivery=errand.delivery,
            create_thread=errand.create_thread,
            info=errand.info,
            own_run=True,
            max_queued=self._settings.max_queued_per_thread,
            offer=None if errand.delivery.is_delayed else self._offer(request.intent.route),
        )

    def _versioned(self, request: RunRequest) -> RunRequest:
        """The request of a run, with the version that its agent has now, where none was named."""
        intent = request.intent
        version = intent.version or self._newest(intent.agent_id)
        return request if version == intent.version else replace(request, intent=replace(intent, version=version))

    def _judged(self, row: OutboxRow, answer: asyncio.Future[Outcome]) -> Handled | None:
        """What became of an errand; None where it has to be tried again."""
        error = answer.exception()
        if error is not None:
            _log.warning("errand %d for thread %s is tried again: %s", row.no, row.thread_id, error)
            return None
        outcome, errand = answer.result(), row.errand
        match outcome:
            case Submitted() | Known() | CancelResult() | Decided() | Undecided() | ChildNoted():
                return Handled(row.no)
            case Replayed(run=run):
                is_other = isinstance(errand, Begin) and run.run_id != errand.run_id
                return Handled(row.no, skipped=is_other)
            case Full(limit=limit):
                if isinstance(errand, Begin) and errand.schedule is not None:
                    return _refused(row, f"the thread's queue is full: {limit} runs wait")
                return None
            case Missing() | Gone() if not isinstance(errand, Begin):
                return Handled(row.no)  # it was refused when it was to begin, or is gone with its retention
            case Missing(what=what):
                return _refused(row, f"there is no such {what}")
            case Gone():
                return _refused(row, "the thread was deleted")
            case Conflict(what=what, id=taken):
                return _refused(row, f"{what} id {taken!r} is taken by something else")
            case _:  # nothing that an errand asks for ends so; and what does must not hold up its lane for ever
                return _refused(row, f"it cannot be delivered: {type(outcome).__name__}")

    async def _tell_of_refusal(self, row: OutboxRow, why: str) -> None:
        """A child that can never be begun has failed."""
        errand = row.errand
        trace = errand.request.trace if isinstance(errand, Begin) else None
        if trace is None or trace.child is None or trace.parent_run_id is None or not isinstance(errand, Begin):
            return
        end = ChildEnd(run_id=errand.run_id, termination=Termination("error", detail=why))
        sender = Sender(errand.request.intent.agent_id, row.thread_id, errand.run_id)
        told = tell(trace, end, sender)
        await self._combiner.ask(_deciding(row.scope, ThreadId(row.sender), told))

    def _put_off(self, lane: _Queue) -> None:
        lane.pause_s = min(max(lane.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        lane.not_before_s = self._clock.monotonic() + lane.pause_s

    def _forget(self, numbers: set[int], lanes: Iterable[_Queue]) -> None:
        """They are delivered."""
        for lane in lanes:
            if lane.rows[0].no in numbers:
                lane.rows.popleft()
                self._count -= 1
                lane.pause_s = lane.not_before_s = 0.0
        self._drop_empty()

    def _patience_s(self) -> float | None:
        """How long nothing can be done unless somebody says so."""
        if not self._lanes:
            return None if self._store.capabilities.exclusive else self._settings.poll_s
        first_s = min([lane.not_before_s for lane in self._lanes.values()])
        return max(first_s - self._clock.monotonic(), 0.0)


def _deciding(scope: Scope, thread_id: ThreadId, told: Tell) -> Decide:
    """What a child has told, as a transition of the thread of its parent."""
    ruling = Ruling(told.ticket_id, told.decision)
    return Decide(scope=scope, thread_id=thread_id, run_id=told.run_id, rulings=(ruling,), told=told)


def _refused(row: OutboxRow, why: str) -> Handled:
    _log.error("errand %d from %s for thread %s is given up: %s", row.no, row.sender, row.thread_id, why)
    return Handled(row.no, refused=why)
