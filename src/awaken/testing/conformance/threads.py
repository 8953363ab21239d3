"""Threads: saving, listing, and the values derived from their rows when they are read."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.ids import ThreadId
from awaken.domain.thread import Thread, ThreadInfo, ThreadStatus
from awaken.store.contract import DispatchQuery, Page, RunQuery, Store, ThreadQuery
from awaken.store.transitions import Busy, Conflict, DeadLetter, Known, SaveThread, StepClosed, ThreadSaved
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    WORKER,
    answered,
    apply,
    asked,
    calling,
    claimed,
    committed,
    dispatch_id,
    events_of,
    finished,
    interrupt,
    kinds,
    log_of,
    message_id,
    message_ids,
    names,
    run_id,
    said,
    settled,
    submitted,
    suspended,
    thread_of,
    together,
    want,
)

FULL_INFO = ThreadInfo(
    title="Bestellungen, verspätet: «Nr. 7»",
    metadata={"nested": {"list": [1, 2.5, None, True, "ü"]}, "": ""},
    resource_id="customer-7",
    parent_thread_id=ThreadId("parent"),
)


def saving(thread: str, info: ThreadInfo = ThreadInfo(), **details: Any) -> SaveThread:  # noqa: B008 - it is frozen
    return replace(SaveThread(scope=SCOPE, thread_id=ThreadId(thread), info=info), **details)


async def saved(store: Store, thread: str, info: ThreadInfo = ThreadInfo(), **details: Any) -> ThreadSaved:  # noqa: B008
    return want(ThreadSaved, await apply(store, saving(thread, info, **details)))


async def listed(store: Store, **query: Any) -> list[str]:
    return [thread.thread_id for thread in (await store.list_threads(SCOPE, replace(ThreadQuery(), **query))).items]


@behaviour("TR-001")
async def test_a_thread_is_read_as_it_was_saved(store: Store, clock: ManualClock) -> None:
    outcome = await saved(store, "t", FULL_INFO)

    thread = await thread_of(store, ThreadId("t"))
    assert outcome.created is True
    assert thread == Thread(
        thread_id=ThreadId("t"),
        info=FULL_INFO,
        epoch=0,
        message_count=0,
        event_count=1,
        queued_count=0,
        pending_count=0,
        created_at=clock.now(),
        updated_at=clock.now(),
    )
    assert await kinds(store, ThreadId("t")) == ["ThreadCreated"]


@behaviour("TR-002", "TR-041", "TR-082", "TR-110")
async def test_what_was_never_stored_reads_as_nothing(store: Store, clock: ManualClock) -> None:
    assert await store.load_thread(SCOPE, THREAD) is None
    assert await store.load_run(SCOPE, run_id("d1")) is None
    assert await store.latest_run(SCOPE, THREAD) is None
    assert await store.load_dispatch(SCOPE, dispatch_id("d1")) is None
    assert await store.active_dispatch(SCOPE, THREAD) is None
    assert await store.load_message(SCOPE, THREAD, message_id("m")) is None
    assert await log_of(store) == []
    assert await events_of(store) == []
    assert await store.event_bounds(SCOPE, THREAD) == (1, 0)
    assert await store.list_queue(SCOPE, THREAD) == []
    assert await store.list_claims(WORKER) == []
    assert await store.count_open_runs(SCOPE) == []
    assert await store.list_journal(SCOPE, run_id("d1")) == []
    assert await store.list_threads(SCOPE, ThreadQuery()) == Page(())
    assert await store.list_runs(SCOPE, RunQuery()) == Page(())
    assert await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD)) == Page(())
    assert await names(store) == []


@behaviour("TR-003")
async def test_an_existing_thread_is_kept_replaced_or_refused_as_asked(store: Store, clock: ManualClock) -> None:
    first, second = ThreadInfo(title="first"), ThreadInfo(title="second")
    await saved(store, "t", first)
    clock.tick(1)

    assert await apply(store, saving("t", second)) == Conflict("thread", "t")
    assert await apply(store, saving("t", second, if_exists="keep")) == ThreadSaved(created=False)
    assert (await thread_of(store, ThreadId("t"))).info == first

    outcome = await saved(store, "t", second, if_exists="replace")
    assert outcome.created is False
    assert (await thread_of(store, ThreadId("t"))).info == second
    assert await kinds(store, ThreadId("t")) == ["ThreadCreated", "ThreadUpdated"]


@behaviour("TR-003")
async def test_messages_begin_a_thread_on_which_nothing_was_said_and_no_other(store: Store, clock: ManualClock) -> None:
    info = ThreadInfo(title="first")
    await saved(store, THREAD, info)
    brought = (said("one"), said("two"))
    assert (await saved(store, THREAD, messages=brought, if_exists="fill")).created is False
    assert (await thread_of(store)).info == info
    assert [each.message for each in await log_of(store)] == [*brought]
    assert await kinds(store) == ["ThreadCreated", "MessageCommitted", "MessageCommitted"]

    assert await saved(store, THREAD, messages=(said("three"),), if_exists="fill") == ThreadSaved(created=False)
    assert len(await log_of(store)) == 2
    assert (await saved(store, "new", info, messages=brought, if_exists="fill")).created is True

    await saved(store, "queued")
    await submitted(store, "d1", thread=ThreadId("queued"))
    assert await saved(store, "queued", messages=brought, if_exists="fill") == ThreadSaved(created=False)
    assert (await thread_of(store, ThreadId("queued"))).message_count == 0


async def test_replacing_what_is_said_about_a_thread_keeps_what_is_in_it(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await interrupt(store)

    await saved(store, THREAD, FULL_INFO, if_exists="replace")

    thread = await thread_of(store)
    assert (thread.info, thread.epoch, thread.message_count) == (FULL_INFO, 1, 1)
    assert thread.latest_run_id == run_id("d1")


@behaviour("TR-006")
async def test_a_thread_was_made_once_and_moves_on_with_its_use(store: Store, clock: ManualClock) -> None:
    made_at = clock.now()
    await saved(store, THREAD)
    clock.tick(1)

    await submitted(store, "d1")

    thread = await thread_of(store)
    assert (thread.created_at, thread.updated_at) == (made_at, made_at + 1_000)


@behaviour("TR-007")
async def test_the_thread_where_something_happened_last_comes_first(store: Store, clock: ManualClock) -> None:
    """What happened last in a thread is its newest run, or else that it was made; no clock is asked."""
    for thread in ("old", "b", "a"):
        await saved(store, thread)
    clock.set(clock.now() - 60_000)
    await saved(store, "newest")
    await submitted(store, "d1", thread=ThreadId("old"))

    assert await listed(store) == ["old", "newest", "a", "b"]
    assert await listed(store, ascending=True) == ["b", "a", "newest", "old"]


async def test_the_steps_and_the_end_of_a_run_leave_the_order_of_threads_alone(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1", thread=ThreadId("a"))
    clock.tick(1)
    await saved(store, "b")
    clock.tick(1)

    await committed(store, owner, answered("turn"))
    assert await listed(store) == ["b", "a"]

    await settled(store, owner)
    assert await listed(store) == ["b", "a"]
    await saved(store, "a", FULL_INFO, if_exists="replace")
    assert await listed(store) == ["b", "a"]


@behaviour("TR-008")
async def test_pages_of_threads_neither_overlap_nor_leave_out(store: Store, clock: ManualClock) -> None:
    for n in range(7):
        await saved(store, f"t{n}")
        if n % 2:
            clock.tick(1)

    for ascending in (False, True):
        assert await _paged(store, ascending=ascending) == await listed(store, ascending=ascending)
    assert len(await listed(store)) == 7


@behaviour("TR-010", "TR-087")
async def test_a_prefix_is_taken_literally(store: Store, clock: ManualClock) -> None:
    odd = ["a-1", "a-2", "b-1", "100%-x", "100-x", "a_1", "aX1", "back\\slash", "backslash", "A-1", "ü-1"]
    for n, thread in enumerate(odd):
        await submitted(store, f"d{n}", thread=ThreadId(thread))

    for prefix, expected in (
        ("a-", ["a-1", "a-2"]),
        ("100%", ["100%-x"]),
        ("a_", ["a_1"]),
        ("back\\", ["back\\slash"]),
        ("A", ["A-1"]),
        ("ü", ["ü-1"]),
        ("%", []),
        ("", sorted(odd)),
    ):
        assert sorted(await listed(store, id_prefix=prefix)) == sorted(expected)
        runs = await store.list_runs(SCOPE, RunQuery(thread_id_prefix=prefix))
        assert sorted(run.thread_id for run in runs.items) == sorted(expected)


@behaviour("TR-011")
async def test_a_page_of_threads_with_a_prefix_goes_on_after_the_last_one_seen(
    store: Store, clock: ManualClock
) -> None:
    for n in range(5):
        await saved(store, f"a-{n}")
        await saved(store, f"b-{n}")
        clock.tick(1)

    assert await _paged(store, id_prefix="a-") == ["a-4", "a-3", "a-2", "a-1", "a-0"]


async def test_threads_are_listed_by_their_resource(store: Store, clock: ManualClock) -> None:
    await saved(store, "mine", FULL_INFO)
    await saved(store, "other", ThreadInfo(resource_id="customer-8"))
    await saved(store, "nobody's")

    await saved(store, "mine, later", FULL_INFO)
    await submitted(store, "d1", thread=ThreadId("mine"))

    assert await listed(store, resource_id="customer-7") == ["mine", "mine, later"]
    assert await listed(store, resource_id="customer-7", ascending=True) == ["mine, later", "mine"]
    assert await listed(store, resource_id="customer-7", id_prefix="mine,") == ["mine, later"]
    assert await listed(store, resource_id="customer") == []
    assert await _paged(store, limit=1, resource_id="customer-7") == ["mine", "mine, later"]


@behaviour("TR-012")
async def test_a_page_of_no_threads_is_empty(store: Store, clock: ManualClock) -> None:
    await saved(store, "t")

    assert await listed(store, limit=0) == []


async def test_a_thread_belongs_to_one_scope(store: Store, clock: ManualClock) -> None:
    await saved(store, "t", FULL_INFO)

    assert await store.load_thread(OTHER_SCOPE, ThreadId("t")) is None
    assert await store.list_threads(OTHER_SCOPE, ThreadQuery()) == Page(())
    elsewhere = saving("t", ThreadInfo(title="theirs"), scope=OTHER_SCOPE)
    assert want(ThreadSaved, await apply(store, elsewhere)).created is True
    assert (await thread_of(store, ThreadId("t"))).info == FULL_INFO


@behaviour("TR-028")
async def test_concurrent_saves_of_many_threads_lose_none(store: Store, clock: ManualClock) -> None:
    await together(store, [saving(f"t{n:02}") for n in range(50)])

    assert sorted(await listed(store, limit=200)) == [f"t{n:02}" for n in range(50)]


async def test_a_thread_may_be_made_with_messages_of_no_run(store: Store, clock: ManualClock) -> None:
    await saved(store, THREAD, messages=(said("hello"), answered("welcome")))

    assert [(each.seq, each.message.id, each.run_id) for each in await log_of(store)] == [
        (1, "hello", None),
        (2, "welcome", None),
    ]
    assert await kinds(store) == ["ThreadCreated", "MessageCommitted", "MessageCommitted"]
    refused = saving(THREAD, messages=(said("new"), said("hello")), if_exists="replace")
    assert await apply(store, refused) == Conflict("message", "hello")
    assert await apply(store, asked("d1", messages=[said("hello")])) == Known(message_id("hello"), None)
    assert await message_ids(store) == ["hello", "welcome"]


@behaviour("ST-044")
async def test_nobody_adds_to_the_conversation_of_a_run_that_executes(store: Store, clock: ManualClock) -> None:
    """Its turn would be split. What is said about the thread may change all the same."""
    owner = await claimed(store, "d1")
    await committed(store, owner, calling("turn", "call-1"))
    before = await kinds(store)

    busy = saving(THREAD, FULL_INFO, messages=(said("between"),), if_exists="replace")
    assert await apply(store, busy) == Busy(run_id("d1"))
    assert (await message_ids(store), await kinds(store)) == (["msg-d1", "turn"], before)
    assert (await thread_of(store)).info != FULL_INFO

    await saved(store, THREAD, FULL_INFO, if_exists="replace")
    await settled(store, owner)
    assert want(ThreadSaved, await apply(store, busy)).created is False
    assert (await message_ids(store))[-1] == "between"


async def test_a_run_may_follow_messages_that_leave_a_call_open(store: Store, clock: ManualClock) -> None:
    await saved(store, THREAD, messages=(said("hello"), calling("turn", "call-1")))

    await claimed(store, "d1")

    assert [each.message.tool_call_id for each in await log_of(store)] == [None, None, "call-1", None]


# --- derived values ---------------------------------------------------------------------------------------------------


@behaviour("TR-029")
async def test_a_run_that_has_not_started_is_open_and_not_active(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "urgent", priority=1)

    thread = await thread_of(store)
    assert (thread.active_run_id, thread.open_run_id, thread.latest_run_id) == (
        None,
        run_id("urgent"),
        run_id("urgent"),
    )
    assert (thread.status, thread.queued_count) == (ThreadStatus.QUEUED, 2)


@behaviour("TR-030")
async def test_a_running_run_is_active_and_open(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2")

    thread = await thread_of(store)
    assert (thread.active_run_id, thread.open_run_id) == (run_id("d1"), run_id("d1"))
    assert (thread.status, thread.queued_count) == (ThreadStatus.BUSY, 1)


@behaviour("TR-031")
async def test_a_waiting_run_is_open_and_not_active(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", ending=suspended())

    thread = await thread_of(store)
    assert (thread.active_run_id, thread.open_run_id, thread.status) == (None, run_id("d1"), ThreadStatus.WAITING)


@behaviour("TR-032")
async def test_a_finished_run_is_neither_active_nor_open(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")

    thread = await thread_of(store)
    assert (thread.active_run_id, thread.open_run_id, thread.latest_run_id) == (None, None, run_id("d1"))
    assert thread.status is ThreadStatus.IDLE


@behaviour("TR-033")
async def test_one_run_finishing_leaves_another_open(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")

    await settled(store, owner)

    thread = await thread_of(store)
    assert (thread.active_run_id, thread.open_run_id, thread.status) == (None, run_id("d2"), ThreadStatus.QUEUED)


@behaviour("TR-034")
async def test_the_latest_run_of_a_thread_is_its_newest_whatever_the_clock_says(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    clock.set(clock.now() - 60_000)
    await submitted(store, "d2")
    assert (await thread_of(store)).latest_run_id == run_id("d2")

    await committed(store, owner, answered("turn"), closes=StepClosed(1))

    assert (await thread_of(store)).latest_run_id == run_id("d2")


async def test_a_thread_whose_last_run_failed_shows_it(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", ending=DeadLetter("hopeless"))
    assert (await thread_of(store)).status is ThreadStatus.ERROR

    await finished(store, "d2")
    assert (await thread_of(store)).status is ThreadStatus.IDLE


async def _paged(store: Store, *, limit: int = 2, **query: Any) -> list[str]:
    """All threads, two at a time, each page starting where the one before says that the list goes on."""
    seen: list[str] = []
    after = None
    while True:
        page = await store.list_threads(SCOPE, replace(ThreadQuery(after=after, limit=limit), **query))
        assert len(page.items) <= limit
        seen += [thread.thread_id for thread in page.items]
        if page.next is None:
            return seen
        after = page.next
