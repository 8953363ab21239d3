"""The memory store, and SQLite or Postgres, driven with the same random batches, must answer and read alike.

Above: nobody; this is the widest net under the stores. Below: `awaken.store.rules` through both of them.
Holds: every outcome is compared, after every batch every thread is read from both and both are audited, and what must
hold of the queue is checked on what was read. Ids come from small pools so that they collide; claims are kept after
they ended, so that stale tokens are tried all the time; what was applied once is asked again later, as somebody does
who never heard the answer. A failure prints the steps and a blob that replays them; `make luck` runs thousands of
examples instead of the few dozen of every day.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar
from uuid import uuid4

import msgspec
import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import SearchStrategy
from msgspec.structs import replace

from awaken.domain.child import ChildEnd, ChildTicket, child_of
from awaken.domain.delivery import Delivery, Mode
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.event import logged
from awaken.domain.ids import (
    AgentId,
    ClaimToken,
    ConsumerId,
    DispatchId,
    InstanceId,
    MessageId,
    Route,
    RunId,
    Scope,
    ThreadId,
    TicketId,
)
from awaken.domain.message import Message, Role, Text, ToolCall, ToolStatus, Visibility, user_message
from awaken.domain.outbox import Begin, ChildWaits, OutboxRow, Posting
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import (
    CANCELLED,
    NATURAL_END,
    NO_OPTIONS,
    ChildOf,
    Intent,
    Origin,
    Run,
    RunOptions,
    RunRequest,
    RunStatus,
    Termination,
    Trace,
    Usage,
)
from awaken.domain.schedule import ScheduleSpec
from awaken.domain.state import Values
from awaken.domain.thread import ThreadInfo, ThreadPatch
from awaken.domain.ticket import Decision, Ticket, TicketRequest, ticket_id
from awaken.store.contract import (
    DispatchQuery,
    MessageQuery,
    Page,
    RunQuery,
    Store,
    ThreadQuery,
    TicketQuery,
)
from awaken.store.memory import MemoryStore
from awaken.store.memory.tables import Tables
from awaken.store.postgres import PostgresStore
from awaken.store.postgres.opening import connect, place_of
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import (
    SET_ORDER,
    Ack,
    Blocked,
    Busy,
    Cancel,
    ChangeSchedule,
    Claim,
    Claimed,
    ClaimedSome,
    Commit,
    Committed,
    Conflict,
    Consumed,
    Continued,
    DeadLetter,
    Decide,
    DeclareSchedules,
    Delivered,
    DispatchMoved,
    Edit,
    EditDispatch,
    Edited,
    EditSchedules,
    EditThread,
    Ending,
    Failed,
    Full,
    Handled,
    Hide,
    HideRun,
    Incomplete,
    Interrupt,
    JournalEntry,
    Known,
    LeaseLost,
    LeaseRef,
    MakeSchedule,
    Missing,
    NoteChild,
    NotOpen,
    NotWaiting,
    Offer,
    Outcome,
    PatchState,
    PauseSchedule,
    Purge,
    Purged,
    Reclaim,
    Reclaimed,
    Release,
    RemoveSchedule,
    Renew,
    Reorder,
    Reordered,
    Replayed,
    ResumeSchedule,
    Retract,
    Retracted,
    Retry,
    Rooms,
    Ruling,
    SaveThread,
    ScheduleEdit,
    Settle,
    Settled,
    SetTransition,
    Staged,
    Stale,
    StepClosed,
    Submit,
    Submitted,
    Suspend,
    ThreadTransition,
    Tick,
)
from awaken.testing.audit import breaches_of
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.outbox import delivering
from awaken.testing.events import text_delta
from tests.postgres import drop_schema, url_of_schema
from tests.store.at_once import read_at_once
from tests.store.views import (
    ALL,
    View,
    check_counts,
    check_thread,
    check_tickets,
    items_of,
    looking,
)

T = TypeVar("T")
RecordT = TypeVar("RecordT")
Plan = Callable[["TwoStores"], ThreadTransition | SetTransition | None]
"""A transition in the making: drawn without knowing the state, made real when its turn comes."""

SCOPES: Final = (Scope("one"), Scope("two"))
THREADS: Final = (ThreadId("a"), ThreadId("b"), ThreadId("c"))
AGENTS: Final = (AgentId("agent-1"), AgentId("agent-2"), AgentId("agent-3"))
ROUTES: Final = tuple(Route(agent) for agent in AGENTS)
CONSUMERS: Final = (ConsumerId("worker"), ConsumerId("0190b6c4-8a5e-7d11-9c3f-2f1a6b7c8d9e"))
RUNS: Final = tuple(RunId(f"r{n}") for n in range(6))
DISPATCHES: Final = tuple(DispatchId(f"d{n}") for n in range(6))
MESSAGES: Final = tuple(MessageId(f"m{n}") for n in range(8))
REFUSALS: Final = (
    Missing, Conflict, Full, LeaseLost, Replayed, Busy, NotOpen, NotWaiting, Blocked, Stale, Consumed, Incomplete,
    DispatchMoved,
)  # fmt: skip
_MADE_UP: Final = frozenset({"child_was_begun"})
"""Invariants that do not hold here: nobody begins the children that the tickets speak of."""
_STEER: Final[Mode] = "steer"
_QUEUE: Final[Mode] = "queue"
_RARE: Final[tuple[Mode, ...]] = ("follow_up", "interrupt", "rollback", "reject", "resume")
MODES: Final = (*[_QUEUE] * 5, *[_STEER] * 5, *_RARE)
PLENTY: Final = 50
CHILD: Final = msgspec.to_builtins(
    ChildTicket(run_id=RunId("started"), thread_id=ThreadId("elsewhere"), agent_id=AgentId("agent-1"))
)


def told(decision: Decision) -> Decision:
    """As a child that has ended tells it."""
    end = ChildEnd(run_id=RunId("started"), termination=NATURAL_END, output=decision.reason)
    return replace(decision, action="answer", result=msgspec.to_builtins(end))


FOR_EVER: Final = 10**13


# --- what may be asked ------------------------------------------------------------------------------------------------


def pick(items: Sequence[T]) -> SearchStrategy[T]:
    return st.sampled_from(items)


def maybe(strategy: SearchStrategy[T]) -> SearchStrategy[T | None]:
    return st.none() | strategy


numbers = st.integers(0, 1_000)
scopes, threads = pick((*SCOPES[:1] * 3, *SCOPES)), pick((*THREADS[:1] * 2, *THREADS))
agents = pick((*AGENTS[:1] * 3, *AGENTS))
lease_lengths = pick((5, 1_000, 60_000, None))
served = pick((frozenset(ROUTES), frozenset(ROUTES), frozenset(ROUTES[:1]), frozenset(ROUTES[1:])))
offers = maybe(st.tuples(lease_lengths, served, pick(CONSUMERS)))
calls = st.lists(pick(("c1", "c2", "c3")), max_size=3, unique=True)


def messages(*roles: Role) -> SearchStrategy[Message]:
    """A message; an id from the pool now and then, otherwise one that was never used."""
    return st.builds(
        _message,
        pick(roles),
        pick((*MESSAGES, *[MessageId("")] * 24)),
        pick(("", "text", "ü€😀")),
        calls,
        pick(tuple(Visibility)),
    )


def _message(role: Role, message_id: MessageId, text: str, wanted: list[str], visibility: Visibility) -> Message:
    answers = role is Role.TOOL
    return Message(
        id=message_id,
        role=role,
        content=(Text(text),),
        tool_calls=tuple(ToolCall(call, "tool", {"n": 1}) for call in wanted) if role is Role.ASSISTANT else (),
        tool_call_id=(wanted or ["c1"])[0] if answers else None,
        tool_status=ToolStatus.SUCCESS if answers else None,
        visibility=visibility,
    )


any_message = messages(Role.ASSISTANT, Role.ASSISTANT, Role.TOOL, Role.USER, Role.SYSTEM)
inputs = st.lists(messages(Role.USER, Role.SYSTEM), min_size=1, max_size=2)
deltas = st.builds(text_delta, pick(("x", "ü"))).map(logged)
entries = st.lists(any_message | deltas, max_size=4)
journals = st.lists(
    st.builds(JournalEntry, pick(("a#1", "b#1")), pick((msgspec.Raw(b"1"), msgspec.Raw(b'{"x": [2]}')))), max_size=2
)
closings = maybe(
    st.builds(
        StepClosed,
        steps=st.integers(0, 5),
        usage=st.builds(Usage, input_tokens=st.integers(0, 9)),
        turn=maybe(pick(MESSAGES)),
        is_progress=st.booleans(),
    )
)
policies = st.builds(RetryPolicy, base_delay_ms=pick((0, 250)), max_delay_ms=pick((0, 30_000)))
terminations = pick(
    (
        NATURAL_END,
        CANCELLED,
        Termination("error", detail="no"),
        Termination("stopped", "x"),
    )
)
KEYS: Final = ("c1", "c2", "ask#1", "start#1")
requests = st.builds(
    TicketRequest,
    key=pick(KEYS),
    kind=pick(("approval", "input", "external")),
    tool_call_id=pick(("c1", None)),
    tool_name=pick(("tool", "other", None)),
    message=pick(("well?", None)),
    expires_in_ms=pick((None, None, None, 0, 5, 1_000)),
    on_expiry=pick(("deny", "deny", "answer", "fail", "cancel")),
    default=pick((None, {"n": [1]})),
).map(
    lambda asked: replace(asked, kind="child", tool_call_id=None, arguments=CHILD) if asked.key == "start#1" else asked
)
asked_tickets = st.lists(requests, max_size=3, unique_by=lambda asked: asked.key).map(tuple)
decisions = st.builds(
    Decision,
    decision_id=pick(("x", "y")),
    action=pick(("approve", "approve", "deny", "answer")),
    result=pick((None, {"n": [1]})),
    reason=pick((None, None, "because")),
    decided_by=pick((None, "ann")),
)
suspensions = st.builds(
    Suspend, next_dispatch_id=st.just(DispatchId("")), opens=asked_tickets, mode=pick(("any", "any", "all"))
)
endings: SearchStrategy[Ending] = st.one_of(
    suspensions,
    suspensions,
    st.builds(Ack, terminations, maybe(pick(("out",)))),
    st.builds(Ack, terminations, maybe(pick(("out",)))),
    st.builds(Retry, pick(("failed",)), policies, pick((0, 700))),
    st.builds(DeadLetter, pick(("hopeless",))),
    st.builds(Release, pick(("draining",))),
)
PATCHES: Final[tuple[Values, ...]] = (
    {"a": 1}, {"a": None}, {"a": {"b": 2}}, {"a": {"b": None, "c": []}}, {"b": {"x": "ü"}, "a": None},
)  # fmt: skip
patches = pick(PATCHES)
CHANGES: Final = ("state", "state", "state", "hide", "hide", "hide", "edit", "edit", "hide_run")
infos = st.builds(ThreadInfo, title=maybe(pick(("t",))), resource_id=maybe(pick(("x", "y"))))


@st.composite
def submits(draw: st.DrawFn) -> Plan:
    """What a waiting run may go on with, as often as what needs a run of its own; the former where one waits."""
    own = draw(st.booleans())
    delivery = Delivery(priority=draw(pick((0, 128, 128, 200))), max_attempts=draw(pick((1, 2, 5))))
    if own:
        key, delay_ms = draw(maybe(pick(("k1", "k2")))), draw(pick((0, 0, 0, 5, 1_000)))
        delivery = replace(delivery, dedupe_key=key, delay_ms=delay_ms)
    mode = draw(pick(MODES))
    if mode in ("steer", "follow_up", "resume"):
        delivery = replace(delivery, dedupe_key=None, delay_ms=0)
    delivery = replace(
        delivery,
        mode=mode,
        granularity=draw(pick(("batch", "batch", "one"))),
        barrier=draw(pick((False, False, False, True))),
        fallback_to_new_run=draw(pick((True, True, False))),
        interrupt_id=draw(pick((None, "i1", "i2"))) if mode in ("interrupt", "rollback") else None,
    )
    aimed = draw(maybe(numbers)) if mode != "reject" else None
    options = RunOptions(state=draw(maybe(patches))) if own else NO_OPTIONS
    asked = Submit(
        scope=draw(scopes),
        thread_id=draw(threads),
        run_id=draw(pick(RUNS)),
        dispatch_id=draw(pick(DISPATCHES)),
        request=RunRequest(Intent(draw(agents)), (), options=options),
        messages=tuple(draw(inputs)),
        digest=draw(pick(("x", "x", "y"))),
        metadata=draw(pick(({}, {"k": [1, None]}))) if own else {},
        delivery=delivery,
        create_thread=draw(pick((True, True, True, False))),
        max_queued=draw(pick((1_000, 1_000, 2))),
        max_pending=draw(pick((1_000, 1_000, 3))),
    )
    reuse_run, reuse_dispatch = draw(pick((False, False, False, True))), draw(pick((False, False, False, True)))
    at_ms, room = draw(maybe(pick((-1_000, 0, 3_000)))) if own else None, draw(offers)
    trusted, at_home = draw(st.booleans()), draw(pick((True, True, True, False)))

    def plan(world: TwoStores) -> Submit:
        submit = asked
        if not reuse_run:
            submit = replace(submit, run_id=RunId(world.fresh("r")))
        if not reuse_dispatch:
            submit = replace(submit, dispatch_id=DispatchId(world.fresh("d")))
        pooled = reuse_run or reuse_dispatch or any(message.id for message in submit.messages)
        brought = world.named(submit.messages)
        waits = None if own else world.waiting_run()
        if waits is not None:
            scope, run = waits
            submit = replace(submit, scope=scope, thread_id=run.thread_id)
            if at_home:
                submit = replace(submit, request=replace(submit.request, intent=Intent(run.agent_id)))
        if aimed is not None and world.runs_seen:
            scope, run_id, thread_id = world.runs_seen[-1 - aimed % min(len(world.runs_seen), 1 + aimed % 8)]
            submit = replace(submit, scope=scope, thread_id=submit.thread_id if aimed % 11 == 0 else thread_id)
            submit = replace(submit, delivery=replace(submit.delivery, target_run_id=run_id))
        return replace(
            submit,
            messages=brought,
            request=replace(submit.request, input_message_ids=tuple(message.id for message in brought)),
            delivery=replace(
                submit.delivery,
                available_at=None if at_ms is None or mode in ("steer", "resume") else world.clock.now() + at_ms,
            ),
            fresh_ids=trusted and not pooled,
            offer=None if room is None else world.offer(*room),
        )

    return plan


@st.composite
def owner_writes(draw: st.DrawFn) -> Plan:
    """A commit or a settlement by some claim of the past or present, now and then with a wrong token."""
    which, token = draw(numbers), draw(pick((None, None, None, None, ClaimToken("guessed"))))
    written, journal, closes = draw(entries), tuple(draw(journals)), draw(closings)
    stream_open, spent = draw(pick((None, None, True, False))), draw(pick((None, None, Usage(model_calls=3))))
    ending, room = draw(endings) if draw(st.booleans()) else None, draw(offers)
    answers = draw(st.booleans())
    beside, gone = draw(pick(("", "", "", "and more"))), draw(pick((False, False, False, True)))
    takes, goes_on = draw(pick((None, "next_step", "next_step", "on_natural_end"))), draw(st.booleans())
    early = draw(asked_tickets) if draw(pick((False, False, True))) else ()
    groups = draw(pick((0, 0, 1, 2)))
    state = tuple(draw(st.lists(patches, max_size=2)))
    starts, detached = draw(pick((None, None, None, *THREADS))), draw(pick((False, False, True)))
    awaited = draw(pick(((), (), ("start#1",), ("start#2",))))

    def plan(world: TwoStores) -> Commit | Settle | None:
        claim = world.claim_at(which)
        if claim is None:
            return None
        commit = Commit(
            scope=claim.scope,
            thread_id=claim.dispatch.thread_id,
            run_id=claim.run.run_id,
            dispatch_id=claim.dispatch.dispatch_id,
            token=token or claim.token,
            number=world.next_number(claim),
            entries=world.named(tuple(written)),
            journal=journal,
            closes=closes,
            usage=spent,
            stream_open=stream_open,
            state=state,
            awaits=tuple([ticket_id(claim.run.run_id, key) for key in awaited]),
        )
        if ending is None:
            asked, posts = early, ()
            if starts is not None:
                child, posting = world.child(claim, starts, detached=detached)
                asked, posts = (*early, child), (posting,)
            return replace(commit, opens=asked, posts=posts, takes=takes)
        fields = [field for field in commit.__struct_fields__ if field not in ("opens", "takes")]
        shared: dict[str, Any] = {field: getattr(commit, field) for field in fields}
        end = ending
        if isinstance(ending, Suspend):
            ids = [each.id_in(claim.run.run_id) for each in ending.opens]
            parts = tuple([tuple(ids[at::groups]) for at in range(groups)])
            end = replace(ending, next_dispatch_id=DispatchId(world.fresh("next")), together=parts)
        offer = None if room is None else world.offer(*room)
        settle = Settle(**shared, ending=end, offer=offer, unless_pending=goes_on)
        return replace(settle, ending=_answering(end, settle.messages, beside, gone)) if answers else settle

    return plan


def _answering(ending: Ending, written: tuple[Message, ...], beside: str, gone: bool) -> Ending:
    """An ack whose answer is what was written with it; or more than that, or also a message that may not be there."""
    answer = [message for message in written if message.role is Role.ASSISTANT]
    if not isinstance(ending, Ack) or not answer:
        return ending
    ids = tuple(message.id for message in answer) + ((MessageId("m1"),) if gone else ())
    return Ack(ending.termination, "".join(message.text for message in answer) + beside, ids)


@st.composite
def repetitions(draw: st.DrawFn) -> Plan:
    """Something that was asked before, by somebody who never heard the answer: often what an owner wrote last."""
    which, of_an_owner = draw(pick((0, 0, 0, 1, 2, 3, 5, 8, 13))), draw(st.booleans())

    def plan(world: TwoStores) -> ThreadTransition | None:
        asked = [*world.last_writes.values()] if of_an_owner else world.asked
        return asked[-1 - which % len(asked)] if asked else None

    return plan


@st.composite
def cancels(draw: st.DrawFn) -> Plan:
    which, pooled, hide = draw(numbers), draw(pick(RUNS)), draw(pick((False, False, True)))
    scope, thread = draw(scopes), draw(threads)

    def plan(world: TwoStores) -> Cancel:
        known = world.runs_seen
        if known:
            seen_scope, run_id, thread_id = known[which % len(known)]
            return Cancel(scope=seen_scope, thread_id=thread if which % 7 == 0 else thread_id, run_id=run_id, hide=hide)
        return Cancel(scope=scope, thread_id=thread, run_id=pooled, hide=hide)

    return plan


@st.composite
def places(draw: st.DrawFn) -> Plan:
    """For something queued, or for what is queued no more."""
    which, off, pooled = draw(numbers), draw(pick((None, None, -1_000, 5, 1_000))), draw(pick(DISPATCHES))
    priority, delay_ms = draw(pick((None, 0, 128, 200))), draw(pick((None, 0, 5, 60_000)))

    def plan(world: TwoStores) -> EditDispatch | None:
        threads = [] if world.view is None else world.view.threads
        known = [(view.scope, each) for view in threads for each in (*view.queue, *view.dispatches[-2:])]
        if not known:
            return None
        scope, dispatch = known[which % len(known)]
        return EditDispatch(
            scope=scope,
            thread_id=dispatch.thread_id,
            run_id=dispatch.run_id,
            dispatch_id=pooled if which % 7 == 0 else dispatch.dispatch_id,
            priority=priority,
            delay_ms=delay_ms,
            available_at=None if off is None else world.clock.now() + off,
        )

    return plan


@st.composite
def verdicts(draw: st.DrawFn) -> Plan:
    """Decisions about tickets of one run, open or not, and a look at whose time is over."""
    which, made = draw(numbers), draw(st.lists(decisions, max_size=2))
    looks = draw(st.booleans())

    def plan(world: TwoStores) -> Decide | None:
        tickets = [each for each in world.tickets_at(which) if _is_made_up(each[1])]
        if not tickets:
            return None
        scope, first = tickets[0]
        return Decide(
            scope=scope,
            thread_id=first.thread_id,
            run_id=first.run_id,
            rulings=tuple(
                [
                    Ruling(each.ticket_id, told(decision) if each.asked.kind == "child" else decision)
                    for (_, each), decision in zip(tickets, made, strict=False)
                ]
            ),
            expires=tuple([each.ticket_id for _, each in tickets]) if looks else (),
        )

    return plan


def _is_made_up(ticket: Ticket) -> bool:
    """It follows no child that has been begun, and tells of its end itself."""
    return ticket.asked.kind != "child" or child_of(ticket).run_id == "started"


@st.composite
def news_of_children(draw: st.DrawFn) -> Plan:
    """A child says that it waits, now and then what it has said before."""
    which, dispatch = draw(numbers), draw(pick(DISPATCHES))

    def plan(world: TwoStores) -> NoteChild | None:
        for scope, ticket in world.tickets_at(which):
            if ticket.asked.kind == "child":
                told = ChildWaits(
                    run_id=ticket.run_id,
                    ticket_id=ticket.ticket_id,
                    child_run_id=RunId("started"),
                    dispatch_id=dispatch,
                    ticket_ids=(TicketId("of the child"),),
                )
                return NoteChild(scope=scope, thread_id=ticket.thread_id, told=told)
        return None

    return plan


@st.composite
def saves(draw: st.DrawFn) -> Plan:
    asked = SaveThread(
        scope=draw(scopes),
        thread_id=draw(threads),
        info=draw(infos),
        messages=tuple(draw(st.lists(any_message, max_size=2))),
        if_exists=draw(pick(("raise", "keep", "replace"))),
    )
    return lambda world: replace(asked, messages=world.named(asked.messages))


@st.composite
def interrupts(draw: st.DrawFn) -> Plan:
    asked = Interrupt(scope=draw(scopes), thread_id=draw(threads), id=draw(pick(("", "", "i1"))))
    return lambda world: asked if asked.id else replace(asked, id=world.fresh("i"))


@st.composite
def changes_of_messages(draw: st.DrawFn) -> Plan:
    """An edit, a retraction or another order of what waits, now and then of what does so no more."""
    scope, thread, which, kind = draw(scopes), draw(threads), draw(numbers), draw(pick(("edit", "retract", "order")))
    text, boundary = draw(pick((None, "text", "other"))), draw(pick((None, None, "next_step", "on_natural_end")))
    barrier, off = draw(pick((None, None, True, False))), draw(pick((0, 0, 0, None, 1)))
    order, gone = draw(st.randoms(use_true_random=False)), draw(pick((0, 0, 0, 1)))

    def plan(world: TwoStores) -> Edit | Retract | Reorder | None:
        known = world.messages_at(scope, thread)
        if not known:
            return None
        message_id, revision = known[which % len(known)]
        at = None if off is None else revision + off
        if kind == "retract":
            return Retract(scope=scope, thread_id=thread, message_id=message_id, revision=at)
        if kind == "edit":
            message = None if text is None else user_message(message_id, text)
            return Edit(
                scope=scope,
                thread_id=thread,
                message_id=message_id,
                revision=at,
                message=message,
                boundary=boundary,
                barrier=barrier,
            )
        waiting = [each for each, _ in world.pending_at(scope, thread)][gone:]
        order.shuffle(waiting)
        return Reorder(scope=scope, thread_id=thread, message_ids=tuple(waiting))

    return plan


@st.composite
def deliveries(draw: st.DrawFn) -> Plan:
    """An errand as the mailbox delivers it, the first of a lane mostly; or the word that some have been delivered."""
    which, word, refused = draw(numbers), draw(st.booleans()), draw(pick((None, None, "no such thing")))

    def plan(world: TwoStores) -> ThreadTransition | Delivered | None:
        rows = [] if world.view is None else world.view.outbox
        if word:
            gone = world.delivered[which % 3 :][:3]
            handled = [Handled(row.no, refused if n else None, skipped=which % 5 == 0) for n, row in enumerate(gone)]
            return Delivered(rows=tuple(handled))
        if not rows:
            return None
        row = rows[0 if which % 3 else which % len(rows)]
        world.delivered.insert(0, row)
        return delivering(row)

    return plan


@st.composite
def edits_of_schedules(draw: st.DrawFn) -> Plan:
    name, other = draw(pick(("s1", "s2"))), draw(pick(("s1", "s2")))
    spec = ScheduleSpec(
        name=name,
        agent_id=draw(agents),
        messages=(user_message(MessageId(""), "tick"),),
        every_s=draw(pick((1, 60))),
        overlap=draw(pick(("skip", "queue"))),
        missed=draw(pick(("one", "all", "none"))),
        thread_id=draw(pick(THREADS)),
    )
    was = draw(pick((spec, replace(spec, every_s=1), replace(spec, overlap="skip"))))
    edits: tuple[ScheduleEdit, ...] = (
        *[MakeSchedule(spec)] * 4, ChangeSchedule(spec, was), PauseSchedule(name), ResumeSchedule(name),
        RemoveSchedule(name), DeclareSchedules((spec,)), DeclareSchedules((replace(spec, name=other),)),
    )  # fmt: skip
    asked = EditSchedules(scope=draw(scopes), edit=draw(pick(edits)))
    return lambda world: asked


@st.composite
def ticks(draw: st.DrawFn) -> Plan:
    asked = Tick(max_attempts=2, limit=draw(pick((1, 200))))
    return lambda world: asked


@st.composite
def changes_of_threads(draw: st.DrawFn) -> Plan:
    """Of its state, its view, what is said about it; and that a run of it is left out of lists. Deletions are left to
    the sequences of `Awaken`: here most of what is asked would be refused from then on.
    """
    scope, thread_id, which, kind = draw(scopes), draw(threads), draw(numbers), draw(pick(CHANGES))
    patch, off, parent = draw(patches), draw(pick((None, None, 0, 1))), draw(pick((None, *THREADS)))

    def plan(world: TwoStores) -> ThreadTransition | None:
        view = None if world.view is None else world.view.thread(thread_id, scope)
        match kind:
            case "state":
                version = None if off is None or view is None else view.state.version + off
                return PatchState(scope=scope, thread_id=thread_id, patch=patch, if_version=version)
            case "hide" if view is not None and view.log:
                name = view.log[which % len(view.log)].message.id
                return Hide(scope=scope, thread_id=thread_id, message_id=name)
            case "edit":
                version = None if off is None or view is None or view.thread is None else view.thread.info_version + off
                said = ThreadPatch(title=f"t{which}", parent_thread_id=parent)
                return EditThread(scope=scope, thread_id=thread_id, patch=said, if_version=version)
            case "hide_run" if view is not None and view.runs:
                run_id = view.runs[which % len(view.runs)].run_id
                return HideRun(scope=scope, thread_id=thread_id, run_id=run_id)
            case _:
                return None

    return plan


@st.composite
def renewals(draw: st.DrawFn) -> Plan:
    wanted, lease_ms = draw(st.lists(st.tuples(numbers, st.booleans()), max_size=4)), draw(pick((5, 1_000, 60_000)))

    def plan(world: TwoStores) -> Renew:
        leases: list[LeaseRef] = []
        for which, wrong in wanted:
            claim = world.claim_at(which)
            if claim is not None and all(lease.dispatch_id != claim.dispatch.dispatch_id for lease in leases):
                token = ClaimToken("guessed") if wrong else claim.token
                leases.append(LeaseRef(claim.scope, claim.dispatch.dispatch_id, token))
        leases.append(LeaseRef(SCOPES[0], DispatchId("nobody"), ClaimToken("none")))
        return Renew(leases=tuple(leases), lease_ms=lease_ms)

    return plan


@st.composite
def claims(draw: st.DrawFn) -> Plan:
    """Half of them with little room, the others for whatever there is."""
    lease_ms, consumer, by_age = draw(lease_lengths), draw(pick(CONSUMERS)), draw(st.booleans())
    if draw(st.booleans()):
        count, rooms = PLENTY, Rooms(dict.fromkeys(ROUTES, PLENTY), PLENTY)
    else:
        count = draw(pick((0, 1, 1, 2, PLENTY)))
        places = draw(st.dictionaries(pick(ROUTES), st.integers(0, 2)))
        rooms = Rooms(places, draw(st.integers(0, 2)))

    def plan(world: TwoStores) -> Claim:
        room = (lease_ms, frozenset(rooms.routes), consumer)
        return Claim(offers=tuple([world.offer(*room) for _ in range(count)]), rooms=rooms, by_age=by_age)

    return plan


@st.composite
def reclaims(draw: st.DrawFn) -> Plan:
    asked = Reclaim(
        limit=draw(pick((1, 2, 200))),
        abandoned=draw(st.booleans()),
        continued=draw(pick((False, False, False, True))),
    )
    return lambda world: asked


@st.composite
def purges(draw: st.DrawFn) -> Plan:
    """Now and then going on where the last one of the sweep left rows."""
    asked = Purge(
        run_retention_ms=draw(pick((0, 10, 2_000, FOR_EVER))),
        event_retention_ms=draw(pick((0, 10, 2_000, FOR_EVER))),
        limit=draw(pick((1, 2, 200))),
    )
    goes_on = draw(st.booleans())
    return lambda world: replace(asked, after_row=world.last_row if goes_on else 0)


batches = st.lists(
    st.one_of(
        *[submits() for _ in range(4)], *[owner_writes() for _ in range(6)], *[repetitions() for _ in range(2)],
        *[verdicts() for _ in range(2)], *[claims() for _ in range(2)], cancels(), saves(), interrupts(), renewals(),
        places(), changes_of_messages(), news_of_children(), changes_of_threads(), edits_of_schedules(), ticks(),
        *[deliveries() for _ in range(2)], reclaims(), purges(),
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip
moves = pick((0, 0, 0, 0, 0, 1, 4, 5, 6, 250, 999, 1_000, 1_001, 60_000, 100_000, -1, -2_000))
"""Milliseconds by which time moves before a batch. Below zero the wall clock is set back."""


# --- the machine ------------------------------------------------------------------------------------------------------


class Glance(msgspec.Struct, frozen=True):
    """One look through every read there is, with arguments that select some of what is stored."""

    scope: Scope
    thread_id: ThreadId
    after: int
    limit: int
    flags: int
    which: int

    def has(self, bit: int) -> bool:
        return bool(self.flags >> bit & 1)


glances = st.builds(
    Glance, scopes, threads, st.integers(0, 30), st.integers(0, 12), st.integers(0, 255), st.integers(0, 20)
)


class Other(Protocol):
    """A store to compare with the model, and a hand that reaches into it from outside."""

    store: Store

    async def prepare(self, tables: Tables) -> None:
        """Before each batch: have it give the numbers that the model gives."""
        ...

    async def opened(self) -> None:
        """After each opening: whatever was claimed is taken back."""
        ...

    async def write_from_outside(self) -> None:
        """Somebody else writes to its rows, though nothing that matters."""
        ...

    def remove(self) -> None: ...


class InFile:
    """SQLite."""

    def __init__(self, clock: ManualClock) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "model.db"
        self.store: Store = SqliteStore(self._path, clock=clock, durability="process")

    async def prepare(self, tables: Tables) -> None:
        """It counts as the model does."""

    async def opened(self) -> None:
        """It takes back what was claimed by itself, and starts with no memory of any thread."""

    async def write_from_outside(self) -> None:
        """Its writer cannot know that it does not matter."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as db:
            db.execute("UPDATE threads SET updated_at = updated_at")

    def remove(self) -> None:
        self._folder.cleanup()


class OnServer:
    """Postgres, in a schema of its own."""

    server: ClassVar[str]

    def __init__(self, clock: ManualClock) -> None:
        self.url = url_of_schema(self.server, f"model_{uuid4().hex[:16]}")
        self.store: Store = PostgresStore(self.url, clock=clock)

    async def prepare(self, tables: Tables) -> None:
        await self._run(
            f"SELECT setval('arrivals', {tables.numbers.last}, false);"
            f"SELECT setval('events_no_seq', {tables.event_row + 1}, false)"
        )

    async def opened(self) -> None:
        """Nobody tells this store that those who held claims are gone."""
        continued, more = False, True
        while more:
            [taken] = await self.store.apply([Reclaim(abandoned=True, continued=continued)])
            assert isinstance(taken, Reclaimed)
            continued, more = True, taken.more

    async def write_from_outside(self) -> None:
        await self._run("UPDATE threads SET updated_at = updated_at")

    async def _run(self, statement: str) -> None:
        place = place_of(self.url)
        connection = await connect(place)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def remove(self) -> None:
        asyncio.run(drop_schema(self.url))


class TwoStores(RuleBasedStateMachine):
    """Both stores, one clock, every claim ever won, and everything that was asked."""

    make_other: Callable[[ManualClock], Other] = InFile

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.claims_seen: list[Claimed] = []
        self.runs_seen: list[tuple[Scope, RunId, ThreadId]] = []
        self.asked: list[ThreadTransition] = []
        self.last_row = 0
        self._accepted: list[Submit] = []
        self.last_writes: dict[tuple[Scope, ThreadId], Commit | Settle] = {}
        self._numbers = itertools.count(1)
        self._went_back = False
        self.view: View | None = None
        self.delivered: list[OutboxRow] = []
        """Errands that were delivered, the last one first; some of them more than once."""
        self._runner = asyncio.Runner()
        self._patch = pytest.MonkeyPatch()
        self.tables = Tables()
        self.model: Store = MemoryStore(self.clock, tables=self.tables)
        self.other: Other = self.make_other(self.clock)
        self.store: Store = self.other.store

    @initialize(remembered=pick((1, 2, 4_096)))
    def begin(self, remembered: int) -> None:
        """`remembered`: of how many threads SQLite's writer remembers the rows, instead of reading them again."""
        self._patch.setattr("awaken.store.sqlite.cache.MAX_THREADS", remembered)
        read_at_once(self._patch)
        self._open()

    def _open(self) -> None:
        self._do(self.store.__aenter__())
        self._do(self.other.prepare(self.tables))
        self._do(self.other.opened())
        self._do(self.model.__aenter__())

    def _close(self) -> None:
        for store in (self.model, self.store):
            self._do(store.__aexit__(None, None, None))

    def teardown(self) -> None:
        self._close()
        self._patch.undo()
        self._runner.close()
        self.other.remove()

    @rule(move_ms=moves, plans=batches, glance=maybe(glances), before=pick(("",) * 14 + ("reopened", "written to")))
    def step(self, move_ms: int, plans: list[Plan], glance: Glance | None, before: str) -> None:
        """One rule and not several, so that every step of every example changes something."""
        self._move(move_ms)
        if before == "reopened":
            self._reopen()
        if before == "written to":
            self._do(self.other.write_from_outside())
        batch = self._batch(plans)
        self._do(self.other.prepare(self.tables))
        expected = self._do(self.model.apply(batch))
        note("".join(f"  {asked!r}\n    -> {outcome!r}\n" for asked, outcome in zip(batch, expected, strict=True)))
        for wanted, got in zip(expected, self._do(self.store.apply(batch)), strict=True):
            assert got == wanted, f"it answered {got!r}"
        earlier, self.view = self.view, self._look()
        if earlier is not None:
            self._compare(earlier, batch, expected)
        self._remember(batch, expected)
        if batch and isinstance(batch[-1], Claim) and len(batch[-1].offers) == PLENTY:
            self._nothing_due_is_left(batch[-1].rooms)
        if glance is not None:
            self._read(glance)
            self._look_up(glance)

    def _move(self, milliseconds: int) -> None:
        if milliseconds < 0:
            self._went_back = True
            self.clock.set(self.clock.now() + milliseconds)
        else:
            self.clock.tick(milliseconds / 1_000)

    def _reopen(self) -> None:
        """The process ends and another one opens the store: whatever was claimed is taken back."""
        self._close()
        self._open()
        self.view = self._look()
        assert not [view for view in self.view.threads if view.having(DispatchStatus.CLAIMED)]

    # --- what an outcome says about what was there before -------------------------------------------------------------

    def _compare(
        self, before: View, batch: Sequence[ThreadTransition | SetTransition], outcomes: list[Outcome]
    ) -> None:
        assert self.view is not None
        if all(isinstance(outcome, REFUSALS) or _is_repeated(outcome) for outcome in outcomes):
            assert self.view == before, "a refusal or a repetition changed something"
        for asked, outcome in zip(batch, outcomes, strict=True):
            assert not isinstance(outcome, Failed), outcome
            if isinstance(asked, Commit | Settle) and asked is self.last_writes.get((asked.scope, asked.thread_id)):
                kept = before.has_dispatch(asked.scope, asked.thread_id, asked.run_id, asked.dispatch_id)
                assert _is_repeated(outcome) or not kept, "the last commit, asked again, was taken for another"
            if isinstance(asked, Submit) and any(asked is each for each in self._accepted):
                assert isinstance(outcome, Replayed | Known | Conflict), "what was accepted before was accepted again"
            for claim in _claims_of(outcome):
                if claim.dispatch.why in ("start", "input"):
                    self._all_calls_were_answered(before, claim)

    def _all_calls_were_answered(self, before: View, claim: Claimed) -> None:
        """A first claim finds no call open of a run that had ended before."""
        assert self.view is not None
        ended = before.left_open(claim.scope, claim.dispatch.thread_id)
        assert not ended & self.view.left_open(claim.scope, claim.dispatch.thread_id)

    def _remember(self, batch: Sequence[ThreadTransition | SetTransition], outcomes: list[Outcome]) -> None:
        for asked, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(asked, SetTransition):
                self.asked.append(asked)
            if isinstance(outcome, Submitted) and isinstance(asked, Submit):
                self.runs_seen.append((asked.scope, outcome.run.run_id, asked.thread_id))
                self._accepted.append(asked)
            if isinstance(outcome, Staged) and isinstance(asked, Submit):
                self._accepted.append(asked)
            if isinstance(asked, Commit | Settle) and isinstance(outcome, Committed | Continued | Settled):
                self.last_writes.pop((asked.scope, asked.thread_id), None)
                self.last_writes[asked.scope, asked.thread_id] = asked
            if isinstance(outcome, Purged):
                self.last_row = outcome.last_row
            self.claims_seen += [claim for claim in _claims_of(outcome) if not _is_repeated(outcome)]

    def _nothing_due_is_left(self, rooms: Rooms) -> None:
        assert self.view is not None
        if self._went_back or rooms.suspects < PLENTY or len(rooms.routes) < len(ROUTES):
            return
        for view in self.view.threads:
            due = [each for each in view.queue if each.available_at <= self.clock.now()]
            assert not due or view.having(DispatchStatus.CLAIMED), f"due work was left on a free thread: {due}"

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, at: Glance) -> None:
        scope, thread_id, limit = at.scope, at.thread_id, at.limit
        run_id = self.runs_seen[-1 - at.which % len(self.runs_seen)][1] if self.runs_seen and at.has(3) else None
        window = MessageQuery(
            after=at.after if at.has(0) else 0,
            before=at.after + limit if at.has(1) else None,
            limit=limit,
            descending=at.has(2),
            visibility=Visibility.ALL if at.has(4) else None,
            run_id=run_id,
        )
        dispatches = DispatchQuery(
            thread_id=thread_id,
            statuses=tuple(status for n, status in enumerate(DispatchStatus) if at.has(n)) if at.has(7) else None,
            run_id=run_id,
            limit=limit,
        )
        newest = replace(
            dispatches,
            thread_id=None,
            run_id=None,
            agent_id=AGENTS[at.which % len(AGENTS)] if at.has(6) else None,
            claimed_by=CONSUMERS[at.which % len(CONSUMERS)] if at.has(5) else None,
            created_before=self.clock.now() - 500 if at.has(4) else None,
            lease_before=self.clock.now() if at.has(3) else None,
        )
        some_threads = ThreadQuery(
            limit=limit,
            ascending=at.has(0),
            resource_id="x" if at.has(1) else None,
            id_prefix="a" if at.has(2) else "",
        )
        some_runs = RunQuery(
            limit=limit,
            descending=at.has(0),
            thread_id=thread_id if at.has(1) else None,
            status=tuple(RunStatus)[at.which % 4] if at.has(2) else None,
            agent_id=AGENTS[at.which % len(AGENTS)] if at.has(4) else None,
            thread_id_prefix="b" if at.has(5) else "",
        )
        self._same(lambda store: store.list_messages(scope, thread_id, window))
        self._same(lambda store: store.list_events(scope, thread_id, after=at.after, limit=limit, run_id=run_id))
        self._same(lambda store: store.page_messages(scope, thread_id, window))
        self._same(lambda store: store.page_events(scope, thread_id, after=at.after, limit=limit, run_id=run_id))
        self._same_pages(lambda store, query: store.list_dispatches(scope, query), dispatches)
        self._same_pages(lambda store, query: store.list_dispatches(scope, query), newest)
        self._same_pages(lambda store, query: store.list_threads(scope, query), some_threads)
        self._same_pages(lambda store, query: store.list_runs(scope, query), some_runs)
        some_tickets = TicketQuery(
            limit=limit,
            descending=at.has(0),
            thread_id=thread_id if at.has(1) else None,
            state=(None, "open", "decided", "expired", "withdrawn")[at.which % 5],
            kind="input" if at.has(4) else None,
            tool_name="tool" if at.has(5) else None,
            agent_id=AGENTS[at.which % len(AGENTS)] if at.has(6) else None,
            run_id=run_id,
            expires_before=self.clock.now() + 500 if at.has(7) else None,
        )
        self._same_pages(lambda store, query: store.list_tickets(scope, query), some_tickets)
        self._same(lambda store: store.list_overdue_tickets(limit=max(limit, 1)))
        self._same(lambda store: store.count_open_tickets())

    def _look_up(self, at: Glance) -> None:
        run_id, dispatch_id = RUNS[at.which % len(RUNS)], DISPATCHES[at.which % len(DISPATCHES)]
        message_id, consumer = MESSAGES[at.which % len(MESSAGES)], CONSUMERS[at.which % len(CONSUMERS)]
        routes = frozenset(route for n, route in enumerate(ROUTES) if at.has(n))
        self._same(lambda store: store.load_run(at.scope, run_id))
        self._same(lambda store: store.load_dispatch(at.scope, dispatch_id))
        self._same(lambda store: store.load_dispatches(at.scope, DISPATCHES))
        self._same(lambda store: store.list_ready_routes())
        self._same(lambda store: store.load_message(at.scope, at.thread_id, message_id))
        self._same(lambda store: store.lost_messages(at.scope, at.thread_id, MESSAGES))
        self._same(lambda store: store.latest_run(at.scope, at.thread_id))
        self._same(lambda store: store.active_dispatch(at.scope, at.thread_id))
        self._same(lambda store: store.next_due_in_ms(routes))
        self._same(lambda store: store.list_queue(at.scope, at.thread_id, limit=at.limit))
        self._same(lambda store: store.list_claims(consumer, after=at.after, limit=at.limit))

    def _same_pages(self, read: Callable[[Store, Any], Coroutine[Any, Any, Page[RecordT]]], query: Any) -> None:
        """Page by page both read the same, and together the pages are the list."""
        whole = self._same(lambda store: items_of(read(store, replace(query, limit=ALL))))
        if not query.limit:
            assert self._same(lambda store: read(store, query)) == Page(())
            return
        for store in (self.model, self.store):
            joined: list[RecordT] = []
            page = self._do(read(store, query))
            joined += page.items
            while page.next is not None:
                assert len(page.items) == query.limit
                page = self._do(read(store, replace(query, after=page.next)))
                joined += page.items
            assert joined == whole

    @invariant()
    def holds(self) -> None:
        if self.view is not None:
            for view in self.view.threads:
                check_thread(view)
            check_counts(self.view)
            check_tickets(self.view)
            next_due_in_ms = self._same(lambda store: store.next_due_in_ms(frozenset(ROUTES)))
            assert (next_due_in_ms is not None) == self.view.waits_for_time(), "what waits for time has an instant"
            for store in (self.model, self.store):
                found = [each for each in self._do(breaches_of(store)) if each.invariant not in _MADE_UP]
                assert not found, "\n".join(map(str, found))

    # --- what the plans ask for ---------------------------------------------------------------------------------------

    def fresh(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}"

    def offer(self, lease_ms: int | None, routes: frozenset[Route], consumer: ConsumerId) -> Offer:
        token, instance_id = ClaimToken(self.fresh("token")), InstanceId(self.fresh("instance"))
        return Offer(consumer, token, instance_id, routes, lease_ms)

    def child(self, claim: Claimed, home: ThreadId, *, detached: bool) -> tuple[TicketRequest, Posting]:
        """A child of the run that holds the claim: the ticket that follows it, and the errand that begins it."""
        parent = claim.run
        key, name = f"start#{len([1 for each in self.asked if isinstance(each, Commit)])}", self.fresh("child")
        run_id, message = RunId(name), user_message(MessageId(self.fresh("m")), "go")
        about = ChildTicket(run_id=run_id, thread_id=home, agent_id=parent.agent_id, detached=detached)
        ticket = TicketRequest(key=key, kind="child", tool_name="child", arguments=msgspec.to_builtins(about))
        trace = Trace(
            origin=Origin.SUBAGENT,
            parent_run_id=parent.run_id,
            parent_thread_id=parent.thread_id,
            child=ChildOf(ticket_id=ticket.id_in(parent.run_id), agent_id=parent.agent_id, name="child"),
        )
        begin = Begin(
            run_id=run_id,
            dispatch_id=DispatchId(f"{name}-d"),
            request=RunRequest(Intent(parent.agent_id), (message.id,), trace=trace),
            messages=(message,),
            info=ThreadInfo(),
        )
        return ticket, Posting(home, begin)

    def named(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        """The entries with a fresh id for each message without one, and no id twice."""
        named: list[Any] = []
        taken: set[str] = set()
        for entry in entries:
            if isinstance(entry, Message):
                if not entry.id or entry.id in taken:
                    entry = replace(entry, id=MessageId(self.fresh("m")))
                taken.add(entry.id)
            named.append(entry)
        return tuple(named)

    def pending_at(self, scope: Scope, thread_id: ThreadId) -> list[tuple[MessageId, int]]:
        """What is pending, in order, each with its revision."""
        views = [] if self.view is None else self.view.threads
        [entries] = [view.pending for view in views if (view.scope, view.thread_id) == (scope, thread_id)] or [[]]
        return [(each.entry.message_id, each.entry.revision) for each in entries]

    def messages_at(self, scope: Scope, thread_id: ThreadId) -> list[tuple[MessageId, int]]:
        """What is pending, or brought by something queued, or in the log."""
        views = [] if self.view is None else self.view.threads
        found = self.pending_at(scope, thread_id)
        for view in views:
            if (view.scope, view.thread_id) == (scope, thread_id):
                found += [(receipt.message_id, 1) for receipt in view.receipts]
        return found

    def claim_at(self, which: int) -> Claimed | None:
        """Two times in three a claim that holds, otherwise one of the past; recent ones come up most often."""
        live: list[Claimed] = []
        if which % 3 and self.view is not None:
            tokens = {dispatch.claim_token for view in self.view.threads for dispatch in view.dispatches}
            live = [claim for claim in self.claims_seen if claim.token in tokens]
        candidates = live or self.claims_seen
        return candidates[-1 - which % min(len(candidates), 1 + which % 8)] if candidates else None

    def waiting_run(self) -> tuple[Scope, Run] | None:
        """The run that an otherwise idle thread waits with."""
        for view in [] if self.view is None else self.view.threads:
            waiting = [run for run in view.runs if run.status is RunStatus.WAITING]
            if waiting and not view.having(DispatchStatus.QUEUED, DispatchStatus.CLAIMED):
                return view.scope, max(waiting, key=lambda run: run.updated_seq)
        return None

    def tickets_at(self, which: int) -> list[tuple[Scope, Ticket]]:
        """Those of one run; of one with an open ticket twice in three times."""
        known = [] if self.view is None else self.view.tickets
        live = [each for each in known if each[1].is_open] if which % 3 else []
        found = live or known
        if not found:
            return []
        scope, chosen = found[-1 - which % min(len(found), 1 + which % 8)]
        return [(scope, each) for owner, each in known if (owner, each.run_id) == (scope, chosen.run_id)]

    def next_number(self, claim: Claimed) -> int:
        """One more than that of the last commit that the claim's owner has been told of."""
        last = self.last_writes.get((claim.scope, claim.dispatch.thread_id))
        return 1 + (last.number if last is not None and last.token == claim.token else claim.commit_no)

    # --- plumbing -----------------------------------------------------------------------------------------------------

    def _batch(self, plans: list[Plan]) -> list[ThreadTransition | SetTransition]:
        """One transition per thread at most, then those over many threads, in the combiner's order."""
        made = [plan(self) for plan in plans]
        alone: dict[tuple[Scope, ThreadId], ThreadTransition] = {}
        wide: list[SetTransition] = []
        for each in made:
            if isinstance(each, SetTransition):
                wide.append(each)
            elif each is not None:
                alone.setdefault((each.scope, each.thread_id), each)
        return [*alone.values(), *sorted(wide, key=lambda each: SET_ORDER[type(each)])]

    def _look(self) -> View:
        places = [(scope, thread_id) for scope in SCOPES for thread_id in THREADS]
        return self._same(looking(places, CONSUMERS))

    def _same(self, read: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        """What both stores read."""
        expected = self._do(read(self.model))
        assert self._do(read(self.store)) == expected
        return expected

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)


def _is_repeated(outcome: Outcome) -> bool:
    if isinstance(outcome, Edited | Retracted | Reordered):
        return not outcome.appended
    return isinstance(outcome, Committed | Continued | Settled) and outcome.repeated


def _claims_of(outcome: Outcome) -> tuple[Claimed, ...]:
    if isinstance(outcome, ClaimedSome):
        return outcome.claims
    if isinstance(outcome, Submitted | Settled) and outcome.claimed is not None:
        return (outcome.claimed,)
    return ()


@behaviour("TR-113")
class TestBothStoresAgree(TwoStores.TestCase):
    settings = settings(max_examples=max(settings().max_examples // 2, 1), stateful_step_count=30)


@pytest.fixture(scope="module")
def _server(postgres_server: str) -> None:
    OnServer.server = postgres_server


class ModelAndPostgres(TwoStores):
    make_other = OnServer


@behaviour("TR-113")
@pytest.mark.usefixtures("_server")
class TestPostgresAgrees(ModelAndPostgres.TestCase):
    settings = settings(max_examples=max(settings().max_examples // 8, 1), stateful_step_count=30)
