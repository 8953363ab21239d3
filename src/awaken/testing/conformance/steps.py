"""The words the cases are written in: one call, one transition, one outcome.

A name such as `"d1"` stands for a whole submit: dispatch `d1` asks for run `run-d1` with the one message `msg-d1`.
The plain verbs return whatever outcome came; the participles (`submitted`, `claimed`, `settled`) insist on success.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, Dispatch, DispatchStatus
from awaken.domain.event import logged
from awaken.domain.ids import (
    DEFAULT_SCOPE,
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
)
from awaken.domain.log import EventRow, LoggedEvent
from awaken.domain.message import Message, Role, Text, ToolCall, ToolStatus, assistant_message, user_message
from awaken.domain.outbox import Posting
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import NATURAL_END, Run, RunOptions, RunRequest, Usage, WaitMode, intent_of
from awaken.domain.thread import Thread
from awaken.domain.ticket import TicketRequest
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, Store, StoredMessage, ThreadQuery, TicketQuery
from awaken.store.transitions import (
    Ack,
    Cancel,
    CancelResult,
    Claim,
    Claimed,
    ClaimedSome,
    Commit,
    Committed,
    DeadLetter,
    Ending,
    Interrupt,
    Interrupted,
    JournalEntry,
    LeaseRef,
    Offer,
    Outcome,
    Purge,
    Purged,
    Reclaim,
    Reclaimed,
    Renew,
    Renewal,
    Renewed,
    Retry,
    Rooms,
    Settle,
    Settled,
    StepClosed,
    Submit,
    Submitted,
    Suspend,
    Transition,
)
from awaken.testing.events import text_delta

SCOPE: Final = DEFAULT_SCOPE
OTHER_SCOPE: Final = Scope("other")
THREAD: Final = ThreadId("thread-1")
AGENT: Final = AgentId("agent-1")
WORKER: Final = ConsumerId("worker-1")
OTHER_WORKER: Final = ConsumerId("worker-2")
LEASE_MS: Final = 10_000
ROUTES: Final = frozenset([Route(AGENT), Route("agent-2")])
PLENTY: Final = Rooms(dict.fromkeys(ROUTES, 1_000), suspects=1_000)
DONE: Final = Ack(NATURAL_END)
AT_ONCE: Final = RetryPolicy(base_delay_ms=0)

FOR_EVER: Final = 10**13
NO_OPTIONS: Final = RunOptions()

T = TypeVar("T")
_numbers = itertools.count(1)


def want(kind: type[T], outcome: object) -> T:
    """The outcome, which has to be of this kind."""
    assert isinstance(outcome, kind), f"wanted {kind.__name__}, got {outcome!r}"
    return outcome


async def apply(store: Store, transition: Transition) -> Outcome:
    """Apply a batch of one."""
    [outcome] = await store.apply([transition])
    return outcome


# --- names ------------------------------------------------------------------------------------------------------------


def thread_id(name: str) -> ThreadId:
    return ThreadId(name)


def dispatch_id(name: str) -> DispatchId:
    return DispatchId(name)


def run_id(name: str) -> RunId:
    return RunId(f"run-{name}")


def message_id(name: str) -> MessageId:
    return MessageId(name)


def said(name: str, text: str = "") -> Message:
    """A user's message."""
    return user_message(MessageId(name), text or f"the text of {name}")


def answered(name: str, text: str = "") -> Message:
    """An assistant's message without calls."""
    return assistant_message(MessageId(name), text or f"the answer {name}")


def calling(name: str, *calls: str) -> Message:
    """An assistant's message that calls one tool per given id."""
    wanted = tuple(ToolCall(call, "look_up", {"key": call}) for call in calls)
    return Message(id=MessageId(name), role=Role.ASSISTANT, content=(Text("a moment"),), tool_calls=wanted)


def result_of(call: str, name: str = "") -> Message:
    """The tool message that answers a call."""
    return Message(
        id=MessageId(name or f"result-{call}"),
        role=Role.TOOL,
        content=(Text("found"),),
        tool_call_id=call,
        tool_status=ToolStatus.SUCCESS,
    )


def delta(text: str) -> LoggedEvent:
    return logged(text_delta(text))


def offer(consumer: ConsumerId = WORKER, lease_ms: int | None = LEASE_MS, routes: frozenset[Route] = ROUTES) -> Offer:
    """Room for one claim, with a fresh token."""
    number = next(_numbers)
    return Offer(consumer, ClaimToken(f"token-{number}"), InstanceId(f"instance-{number}"), routes, lease_ms)


# --- submitting and claiming ------------------------------------------------------------------------------------------


def asked(
    name: str,
    *,
    dispatch: DispatchId | None = None,
    thread: ThreadId = THREAD,
    scope: Scope = SCOPE,
    agent: AgentId = AGENT,
    messages: Sequence[Message] | None = None,
    digest: str | None = None,
    metadata: dict[str, Any] | None = None,
    priority: int = DEFAULT_PRIORITY,
    max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    dedupe_key: str | None = None,
    delay_ms: int = 0,
    available_at: Instant | None = None,
    create_thread: bool = True,
    max_queued: int = 1_000,
    options: RunOptions = NO_OPTIONS,
    offered: Offer | None = None,
) -> Submit:
    """The submit a name stands for."""
    brought = (said(f"msg-{name}"),) if messages is None else tuple(messages)
    return Submit(
        scope=scope,
        thread_id=thread,
        run_id=run_id(name),
        dispatch_id=dispatch or dispatch_id(name),
        request=RunRequest(intent_of(agent), tuple(message.id for message in brought), options),
        messages=brought,
        digest=f"digest of {name}" if digest is None else digest,
        metadata=metadata or {},
        delivery=Delivery(
            priority=priority,
            max_attempts=max_attempts,
            dedupe_key=dedupe_key,
            delay_ms=delay_ms,
            available_at=available_at,
        ),
        create_thread=create_thread,
        max_queued=max_queued,
        offer=offered,
    )


async def submitted(store: Store, name: str, **details: Any) -> Submitted:
    return want(Submitted, await apply(store, asked(name, **details)))


async def claim_some(
    store: Store,
    *,
    limit: int = 1,
    consumer: ConsumerId = WORKER,
    lease_ms: int | None = LEASE_MS,
    rooms: Rooms = PLENTY,
    by_age: bool = False,
    stand_ins: Mapping[Route, Route] | None = None,
) -> ClaimedSome:
    offers = tuple([replace(offer(consumer, lease_ms), stand_ins=stand_ins or {}) for _ in range(limit)])
    return want(ClaimedSome, await apply(store, Claim(offers=offers, rooms=rooms, by_age=by_age)))


async def claim(store: Store, *, consumer: ConsumerId = WORKER, lease_ms: int | None = LEASE_MS) -> Claimed | None:
    """What a worker with one free slot gets."""
    outcome = await claim_some(store, consumer=consumer, lease_ms=lease_ms)
    return outcome.claims[0] if outcome.claims else None


async def claim_name(store: Store, *, consumer: ConsumerId = WORKER) -> str | None:
    """The name of what a worker with one free slot gets."""
    taken = await claim(store, consumer=consumer)
    return None if taken is None else taken.dispatch.dispatch_id


async def claimed(
    store: Store, name: str, *, lease_ms: int | None = LEASE_MS, routes: frozenset[Route] = ROUTES, **details: Any
) -> Claimed:
    """Submit to a free thread and take it at once."""
    outcome = await submitted(store, name, offered=offer(lease_ms=lease_ms, routes=routes), **details)
    assert outcome.claimed is not None, f"{name} was not claimed"
    return outcome.claimed


async def together(store: Store, transitions: Sequence[Transition]) -> list[Outcome]:
    """The outcomes when everybody asks at once, each alone."""
    gate = asyncio.Event()

    async def ask(transition: Transition) -> Outcome:
        await gate.wait()
        return await apply(store, transition)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(transition)) for transition in transitions]
        gate.set()
    return [task.result() for task in tasks]


async def drained(store: Store, *, workers: int = 4) -> list[str]:
    """What several workers took between them, each claiming and acking until nothing is left to claim."""
    taken: list[str] = []

    async def work(consumer: ConsumerId) -> None:
        while (mine := await claim(store, consumer=consumer)) is not None:
            taken.append(mine.dispatch.dispatch_id)
            await settled(store, mine)

    async with asyncio.timeout(60):
        while (await store.count_dispatches())[DispatchStatus.QUEUED]:
            async with asyncio.TaskGroup() as group:
                for number in range(workers):
                    group.create_task(work(ConsumerId(f"worker-{number}")))
    return taken


# --- what an owner does -----------------------------------------------------------------------------------------------


def next_number(claim: Claimed) -> int:
    """A number that no commit of the claim had before: those of one claim are told apart, not counted, here."""
    return claim.commit_no + next(_numbers)


def committing(
    claim: Claimed,
    *entries: LoggedEvent | Message,
    journal: Sequence[JournalEntry] = (),
    closes: StepClosed | None = None,
    usage: Usage | None = None,
    stream_open: bool | None = None,
    opens: Sequence[TicketRequest] = (),
    posts: Sequence[Posting] = (),
    state: Sequence[dict[str, Any]] = (),
    token: str | None = None,
    number: int | None = None,
) -> Commit:
    return Commit(
        scope=claim.scope,
        thread_id=claim.dispatch.thread_id,
        run_id=claim.run.run_id,
        dispatch_id=claim.dispatch.dispatch_id,
        token=claim.token if token is None else ClaimToken(token),
        number=next_number(claim) if number is None else number,
        entries=entries,
        journal=tuple(journal),
        closes=closes,
        usage=usage,
        stream_open=stream_open,
        opens=tuple(opens),
        posts=tuple(posts),
        state=tuple(state),
    )


async def commit(store: Store, claim: Claimed, *entries: LoggedEvent | Message, **details: Any) -> Outcome:
    return await apply(store, committing(claim, *entries, **details))


async def committed(store: Store, claim: Claimed, *entries: LoggedEvent | Message, **details: Any) -> Committed:
    return want(Committed, await commit(store, claim, *entries, **details))


def settling(
    claim: Claimed,
    ending: Ending = DONE,
    *entries: LoggedEvent | Message,
    closes: StepClosed | None = None,
    journal: Sequence[JournalEntry] = (),
    usage: Usage | None = None,
    stream_open: bool | None = None,
    posts: Sequence[Posting] = (),
    state: Sequence[dict[str, Any]] = (),
    offered: Offer | None = None,
    token: str | None = None,
    number: int | None = None,
) -> Settle:
    return Settle(
        scope=claim.scope,
        thread_id=claim.dispatch.thread_id,
        run_id=claim.run.run_id,
        dispatch_id=claim.dispatch.dispatch_id,
        token=claim.token if token is None else ClaimToken(token),
        number=next_number(claim) if number is None else number,
        ending=ending,
        entries=entries,
        journal=tuple(journal),
        closes=closes,
        usage=usage,
        stream_open=stream_open,
        posts=tuple(posts),
        state=tuple(state),
        offer=offered,
    )


async def settle(
    store: Store, claim: Claimed, ending: Ending = DONE, *entries: LoggedEvent | Message, **details: Any
) -> Outcome:
    return await apply(store, settling(claim, ending, *entries, **details))


async def settled(
    store: Store, claim: Claimed, ending: Ending = DONE, *entries: LoggedEvent | Message, **details: Any
) -> Settled:
    return want(Settled, await settle(store, claim, ending, *entries, **details))


async def finished(store: Store, name: str, *, ending: Ending = DONE, **details: Any) -> Settled:
    """Submit, take and settle in one breath."""
    return await settled(store, await claimed(store, name, **details), ending)


def every_ending() -> tuple[Ending, ...]:
    return (DONE, Retry("failed"), DeadLetter("hopeless"), suspended())


def suspended(*asked: TicketRequest, mode: WaitMode = "any", then: str = "") -> Suspend:
    """The run waits for these tickets, and goes on as the dispatch `then`."""
    return Suspend(next_dispatch_id=DispatchId(then or f"next-{next(_numbers)}"), opens=asked, mode=mode)


async def renew(store: Store, *claims: Claimed, lease_ms: int = LEASE_MS, token: str | None = None) -> list[Renewal]:
    leases = tuple(
        LeaseRef(claim.scope, claim.dispatch.dispatch_id, claim.token if token is None else ClaimToken(token))
        for claim in claims
    )
    return list(want(Renewed, await apply(store, Renew(leases=leases, lease_ms=lease_ms))).renewals)


# --- stopping, leases, purging ----------------------------------------------------------------------------------------


async def cancel(
    store: Store, name: str, *, thread: ThreadId = THREAD, scope: Scope = SCOPE, hide: bool = False
) -> Outcome:
    return await apply(store, Cancel(scope=scope, thread_id=thread, run_id=run_id(name), hide=hide))


async def cancelled(
    store: Store, name: str, *, thread: ThreadId = THREAD, scope: Scope = SCOPE, hide: bool = False
) -> CancelResult:
    return want(CancelResult, await cancel(store, name, thread=thread, scope=scope, hide=hide))


async def interrupt(store: Store, thread: ThreadId = THREAD, *, scope: Scope = SCOPE) -> Interrupted:
    return want(
        Interrupted, await apply(store, Interrupt(scope=scope, thread_id=thread, id=f"interrupt-{next(_numbers)}"))
    )


async def reclaim(store: Store, *, limit: int = 200, **options: Any) -> Reclaimed:
    return want(Reclaimed, await apply(store, Reclaim(limit=limit, **options)))


async def reclaimed(store: Store) -> list[str]:
    """The names of everything a sweep takes back now."""
    return [item.dispatch.dispatch_id for item in (await reclaim(store)).items]


async def purge(
    store: Store, *, runs_ms: int = FOR_EVER, events_ms: int = FOR_EVER, limit: int = 200, after_row: int = 0
) -> Purged:
    """Apply a retention, of runs and of events, each for ever unless given."""
    transition = Purge(run_retention_ms=runs_ms, event_retention_ms=events_ms, limit=limit, after_row=after_row)
    return want(Purged, await apply(store, transition))


# --- reads ------------------------------------------------------------------------------------------------------------


async def dispatch_of(store: Store, name: str, scope: Scope = SCOPE) -> Dispatch:
    found = await store.load_dispatch(scope, dispatch_id(name))
    assert found is not None, f"dispatch {name} is not stored"
    found.check()
    return found


async def run_of(store: Store, name: str, scope: Scope = SCOPE) -> Run:
    found = await store.load_run(scope, run_id(name))
    assert found is not None, f"the run of {name} is not stored"
    found.check()
    return found


async def thread_of(store: Store, thread: ThreadId = THREAD, scope: Scope = SCOPE) -> Thread:
    found = await store.load_thread(scope, thread)
    assert found is not None, f"thread {thread} is not stored"
    return found


async def names(
    store: Store, *statuses: DispatchStatus, thread: ThreadId = THREAD, limit: int = 200, after: int | None = None
) -> list[str]:
    """The names of a thread's dispatches as they arrived, of all statuses when none is given."""
    query = DispatchQuery(thread_id=thread, statuses=statuses or None, limit=limit, after=after)
    return [dispatch.dispatch_id for dispatch in (await store.list_dispatches(SCOPE, query)).items]


async def queue_of(store: Store, thread: ThreadId = THREAD, *, limit: int = 200) -> list[str]:
    """The names of what waits in a thread, in claim order."""
    return [dispatch.dispatch_id for dispatch in await store.list_queue(SCOPE, thread, limit=limit)]


async def runs_in(store: Store, scope: Scope = SCOPE, **query: Any) -> list[Run]:
    return [*(await store.list_runs(scope, RunQuery(limit=200, **query))).items]


async def threads_in(store: Store, scope: Scope = SCOPE, **query: Any) -> list[Thread]:
    return [*(await store.list_threads(scope, ThreadQuery(limit=200, **query))).items]


async def log_of(store: Store, thread: ThreadId = THREAD, scope: Scope = SCOPE, **query: Any) -> list[StoredMessage]:
    return await store.list_messages(scope, thread, replace(MessageQuery(limit=200), **query))


async def message_ids(store: Store, thread: ThreadId = THREAD, **query: Any) -> list[str]:
    return [stored.message.id for stored in await log_of(store, thread, **query)]


async def events_of(
    store: Store, thread: ThreadId = THREAD, *, after: int = 0, run: RunId | None = None, scope: Scope = SCOPE
) -> list[EventRow]:
    return await store.list_events(scope, thread, after=after, limit=100_000, run_id=run)


async def kinds(store: Store, thread: ThreadId = THREAD, *, after: int = 0, run: RunId | None = None) -> list[str]:
    """The kinds of a thread's events, in log order."""
    return [event.kind for row in await events_of(store, thread, after=after, run=run) for event in row.events]


async def snapshot(store: Store) -> list[object]:
    """Everything a reader can see of the first scope's threads, for showing that nothing changed."""
    seen: list[object] = [await store.count_dispatches(), await store.next_due_in_ms(ROUTES)]
    for thread in await threads_in(store):
        key = thread.thread_id
        seen += [thread, await log_of(store, key), await events_of(store, key)]
        seen += [await store.load_state(SCOPE, key), await store.list_spans(SCOPE, key)]
        seen += await runs_in(store, thread_id=key)
        seen += (await store.list_dispatches(SCOPE, DispatchQuery(thread_id=key, limit=200))).items
    for run in await runs_in(store):
        seen.append(await store.list_journal(SCOPE, run.run_id))
    seen += (await store.list_tickets(SCOPE, TicketQuery(limit=200))).items
    return seen
