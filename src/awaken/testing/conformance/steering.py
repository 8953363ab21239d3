"""Messages for a run that is there: how they wait, are taken, changed, and what becomes of each of them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import AgentId, MessageId, RunId, ThreadId
from awaken.domain.message import Message
from awaken.domain.pending import MAX_TAKEN, MAX_TAKEN_BYTES, queue_revision
from awaken.domain.receipt import Receipt
from awaken.domain.run import CANCELLED, RunStatus
from awaken.store.contract import Store
from awaken.store.transitions import (
    Blocked,
    Busy,
    Claimed,
    Committed,
    Conflict,
    Consumed,
    Continued,
    DeadLetter,
    Edit,
    Edited,
    Ending,
    Full,
    Incomplete,
    Interrupt,
    Interrupted,
    Known,
    LeaseLost,
    Missing,
    NotOpen,
    NotWaiting,
    Outcome,
    Release,
    Reorder,
    Reordered,
    Replayed,
    Retract,
    Retracted,
    Retry,
    Settle,
    Settled,
    Staged,
    Stale,
    StepClosed,
    Submit,
    Submitted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_WORKER,
    ROUTES,
    SCOPE,
    THREAD,
    answered,
    apply,
    asked,
    calling,
    cancelled,
    claim,
    claim_name,
    claimed,
    commit,
    committed,
    committing,
    dispatch_of,
    events_of,
    finished,
    interrupt,
    kinds,
    log_of,
    message_ids,
    names,
    offer,
    queue_of,
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
from awaken.testing.conformance.tickets import approval, decided, waits_for, yes


def aimed(name: str, mode: Any = "steer", **details: Any) -> Submit:
    """A submit in a mode; whatever `Delivery` has besides is given by its name."""
    wishes = {field: details.pop(field) for field in (*details,) if field in Delivery.__struct_fields__}
    submit = asked(name, **details)
    return replace(submit, delivery=replace(submit.delivery, mode=mode, **wishes))


async def staged(store: Store, name: str, mode: Any = "steer", **details: Any) -> Staged:
    return want(Staged, await apply(store, aimed(name, mode, **details)))


async def pending_in(store: Store, thread: ThreadId = THREAD) -> list[str]:
    """What is pending, in order; and the thread counts as much."""
    found = await store.list_pending(SCOPE, thread)
    assert (await thread_of(store, thread)).pending_count == len(found)
    return [each.entry.message_id for each in found]


async def receipt(store: Store, name: str, thread: ThreadId = THREAD) -> Receipt:
    found = await store.load_receipt(SCOPE, thread, MessageId(name))
    assert found is not None, f"no message {name}"
    return found


async def fate(store: Store, name: str) -> tuple[str, str | None, int | None]:
    """The message's fate, the run that it is about, and its seq."""
    found = await receipt(store, name)
    return found.fate, found.run_id, found.seq


async def took(store: Store, owner: Claimed, takes: Any = "next_step", **details: Any) -> list[str]:
    """What a commit at a boundary takes."""
    outcome = await apply(store, replace(committing(owner, **details), takes=takes))
    assert not isinstance(outcome, LeaseLost), outcome
    assert not isinstance(outcome, Conflict), outcome
    return [message.id for message in getattr(outcome, "taken")]  # noqa: B009


def ending(owner: Claimed, *entries: Message, **details: Any) -> Settle:
    """A natural end that takes what waits for it."""
    return replace(settling(owner, DONE, *entries, **details), unless_pending=True)


# --- waiting for a run ------------------------------------------------------------------------------------------------


@behaviour("MBX-183", "MBX-146")
async def test_a_message_for_the_run_that_executes_is_stored_and_waits_for_its_next_step(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    clock.tick(1)

    outcome = await staged(store, "d2")

    assert (outcome.run.run_id, outcome.dispatch.dispatch_id) == ("run-d1", "d1")
    [waits] = await store.list_pending(SCOPE, THREAD)
    assert (waits.message, waits.entry) == (said("msg-d2"), outcome.entries[0])
    assert (waits.entry.boundary, waits.entry.revision, waits.entry.created_at) == ("next_step", 1, clock.now())
    assert await message_ids(store) == ["msg-d1"], "it is not part of the conversation yet"
    assert await names(store) == ["d1"], "it has no dispatch of its own"
    assert await store.load_run(SCOPE, run_id("d2")) is None
    assert (await kinds(store))[-1] == "MessagePended"
    assert await receipt(store, "msg-d2") == Receipt(
        message_id=MessageId("msg-d2"),
        thread_id=THREAD,
        accepted_at=clock.now(),
        path="steered",
        fate="pending",
        run_id=owner.run.run_id,
    )


@behaviour("CC-025", "PM-040")
async def test_of_two_that_go_on_with_one_run_at_once_one_is_refused_and_the_other_takes_what_is_pending(
    store: Store, clock: ManualClock
) -> None:
    """One has lost its lease and does not know; both say what they have done, and that they are at a boundary."""
    late = await claimed(store, "d1", lease_ms=1_000)
    await staged(store, "d2")
    clock.tick(2)
    await reclaim(store)
    owner = await claim(store, consumer=OTHER_WORKER)
    assert owner is not None
    commits = [
        replace(committing(each, answered(name), closes=StepClosed(1)), takes="next_step")
        for each, name in ((late, "late"), (owner, "owner"))
    ]

    outcomes = await together(store, commits)

    assert [type(outcome) for outcome in outcomes] == [LeaseLost, Committed]
    assert await message_ids(store) == ["msg-d1", "owner", "msg-d2"]
    assert await fate(store, "msg-d2") == ("consumed", run_id("d1"), 3)


@behaviour("MBX-144", "PM-014", "PM-016", "PM-018", "MBX-204", "SV-033")
async def test_a_commit_at_a_boundary_takes_what_waits_for_it_in_one_step(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    await staged(store, "d3")
    clock.tick(1)
    seen = (await thread_of(store)).event_count

    outcome = await apply(store, replace(committing(owner, answered("turn"), closes=StepClosed(1)), takes="next_step"))

    assert [message.id for message in getattr(outcome, "taken")] == ["msg-d2", "msg-d3"]  # noqa: B009
    assert await message_ids(store) == ["msg-d1", "turn", "msg-d2", "msg-d3"], "behind what the step brought"
    assert await pending_in(store) == []
    assert await kinds(store, after=seen) == [
        "MessageCommitted", "MessageCommitted", "MessageConsumed", "MessageCommitted", "MessageConsumed",
    ]  # fmt: skip
    assert {row.run_id for row in await events_of(store, after=seen)} == {"run-d1"}
    run = await run_of(store, "d1")
    assert (run.taken, run.input) == (2, owner.run.input)
    found = await receipt(store, "msg-d3")
    assert (found.fate, found.run_id, found.seq, found.step_index) == ("consumed", "run-d1", 4, 1)
    assert (found.path, found.settled_at) == ("steered", clock.now())


@behaviour("PM-021")
async def test_a_boundary_at_which_nothing_waits_is_a_commit_like_any_other(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    assert await took(store, owner) == []
    assert (await run_of(store, "d1")).taken == 0


async def test_every_answer_to_an_owner_says_how_much_it_would_take_at_its_next_step(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    assert (owner.pending, (await committed(store, owner)).pending) == (0, 0)

    await staged(store, "d2")
    await staged(store, "d3")
    await staged(store, "later", "follow_up")
    assert (await committed(store, owner)).pending == 2

    await settled(store, owner, Release("handed over"))
    again = await claim(store)
    assert again is not None
    assert again.pending == 2
    assert await took(store, again) == ["msg-d2", "msg-d3"]
    assert (await committed(store, again)).pending == 0


@behaviour("MBX-202", "SV-031")
async def test_what_a_run_takes_at_several_boundaries_adds_up(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    assert await took(store, owner, closes=StepClosed(1)) == ["msg-d2"]
    await staged(store, "d3")
    assert await took(store, owner, closes=StepClosed(2)) == ["msg-d3"]

    assert (await run_of(store, "d1")).taken == 2
    assert [(await receipt(store, each)).step_index for each in ("msg-d2", "msg-d3")] == [1, 2]
    assert await message_ids(store, run_id=owner.run.run_id) == ["msg-d1", "msg-d2", "msg-d3"]


async def test_a_commit_asked_again_answers_with_what_it_took_and_takes_nothing_more(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    asking = replace(committing(owner, number=owner.commit_no + 1), takes="next_step")
    await apply(store, asking)
    await staged(store, "d3")
    before = await snapshot(store)

    again: Any = await apply(store, asking)

    assert ([message.id for message in again.taken], again.repeated, again.appended) == (["msg-d2"], True, ())
    assert again.pending == 1
    assert await snapshot(store) == before


@behaviour("PM-015", "PM-017")
async def test_who_may_not_write_the_thread_takes_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    before = await snapshot(store)

    want(LeaseLost, await apply(store, replace(committing(owner, token="another"), takes="next_step")))
    want(Conflict, await apply(store, replace(committing(owner, said("msg-d1")), takes="next_step")))

    assert await snapshot(store) == before
    assert await pending_in(store) == ["msg-d2"]


async def test_a_run_that_was_asked_to_stop_takes_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    await cancelled(store, "d1")

    assert await took(store, owner) == []
    assert (await committed(store, owner)).pending == 0
    assert await pending_in(store) == ["msg-d2"]


async def test_a_run_takes_a_hundred_messages_at_once_and_no_more_than_a_mebibyte(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    many = [said(f"m{number:03}") for number in range(MAX_TAKEN + 5)]
    await staged(store, "d2", messages=many)

    assert len(await took(store, owner)) == MAX_TAKEN
    assert len(await took(store, owner)) == 5

    large = [said(f"large-{number}", "x" * (MAX_TAKEN_BYTES // 2)) for number in range(3)]
    await staged(store, "d3", messages=[said("huge", "x" * (MAX_TAKEN_BYTES + 1)), *large])
    assert await took(store, owner) == ["huge"], "one that is larger than that comes alone"
    assert await took(store, owner) == ["large-0"]
    assert await took(store, owner) == ["large-1"]


async def test_what_is_pending_has_a_bound_and_what_exceeds_it_stores_nothing(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await staged(store, "d2", messages=[said("one"), said("two")])
    before = await snapshot(store)

    refused = await apply(store, replace(aimed("d3", messages=[said("three"), said("four")]), max_pending=3))

    assert refused == Full(3, pending=True)
    assert await snapshot(store) == before
    want(Staged, await apply(store, replace(aimed("d3", messages=[said("three")]), max_pending=3)))


# --- the table of modes -----------------------------------------------------------------------------------------------


async def test_every_mode_but_resume_starts_a_run_where_nothing_is_to_be_done(store: Store, clock: ManualClock) -> None:
    for mode in ("queue", "reject", "interrupt", "steer", "follow_up"):
        thread = ThreadId(f"thread-of-{mode}")
        outcome = want(Submitted, await apply(store, aimed(mode, mode, thread=thread, offered=offer())))
        assert outcome.claimed is not None, mode
        assert (await receipt(store, f"msg-{mode}", thread)).path == "started"
        want(Settled, await settle(store, outcome.claimed))
        assert want(Submitted, await apply(store, aimed(f"{mode}-2", mode, thread=thread))).claimed is None
    assert await apply(store, aimed("r", "resume", thread=ThreadId("new"))) == NotWaiting(None)
    await finished(store, "d1")
    assert await apply(store, aimed("d2", "resume")) == NotWaiting(None)
    assert await apply(store, aimed("d2", "steer", fallback_to_new_run=False)) == NotOpen(None)


@behaviour("SRV-012", "OS-003")
async def test_of_a_hundred_that_want_an_idle_thread_one_is_accepted(store: Store, clock: ManualClock) -> None:
    outcomes = await together(store, [aimed(f"d{number}", "reject") for number in range(100)])

    accepted = [outcome for outcome in outcomes if isinstance(outcome, Submitted)]
    assert len(accepted) == 1
    assert [type(outcome) for outcome in outcomes].count(Busy) == 99
    assert len(await names(store)) == 1
    assert {outcome.run_id for outcome in outcomes if isinstance(outcome, Busy)} == {accepted[0].run.run_id}


async def test_reject_is_refused_while_anything_executes_is_queued_or_waits(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    assert await apply(store, aimed("d2", "reject")) == Busy(run_id("d1"))
    await settled(store, owner, suspended())
    assert await apply(store, aimed("d2", "reject")) == Busy(run_id("d1"))
    await cancelled(store, "d1")
    await submitted(store, "d3", delay_ms=1_000)
    assert await apply(store, aimed("d2", "reject")) == Busy(None), "it is not due yet"
    clock.tick(1_000)
    assert await apply(store, aimed("d2", "reject")) == Busy(run_id("d3"))


@behaviour("MBX-145", "MBX-281")
async def test_a_message_for_a_thread_whose_run_only_waits_in_the_queue_is_queued_behind_it(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1")

    for name, mode in (("d2", "steer"), ("d3", "follow_up")):
        want(Submitted, await apply(store, aimed(name, mode)))

    assert await queue_of(store) == ["d1", "d2", "d3"]
    assert (await receipt(store, "msg-d2")).path == "queued"


@behaviour("OS-003", "OS-009")
async def test_a_run_that_is_to_stop_is_steered_no_more_and_what_was_for_it_is_queued(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await cancelled(store, "d1")

    want(Submitted, await apply(store, aimed("d2")))
    refused = await apply(store, aimed("d3", target_run_id=run_id("d1"), fallback_to_new_run=False))

    assert want(NotOpen, refused).run == await run_of(store, "d1")
    assert await queue_of(store) == ["d2"]
    await settled(store, owner)


async def test_a_waiting_run_goes_on_with_what_steers_its_thread(store: Store, clock: ManualClock) -> None:
    for mode in ("queue", "steer", "resume"):
        thread = ThreadId(f"thread-of-{mode}")
        owner = await claimed(store, f"first-{mode}", thread=thread)
        await settled(store, owner, suspended())

        outcome = want(Submitted, await apply(store, aimed(f"input-{mode}", mode, thread=thread)))

        assert (outcome.run.run_id, outcome.dispatch.why) == (owner.run.run_id, "input"), mode


async def test_a_follow_up_of_a_waiting_thread_opens_a_run_of_its_own(store: Store, clock: ManualClock) -> None:
    await settled(store, await claimed(store, "d1"), suspended())

    assert want(Submitted, await apply(store, aimed("d2", "follow_up"))).run.run_id == "run-d2"


async def test_resume_is_refused_while_the_thread_has_something_else_to_do(store: Store, clock: ManualClock) -> None:
    await settled(store, await claimed(store, "d1"), suspended())
    before = await claimed(store, "d2", metadata={"own": True})

    assert await apply(store, aimed("d3", "resume")) == NotWaiting(None)
    busy = await apply(store, aimed("d3", "resume", target_run_id=run_id("d2")))
    assert want(NotWaiting, busy).run == before.run


@behaviour("D-011")
async def test_a_waiting_run_that_is_named_goes_on_whatever_its_thread_does(store: Store, clock: ManualClock) -> None:
    await settled(store, await claimed(store, "d1"), suspended())
    await claimed(store, "d2", metadata={"own": True})
    await submitted(store, "d3")

    outcome = want(Submitted, await apply(store, aimed("input", "resume", target_run_id=run_id("d1"))))

    assert (outcome.run.run_id, outcome.dispatch.status) == ("run-d1", DispatchStatus.QUEUED)
    assert await queue_of(store) == ["input", "d3"], "at the place of the run's first dispatch"


@behaviour("PM-034", "MBX-186", "MBX-187")
async def test_more_input_for_a_waiting_run_comes_with_the_dispatch_that_is_queued_for_it(
    store: Store, clock: ManualClock
) -> None:
    await settled(store, await claimed(store, "d1"), suspended())
    want(Submitted, await apply(store, aimed("one", "resume")))
    more = await staged(store, "two", "steer", target_run_id=run_id("d1"))
    assert (more.run.run_id, more.entries[0].boundary) == ("run-d1", "resume_input")

    taken = await claim(store)

    assert taken is not None
    assert ([message.id for message in taken.messages], taken.pending) == (["msg-one", "msg-two"], 0)
    assert await message_ids(store) == ["msg-d1", "msg-one", "msg-two"]
    assert await pending_in(store) == []


@behaviour("TK-080")
async def test_input_for_a_run_whose_calls_are_open_is_taken_behind_their_answers(
    store: Store, clock: ManualClock
) -> None:
    """Taken before, it would stand between a call and its answer, and the run would go on without having made it."""
    turn = calling("turn", "call-1", "call-2")
    await waits_for(store, "d1", approval("call-1"), approval("call-2"), entries=(turn,))
    await staged(store, "more", target_run_id=run_id("d1"))
    await decided(store, {"call-1": yes()})

    owner = await claim(store)

    assert owner is not None
    assert ([message.id for message in owner.messages], owner.pending, owner.run.open_turn) == (["msg-d1"], 1, 2)
    assert await message_ids(store) == ["msg-d1", "turn"]
    await settled(store, owner, suspended(approval("call-2"), then="last"), result_of("call-1"))
    assert await pending_in(store) == ["msg-more"], "it waits as long as the run does"

    await decided(store, {"call-2": yes()})
    owner = await claim(store)
    assert owner is not None and owner.pending == 1
    closes = StepClosed(1, turn=MessageId("turn"))
    outcome = await apply(store, replace(committing(owner, result_of("call-2"), closes=closes), takes="next_step"))
    assert [message.id for message in getattr(outcome, "taken")] == ["msg-more"]  # noqa: B009
    assert await message_ids(store) == ["msg-d1", "turn", "result-call-1", "result-call-2", "msg-more"]


async def test_what_names_a_run_is_refused_where_there_is_none_or_it_has_ended(
    store: Store, clock: ManualClock
) -> None:
    await finished(store, "d1")
    ended = await run_of(store, "d1")
    before = await snapshot(store)

    for mode in ("steer", "follow_up", "resume", "interrupt"):
        assert await apply(store, aimed("d2", mode, target_run_id=run_id("d1"))) == NotOpen(ended)
        unknown = await apply(store, aimed("d2", mode, target_run_id=RunId("nobody")))
        assert want(Missing, unknown).what == "run"
    elsewhere = await apply(store, aimed("d2", target_run_id=run_id("d1"), thread=ThreadId("elsewhere")))
    assert want(Missing, elsewhere).what == "run"

    assert await snapshot(store) == before
    want(Submitted, await apply(store, aimed("d2", "queue", target_run_id=run_id("d1"))))


@behaviour("MBX-282")
async def test_a_message_is_taken_by_the_run_that_it_names_wherever_that_is_meanwhile(
    store: Store, clock: ManualClock
) -> None:
    """Queued, in back-off, handed over, taken back from a dead process: it is the same run."""
    await submitted(store, "d1")
    await staged(store, "queued", target_run_id=run_id("d1"))
    for name, ends in (("backoff", Retry("failed")), ("handover", Release("shutdown"))):
        owner = await claim(store)
        assert owner is not None
        assert owner.pending > 0
        await settled(store, owner, ends)
        await staged(store, name, target_run_id=run_id("d1"))
        clock.tick(60_000)
    await claim(store)
    clock.tick(60_000)
    await reclaim(store)
    await staged(store, "dead", target_run_id=run_id("d1"))
    owner = await claim(store)
    assert owner is not None

    assert await took(store, owner) == ["msg-queued", "msg-backoff", "msg-handover", "msg-dead"]


async def test_what_is_for_another_run_waits_for_that_one(store: Store, clock: ManualClock) -> None:
    first = await claimed(store, "d1")
    await submitted(store, "d2")
    await staged(store, "for-d2", target_run_id=run_id("d2"))
    await staged(store, "for-d1")

    assert (await committed(store, first)).pending == 1
    assert await took(store, first) == ["msg-for-d1"]
    await settled(store, first)
    second = await claim(store)
    assert second is not None
    assert second.dispatch.dispatch_id == "d2"
    assert await took(store, second) == ["msg-for-d2"]


# --- the natural end --------------------------------------------------------------------------------------------------


@behaviour("MBX-280")
async def test_a_natural_end_that_finds_something_waiting_is_none(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "later", "follow_up")
    assert await took(store, owner) == [], "not between two steps"
    clock.tick(1)

    outcome = want(Continued, await apply(store, ending(owner, answered("answer"), closes=StepClosed(1))))

    assert [message.id for message in outcome.taken] == ["msg-later"]
    assert await message_ids(store) == ["msg-d1", "answer", "msg-later"]
    assert outcome.run == await run_of(store, "d1")
    assert (outcome.run.status, outcome.run.steps, outcome.run.taken) == (RunStatus.RUNNING, 1, 1)
    assert (await dispatch_of(store, "d1")).claim_token == owner.token
    assert "RunFinished" not in await kinds(store)

    want(Settled, await apply(store, ending(owner, answered("second"))))
    assert (await run_of(store, "d1")).status is RunStatus.DONE
    assert (await run_of(store, "d1")).executing_ms == 1_000, "the time of its claim counts once"


async def test_a_natural_end_takes_what_waits_for_the_next_step_too(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "steered")
    await staged(store, "later", "follow_up")

    outcome = want(Continued, await apply(store, ending(owner)))

    assert [message.id for message in outcome.taken] == ["msg-steered", "msg-later"]


async def test_an_end_that_was_continued_answers_the_same_when_asked_again(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    asking = ending(owner, answered("answer"), number=owner.commit_no + 1)
    first = want(Continued, await apply(store, asking))
    before = await snapshot(store)

    again = want(Continued, await apply(store, asking))

    assert (again.taken, again.repeated, again.appended) == (first.taken, True, ())
    assert again.run == first.run
    assert await snapshot(store) == before


async def test_only_a_natural_end_that_nobody_asked_for_goes_on(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "d2")
    await cancelled(store, "d1")

    want(Settled, await apply(store, ending(owner)))

    assert await pending_in(store) == []


# --- what a run leaves ------------------------------------------------------------------------------------------------


@behaviour("PM-037", "MBX-185", "SV-037", "D-016")
async def test_what_a_run_leaves_when_it_ends_is_queued_as_a_run_in_the_same_step(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "two", messages=[said("m1"), said("m2")], target_run_id=run_id("d1"))
    await staged(store, "three", messages=[said("m3")])
    await submitted(store, "behind")

    outcome = await settled(store, owner)

    assert outcome.ready_in_ms == 0
    assert await pending_in(store) == []
    [left, behind] = await queue_of(store)
    assert behind == "behind", "it came before that"
    dispatch = await dispatch_of(store, left)
    run = await store.load_run(SCOPE, dispatch.run_id)
    assert run is not None
    assert (run.status, run.request.input_message_ids) == (RunStatus.CREATED, ("m1", "m2", "m3"))
    assert await fate(store, "m3") == ("pending", run.run_id, None)
    assert (await receipt(store, "m3")).path == "steered"

    taken = await claim(store)
    assert taken is not None
    assert [message.id for message in taken.messages] == ["m1", "m2", "m3"]
    assert await fate(store, "m3") == ("consumed", run.run_id, 4)


async def test_what_is_left_goes_before_what_was_queued_later_also_where_the_end_takes_up_the_next(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "left")
    await submitted(store, "behind")

    outcome = await settled(store, owner, offered=offer())

    assert (outcome.claimed, outcome.ready_in_ms) == (None, 0)
    taken = await claim(store)
    assert taken is not None
    assert [message.id for message in taken.messages] == ["msg-left"]


async def test_however_a_run_ends_nothing_is_left_waiting_for_it(store: Store, clock: ManualClock) -> None:
    for number, end in enumerate(("ack", "dead", "suspend", "cancel", "reclaimed")):
        thread = ThreadId(f"thread-{end}")
        owner = await claimed(store, f"d{number}", thread=thread, max_attempts=1)
        await staged(store, f"s{number}", thread=thread)
        if end == "cancel":
            await cancelled(store, f"d{number}", thread=thread)
            await settled(store, owner, Retry("stopped"))
        elif end == "reclaimed":
            await cancelled(store, f"d{number}", thread=thread)
            clock.tick(60_000)
            await reclaim(store)
        else:
            endings: dict[str, Ending] = {"ack": DONE, "dead": DeadLetter("no"), "suspend": suspended()}
            await settled(store, owner, endings[end])
        assert await pending_in(store, thread) == [], end
        assert len(await queue_of(store, thread)) == 1, end
        assert (await thread_of(store, thread)).queued_count == 1
        found = await claim(store)
        assert found is not None
        assert [message.id for message in found.messages] == [f"msg-s{number}"], end
        await settled(store, found)


async def test_a_cancelled_queued_run_leaves_what_was_for_it_as_a_run(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await staged(store, "d2", target_run_id=run_id("d1"))

    await cancelled(store, "d1")

    taken = await claim(store)
    assert taken is not None
    assert [message.id for message in taken.messages] == ["msg-d2"]
    assert await fate(store, "msg-d1") == ("cancelled", "run-d1", None)


@behaviour("PM-032")
async def test_what_may_open_no_run_is_retracted_when_its_run_ends(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "only", target_run_id=run_id("d1"), fallback_to_new_run=False)
    await staged(store, "any")
    seen = (await thread_of(store)).event_count

    await settled(store, owner)

    assert await fate(store, "msg-only") == ("retracted", "run-d1", None)
    assert len(await queue_of(store)) == 1
    assert await kinds(store, after=seen) == ["PendingRetracted", "RunFinished", "RunQueued"]


@behaviour("PM-026", "PM-036", "PM-035")
async def test_a_message_that_wants_to_come_alone_gets_a_run_of_its_own(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "a", messages=[said("m1"), said("m2")])
    await staged(store, "b", messages=[said("m3"), said("m4")], granularity="one")
    await staged(store, "c", messages=[said("m5")], barrier=True)
    await staged(store, "e", messages=[said("m6")])

    await settled(store, owner)

    brought: list[list[str]] = []
    while (taken := await claim(store)) is not None:
        brought.append([message.id for message in taken.messages])
        await settled(store, taken)
    assert brought == [["m1", "m2"], ["m3"], ["m4"], ["m5"], ["m6"]]


async def test_messages_for_different_agents_share_no_run(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "a")
    await staged(store, "b", agent=AgentId("agent-2"))
    await staged(store, "c", metadata={"own": True}, agent=AgentId("agent-2"))

    await settled(store, owner)

    assert len(await queue_of(store)) == 3


async def test_messages_that_each_open_a_run_are_all_put_off_as_long(store: Store, clock: ManualClock) -> None:
    late = aimed("d1", "queue", messages=[said("m1"), said("m2")], granularity="one", delay_ms=1_000)
    want(Submitted, await apply(store, late))

    assert await claim(store) is None
    queue = await store.list_queue(SCOPE, THREAD)
    assert [dispatch.available_at for dispatch in queue] == [clock.now() + 1_000] * 2
    assert await store.next_due_in_ms(ROUTES) == 1_000


async def test_messages_that_want_to_come_alone_open_a_run_each_where_nothing_takes_them(
    store: Store, clock: ManualClock
) -> None:
    asked_for = aimed("d1", "queue", messages=[said("m1"), said("m2")], granularity="one", offered=offer())

    outcome = want(Submitted, await apply(store, asked_for))

    assert outcome.claimed is not None
    assert [message.id for message in outcome.claimed.messages] == ["m1"]
    assert (await thread_of(store)).queued_count == 1
    want(Replayed, await apply(store, asked_for))
    await settled(store, outcome.claimed)
    second = await claim(store)
    assert second is not None
    assert [message.id for message in second.messages] == ["m2"]
    full = aimed("d2", "queue", messages=[said("m3"), said("m4")], granularity="one", max_queued=1)
    assert await apply(store, full) == Full(1)


# --- interrupting -----------------------------------------------------------------------------------------------------


async def test_a_submit_that_repeats_an_interrupt_is_queued_behind_what_came_since(
    store: Store, clock: ManualClock
) -> None:
    """It clears nothing, goes before nothing, and what is due does not wait for it, whether it has a delay or not."""
    again: dict[str, Any] = {"interrupt_id": "once", "offered": offer()}
    await submitted(store, "d0")
    await apply(store, aimed("d1", "interrupt", interrupt_id="once"))
    await submitted(store, "d2")

    due = want(Submitted, await apply(store, aimed("d3", "interrupt", **again)))
    later = want(Submitted, await apply(store, aimed("d4", "interrupt", delay_ms=5_000, **again)))

    assert (due.claimed, due.interrupted, later.claimed, later.interrupted) == (None, None, None, None)
    assert later.ready_in_ms == 0, "what is due is told of"
    for name in ("d1", "d2", "d3"):
        owner = await claim(store)
        assert owner is not None and owner.dispatch.dispatch_id == name
        await settled(store, owner)
    assert await claim_name(store) is None
    clock.tick(5_000)
    assert await claim_name(store) == "d4"


@behaviour("MBX-103", "MBX-190")
async def test_a_submit_that_interrupts_clears_what_is_queued_and_takes_its_place(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1")
    await submitted(store, "d2")

    outcome = want(Submitted, await apply(store, aimed("d3", "interrupt", offered=offer())))

    assert outcome.claimed is not None
    assert outcome.dispatch.dispatch_id == "d3"
    interrupted = want(Interrupted, outcome.interrupted)
    assert [dispatch.dispatch_id for dispatch in interrupted.superseded] == ["d1", "d2"]
    assert (interrupted.epoch, interrupted.active) == (1, None)
    assert await names(store, DispatchStatus.SUPERSEDED) == ["d1", "d2"]
    runs = [await run_of(store, name) for name in ("d1", "d2")]
    assert [(run.status, run.termination) for run in runs] == [(RunStatus.DONE, CANCELLED)] * 2
    assert [run.dispatch_id for run in runs] == ["d1", "d2"]
    assert await fate(store, "msg-d1") == ("superseded", "run-d1", None)
    assert await message_ids(store) == ["msg-d3"]


async def test_a_submit_that_interrupts_waits_for_the_settlement_of_what_executes(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "pending")

    outcome = want(Submitted, await apply(store, aimed("d2", "interrupt", offered=offer())))

    assert outcome.claimed is None
    assert want(Interrupted, outcome.interrupted).active == owner.dispatch
    assert want(LeaseLost, await commit(store, owner)).reason == "interrupted"
    assert await fate(store, "msg-pending") == ("superseded", "run-d1", None)
    assert await pending_in(store) == []
    settlement = await settled(store, owner, offered=offer())
    assert settlement.dispatch.status is DispatchStatus.SUPERSEDED
    assert settlement.claimed is not None
    assert settlement.claimed.dispatch.dispatch_id == "d2"


async def test_a_submit_that_interrupts_ends_what_waits_and_closes_its_calls_first(
    store: Store, clock: ManualClock
) -> None:
    await settled(store, await claimed(store, "d1"), suspended(), calling("turn", "call-1"))

    outcome = want(Submitted, await apply(store, aimed("d2", "interrupt", offered=offer())))

    assert [run.run_id for run in want(Interrupted, outcome.interrupted).ended] == ["run-d1"]
    taken = outcome.claimed or await claim(store)
    assert taken is not None
    log = [(each.message.tool_call_id or each.message.id) for each in await log_of(store)]
    assert log == ["msg-d1", "turn", "call-1", "msg-d2"]


async def test_a_submit_that_rolls_back_hides_what_the_run_that_executes_was_given_and_has_said(
    store: Store, clock: ManualClock
) -> None:
    await finished(store, "d0")
    owner = await claimed(store, "d1")
    await committed(store, owner, answered("half"))

    outcome = want(Submitted, await apply(store, aimed("d2", "rollback")))

    assert want(Interrupted, outcome.interrupted).active == owner.dispatch
    assert await store.list_spans(SCOPE, THREAD) == []
    await settled(store, owner)
    assert [(span.first_seq, span.last_seq, span.why) for span in await store.list_spans(SCOPE, THREAD)] == [
        (2, 3, "rolled_back")
    ]
    assert (await run_of(store, "d1")).hide_requested_at is not None
    taken = await claim(store)
    assert taken is not None
    assert taken.dispatch.dispatch_id == "d2"


async def test_a_submit_that_rolls_back_hides_a_run_that_waits_only_where_none_executes(
    store: Store, clock: ManualClock
) -> None:
    await settled(store, await claimed(store, "d1"), suspended(), answered("asked"))

    outcome = want(Submitted, await apply(store, aimed("d2", "rollback", offered=offer())))

    assert [run.run_id for run in want(Interrupted, outcome.interrupted).ended] == ["run-d1"]
    assert [(span.first_seq, span.last_seq) for span in await store.list_spans(SCOPE, THREAD)] == [(1, 2)]
    assert outcome.claimed is not None
    want(Submitted, await apply(store, aimed("d3", "rollback", thread=ThreadId("idle"))))


@behaviour("MBX-205", "SV-034")
async def test_a_submit_that_a_barrier_holds_up_says_which_and_changes_nothing(
    store: Store, clock: ManualClock
) -> None:
    await claimed(store, "d1")
    await staged(store, "before")
    await staged(store, "wall", barrier=True)
    await submitted(store, "d2")
    before = await snapshot(store)

    assert await apply(store, aimed("d3", "interrupt")) == Blocked(MessageId("msg-wall"))

    assert await snapshot(store) == before


@behaviour("MBX-206", "SV-035")
async def test_nothing_else_holds_up_a_submit_that_interrupts(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await staged(store, "before")

    want(Submitted, await apply(store, aimed("d3", "interrupt")))


async def test_submits_that_share_an_interrupt_clear_the_thread_once(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    want(Submitted, await apply(store, aimed("d2", "interrupt", interrupt_id="i1")))
    want(Submitted, await apply(store, aimed("d3", "interrupt", interrupt_id="i1")))

    assert await queue_of(store) == ["d2", "d3"]
    again = want(Interrupted, await apply(store, Interrupt(scope=SCOPE, thread_id=THREAD, id="i1")))
    assert (again.epoch, again.superseded, again.appended) == (1, (), ())
    other = want(Interrupted, await apply(store, Interrupt(scope=SCOPE, thread_id=THREAD, id="i2")))
    assert (other.epoch, len(other.superseded)) == (2, 2)


async def test_an_interrupt_that_makes_its_thread_is_recognised_when_it_is_repeated(
    store: Store, clock: ManualClock
) -> None:
    for mode in ("interrupt", "rollback"):
        thread = ThreadId(f"made-by-{mode}")
        want(Submitted, await apply(store, aimed(f"{mode}-1", mode, interrupt_id="i1", thread=thread)))
        again = want(Submitted, await apply(store, aimed(f"{mode}-2", mode, interrupt_id="i1", thread=thread)))

        assert (again.interrupted, await queue_of(store, thread)) == (None, [f"{mode}-1", f"{mode}-2"])
        told = want(Interrupted, await apply(store, Interrupt(scope=SCOPE, thread_id=thread, id="i1")))
        assert (told.superseded, told.appended) == ((), ())
        other = want(Submitted, await apply(store, aimed(f"{mode}-3", mode, interrupt_id="i2", thread=thread)))
        assert other.interrupted is not None and await queue_of(store, thread) == [f"{mode}-3"]


async def test_an_interrupt_gives_every_message_that_nobody_took_its_fate(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await staged(store, "pending")
    await submitted(store, "queued")
    await staged(store, "aimed", target_run_id=run_id("queued"))

    await interrupt(store)
    await settled(store, owner)

    for name in ("pending", "queued", "aimed"):
        assert (await fate(store, f"msg-{name}"))[0] == "superseded", name
    assert (await fate(store, "msg-d1"))[0] == "consumed", "it was taken, whatever became of its run"
    assert await claim(store) is None


# --- repetition -------------------------------------------------------------------------------------------------------


@behaviour("D-013")
async def test_a_message_sent_again_is_answered_with_the_run_that_it_is_for(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    asking = aimed("d2")
    await apply(store, asking)
    before = await snapshot(store)

    assert want(Replayed, await apply(store, asking)).run == await run_of(store, "d1")
    assert await snapshot(store) == before

    await took(store, owner)
    assert want(Replayed, await apply(store, asking)).run.run_id == "run-d1"
    changed = aimed("d2", messages=[said("msg-d2", "something else")])
    assert await apply(store, changed) == Conflict("message", "msg-d2")


@behaviour("D-013")
async def test_a_message_that_fell_to_a_run_of_its_own_is_answered_with_that_one(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    asking = aimed("d2")
    await apply(store, asking)
    await settled(store, owner)
    [name] = await queue_of(store)

    again = want(Replayed, await apply(store, asking))

    assert again.dispatch == await dispatch_of(store, name)
    assert not isinstance(again, Known)


# --- fates ------------------------------------------------------------------------------------------------------------


@behaviour("MBX-188", "MBX-199", "PM-019")
async def test_a_message_that_is_taken_as_it_is_accepted_is_never_pending(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")

    found = await receipt(store, "msg-d1")

    assert (found.path, found.fate, found.seq) == ("started", "consumed", 1)
    assert found.settled_at == found.accepted_at == clock.now()


async def test_every_message_that_came_with_a_submit_ends_in_one_way(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d2")
    assert await fate(store, "msg-d1") == ("pending", "run-d1", None)
    clock.tick(1)
    await cancelled(store, "d2")
    found = await receipt(store, "msg-d2")
    assert (found.fate, found.path, found.settled_at) == ("cancelled", "queued", clock.now())
    clock.tick(1)
    taken = await claim(store)
    assert taken is not None
    found = await receipt(store, "msg-d1")
    assert (found.fate, found.path, found.settled_at) == ("consumed", "queued", clock.now())

    await interrupt(store)
    await settled(store, taken, Retry("failed"))
    assert await receipt(store, "msg-d1") == found, "it is final"


async def test_a_receipt_is_found_by_the_message_alone_where_one_thread_has_it(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1")
    other = ThreadId("thread-2")
    await submitted(store, "d2", thread=other, messages=[said("msg-d1"), said("msg-d2")])

    assert set(await store.threads_of_message(SCOPE, MessageId("msg-d1"), limit=10)) == {THREAD, other}
    assert await store.threads_of_message(SCOPE, MessageId("msg-d2"), limit=10) == [other]
    assert await store.threads_of_message(SCOPE, MessageId("nothing"), limit=10) == []
    assert await store.load_receipt(SCOPE, THREAD, MessageId("msg-d2")) is None
    assert await store.load_receipt(SCOPE, ThreadId("nowhere"), MessageId("msg-d2")) is None


# --- changing what waits ----------------------------------------------------------------------------------------------


def editing(name: str, text: str | None = None, **details: Any) -> Edit:
    message = None if text is None else said(name, text)
    return Edit(scope=SCOPE, thread_id=THREAD, message_id=MessageId(name), message=message, **details)


def retracting(name: str, **details: Any) -> Retract:
    return Retract(scope=SCOPE, thread_id=THREAD, message_id=MessageId(name), **details)


def reordering(*order: str, **details: Any) -> Reorder:
    return Reorder(scope=SCOPE, thread_id=THREAD, message_ids=tuple(map(MessageId, order)), **details)


async def three(store: Store) -> Claimed:
    """A run, and three messages that wait for it."""
    owner = await claimed(store, "d1")
    await staged(store, "d2", messages=[said("a"), said("b"), said("c")])
    return owner


@behaviour("PM-001", "PM-013")
async def test_what_is_pending_can_be_edited_put_in_order_and_retracted(store: Store, clock: ManualClock) -> None:
    owner = await three(store)
    before = [each.entry for each in await store.list_pending(SCOPE, THREAD)]

    changed = want(Edited, await apply(store, editing("b", "better", revision=1, boundary="on_natural_end")))
    assert (changed.message.text, changed.revision) == ("better", 2)
    assert changed.pending is not None
    assert changed.pending.boundary == "on_natural_end"
    moved = want(Reordered, await apply(store, reordering("c", "a", "b")))
    assert [(entry.message_id, entry.revision) for entry in moved.entries] == [("c", 2), ("a", 2), ("b", 3)]
    assert queue_revision(moved.entries) != queue_revision(before)
    want(Retracted, await apply(store, retracting("a", revision=2)))

    found = await store.list_pending(SCOPE, THREAD)
    assert [(each.entry.message_id, each.message.text) for each in found] == [("c", "the text of c"), ("b", "better")]
    assert await fate(store, "a") == ("retracted", "run-d1", None)
    assert await took(store, owner) == ["c"]
    assert [message.id for message in want(Continued, await apply(store, ending(owner))).taken] == ["b"]
    assert (await kinds(store)).count("PendingEdited") == 4


@behaviour("PM-006", "PM-007")
async def test_a_change_of_a_revision_that_is_gone_changes_nothing(store: Store, clock: ManualClock) -> None:
    await three(store)
    await apply(store, editing("a", "second", revision=1))
    revision = queue_revision([each.entry for each in await store.list_pending(SCOPE, THREAD)])
    before = await snapshot(store)

    assert await apply(store, editing("a", "third", revision=1)) == Stale(2)
    assert await apply(store, retracting("a", revision=1)) == Stale(2)
    assert await apply(store, reordering("c", "b", "a", revision="another")) == Stale(revision)

    assert await snapshot(store) == before
    assert (await pending_in(store)) == ["a", "b", "c"]


@behaviour("PM-008", "PM-009")
async def test_an_order_names_everything_that_is_pending_and_nothing_else(store: Store, clock: ManualClock) -> None:
    owner = await three(store)
    await submitted(store, "d3")
    before = await snapshot(store)

    assert await apply(store, reordering("c", "a")) == Incomplete((MessageId("b"),))
    assert await apply(store, reordering("c", "a", "a")) == Incomplete((MessageId("b"),))
    assert await apply(store, reordering("c", "a", "b", "nothing")) == Missing("message", "nothing")
    assert await apply(store, reordering("c", "a", "b", "msg-d1")) == Consumed(MessageId("msg-d1"), "consumed")

    assert await snapshot(store) == before
    assert await took(store, owner) == ["a", "b", "c"]
    assert await apply(store, reordering("c", "b", "a")) == Consumed(MessageId("c"), "consumed")


@behaviour("PM-011", "SV-039", "MBX-197", "PM-022")
async def test_what_is_taken_can_be_changed_no_more(store: Store, clock: ManualClock) -> None:
    owner = await three(store)
    await took(store, owner)
    before = await snapshot(store)

    for change in (editing("a", "too late"), retracting("a"), editing("msg-d1", "too late"), retracting("msg-d1")):
        assert want(Consumed, await apply(store, change)).fate == "consumed"
    assert await apply(store, editing("nothing", "text")) == Missing("message", "nothing")

    assert await snapshot(store) == before


async def test_a_change_that_is_asked_again_answers_as_before(store: Store, clock: ManualClock) -> None:
    await three(store)
    for change in (editing("a", "better", revision=1), retracting("b", revision=1), reordering("c", "a")):
        first = await apply(store, change)
        before = await snapshot(store)
        again: Outcome = await apply(store, change)
        assert type(again) is type(first)
        assert again.appended == ()
        assert await snapshot(store) == before


async def test_an_edited_message_that_is_sent_again_as_it_was_first_is_the_same(
    store: Store, clock: ManualClock
) -> None:
    await claimed(store, "d1")
    asking = aimed("d2")
    await apply(store, asking)
    await apply(store, editing("msg-d2", "better"))
    await apply(store, editing("msg-d2", "best"))

    want(Replayed, await apply(store, asking))
    edited = aimed("d2", messages=[said("msg-d2", "best")])
    assert await apply(store, edited) == Conflict("message", "msg-d2")


@behaviour("MBX-203", "SV-032")
async def test_a_message_of_a_queued_run_can_be_changed_until_its_dispatch_is_claimed(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1", messages=[said("a"), said("b")])

    changed = want(Edited, await apply(store, editing("a", "better")))
    assert (changed.pending, changed.revision) == (None, 2)
    assert await apply(store, editing("a", barrier=True)) == Conflict("message", "a")
    want(Retracted, await apply(store, retracting("b")))

    taken = await claim(store)
    assert taken is not None
    assert [(message.id, message.text) for message in taken.messages] == [("a", "better")]
    assert taken.run.input is not None
    assert (taken.run.input.from_seq, taken.run.input.to_seq) == (1, 1)
    assert (await fate(store, "b"))[0] == "retracted"
    await settled(store, taken, Retry("failed"))
    assert want(Consumed, await apply(store, retracting("a"))).fate == "consumed", "it was taken once"


async def test_retracting_the_last_message_of_a_queued_run_cancels_the_run(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", messages=[said("a"), said("b")])
    await submitted(store, "d2")
    assert want(Retracted, await apply(store, retracting("a"))).cancelled is None

    outcome = want(Retracted, await apply(store, retracting("b")))

    assert outcome.cancelled == await run_of(store, "d1")
    assert (await dispatch_of(store, "d1")).status is DispatchStatus.CANCELLED
    assert (await fate(store, "b"))[0] == "retracted"
    taken = await claim(store)
    assert taken is not None
    assert taken.dispatch.dispatch_id == "d2"


async def test_a_waiting_run_whose_input_is_retracted_waits_as_before(store: Store, clock: ManualClock) -> None:
    await settled(store, await claimed(store, "d1"), suspended())
    await submitted(store, "input")

    want(Retracted, await apply(store, retracting("msg-input")))

    assert await claim(store) is None
    assert (await run_of(store, "d1")).status is RunStatus.WAITING
    assert want(Submitted, await apply(store, aimed("again", "resume"))).run.run_id == "run-d1"


async def test_an_answered_call_and_what_steers_its_run_stand_in_order(store: Store, clock: ManualClock) -> None:
    """What is taken when a step closes stands behind the answers of that step."""
    owner = await claimed(store, "d1")
    await committed(store, owner, calling("turn", "call-1"))
    await staged(store, "d2")

    closing = committing(owner, result_of("call-1"), closes=StepClosed(1, turn=MessageId("turn")))
    await apply(store, replace(closing, takes="next_step"))

    assert await message_ids(store) == ["msg-d1", "turn", "result-call-1", "msg-d2"]
    assert (await run_of(store, "d1")).open_turn is None
