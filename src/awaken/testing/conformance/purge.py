"""Purging and counting: what goes away after its time, what stays, and what the numbers say."""

from __future__ import annotations

from msgspec import Raw

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import ThreadId
from awaken.domain.thread import ThreadStatus
from awaken.store.contract import DispatchQuery, Store
from awaken.store.transitions import JournalEntry
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    cancelled,
    claim,
    claim_some,
    claimed,
    committed,
    dispatch_id,
    dispatch_of,
    finished,
    interrupt,
    message_ids,
    names,
    purge,
    run_id,
    run_of,
    runs_in,
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
