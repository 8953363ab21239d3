"""What a run has asked to be written and no commit has taken yet: the one write buffer of one execution.

Above: `port` adds what the agent produces; `worker` takes what is left when it settles. Below: the `Commit` transition.
Holds: events, messages and steps of a run leave in the order they came, in one open `Commit` at a time, which is asked
for again while the store is unavailable and the claim may still hold. What nobody waits for may gather for a short
while; what somebody waits for never does. Once something could not be written nothing more is, and everybody who waits
or asks is answered why.

How it works. There are two heaps: `_open`, to which everything is added, and `_flying`, which the commit on its way has
taken. Whatever is added schedules a look in the next turn of the event loop; what the agent adds in the same turn, such
as a message with its events or the results of parallel tools, therefore leaves with it. The look turns the open heap
into a `Commit` and hands that to the combiner, which answers through a future. When the answer arrives, whoever waited
for that heap is resumed, and the same look is taken at what has gathered meanwhile.

The look lets a heap leave when somebody waits for it (at the bound `emit` does), or when no commit of this execution
has landed yet, so that its first text is seen at once. Otherwise it is text that is being streamed, whose next piece is
a few milliseconds away, and a commit for each piece would be most of what a server writes: the heap gathers until a
timer fires, `WRITE_BUFFER_WAIT_S` after the look that kept it. The timer belongs to the open heap: whatever lets that
leave, gives it up, or takes it for the settlement, cancels the timer.

Who needs to know that something is durable asks for a future (`durable`), which belongs to a heap. It is resolved with
the `Committed` that the store answered, since that may bring the driver something. The last heap leaves with the
settlement instead (`take_rest`), and nobody is left by then who could wait for it.

Source: ADR 0005.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from awaken.domain import server_event
from awaken.domain.clock import Clock, Timer
from awaken.domain.errors import AwakenError, LeaseLost, PermanentFailure, StoreUnavailable, TransientFailure
from awaken.domain.event import KINDS, OPENS_STREAM, StreamReset
from awaken.domain.ids import TicketId
from awaken.domain.log import LoggedEvent
from awaken.domain.loop import check_loop
from awaken.domain.message import ASSISTANT, Message
from awaken.domain.outbox import Posting
from awaken.domain.pending import Boundary
from awaken.domain.run import Usage
from awaken.domain.state import Values, state_bytes
from awaken.domain.ticket import TicketRequest
from awaken.mailbox.settings import WRITE_BUFFER_BYTES, WRITE_BUFFER_EVENTS, WRITE_BUFFER_WAIT_S
from awaken.mailbox.stopping import Stop
from awaken.store.combiner import Combiner
from awaken.store.transitions import Claimed, Commit, Committed, Conflict, JournalEntry, Outcome, StepClosed
from awaken.store.transitions import LeaseLost as LostLease

_encoder = msgspec.json.Encoder()
_RESET = KINDS[StreamReset]


class Unwritten:
    """What leaves together, the boundary that the run has reached with it, and who waits until it is durable."""

    def __init__(self) -> None:
        self.entries: list[LoggedEvent | Message] = []
        self.journal: list[JournalEntry] = []
        self.posts: list[Posting] = []
        self.awaits: list[TicketId] = []
        self.state: list[Values] = []
        self.tickets: list[TicketRequest] = []
        self.closes: StepClosed | None = None
        self.usage: Usage | None = None
        """What the run has spent by then, where a model call was added behind the last closed step."""
        self.takes: Boundary | None = None
        self.payload_bytes = 0
        self.waiters: list[asyncio.Future[Committed]] = []

    def resolve(self, committed: Committed) -> None:
        """It is durable: resume whoever waits."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(committed)

    def fail(self, error: AwakenError) -> None:
        """It never will be durable: resume whoever waits with the reason."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)
                waiter.exception()  # marks it as retrieved: whoever waits gets it all the same, and nobody need wait


class RunWriter:
    """The write buffer of one execution. Asks the execution to stop where the store answers that it must."""

    def __init__(
        self,
        claimed: Claimed,
        combiner: Combiner,
        clock: Clock,
        retry_s: float,
        stop: Stop,
        on_step: Callable[[], None],
    ) -> None:
        """`on_step` is called when a step that was closed, and is progress, is durable."""
        self._claimed = claimed
        self._loop = asyncio.get_running_loop()
        self._number = claimed.commit_no
        """Of the last commit that was asked for: whoever asks for it again uses it again."""
        self._on_step = on_step
        self._combiner = combiner
        self._clock = clock
        self._retry_s = retry_s
        self._stop = stop
        self._open: Unwritten | None = None
        self._flying: Unwritten | None = None
        """What the commit on its way, or the settlement, has taken."""
        self._is_scheduled = False
        self._has_landed = False
        """Whether a commit of this execution has, so that what nobody waits for may gather."""
        self._gathering: Timer | None = None
        """Ends the time for which the open heap gathers."""
        self._retry: Timer | None = None
        self._acknowledgement: asyncio.Future[Committed] | None = None
        self.pending = claimed.pending
        """How many messages the run would take at its next step, as far as this process knows."""
        self._arrived: list[Message] = []
        """Messages that the run has taken, and that its agent was not given yet."""
        self.failure: AwakenError | None = None
        """Why nothing more can be written."""
        self.stream_open = False
        """Whether the log would end with deltas of a turn that no message holds."""

    # --- adding -------------------------------------------------------------------------------------------------------

    def add(self, *entries: LoggedEvent | Message) -> None:
        """Append to the buffer; it leaves by itself. Nothing is appended when one of them cannot be stored.

        Raises:
            PermanentFailure: A message has no JSON form.
            AwakenError: Nothing more can be written: `failure`.
        """
        size, stream_open = 0, self.stream_open
        for entry in entries:
            if type(entry) is Message:
                size += stored_bytes(entry)
                stream_open = stream_open and entry.role is not ASSISTANT
            else:
                size += len(memoryview(entry.payload))
                stream_open = (stream_open or entry.kind in OPENS_STREAM) and entry.kind != _RESET
        heap = self._filling()
        heap.entries += entries
        heap.payload_bytes += size
        self.stream_open = stream_open
        self._schedule()

    def add_step(self, closes: StepClosed, journal: JournalEntry | None = None) -> None:
        """Close a step, behind everything added before. Raises as `add`."""
        heap = self._filling()
        if journal is not None:
            self.add_journal(journal)
        heap.closes, heap.usage = closes, None
        self._schedule()

    def add_post(self, posting: Posting, size: int) -> None:
        """Do something to another thread. Raises as `add`."""
        heap = self._filling()
        heap.posts.append(posting)
        heap.payload_bytes += size
        self._schedule()

    def add_awaited(self, *tickets: TicketId) -> None:
        """The run goes on with what has become of these children. Raises as `add`."""
        self._filling().awaits += tickets
        self._schedule()

    def add_journal(self, entry: JournalEntry) -> None:
        """Record what need not be done again. Raises as `add`."""
        heap = self._filling()
        heap.journal.append(entry)
        heap.payload_bytes += len(entry.key) + len(memoryview(entry.value))
        self._schedule()

    def add_state(self, patches: Sequence[Values]) -> None:
        """Change the thread's state with what is added next. Raises as `add`."""
        if patches:
            heap = self._filling()
            heap.state += patches
            heap.payload_bytes += sum([state_bytes(patch) for patch in patches])

    def add_tickets(self, *requests: TicketRequest) -> None:
        """Open tickets, behind everything added before. Raises as `add`."""
        heap = self._filling()
        heap.tickets += requests
        heap.payload_bytes += sum([len(_encoder.encode(each)) for each in requests])
        self._schedule()

    def add_usage(self, usage: Usage) -> None:
        """What the run has spent with the model call that was just added."""
        self._filling().usage = usage

    def take(self, boundary: Boundary) -> None:
        """The run has reached a boundary, behind everything added before. Raises as `add`."""
        self._filling().takes = boundary
        self._schedule()

    def arrived(self) -> tuple[Message, ...]:
        """What the run has taken and its agent was not given yet: each message once, in order."""
        arrived, self._arrived = self._arrived, []
        return tuple(arrived)

    def acknowledge_cancel(self) -> None:
        """Put into the log that the agent has been asked to stop."""
        with suppress(AwakenError):  # then the claim is over anyway
            self.add(server_event.cancel_acknowledged(self._claimed.dispatch).logged())
            self._acknowledgement = self.durable()

    @property
    def has_acknowledged(self) -> bool:
        """Whether the log holds the acknowledgement of a cancel, or will with what is left. Ask when nothing flies."""
        added = self._acknowledgement
        return added is not None and (not added.done() or added.exception() is None)

    @property
    def is_full(self) -> bool:
        heap = self._open
        if heap is None:
            return False
        return len(heap.entries) >= WRITE_BUFFER_EVENTS or heap.payload_bytes >= WRITE_BUFFER_BYTES

    def durable(self) -> asyncio.Future[Committed]:
        """Resolved when everything added so far is durable. Something must have been added in this turn.

        It fails with LeaseLost or another AwakenError if that will never be so.
        """
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
        else:
            assert self._open is not None, "what was added in this turn has not left yet"
            self._open.waiters.append(future)
        return future

    def _filling(self) -> Unwritten:
        """What is added to. Raises why nothing more can be written; WrongLoop from another event loop."""
        check_loop(self._loop, "this run")
        if self.failure is not None:
            raise self.failure
        if self._open is None:
            self._open = Unwritten()
        return self._open

    # --- leaving ------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._is_scheduled and self._flying is None:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Let the open heap leave, or gather. While a commit is on its way neither: its answer comes back here."""
        self._is_scheduled = False
        if self._flying is not None or self._open is None:
            return
        if not self._has_landed or self._open.waiters:
            self._leave(self._open)
        elif self._gathering is None:
            self._gathering = self._clock.call_later(WRITE_BUFFER_WAIT_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        if self._flying is None and self._open is not None:
            self._leave(self._open)

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _leave(self, heap: Unwritten) -> None:
        """Have the open heap committed."""
        self._stop_gathering()
        self._flying, self._open = heap, None
        claimed = self._claimed
        self._ask(
            Commit(
                number=self.next_number(),
                scope=claimed.scope,
                thread_id=claimed.dispatch.thread_id,
                run_id=claimed.run.run_id,
                dispatch_id=claimed.dispatch.dispatch_id,
                token=claimed.token,
                entries=tuple(heap.entries),
                journal=tuple(heap.journal),
                closes=heap.closes,
                usage=heap.usage,
                stream_open=self.stream_open,
                posts=tuple(heap.posts),
                awaits=tuple(heap.awaits),
                state=tuple(heap.state),
                takes=heap.takes,
                opens=tuple(heap.tickets),
            ),
            heap.payload_bytes,
        )

    def _ask(self, commit: Commit, size: int) -> None:
        def answered(answer: asyncio.Future[Outcome]) -> None:
            error = answer.exception()
            if self.failure is not None:
                return  # it was given up meanwhile
            if error is None:
                self._judge(answer.result())
            elif isinstance(error, StoreUnavailable) and not self._combiner.closed:
                self._retry = self._clock.call_later(self._retry_s, lambda: self._ask(commit, size))
            else:
                self.abandon(TransientFailure(f"the store failed: {error}"))

        self._combiner.ask(commit, size).add_done_callback(answered)

    def _judge(self, outcome: Outcome) -> None:
        if isinstance(outcome, Committed):
            self._committed(outcome)
        elif isinstance(outcome, Conflict):
            self.abandon(PermanentFailure(f"a message could not be stored: its id {outcome.id!r} is taken"))
        elif isinstance(outcome, LostLease):
            self.abandon(LeaseLost(self._claimed.dispatch.dispatch_id, outcome.reason))
            if outcome.reason == "interrupted":
                self._stop.ask("interrupt", again=False)  # it may be tidying up after a cancel
            else:
                self._stop.ask("lost")
        else:
            self.abandon(TransientFailure(f"the store failed: {outcome!r}"))

    def _committed(self, committed: Committed) -> None:
        landed, self._flying = self._flying, None
        self._has_landed = True
        self._arrived += committed.taken
        self.pending = committed.pending
        if landed is not None:
            landed.resolve(committed)
            if landed.closes is not None and landed.closes.is_progress:
                self._on_step()
        if committed.cancel_requested and self._stop.ask("cancel") and self._stop.is_cancellable:
            self.acknowledge_cancel()
        self._look()

    def next_number(self) -> int:
        """The number of the next commit of this claim, or of its settlement."""
        self._number += 1
        return self._number

    # --- ending -------------------------------------------------------------------------------------------------------

    async def landed(self) -> None:
        """Wait until no commit is on its way."""
        while self._flying is not None:
            landed: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
            self._flying.waiters.append(landed)
            with suppress(AwakenError):
                await landed

    def take_rest(self) -> Unwritten:
        """What is left for the settlement, once no commit is on its way. From now on nothing leaves by itself."""
        self._stop_gathering()
        rest, self._open = self._open or Unwritten(), None
        self._flying = rest
        return rest

    def go_on(self, pending: int) -> None:
        """The settlement was none: what is added leaves by itself again."""
        self._flying = None
        self.pending = pending
        self._look()

    def abandon(self, failure: AwakenError) -> None:
        """Write nothing more, and have whoever waits fail. What is on its way may still arrive."""
        if self.failure is not None:
            return
        self.failure = failure
        self._stop_gathering()
        if self._retry is not None:
            self._retry.cancel()
        given_up = (self._flying, self._open)
        self._flying = self._open = None
        for heap in given_up:
            if heap is not None:
                heap.fail(failure)

    def close(self) -> None:
        """The execution is over. Tasks that its agent has left behind are refused from now on.

        The execution, which holds this, is let go of: a cycle of the two would only be freed by the garbage collector,
        which stops the whole process meanwhile.
        """
        self.abandon(LeaseLost(self._claimed.dispatch.dispatch_id, "the run is over"))
        self._on_step = _nothing


def stored_bytes(message: Message) -> int:
    """The size of a message as it is stored.

    Raises:
        PermanentFailure: It has no JSON form; found here, it costs only the run that made it.
    """
    try:
        return len(_encoder.encode(message))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise PermanentFailure(f"message {message.id!r} cannot be stored: {error}") from error


def _nothing() -> None:
    """Nobody is notified of the steps of an execution that is over."""
