"""Doing a run again, and answering anew: runs whose input is in the conversation already.

Above: `Awaken`, HTTP. Below: `Mailbox.submit`, with messages that are brought by reference.
Holds: a run that is done is never opened again: what does it again is a run of its own, which reads the same input
last, and one for each run, however often it is asked for. Nothing is appended twice; what was never taken is brought as
a copy, because the fate of the message itself is decided.

Source: ADR 0037; docs/howto/run-an-agent-again.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from msgspec.structs import replace

from awaken.domain.checking import checked
from awaken.domain.delivery import Delivery
from awaken.domain.errors import (
    DataIntegrity,
    MessageNotFound,
    RunNotFinished,
    RunNotFound,
    ThreadNotFound,
    ValidationError,
)
from awaken.domain.ids import MessageId, RunId, Scope, ThreadId, checked_id, derived_id
from awaken.domain.message import Message, Role
from awaken.domain.run import DONE, NO_OPTIONS, Origin, Reference, Run, RunMode, RunOptions, Trace
from awaken.mailbox.engine import Engine
from awaken.mailbox.submission import RunSubmission, Submission
from awaken.store.contract import MAX_PAGE, MessageQuery, Reads, StoredMessage

_GIVEN: Final = frozenset({Role.USER, Role.SYSTEM})
_NO_TRACE: Final = Trace()


class Again:
    """A part of the mailbox."""

    def __init__(self, engine: Engine, reads: Reads, submit: Callable[[RunSubmission], Awaitable[Submission]]) -> None:
        self._engine = engine
        self._reads = reads
        self._submit = submit

    async def retry(
        self,
        scope: Scope,
        run_id: str,
        *,
        agent_id: str | None = None,
        max_attempts: int | None = None,
        delay_ms: int = 0,
        trace: Trace = _NO_TRACE,
    ) -> Submission:
        """A new run that does again what this one was asked for, behind what waits in the thread. Asked again it is the
        same run, whatever is asked besides. `agent_id` None: the same agent. `trace`: how and from whom this came.

        Raises:
            RunNotFound, RunNotFinished: There is no such run, or it has not ended.
            ValidationError: Nothing is left of what it was given, or something given here is unacceptable.
            QueueFull: Too many runs wait on the thread.
        """
        self._engine.require_ready()
        checked_id(run_id, what="run_id")
        if agent_id is not None:
            checked(agent_id, str, what="agent")
        delivery = Delivery(max_attempts=max_attempts, delay_ms=delay_ms)
        delivery.check()
        run = await self._reads.load_run(scope, RunId(run_id))
        if run is None:
            raise RunNotFound(run_id)
        if run.status is not DONE:
            raise RunNotFinished(run_id)
        named = derived_id("retry", run_id)
        referred, copies = await self._given(scope, run, named)
        if not referred and not copies:
            raise ValidationError(f"nothing is left of what run {run_id!r} was given: its messages were retracted")
        dispatch = await self._reads.load_dispatch(scope, run.dispatch_id)
        options = replace(run.request.options, on_disconnect="continue", on_completion="keep")
        if run.started_at is not None:
            options = replace(options, state=None)  # it has changed the state already
        asked = RunSubmission(
            scope=scope,
            thread_id=run.thread_id,
            run_id=named,
            messages=tuple(copies),
            agent_id=run.agent_id if agent_id is None else agent_id,
            delivery=delivery if dispatch is None else replace(delivery, priority=dispatch.priority),
            metadata=run.metadata,
            options=options,
            reference=Reference(message_ids=tuple(referred), retry_of_run_id=run.run_id),
            recognised_as="retry",
            trace=_trace(run, trace),
        )
        return await self._submit(asked)

    async def _given(self, scope: Scope, run: Run, named: str) -> tuple[list[MessageId], list[Message]]:
        """What the run was given: messages of the conversation, in its order, and copies of those never taken."""
        brought: list[StoredMessage] = []
        for message_id in run.request.input_message_ids:
            stored = await self._reads.load_message(scope, run.thread_id, message_id)
            if stored is None:
                raise MessageNotFound(message_id)
            brought.append(stored)
        seqs = {stored.message.id: stored.seq for stored in brought if stored.seq is not None}
        query = MessageQuery(run_id=run.run_id, view="log", limit=MAX_PAGE)
        async for stored in _messages(self._reads, scope, run.thread_id, query):
            message = stored.message
            if message.role in _GIVEN and message.metadata.run_id != run.run_id and stored.seq is not None:
                seqs[message.id] = stored.seq
        left = [stored.message for stored in brought if stored.seq is None and stored.fate != "retracted"]
        copies = [replace(each, id=MessageId(derived_id(named, each.id))) for each in left]
        return sorted(seqs, key=seqs.__getitem__), copies

    async def regenerate(
        self,
        scope: Scope,
        thread_id: str,
        *,
        message_id: str | None = None,
        run_id: str | None = None,
        agent_id: str | None = None,
        options: RunOptions = NO_OPTIONS,
        metadata: dict[str, Any] | None = None,
        trace: Trace = _NO_TRACE,
    ) -> Submission:
        """A new run that answers anew what this message has answered, or the last one that is read. The thread is
        interrupted for it; when it starts, all that stands behind what it answers is hidden. `options`, `metadata`: of
        the new run.

        Raises:
            ThreadNotFound, MessageNotFound: There is no such thread; or no such message is read in it.
            ValidationError: The message is no answer, or there is nothing that it answers.
            AlreadyExists: `run_id` was used for something else.
        """
        self._engine.require_ready()
        thread = ThreadId(checked_id(thread_id, what="thread_id"))
        if agent_id is not None:
            checked(agent_id, str, what="agent")
        if message_id is not None:
            checked_id(message_id, what="message_id")
        if await self._reads.load_thread(scope, thread) is None:
            raise ThreadNotFound(thread)
        earlier = None
        if run_id is not None:
            earlier = await self._reads.load_run(scope, RunId(checked_id(run_id, what="run_id")))
        reference = None if earlier is None else earlier.request.reference
        if reference is None:  # or else it is a repetition, and what it has hidden is not there to be found
            answers = await self._answered_by(scope, thread, message_id)
            reference = Reference(message_ids=tuple(answers), hides=True)
        asked = RunSubmission(
            scope=scope,
            thread_id=thread,
            run_id=run_id,
            messages=(),
            agent_id=agent_id,
            delivery=Delivery(mode="interrupt"),
            metadata=metadata or {},
            options=options,
            reference=reference,
            recognised_as=f"regenerate {message_id} {agent_id}",
            trace=trace,
        )
        return await self._submit(asked)

    async def _answered_by(self, scope: Scope, thread_id: ThreadId, message_id: str | None) -> list[MessageId]:
        """The messages that stand together right before an answer, or before what led to it."""
        query = MessageQuery(view="effective", descending=True, limit=MAX_PAGE)
        is_behind, found = message_id is not None, list[MessageId]()
        async for stored in _messages(self._reads, scope, thread_id, query):
            message = stored.message
            if is_behind:
                is_behind = message.id != message_id
                if not is_behind and message.role is not Role.ASSISTANT:
                    raise ValidationError(
                        f"message {message_id!r} is no answer: it is not an assistant's", loc=("body", "message_id")
                    )
            elif message.role in _GIVEN:
                found.append(message.id)
            elif found:
                break
        if is_behind:
            raise MessageNotFound(message_id or "")
        if not found:
            raise ValidationError(f"thread {thread_id!r} has nothing that could be answered anew")
        return found[::-1]


async def _messages(
    reads: Reads, scope: Scope, thread_id: ThreadId, query: MessageQuery
) -> AsyncIterator[StoredMessage]:
    """Raises DataIntegrity where one cannot be read."""
    while True:
        page = await reads.page_messages(scope, thread_id, query)
        if page.unreadable:
            raise DataIntegrity(page.unreadable[0])
        for stored in page.items:
            yield stored
        if page.next is None:
            return
        query = replace(query, before=page.next) if query.descending else replace(query, after=page.next)


def _trace(run: Run, asked: Trace) -> Trace:
    """Who wanted the run at first, and how it is asked for now. What was a child tells nobody of its end any more."""
    first = run.request.trace
    origin = Origin.USER if first.origin is Origin.SUBAGENT else first.origin
    return replace(asked, origin=origin, mode=RunMode.SCHEDULED, sender=first.sender, hops=first.hops)
