"""What a driver may do to the outside world, and the one write buffer of its run.

Above: drivers call the `RunPort` methods; `worker` takes what is left when it settles. Below: the `Commit` transition.
Holds: events, tool results and steps of a run leave in the order they came, in one open `Commit` at a time; the next
one leaves as soon as none is in flight, and is asked for again while the store is unavailable and the claim may still
hold. `emit` waits only at the bound; every other method returns when its part is durable, and finishes that before it
lets a cancellation pass.

Source: design decision "one write buffer per run"; commit points C1 to C3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from awaken.domain.clock import Clock, Timer
from awaken.domain.errors import AwakenError, LeaseLost, PermanentFailure, StoreUnavailable, TransientFailure
from awaken.domain.event import Event, logged
from awaken.domain.ids import Ids, MessageId, RunId
from awaken.domain.log import LoggedEvent
from awaken.domain.message import ASSISTANT, Message, check_message
from awaken.domain.run import Run, RunRequest, Usage
from awaken.executors.contract import Conversation, RunIdentity
from awaken.executors.entry import conversation
from awaken.mailbox.keeper import StopReason
from awaken.mailbox.settings import WRITE_BUFFER_BYTES, WRITE_BUFFER_EVENTS
from awaken.store.combiner import Combiner
from awaken.store.contract import MessageQuery, Store
from awaken.store.transitions import Claimed, Commit, Committed, Conflict, JournalEntry, Outcome, StepClosed
from awaken.store.transitions import LeaseLost as LostLease

_OPENS_STREAM = frozenset(
    {
        "TextDeltaObserved",
        "ReasoningDeltaObserved",
        "ReasoningEncryptedValueObserved",
        "ToolCallStarted",
        "ToolCallDeltaObserved",
    }
)
_HISTORY_PAGE = 10_000
_encoder = msgspec.json.Encoder()

T = TypeVar("T")


async def finish(awaitable: Awaitable[T]) -> T:
    """Await to the end whatever happens, then let a cancellation that came meanwhile pass.

    However often the caller is cancelled, the awaited work is not; its own failure wins over the cancellation.
    """
    work = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await _end_of(work)
        except asyncio.CancelledError as error:
            cancelled = error
    result = work.result()
    if cancelled is not None:
        raise cancelled
    return result


def _end_of(work: asyncio.Future[Any]) -> asyncio.Future[None]:
    """Resolved when the work is done; cancelling it leaves the work alone. A run waits so at least once."""
    end: asyncio.Future[None] = work.get_loop().create_future()
    work.add_done_callback(lambda _: end.done() or end.set_result(None))
    return end


def _nobody(reason: StopReason) -> None:
    """Is told in place of an execution that is over."""


class Pending(msgspec.Struct):
    """What a run has asked to be written together, and who waits for it."""

    entries: list[LoggedEvent | Message] = []
    journal: list[JournalEntry] = []
    closes: StepClosed | None = None
    payload_bytes: int = 0
    waiters: list[asyncio.Future[None]] = []

    def tell(self, failure: AwakenError | None) -> None:
        """Tell whoever waits that it is durable, or why it never will be."""
        for waiter in self.waiters:
            if waiter.done():
                continue
            if failure is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(failure)
                waiter.exception()  # whoever waits hears it; nobody need be


_NOTHING: Final = Pending()


class RunWriter(msgspec.Struct, eq=False, gc=False):
    """The write buffer of one execution."""

    _claimed: Claimed
    _combiner: Combiner
    _clock: Clock
    _retry_s: float
    _on_told: Callable[[StopReason], None]
    _pending: Pending | None = None
    """What no commit has taken yet."""
    flying: Pending | None = None
    """What the commit on its way, or the settlement, has taken."""
    _commit: Commit | None = None
    """The one on its way, for asking again."""
    _retry: Timer | None = None
    _scheduled: bool = False
    failure: AwakenError | None = None
    """Why nothing more can be written."""
    stream_open: bool = False

    __repr__ = object.__repr__  # no text of a message may reach a log through this

    def add(self, *entries: LoggedEvent | Message) -> None:
        """Append to the buffer; it leaves by itself. Nothing is appended when one of them cannot be stored."""
        size, stream_open = 0, self.stream_open
        for entry in entries:
            if type(entry) is Message:
                size += stored_bytes(entry)
                stream_open = stream_open and entry.role is not ASSISTANT
            else:
                size += len(memoryview(entry.payload))
                stream_open = stream_open or entry.kind in _OPENS_STREAM
        pending = self._filling()
        pending.entries += entries
        pending.payload_bytes += size
        self.stream_open = stream_open
        self._schedule()

    def add_step(self, closes: StepClosed, journal: JournalEntry | None = None) -> None:
        pending = self._filling()
        if journal is not None:
            pending.journal.append(journal)
        pending.closes = closes
        self._schedule()

    @property
    def is_full(self) -> bool:
        pending = self._pending
        if pending is None:
            return False
        return len(pending.entries) >= WRITE_BUFFER_EVENTS or pending.payload_bytes >= WRITE_BUFFER_BYTES

    def durable(self) -> asyncio.Future[None]:
        """Resolved when everything added so far is durable; LeaseLost or a store error if it never will be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
        elif self._pending is not None:
            self._pending.waiters.append(future)
        elif self.flying is not None:
            self.flying.waiters.append(future)
        else:
            future.set_result(None)
        return future

    async def landed(self) -> None:
        """Wait until no commit is on its way."""
        while self.flying is not None:
            landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.flying.waiters.append(landed)
            with suppress(AwakenError):
                await landed

    def take_rest(self) -> Pending:
        """What is left for the settlement, once no commit is on its way. What is added after is too late."""
        if self._pending is None:
            return _NOTHING
        self.flying, self._pending = self._pending, None
        return self.flying

    def abandon(self, failure: AwakenError) -> None:
        """Write nothing more, and tell whoever waits for it. What is on its way may still arrive."""
        if self.failure is not None:
            return
        self.failure = failure
        if self._retry is not None:
            self._retry.cancel()
        given_up = (self.flying, self._pending)
        self.flying = self._pending = None
        for pending in given_up:
            if pending is not None:
                pending.tell(failure)

    def forget(self) -> None:
        """The execution is over and needs not be told anything; it and this object no longer hold each other."""
        self._on_told = _nobody
        if self.flying is not None or self._pending is not None:
            self.abandon(LeaseLost(self._claimed.dispatch.dispatch_id, "the run is over"))

    def _filling(self) -> Pending:
        """What is added to. Raises why nothing more can be written."""
        if self.failure is not None:
            raise self.failure
        if self._pending is None:
            self._pending = Pending()
        return self._pending

    def _schedule(self) -> None:
        if not self._scheduled and self.flying is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        self._scheduled = False
        pending = self._pending
        if self.flying is not None or pending is None:
            return
        self.flying, self._pending = pending, None
        claimed = self._claimed
        self._commit = Commit(
            scope=claimed.scope,
            thread_id=claimed.dispatch.thread_id,
            run_id=claimed.run.run_id,
            dispatch_id=claimed.dispatch.dispatch_id,
            token=claimed.token,
            entries=tuple(pending.entries),
            journal=tuple(pending.journal),
            closes=pending.closes,
            stream_open=self.stream_open,
        )
        self._ask()

    def _ask(self) -> None:
        self._retry = None  # a timer that has fired still knows this object, and nobody else would part the two
        assert self._commit is not None and self.flying is not None, "there is something to ask"
        self._combiner.put(self._commit, self, self.flying.payload_bytes)

    # --- as the answer to its commit ----------------------------------------------------------------------------------

    def set_exception(self, error: BaseException) -> None:
        if self.failure is not None:
            return
        if isinstance(error, StoreUnavailable) and not self._combiner.closed:
            self._retry = self._clock.call_later(self._retry_s, self._ask)
        else:
            self.abandon(TransientFailure(f"the store failed: {error}"))

    def set_result(self, outcome: Outcome) -> None:
        if self.failure is not None:
            return
        if isinstance(outcome, Committed):
            self._committed(outcome)
        elif isinstance(outcome, Conflict):
            self.abandon(PermanentFailure(f"a message could not be stored: its id {outcome.id!r} is taken"))
        elif isinstance(outcome, LostLease):
            self.abandon(LeaseLost(self._claimed.dispatch.dispatch_id, outcome.reason))
            self._on_told("interrupt" if outcome.reason == "interrupted" else "lost")
        else:
            self.abandon(TransientFailure(f"the store failed: {outcome!r}"))

    def _committed(self, outcome: Committed) -> None:
        landed, self.flying = self.flying, None
        if landed is not None:
            landed.tell(None)
        if outcome.cancel_requested:
            self._on_told("cancel")
        self._leave()


def stored_bytes(message: Message) -> int:
    """The size of a message as it is stored.

    Raises:
        PermanentFailure: It has no JSON form; found here, it costs only the run that made it.
    """
    try:
        return len(_encoder.encode(message))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise PermanentFailure(f"message {message.id!r} cannot be stored: {error}") from error


class Port(msgspec.Struct, eq=False, gc=False):
    """The `RunPort` and `Entry` of one execution."""

    _claimed: Claimed
    _run: Run
    _writer: RunWriter
    _store: Store
    _ids: Ids
    steps: int
    usage: Usage
    last_text: str | None = None
    """The text of the last assistant message this execution committed."""
    _identity: RunIdentity | None = None

    __repr__ = object.__repr__  # no text of a message may reach a log through this

    # --- Entry --------------------------------------------------------------------------------------------------------

    @property
    def resumed(self) -> bool:
        return self._claimed.resumed

    async def conversation(self) -> Conversation:
        log: list[tuple[Message, RunId | None]] = []
        after = 0
        while True:
            page = await self._store.list_messages(
                self._claimed.scope, self._run.thread_id, MessageQuery(after=after, limit=_HISTORY_PAGE)
            )
            log += [(stored.message, stored.run_id) for stored in page]
            if len(page) < _HISTORY_PAGE:
                break
            after = page[-1].seq or 0
        return conversation(
            log, run_id=self._run.run_id, closed_turn=self._run.closed_turn, usage=self.usage, steps=self.steps
        )

    async def journal(self) -> dict[str, msgspec.Raw]:
        if not self._claimed.resumed:
            return {}
        entries = await self._store.list_journal(self._claimed.scope, self._run.run_id)
        return {entry.key: entry.value for entry in entries}

    # --- RunPort ------------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> RunIdentity:
        if self._identity is None:
            dispatch, run = self._claimed.dispatch, self._run
            self._identity = RunIdentity(
                scope=self._claimed.scope,
                thread_id=run.thread_id,
                run_id=run.run_id,
                agent_id=run.agent_id,
                dispatch_id=dispatch.dispatch_id,
                instance_id=dispatch.instance_id or self._ids.instance_id(),
            )
        return self._identity

    @property
    def request(self) -> RunRequest:
        return self._run.request

    def new_message_id(self) -> MessageId:
        return self._ids.message_id()

    async def emit(self, *events: Event) -> None:
        if events:
            self._writer.add(*[logged(event) for event in events])
        if self._writer.is_full:
            await self._writer.durable()

    async def commit_assistant(self, message: Message, *events: Event) -> None:
        self.last_text = message.text
        await self._commit(message, events)

    async def commit_tool(self, message: Message, *events: Event) -> None:
        await self._commit(message, events)

    async def commit_extra(self, *messages: Message) -> None:
        self._writer.add(*[self.produced(message) for message in messages])
        await finish(self._writer.durable())

    async def close_step(self, *, turn: MessageId | None, usage: Usage, extra: Sequence[Message] = ()) -> None:
        self.steps += 1
        self.usage = usage
        if extra:
            self._writer.add(*[self.produced(message) for message in extra])
        self._writer.add_step(StepClosed(self.steps, usage, turn))
        await finish(self._writer.durable())

    async def commit_step(self, key: str, value: msgspec.Raw, *events: Event) -> None:
        self.steps += 1
        self._writer.add_step(StepClosed(self.steps, self.usage), JournalEntry(key, value))
        if events:
            self._writer.add(*[logged(event) for event in events])
        await finish(self._writer.durable())

    def produced(self, message: Message) -> Message:
        """The message with its producer. Raises ValidationError where it has not the shape of a stored one."""
        check_message(message)
        return message.produced_by(self._run.run_id, self.steps)

    async def _commit(self, message: Message, events: Sequence[Event]) -> None:
        self._writer.add(self.produced(message), *[logged(event) for event in events])
        await finish(self._writer.durable())
