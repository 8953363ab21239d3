"""Children: their ends are told once, to a run that waits, to one that does not, and to one that has ended."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import json

from awaken.domain.child import ChildEnd, ChildTicket, told_message_id
from awaken.domain.ids import RunId, ThreadId, TicketId
from awaken.domain.outbox import Begin, ChildWaits, OutboxRow, Posting, Stop, Tell
from awaken.domain.run import ChildOf, Intent, Origin, Run, RunRequest, RunStatus, Trace
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import TicketRequest, ticket_id
from awaken.store.contract import RunQuery, Store
from awaken.store.transitions import (
    Ack,
    CancelResult,
    ChildNoted,
    Claimed,
    Committed,
    DeadLetter,
    Decided,
    Missing,
    Submitted,
    Suspend,
    Undecided,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.outbox import delivering, removed
from awaken.testing.conformance.steps import (
    AGENT,
    DONE,
    SCOPE,
    THREAD,
    apply,
    cancelled,
    claim,
    claimed,
    commit,
    committed,
    committing,
    dispatch_id,
    events_of,
    interrupt,
    kinds,
    message_id,
    purge,
    run_id,
    run_of,
    said,
    settled,
    snapshot,
    submitted,
    suspended,
    want,
)


def thread_of_child(name: str) -> ThreadId:
    return ThreadId(f"thread-of-{name}")


def asks_for(name: str, *, detached: bool = False) -> TicketRequest:
    about = ChildTicket(run_id=run_id(name), thread_id=thread_of_child(name), agent_id=AGENT, detached=detached)
    return TicketRequest(key=name, kind="child", tool_name=name, arguments=msgspec.to_builtins(about))


def ticket_of(name: str, parent: str = "parent") -> TicketId:
    return ticket_id(run_id(parent), name)


def starts(name: str, parent: str = "parent", *, call: str | None = None) -> Posting:
    child = ChildOf(ticket_id=ticket_of(name, parent), agent_id=AGENT, name=name, tool_call_id=call)
    trace = Trace(origin=Origin.SUBAGENT, parent_run_id=run_id(parent), parent_thread_id=THREAD, child=child)
    begin = Begin(
        run_id=run_id(name),
        dispatch_id=dispatch_id(name),
        request=RunRequest(Intent(AGENT), (message_id(f"msg-{name}"),), trace=trace),
        messages=(said(f"msg-{name}"),),
        info=ThreadInfo(parent_thread_id=THREAD),
    )
    return Posting(thread_of_child(name), begin)


async def parent_of(store: Store, *names: str, detached: bool = False) -> Claimed:
    """A run under way that has started these."""
    owner = await claimed(store, "parent")
    opens = [asks_for(name, detached=detached) for name in names]
    await committed(store, owner, opens=opens, posts=[starts(name) for name in names])
    return owner


async def delivered(store: Store) -> list[object]:
    """Deliver what the outbox holds, as the mailbox does; the outcomes."""
    rows = await store.list_outbox()
    outcomes: list[object] = [await apply(store, delivering(row)) for row in rows]
    await removed(store, *rows)
    return outcomes


async def child_ends(store: Store, name: str, ending: Any = DONE) -> OutboxRow:
    """Execute a child that has been begun to its end; what it tells."""
    thread = thread_of_child(name)
    while (mine := await claim(store)) is not None:
        if mine.dispatch.thread_id == thread:
            await settled(store, mine, ending)
            break
    [row] = [each for each in await store.list_outbox() if isinstance(each.errand, Tell) and each.sender == thread]
    return row


async def child_asks(store: Store, name: str, *tickets: str) -> OutboxRow:
    """Execute a child until it waits for these; what it tells."""
    thread = thread_of_child(name)
    mine = await claim(store)
    assert mine is not None and mine.dispatch.thread_id == thread
    await settled(store, mine, suspended(*[TicketRequest(key=each, kind="input") for each in tickets]))
    [row] = [each for each in await store.list_outbox() if isinstance(each.errand, ChildWaits)]
    return row


async def tell(store: Store, row: OutboxRow) -> object:
    outcome = await apply(store, delivering(row))
    await removed(store, row)
    return outcome


async def pending(store: Store) -> list[str]:
    return [each.message.id for each in await store.list_pending(SCOPE, THREAD)]


async def wakes(store: Store) -> list[Run]:
    """The runs of the parent's thread that were opened to tell of children."""
    found = (await store.list_runs(SCOPE, RunQuery(thread_id=THREAD, limit=100))).items
    return [run for run in found if run.request.trace.origin is Origin.INTERNAL]


@behaviour("CH-001")
async def test_a_child_is_started_with_its_ticket_in_one_piece(store: Store, clock: ManualClock) -> None:
    await parent_of(store, "one")

    assert (await run_of(store, "parent")).open_tickets == 1
    assert (await kinds(store))[-1] == "ChildStarted"
    assert "TicketOpened" not in await kinds(store)
    [begun] = await delivered(store)
    child = want(Submitted, begun).run
    assert (child.request.trace.parent_run_id, child.thread_id) == (run_id("parent"), thread_of_child("one"))
    thread = await store.load_thread(SCOPE, child.thread_id)
    assert thread is not None and thread.info.parent_thread_id == THREAD


@behaviour("TR-035")
async def test_a_thread_takes_the_parent_that_its_first_run_names_and_keeps_the_one_it_has(
    store: Store, clock: ManualClock
) -> None:
    async def parent_thread(name: str) -> ThreadId | None:
        thread = await store.load_thread(SCOPE, thread_of_child(name))
        assert thread is not None
        return thread.info.parent_thread_id

    await parent_of(store, "one")
    await delivered(store)
    assert await parent_thread("one") == THREAD
    other = await claimed(store, "other", thread=ThreadId("another-thread"))
    again = starts("again", "other")
    assert isinstance(again.errand, Begin)
    info = ThreadInfo(parent_thread_id=other.dispatch.thread_id)
    errand = msgspec.structs.replace(again.errand, info=info)

    await committed(store, other, posts=[Posting(thread_of_child("one"), errand)])
    await delivered(store)

    assert (await run_of(store, "again")).thread_id == thread_of_child("one")
    assert await parent_thread("one") == THREAD


@behaviour("CH-002")
async def test_the_end_of_a_child_lets_a_run_go_on_that_waits_for_it(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one", "two")
    await delivered(store)
    waits_for = (ticket_of("one"), ticket_of("two"))
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=waits_for, mode="all"))

    first = want(Decided, await tell(store, await child_ends(store, "one", Ack(DONE.termination, "found it"))))
    assert (first.dispatch, first.run.status) == (None, RunStatus.WAITING)
    second = want(Decided, await tell(store, await child_ends(store, "two", DeadLetter("no luck"))))
    assert second.dispatch is not None and second.dispatch.why == "children"

    [one, two] = first.tickets + second.tickets
    assert one.decision is not None and two.decision is not None
    assert (one.decision.action, one.decision.result["output"]) == ("answer", "found it")
    assert (two.decision.action, two.decision.reason) == ("fail", "no luck")
    assert await pending(store) == []
    assert (await kinds(store)).count("ChildFinished") == 2
    assert "TicketDecided" not in await kinds(store)


@behaviour("D-012", "CH-003")
async def test_an_end_that_is_told_twice_is_told_once(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one")
    await delivered(store)
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=(ticket_of("one"),)))
    row = await child_ends(store, "one")

    first = want(Decided, await apply(store, delivering(row)))
    again = want(Decided, await apply(store, delivering(row)))

    assert (first.duplicates, again.duplicates, again.dispatch) == ((False,), (True,), None)
    assert (await kinds(store)).count("ChildFinished") == 1


@behaviour("CH-003")
async def test_a_child_that_ends_before_its_run_waits_is_found_by_the_settlement(
    store: Store, clock: ManualClock
) -> None:
    owner = await parent_of(store, "one")
    await delivered(store)
    told = want(Decided, await tell(store, await child_ends(store, "one")))
    assert told.pended
    assert await pending(store) == [told_message_id(ticket_of("one"))]

    ended = await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=(ticket_of("one"),)))

    assert ended.run.dispatch_id == dispatch_id("next"), "it goes on at once"
    assert await pending(store) == [], "what it waits for it is told once"
    assert await wakes(store) == []


@behaviour("CH-003")
async def test_a_run_that_does_not_wait_is_told_at_its_next_step(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one")
    await delivered(store)
    await tell(store, await child_ends(store, "one", Ack(DONE.termination, "found it")))

    step = msgspec.structs.replace(committing(owner), takes="next_step")
    taken = want(Committed, await apply(store, step)).taken

    assert [message.text for message in taken] == ["The background run 'one' is done: found it"]
    assert await wakes(store) == []


@behaviour("CH-003")
async def test_what_a_run_was_not_told_while_it_lasted_opens_a_run_at_its_end(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one", "two")
    await delivered(store)
    await tell(store, await child_ends(store, "one"))
    await tell(store, await child_ends(store, "two"))

    await settled(store, owner)

    [wake] = await wakes(store)
    assert (wake.agent_id, len(wake.request.input_message_ids)) == (AGENT, 2), "one wake for both"


@behaviour("D-012")
async def test_a_child_that_outlives_its_parent_wakes_the_thread_and_others_join(
    store: Store, clock: ManualClock
) -> None:
    owner = await parent_of(store, "one", "two", "three")
    await delivered(store)
    await settled(store, owner)
    assert (await purge(store, runs_ms=0)).runs == 0, "a run is kept while children of it may still tell it something"
    ends = [await child_ends(store, name) for name in ("one", "two", "three")]

    await tell(store, ends[0])
    await tell(store, ends[1])
    [wake] = await wakes(store)
    its_rows = await store.list_events(SCOPE, THREAD, after=0, limit=100, run_id=wake.run_id)
    assert [each.kind for row in its_rows for each in row.events] == ["RunQueued", "MessagePended"]
    got = await claim(store)
    assert got is not None and got.run.run_id == wake.run_id
    assert [message.id for message in got.messages] == [told_message_id(ticket_of(name)) for name in ("one", "two")]
    assert await pending(store) == []

    await tell(store, ends[2])
    await settled(store, got)
    assert len(await wakes(store)) == 2, "one that was claimed already is not joined"


@behaviour("CH-004")
async def test_a_parent_that_is_stopped_stops_its_children(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one")
    await delivered(store)
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=(ticket_of("one"),)))

    await cancelled(store, "parent")

    [row] = await store.list_outbox()
    assert (row.thread_id, row.errand) == (thread_of_child("one"), Stop(run_id=run_id("one")))
    [stopped] = await delivered(store)
    assert want(CancelResult, stopped).state == "stopped"
    [tells] = await store.list_outbox()
    assert isinstance(await tell(store, tells), Undecided), "its ticket went with the parent"
    assert await wakes(store) == []
    assert (await run_of(store, "parent")).open_tickets == 0


@behaviour("CH-004")
async def test_an_interrupt_stops_the_children_of_what_it_stops(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one")
    await interrupt(store)
    assert [row for row in await store.list_outbox() if isinstance(row.errand, Stop)] == []

    await settled(store, owner)

    begin, stop = await store.list_outbox()
    assert (begin.lane, stop.lane) == (stop.lane, begin.lane), "begun and stopped in that order"
    assert isinstance(stop.errand, Stop)


@behaviour("CH-004")
async def test_a_detached_child_goes_on_and_its_end_starts_nothing(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one", detached=True)
    await delivered(store)
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=(ticket_of("one"),)))
    await cancelled(store, "parent")
    assert await store.list_outbox() == []

    assert isinstance(await tell(store, await child_ends(store, "one")), Undecided)
    assert await wakes(store) == []


async def test_an_output_that_is_too_large_to_be_told_stands_with_the_child(store: Store, clock: ManualClock) -> None:
    await parent_of(store, "one")
    await delivered(store)
    row = await child_ends(store, "one", Ack(DONE.termination, "x" * 200_000))

    assert isinstance(row.errand, Tell)
    end = msgspec.convert(row.errand.decision.result, ChildEnd)
    assert (end.output, end.is_cut) == (None, True)
    assert len(row.errand.message.text) < 5_000
    assert len((await run_of(store, "one")).final_output or "") == 200_000


@behaviour("CH-007")
async def test_the_log_of_the_parent_says_what_became_of_a_child(store: Store, clock: ManualClock) -> None:
    await parent_of(store, "one")
    await delivered(store)
    await tell(store, await child_ends(store, "one", Ack(DONE.termination, "found it")))

    events = [event for row in await events_of(store) for event in row.events if event.kind.startswith("Child")]
    assert [json.decode(event.payload) for event in events] == [
        {"run_id": run_id("one"), "thread_id": thread_of_child("one"), "agent_id": AGENT},
        {"run_id": run_id("one"), "termination": {"type": "natural_end"}, "output": "found it"},
    ]


async def test_the_parent_of_a_child_may_be_gone(store: Store, clock: ManualClock) -> None:
    await parent_of(store, "one")
    await delivered(store)
    row = await child_ends(store, "one")
    assert isinstance(row.errand, Tell)
    elsewhere = msgspec.structs.replace(row.errand, run_id=RunId("nobody"))

    outcome = await apply(store, delivering(msgspec.structs.replace(row, errand=elsewhere)))
    assert type(outcome).__name__ == "Missing"
    assert await commit(store, await claimed(store, "after", thread=ThreadId("t2"))) is not None


@behaviour("TK-026")
async def test_a_child_that_waits_is_news_for_its_parent_once(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one")
    await delivered(store)
    waits_for = (ticket_of("one"),)
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=waits_for))
    row = await child_asks(store, "one", "name", "place")

    await apply(store, delivering(row))
    before = await snapshot(store)
    again = want(ChildNoted, await apply(store, delivering(row)))

    assert again.appended == () and await snapshot(store) == before
    [told] = [event for row in await events_of(store) for event in row.events if event.kind == "ChildSuspended"]
    asked = [ticket_id(run_id("one"), key) for key in ("name", "place")]
    assert json.decode(told.payload) == {"run_id": run_id("one"), "ticket_ids": asked}
    assert (await run_of(store, "parent")).status is RunStatus.WAITING, "it waits for the end"


@behaviour("TK-026")
async def test_each_wait_of_a_child_is_told(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one")
    await delivered(store)
    waits_for = (ticket_of("one"),)
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=waits_for))

    for key in ("name", "place"):
        await tell(store, await child_asks(store, "one", key))
        await submitted(store, f"more-{key}", thread=thread_of_child("one"))

    assert (await kinds(store)).count("ChildSuspended") == 2


@behaviour("TK-026")
async def test_that_a_child_waits_is_no_news_once_it_has_ended(store: Store, clock: ManualClock) -> None:
    owner = await parent_of(store, "one")
    await delivered(store)
    row = await child_asks(store, "one", "name")
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), waits_for=(ticket_of("one"),)))
    await cancelled(store, "parent")
    before = await snapshot(store)

    assert want(ChildNoted, await apply(store, delivering(row))).appended == ()

    assert await snapshot(store) == before
    assert isinstance(row.errand, ChildWaits)
    elsewhere = msgspec.structs.replace(row.errand, run_id=RunId("nobody"))
    assert isinstance(await apply(store, delivering(msgspec.structs.replace(row, errand=elsewhere))), Missing)


@behaviour("TK-026")
async def test_a_run_that_nobody_started_tells_nobody_that_it_waits(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, suspended(TicketRequest(key="name", kind="input")))
    assert await store.list_outbox() == []


@behaviour("TK-027")
async def test_the_log_names_the_call_that_started_a_child_and_the_children_that_are_waited_for(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "parent")
    await committed(store, owner, opens=[asks_for("one"), asks_for("two")], posts=[starts("one", call="call-1")])
    name = TicketRequest(key="name", kind="input")
    waits_for = (ticket_of("one"), name.id_in(run_id("parent")))
    await settled(store, owner, Suspend(next_dispatch_id=dispatch_id("next"), opens=(name,), waits_for=waits_for))

    payloads = {event.kind: json.decode(event.payload) for row in await events_of(store) for event in row.events}
    assert payloads["ChildStarted"]["tool_call_id"] == "call-1"
    assert payloads["RunSuspended"]["child_run_ids"] == [run_id("one")]
