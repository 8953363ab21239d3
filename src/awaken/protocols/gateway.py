"""The one way from a protocol to the mailbox: what a request asks for, and the turn that answers it.

Above: `protocols/<name>/routes.py`. Below: the mailbox and the reads of its store; `Projection` for streams.
Holds: it keeps nothing: whatever it says of a run is read from the log, so that any server answers alike. Closing a
connection stops nothing, unless the run was asked for with `on_disconnect=cancel`.

Source: ADR 0039; docs/concepts/protocols.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.cursor import event_place
from awaken.domain.delivery import Delivery, Strategy, delay_ms, mode_of
from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.ids import RunId, ThreadId, checked_id
from awaken.domain.message import Message, Visibility, page_text
from awaken.domain.run import (
    GOES_WITH_A_NEW_THREAD,
    Adapter,
    ClientTool,
    Limits,
    OnCompletion,
    OnDisconnect,
    Run,
    RunOptions,
    RunStatus,
    Trace,
)
from awaken.domain.state import ThreadState
from awaken.domain.thread import Thread, ThreadInfo
from awaken.domain.ticket import Ticket, Verdict
from awaken.http.frames import Opening
from awaken.http.observer import Return
from awaken.http.operation import Call
from awaken.http.problems import Problem
from awaken.http.sse import EventStream
from awaken.http.submission import check_metadata
from awaken.mailbox.decisions import Verdicts
from awaken.mailbox.service import Cancellation, Interruption
from awaken.mailbox.submission import RunSubmission, Submission
from awaken.protocols.attachments import check_brought, check_foreign
from awaken.protocols.contract import Frames, TurnEncoder
from awaken.protocols.foreign import last_words, new_words, seeded, spoken, told_by_systems, without_systems
from awaken.protocols.projection import (
    Making,
    Place,
    Projection,
    ThreadProjection,
    fed_with,
    opened_of,
    wants_state,
    written,
)
from awaken.protocols.turn_index import Turn, TurnIndex, first_turn
from awaken.store.contract import MAX_PAGE, MessageQuery, RunQuery, Snapshot, StoredMessage, TicketQuery

MAX_CONTEXT_BYTES: Final = 256 * 1024
MAX_CALLED_RUNS: Final = 20
"""Among how many runs of a thread one is looked for by its client's name for it."""
_LAST_EVENT_ID: Final = b"last-event-id"


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants, in this package's words. `messages`: all that it sends, old and new, in order; an id may be
    empty. `answers`: to open tickets; those to tickets that are closed, or to no ticket, count for nothing.
    """

    messages: tuple[Message, ...] = ()
    answers: tuple[Verdict, ...] = ()
    thread_id: str = ""
    """Empty: a new one."""
    agent_id: str | None = None
    """As the path or the body says; None: the thread's last one, or `default`, or the only one."""
    run_id: str | None = None
    context: Any = None
    """What the client's page tells the agent beside the messages."""
    state: dict[str, Any] | None = None
    """A merge patch of the thread's state."""
    client_tools: tuple[ClientTool, ...] = ()
    """What the client carries out itself: a call becomes a ticket that the client answers."""
    metadata: dict[str, Any] = {}
    overrides: Any = None
    limits: Limits | None = None
    strategy: Strategy = "enqueue"
    delay_s: float = 0.0
    on_disconnect: OnDisconnect = "continue"
    on_completion: OnCompletion = "keep"
    wire_run_id: str | None = None
    """What the client calls the run."""


class Gateway:
    """For one request, of one protocol."""

    def __init__(self, call: Call, adapter: Adapter) -> None:
        self._call = call
        self._mailbox = call.mailbox
        self._reads = call.reads
        self._scope = call.scope
        self._adapter = adapter

    # --- asking -------------------------------------------------------------------------------------------------------

    async def enter(self, asked: Incoming) -> Turn | None:
        """Accept what is new in the request, and say which turn answers it. With nothing new it is the turn that is
        under way; None where none is: an empty, well-formed stream is the answer then.

        A thread that does not exist is made. It begins with the conversation that the request brings, and so does one
        on which nothing was said yet.

        Raises:
            As `Mailbox.submit` and `Decisions.decide_thread`; ValidationError for what is beyond the bounds. Nothing is
                stored then.
        """
        thread = await self.load_thread(asked.thread_id)
        said = without_systems(asked.messages)
        asked = replace(asked, messages=said, context=told_by_systems(asked.messages, asked.context))
        if thread is not None and asked.on_completion == "delete":
            raise ValidationError(GOES_WITH_A_NEW_THREAD, loc=("body", "on_completion"))
        last = said[-1] if said else None
        if thread is None or (said and not has_begun(thread)):
            return await self._begin(replace(asked, messages=spoken(said, last)))
        answers = await self._open_answers(thread.thread_id, asked.answers)
        new = spoken(await new_words(self._reads, self._scope, thread.thread_id, said), None if answers else last)
        check_foreign(new, "messages")
        if new:
            return await self._submitted(await self.submit(asked, new, answers))
        if answers:
            made = await self._decided(thread.thread_id, answers, asked.wire_run_id)
            if made.dispatch is not None:
                return await self.latest_turn(made.run)
        return await self.current(thread.thread_id)

    async def _begin(self, asked: Incoming) -> Turn:
        """On a thread that does not exist yet, or has not begun."""
        new = last_words(asked.messages)
        if not new:
            raise ValidationError("there is no message of a user to answer", loc=("body", "messages"))
        before = seeded(asked.messages[: len(asked.messages) - len(new)])
        check_foreign(new, "messages")
        check_brought(before, "messages")
        if before:
            # What would be refused of the run is refused before its thread is made.
            self._mailbox.agents.resolve(await self._agent(asked), None)
            self._submission(asked, new, ()).options.check()
            thread_id = asked.thread_id.strip() or self._mailbox.ids.thread_id()
            info = ThreadInfo()
            thread, _ = await self._mailbox.save_thread(self._scope, thread_id, info, messages=before, if_exists="fill")
            asked = replace(asked, thread_id=thread.thread_id)
        return await self._submitted(await self.submit(asked, new, ()))

    async def submit(self, asked: Incoming, messages: Sequence[Message], answers: Sequence[Verdict] = ()) -> Submission:
        """A run for these messages, with decisions that are made together with it. Those let a run go on, whatever the
        strategy. Raises as `Mailbox.submit`.
        """
        submission = replace(self._submission(asked, messages, answers), agent_id=await self._agent(asked))
        return await self._mailbox.submit(submission)

    def _submission(self, asked: Incoming, messages: Sequence[Message], answers: Sequence[Verdict]) -> RunSubmission:
        """What the mailbox is asked for, but for the agent. Raises ValidationError for what is beyond the bounds."""
        check_metadata(asked.metadata)
        mode = mode_of("enqueue" if answers else asked.strategy)
        return RunSubmission(
            scope=self._scope,
            thread_id=asked.thread_id,
            messages=tuple(messages),
            run_id=asked.run_id,
            delivery=Delivery(mode=mode, delay_ms=delay_ms(asked.delay_s)),
            metadata=asked.metadata,
            context=told(asked.context),
            decisions=tuple(answers),
            options=RunOptions(
                overrides=asked.overrides,
                state=asked.state,
                client_tools=asked.client_tools,
                on_disconnect=asked.on_disconnect,
                on_completion=asked.on_completion,
                **({} if asked.limits is None else {"limits": asked.limits}),
            ),
            trace=self._call.trace(Trace(adapter=self._adapter, wire_run_id=asked.wire_run_id)),
        )

    async def _agent(self, asked: Incoming) -> str | None:
        """The one that is named, or else `default` where the thread has had none. The mailbox knows the rest."""
        if asked.agent_id:
            return asked.agent_id
        known = self._mailbox.agents.ids()
        if "default" not in known or len(known) == 1:
            return None
        thread_id = asked.thread_id.strip()
        latest = await self._reads.latest_run(self._scope, ThreadId(thread_id)) if thread_id else None
        return "default" if latest is None or latest.agent_id not in known else None

    async def _submitted(self, accepted: Submission) -> Turn:
        run = accepted.run
        dispatch = accepted.dispatch
        if dispatch is not None and dispatch.why == "start":
            return replace(first_turn(run), dispatch_id=dispatch.dispatch_id, is_new=not accepted.replayed)
        return await self.latest_turn(run)

    async def _open_answers(self, thread_id: ThreadId, answers: Sequence[Verdict]) -> list[Verdict]:
        if not answers:
            return []
        tickets = await self.open_tickets(thread_id)
        ids, calls = {each.ticket_id for each in tickets}, {each.asked.tool_call_id for each in tickets}
        return [
            self._named(each)
            for each in answers
            if (each.ticket_id in ids if each.ticket_id else each.tool_call_id in calls)
        ]

    async def decide(self, thread_id: str, answers: Sequence[Verdict], *, wire_run_id: str | None = None) -> Turn:
        """Decide tickets, all of them or none, and say which turn the run goes on with, or is in. Raises as
        `Decisions.decide_thread`.
        """
        return await self.latest_turn((await self._decided(thread_id, answers, wire_run_id)).run)

    async def _decided(self, thread_id: str, answers: Sequence[Verdict], wire_run_id: str | None) -> Verdicts:
        decide = self._mailbox.decisions.decide_thread
        named = [self._named(each) for each in answers]
        return await decide(self._scope, ThreadId(thread_id), named, wire_run_id=wire_run_id)

    def _named(self, answer: Verdict) -> Verdict:
        """With who asks for it, and over which protocol."""
        return replace(answer, decided_by=answer.decided_by or self._call.caller.id, adapter=self._adapter)

    async def confirm(self, ticket: Ticket, answer: Verdict) -> None:
        """See to it that a ticket which is closed was decided so, by whomever: then the same again is no mistake.

        Raises:
            DecisionConflict, TicketExpired, TicketWithdrawn: It was decided otherwise, or never.
        """
        await self._mailbox.decisions.decide_ticket(self._scope, ticket.ticket_id, answer)

    async def steer(self, thread_id: str, messages: Sequence[Message]) -> Submission:
        """Messages for the run that executes, taken at its next step. Raises as `Mailbox.submit`."""
        check_foreign(messages, "messages")
        submission = RunSubmission(
            scope=self._scope,
            thread_id=thread_id,
            messages=tuple(messages),
            delivery=Delivery(mode="steer"),
            create_thread=False,
            trace=self._call.trace(Trace(adapter=self._adapter)),
        )
        return await self._mailbox.submit(submission)

    async def cancel(self, thread_id: str, *, wait_s: float = 0.0) -> Cancellation:
        """Stop what the thread is doing, and leave its queue. Raises ThreadNotFound."""
        checked_id(thread_id, what="thread_id")
        return await self._mailbox.cancel_thread(self._scope, ThreadId(thread_id), wait_s=wait_s)

    async def interrupt(self, thread_id: str, *, wait_s: float = 0.0) -> Interruption:
        """Stop everything the thread does, and clear its queue. Raises ThreadNotFound."""
        checked_id(thread_id, what="thread_id")
        return await self._mailbox.interrupt(self._scope, ThreadId(thread_id), wait_s=wait_s)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def load_thread(self, thread_id: str) -> Thread | None:
        """None where it does not exist, or the id is empty. Raises ValidationError for what is no id."""
        named = thread_id.strip()
        if not named:
            return None
        checked_id(named, what="thread_id", loc=("body", "thread_id"))
        return await self._reads.load_thread(self._scope, ThreadId(named))

    async def snapshot(self, thread_id: str) -> Snapshot:
        """The thread, its state, queue, open tickets and pending messages, at one moment. Raises ThreadNotFound."""
        checked_id(thread_id, what="thread_id")
        return await self._mailbox.threads.snapshot(self._scope, ThreadId(thread_id))

    async def messages(self, thread_id: str, *, limit: int = 10_000) -> list[StoredMessage]:
        """What a client may see of the conversation as it is read now, in order.

        Raises:
            DataIntegrity: A message cannot be read.
        """
        found: list[StoredMessage] = []
        after: int | None = 0
        while after is not None and len(found) < limit:
            query = MessageQuery(after=after, limit=MAX_PAGE, view="effective", visibility=Visibility.ALL)
            page = await self._reads.page_messages(self._scope, ThreadId(thread_id), query)
            if page.unreadable:
                raise DataIntegrity(page.unreadable[0])
            found += page.items
            after = page.next
        return found

    async def open_tickets(self, thread_id: str) -> tuple[Ticket, ...]:
        """What somebody can decide, in the order in which it was asked: not the ends of children."""
        found: list[Ticket] = []
        after: int | None = None
        while True:
            query = TicketQuery(thread_id=ThreadId(thread_id), state="open", after=after, limit=MAX_PAGE)
            page = await self._reads.list_tickets(self._scope, query)
            found += [each for each in page.items if each.asked.kind != "child"]
            after = page.next
            if after is None:
                return tuple(found)

    # --- turns --------------------------------------------------------------------------------------------------------

    async def current(self, thread_id: str) -> Turn | None:
        """The turn of the run that executes, or else is next: None where nothing is under way, also where a run waits
        for somebody.
        """
        thread = await self.load_thread(thread_id)
        if thread is None:
            return None
        run_id: RunId | None = thread.active_run_id
        if run_id is None and thread.queued_count:
            queue = await self._reads.list_queue(self._scope, thread.thread_id, limit=1)
            run_id = queue[0].run_id if queue else None
        run_id = run_id or thread.open_run_id
        run = None if run_id is None else await self._reads.load_run(self._scope, run_id)
        if run is None or run.status is RunStatus.DONE:
            return None
        turn = await self.latest_turn(run)
        return None if turn.ending is not None else turn

    async def latest_turn(self, run: Run) -> Turn:
        """The newest turn of a run."""
        return (await self.turns_of(run))[-1]

    async def turns_of(self, run: Run) -> list[Turn]:
        """All turns of a run, at least one.

        Raises:
            DataIntegrity: Its log cannot be read.
        """
        index: TurnIndex = self._call.service.kept.setdefault(TurnIndex, TurnIndex())
        return await index.turns_of(self._reads, self._scope, run)

    async def turn_called(self, thread_id: str, wire_run_id: str) -> Turn | None:
        """The newest turn of the thread that a client has called so, among those of its last runs."""
        return await self.turn_where(thread_id, lambda name: name == wire_run_id)

    async def turn_where(self, thread_id: str, is_called: Callable[[str], bool]) -> Turn | None:
        """The newest turn of the thread whose client's name for it is such a one, among those of its last runs."""
        query = RunQuery(thread_id=ThreadId(thread_id), descending=True, limit=MAX_CALLED_RUNS)
        for run in (await self._reads.list_runs(self._scope, query)).items:
            for turn in reversed(await self.turns_of(run)):
                if turn.wire_run_id is not None and is_called(turn.wire_run_id):
                    return turn
        return None

    async def resumed(self, thread_id: str, *, cursor: str | None = None) -> tuple[Turn, Place] | None:
        """Where a client goes on that comes back to a thread: behind the frame that `Last-Event-ID`, or else `cursor`,
        names, in the turn that this belongs to; without either, at the start of the current turn. None where there is
        nothing more to send.

        A place that the log has not any more is the start of the current turn.

        Raises:
            ValidationError: The cursor is none, or of another thread.
        """
        named = self._call.header(_LAST_EVENT_ID) or cursor
        if not named:
            turn = await self.current(thread_id)
            return None if turn is None else (turn, Place(turn.after))
        found, how = await self._place(thread_id, named)
        self._call.service.streams.observer.came_back(self._adapter.value, how)
        return found

    async def _place(self, thread_id: str, named: str) -> tuple[tuple[Turn, Place] | None, Return]:
        """The same for a cursor, and what a client finds there."""
        after, frames = event_place(named, self._scope, ThreadId(thread_id), "header", "last-event-id")
        run = await self._run_at(ThreadId(thread_id), after if frames == 0 else after + 1)
        turns = [] if run is None else await self.turns_of(run)
        for turn in reversed(turns):
            if turn.after <= after:
                is_over = turn.last_seq is not None and after >= turn.last_seq
                return (None, "over") if is_over else ((turn, Place(after, frames)), "resumed")
        turn = await self.current(thread_id)
        return (None, "over") if turn is None else ((turn, Place(turn.after)), "resync")

    async def _run_at(self, thread_id: ThreadId, seq: int) -> Run | None:
        """The run that the event belongs to."""
        page = await self._reads.page_events(self._scope, thread_id, after=max(seq - 1, 0), limit=1)
        row = page.items[0] if page.items else None
        if row is None or row.run_id is None or row.first_seq != max(seq, 1):
            return None
        return await self._reads.load_run(self._scope, row.run_id)

    # --- answering ----------------------------------------------------------------------------------------------------

    async def watch(
        self, turn: Turn, make: Making, *, place: Place | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A stream of the turn, from its first frame or behind a place, to its last one. `make` makes an encoder."""
        at, first = Place(turn.after) if place is None else place, Place(turn.after)
        return self._stream(turn.run, await self._projection(turn.run, make, at, resumes=at != first), at, headers)

    async def join(self, thread_id: str, make: Making, *, headers: Mapping[str, str] | None = None) -> Response | None:
        """A stream of the turn that is under way on the thread. It begins where the log is now, with the encoder's
        prelude in the place of the frames so far. None where nothing is under way.
        """
        while (turn := await self.current(thread_id)) is not None:
            _, last = await self._reads.event_bounds(self._scope, turn.run.thread_id)
            at = Place(max(last, turn.after))
            projection = await self._projection(turn.run, make, at, resumes=False)
            if not (await projection.join()).is_over:
                return self._stream(turn.run, projection, at, headers)
            # It has ended since it was found: whoever came then would be shown no end of it.
        return None

    async def _projection(self, run: Run, make: Making, at: Place, *, resumes: bool) -> Projection:
        opened = opened_of(self._scope, run, await self._state(make, run.thread_id), resumes=resumes)
        return Projection(make, run, opened, at, self._reads, self._call.service.streams.cache)

    def _stream(self, run: Run, projection: Projection, at: Place, headers: Mapping[str, str] | None) -> Response:
        call = self._call
        return EventStream(
            call.service.streams,
            self._mailbox.read_run(self._scope, run, after=at.after),
            projection,
            Opening(
                scope=self._scope,
                thread_id=run.thread_id,
                run_id=run.run_id,
                after=at.after,
                retry_ms=call.service.settings.retry_ms,
            ),
            request_id=call.request_id,
            headers=headers,
            watching=self._mailbox.attendance.watching(self._scope, run),
        )

    async def watch_thread(
        self,
        thread_id: str,
        make: Making,
        failed: Callable[[Problem, str], Frames],
        *,
        dialect: str,
        place: Place | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A stream of everything on the thread, without end: behind `Last-Event-ID`, or else behind a place; None:
        from now on.

        Raises:
            ThreadNotFound: There is no such thread.
            ValidationError: `Last-Event-ID` is no cursor of it.
        """
        call, thread = self._call, await self._mailbox.get_thread(self._scope, ThreadId(thread_id))
        named = call.header(_LAST_EVENT_ID)
        if named:
            place = Place(*event_place(named, self._scope, thread.thread_id, "header", "last-event-id"))
        if place is None:
            place = Place((await self._reads.event_bounds(self._scope, thread.thread_id))[1])
        opening = Opening(
            scope=self._scope,
            thread_id=thread.thread_id,
            run_id=None,
            after=place.after,
            retry_ms=call.service.settings.retry_ms,
        )
        streams = call.service.streams
        return EventStream(
            streams,
            self._mailbox.read_thread(self._scope, thread.thread_id, after=place.after),
            ThreadProjection(make, failed, opening, place, self._reads, streams.cache, dialect=dialect),
            opening,
            request_id=call.request_id,
            headers=headers,
        )

    async def read(self, run: Run, make: Making) -> TurnEncoder:
        """An encoder that was fed the whole run so far: for an answer that is no stream, and says what a stream would
        have said. Raises DataIntegrity where the log cannot be read.
        """
        opened = opened_of(self._scope, run, await self._state(make, run.thread_id))
        return await fed_with(make, run, opened, self._reads, self._call.service.streams.cache)

    async def _state(self, make: Making, thread_id: ThreadId) -> ThreadState | None:
        return await self._reads.load_state(self._scope, thread_id) if wants_state(make) else None

    def say(self, frames: Frames, *, headers: Mapping[str, str] | None = None) -> Response:
        """A whole stream at once: these frames, in no log, and the end."""
        told = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", **(headers or {})}
        return Response(written(frames), 200, told, media_type="text/event-stream")


def has_begun(thread: Thread) -> bool:
    """Something has been said on it, or will be."""
    return bool(thread.message_count or thread.pending_count or thread.latest_run_id is not None)


def told(context: Any) -> str | None:
    """What a client's page tells the agent, as the text of one internal message. None for nothing.

    Raises:
        ValidationError: It is too large.
    """
    if context is None or context in ("", [], {}):
        return None
    text = context if isinstance(context, str) else msgspec.json.encode(context).decode()
    if len(text.encode()) > MAX_CONTEXT_BYTES:
        raise ValidationError(f"the context has at most {MAX_CONTEXT_BYTES} bytes", loc=("body", "context"))
    return page_text(text)
