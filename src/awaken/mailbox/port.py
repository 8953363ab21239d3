"""What a driver may do to the outside world, and what it starts from: the `RunPort` and the `Entry` of one execution.

Above: drivers. Below: the write buffer for everything that changes something, the store for what is only read.
Holds: `emit` waits only at the bound of the buffer; every other method returns when its part is durable, and finishes
that before it lets a cancellation pass. A method that has closed a step hands the run over, when that is asked for.
What a run has spent is the sum of the model calls in its log, or what its driver says when it closes a step.

Source: ADR 0005, ADR 0011, ADR 0015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from awaken.domain.checking import readable, shown, weighed
from awaken.domain.child import ChildTicket
from awaken.domain.errors import DataIntegrity, PermanentFailure, ValidationError
from awaken.domain.event import Event, InferenceComplete, logged
from awaken.domain.ids import Ids, MessageId, RunId, checked_id
from awaken.domain.log import LoggedEvent
from awaken.domain.message import Message, check_message
from awaken.domain.outbox import Begin, Posting
from awaken.domain.pending import selected
from awaken.domain.run import Run, RunRequest, Usage
from awaken.domain.span import Span, effective
from awaken.domain.state import ThreadState, Values, joined
from awaken.domain.ticket import MAX_OPEN_TICKETS, Ticket, TicketRequest, ticket_id
from awaken.executors.children import Starting
from awaken.executors.contract import Conversation, RunEnds, RunIdentity
from awaken.executors.entry import conversation
from awaken.executors.mending import storable
from awaken.executors.schema import SchemaCheck
from awaken.executors.sending import Outgoing, Sent
from awaken.mailbox.cancellation import to_the_end
from awaken.mailbox.log_cache import LogCache
from awaken.mailbox.observer import Observers
from awaken.mailbox.stopping import Stop
from awaken.mailbox.write_buffer import RunWriter
from awaken.store.contract import MAX_PAGE, MessageQuery, Reads, StoredMessage, TicketQuery
from awaken.store.transitions import Claimed, JournalEntry, StepClosed

_encode: Final = msgspec.json.Encoder().encode


class Start:
    """The `Entry` of one execution: reads what is asked for, and only then."""

    def __init__(self, claimed: Claimed, reads: Reads, logs: LogCache) -> None:
        self._claimed = claimed
        self._reads = reads
        self._logs = logs

    @property
    def resumed(self) -> bool:
        return self._claimed.resumed

    @property
    def brought(self) -> tuple[Message, ...]:
        return self._claimed.messages

    async def input(self) -> tuple[Message, ...]:
        claimed, run = self._claimed, self._claimed.run
        if run.input is None:
            return claimed.messages
        own, refers = run.request.input_message_ids, run.request.reference is not None
        brought = tuple([message.id for message in claimed.messages])
        count = run.input.to_seq - run.input.from_seq + 1
        if brought[: len(own)] == own and (refers or count == len(brought)):
            return claimed.messages
        query = MessageQuery(after=run.input.from_seq - 1, limit=count)
        page = await self._reads.list_messages(claimed.scope, run.thread_id, query)
        return tuple([stored.message for stored in page if not refers or stored.message.id in own])

    async def conversation(self) -> Conversation:
        claimed, run = self._claimed, self._claimed.run
        log = await self._logs.read(self._reads, claimed.scope, run.thread_id, claimed.thread_no)
        view, spans = log, list[Span]()
        if claimed.spans:
            spans = await self._reads.list_spans(claimed.scope, run.thread_id)
            view = effective(log, spans)
        if run.request.reference is not None:
            view = _input_last(log, view, spans, run)
        known = [(stored.message, stored.run_id) for stored in view]
        return conversation(known, run_id=run.run_id, closed_turn=run.closed_turn, usage=run.usage, steps=run.steps)

    async def state(self) -> ThreadState:
        return await self._reads.load_state(self._claimed.scope, self._claimed.run.thread_id)

    async def taken(self) -> tuple[tuple[int, Message], ...]:
        run = self._claimed.run
        if not run.taken or run.input is None:
            return ()
        found: list[tuple[int, Message]] = []
        after = run.input.to_seq
        while True:
            query = MessageQuery(after=after, limit=MAX_PAGE, run_id=run.run_id)
            page = await self._reads.list_messages(self._claimed.scope, run.thread_id, query)
            found += [(each.step_index, each.message) for each in page if each.step_index is not None]
            if len(page) < MAX_PAGE:
                return tuple(found)
            after = page[-1].seq or 0

    async def journal(self) -> dict[str, msgspec.Raw]:
        if not self._claimed.resumed:
            return {}
        entries = await self._reads.list_journal(self._claimed.scope, self._claimed.run.run_id)
        return {entry.key: entry.value for entry in entries}

    async def output_of(self, run_id: RunId) -> Any:
        run = await self._reads.load_run(self._claimed.scope, run_id)
        return None if run is None else run.output

    async def decisions(self) -> Mapping[str, Ticket]:
        run, found = self._claimed.run, dict[str, Ticket]()
        after: int | None = None
        while run.tickets:
            query = TicketQuery(run_id=run.run_id, after=after, limit=MAX_PAGE)
            page = await self._reads.list_tickets(self._claimed.scope, query)
            if page.unreadable:
                raise DataIntegrity(page.unreadable[0])
            found.update([(ticket.asked.key, ticket) for ticket in page.items])
            after = page.next
            if after is None:
                break
        return found


def _input_last(
    log: Sequence[StoredMessage], view: Sequence[StoredMessage], spans: Sequence[Span], run: Run
) -> list[StoredMessage]:
    """The view as it was when the run started, without what it was given; then that, and what is its own."""
    if run.input is None:
        return [*view]
    end, ids = run.input.to_seq, frozenset(run.request.input_message_ids)
    replacements = {span.replacement_seq for span in spans}
    others = [each for each in view if each.message.id not in ids]
    before = [each for each in others if each.seq is not None and (each.seq <= end or each.seq in replacements)]
    given = [each for each in log if each.message.id in ids]
    own = [each for each in others if each.seq is not None and each.seq > end and each.run_id == run.run_id]
    return before + given + own


class Port:
    """The `RunPort` of one execution."""

    def __init__(
        self,
        claimed: Claimed,
        writer: RunWriter,
        ids: Ids,
        stop: Stop,
        reads: Reads,
        *,
        exposes_errors: bool,
        max_result_bytes: int,
        max_steps: int,
        observers: Observers,
        sending: Callable[[str, Outgoing], tuple[Posting, int]],
        starting: Callable[[Starting], tuple[TicketRequest, Posting, int]],
    ) -> None:
        """`sending` makes an errand of what the run sends, under a key, and says how large it is; `starting` one of a
        child, with its ticket.
        """
        self._starting = starting
        self.exposes_errors = exposes_errors
        self.max_result_bytes = max_result_bytes
        self._observers = observers
        self._heard = observers.heard
        self._sending = sending
        self._claimed = claimed
        self._run = claimed.run
        limits = claimed.run.request.options.limits
        self._limits = limits if limits.max_steps is not None else replace(limits, max_steps=max_steps)
        self._writer = writer
        self._stop = stop
        self._reads = reads
        self._is_stirred = False
        self._ids = ids
        self._identity: RunIdentity | None = None
        self._opened = claimed.run.open_tickets
        self.steps = claimed.run.steps
        self.usage = claimed.run.usage
        self._changes: list[Values] = []
        """Of the state, that are in no commit yet."""
        self.last: Message | None = None
        """The last assistant message this execution committed."""

    @property
    def identity(self) -> RunIdentity:
        if self._identity is None:
            dispatch, run = self._claimed.dispatch, self._run
            self._identity = RunIdentity(
                scope=self._claimed.scope,
                thread_id=run.thread_id,
                run_id=run.run_id,
                agent_id=run.agent_id,
                agent_version=run.agent_version,
                dispatch_id=dispatch.dispatch_id,
                instance_id=dispatch.instance_id or self._ids.instance_id(),
                metadata=run.metadata,
                resource_id=self._claimed.resource_id,
                caller=run.request.trace.caller,
            )
        return self._identity

    @property
    def request(self) -> RunRequest:
        return self._run.request

    def new_message_id(self) -> MessageId:
        return self._ids.message_id()

    async def emit(self, *events: Event) -> None:
        if events:
            self._add(events)
            if self._writer.is_full:
                await self._writer.durable()

    async def commit_assistant(self, message: Message, *events: Event) -> None:
        produced = self.produced(message)
        self.last = produced
        await self._commit(produced, events)

    async def commit_tool(self, message: Message, *events: Event) -> None:
        produced = self.produced(message)
        self._writer.add_state(self.take_changes())
        await self._commit(produced, events)

    async def commit_extra(self, *messages: Message) -> None:
        self._writer.add(*[self.produced(message) for message in messages])
        await to_the_end(self._writer.durable())

    async def close_step(
        self, *, turn: MessageId | None, usage: Usage, extra: Sequence[Message] = ()
    ) -> tuple[Message, ...]:
        usage = readable(usage, Usage, what="the usage of a step")
        self.steps += 1
        self.usage = usage
        if extra:
            self._writer.add(*[self.produced(message) for message in extra])
        self._writer.add_state(self.take_changes())
        self._writer.add_step(StepClosed(self.steps, usage, turn))
        self._writer.take("next_step")
        await to_the_end(self._writer.durable())
        self._stop.hand_over()
        self.check_limits()
        return self._writer.arrived()

    async def inbox(self) -> tuple[Message, ...]:
        await self._look_where_stirred()
        if self._writer.pending and not self._stop.is_delivered:
            self._writer.take("next_step")
            await to_the_end(self._writer.durable())
        return self._writer.arrived()

    async def _look_where_stirred(self) -> None:
        """Somebody else has written to the thread: what the last answer said may not be so any more."""
        if not self._is_stirred:
            return
        self._is_stirred = False
        waiting = await self._reads.list_pending(self._claimed.scope, self._run.thread_id)
        mine = [each.entry for each in waiting if each.entry.run_id == self._run.run_id]
        self._writer.pending = len(selected(mine, "next_step", self._run.run_id))

    def note_pending(self) -> None:
        """A message was accepted for this run."""
        self._writer.pending += 1

    def stir(self) -> None:
        """Messages may have been accepted for this run elsewhere."""
        self._is_stirred = True

    def go_on(self, claimed: Claimed) -> None:
        """The run goes on under the same claim, with what it has taken where it would have ended: executed anew, which
        its agent may tell by the instance id.
        """
        self._claimed, self._run = claimed, claimed.run
        self._identity = replace(self.identity, instance_id=self._ids.instance_id())
        self.steps, self.usage = claimed.run.steps, claimed.run.usage

    async def commit_step(
        self, key: str, value: msgspec.Raw, *events: Event, closes: bool = True, is_progress: bool = True
    ) -> None:
        _check_key(key)
        self.check_size(len(memoryview(value)), f"the result of step {key!r}")
        entry = JournalEntry(key, value)
        if closes:
            self.steps += 1
            self._writer.add_step(StepClosed(self.steps, self.usage, is_progress=is_progress), entry)
        else:
            self._writer.add_journal(entry)
        if events:
            self._add(events)
        await to_the_end(self._writer.durable())
        if closes:
            self._stop.hand_over()

    def check_limits(self) -> None:
        reached = self._limits.reached(self.steps, self.usage)
        if reached is not None:
            raise RunEnds(reached)

    def change_state(self, patch: Values) -> None:
        both = joined(self._changes[-1], patch) if self._changes else None
        if both is None:
            self._changes.append(patch)
        else:
            self._changes[-1] = both

    def take_changes(self) -> tuple[Values, ...]:
        """What has changed of the state and is in no commit yet; whoever takes it commits it."""
        changes, self._changes = tuple(self._changes), []
        return changes

    async def send(self, key: str, outgoing: Outgoing) -> Sent:
        _check_key(key)
        posting, size = self._sending(key, outgoing)
        assert isinstance(posting.errand, Begin), "what is sent begins a run"
        sent = Sent(posting.errand.run_id, posting.thread_id)
        self._writer.add_post(posting, size)
        self._writer.add_journal(JournalEntry(key, msgspec.Raw(_encode(sent))))
        await to_the_end(self._writer.durable())
        return sent

    async def start(self, starting: Starting) -> ChildTicket:
        request, posting, size = self._starting(starting)
        self._writer.add_tickets(request)
        self._writer.add_post(posting, size)
        await to_the_end(self._writer.durable())
        return msgspec.convert(request.arguments, ChildTicket)

    async def awaited(self, *keys: str) -> None:
        if not keys:
            return
        await self._look_where_stirred()
        if self._writer.pending:
            self._writer.add_awaited(*[ticket_id(self._run.run_id, key) for key in keys])
            await to_the_end(self._writer.durable())

    async def open_tickets(self, *requests: TicketRequest) -> None:
        self._opened += len(requests)
        if self._opened > MAX_OPEN_TICKETS:
            raise PermanentFailure(f"a run has at most {MAX_OPEN_TICKETS} open tickets")
        self._writer.add_tickets(*[checked_request(each) for each in requests])
        await to_the_end(self._writer.durable())

    def check_size(self, size: int, what: str) -> None:
        """Raises PermanentFailure for what is larger than anything of an agent may be."""
        if size > self.max_result_bytes:
            raise PermanentFailure(f"{what} has {size} bytes, and may have {self.max_result_bytes} (max_result_bytes)")

    def produced(self, message: Message) -> Message:
        """The message with its producer, mended. Raises ValidationError where it could not be stored and read back."""
        try:
            message, size = weighed(message, Message, what="a message of the agent")
        except ValidationError:  # what was said by chance is mended; whatever else it is, is found again
            message, size = weighed(storable(message), Message, what="a message of the agent")
        self.check_size(size, "a message of the agent")
        checked_id(message.id, what="the id of a message of the agent")
        check_message(message)
        return message.produced_by(self._run.run_id, self.steps)

    async def _commit(self, message: Message, events: Sequence[Event]) -> None:
        self._add(events, message)
        await to_the_end(self._writer.durable())

    def _add(self, events: Sequence[Event], *messages: Message) -> None:
        spent = self.usage
        self._writer.add(*messages, *self.logged(events))
        if self.usage is not spent:
            self._writer.add_usage(self.usage)

    def logged(self, events: Sequence[Event]) -> list[LoggedEvent]:
        """The entries for the log. A model call among them is paid for, whatever becomes of its step.

        Raises:
            ValidationError: One is no event, or could not be read back.
        """
        try:
            entries = [logged(event) for event in events]
        except ValidationError:  # as in a message
            entries = [logged(storable(event)) for event in events]
        for entry in entries:
            self.check_size(len(memoryview(entry.payload)), f"an event {entry.kind}")
        is_heard = False
        for event in events:
            is_heard = is_heard or type(event) in self._heard
            if type(event) is InferenceComplete:
                self.usage = self.usage.plus(event.usage)
        if is_heard:
            self._observers.said(self._claimed, events)
        return entries


def checked_request(request: TicketRequest) -> TicketRequest:
    """What a run asks for, as it can be stored. Raises PermanentFailure where it cannot."""
    try:
        request = readable(storable(request), TicketRequest, what="what the agent asks for")
        request.check()
        if request.response_schema is not None:  # else nothing that anybody answers would be accepted
            SchemaCheck(request.response_schema, f"the response_schema of {request.key!r}")
    except ValidationError as error:
        raise PermanentFailure(str(error)) from error
    return request


def _check_key(key: str) -> None:
    """Raises ValidationError for a step that no store could find again."""
    readable(key, str, what="the name of a step")
    if "\0" in key:
        raise ValidationError(f"the name of a step holds a NUL: {shown(key)}")
