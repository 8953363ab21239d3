"""The owner's writes: committing steps and settling, and what a token that no longer holds can change (nothing)."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.event import InferenceComplete, logged, opened
from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.log import LoggedEvent
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import NATURAL_END, RunStatus, Termination, Usage
from awaken.store.contract import Store
from awaken.store.transitions import (
    Ack,
    Cancel,
    Committed,
    Conflict,
    DeadLetter,
    JournalEntry,
    LeaseLost,
    Missing,
    Release,
    Retry,
    StepClosed,
    Submitted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    AT_ONCE,
    DONE,
    LEASE_MS,
    OTHER_WORKER,
    SCOPE,
    THREAD,
    answered,
    asked,
    calling,
    claim,
    claim_name,
    claimed,
    commit,
    committed,
    committing,
    delta,
    dispatch_id,
    dispatch_of,
    events_of,
    every_ending,
    kinds,
    log_of,
    message_id,
    message_ids,
    offer,
    reclaim,
    renew,
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
    threads_in,
)


@behaviour("MB-070")
async def test_an_ack_closes_the_dispatch_and_finishes_the_run(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(3)

    done = await settled(store, owner, Ack(NATURAL_END, "all well"), answered("reply"))

    stored = await dispatch_of(store, "d1")
    assert done.dispatch == stored
    assert (stored.status, stored.completed_at, stored.updated_at) == (DispatchStatus.ACKED, clock.now(), clock.now())
    assert (stored.claim_token, stored.claimed_by, stored.lease_until) == (None, None, None)
    assert stored.instance_id == owner.dispatch.instance_id
    run = await run_of(store, "d1")
    assert done.run == run
    assert (run.status, run.finished_at, run.final_output) == (RunStatus.DONE, clock.now(), "all well")
    assert run.termination == NATURAL_END
    assert await kinds(store, after=4) == ["MessageCommitted", "RunFinished"]
    assert await store.active_dispatch(SCOPE, THREAD) is None


@behaviour("ST-045")
async def test_the_output_is_kept_as_it_was_given(store: Store, clock: ManualClock) -> None:
    """As messages where it is their text, from this commit or an earlier one; else by itself, and none is named."""
    early, late = message_id("early"), message_id("late")
    cases: list[tuple[str | None, tuple[MessageId, ...], bool]] = [
        ("from early", (early,), True),
        ("from earlyfrom late", (early, late), True),
        ("from late", (late,), True),
        ("something else", (late,), False),
        ("from early", (early, message_id("gone")), False),
        (None, (late,), False),
        ("from early", (), False),
    ]
    for number, (output, ids, are_named) in enumerate(cases):
        thread = ThreadId(f"thread-{number}")
        owner = await claimed(store, f"d{number}", thread=thread)
        await committed(store, owner, answered("early", "from early"))

        ending = Ack(NATURAL_END, output, ids)
        done = await settled(store, owner, ending, answered("late", "from late"))

        run = await run_of(store, f"d{number}")
        assert run == done.run
        assert (run.final_output, run.output_message_ids) == (output, ids if are_named else ()), cases[number]


async def test_a_failed_answer_is_still_an_answer(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    done = await settled(store, owner, Ack(Termination("error", detail="no money left")))

    assert (done.dispatch.status, done.run.status) == (DispatchStatus.ACKED, RunStatus.DONE)
    assert done.run.termination == Termination("error", detail="no money left")
    assert (await kinds(store))[-1] == "RunErrored"


@behaviour("MB-071", "MB-079", "MB-094")
async def test_a_wrong_token_changes_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    before = await snapshot(store)

    for ending in every_ending():
        assert await settle(store, owner, ending, token="guessed") == LeaseLost("other_owner")
    assert await commit(store, owner, answered("reply"), token="guessed") == LeaseLost("other_owner")

    assert await snapshot(store) == before


@behaviour("MB-072", "MB-080")
async def test_an_unknown_dispatch_cannot_be_written_by_anybody(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    unknown = replace(owner, dispatch=replace(owner.dispatch, dispatch_id=dispatch_id("unknown")))

    for ending in every_ending():
        assert await settle(store, unknown, ending) == LeaseLost("missing")
    assert await commit(store, unknown, answered("reply")) == LeaseLost("missing")

    assert await message_ids(store) == ["msg-d1"]


@behaviour("MB-073", "MB-085", "MB-095")
async def test_a_settled_dispatch_cannot_be_settled_again(store: Store, clock: ManualClock) -> None:
    for number, ending in enumerate((DONE, DeadLetter("hopeless"))):
        owner = await claimed(store, f"d{number}")
        await settled(store, owner, ending)
        before = await snapshot(store)

        for again in every_ending():
            assert await settle(store, owner, again) == LeaseLost("not_claimed")
        assert await commit(store, owner, answered("late")) == LeaseLost("not_claimed")

        assert await snapshot(store) == before
        assert await claim(store) is None


@behaviour("MB-095")
async def test_a_queued_dispatch_has_no_owner(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, Release("draining"))

    assert await settle(store, owner) == LeaseLost("not_claimed")
    assert await commit(store, owner, answered("late")) == LeaseLost("not_claimed")


@behaviour("MB-078")
async def test_a_claim_settles_its_own_run_only(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    other = await submitted(store, "d2")
    mixed = replace(owner, run=other.run)

    assert await settle(store, mixed) == LeaseLost("other_owner")
    assert await commit(store, mixed, answered("reply")) == LeaseLost("other_owner")

    assert await run_of(store, "d2") == other.run
    assert (await dispatch_of(store, "d1")).status is DispatchStatus.CLAIMED


async def test_a_claim_writes_to_its_own_thread_only(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    elsewhere = ThreadId("thread-2")
    await submitted(store, "d2", thread=elsewhere)
    strayed = replace(owner, dispatch=replace(owner.dispatch, thread_id=elsewhere))

    assert await settle(store, strayed) == LeaseLost("missing")
    assert await commit(store, strayed, answered("reply")) == LeaseLost("missing")

    assert await log_of(store, elsewhere) == []
    assert (await dispatch_of(store, "d1")).status is DispatchStatus.CLAIMED


@behaviour("MB-081")
async def test_a_failure_spends_an_attempt_and_waits(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(1)

    done = await settled(store, owner, Retry("no answer", RetryPolicy(base_delay_ms=3_000)))

    stored = await dispatch_of(store, "d1")
    assert done.dispatch == stored
    assert (stored.status, stored.attempt_count, stored.last_error) == (DispatchStatus.QUEUED, 1, "no answer")
    assert (stored.available_at, done.ready_in_ms) == (clock.now() + 3_000, 3_000)
    assert (stored.claim_token, stored.claimed_by, stored.lease_until, stored.completed_at) == (None, None, None, None)
    assert (await kinds(store))[-1] == "RunRescheduled"


@behaviour("MB-010")
async def test_a_failure_leaves_the_run_running_and_its_progress_in_place(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, answered("turn"), closes=StepClosed(1, Usage(input_tokens=7)))

    await settled(store, owner, Retry("failed"))

    run = await run_of(store, "d1")
    assert (run.status, run.steps, run.usage, run.finished_at) == (RunStatus.RUNNING, 1, Usage(input_tokens=7), None)
    assert run.termination is None


@behaviour("MB-082", "MB-083")
async def test_the_last_attempt_ends_in_the_dead_letters(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", max_attempts=2)
    first = await settled(store, owner, Retry("once", AT_ONCE))
    assert (first.dispatch.status, first.dispatch.attempt_count) == (DispatchStatus.QUEUED, 1)
    again = await claim(store)
    assert again is not None

    last = await settled(store, again, Retry("twice", AT_ONCE))

    assert (last.dispatch.status, last.dispatch.attempt_count) == (DispatchStatus.DEAD_LETTER, 2)
    assert (last.dispatch.last_error, last.dispatch.claim_token) == ("twice", None)
    assert last.dispatch.completed_at == clock.now()
    assert (last.run.status, last.run.termination) == (RunStatus.DONE, Termination("error", detail="twice"))
    assert (await kinds(store))[-2:] == ["RunDeadLettered", "RunErrored"]


@behaviour("MB-084")
async def test_a_hopeless_failure_goes_to_the_dead_letters_at_once(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    done = await settled(store, owner, DeadLetter("hopeless"))

    assert (done.dispatch.status, done.dispatch.attempt_count) == (DispatchStatus.DEAD_LETTER, 0)
    assert (done.dispatch.last_error, done.run.termination) == ("hopeless", Termination("error", detail="hopeless"))


async def test_a_release_spends_no_attempt_and_is_due_at_once(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", max_attempts=1)
    clock.tick(1)

    done = await settled(store, owner, Release("draining"))

    assert (done.dispatch.status, done.dispatch.attempt_count) == (DispatchStatus.QUEUED, 0)
    assert (done.dispatch.available_at, done.run.status) == (clock.now(), RunStatus.RUNNING)
    assert await claim_name(store, consumer=OTHER_WORKER) == "d1"


@behaviour("MB-092")
async def test_an_owner_whose_lease_ended_unnoticed_still_owns(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", lease_ms=1_000)
    clock.tick(60)

    await committed(store, owner, answered("turn"))
    [renewal] = await renew(store, owner)
    assert renewal.lease_in_ms == LEASE_MS
    clock.tick(60)
    await settled(store, owner)


# --- committing -------------------------------------------------------------------------------------------------------


@behaviour("TR-044")
async def test_committed_messages_follow_what_is_in_the_log(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    first = await committed(store, owner, calling("turn", "call-1"))
    second = await committed(store, owner, result_of("call-1"), answered("reply"))

    assert (first.last_message_seq, second.last_message_seq) == (2, 4)
    assert [(each.seq, each.message.id) for each in await log_of(store)] == [
        (1, "msg-d1"),
        (2, "turn"),
        (3, "result-call-1"),
        (4, "reply"),
    ]
    assert {each.run_id for each in await log_of(store)} == {run_id("d1")}


@behaviour("EV-007")
async def test_messages_and_events_enter_the_log_in_the_order_they_were_given(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    done = await committed(store, owner, delta("Hel"), delta("lo"), answered("turn", "Hello"), delta("!"))

    assert [event.kind for each in done.appended for event in each.row().events] == [
        "TextDeltaObserved",
        "TextDeltaObserved",
        "MessageCommitted",
        "TextDeltaObserved",
    ]
    assert await events_of(store, after=4) == [each.row() for each in done.appended]


@behaviour("TR-046", "TR-106")
async def test_a_message_id_of_the_thread_is_never_committed_twice(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, answered("turn"))
    await submitted(store, "d2")
    before = await snapshot(store)

    for taken in ("msg-d1", "turn", "msg-d2"):
        refused = await commit(store, owner, delta("x"), answered("new"), answered(taken, "changed"))
        assert refused == Conflict("message", taken)
        assert await settle(store, owner, DONE, answered(taken, "changed")) == Conflict("message", taken)

    assert await snapshot(store) == before


async def test_one_message_id_may_be_used_in_two_threads(store: Store, clock: ManualClock) -> None:
    elsewhere = ThreadId("thread-2")
    first = await claimed(store, "d1", messages=[said("hello")])
    second = await claimed(store, "d2", thread=elsewhere, messages=[said("hello")])

    await committed(store, first, answered("turn", "one"))
    await committed(store, second, answered("turn", "two"))

    assert [each.message.text for each in await log_of(store)] == ["the text of hello", "one"]
    assert [each.message.text for each in await log_of(store, elsewhere)] == ["the text of hello", "two"]


@behaviour("TR-108")
async def test_a_commit_without_messages_updates_the_run_and_leaves_the_log(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    log = await log_of(store)
    clock.tick(1)

    await committed(store, owner, closes=StepClosed(3, Usage(output_tokens=5)))

    run = await run_of(store, "d1")
    assert (run.steps, run.usage, run.updated_at) == (3, Usage(output_tokens=5), clock.now())
    assert await log_of(store) == log


async def test_an_empty_commit_is_a_question_and_writes_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    before = await snapshot(store)

    answer = await committed(store, owner)

    assert (answer.cancel_requested, answer.last_message_seq, answer.appended) == (False, 1, ())
    assert await snapshot(store) == before


@behaviour("TR-116")
async def test_what_a_run_was_made_with_never_changes(store: Store, clock: ManualClock) -> None:
    made = (await submitted(store, "d1", metadata={"kept": [1]})).run
    clock.tick(1)
    owner = await claim(store)
    assert owner is not None
    clock.tick(1)
    await committed(store, owner, answered("turn"), closes=StepClosed(1))
    await settled(store, owner)

    run = await run_of(store, "d1")
    fixed = ("run_id", "thread_id", "agent_id", "dispatch_id", "request", "request_digest", "metadata", "created_at")
    assert [getattr(run, each) for each in fixed] == [getattr(made, each) for each in fixed]


async def test_closing_a_step_forgives_the_failures_before_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", max_attempts=2)
    await settled(store, owner, Retry("once", AT_ONCE))
    again = await claim(store)
    assert again is not None

    await committed(store, again, answered("turn"), closes=StepClosed(1, turn=message_id("turn")))

    assert (await dispatch_of(store, "d1")).attempt_count == 0
    assert (await run_of(store, "d1")).closed_turn == "turn"
    done = await settled(store, again, Retry("again", AT_ONCE))
    assert (done.dispatch.status, done.dispatch.attempt_count) == (DispatchStatus.QUEUED, 1)


@behaviour("UC-010")
async def test_a_step_that_is_no_progress_leaves_the_failures_before_it_counted(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1", max_attempts=2)
    await settled(store, owner, Retry("once", AT_ONCE))
    again = await claim(store)
    assert again is not None

    await committed(store, again, closes=StepClosed(1, is_progress=False))

    assert ((await dispatch_of(store, "d1")).attempt_count, (await run_of(store, "d1")).steps) == (1, 1)
    done = await settled(store, again, Retry("again", AT_ONCE), closes=StepClosed(2, is_progress=False))
    assert (done.dispatch.status, done.dispatch.attempt_count) == (DispatchStatus.DEAD_LETTER, 2)


@behaviour("UC-011")
async def test_a_commit_with_a_model_call_adds_what_it_cost_to_the_run(store: Store, clock: ManualClock) -> None:
    """Whatever becomes of its step; a step that is closed in the same commit was closed before it."""
    owner = await claimed(store, "d1")
    one, two, three = Usage(model_calls=1), Usage(model_calls=2), Usage(model_calls=3)

    await committed(store, owner, answered("turn"), usage=one)
    assert (await run_of(store, "d1")).usage == one
    await committed(store, owner, closes=StepClosed(1, one), usage=two)
    assert ((await run_of(store, "d1")).usage, (await run_of(store, "d1")).steps) == (two, 1)
    await settled(store, owner, DeadLetter("no"), usage=three)
    assert (await run_of(store, "d1")).usage == three


@behaviour("KD-005")
async def test_what_each_model_has_cost_is_the_sum_of_its_calls_in_the_log(store: Store, clock: ManualClock) -> None:
    """Also over a takeover and a repeated commit. A call without a model, or a damaged one, is in the total alone."""
    first = await claimed(store, "d1", lease_ms=1_000)
    call = InferenceComplete(message_id("turn"), Usage(10, 5, model_calls=1), 7, "small")
    for _ in range(2):
        await committed(store, first, logged(call), logged(replace(call, model="large")), number=1)
    await committed(store, first, logged(replace(call, model=None)), LoggedEvent("InferenceComplete", Raw(b"{}")))
    clock.tick(2)
    await reclaim(store)
    again = await claim(store)
    assert again is not None

    await settled(store, again, DONE, logged(call))

    run = await run_of(store, "d1")
    assert run.usage_by_model == {"small": Usage(20, 10, model_calls=2), "large": Usage(10, 5, model_calls=1)}
    [told] = [event for row in await events_of(store) for event in row.events if event.kind == "RunFinished"]
    assert opened(told).usage_by_model == run.usage_by_model


async def test_a_step_closed_with_the_settlement_counts_too(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", max_attempts=2)
    await settled(store, owner, Retry("once", AT_ONCE))
    again = await claim(store)
    assert again is not None

    done = await settled(store, again, Retry("again", AT_ONCE), answered("turn"), closes=StepClosed(1))

    assert (done.dispatch.status, done.dispatch.attempt_count, done.run.steps) == (DispatchStatus.QUEUED, 1, 1)


async def test_a_journal_keeps_the_first_to_last_entry_by_key(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, journal=[JournalEntry("b#1", Raw(b'{"n": 1}')), JournalEntry("a#1", Raw(b"null"))])
    await committed(store, owner, journal=[JournalEntry("a#2", Raw(b'"text"'))])

    journal = await store.list_journal(SCOPE, run_id("d1"))

    assert [(entry.key, bytes(entry.value)) for entry in journal] == [
        ("a#1", b"null"),
        ("a#2", b'"text"'),
        ("b#1", b'{"n": 1}'),
    ]
    assert await store.list_journal(SCOPE, run_id("other")) == []


async def test_a_suspended_run_waits_and_holds_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")

    done = await settled(store, owner, suspended())

    assert (done.dispatch.status, done.run.status) == (DispatchStatus.ACKED, RunStatus.WAITING)
    assert (done.run.termination, done.run.finished_at) == (None, None)
    assert await claim_name(store) == "d2"


async def test_one_refusal_in_a_batch_costs_its_neighbours_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    stale = await claimed(store, "d2", thread=ThreadId("thread-2"))
    await settled(store, stale)
    third = await claimed(store, "d3", thread=ThreadId("thread-3"))

    outcomes = await store.apply(
        [
            committing(owner, answered("turn")),
            settling(stale),
            committing(third, answered("turn")),
            asked("d1", thread=ThreadId("thread-4")),
            Cancel(scope=SCOPE, thread_id=ThreadId("thread-5"), run_id=run_id("nobody")),
            asked("d6", thread=ThreadId("thread-6"), offered=offer()),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [
        Committed,
        LeaseLost,
        Committed,
        Conflict,
        Missing,
        Submitted,
    ]
    assert await message_ids(store) == ["msg-d1", "turn"]
    assert await message_ids(store, ThreadId("thread-3")) == ["msg-d3", "turn"]
    assert await message_ids(store, ThreadId("thread-6")) == ["msg-d6"]


async def test_two_submits_of_one_batch_with_the_same_ids_are_told_apart(store: Store, clock: ManualClock) -> None:
    """The second is refused as if it had come a moment later, and their neighbours are stored."""
    outcomes = await store.apply(
        [
            asked("d1", thread=ThreadId("a")),
            asked("d2", thread=ThreadId("b")),
            asked("d1", thread=ThreadId("c")),
            asked("d3", thread=ThreadId("d"), dispatch=dispatch_id("d2")),
            asked("d4", thread=ThreadId("e")),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [Submitted, Submitted, Conflict, Conflict, Submitted]
    assert outcomes[2:4] == [Conflict("run", run_id("d1")), Conflict("dispatch", "d2")]
    assert [thread.thread_id for thread in await threads_in(store, ascending=True)] == ["a", "b", "e"]


@behaviour("ST-029")
async def test_a_run_counts_how_long_its_dispatches_were_held(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", lease_ms=1_500)
    clock.tick(2)
    await reclaim(store)
    assert (await run_of(store, "d1")).executing_ms == 2_000
    clock.tick(5)
    again = await claim(store)
    assert again is not None
    clock.tick(3)

    await settled(store, again)

    assert (await run_of(store, "d1")).executing_ms == 5_000
    assert owner.run.executing_ms == 0


@behaviour("RJ-001")
async def test_a_jitter_is_that_of_the_claim_that_failed(store: Store, clock: ManualClock) -> None:
    policy = RetryPolicy(10_000, 10_000, jitter=1)
    waits: list[int] = []
    for name in ("d1", "d2", "d3"):
        owner = await claimed(store, name, thread=ThreadId(name))
        done = await settled(store, owner, Retry("no", policy))
        waits.append(done.dispatch.available_at - clock.now())
        assert waits[-1] == policy.delay_ms(1, seed=owner.token)
    assert len({*waits}) == 3
