"""Purging and counting: what goes away after its time, what stays, and what the numbers say."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import AgentId, ThreadId
from awaken.domain.run import CANCELLED, RunStatus, Termination
from awaken.domain.thread import ThreadStatus
from awaken.store.contract import DispatchQuery, OpenCount, Page, RunQuery, Store
from awaken.store.transitions import Ack, DeadLetter, JournalEntry
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steering import staged
from awaken.testing.conformance.steps import (
    AGENT,
    DONE,
    FOR_EVER,
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    answered,
    apply,
    asked,
    calling,
    cancelled,
    claim,
    claim_some,
    claimed,
    committed,
    committing,
    delta,
    dispatch_id,
    dispatch_of,
    events_of,
    finished,
    interrupt,
    kinds,
    log_of,
    message_id,
    message_ids,
    names,
    offer,
    purge,
    run_id,
    run_of,
    runs_in,
    said,
    settled,
    snapshot,
    submitted,
    suspended,
    thread_of,
    threads_in,
)


@behaviour("MB-140")
async def test_finished_work_goes_after_its_retention(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await cancelled(store, "d1")
    clock.tick(2)

    assert (await purge(store, runs_ms=1_000)).runs == 1

    assert await store.load_dispatch(SCOPE, dispatch_id("d1")) is None
    assert await store.load_run(SCOPE, run_id("d1")) is None
    assert await names(store) == []
    assert await runs_in(store) == []


@behaviour("MB-141")
async def test_work_finished_exactly_at_the_cutoff_is_kept(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    clock.tick(1)

    assert (await purge(store, runs_ms=1_000)).runs == 0
    clock.tick(0.001)
    assert (await purge(store, runs_ms=1_000)).runs == 1


@behaviour("MB-142")
async def test_open_work_is_never_purged(store: Store, clock: ManualClock) -> None:
    await claimed(store, "held", thread=ThreadId("thread-1"))
    await submitted(store, "queued", thread=ThreadId("thread-2"))
    await finished(store, "waits", thread=ThreadId("thread-3"), ending=suspended())
    clock.tick(1_000_000)
    before = await snapshot(store)

    outcome = await purge(store, runs_ms=0, events_ms=0)
    assert (outcome.runs, outcome.events, outcome.more) == (0, 0, False)

    assert await snapshot(store) == before


@behaviour("MB-143", "MB-144")
async def test_a_drained_thread_keeps_its_conversation_and_epoch_and_nothing_of_its_runs(
    store: Store, clock: ManualClock
) -> None:
    busy = ThreadId("thread-2")
    await submitted(store, "kept", thread=busy)
    for n in range(5):
        await submitted(store, f"dropped-{n}")
        await interrupt(store)
        await finished(store, f"done-{n}")
    clock.tick(1)

    assert (await purge(store, runs_ms=0)).runs == 10

    assert await names(store) == []
    assert await runs_in(store, thread_id=THREAD) == []
    thread = await thread_of(store)
    assert (thread.epoch, thread.queued_count, thread.message_count) == (5, 0, 5)
    assert (thread.latest_run_id, thread.status) == (None, ThreadStatus.IDLE)
    assert await message_ids(store) == [f"msg-done-{n}" for n in range(5)]
    assert await names(store, thread=busy) == ["kept"]
    assert (await submitted(store, "new")).dispatch.epoch == 5


async def test_a_purge_takes_the_journals_of_finished_runs_with_it(store: Store, clock: ManualClock) -> None:
    entry = JournalEntry("step#1", Raw(b"1"))
    done = await claimed(store, "done")
    await settled(store, done, DONE, journal=[entry])
    held = await claimed(store, "held")
    await committed(store, held, journal=[entry])
    clock.tick(1)

    await purge(store, runs_ms=0)

    assert await store.list_journal(SCOPE, run_id("done")) == []
    assert await store.list_journal(SCOPE, run_id("held")) == [entry]


async def test_a_purge_takes_the_oldest_first_and_no_more_than_its_limit(store: Store, clock: ManualClock) -> None:
    for n in range(5):
        await finished(store, f"d{n}")
        clock.tick(1)

    first = await purge(store, runs_ms=0, limit=2)
    assert (first.runs, first.more) == (2, True)
    assert await names(store) == ["d2", "d3", "d4"]
    rest = await purge(store, runs_ms=0, limit=200)
    assert (rest.runs, rest.more) == (3, False)


@behaviour("MB-145", "MB-146")
async def test_every_thread_with_work_is_found_once(store: Store, clock: ManualClock) -> None:
    for name, thread in (("d1", "b"), ("d2", "a"), ("d3", "a"), ("d4", "c")):
        await submitted(store, name, thread=ThreadId(thread))
    await cancelled(store, "d4", thread=ThreadId("c"))

    claims = (await claim_some(store, limit=10)).claims

    assert [taken.dispatch.thread_id for taken in claims] == ["b", "a"]
    queued = {thread.thread_id: thread.queued_count for thread in await threads_in(store)}
    assert queued == {"a": 1, "b": 0, "c": 0}


@behaviour("MB-147")
async def test_the_counts_follow_every_step(store: Store, clock: ManualClock) -> None:
    async def counted() -> dict[str, int]:
        return {status: count for status, count in (await store.count_dispatches()).items() if count}

    assert set(await store.count_dispatches()) == set(DispatchStatus)
    await submitted(store, "d1")
    await submitted(store, "d2")
    await submitted(store, "d3", scope=OTHER_SCOPE)
    assert await counted() == {"queued": 3}
    owner = await claim(store)
    assert owner is not None
    assert await counted() == {"queued": 2, "claimed": 1}
    await settled(store, owner)
    assert await counted() == {"queued": 2, "acked": 1}
    await cancelled(store, "d2")
    assert await counted() == {"queued": 1, "acked": 1, "cancelled": 1}
    clock.tick(1)
    await purge(store, runs_ms=0)
    assert await counted() == {"queued": 1}


@behaviour("MB-148")
async def test_finished_work_is_listed_in_pages(store: Store, clock: ManualClock) -> None:
    await submitted(store, "cancelled")
    await cancelled(store, "cancelled")
    await submitted(store, "superseded")
    await interrupt(store)
    await submitted(store, "queued")
    terminal = [status for status in DispatchStatus if status.is_terminal]

    assert await names(store, *terminal) == ["cancelled", "superseded"]
    query = DispatchQuery(thread_id=THREAD, statuses=tuple(terminal), limit=1)
    first = await store.list_dispatches(SCOPE, query)
    assert [dispatch.dispatch_id for dispatch in first.items] == ["cancelled"]
    assert await names(store, *terminal, after=first.next) == ["superseded"]


@behaviour("MB-150")
async def test_without_retention_finished_work_goes_with_the_next_purge(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    clock.tick(0.001)

    assert (await purge(store, runs_ms=0)).runs == 1

    assert await store.load_dispatch(SCOPE, dispatch_id("d1")) is None


async def test_ids_used_again_after_a_purge_name_the_new_run_only(store: Store, clock: ManualClock) -> None:
    """A repetition that is older than the retention is new."""
    elsewhere = ThreadId("thread-2")
    old = await finished(store, "d1")
    clock.tick(1)
    await purge(store, runs_ms=0)

    again = await submitted(store, "d1", thread=elsewhere)

    assert await names(store) == []
    assert await names(store, thread=elsewhere) == ["d1"]
    assert await run_of(store, "d1") == again.run
    assert again.run.no > old.run.no
    assert await dispatch_of(store, "d1") == again.dispatch


@behaviour("ST-041")
async def test_a_run_has_only_its_own_of_the_events_that_name_it(store: Store, clock: ManualClock) -> None:
    """Those of an earlier run, which is gone and had its id, may be kept longer than that run was."""
    await finished(store, "d1")
    clock.tick(1)
    await purge(store, runs_ms=0)
    assert len(await kinds(store)) == 5

    again = await submitted(store, "d1", messages=[said("another")])

    assert again.run.first_event_seq == 6
    assert await kinds(store, run=run_id("d1")) == ["RunQueued"]


# --- retention of runs ------------------------------------------------------------------------------------------------


@behaviour("RE-001")
async def test_a_run_goes_as_a_whole(store: Store, clock: ManualClock) -> None:
    """With every dispatch it had and with its journal; the messages it brought and produced stay."""
    first = await claimed(store, "d1")
    await committed(store, first, answered("turn"), journal=[JournalEntry("step#1", Raw(b"1"))])
    await settled(store, first, suspended())
    second = await submitted(store, "d2", offered=offer())
    assert second.claimed is not None
    await settled(store, second.claimed)
    kept = await submitted(store, "d3", delay_ms=FOR_EVER // 1_000)
    clock.tick(1)

    assert (await purge(store, runs_ms=0)).runs == 1

    assert await runs_in(store) == [kept.run]
    assert await names(store) == ["d3"]
    assert await store.load_dispatch(SCOPE, dispatch_id("d1")) is None
    assert await store.load_dispatch(SCOPE, dispatch_id("d2")) is None
    assert await store.list_journal(SCOPE, run_id("d1")) == []
    assert await store.list_events(SCOPE, THREAD, after=0, limit=10, run_id=run_id("d1")) == []
    log = await log_of(store)
    assert [(each.message.id, each.run_id) for each in log] == [
        ("msg-d1", "run-d1"),
        ("turn", "run-d1"),
        ("msg-d2", "run-d1"),
    ]


@behaviour("RE-007")
async def test_a_receipt_keeps_the_id_of_a_run_that_is_gone(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    await apply(store, replace(committing(owner), takes="next_step"))
    await submitted(store, "d3")
    await cancelled(store, "d3")
    await settled(store, owner)
    names = [message_id(name) for name in ("msg-d1", "msg-d2", "msg-d3")]
    before = [await store.load_receipt(SCOPE, THREAD, name) for name in names]
    clock.tick(1)

    assert (await purge(store, runs_ms=0, events_ms=0)).runs == 2

    assert await store.load_run(SCOPE, run_id("d1")) is None
    after = [await store.load_receipt(SCOPE, THREAD, name) for name in names]
    assert after == before
    assert [(each.fate, each.run_id) for each in after if each is not None] == [
        ("consumed", "run-d1"),
        ("consumed", "run-d1"),
        ("cancelled", "run-d3"),
    ]


@behaviour("RE-002")
async def test_dead_letters_stay(store: Store, clock: ManualClock) -> None:
    await finished(store, "dead", ending=DeadLetter("hopeless"))
    await finished(store, "failed", ending=Ack(Termination("error", detail="an answer all the same")))
    clock.tick(1_000_000)

    assert (await purge(store, runs_ms=0)).runs == 1

    assert [run.run_id for run in await runs_in(store)] == ["run-dead"]
    assert (await dispatch_of(store, "dead")).status is DispatchStatus.DEAD_LETTER


@behaviour("ST-031")
async def test_a_run_whose_calls_are_still_open_stays_until_they_are_closed(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, Ack(CANCELLED), calling("turn", "call-1"))
    clock.tick(1)
    assert (await purge(store, runs_ms=0)).runs == 0

    await finished(store, "d2")
    clock.tick(1)

    assert (await purge(store, runs_ms=0)).runs == 2
    assert [stored.message.tool_call_id for stored in await log_of(store)] == [None, None, "call-1", None]


@behaviour("ST-032")
async def test_a_thread_whose_newest_run_is_gone_has_the_newest_that_is_left(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", ending=suspended())
    await submitted(store, "b", thread=ThreadId("thread-b"))
    await finished(store, "d2", metadata={"own": True})
    await finished(store, "c", thread=ThreadId("thread-c"))
    assert [thread.thread_id for thread in await threads_in(store)] == ["thread-c", THREAD, "thread-b"]
    clock.tick(1)

    assert (await purge(store, runs_ms=0)).runs == 2

    thread = await thread_of(store)
    assert (thread.latest_run_id, thread.open_run_id, thread.status) == ("run-d1", "run-d1", ThreadStatus.WAITING)
    assert await store.latest_run(SCOPE, THREAD) == await run_of(store, "d1")
    assert await store.latest_run(SCOPE, ThreadId("thread-c")) is None
    assert [thread.thread_id for thread in await threads_in(store)] == ["thread-c", "thread-b", THREAD]
    assert (await submitted(store, "d3")).run.run_id == "run-d1", "what waits goes on as before"


@behaviour("ST-033")
async def test_no_arrival_number_is_given_twice(store: Store, clock: ManualClock) -> None:
    """A page that goes on behind a run which is gone by now misses nothing that came later."""
    numbers: list[int] = []
    for n in range(3):
        run = (await finished(store, f"d{n}")).run
        clock.tick(1)
        await purge(store, runs_ms=0, events_ms=0)
        await store.apply([asked("refused", thread=ThreadId("none"), create_thread=False)])
        numbers.append(run.no)

    assert numbers == sorted(set(numbers))
    last = (await submitted(store, "last")).run
    page = await store.list_runs(SCOPE, RunQuery(after=numbers[-1]))
    assert page == Page((last,))


# --- retention of events ----------------------------------------------------------------------------------------------


@behaviour("RE-003", "RE-006")
async def test_events_go_after_their_retention_and_the_thread_knows_its_first(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    clock.tick(1)
    await finished(store, "d2")
    every = await events_of(store)
    assert await store.event_bounds(SCOPE, THREAD) == (1, 10)

    clock.tick(1)
    outcome = await purge(store, events_ms=1_000)

    assert (outcome.runs, outcome.events, outcome.more) == (0, 5, False)
    assert await store.event_bounds(SCOPE, THREAD) == (6, 10)
    assert await events_of(store) == every[2:]
    assert await store.list_events(SCOPE, THREAD, after=2, limit=1) == every[2:3]
    assert await message_ids(store) == ["msg-d1", "msg-d2"]
    assert (await thread_of(store)).event_count == 10
    clock.tick(1)
    assert (await purge(store, events_ms=0)).events == 5
    assert (await store.event_bounds(SCOPE, THREAD), await events_of(store)) == ((11, 10), [])
    await submitted(store, "d3")
    assert [row.first_seq for row in await events_of(store)] == [11]


@behaviour("RE-005")
async def test_no_event_goes_from_the_first_one_of_the_oldest_unfinished_run_on(
    store: Store, clock: ManualClock
) -> None:
    await finished(store, "d1")
    waits = await finished(store, "d2", ending=suspended())
    await finished(store, "d3", metadata={"own": True})
    await finished(store, "d4", thread=ThreadId("thread-2"))
    clock.tick(1_000)

    outcome = await purge(store, events_ms=0)

    assert outcome.events == 5 + 5
    assert await store.event_bounds(SCOPE, THREAD) == (waits.run.first_event_seq, 15)
    assert await kinds(store, run=run_id("d2")) == [
        "RunQueued",
        "MessageCommitted",
        "RunSubmitted",
        "RunStarted",
        "RunSuspended",
    ]
    await cancelled(store, "d2")
    clock.tick(1)
    await purge(store, events_ms=0)
    assert await store.event_bounds(SCOPE, THREAD) == (17, 16)


@behaviour("ST-034")
async def test_a_sweep_goes_on_behind_the_rows_it_had_to_leave_and_makes_no_hole(
    store: Store, clock: ManualClock
) -> None:
    """Meanwhile the run that kept them has ended, so that what lies behind them could go: it goes with them, later."""
    owner = await claimed(store, "d1")
    await committed(store, owner, delta("x"))
    await finished(store, "d2", thread=ThreadId("thread-2"))
    clock.tick(1)

    first = await purge(store, events_ms=0, limit=2)
    assert (first.events, first.more) == (0, True)
    await settled(store, owner)
    clock.tick(1)
    second = await purge(store, events_ms=0, limit=200, after_row=first.last_row)

    assert second.events == 5
    assert await store.event_bounds(SCOPE, THREAD) == (1, 6)
    assert len(await kinds(store)) == 6
    assert (await purge(store, events_ms=0)).events == 6
    assert await store.event_bounds(SCOPE, THREAD) == (7, 6)


@behaviour("ST-035")
async def test_a_clock_that_went_back_makes_no_hole_either(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    clock.set(clock.now() - 60_000)
    await finished(store, "d2")
    clock.tick(30)

    assert (await purge(store, events_ms=0)).events == 0, "what came before is not old yet"

    clock.tick(60)
    assert (await purge(store, events_ms=0)).events == 10


# --- counts -----------------------------------------------------------------------------------------------------------


@behaviour("PB-002")
async def test_unfinished_runs_are_counted_by_agent_and_phase(store: Store, clock: ManualClock) -> None:
    other = AgentId("agent-2")
    await finished(store, "done")
    await finished(store, "waits", ending=suspended())
    await submitted(store, "d1", thread=ThreadId("a"))
    await submitted(store, "d2", thread=ThreadId("b"), agent=other)
    await submitted(store, "d3", thread=ThreadId("c"), agent=other)
    await claimed(store, "d4", thread=ThreadId("d"), agent=other)
    await submitted(store, "foreign", scope=OTHER_SCOPE)

    assert await store.count_open_runs(SCOPE) == [
        OpenCount(AGENT, RunStatus.CREATED, 1),
        OpenCount(AGENT, RunStatus.WAITING, 1),
        OpenCount(other, RunStatus.CREATED, 2),
        OpenCount(other, RunStatus.RUNNING, 1),
    ]
    assert await store.count_open_runs(OTHER_SCOPE) == [OpenCount(AGENT, RunStatus.CREATED, 1)]
