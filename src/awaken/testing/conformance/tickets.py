"""Tickets: what a run waits for, how it is decided, and how the run goes on."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from awaken.domain.child import ChildEnd, ChildTicket
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.event import opened
from awaken.domain.ids import AgentId, DispatchId, RunId, ThreadId, TicketId
from awaken.domain.message import Message, ToolStatus
from awaken.domain.run import CANCELLED, NATURAL_END, RunStatus, Termination
from awaken.domain.thread import ThreadStatus
from awaken.domain.ticket import Decision, Ticket, TicketRequest, ticket_id
from awaken.store.contract import OpenTickets, OverdueTicket, Store, TicketQuery
from awaken.store.transitions import (
    Conflict,
    DeadLetter,
    Decide,
    Decided,
    Full,
    Missing,
    Outcome,
    Release,
    Replayed,
    Ruling,
    Rulings,
    Settled,
    Submit,
    Submitted,
    Undecided,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_SCOPE,
    ROUTES,
    SCOPE,
    THREAD,
    apply,
    asked,
    calling,
    cancelled,
    claim,
    claim_some,
    claimed,
    commit,
    committed,
    committing,
    dispatch_of,
    events_of,
    interrupt,
    kinds,
    log_of,
    message_ids,
    offer,
    purge,
    reclaim,
    result_of,
    run_id,
    run_of,
    said,
    settle,
    settled,
    settling,
    snapshot,
    submitted,
    suspended,
    thread_of,
    together,
    want,
)

ELSEWHERE = ThreadId("thread-2")


# --- the words of these cases -----------------------------------------------------------------------------------------


def approval(key: str = "call-1", **details: Any) -> TicketRequest:
    """May the tool run that the call wants."""
    usual: dict[str, Any] = {"tool_call_id": key, "tool_name": "look_up", "arguments": {"key": key}}
    usual["message"] = f"may {key} run?"
    return TicketRequest(key=key, kind="approval", **{**usual, **details})


def question(key: str = "ask#1", **details: Any) -> TicketRequest:
    """What a function asks."""
    usual: dict[str, Any] = {"tool_name": "ask", "message": "how many?"}
    return TicketRequest(key=key, kind="input", **{**usual, **details})


def child(key: str = "start#1") -> TicketRequest:
    started = ChildTicket(run_id=RunId("started"), thread_id=ThreadId("elsewhere"), agent_id=AgentId("agent-1"))
    return TicketRequest(key=key, kind="child", tool_name="start", arguments=msgspec.to_builtins(started))


def ended(**details: Any) -> Decision:
    """What a child tells."""
    return answer(msgspec.to_builtins(ChildEnd(run_id=RunId("started"), termination=NATURAL_END)), **details)


def yes(**details: Any) -> Decision:
    usual: dict[str, Any] = {"decision_id": "yes", "action": "approve"}
    return Decision(**{**usual, **details})


def answer(result: Any, **details: Any) -> Decision:
    usual: dict[str, Any] = {"decision_id": "answer", "action": "answer", "result": result}
    return Decision(**{**usual, **details})


def id_of(key: str, name: str = "d1") -> TicketId:
    return ticket_id(run_id(name), key)


def deciding(
    rulings: dict[str, Decision], *, name: str = "d1", thread: ThreadId = THREAD, expires: tuple[str, ...] = ()
) -> Decide:
    """Decide tickets of the run of a submit, by their keys."""
    return Decide(
        scope=SCOPE,
        thread_id=thread,
        run_id=run_id(name),
        rulings=tuple([Ruling(id_of(key, name), decision) for key, decision in rulings.items()]),
        expires=tuple([id_of(key, name) for key in expires]),
    )


async def decide(store: Store, rulings: dict[str, Decision], **where: Any) -> Outcome:
    return await apply(store, deciding(rulings, **where))


async def decided(store: Store, rulings: dict[str, Decision], **where: Any) -> Decided:
    return want(Decided, await decide(store, rulings, **where))


async def expire(store: Store, *keys: str, **where: Any) -> Decided:
    return want(Decided, await apply(store, deciding({}, expires=keys, **where)))


async def ticket_of(store: Store, key: str, name: str = "d1") -> Ticket:
    found = await store.load_ticket(SCOPE, id_of(key, name))
    assert found is not None, f"ticket {key} is not stored"
    return found


async def waits_for(
    store: Store, name: str, *asked: TicketRequest, entries: tuple[Message, ...] = (), mode: Any = "any", **details: Any
) -> Settled:
    """Submit, take, and suspend for these tickets; it goes on as `then-<name>`."""
    owner = await claimed(store, name, **details)
    return await settled(store, owner, suspended(*asked, mode=mode, then=f"then-{name}"), *entries)


async def listed(store: Store, **query: Any) -> list[str]:
    """The keys of the tickets that a query finds."""
    page = await store.list_tickets(SCOPE, TicketQuery(**query))
    return [ticket.asked.key for ticket in page.items]


async def payloads(store: Store, kind: str, thread: ThreadId = THREAD) -> list[Any]:
    rows = await events_of(store, thread)
    return [opened(event) for row in rows for event in row.events if event.kind == kind]


# --- suspending -------------------------------------------------------------------------------------------------------


@behaviour("TK-001")
async def test_a_run_that_suspends_opens_its_tickets_and_holds_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(1)
    before = await thread_of(store)

    done = await settled(store, owner, suspended(approval(), question()), calling("turn", "call-1"))

    assert (done.dispatch.status, done.run.status) == (DispatchStatus.ACKED, RunStatus.WAITING)
    assert (done.run.open_tickets, done.run.tickets) == (2, 2)
    waiting = done.run.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("tool_permission", "may call-1 run?")
    assert (waiting.tickets, waiting.since) == ((id_of("call-1"), id_of("ask#1")), clock.now())
    assert await run_of(store, "d1") == done.run
    thread = await thread_of(store)
    assert (thread.status, thread.open_run_id, thread.open_ticket_count) == (ThreadStatus.WAITING, "run-d1", 2)
    assert await claim(store) is None and await store.next_due_in_ms(ROUTES) is None
    assert await kinds(store, after=before.event_count) == [
        "MessageCommitted",
        "TicketOpened",
        "TicketOpened",
        "RunSuspended",
    ]
    ticket = await ticket_of(store, "call-1")
    assert ticket == Ticket(
        no=ticket.no,
        ticket_id=id_of("call-1"),
        thread_id=THREAD,
        run_id=run_id("d1"),
        agent_id=AgentId("agent-1"),
        asked=approval(),
        state="open",
        created_at=clock.now(),
    )
    [first, second] = await payloads(store, "TicketOpened")
    assert (first.ticket_id, first.kind, first.tool_call_id) == (id_of("call-1"), "approval", "call-1")
    assert (first.allowed_actions, first.arguments) == (("approve", "deny", "edit"), {"key": "call-1"})
    assert (second.kind, second.tool_call_id, second.allowed_actions) == ("input", None, ("answer",))
    [told] = await payloads(store, "RunSuspended")
    assert (told.ticket_ids, told.reason, told.until) == (waiting.tickets, "tool_permission", None)


@behaviour("TK-002")
async def test_a_ticket_opens_as_early_as_a_commit_says_so_and_once(store: Store, clock: ManualClock) -> None:
    """The call that asks again after a crash finds it."""
    owner = await claimed(store, "d1")
    first = committing(owner, opens=(approval(),))
    await apply(store, first)
    opened_at = clock.now()
    clock.tick(1)

    await apply(store, first)
    await committed(store, owner, opens=(approval(message="again"), question()))
    await settled(store, owner, suspended(approval(message="and again"), question()))

    assert await listed(store) == ["call-1", "ask#1"]
    ticket = await ticket_of(store, "call-1")
    assert (ticket.created_at, ticket.asked.message) == (opened_at, "may call-1 run?")
    assert (await run_of(store, "d1")).open_tickets == 2
    assert (await kinds(store)).count("TicketOpened") == 2


@behaviour("TK-003")
async def test_a_settlement_that_suspends_is_repeated_without_effect(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, opens=(approval(),))
    await decided(store, {"call-1": yes()})
    settling_once = settling(owner, suspended(approval(), then="then-d1"))
    done = want(Settled, await apply(store, settling_once))
    before = await snapshot(store)

    again = want(Settled, await apply(store, settling_once))

    assert (again.run, again.dispatch, again.ready_in_ms, again.repeated) == (done.run, done.dispatch, 0, True)
    assert await snapshot(store) == before


@behaviour("TK-004")
async def test_what_was_decided_before_the_run_suspends_counts(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, opens=(approval(), approval("call-2")))
    early = await decided(store, {"call-1": yes()})
    assert (early.dispatch, early.tickets[0].decision) == (None, yes(decided_at=clock.now(), path="live"))

    done = await settled(store, owner, suspended(approval(), approval("call-2"), then="then-d1"))

    assert (done.run.dispatch_id, done.run.open_tickets, done.ready_in_ms) == ("then-d1", 1, 0)
    assert (await dispatch_of(store, "then-d1")).why == "decided"
    taken = await claim(store)
    assert taken is not None and taken.dispatch.dispatch_id == "then-d1"


@behaviour("TK-004")
async def test_a_run_that_waits_for_all_waits_for_the_last(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, opens=(question("a"), question("b"), question("c")))
    await decided(store, {"a": answer(1)})
    done = await settled(store, owner, suspended(question("a"), question("b"), question("c"), mode="all"))
    assert done.run.waiting is not None
    assert done.run.waiting.tickets == (id_of("b"), id_of("c"))

    parted = await decided(store, {"b": answer(2)})
    assert (parted.dispatch, parted.ready_in_ms) == (None, None)
    assert (await claim(store)) is None

    last = await decided(store, {"c": answer(3)})
    assert last.dispatch is not None and last.ready_in_ms == 0


@behaviour("TK-028")
async def test_what_belongs_together_counts_when_all_of_it_has_closed(store: Store, clock: ManualClock) -> None:
    """Before the suspension, and after it; what is not part of it counts by itself."""
    for number, early in enumerate((("a",), ("a", "b"), ())):
        name, thread = f"d{number}", ThreadId(f"thread-of-{number}")
        owner = await claimed(store, name, thread=thread)
        await committed(store, owner, opens=(question("a"), question("b"), question("c")))
        for key in early:
            await decided(store, {key: answer(1)}, name=name, thread=thread)
        waits = suspended(question("a"), question("b"), question("c"), then=f"then-{name}")
        waits = replace(waits, together=((id_of("a", name), id_of("b", name)),))
        done = await settled(store, owner, waits)

        if early == ("a", "b"):
            assert done.run.dispatch_id == f"then-{name}", "it goes on at once"
            continue
        assert done.run.dispatch_id == owner.dispatch.dispatch_id
        if early:
            last = await decided(store, {"b": answer(2)}, name=name, thread=thread)
        else:
            first = await decided(store, {"a": answer(2)}, name=name, thread=thread)
            assert first.dispatch is None, "b belongs to it"
            last = await decided(store, {"c": answer(2)}, name=name, thread=thread)
        assert last.dispatch is not None and last.dispatch.dispatch_id == f"then-{name}"


@behaviour("TK-005")
async def test_a_run_that_was_asked_to_stop_opens_nothing_more(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, opens=(approval(),))
    await cancelled(store, "d1")

    done = await settled(store, owner, suspended(approval(), question()))

    assert (done.run.status, done.run.termination) == (RunStatus.DONE, CANCELLED)
    assert (await ticket_of(store, "call-1")).state == "withdrawn"
    assert await listed(store) == ["call-1"]


# --- deciding ---------------------------------------------------------------------------------------------------------


@behaviour("TK-006", "MBX-172", "MBX-163", "MBX-230")
async def test_a_decision_queues_the_dispatch_that_the_run_named(store: Store, clock: ManualClock) -> None:
    suspension = await waits_for(store, "d1", approval(), entries=(calling("turn", "call-1"),))
    seen = (await thread_of(store)).event_count
    clock.tick(1)

    outcome = await decided(store, {"call-1": yes(decided_by="ann", reason="fine")})

    assert outcome.duplicates == (False,)
    ticket = await ticket_of(store, "call-1")
    assert outcome.tickets == (ticket,)
    assert (ticket.state, ticket.closed_at) == ("decided", clock.now())
    assert ticket.decision == yes(decided_by="ann", reason="fine", decided_at=clock.now(), path="durable")
    dispatch = await dispatch_of(store, "then-d1")
    assert (outcome.dispatch, outcome.ready_in_ms) == (dispatch, 0)
    assert (dispatch.why, dispatch.position, dispatch.attempt_count) == ("decided", suspension.dispatch.position, 0)
    run = await run_of(store, "d1")
    assert (outcome.run, run.dispatch_id, run.open_tickets) == (run, "then-d1", 0)
    assert await kinds(store, after=seen) == ["TicketDecided", "RunQueued"]
    [told] = await payloads(store, "TicketDecided")
    assert (told.ticket_id, told.tool_call_id, told.action) == (ticket.ticket_id, "call-1", "approve")
    assert (told.decision_id, told.decided_by, told.reason) == ("yes", "ann", "fine")

    taken = await claim(store)

    assert taken is not None
    assert (taken.resumed, taken.run.status, taken.run.waiting) == (True, RunStatus.RUNNING, None)
    assert [message.id for message in taken.messages] == ["msg-d1"], "it goes on with what it was given"
    assert await message_ids(store) == ["msg-d1", "turn"], "and nothing of that is part of the conversation twice"
    assert taken.run.open_turn == 2, "its open calls stay open"


@behaviour("TK-007")
async def test_the_same_decision_again_changes_nothing(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval())
    first = await decided(store, {"call-1": yes()})
    clock.tick(1)
    before = await snapshot(store)

    again = await decided(store, {"call-1": yes(decision_id="another", decided_by="bob")})

    assert (again.duplicates, again.tickets, again.run) == ((True,), first.tickets, first.run)
    assert await snapshot(store) == before


@behaviour("TK-008")
async def test_another_decision_is_refused_with_the_first(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval(), question())
    first = await decided(store, {"call-1": yes()})
    before = await snapshot(store)

    outcome = want(Undecided, await decide(store, {"ask#1": answer(1), "call-1": yes(action="deny")}))

    assert outcome.ticket == first.tickets[0]
    assert await snapshot(store) == before
    assert (await ticket_of(store, "ask#1")).is_open, "all of them or none"


@behaviour("TK-008")
async def test_two_decisions_of_one_request_must_agree(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question())
    asked = deciding({"ask#1": answer(1)})

    differing = replace(asked, rulings=(*asked.rulings, Ruling(id_of("ask#1"), answer(2))))
    assert want(Undecided, await apply(store, differing)).ticket.decision == answer(1)
    assert (await ticket_of(store, "ask#1")).is_open

    same = replace(asked, rulings=asked.rulings * 2)
    assert want(Decided, await apply(store, same)).duplicates == (False, True)


@behaviour("TK-009")
async def test_a_decision_names_a_ticket_of_its_run(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval())
    await waits_for(store, "e1", approval(), thread=ELSEWHERE)
    before = await snapshot(store)

    assert await decide(store, {"call-2": yes()}) == Missing("ticket", id_of("call-2"))
    foreign = replace(deciding({"call-1": yes()}), rulings=(Ruling(id_of("call-1", "e1"), yes()),))
    assert await apply(store, foreign) == Missing("ticket", id_of("call-1", "e1"))
    assert await decide(store, {"call-1": yes()}, thread=ELSEWHERE) == Missing("run", "run-d1")
    assert await apply(store, replace(deciding({"call-1": yes()}), scope=OTHER_SCOPE)) == Missing("run", "run-d1")
    assert await decide(store, {"call-1": yes()}, name="nobody") == Missing("run", "run-nobody")
    assert await snapshot(store) == before
    assert await store.load_ticket(OTHER_SCOPE, id_of("call-1")) is None


@behaviour("TK-010")
async def test_a_decision_while_the_run_is_executed_is_found_by_it_later(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval(), approval("call-2"))
    await decided(store, {"call-1": yes()})

    queued = await decided(store, {"call-2": yes()})
    assert queued.dispatch is None, "its dispatch is queued already"
    taken = await claim(store)
    assert taken is not None
    assert await settle(store, taken, DONE)
    assert await listed(store, state="decided") == ["call-1", "call-2"]


@behaviour("TK-010")
async def test_a_decision_for_a_run_whose_owner_died_waits_for_its_next_one(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", lease_ms=1_000)
    await committed(store, owner, opens=(approval(),))
    clock.tick(2)

    outcome = await decided(store, {"call-1": yes()})
    assert (outcome.dispatch, outcome.ready_in_ms) == (None, None)
    await reclaim(store)

    taken = await claim(store)
    assert taken is not None and taken.dispatch.why == "takeover"
    done = await settled(store, taken, suspended(approval(), then="then-d1"))
    assert (done.run.dispatch_id, done.ready_in_ms) == ("then-d1", 0)


@behaviour("TK-011")
async def test_a_decision_queues_behind_what_is_running(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval())
    other = await claimed(store, "d2", metadata={"own": True})

    outcome = await decided(store, {"call-1": yes()})
    assert (outcome.dispatch is not None, outcome.ready_in_ms) == (True, None)
    assert outcome.tickets[0].decision is not None
    assert outcome.tickets[0].decision.path == "durable"

    done = await settled(store, other, offered=offer())
    assert done.claimed is not None and done.claimed.dispatch.dispatch_id == "then-d1"


@behaviour("TK-012")
async def test_many_who_decide_at_once_decide_once(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question())
    asked = [deciding({"ask#1": answer(number)}) for number in range(8)]

    outcomes = await together(store, asked)

    first = [outcome for outcome in outcomes if isinstance(outcome, Decided)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Undecided)]
    assert (len(first), len(refused)) == (1, 7)
    assert [outcome.ticket for outcome in refused] == [first[0].tickets[0]] * 7
    assert (await kinds(store)).count("TicketDecided") == 1


@behaviour("TK-013")
async def test_a_partly_decided_run_keeps_its_place_among_those_that_wait(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question("a"), question("b"), mode="all")
    await waits_for(store, "d2", question(), metadata={"own": True})

    await decided(store, {"a": answer(1)})

    assert (await thread_of(store)).open_run_id == "run-d2"
    assert (await submitted(store, "d3")).run.run_id == "run-d2"


@behaviour("TK-014")
async def test_the_end_of_a_child_wakes_its_parent(store: Store, clock: ManualClock) -> None:
    """It is reported by what becomes of the child, and not by events of its ticket."""
    done = await waits_for(store, "d1", child())
    assert done.run.waiting is not None and done.run.waiting.reason == "background_tasks"

    outcome = await decided(store, {"start#1": ended(decided_by="child")})

    assert outcome.dispatch is not None and outcome.dispatch.why == "children"
    assert {kind for kind in await kinds(store) if kind.startswith("Ticket")} == set()
    assert (await decided(store, {"start#1": ended()})).duplicates == (True,)


# --- time -------------------------------------------------------------------------------------------------------------


@behaviour("TK-015")
async def test_a_ticket_expires_when_its_time_is_over(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval(expires_in_ms=10_000))
    assert (await ticket_of(store, "call-1")).expires_at == clock.now() + 10_000
    [told] = await payloads(store, "RunSuspended")
    assert told.until == clock.now() + 10_000
    assert await store.next_due_in_ms(ROUTES) == 10_000
    assert await store.next_due_in_ms(frozenset()) == 10_000, "whoever serves what"
    assert (await claim_some(store)).next_due_in_ms == 10_000
    clock.tick(9.999)
    assert await store.list_overdue_tickets() == []
    assert (await expire(store, "call-1")).tickets == ()
    assert (await ticket_of(store, "call-1")).is_open
    clock.tick(0.001)
    assert await store.list_overdue_tickets() == [OverdueTicket(SCOPE, THREAD, run_id("d1"), id_of("call-1"))]

    outcome = await expire(store, "call-1")

    ticket = await ticket_of(store, "call-1")
    assert (ticket.state, ticket.decision, ticket.closed_at) == ("expired", None, clock.now())
    assert outcome.dispatch is not None and outcome.dispatch.dispatch_id == "then-d1"
    assert (await kinds(store))[-2:] == ["TicketExpired", "RunQueued"]
    assert await store.list_overdue_tickets() == []
    before = await snapshot(store)
    await expire(store, "call-1")
    assert await snapshot(store) == before


@behaviour("TK-016")
async def test_a_decision_that_comes_too_late_applies_the_expiry(store: Store, clock: ManualClock) -> None:
    """By the store's clock, whether a sweep came by or not."""
    await waits_for(store, "d1", approval(expires_in_ms=1_000), question())
    clock.tick(1)

    outcome = want(Undecided, await decide(store, {"ask#1": answer(1), "call-1": yes()}))

    assert (outcome.ticket.state, outcome.ready_in_ms) == ("expired", 0)
    assert outcome.ticket == await ticket_of(store, "call-1")
    assert (await ticket_of(store, "ask#1")).is_open, "nothing of the request was decided"
    assert (await run_of(store, "d1")).dispatch_id == "then-d1"
    again = want(Undecided, await decide(store, {"call-1": yes()}))
    assert again.ticket == outcome.ticket


@behaviour("TK-017")
async def test_a_default_answer_is_given_where_nobody_answers(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question(expires_in_ms=0, on_expiry="answer", default={"n": 1}))

    outcome = await expire(store, "ask#1")

    assert outcome.dispatch is not None
    ticket = await ticket_of(store, "ask#1")
    assert (ticket.state, ticket.decision is not None and ticket.decision.result) == ("expired", {"n": 1})


@behaviour("TK-018")
async def test_an_expiry_may_end_the_run_that_waits(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question("a"), question("b", expires_in_ms=0, on_expiry="fail"))
    await waits_for(store, "e1", question(expires_in_ms=0, on_expiry="cancel"), thread=ELSEWHERE)

    failed = await expire(store, "b")
    stopped = await expire(store, "ask#1", name="e1", thread=ELSEWHERE)

    assert failed.run == await run_of(store, "d1")
    assert failed.run.termination == Termination(
        "error", code="ticket_expired", detail="nobody decided in time: how many?"
    )
    assert (await ticket_of(store, "a")).state == "withdrawn"
    assert (await kinds(store))[-3:] == ["TicketExpired", "TicketWithdrawn", "RunErrored"]
    assert (stopped.run.status, stopped.run.termination) == (RunStatus.DONE, CANCELLED)
    assert (await thread_of(store)).open_ticket_count == 0
    for name in ("d1", "e1"):
        assert (await run_of(store, name)).open_tickets == 0


@behaviour("TK-018")
async def test_an_expiry_while_the_run_is_executed_is_found_by_its_settlement(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    asked = (question("a", expires_in_ms=0), question("b", expires_in_ms=0, on_expiry="fail"))
    await committed(store, owner, opens=asked)
    assert (await expire(store, "a")).run.status is RunStatus.RUNNING

    done = await settled(store, owner, suspended(*asked))

    assert (done.run.status, done.dispatch.status) == (RunStatus.DONE, DispatchStatus.ACKED)
    assert done.run.termination is not None and done.run.termination.code == "ticket_expired"
    assert await listed(store, state="expired") == ["a", "b"]
    assert (await run_of(store, "d1")).open_tickets == 0
    assert (await thread_of(store)).status is ThreadStatus.ERROR


@behaviour("TK-018")
async def test_an_expired_ticket_lets_a_run_that_suspends_go_on_at_once(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, opens=(question(expires_in_ms=0),))

    done = await settled(store, owner, suspended(question(expires_in_ms=0), then="then-d1"))

    assert (done.run.dispatch_id, done.run.open_tickets) == ("then-d1", 0)
    assert (await ticket_of(store, "ask#1")).state == "expired"


# --- withdrawing ------------------------------------------------------------------------------------------------------


@behaviour("TK-019")
async def test_the_tickets_of_a_run_go_with_it_however_it_ends(store: Store, clock: ManualClock) -> None:
    for number, ending in enumerate((DONE, DeadLetter("hopeless"), Release("handed over"))):
        name, thread = f"d{number}", ThreadId(f"thread-of-{number}")
        owner = await claimed(store, name, thread=thread)
        await committed(store, owner, opens=(approval(),))
        await settled(store, owner, ending)
        state = (await ticket_of(store, "call-1", name)).state
        assert state == ("open" if isinstance(ending, Release) else "withdrawn")
        assert (await run_of(store, name)).open_tickets == (state == "open")
        expected = ["TicketOpened"] if state == "open" else ["TicketOpened", "TicketWithdrawn"]
        assert [kind for kind in await kinds(store, thread) if kind.startswith("Ticket")] == expected
    stopped = await cancelled(store, "d2", thread=ThreadId("thread-of-2"))
    assert stopped.run.open_tickets == 0
    assert (await ticket_of(store, "call-1", "d2")).state == "withdrawn"


@behaviour("TK-019")
async def test_a_stop_withdraws_what_a_waiting_run_waits_for(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval())
    await waits_for(store, "d2", approval(), metadata={"own": True})
    await waits_for(store, "d3", approval(), metadata={"own": True})
    await decided(store, {"call-1": yes()}, name="d3")
    await cancelled(store, "d1")
    await interrupt(store)

    assert [(await ticket_of(store, "call-1", name)).state for name in ("d1", "d2", "d3")] == [
        "withdrawn",
        "withdrawn",
        "decided",
    ]
    assert (await thread_of(store)).open_ticket_count == 0
    refused = want(Undecided, await decide(store, {"call-1": yes()}))
    assert (refused.ticket.state, refused.run.status) == ("withdrawn", RunStatus.DONE)
    assert await claim(store) is None, "what arrives for a run that was stopped starts nothing"


@behaviour("TK-020")
async def test_child_tickets_outlive_a_run_that_was_not_stopped(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, opens=(child(), approval()))
    done = await settled(store, owner)
    assert (done.run.open_tickets, (await ticket_of(store, "call-1")).state) == (1, "withdrawn")
    clock.tick(10)
    assert (await purge(store, runs_ms=0)).runs == 0, "it will still be told"

    outcome = await decided(store, {"start#1": ended()})

    assert (outcome.run.open_tickets, outcome.run.status, outcome.dispatch) == (0, RunStatus.DONE, None)
    assert (await purge(store, runs_ms=0)).runs == 1
    assert await listed(store) == []
    stopped = await claimed(store, "d2")
    await committed(store, stopped, opens=(child(),))
    await cancelled(store, "d2")
    await settled(store, stopped, DeadLetter("stopped"))
    assert (await ticket_of(store, "start#1", "d2")).state == "withdrawn"


@behaviour("TK-021")
async def test_input_withdraws_the_tickets_of_open_calls_and_no_others(store: Store, clock: ManualClock) -> None:
    """Those of children stay, and what a function asks, which is no call."""
    await waits_for(store, "d1", approval(), question(), child(), entries=(calling("turn", "call-1"),))

    outcome = await submitted(store, "d2")

    assert (outcome.run.run_id, outcome.dispatch.why) == ("run-d1", "input")
    assert [(await ticket_of(store, key)).state for key in ("call-1", "ask#1", "start#1")] == [
        "withdrawn",
        "open",
        "open",
    ]
    [told] = await payloads(store, "TicketWithdrawn")
    assert (told.ticket_id, told.why, told.tool_call_id) == (id_of("call-1"), "input", "call-1")
    assert (await log_of(store))[-1].message.id == "turn", "its call is closed by the claim that takes the input"
    taken = await claim(store)
    assert taken is not None
    assert [stored.message.tool_status for stored in await log_of(store)][-2] is ToolStatus.CANCELLED
    late = await decided(store, {"ask#1": answer(1)})
    assert (late.dispatch, late.run.open_tickets) == (None, 1)
    done = await settled(store, taken, suspended(question(), then="more"))
    assert done.run.dispatch_id == "more", "it finds the answer that came meanwhile"
    await cancelled(store, "d1")  # nobody has begun that child


@behaviour("TK-022")
async def test_a_decision_and_input_queue_one_dispatch_whoever_comes_first(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question())
    await submitted(store, "d2")
    assert (await decided(store, {"ask#1": answer(1)})).dispatch is None
    assert (await run_of(store, "d1")).dispatch_id == "d2"

    await waits_for(store, "e1", question(), thread=ELSEWHERE)
    await decided(store, {"ask#1": answer(1)}, name="e1", thread=ELSEWHERE)
    behind = await submitted(store, "e2", thread=ELSEWHERE)
    assert (behind.run.run_id, (await run_of(store, "e1")).dispatch_id) == ("run-e2", "then-e1")


# --- reading ----------------------------------------------------------------------------------------------------------


@behaviour("TK-023")
async def test_tickets_are_listed_across_threads(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval("a"), question("b", expires_in_ms=5_000))
    await waits_for(store, "e1", approval("c", tool_name="pay", expires_in_ms=1_000), thread=ELSEWHERE)
    await waits_for(store, "f1", question("d"), thread=ThreadId("thread-3"), agent=AgentId("agent-2"))
    await decided(store, {"a": yes()})
    now = clock.now()

    assert await listed(store) == ["a", "b", "c", "d"]
    assert await listed(store, descending=True) == ["d", "c", "b", "a"]
    assert await listed(store, state="open") == ["b", "c", "d"]
    assert await listed(store, state="decided") == ["a"]
    assert await listed(store, state="open", kind="input") == ["b", "d"]
    assert await listed(store, kind="approval") == ["a", "c"]
    assert await listed(store, state="open", kind="approval", descending=True) == ["c"]
    assert await listed(store, state="open", tool_name="pay") == ["c"]
    assert await listed(store, tool_name="look_up") == ["a"]
    assert await listed(store, state="open", agent_id=AgentId("agent-2")) == ["d"]
    assert await listed(store, agent_id=AgentId("agent-2"), descending=True) == ["d"]
    assert await listed(store, thread_id=THREAD) == ["a", "b"]
    assert await listed(store, thread_id=THREAD, state="open", descending=True) == ["b"]
    assert await listed(store, thread_id=ThreadId("nobody")) == []
    assert await listed(store, run_id=run_id("d1"), descending=True) == ["b", "a"]
    assert await listed(store, run_id=RunId("nobody")) == []
    assert await listed(store, expires_before=now + 5_000) == ["c"]
    assert await listed(store, expires_before=now + 5_001) == ["b", "c"]
    assert await listed(store, expires_before=now + 5_001, descending=True) == ["c", "b"]
    assert await listed(store, expires_before=now + 5_001, thread_id=THREAD) == ["b"]
    assert await listed(store, expires_before=now + 5_001, kind="approval") == ["c"]
    for filters in (TicketQuery(), TicketQuery(state="open"), TicketQuery(expires_before=now + 5_001)):
        assert (await store.list_tickets(OTHER_SCOPE, filters)).items == ()


@behaviour("OBS-004")
async def test_open_tickets_are_counted_by_kind_in_every_scope(store: Store, clock: ManualClock) -> None:
    """With the age of the oldest: what a person has left waiting for too long shows in no other number."""
    assert await store.count_open_tickets() == []
    await waits_for(store, "d1", approval(), approval("call-2"))
    clock.tick(5)
    await waits_for(store, "d2", question(), scope=OTHER_SCOPE)
    clock.tick(2)
    counted = [OpenTickets("approval", 2, 7_000), OpenTickets("input", 1, 2_000)]
    assert await store.count_open_tickets() == counted

    await decided(store, {"call-1": yes()})

    assert await store.count_open_tickets() == [OpenTickets("approval", 1, 7_000), OpenTickets("input", 1, 2_000)]


async def test_the_age_of_open_tickets_is_that_of_the_first_however_the_clock_was_set(
    store: Store, clock: ManualClock
) -> None:
    await waits_for(store, "d1", approval())
    clock.set(clock.now() - 10_000)
    await waits_for(store, "d2", approval("call-2"), scope=OTHER_SCOPE)
    clock.tick(5)
    assert await store.count_open_tickets() == [OpenTickets("approval", 2, 0)]


@behaviour("TK-023")
async def test_tickets_are_listed_page_by_page(store: Store, clock: ManualClock) -> None:
    keys = [f"call-{number}" for number in range(7)]
    await waits_for(store, "d1", *[approval(key, expires_in_ms=number) for number, key in enumerate(keys)])

    for filters in ({}, {"state": "open"}, {"thread_id": THREAD}, {"kind": "approval", "state": "open"}):
        for descending in (False, True):
            found: list[str] = []
            after: int | None = None
            while True:
                query = TicketQuery(limit=3, after=after, descending=descending, **filters)  # type: ignore[arg-type]
                page = await store.list_tickets(SCOPE, query)
                found += [ticket.asked.key for ticket in page.items]
                after = page.next
                if after is None:
                    break
            assert found == (keys[::-1] if descending else keys)
    expiring = await store.list_tickets(SCOPE, TicketQuery(limit=2, expires_before=clock.now() + 5))
    assert [ticket.asked.key for ticket in expiring.items] == ["call-0", "call-1"]
    after = expiring.next
    more = await store.list_tickets(SCOPE, TicketQuery(limit=9, after=after, expires_before=clock.now() + 5))
    assert [ticket.asked.key for ticket in more.items] == ["call-2", "call-3", "call-4"]


@behaviour("TK-024")
async def test_tickets_go_with_their_run(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", approval())
    await cancelled(store, "d1")
    await waits_for(store, "e1", approval(), thread=ELSEWHERE)
    clock.tick(10)

    assert (await purge(store, runs_ms=0)).runs == 1

    assert await listed(store) == ["call-1"]
    assert await store.load_ticket(SCOPE, id_of("call-1")) is None
    assert (await ticket_of(store, "call-1", "e1")).is_open


@behaviour("TK-025")
async def test_the_answers_of_a_waiting_run_may_stand_later_in_the_log(store: Store, clock: ManualClock) -> None:
    """What others say meanwhile does not close its calls."""
    await waits_for(store, "d1", approval(), entries=(calling("turn", "call-1"),))
    other = await claimed(store, "d2", metadata={"own": True})
    await settled(store, other)
    await decided(store, {"call-1": yes()})
    taken = await claim(store)
    assert taken is not None

    await commit(store, taken, result_of("call-1"))

    assert await message_ids(store) == ["msg-d1", "turn", "msg-d2", "result-call-1"]


# --- with a submit ----------------------------------------------------------------------------------------------------


def submitting(name: str, rulings: dict[str, Decision], *, about: str = "d1", **details: Any) -> Submit:
    """A submit with decisions about the tickets of a run."""
    made = tuple([Ruling(id_of(key, about), decision) for key, decision in rulings.items()])
    return replace(asked(name, **details), decides=Rulings(run_id(about), made))


@behaviour("TK-029")
async def test_a_submit_and_the_decisions_that_come_with_it_are_one(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question())

    both = want(Submitted, await apply(store, submitting("d2", {"ask#1": answer(3)})))

    assert (both.run.run_id, both.claimed, both.ready_in_ms) == (run_id("d2"), None, 0)
    assert (await ticket_of(store, "ask#1")).state == "decided"
    assert (await run_of(store, "d1")).dispatch_id == "then-d1"
    names = [name for name in await kinds(store) if name in ("TicketDecided", "RunQueued")]
    assert names == ["RunQueued", "TicketDecided", "RunQueued", "RunQueued"]
    first, second = await claim(store), await claim(store)
    assert first is not None and first.dispatch.dispatch_id == "then-d1" and second is None, "in its place, one by one"


@behaviour("TK-029")
async def test_nothing_is_decided_with_a_submit_that_is_refused(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question())
    await submitted(store, "other", agent=AgentId("agent-2"))
    before = await snapshot(store)

    full = submitting("d2", {"ask#1": answer(3)}, max_queued=2)
    taken = submitting("d3", {"ask#1": answer(3)}, messages=[replace(said("msg-other"), content=())])

    assert isinstance(await apply(store, full), Full)
    assert isinstance(await apply(store, taken), Conflict)
    assert await snapshot(store) == before
    assert want(Submitted, await apply(store, replace(full, max_queued=9))).run.run_id == run_id("d2")


@behaviour("TK-029")
async def test_nothing_is_accepted_with_a_decision_that_is_refused(store: Store, clock: ManualClock) -> None:
    await waits_for(store, "d1", question(), question("b", expires_in_ms=1_000), mode="all")
    await decided(store, {"ask#1": answer(3)})
    clock.tick(2_000)
    before = await snapshot(store)

    contradicts = await apply(store, submitting("d2", {"ask#1": answer(4)}))
    comes_too_late = await apply(store, submitting("d2", {"b": answer(4)}))
    unknown = await apply(store, submitting("d2", {"c": answer(4)}))
    elsewhere = await apply(store, submitting("d2", {"b": answer(4)}, thread=ELSEWHERE))

    assert want(Undecided, contradicts).ticket.state == "decided"
    late = want(Undecided, comes_too_late)
    assert (late.ticket.state, late.appended) == ("expired", ())
    assert isinstance(unknown, Missing) and isinstance(elsewhere, Missing)
    assert await snapshot(store) == before
    assert want(Submitted, await apply(store, submitting("d2", {"ask#1": answer(3)}))), "it had been decided so"


@behaviour("TK-029")
async def test_a_submit_with_decisions_is_repeated_without_effect(store: Store, clock: ManualClock) -> None:
    """Also when by now the decision could not be made any more."""
    await waits_for(store, "d1", question())
    asking = submitting("d2", {"ask#1": answer(3)})
    await apply(store, asking)
    await cancelled(store, "d1")
    before = await snapshot(store)

    again = want(Replayed, await apply(store, asking))
    by_message = want(
        Replayed, await apply(store, replace(asking, run_id=RunId("another"), dispatch_id=DispatchId("another")))
    )

    assert again.run.run_id == by_message.run.run_id == run_id("d2")
    assert await snapshot(store) == before


@behaviour("TK-029")
async def test_a_run_that_waits_on_takes_the_input_that_comes_with_a_part_of_the_decisions(
    store: Store, clock: ManualClock
) -> None:
    await waits_for(store, "d1", question("a"), question("b"), mode="all")

    both = want(Submitted, await apply(store, submitting("d2", {"a": answer(3)})))

    assert (both.run.run_id, both.dispatch.why) == (run_id("d1"), "input")
    assert (await ticket_of(store, "a")).state == "decided"
    assert (await run_of(store, "d1")).open_tickets == 1


@behaviour("TK-029")
async def test_decisions_for_a_run_that_executes_come_with_a_submit_behind_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, opens=(question(),))

    both = want(Submitted, await apply(store, submitting("d2", {"ask#1": answer(3)})))

    assert (both.run.run_id, both.ready_in_ms) == (run_id("d2"), None)
    done = await settled(store, owner, suspended(question(), then="then-d1"))
    assert done.run.dispatch_id == "then-d1", "it goes on at once"
