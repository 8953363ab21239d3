"""Accepting runs: what a submit stores, repeats, refuses, and in which order the queue then stands."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.message import Json, Message, Role
from awaken.domain.run import RunStatus
from awaken.store.contract import DispatchQuery, Store
from awaken.store.transitions import Conflict, DeadLetter, Full, Known, Missing, Replayed, Submit, Submitted
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    OTHER_SCOPE,
    OTHER_WORKER,
    ROUTES,
    SCOPE,
    THREAD,
    WORKER,
    apply,
    asked,
    cancelled,
    claim,
    claimed,
    dispatch_of,
    drained,
    finished,
    interrupt,
    kinds,
    log_of,
    message_id,
    message_ids,
    names,
    offer,
    purge,
    queue_of,
    reclaim,
    run_id,
    run_of,
    said,
    settled,
    snapshot,
    submitted,
    thread_of,
    together,
    want,
)


@behaviour("MB-005", "MB-020")
async def test_a_submit_stores_one_queued_dispatch_without_claim_or_completion(
    store: Store, clock: ManualClock
) -> None:
    outcome = await submitted(store, "d1")

    assert await names(store) == ["d1"]
    stored = await dispatch_of(store, "d1")
    assert stored == outcome.dispatch
    assert stored.status is DispatchStatus.QUEUED
    assert (stored.claim_token, stored.claimed_by, stored.lease_until, stored.instance_id) == (None, None, None, None)
    assert (stored.completed_at, stored.last_error, stored.attempt_count) == (None, None, 0)
    assert stored.created_at == stored.updated_at == stored.available_at == clock.now()


@behaviour("MB-021")
async def test_a_submit_cannot_ask_for_anything_but_a_queued_dispatch(store: Store, clock: ManualClock) -> None:
    assert "status" not in Submit.__struct_fields__

    await submitted(store, "d1", delay_ms=5)

    assert (await dispatch_of(store, "d1")).status is DispatchStatus.QUEUED


@behaviour("TR-100", "TR-102")
async def test_a_submit_makes_thread_run_messages_and_dispatch_visible_together(
    store: Store, clock: ManualClock
) -> None:
    outcome = await submitted(store, "d1", metadata={"from": "a test"})

    thread = await thread_of(store)
    assert (thread.latest_run_id, thread.open_run_id, thread.queued_count) == (run_id("d1"), run_id("d1"), 1)
    run = await run_of(store, "d1")
    assert run == outcome.run
    assert (run.status, run.metadata, run.created_at) == (RunStatus.CREATED, {"from": "a test"}, clock.now())
    accepted = await store.load_message(SCOPE, THREAD, MessageId("msg-d1"))
    assert accepted is not None
    assert (accepted.message, accepted.seq, accepted.run_id) == (said("msg-d1"), None, run_id("d1"))
    assert await kinds(store) == ["RunQueued"]


async def test_messages_enter_the_conversation_when_their_run_is_first_claimed(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1", messages=[said("one"), said("two")])
    assert await log_of(store) == []

    await claim(store)

    assert [(each.message.id, each.seq, each.run_id) for each in await log_of(store)] == [
        ("one", 1, run_id("d1")),
        ("two", 2, run_id("d1")),
    ]
    span = (await run_of(store, "d1")).input
    assert span is not None
    assert (span.from_seq, span.to_seq) == (1, 2)


async def test_a_run_that_never_starts_leaves_nothing_in_the_conversation(store: Store, clock: ManualClock) -> None:
    await submitted(store, "cancelled")
    await submitted(store, "superseded")
    await cancelled(store, "cancelled")
    await interrupt(store)

    await finished(store, "d3")

    assert await message_ids(store) == ["msg-d3"]


# --- repetition -------------------------------------------------------------------------------------------------------


@behaviour("MB-022")
async def test_a_dedupe_key_of_queued_work_answers_with_that_work(store: Store, clock: ManualClock) -> None:
    first = await submitted(store, "d1", dedupe_key="k")

    again = want(Replayed, await apply(store, asked("d2", dedupe_key="k")))

    assert (again.run, again.dispatch, again.appended) == (first.run, first.dispatch, ())
    assert await names(store) == ["d1"]
    assert await store.load_message(SCOPE, THREAD, MessageId("msg-d2")) is None


@behaviour("MB-023")
async def test_a_dedupe_key_holds_within_its_thread_and_scope_only(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", dedupe_key="k")

    await submitted(store, "d2", dedupe_key="k", thread=ThreadId("thread-2"))
    await submitted(store, "d1", dedupe_key="k", scope=OTHER_SCOPE)

    assert (await store.count_dispatches())[DispatchStatus.QUEUED] == 3


@behaviour("MB-024")
async def test_cancelling_the_holder_frees_its_dedupe_key(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", dedupe_key="k")
    await cancelled(store, "d1")

    await submitted(store, "d2", dedupe_key="k")


@behaviour("MB-025")
async def test_an_interrupt_does_not_free_the_dedupe_key_of_claimed_work(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", dedupe_key="k")
    await interrupt(store)

    again = want(Replayed, await apply(store, asked("d2", dedupe_key="k")))
    assert again.run.run_id == run_id("d1")

    await settled(store, owner)
    await submitted(store, "d2", dedupe_key="k")


@behaviour("MB-026")
async def test_every_end_of_the_holder_frees_its_dedupe_key(store: Store, clock: ManualClock) -> None:
    await finished(store, "acked", dedupe_key="k")
    await finished(store, "dead", dedupe_key="k", ending=DeadLetter("no"))
    await submitted(store, "superseded", dedupe_key="k")
    await interrupt(store)

    await submitted(store, "d4", dedupe_key="k")


async def test_a_requeue_keeps_the_dedupe_key(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", dedupe_key="k", lease_ms=1_000)
    clock.tick(2)
    await reclaim(store)

    want(Replayed, await apply(store, asked("d2", dedupe_key="k")))


async def test_a_submit_without_a_key_never_meets_another(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d2")

    assert await names(store) == ["d1", "d2"]


@behaviour("MB-027", "MB-028")
async def test_of_many_submits_with_one_key_at_once_exactly_one_is_stored(store: Store, clock: ManualClock) -> None:
    outcomes = await together(store, [asked(f"d{n}", dedupe_key="k") for n in range(128)])

    [stored] = [outcome for outcome in outcomes if isinstance(outcome, Submitted)]
    replays = [outcome for outcome in outcomes if isinstance(outcome, Replayed)]
    assert len(replays) == 127
    assert {replay.run.run_id for replay in replays} == {stored.run.run_id}
    assert await names(store) == [stored.dispatch.dispatch_id]


async def test_a_repeated_run_id_with_the_same_digest_is_answered_with_the_run_as_it_is_now(
    store: Store, clock: ManualClock
) -> None:
    done = await finished(store, "d1")

    again = want(Replayed, await apply(store, asked("d1")))

    assert (again.run, again.dispatch) == (done.run, done.dispatch)


@behaviour("RE-008")
async def test_a_repetition_of_a_run_that_is_kept_no_longer_is_new(store: Store, clock: ManualClock) -> None:
    """Its messages, which are kept with their thread, are still known: they come to no second run."""
    await finished(store, "d1")
    clock.tick(1)
    await purge(store, runs_ms=0)

    assert await apply(store, asked("d1")) == Known(message_id("msg-d1"), run_id("d1"))
    assert await apply(store, asked("d1", messages=[said("msg-d1", "changed")])) == Conflict("message", "msg-d1")
    again = await submitted(store, "d1", messages=[said("another")])

    assert again.run == await run_of(store, "d1")
    assert await message_ids(store) == ["msg-d1"]


@behaviour("TR-081")
async def test_a_run_id_with_another_digest_or_in_another_thread_is_refused(store: Store, clock: ManualClock) -> None:
    first = await submitted(store, "d1")

    assert await apply(store, asked("d1", digest="another")) == Conflict("run", run_id("d1"))
    elsewhere = await apply(store, asked("d1", thread=ThreadId("thread-2")))
    assert elsewhere == Conflict("run", run_id("d1"))

    assert await run_of(store, "d1") == first.run
    assert await store.load_thread(SCOPE, ThreadId("thread-2")) is None


@behaviour("MB-031", "D-013")
async def test_a_dispatch_id_is_never_used_twice_whatever_became_of_the_first(store: Store, clock: ManualClock) -> None:
    ended = await finished(store, "ended")
    held = await claimed(store, "held")
    queued = await submitted(store, "queued")

    for taken in (ended.dispatch, held.dispatch, queued.dispatch):
        again = asked("new", dispatch=taken.dispatch_id)
        assert await apply(store, again) == Conflict("dispatch", taken.dispatch_id)
        assert await store.load_dispatch(SCOPE, taken.dispatch_id) == taken
    assert await store.load_run(SCOPE, run_id("new")) is None


async def test_messages_that_are_all_known_replay_the_run_they_came_with(store: Store, clock: ManualClock) -> None:
    first = await submitted(store, "d1", messages=[said("one"), said("two")])

    again = want(Replayed, await apply(store, asked("d2", messages=[said("one"), said("two")])))

    assert again.run == first.run


async def test_a_known_message_among_new_ones_is_not_stored_again(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", messages=[said("one")])

    second = await submitted(store, "d2", messages=[said("one"), said("two")])

    assert second.run.request.input_message_ids == ("two",)
    taken = await claim(store)
    assert taken is not None
    assert taken.messages == (said("two"),)
    assert [stored.message for stored in await log_of(store)] == [said("one"), said("two")]


async def test_what_is_the_same_as_json_is_the_same(store: Store, clock: ManualClock) -> None:
    """A store may hand a message back with lists where its sender had tuples."""
    sent = Message(id=MessageId("one"), role=Role.USER, content=(Json({"sizes": (1, 2)}),))
    first = await submitted(store, "d1", messages=[sent])

    again = want(Replayed, await apply(store, asked("d2", messages=[sent])))

    assert (again.run, again.dispatch) == (first.run, first.dispatch)


@behaviour("NC-004")
async def test_a_known_message_with_other_content_is_refused(store: Store, clock: ManualClock) -> None:
    """Whether it comes alone or among new ones, and whether it is part of the conversation yet."""
    await finished(store, "d1", messages=[said("one")])
    await submitted(store, "d2", messages=[said("two")])
    before = await snapshot(store)

    for known in ("one", "two"):
        changed = said(known, "changed")
        assert await apply(store, asked("d3", messages=[changed])) == Conflict("message", known)
        assert await apply(store, asked("d3", messages=[said("new"), changed])) == Conflict("message", known)

    assert await snapshot(store) == before
    assert await store.load_message(SCOPE, THREAD, MessageId("new")) is None


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_a_missing_thread_is_refused_when_it_is_not_to_be_made(store: Store, clock: ManualClock) -> None:
    assert await apply(store, asked("d1", create_thread=False)) == Missing("thread", THREAD)

    assert await store.load_run(SCOPE, run_id("d1")) is None
    assert await store.load_thread(SCOPE, THREAD) is None


async def test_a_full_queue_refuses_and_stores_nothing(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", max_queued=2)
    await submitted(store, "d2", max_queued=2)

    assert await apply(store, asked("d3", max_queued=2)) == Full(2)

    assert await names(store) == ["d1", "d2"]
    await claim(store)
    await submitted(store, "d3", max_queued=2)


async def test_what_is_not_due_yet_keeps_nothing_out_that_is_and_has_a_bound_of_its_own(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "later-1", max_queued=2, delay_ms=60_000)
    await submitted(store, "later-2", max_queued=2, delay_ms=60_000)
    await submitted(store, "d1", max_queued=2)
    await submitted(store, "d2", max_queued=2)

    assert await apply(store, asked("d3", max_queued=2)) == Full(2)
    assert await apply(store, asked("later-3", max_queued=2, delay_ms=1)) == Full(2)

    clock.tick(60)  # now all four are due
    assert await apply(store, asked("d3", max_queued=2)) == Full(2)
    await submitted(store, "later-3", max_queued=2, delay_ms=1)


async def test_what_is_asked_only_as_a_repetition_opens_nothing(store: Store, clock: ManualClock) -> None:
    first = await submitted(store, "d1", dedupe_key="k")
    repeated = replace(asked("d1"), only_if_repeated=True)

    assert want(Replayed, await apply(store, repeated)).run == first.run
    by_key = replace(asked("d2", dedupe_key="k"), only_if_repeated=True)
    assert want(Replayed, await apply(store, by_key)).run == first.run
    assert await apply(store, replace(asked("d3"), only_if_repeated=True)) == Missing("run", run_id("d3"))
    assert want(Conflict, await apply(store, replace(repeated, digest="other"))).what == "run"

    assert await names(store) == ["d1"]


@behaviour("ST-030")
async def test_a_repetition_is_known_also_where_the_queue_is_full_by_now(store: Store, clock: ManualClock) -> None:
    """Whether or not its caller says that every id is fresh, which was so when it was first asked."""
    asking = asked("d1", max_queued=1)
    first = want(Submitted, await apply(store, asking))

    for fresh in (False, True):
        again = want(Replayed, await apply(store, replace(asking, fresh_ids=fresh)))
        assert (again.run, again.dispatch) == (first.run, first.dispatch)
    assert await apply(store, replace(asked("d2", max_queued=1), fresh_ids=True)) == Full(1)


# --- order ------------------------------------------------------------------------------------------------------------


@behaviour("MB-029", "MB-030", "D-017")
async def test_the_stored_epoch_is_the_threads_own(store: Store, clock: ManualClock) -> None:
    assert "epoch" not in Submit.__struct_fields__
    assert (await submitted(store, "d1")).dispatch.epoch == 0

    await interrupt(store)

    assert (await submitted(store, "d2")).dispatch.epoch == 1


@behaviour("MB-032", "TR-097")
async def test_concurrent_submits_to_one_thread_are_all_kept(store: Store, clock: ManualClock) -> None:
    outcomes = await together(store, [asked(f"d{n}", dedupe_key=f"k{n}") for n in range(10)])

    assert all(isinstance(outcome, Submitted) for outcome in outcomes)
    assert sorted(await names(store)) == sorted(f"d{n}" for n in range(10))
    positions = [(await dispatch_of(store, f"d{n}")).position for n in range(10)]
    assert sorted(positions) == list(range(1, 11))


@behaviour("MB-033")
async def test_what_many_submit_at_once_is_drained_once_by_several_workers(store: Store, clock: ManualClock) -> None:
    await together(store, [asked(f"d{n}") for n in range(64)])

    taken = await drained(store)

    assert sorted(taken) == sorted(f"d{n}" for n in range(64))


@behaviour("TR-097", "D-013")
async def test_of_many_submits_with_one_run_id_at_once_exactly_one_is_stored(store: Store, clock: ManualClock) -> None:
    outcomes = await together(store, [asked("d1") for _ in range(16)])

    assert [type(outcome) for outcome in outcomes].count(Submitted) == 1
    assert [type(outcome) for outcome in outcomes].count(Replayed) == 15
    assert await names(store) == ["d1"]


@behaviour("TR-115")
async def test_every_message_of_concurrent_submits_is_kept_and_every_run_finds_its_input(
    store: Store, clock: ManualClock
) -> None:
    await together(store, [asked(f"d{n}") for n in range(32)])

    await drained(store)

    assert sorted(await message_ids(store)) == sorted(f"msg-d{n}" for n in range(32))
    for n in range(32):
        run = await run_of(store, f"d{n}")
        assert run.input is not None
        [own] = await log_of(store, after=run.input.from_seq - 1, before=run.input.to_seq + 1)
        assert own.message.id == run.request.input_message_ids[0]


@behaviour("MB-034")
async def test_the_queue_stands_by_priority_and_then_in_the_order_of_submission(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "older, less urgent", priority=200)
    clock.set(clock.now() - 60_000)
    await submitted(store, "first", priority=10)
    clock.set(clock.now() - 60_000)
    await submitted(store, "second", priority=10)

    assert await queue_of(store) == ["first", "second", "older, less urgent"]
    assert await queue_of(store, limit=2) == ["first", "second"]
    assert await names(store) == ["older, less urgent", "first", "second"]


@behaviour("MB-035")
async def test_a_listing_holds_the_wanted_statuses_only(store: Store, clock: ManualClock) -> None:
    await finished(store, "acked")
    await claimed(store, "held")
    await submitted(store, "queued")
    await submitted(store, "dropped")
    await cancelled(store, "dropped")

    assert await names(store) == ["acked", "held", "queued", "dropped"]
    assert await names(store, DispatchStatus.QUEUED) == ["queued"]
    assert await names(store, DispatchStatus.ACKED, DispatchStatus.CLAIMED) == ["acked", "held"]
    assert await names(store, DispatchStatus.SUPERSEDED) == []
    assert await names(store, thread=ThreadId("elsewhere")) == []


@behaviour("MB-036")
async def test_pages_of_a_listing_neither_overlap_nor_leave_out(store: Store, clock: ManualClock) -> None:
    for n in range(7):
        await submitted(store, f"d{n}", priority=n % 2)

    pages: list[list[str]] = []
    after = None
    while len(pages) < 3:
        page = await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD, limit=3, after=after))
        pages.append([dispatch.dispatch_id for dispatch in page.items])
        after = page.next

    assert [len(page) for page in pages] == [3, 3, 1]
    assert after is None
    assert [name for page in pages for name in page] == await names(store) == [f"d{n}" for n in range(7)]


@behaviour("MB-038")
async def test_an_explicit_instant_wins_over_a_delay_and_is_kept(store: Store, clock: ManualClock) -> None:
    at = clock.now() + 86_400_000

    await submitted(store, "d1", available_at=at, delay_ms=5)
    await submitted(store, "d2", delay_ms=5)

    assert (await dispatch_of(store, "d1")).available_at == at
    assert (await dispatch_of(store, "d2")).available_at == clock.now() + 5
    assert (await dispatch_of(store, "d1")).attempt_count == 0
    assert await store.next_due_in_ms(ROUTES) == 5


# --- offers -----------------------------------------------------------------------------------------------------------


async def test_an_offer_takes_the_submit_on_an_idle_thread_in_the_same_step(store: Store, clock: ManualClock) -> None:
    outcome = await submitted(store, "d1", offered=offer(WORKER, 7_000))

    assert outcome.claimed is not None
    assert (outcome.claimed.dispatch, outcome.claimed.run) == (outcome.dispatch, outcome.run)
    assert outcome.claimed.resumed is False
    stored = await dispatch_of(store, "d1")
    assert (stored.claimed_by, stored.lease_until) == (WORKER, clock.now() + 7_000)
    assert await message_ids(store) == ["msg-d1"]
    assert await kinds(store) == ["RunQueued", "MessageCommitted", "RunSubmitted", "RunStarted"]


async def test_an_offer_on_a_busy_thread_leaves_the_submit_queued(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")

    outcome = await submitted(store, "d2", offered=offer(OTHER_WORKER))

    assert outcome.claimed is None
    assert outcome.dispatch.status is DispatchStatus.QUEUED


async def test_an_offer_takes_older_work_of_the_thread_first(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")

    outcome = await submitted(store, "d2", offered=offer())

    assert outcome.claimed is not None
    assert outcome.claimed.dispatch.dispatch_id == "d1"
    assert outcome.dispatch.status is DispatchStatus.QUEUED
    assert await names(store, DispatchStatus.QUEUED) == ["d2"]


async def test_an_offer_takes_a_more_urgent_submit_before_older_work(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")

    outcome = await submitted(store, "d2", priority=1, offered=offer())

    assert outcome.claimed is not None
    assert outcome.claimed.dispatch.dispatch_id == "d2"
    assert outcome.ready_in_ms is None


async def test_an_offer_does_not_take_delayed_work(store: Store, clock: ManualClock) -> None:
    outcome = await submitted(store, "d1", delay_ms=1, offered=offer())

    assert outcome.claimed is None
    assert outcome.ready_in_ms == 1


async def test_batches_handed_over_together_are_applied_in_order(store: Store, clock: ManualClock) -> None:
    await asyncio.gather(*[store.apply([asked(f"d{number}")]) for number in range(1, 4)])
    queued = await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD))
    assert [dispatch.dispatch_id for dispatch in queued.items] == ["d1", "d2", "d3"]


async def test_the_answer_says_when_the_thread_is_ready(store: Store, clock: ManualClock) -> None:
    assert (await submitted(store, "d1", delay_ms=50)).ready_in_ms == 50
    assert (await submitted(store, "d2", delay_ms=90)).ready_in_ms == 50
    clock.tick(0.02)
    assert (await submitted(store, "d3", delay_ms=90)).ready_in_ms == 30
    assert (await submitted(store, "d4")).ready_in_ms == 0

    await claim(store)

    assert (await submitted(store, "d5")).ready_in_ms is None
