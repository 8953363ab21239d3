"""Errands: written with what causes them, kept until they are delivered, and repeated without a second effect."""

from __future__ import annotations

from typing import Any

from msgspec import json

from awaken.domain.ids import AgentId, ThreadId
from awaken.domain.message import Message
from awaken.domain.outbox import ERRAND_DIGEST, Begin, ChildWaits, OutboxRow, Posting, Stop, Tell
from awaken.domain.run import Intent, Origin, RunRequest, RunStatus, Trace
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import Store
from awaken.store.transitions import (
    Cancel,
    CancelResult,
    Committed,
    Conflict,
    Decide,
    Delivered,
    DeliveredSome,
    Handled,
    LeaseLost,
    Missing,
    NoteChild,
    Replayed,
    Ruling,
    Settled,
    Submit,
    Submitted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    AGENT,
    DONE,
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    apply,
    claimed,
    commit,
    committed,
    committing,
    dispatch_id,
    events_of,
    finished,
    interrupt,
    kinds,
    purge,
    run_id,
    run_of,
    said,
    settled,
    settling,
    snapshot,
    submitted,
    suspended,
    thread_of,
    want,
)

ELSEWHERE = ThreadId("elsewhere")


def errand(name: str, *, agent: AgentId = AGENT, messages: tuple[Message, ...] | None = None, **details: Any) -> Begin:
    """What begins the run of a name."""
    brought = (said(f"msg-{name}"),) if messages is None else messages
    return Begin(
        run_id=run_id(name),
        dispatch_id=dispatch_id(name),
        request=RunRequest(
            Intent(agent), tuple([message.id for message in brought]), trace=Trace(origin=Origin.INTERNAL)
        ),
        messages=brought,
        **details,
    )


def begins(name: str, thread: ThreadId = ELSEWHERE, **details: Any) -> Posting:
    return Posting(thread, errand(name, **details))


def delivering(row: OutboxRow) -> Submit | Cancel | Decide | NoteChild:
    """What the mailbox asks for an errand."""
    what = row.errand
    if isinstance(what, Tell):
        ruling = Ruling(what.ticket_id, what.decision)
        return Decide(scope=row.scope, thread_id=row.thread_id, run_id=what.run_id, rulings=(ruling,), told=what)
    if isinstance(what, ChildWaits):
        return NoteChild(scope=row.scope, thread_id=row.thread_id, told=what)
    if isinstance(what, Stop):
        return Cancel(scope=row.scope, thread_id=row.thread_id, run_id=what.run_id)
    return Submit(
        scope=row.scope,
        thread_id=row.thread_id,
        run_id=what.run_id,
        dispatch_id=what.dispatch_id,
        request=what.request,
        messages=what.messages,
        digest=ERRAND_DIGEST,
        metadata=what.metadata,
        delivery=what.delivery,
        info=what.info,
    )


async def removed(store: Store, *rows: OutboxRow, refused: str | None = None) -> int:
    handled = tuple([Handled(row.no, refused) for row in rows])
    return want(DeliveredSome, await apply(store, Delivered(rows=handled))).count


async def waiting(store: Store) -> list[str]:
    """The runs that errands are about, in the order in which they were written."""
    return [row.errand.run_id for row in await store.list_outbox()]


@behaviour("OB-016", "CH-009")
async def test_an_errand_is_stored_with_the_commit_that_causes_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    outcome = await committed(store, owner, posts=[begins("one"), begins("two", ThreadId("third"))])

    rows = await store.list_outbox()
    assert [(row.sender, row.run_id, row.thread_id, row.errand) for row in rows] == [
        (THREAD, run_id("d1"), ELSEWHERE, errand("one")),
        (THREAD, run_id("d1"), ThreadId("third"), errand("two")),
    ]
    assert [row for appended in outcome.appended for row in appended.posted] == rows, "whoever delivers is given them"
    assert (await kinds(store))[-2:] == ["MessageSent", "MessageSent"]
    assert await store.load_thread(SCOPE, ELSEWHERE) is None, "nothing has happened there yet"


async def test_an_errand_of_a_settlement_is_stored_with_the_end(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    outcome = await settled(store, owner, DONE, posts=[begins("one")])

    assert [row for appended in outcome.appended for row in appended.posted] == await store.list_outbox()
    assert (await kinds(store))[-2:] == ["MessageSent", "RunFinished"]


@behaviour("CH-009")
async def test_a_commit_that_is_repeated_writes_no_second_errand(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    step = committing(owner, posts=[begins("one")], number=1)
    end = settling(owner, DONE, posts=[begins("two")], number=2)

    for transition, kind in ((step, Committed), (step, Committed), (end, Settled), (end, Settled)):
        want(kind, await apply(store, transition))

    assert await waiting(store) == [run_id("one"), run_id("two")]


async def test_a_stale_owner_writes_no_errand(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await interrupt(store)

    assert isinstance(await commit(store, owner, posts=[begins("one")]), LeaseLost)
    assert isinstance(await apply(store, settling(owner, DONE, posts=[begins("one")], token="x")), LeaseLost)

    assert await store.list_outbox() == []


@behaviour("CH-009")
async def test_an_errand_delivered_twice_begins_one_run(store: Store, clock: ManualClock) -> None:
    await committed(store, await claimed(store, "d1"), posts=[begins("one", metadata={"a": [1]})])
    [row] = await store.list_outbox()

    first = want(Submitted, await apply(store, delivering(row)))
    before = await snapshot(store)
    second = want(Replayed, await apply(store, delivering(row)))

    assert first.run.run_id == second.run.run_id == run_id("one")
    assert await snapshot(store) == before


@behaviour("CH-009")
async def test_an_errand_that_was_delivered_is_removed_once(store: Store, clock: ManualClock) -> None:
    await committed(store, await claimed(store, "d1"), posts=[begins("one"), begins("two")])
    first, second = await store.list_outbox()

    assert await removed(store, first) == 1
    assert await removed(store, first, second) == 1
    assert await removed(store, first, second) == 0
    assert await store.list_outbox() == []


async def test_numbers_of_errands_are_never_given_twice(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    seen: list[int] = []
    for name in ("one", "two", "three"):
        await committed(store, owner, posts=[begins(name)])
        rows = await store.list_outbox()
        seen += [row.no for row in rows]
        await removed(store, *rows)

    assert seen == sorted(set(seen))


@behaviour("CH-009")
async def test_errands_are_listed_in_order_by_lane_and_in_pages(store: Store, clock: ManualClock) -> None:
    mine = await claimed(store, "d1")
    other = await claimed(store, "d2", thread=ThreadId("other"))
    foreign = await claimed(store, "d1", scope=OTHER_SCOPE)
    await committed(store, mine, posts=[begins("one"), begins("two", ThreadId("third"))])
    await committed(store, other, posts=[begins("three")])
    await committed(store, foreign, posts=[begins("four")])
    await committed(store, mine, posts=[begins("five")])

    rows = await store.list_outbox()
    assert [row.errand.run_id for row in rows] == [run_id(n) for n in ("one", "two", "three", "four", "five")]
    assert await store.list_outbox(limit=2) == rows[:2]
    assert await store.list_outbox(after=rows[1].no, limit=2) == rows[2:4]
    assert await store.list_outbox(lane=rows[0].lane) == [rows[0], rows[4]]
    assert await store.list_outbox(lane=rows[0].lane, limit=1) == [rows[0]]
    assert await store.list_outbox(lane=rows[3].lane) == [rows[3]]


@behaviour("CH-010")
async def test_an_errand_that_can_never_be_delivered_is_reported_where_it_came_from(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, posts=[begins("one")])
    await settled(store, owner)
    [row] = await store.list_outbox()

    assert await removed(store, row, refused="there is no such thread") == 1

    [reported] = (await events_of(store))[-1:]
    assert (reported.run_id, [event.kind for event in reported.events]) == (run_id("d1"), ["MessageUndeliverable"])
    payload = json.decode(reported.events[0].payload)
    assert (payload["to_run_id"], payload["error"]) == (run_id("one"), "there is no such thread")
    assert (await thread_of(store)).event_count == reported.last_seq


async def test_the_run_of_an_errand_is_not_that_of_a_caller_with_the_same_id(store: Store, clock: ManualClock) -> None:
    await committed(store, await claimed(store, "d1"), posts=[begins("one")])
    await submitted(store, "one", thread=ELSEWHERE)
    [row] = await store.list_outbox()

    assert want(Conflict, await apply(store, delivering(row))).what == "run"


async def test_a_thread_that_an_errand_makes_says_where_it_belongs(store: Store, clock: ManualClock) -> None:
    info = ThreadInfo(parent_thread_id=THREAD, metadata={"why": "research"})
    await committed(
        store, await claimed(store, "d1"), posts=[begins("one", info=info), begins("two", info=ThreadInfo())]
    )
    for row in await store.list_outbox():
        want(Submitted, await apply(store, delivering(row)))

    assert (await thread_of(store, ELSEWHERE)).info == info, "the second one found it made"


async def test_what_comes_from_inside_opens_a_run_of_its_own(store: Store, clock: ManualClock) -> None:
    """A run that waits for a person is not continued by what another agent says to its thread."""
    await settled(store, await claimed(store, "asks", thread=ELSEWHERE), suspended())
    await committed(store, await claimed(store, "d1"), posts=[begins("one")])
    [row] = await store.list_outbox()

    accepted = want(Submitted, await apply(store, delivering(row)))

    assert accepted.run.run_id == run_id("one")
    assert (await run_of(store, "asks")).status is RunStatus.WAITING


async def test_a_stop_finds_the_run_that_an_earlier_errand_began(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, posts=[begins("one"), Posting(ELSEWHERE, Stop(run_id=run_id("one")))])
    begin, stop = await store.list_outbox()
    assert begin.lane == stop.lane

    assert isinstance(await apply(store, delivering(stop)), Missing)
    await apply(store, delivering(begin))
    for _ in range(2):
        assert want(CancelResult, await apply(store, delivering(stop))).state == "stopped"
    assert want(Replayed, await apply(store, delivering(begin))).run.status is RunStatus.DONE


async def test_a_run_is_kept_until_its_errands_are_delivered(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, DONE, posts=[begins("one")])
    await finished(store, "d2", thread=ThreadId("other"))
    clock.tick(10)

    assert (await purge(store, runs_ms=1_000)).runs == 1
    assert await store.load_run(SCOPE, run_id("d1")) is not None
    await removed(store, *await store.list_outbox())
    assert (await purge(store, runs_ms=1_000)).runs == 1
    assert await store.load_run(SCOPE, run_id("d1")) is None
