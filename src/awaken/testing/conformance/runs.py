"""Runs: what a run record keeps, how runs are listed, and which one is the latest."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from awaken.domain.ids import AgentId, Route, RunId, ThreadId
from awaken.domain.run import (
    Adapter,
    Intent,
    Origin,
    RunMode,
    RunOptions,
    RunRequest,
    RunStatus,
    SeqRange,
    Termination,
    Trace,
    Usage,
)
from awaken.store.contract import DispatchQuery, Page, RunQuery, Store
from awaken.store.transitions import Ack, Committed, Conflict, LeaseLost, StepClosed, Submitted
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    answered,
    apply,
    asked,
    calling,
    cancelled,
    claimed,
    committed,
    committing,
    delta,
    dispatch_id,
    dispatch_of,
    events_of,
    finished,
    log_of,
    message_id,
    offer,
    result_of,
    run_id,
    run_of,
    said,
    settled,
    settling,
    snapshot,
    submitted,
    thread_of,
    threads_in,
    together,
    want,
)

REQUEST = RunRequest(
    Intent(AgentId("agent-9"), "continuation", RunId("run-before")),
    (message_id("one"),),
    RunOptions({"temperature": 0.5, "nested": [None]}),
    Trace(
        origin=Origin.SCHEDULE,
        adapter=Adapter.AG_UI,
        mode=RunMode.RESUME,
        parent_run_id=RunId("run-parent"),
        parent_thread_id=ThreadId("thread-parent"),
        correlation_id="corr",
        wire_run_id="req",
    ),
)


async def listed(store: Store, **query: Any) -> list[str]:
    return [run.run_id for run in (await store.list_runs(SCOPE, replace(RunQuery(), **query))).items]


@behaviour("TR-080")
async def test_a_run_is_read_as_it_was_written(store: Store, clock: ManualClock) -> None:
    room = offer(routes=frozenset([Route("agent-9")]))
    asking = replace(asked("d1", messages=[said("one")], metadata={"a": {"b": [1]}}, offered=room), request=REQUEST)
    outcome = want(Submitted, await apply(store, asking))
    assert outcome.claimed is not None
    usage = Usage(1, 2, 3, 4, 5, 6)
    clock.tick(1)

    turn = calling("turn", "call-1")
    closes = StepClosed(4, usage, message_id("turn"))
    done = await settled(
        store, outcome.claimed, Ack(Termination("stopped", "max_turns", "12 turns"), "so far"), turn, closes=closes
    )

    stored = await run_of(store, "d1")
    assert stored == done.run
    assert (stored.request, stored.metadata, stored.request_digest) == (REQUEST, {"a": {"b": [1]}}, "digest of d1")
    assert (stored.agent_id, stored.steps, stored.usage) == ("agent-9", 4, usage)
    assert (stored.closed_turn, stored.final_output) == ("turn", "so far")
    assert stored.termination == Termination("stopped", "max_turns", "12 turns")
    assert (stored.started_at, stored.finished_at) == (clock.now() - 1_000, clock.now())
    assert stored.input == SeqRange(1, 1)


async def test_a_run_knows_where_its_events_begin_and_when_it_was_last_written(
    store: Store, clock: ManualClock
) -> None:
    await finished(store, "d1")
    _, before = await store.event_bounds(SCOPE, THREAD)
    owner = await claimed(store, "d2")
    await committed(store, owner, delta("x"))

    run = await run_of(store, "d2")

    assert run.first_event_seq == before + 1
    assert run.updated_seq == before + 4
    assert (await events_of(store, run=run.run_id))[0].first_seq == run.first_event_seq


@behaviour("TR-083", "TR-084")
async def test_the_latest_run_is_the_one_that_arrived_last(store: Store, clock: ManualClock) -> None:
    """Whichever of the thread's runs was written last: an older one that ends does not become the latest again."""
    await submitted(store, "d1")
    await submitted(store, "d2")
    assert await store.latest_run(SCOPE, THREAD) == await run_of(store, "d2")

    await claimed(store, "elsewhere", thread=ThreadId("thread-2"))
    await cancelled(store, "d2")
    await cancelled(store, "d1")

    assert await store.latest_run(SCOPE, THREAD) == await run_of(store, "d2")
    assert await store.latest_run(OTHER_SCOPE, THREAD) is None


@behaviour("TR-085")
async def test_runs_are_listed_by_arrival_and_by_what_is_asked(store: Store, clock: ManualClock) -> None:
    await finished(store, "c")
    clock.tick(1)
    await claimed(store, "b", agent=AgentId("agent-2"))
    await submitted(store, "a")
    clock.tick(1)
    await submitted(store, "other", thread=ThreadId("thread-2"))
    await submitted(store, "foreign", scope=OTHER_SCOPE)

    assert await listed(store) == ["run-c", "run-b", "run-a", "run-other"]
    assert await listed(store, descending=True) == ["run-other", "run-a", "run-b", "run-c"]
    assert await listed(store, thread_id=THREAD) == ["run-c", "run-b", "run-a"]
    assert await listed(store, thread_id=THREAD, descending=True, limit=2) == ["run-a", "run-b"]
    assert await listed(store, status=RunStatus.CREATED) == ["run-a", "run-other"]
    assert await listed(store, thread_id=THREAD, status=RunStatus.CREATED) == ["run-a"]
    assert await listed(store, agent_id=AgentId("agent-2")) == ["run-b"]
    assert await listed(store, agent_id=AgentId("agent-2"), status=RunStatus.RUNNING) == ["run-b"]
    assert await listed(store, agent_id=AgentId("agent-2"), status=RunStatus.CREATED) == []
    assert await listed(store, status=RunStatus.DONE) == ["run-c"]
    assert await listed(store, status=RunStatus.WAITING) == []
    assert await listed(store, thread_id=ThreadId("none")) == []


@behaviour("TR-086")
async def test_pages_of_runs_neither_overlap_nor_leave_out(store: Store, clock: ManualClock) -> None:
    for n in range(7):
        await submitted(store, f"d{n}", thread=ThreadId(f"thread-{n % 3}"))
        if n % 2:
            clock.tick(1)

    for descending in (False, True):
        seen: list[str] = []
        page = await store.list_runs(SCOPE, RunQuery(limit=3, descending=descending))
        seen += [run.run_id for run in page.items]
        while page.next is not None:
            page = await store.list_runs(SCOPE, RunQuery(after=page.next, limit=3, descending=descending))
            seen += [run.run_id for run in page.items]
        assert seen == await listed(store, descending=descending)
        assert len(seen) == 7
    assert await listed(store, limit=1) == ["run-d0"]


@behaviour("TR-109")
async def test_the_reads_after_a_step_agree_with_each_other_and_with_its_outcome(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")

    done = await settled(store, owner, DONE, calling("turn", "call-1"), result_of("call-1"), answered("reply"))

    thread = await thread_of(store)
    assert thread.message_count == len(await log_of(store)) == 4
    assert await store.event_bounds(SCOPE, THREAD) == (1, thread.event_count)
    assert thread.event_count == done.appended[-1].last_seq
    assert await store.latest_run(SCOPE, THREAD) == done.run
    assert await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD)) == Page((done.dispatch,))


async def test_the_dispatches_of_a_run_are_found_by_its_id(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await submitted(store, "d2")

    found = await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD, run_id=run_id("d2")))

    assert [dispatch.dispatch_id for dispatch in found.items] == ["d2"]


@behaviour("ST-039")
async def test_the_dispatches_of_a_page_of_runs_are_one_read(store: Store, clock: ManualClock) -> None:
    ended = await finished(store, "d1")
    queued = await submitted(store, "d2")
    wanted = [dispatch_id("d2"), dispatch_id("unknown"), dispatch_id("d1"), dispatch_id("d2")]

    found = await store.load_dispatches(SCOPE, wanted)

    assert found == {"d1": ended.dispatch, "d2": queued.dispatch}
    assert await store.load_dispatches(OTHER_SCOPE, wanted) == {}
    assert await store.load_dispatches(SCOPE, []) == {}


@behaviour("TR-111", "TR-112", "TR-113")
async def test_refused_writers_leave_earlier_data_and_their_neighbours_alone(store: Store, clock: ManualClock) -> None:
    stored = await submitted(store, "taken", thread=ThreadId("thread-taken"))
    asking = [asked(f"d{n}" if n % 2 else "taken", thread=ThreadId(f"thread-{n}"), digest="another") for n in range(20)]

    outcomes = await together(store, asking)

    assert [type(outcome) for outcome in outcomes] == [Conflict, Submitted] * 10
    assert await run_of(store, "taken") == stored.run
    threads = {thread.thread_id for thread in await threads_in(store)}
    assert threads == {"thread-taken", *(f"thread-{n}" for n in range(1, 20, 2))}
    for n in range(1, 20, 2):
        assert (await run_of(store, f"d{n}")).dispatch_id == (await dispatch_of(store, f"d{n}")).dispatch_id
    again = await submitted(store, "d0", thread=ThreadId("thread-0"))
    assert again.run == await run_of(store, "d0")


@behaviour("TR-114")
async def test_readers_see_the_old_state_while_writers_are_refused(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, DONE, answered("reply"))
    before = await snapshot(store)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(together(store, [settling(owner, DONE, answered(f"late-{n}")) for n in range(20)]))
        reading = [group.create_task(snapshot(store)) for _ in range(20)]

    assert all(isinstance(outcome, LeaseLost) for outcome in writing.result())
    assert all(task.result() == before for task in reading)


async def test_a_reader_never_sees_half_a_step(store: Store, clock: ManualClock) -> None:
    """Each write brings one message and one event; whoever reads while they are written finds as many of each."""
    owner = await claimed(store, "d1", messages=[said("m0")])

    async def read() -> tuple[int, int]:
        thread = await thread_of(store)
        return thread.message_count, thread.event_count

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(together(store, [committing(owner, answered(f"m{n + 1}")) for n in range(40)]))
        reading = [group.create_task(read()) for _ in range(40)]

    assert all(isinstance(outcome, Committed) for outcome in writing.result())
    assert {events - messages for messages, events in (task.result() for task in reading)} == {3}
