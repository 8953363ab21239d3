"""What a driver may do to the outside world, and what it starts from: the `RunPort` and the `Entry` of one execution.

Above: drivers. Below: the write buffer for everything that changes something, the store for what is only read.
Holds: `emit` waits only at the bound of the buffer; every other method returns when its part is durable, and finishes
that before it lets a cancellation pass. A method that has closed a step hands the run over, when that is asked for.

Source: ADR 0005, ADR 0011, ADR 0015.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from awaken.domain.event import Event, logged
from awaken.domain.ids import Ids, MessageId, RunId
from awaken.domain.message import Message, check_message
from awaken.domain.run import RunRequest, Usage
from awaken.executors.contract import Conversation, RunIdentity
from awaken.executors.entry import conversation
from awaken.mailbox.cancellation import to_the_end
from awaken.mailbox.stopping import Stop
from awaken.mailbox.write_buffer import RunWriter
from awaken.store.contract import MessageQuery, Reads
from awaken.store.transitions import Claimed, JournalEntry, StepClosed

_HISTORY_PAGE = 10_000


class Start:
    """The `Entry` of one execution: reads what is asked for, and only then."""

    def __init__(self, claimed: Claimed, reads: Reads) -> None:
        self._claimed = claimed
        self._reads = reads

    @property
    def resumed(self) -> bool:
        return self._claimed.resumed

    async def conversation(self) -> Conversation:
        run = self._claimed.run
        log: list[tuple[Message, RunId | None]] = []
        after = 0
        while True:
            query = MessageQuery(after=after, limit=_HISTORY_PAGE)
            page = await self._reads.list_messages(self._claimed.scope, run.thread_id, query)
            log += [(stored.message, stored.run_id) for stored in page]
            if len(page) < _HISTORY_PAGE:
                break
            after = page[-1].seq or 0
        return conversation(log, run_id=run.run_id, closed_turn=run.closed_turn, usage=run.usage, steps=run.steps)

    async def journal(self) -> dict[str, msgspec.Raw]:
        if not self._claimed.resumed:
            return {}
        entries = await self._reads.list_journal(self._claimed.scope, self._claimed.run.run_id)
        return {entry.key: entry.value for entry in entries}


class Port:
    """The `RunPort` of one execution."""

    def __init__(self, claimed: Claimed, writer: RunWriter, ids: Ids, stop: Stop) -> None:
        self._claimed = claimed
        self._run = claimed.run
        self._writer = writer
        self._stop = stop
        self._ids = ids
        self._identity: RunIdentity | None = None
        self.steps = claimed.run.steps
        self.usage = claimed.run.usage
        self.last_text: str | None = None
        """The text of the last assistant message this execution committed."""

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

    async def close_step(
        self, *, turn: MessageId | None, usage: Usage, extra: Sequence[Message] = ()
    ) -> tuple[Message, ...]:
        self.steps += 1
        self.usage = usage
        if extra:
            self._writer.add(*[self.produced(message) for message in extra])
        self._writer.add_step(StepClosed(self.steps, usage, turn))
        await to_the_end(self._writer.durable())
        self._stop.hand_over()
        return ()

    async def commit_step(self, key: str, value: msgspec.Raw, *events: Event) -> None:
        self.steps += 1
        self._writer.add_step(StepClosed(self.steps, self.usage), JournalEntry(key, value))
        if events:
            self._writer.add(*[logged(event) for event in events])
        await to_the_end(self._writer.durable())
        self._stop.hand_over()

    def produced(self, message: Message) -> Message:
        """The message with its producer. Raises ValidationError where it has not the shape of a stored one."""
        check_message(message)
        return message.produced_by(self._run.run_id, self.steps)

    async def _commit(self, message: Message, events: Sequence[Event]) -> None:
        self._writer.add(self.produced(message), *[logged(event) for event in events])
        await to_the_end(self._writer.durable())
