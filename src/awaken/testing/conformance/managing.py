"""Threads as a whole: what is said about them changes, they are found by it, and they go."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from awaken.domain.ids import DispatchId, RunId, ThreadId
from awaken.domain.run import CANCELLED, RunOptions
from awaken.domain.thread import ThreadInfo, ThreadPatch, ThreadStatus
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, Store, ThreadQuery, TicketQuery
from awaken.store.rules.ending import EPHEMERAL_MS
from awaken.store.transitions import (
    Ack,
    Busy,
    Cancel,
    Conflict,
    DeadLetter,
    Decide,
    DeleteThread,
    EditThread,
    Gone,
    HasChildren,
    Hide,
    HideRun,
    LeaseLost,
    Missing,
    Outcome,
    PatchState,
    Purged,
    Retry,
    RunHidden,
    SaveThread,
    Stale,
    ThreadDeleted,
    ThreadEdited,
    ThreadSaved,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.children import delivered, parent_of, thread_of_child
from awaken.testing.conformance.outbox import begins
from awaken.testing.conformance.steps import (
    OTHER_SCOPE,
    ROUTES,
    SCOPE,
    THREAD,
    answered,
    apply,
    asked,
    claim,
    claimed,
    commit,
    committed,
    dispatch_id,
    finished,
    kinds,
    message_id,
    purge,
    run_id,
    run_of,
    said,
    settle,
    settled,
    snapshot,
    submitted,
    suspended,
    thread_of,
    threads_in,
    want,
)
from awaken.testing.conformance.tickets import child, id_of, question


async def _made(store: Store, name: str, **info: Any) -> ThreadId:
    thread = ThreadId(name)
    await apply(store, SaveThread(scope=SCOPE, thread_id=thread, info=ThreadInfo(**info)))
    return thread


async def _edit(store: Store, name: str, *, if_version: int | None = None, **patch: Any) -> Outcome:
    transition = EditThread(scope=SCOPE, thread_id=ThreadId(name), patch=ThreadPatch(**patch), if_version=if_version)
    return await apply(store, transition)


async def _edited(store: Store, name: str, **patch: Any) -> int:
    return want(ThreadEdited, await _edit(store, name, **patch)).version


async def _delete(store: Store, name: str = THREAD, *, force: bool = False, keeps: bool = False) -> Outcome:
    return await apply(store, DeleteThread(scope=SCOPE, thread_id=ThreadId(name), force=force, keeps_children=keeps))


async def _deleted(store: Store, name: str = THREAD, **how: bool) -> ThreadDeleted:
    return want(ThreadDeleted, await _delete(store, name, **how))


async def _listed(store: Store, **query: Any) -> list[str]:
    return [thread.thread_id for thread in await threads_in(store, ascending=True, **query)]


async def _swept(store: Store, *, limit: int = 200) -> list[Purged]:
    """Purge until nothing is left to remove."""
    slices: list[Purged] = []
    while not slices or slices[-1].more:
        slices.append(await purge(store, limit=limit))
    return slices


# --- what is said about a thread --------------------------------------------------------------------------------------


@behaviour("TR-026")
async def test_what_is_said_about_a_thread_is_changed_part_by_part(store: Store, clock: ManualClock) -> None:
    await _made(store, "t", title="old", metadata={"a": 1, "b": {"c": 2}}, resource_id="r")
    clock.tick(1)

    assert await _edited(store, "t", title="new", metadata={"a": None, "b": {"d": 3}}) == 2

    found = await thread_of(store, ThreadId("t"))
    assert found.info == ThreadInfo("new", {"b": {"c": 2, "d": 3}}, "r")
    assert (found.info_version, found.updated_at) == (2, clock.now())
    assert await _edited(store, "t", title=None, resource_id=None) == 3
    assert (await thread_of(store, ThreadId("t"))).info == ThreadInfo(None, {"b": {"c": 2, "d": 3}})
    assert await kinds(store, ThreadId("t")) == ["ThreadCreated", "ThreadUpdated", "ThreadUpdated"]


@behaviour("TR-026")
async def test_a_change_that_changes_nothing_writes_nothing(store: Store, clock: ManualClock) -> None:
    await _made(store, "t", title="same")
    before = await snapshot(store)

    assert await _edited(store, "t", title="same", parent_thread_id=None, metadata={"a": None}) == 1
    assert await _edit(store, "nowhere", title="x") == Missing("thread", "nowhere")

    assert await snapshot(store) == before


async def test_a_change_of_another_version_is_refused_unless_it_is_asked_again(
    store: Store, clock: ManualClock
) -> None:
    await _made(store, "t", title="one")
    assert await _edited(store, "t", title="two", if_version=1) == 2
    before = await snapshot(store)

    assert await _edited(store, "t", title="two", if_version=1) == 2
    assert await _edit(store, "t", title="three", if_version=1) == Stale(2)

    assert await snapshot(store) == before


@behaviour("TR-014", "TR-018")
async def test_a_parent_and_its_ancestors_have_to_exist(store: Store, clock: ManualClock) -> None:
    await _made(store, "a")
    await _made(store, "lost", parent_thread_id=ThreadId("gone"))
    before = await snapshot(store)

    assert await _edit(store, "a", parent_thread_id=ThreadId("nowhere")) == Missing("thread", "nowhere")
    assert await _edit(store, "a", parent_thread_id=ThreadId("lost")) == Missing("thread", "gone")

    assert await snapshot(store) == before


@behaviour("TR-016")
async def test_a_thread_does_not_become_its_own_ancestor(store: Store, clock: ManualClock) -> None:
    await _made(store, "a")
    await _made(store, "b", parent_thread_id=ThreadId("a"))
    await _made(store, "c", parent_thread_id=ThreadId("b"))
    before = await snapshot(store)

    assert await _edit(store, "a", parent_thread_id=ThreadId("c")) == Conflict("lineage", "a")
    assert await _edit(store, "a", parent_thread_id=ThreadId("a")) == Conflict("lineage", "a")

    assert await snapshot(store) == before
    assert await _edited(store, "c", parent_thread_id=ThreadId("a")) == 2


@behaviour("TR-017")
async def test_of_two_threads_that_name_each_other_at_once_one_is_refused(store: Store, clock: ManualClock) -> None:
    await _made(store, "a")
    await _made(store, "b")

    outcomes = await store.apply(
        [
            EditThread(scope=SCOPE, thread_id=ThreadId(one), patch=ThreadPatch(parent_thread_id=ThreadId(other)))
            for one, other in (("a", "b"), ("b", "a"))
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [ThreadEdited, Conflict]
    assert ((await thread_of(store, ThreadId("a"))).info.parent_thread_id) == "b"
    assert ((await thread_of(store, ThreadId("b"))).info.parent_thread_id) is None


@behaviour("TR-017")
async def test_a_parent_that_was_made_or_deleted_a_moment_before_is_known(store: Store, clock: ManualClock) -> None:
    await _made(store, "a")
    edit = EditThread(scope=SCOPE, thread_id=ThreadId("a"), patch=ThreadPatch(parent_thread_id=ThreadId("b")))
    delete = DeleteThread(scope=SCOPE, thread_id=ThreadId("b"))

    made = SaveThread(scope=SCOPE, thread_id=ThreadId("b"))
    assert [type(each) for each in await store.apply([made, edit])] == [ThreadSaved, ThreadEdited]
    await _edited(store, "a", parent_thread_id=None)
    assert [type(each) for each in await store.apply([edit, delete])] == [ThreadEdited, HasChildren]
    await _edited(store, "a", parent_thread_id=None)
    child = SaveThread(scope=SCOPE, thread_id=ThreadId("c"), info=ThreadInfo(parent_thread_id=ThreadId("b")))
    assert [type(each) for each in await store.apply([child, delete])] == [ThreadSaved, HasChildren]
    await _edited(store, "c", parent_thread_id=None)
    assert [type(each) for each in await store.apply([delete, edit])] == [ThreadDeleted, Missing]


# --- finding threads --------------------------------------------------------------------------------------------------


@behaviour("TR-009", "TR-013")
async def test_threads_are_found_by_what_is_said_about_them(store: Store, clock: ManualClock) -> None:
    await _made(store, "a", title="My Order", metadata={"tier": "gold", "n": 7, "vip": True})
    await _made(store, "b", parent_thread_id=ThreadId("a"), metadata={"tier": "gold"})
    await _made(store, "c", parent_thread_id=ThreadId("b"), title="order two", resource_id="r")
    await _made(store, "d", parent_thread_id=ThreadId("a"))

    assert await _listed(store, parent_thread_id=ThreadId("a")) == ["b", "d"]
    one = ThreadQuery(limit=1, parent_thread_id=ThreadId("a"))
    assert [thread.thread_id for thread in (await store.list_threads(SCOPE, one)).items] == ["d"]
    assert await _listed(store, parent_thread_id=ThreadId("c")) == []
    assert await _listed(store, is_root=True) == ["a"]
    assert await _listed(store, title="ORDER") == ["a", "c"]
    assert await _listed(store, metadata=(("tier", "gold"),)) == ["a", "b"]
    assert await _listed(store, metadata=(("tier", "gold"), ("n", "7"), ("vip", "true"))) == ["a"]
    assert await _listed(store, metadata=(("n", '"7"'),)) == []
    assert await _listed(store, title="order", resource_id="r") == ["c"]


async def test_threads_are_found_by_their_status(store: Store, clock: ManualClock) -> None:
    await _made(store, "idle")
    await claimed(store, "d1", thread=ThreadId("busy"))
    await submitted(store, "d2", thread=ThreadId("queued"))
    await settled(store, await claimed(store, "d3", thread=ThreadId("waiting")), suspended())
    await finished(store, "d4", thread=ThreadId("failed"), ending=DeadLetter("no"))

    for status, name in (
        (ThreadStatus.IDLE, "idle"),
        (ThreadStatus.BUSY, "busy"),
        (ThreadStatus.QUEUED, "queued"),
        (ThreadStatus.WAITING, "waiting"),
        (ThreadStatus.ERROR, "failed"),
    ):
        assert await _listed(store, status=status) == [name]


async def test_runs_are_found_by_how_they_are_and_ended(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", metadata={"order": 1})
    await finished(store, "d2", thread=ThreadId("t2"), ending=DeadLetter("no"))
    start = clock.now()
    clock.tick(10)
    await claimed(store, "d3", thread=ThreadId("t3"))
    await submitted(store, "d4", thread=ThreadId("t3"))
    await settled(store, await claimed(store, "d5", thread=ThreadId("t5")), Retry("again"))

    async def found(**query: Any) -> list[str]:
        page = await store.list_runs(SCOPE, RunQuery(limit=200, **query))
        return [run.run_id.removeprefix("run-") for run in page.items]

    assert await found(failed=True) == ["d2"]
    assert await found(termination="natural_end") == ["d1"]
    assert await found(phase="dead_letter") == ["d2"]
    assert await found(phase="completed") == ["d1"]
    assert await found(phase="running") == ["d3"]
    assert await found(phase="queued") == ["d4"]
    assert await found(phase="retrying") == ["d5"]
    assert await found(phase="queued", thread_id=ThreadId("t5")) == []
    assert await found(created_after=start) == ["d3", "d4", "d5"]
    assert await found(created_before=start + 1) == ["d1", "d2"]
    assert await found(metadata=(("order", "1"),)) == ["d1"]
    assert await found(id_prefix="run-d4") == ["d4"]
    assert await found(thread_id_prefix="t3") == ["d3", "d4"]


async def test_unfinished_runs_are_counted_by_agent_and_phase(store: Store, clock: ManualClock) -> None:
    assert (await store.summarize_runs(SCOPE)).counts == ()
    due = clock.now()
    await claimed(store, "d1")
    await submitted(store, "d2")
    clock.tick(5)
    await submitted(store, "d3", delay_ms=60_000)
    await settled(store, await claimed(store, "d4", thread=ThreadId("t4")), suspended())
    await finished(store, "d5", thread=ThreadId("t5"))

    summary = await store.summarize_runs(SCOPE)

    assert [(each.agent_id, each.phase, each.count) for each in summary.counts] == [
        ("agent-1", "queued", 2),
        ("agent-1", "running", 1),
        ("agent-1", "waiting", 1),
    ]
    assert summary.oldest_due_at == due
    assert (await store.summarize_runs(OTHER_SCOPE)).counts == ()


# --- hiding a run -----------------------------------------------------------------------------------------------------


async def test_a_run_that_is_done_is_left_out_of_lists_and_keeps_its_messages(store: Store, clock: ManualClock) -> None:
    async def hide(name: str) -> Outcome:
        return await apply(store, HideRun(scope=SCOPE, thread_id=THREAD, run_id=run_id(name)))

    await finished(store, "d1")
    await claimed(store, "d2")

    assert want(RunHidden, await hide("d1")).run.hidden
    assert await hide("d2") == Busy(run_id("d2"))
    assert await hide("unknown") == Missing("run", run_id("unknown"))
    before = await snapshot(store)
    assert want(RunHidden, await hide("d1")).run == await run_of(store, "d1")

    assert await snapshot(store) == before
    assert [run.run_id for run in (await store.list_runs(SCOPE, RunQuery(limit=9))).items] == [run_id("d2")]
    assert len(await store.list_messages(SCOPE, THREAD, MessageQuery(limit=9))) == 2


# --- deleting a thread ------------------------------------------------------------------------------------------------


@behaviour("TR-023")
async def test_a_thread_that_never_was_is_not_deleted(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")

    assert await _delete(store, "nowhere") == Missing("thread", "nowhere")
    elsewhere = DeleteThread(scope=OTHER_SCOPE, thread_id=THREAD)
    assert await apply(store, elsewhere) == Missing("thread", THREAD)


@behaviour("TR-024")
async def test_a_thread_is_deleted_once_and_again_is_no_error(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")

    first = await _deleted(store)

    assert (first.repeated, [each.kind for row in first.appended for each in row.row().events]) == (
        False,
        ["ThreadDeleted"],
    )
    assert (await _deleted(store)).repeated
    await _swept(store)
    assert (await _deleted(store)).repeated


@behaviour("TR-025")
async def test_nothing_of_a_deleted_thread_is_read_any_more(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", options=RunOptions(state={"a": 1}))
    await finished(store, "d2", thread=ThreadId("other"))

    await _deleted(store)

    for _ in range(2):
        assert await store.load_thread(SCOPE, THREAD) is None
        assert await _listed(store) == ["other"]
        assert await store.load_run(SCOPE, run_id("d1")) is None
        assert await store.latest_run(SCOPE, THREAD) is None
        assert [run.run_id for run in (await store.list_runs(SCOPE, RunQuery(limit=9))).items] == [run_id("d2")]
        assert await store.list_messages(SCOPE, THREAD, MessageQuery(limit=9)) == []
        assert await store.load_message(SCOPE, THREAD, message_id("msg-d1")) is None
        assert (await store.load_state(SCOPE, THREAD)).version == 0
        assert await store.load_snapshot(SCOPE, THREAD) is None
        assert (await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD))).items == ()
        assert (await store.summarize_runs(SCOPE)).counts == ()
        await _swept(store)


@behaviour("TR-025")
async def test_whoever_looks_for_what_waits_finds_nothing_of_a_deleted_thread(store: Store, clock: ManualClock) -> None:
    """Neither what an ended run has left to be told of, nor what its last owner waits for while that lets go."""
    first = await claimed(store, "d1")
    await committed(store, first, opens=(child(),))
    await settled(store, first)
    held = await claimed(store, "d2", lease_ms=None)
    await committed(store, held, opens=(question(expires_in_ms=1_000),))

    await _deleted(store, force=True)
    clock.tick(2)

    assert (await store.list_tickets(SCOPE, TicketQuery(limit=9))).items == ()
    assert (await store.list_tickets(SCOPE, TicketQuery(limit=9, thread_id=THREAD))).items == ()
    assert await store.load_ticket(SCOPE, id_of("start#1")) is None
    assert await store.list_overdue_tickets() == []
    assert await store.next_due_in_ms(ROUTES) is None
    assert await store.load_receipt(SCOPE, THREAD, message_id("msg-d1")) is None
    assert await store.threads_of_message(SCOPE, message_id("msg-d1"), limit=9) == []
    assert await store.active_dispatch(SCOPE, THREAD) is None
    assert await store.list_events(SCOPE, THREAD, after=0, limit=99) == []
    assert await store.event_bounds(SCOPE, THREAD) == (1, 0)


async def test_a_deleted_thread_refuses_everything_and_none_makes_it_anew(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await _deleted(store)
    gone = Gone(THREAD)

    for _ in range(2):
        assert await apply(store, asked("d2")) == gone
        assert await apply(store, SaveThread(scope=SCOPE, thread_id=THREAD, if_exists="keep")) == gone
        assert await apply(store, PatchState(scope=SCOPE, thread_id=THREAD, patch={"a": 1})) == gone
        assert await apply(store, Hide(scope=SCOPE, thread_id=THREAD, message_id=message_id("msg-d1"))) == gone
        assert await _edit(store, THREAD, title="x") == gone
        assert await apply(store, Decide(scope=SCOPE, thread_id=THREAD, run_id=run_id("d1"))) == gone
        assert await apply(store, Cancel(scope=SCOPE, thread_id=THREAD, run_id=run_id("d1"))) == gone
        assert await apply(store, HideRun(scope=SCOPE, thread_id=THREAD, run_id=run_id("d1"))) == gone
        await _swept(store)
    await _made(store, "child")
    assert await _edit(store, "child", parent_thread_id=THREAD) == Missing("thread", THREAD)


async def test_a_thread_with_unfinished_work_is_not_deleted_unless_it_is_forced(
    store: Store, clock: ManualClock
) -> None:
    await settled(store, await claimed(store, "d1"), suspended())
    assert await _delete(store) == Busy(run_id("d1"))
    await submitted(store, "d2", metadata={"own": True})
    assert await _delete(store) == Busy(run_id("d2"))
    owner = await claim(store)
    assert owner is not None
    await submitted(store, "d3", metadata={"own": True})
    before = await snapshot(store)
    assert await _delete(store) == Busy(run_id("d2"))
    assert await snapshot(store) == before

    done = await _deleted(store, force=True)

    assert done.cleared is not None and done.cleared.active is not None
    assert [dispatch.run_id for dispatch in done.cleared.superseded] == [run_id("d3")]
    assert [run.run_id for run in done.cleared.ended] == [run_id("d1")]
    assert await claim(store) is None
    assert await commit(store, owner, answered("late")) == LeaseLost("interrupted")
    assert (await purge(store)).rows == 0
    ended = await settled(store, owner, Ack(CANCELLED), answered("partial"))
    assert (ended.run.termination, ended.claimed, ended.ready_in_ms) == (CANCELLED, None, None)
    assert sum([each.rows for each in await _swept(store)]) > 0


@behaviour("TR-019")
async def test_a_thread_with_children_is_not_deleted_by_whoever_does_not_say_what_becomes_of_them(
    store: Store, clock: ManualClock
) -> None:
    await _made(store, "a")
    await _made(store, "b", parent_thread_id=ThreadId("a"))
    before = await snapshot(store)

    assert await _delete(store, "a") == HasChildren(ThreadId("b"))

    assert await snapshot(store) == before
    await _deleted(store, "b")
    await _deleted(store, "a")


@behaviour("TR-019")
async def test_a_child_that_is_still_to_be_begun_is_one_that_its_parent_has(store: Store, clock: ManualClock) -> None:
    """Otherwise it would come when its parent is gone, and nobody would see to it."""
    mine = await parent_of(store, "kid")
    await settled(store, mine)
    before = await snapshot(store)

    assert await _delete(store) == HasChildren(thread_of_child("kid"))
    assert await _delete(store, force=True) == HasChildren(thread_of_child("kid"))

    assert await snapshot(store) == before
    await delivered(store)
    assert await _delete(store, force=True) == HasChildren(thread_of_child("kid"))
    await _deleted(store, thread_of_child("kid"), force=True)
    await _deleted(store)


async def test_an_errand_that_makes_no_child_does_not_hold_up_a_deletion(store: Store, clock: ManualClock) -> None:
    mine = await claimed(store, "d1")
    await committed(store, mine, posts=[begins("far"), begins("far-2", info=ThreadInfo(title="another"))])
    await settled(store, mine)

    await _deleted(store)


async def test_a_deleted_thread_goes_in_slices_and_others_do_not_notice(store: Store, clock: ManualClock) -> None:
    for number in range(6):
        await finished(store, f"d{number}", options=RunOptions(state={"n": number}))
    await submitted(store, "q1")
    await submitted(store, "q2", delay_ms=60_000)
    await finished(store, "other", thread=ThreadId("other"))
    last = await finished(store, "other-2", thread=ThreadId("other"))
    before = [await thread_of(store, ThreadId("other")), await kinds(store, ThreadId("other"))]
    await _deleted(store, force=True)

    slices = await _swept(store, limit=3)

    assert max([each.rows for each in slices]) == 3
    assert len(slices) > 6
    assert (await purge(store)).rows == 0
    assert [await thread_of(store, ThreadId("other")), await kinds(store, ThreadId("other"))] == before
    assert await store.load_dispatch(SCOPE, dispatch_id("d1")) is None
    assert await store.load_dispatch(SCOPE, dispatch_id("q2")) is None
    # Ids of runs, dispatches and messages are free again, in other threads; arrival numbers are not.
    again = await finished(store, "d1", thread=ThreadId("new"))
    assert again.run.no > last.run.no
    assert (again.run.run_id, again.dispatch.dispatch_id) == (RunId("run-d1"), DispatchId("d1"))


async def test_the_epoch_of_a_deleted_thread_stays(store: Store, clock: ManualClock) -> None:
    """A worker that slept through the deletion is refused as any other that comes too late."""
    owner = await claimed(store, "d1")
    await _deleted(store, force=True)
    await settled(store, owner, Ack(CANCELLED))
    await _swept(store)

    assert await commit(store, owner, said("late")) == LeaseLost("missing")
    assert isinstance(await settle(store, owner), LeaseLost)


async def test_a_thread_that_is_not_to_be_kept_goes_some_time_after_its_run(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", options=RunOptions(on_completion="delete"))
    clock.tick(EPHEMERAL_MS / 1000 - 1)
    assert (await purge(store)).deleted == 0
    assert await _listed(store) == [THREAD]

    clock.tick(1)

    assert (await purge(store)).deleted == 1
    assert await _listed(store) == []
    await _swept(store)
    assert (await purge(store)).deleted == 0


async def test_a_thread_that_was_to_go_and_is_in_use_stays_for_another_while(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", options=RunOptions(on_completion="delete"))
    owner = await claimed(store, "d2")
    clock.tick(EPHEMERAL_MS / 1000)
    assert (await purge(store)).deleted == 0
    await settled(store, owner)

    clock.tick(EPHEMERAL_MS / 1000)

    assert (await purge(store)).deleted == 1


async def test_a_patch_says_nothing_about_what_it_leaves_out(store: Store, clock: ManualClock) -> None:
    assert ThreadPatch() == ThreadPatch(title=UNSET, metadata=UNSET, resource_id=UNSET, parent_thread_id=UNSET)
    await _made(store, "t", title="same", resource_id="r", metadata={"a": 1})
    assert await _edited(store, "t") == 1
    assert await _listed(store, resource_id="r") == ["t"]
    page = await store.list_threads(SCOPE, ThreadQuery(limit=1, metadata=(("a", "1"),)))
    assert len(page.items) == 1
