"""Runs that wait: suspending, going on with input, and what becomes of the calls that a run leaves open."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.event import ToolCallDone, opened
from awaken.domain.ids import AgentId, ThreadId
from awaken.domain.message import Message, ToolStatus
from awaken.domain.run import CANCELLED, RunOptions, RunStatus, SeqRange
from awaken.domain.thread import ThreadStatus
from awaken.store.contract import DispatchQuery, Page, Store
from awaken.store.transitions import (
    DeadLetter,
    Full,
    Interrupted,
    Release,
    Replayed,
    SaveThread,
    Settled,
    StepClosed,
    Submit,
    Submitted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steering import aimed
from awaken.testing.conformance.steps import (
    SCOPE,
    THREAD,
    apply,
    asked,
    calling,
    cancelled,
    claim,
    claim_name,
    claimed,
    committed,
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
    queue_of,
    reclaim,
    result_of,
    run_id,
    run_of,
    runs_in,
    said,
    settled,
    snapshot,
    submitted,
    suspended,
    thread_of,
    want,
)
from awaken.testing.conformance.tickets import answer, decided, question, waits_for

ELSEWHERE = ThreadId("thread-2")


async def waits(store: Store, name: str, *entries: Message, **details: Any) -> Settled:
    """Submit, take, and suspend after these messages."""
    return await settled(store, await claimed(store, name, **details), suspended(), *entries)


async def answers(store: Store, thread: ThreadId = THREAD) -> list[tuple[str, ToolStatus | None]]:
    """The log as names of messages, those that answer a call as the call, each with its status."""
    log = [stored.message for stored in await log_of(store, thread)]
    return [(message.tool_call_id or message.id, message.tool_status) for message in log]


# --- going on with input ----------------------------------------------------------------------------------------------


@behaviour("ST-010", "MBX-046")
async def test_a_waiting_run_goes_on_with_what_is_submitted_to_its_idle_thread(
    store: Store, clock: ManualClock
) -> None:
    first = await waits(store, "d1")
    clock.tick(1)

    outcome = await submitted(store, "d2")

    assert outcome.run == await run_of(store, "d1")
    assert (outcome.run.run_id, outcome.run.status, outcome.run.dispatch_id) == ("run-d1", RunStatus.WAITING, "d2")
    assert outcome.dispatch == await dispatch_of(store, "d2")
    assert (outcome.dispatch.run_id, outcome.dispatch.why) == ("run-d1", "input")
    assert (outcome.dispatch.position, outcome.dispatch.message_ids) == (first.dispatch.position, ("msg-d2",))
    assert await store.load_run(SCOPE, run_id("d2")) is None
    assert await message_ids(store) == ["msg-d1"], "it is accepted, and not yet part of the conversation"

    taken = await claim(store)

    assert taken is not None
    assert (taken.run.run_id, taken.run.status, taken.resumed) == ("run-d1", RunStatus.RUNNING, True)
    assert (taken.run.waiting, taken.run.started_at) == (None, first.run.started_at)
    assert taken.run.input == first.run.input == SeqRange(1, 1)
    assert taken.messages == (said("msg-d2"),)
    assert await message_ids(store) == ["msg-d1", "msg-d2"]
    assert {stored.run_id for stored in await log_of(store)} == {"run-d1"}
    assert (await settled(store, taken)).run.status is RunStatus.DONE


@behaviour("ST-010", "MBX-163")
async def test_an_offer_takes_the_input_of_a_waiting_run_in_the_same_step(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1")
    seen = (await thread_of(store)).event_count

    outcome = await submitted(store, "d2", offered=offer())

    assert outcome.claimed is not None
    assert (outcome.claimed.run, outcome.claimed.dispatch) == (outcome.run, outcome.dispatch)
    assert (outcome.run.run_id, outcome.run.status, outcome.run.waiting) == ("run-d1", RunStatus.RUNNING, None)
    assert (outcome.claimed.resumed, outcome.claimed.messages) == (True, (said("msg-d2"),))
    assert await kinds(store, after=seen) == ["RunQueued", "MessageCommitted", "RunSubmitted", "RunResumed"]
    assert {row.run_id for row in await events_of(store, after=seen)} == {"run-d1"}
    assert (await thread_of(store)).active_run_id == "run-d1"


@behaviour("ST-011")
async def test_a_run_that_goes_on_with_input_finds_its_open_calls_closed(store: Store, clock: ManualClock) -> None:
    """Whichever way the input is taken, the claim that takes it answers them first."""
    open_calls = (calling("turn", "call-1", "call-2"), result_of("call-2"))
    await waits(store, "d1", *open_calls)
    await waits(store, "e1", *open_calls, thread=ELSEWHERE)

    await submitted(store, "d2")
    assert (await run_of(store, "d1")).open_turn == 2
    await claim(store)
    await submitted(store, "e2", thread=ELSEWHERE, offered=offer())

    for name, thread in (("d", THREAD), ("e", ELSEWHERE)):
        assert (await run_of(store, f"{name}1")).open_turn is None
        assert await answers(store, thread) == [
            (f"msg-{name}1", None),
            ("turn", None),
            ("call-2", ToolStatus.SUCCESS),
            ("call-1", ToolStatus.CANCELLED),
            (f"msg-{name}2", None),
        ]
        assert {stored.run_id for stored in await log_of(store, thread)} == {run_id(f"{name}1")}
        [resumed] = [
            bytes(event.payload)
            for row in await events_of(store, thread)
            for event in row.events
            if event.kind == "RunResumed"
        ]
        assert b'"why":"input"' in resumed and b'"finished_calls":["call-2"]' in resumed


@behaviour("ST-012")
async def test_what_only_a_run_of_its_own_can_have_opens_one(store: Store, clock: ManualClock) -> None:
    await waits(store, "d0")
    plain = asked("d1")
    own = [
        asked("agent", agent=AgentId("agent-2")),
        asked("metadata", metadata={"k": 1}),
        asked("delay", delay_ms=1),
        asked("instant", available_at=clock.now()),
        asked("key", dedupe_key="k"),
        with_overrides(asked("overrides")),
    ]
    assert plain.delivery == Delivery(max_attempts=5), "a plain submit asks for none of it"

    for each in own:
        opened = want(Submitted, await apply(store, each))
        assert (opened.run.run_id, opened.dispatch.why) == (each.run_id, "start")
        await cancelled(store, each.dispatch_id)

    assert want(Submitted, await apply(store, plain)).run.run_id == "run-d0"


def with_overrides(submit: Submit) -> Submit:
    return replace(submit, request=replace(submit.request, options=RunOptions({"temperature": 0})))


@behaviour("ST-013")
async def test_input_for_a_thread_that_is_not_idle_is_a_run_of_its_own(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1")
    await submitted(store, "input")
    assert (await submitted(store, "d2")).run.run_id == "run-d2", "something is queued"
    assert await queue_of(store) == ["input", "d2"], "at the position of the run's first dispatch"
    await claim(store)
    await cancelled(store, "d2")

    assert (await submitted(store, "d3")).run.run_id == "run-d3", "something is running"


@behaviour("ST-014", "PB-004", "MBX-049", "SV-019")
async def test_of_several_waiting_runs_the_one_that_suspended_last_goes_on(store: Store, clock: ManualClock) -> None:
    first = await claimed(store, "d1")
    await submitted(store, "d2")
    second = (await settled(store, first, suspended(), offered=offer())).claimed
    assert second is not None
    await settled(store, second, suspended())
    assert (await thread_of(store)).open_run_id == "run-d2"
    listed = await runs_in(store, thread_id=THREAD, status=RunStatus.WAITING)
    assert [run.run_id for run in listed] == ["run-d1", "run-d2"]

    again = await submitted(store, "input", offered=offer())
    assert again.run.run_id == "run-d2"
    assert again.claimed is not None
    await settled(store, again.claimed)

    assert (await thread_of(store)).open_run_id == "run-d1"
    assert (await submitted(store, "more")).run.run_id == "run-d1"


@behaviour("ST-015", "PB-004")
async def test_a_run_keeps_one_record_over_all_its_dispatches(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1")
    await submitted(store, "other", delay_ms=60_000)
    await cancelled(store, "other")
    clock.tick(1)
    second = await submitted(store, "d2", offered=offer())
    assert second.claimed is not None
    clock.tick(2)
    await settled(store, second.claimed, suspended())
    third = await submitted(store, "d3")

    assert await names(store) == ["d1", "other", "d2", "d3"]
    found = await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD, run_id=run_id("d1")))
    assert [dispatch.dispatch_id for dispatch in found.items] == ["d1", "d2", "d3"]
    page = await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD, run_id=run_id("d1"), limit=2))
    query = DispatchQuery(thread_id=THREAD, run_id=run_id("d1"), limit=2, after=page.next)
    assert await store.list_dispatches(SCOPE, query) == Page((third.dispatch,))
    assert [each.status for each in found.items] == ["acked", "acked", "queued"]
    run = await run_of(store, "d1")
    assert (run.dispatch_id, run.executing_ms) == ("d3", 2_000)
    assert await store.latest_run(SCOPE, THREAD) == await run_of(store, "other")


@behaviour("ST-016")
async def test_a_repeated_submit_that_continued_a_run_answers_with_that_run(store: Store, clock: ManualClock) -> None:
    """Its own run id names no run, so its messages tell."""
    await waits(store, "d1")
    asking = asked("d2", offered=offer())
    outcome = want(Submitted, await apply(store, asking))
    before = await snapshot(store)

    again = want(Replayed, await apply(store, asking))

    assert (again.run, again.dispatch) == (outcome.run, outcome.dispatch)
    assert await apply(store, replace(asking, fresh_ids=True)) == again
    assert await snapshot(store) == before


@behaviour("ST-017")
async def test_what_waits_is_open_whatever_else_happens_in_its_thread(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1")
    await finished(store, "d2", metadata={"own": True})

    thread = await thread_of(store)
    assert (thread.open_run_id, thread.latest_run_id, thread.status) == ("run-d1", "run-d2", ThreadStatus.WAITING)
    await submitted(store, "d3", metadata={"own": True})
    thread = await thread_of(store)
    assert (thread.open_run_id, thread.status) == ("run-d3", ThreadStatus.QUEUED)
    await claim(store)
    thread = await thread_of(store)
    assert (thread.open_run_id, thread.active_run_id, thread.status) == ("run-d3", "run-d3", ThreadStatus.BUSY)


@behaviour("ST-018")
async def test_waiting_runs_count_in_the_bound_of_a_queue(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1")
    await submitted(store, "d2", metadata={"own": True}, max_queued=2)

    full = asked("d3", metadata={"own": True}, max_queued=2)
    assert await apply(store, full) == Full(2)

    await cancelled(store, "d1")
    want(Submitted, await apply(store, full))


@behaviour("ST-018")
async def test_a_waiting_run_that_is_about_to_go_on_counts_once(store: Store, clock: ManualClock) -> None:
    """Whether it goes on because of a decision, or with input."""
    await waits_for(store, "d1", question())
    await claimed(store, "busy", metadata={"own": True})
    await decided(store, {"ask#1": answer(3)})
    await submitted(store, "d2", metadata={"own": True}, max_queued=2)
    assert await apply(store, asked("d3", metadata={"own": True}, max_queued=2)) == Full(2)
    other = ThreadId("other")
    await waits(store, "e1", thread=other)
    await claimed(store, "at-work", thread=other, metadata={"own": True})
    want(Submitted, await apply(store, aimed("more", "queue", thread=other, target_run_id=run_id("e1"))))
    await submitted(store, "e2", thread=other, metadata={"own": True}, max_queued=2)
    assert await apply(store, asked("e3", thread=other, metadata={"own": True}, max_queued=2)) == Full(2)


@behaviour("ST-019")
async def test_the_dedupe_key_of_a_waiting_run_is_held(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1", dedupe_key="k")
    assert want(Replayed, await apply(store, asked("d2", dedupe_key="k"))).run.run_id == "run-d1"

    await cancelled(store, "d1")

    assert (await submitted(store, "d2", dedupe_key="k")).run.run_id == "run-d2"


# --- stopping what waits ----------------------------------------------------------------------------------------------


@behaviour("ST-020", "D-016")
async def test_cancelling_a_run_whose_input_is_queued_ends_both(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1")
    await submitted(store, "d2")

    answer = await cancelled(store, "d1")

    assert (answer.state, answer.run.status, answer.run.waiting) == ("stopped", RunStatus.DONE, None)
    assert (await dispatch_of(store, "d2")).status is DispatchStatus.CANCELLED
    thread = await thread_of(store)
    assert (thread.open_run_id, thread.queued_count, thread.status) == (None, 0, ThreadStatus.IDLE)
    assert await message_ids(store) == ["msg-d1"]
    assert await claim(store) is None


@behaviour("ST-021", "TR-091", "D-016")
async def test_an_interrupt_ends_what_waits(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1")
    await waits(store, "d2", metadata={"own": True})
    await waits(store, "d3", metadata={"own": True})
    await submitted(store, "input")
    running = await submitted(store, "d4", metadata={"own": True})

    outcome = want(Interrupted, await interrupt(store))

    assert [dispatch.dispatch_id for dispatch in outcome.superseded] == ["input", "d4"]
    assert [run.run_id for run in outcome.ended] == ["run-d2", "run-d1"], "the one that suspended last comes first"
    for name in ("d1", "d2", "d3", "d4"):
        run = await run_of(store, name)
        assert (run.status, run.termination, run.waiting) == (RunStatus.DONE, CANCELLED, None)
    assert running.run.run_id == "run-d4"
    assert (await thread_of(store)).open_run_id is None
    assert (await submitted(store, "d5")).run.run_id == "run-d5"


@behaviour("ST-022")
async def test_a_run_that_was_asked_to_stop_cannot_wait(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await cancelled(store, "d1")

    done = await settled(store, owner, suspended())

    assert (done.run.status, done.run.termination) == (RunStatus.DONE, CANCELLED)
    assert (done.dispatch.status, (await thread_of(store)).status) == (DispatchStatus.CANCELLED, ThreadStatus.IDLE)


# --- calls that are left open -----------------------------------------------------------------------------------------


@behaviour("ST-023")
async def test_the_calls_of_a_waiting_run_stay_open_while_another_runs(store: Store, clock: ManualClock) -> None:
    """Only those of runs that have ended are closed by the next first claim, each for the run that made it."""
    await waits(store, "d1", calling("turn-1", "call-1"))
    await given_up(store, "d2", calling("turn-2", "call-2"))

    await submitted(store, "d3", metadata={"own": True}, offered=offer())

    assert await answers(store) == [
        ("msg-d1", None),
        ("turn-1", None),
        ("msg-d2", None),
        ("turn-2", None),
        ("call-2", ToolStatus.CANCELLED),
        ("msg-d3", None),
    ]
    assert (await log_of(store))[4].run_id == "run-d2"
    assert (await run_of(store, "d1")).open_turn == 2
    assert (await run_of(store, "d2")).open_turn is None


@behaviour("ST-023", "OS-008")
async def test_the_calls_of_several_ended_runs_are_closed_by_one_claim(store: Store, clock: ManualClock) -> None:
    await waits(store, "d1", calling("turn-1", "call"))
    await waits(store, "d2", calling("turn-2", "call"), metadata={"own": True})
    await interrupt(store)

    await submitted(store, "d3")
    await claim(store)

    log = await log_of(store)
    closed = [(each.message.tool_call_id, each.run_id) for each in log if each.message.tool_status is not None]
    assert closed == [("call", "run-d1"), ("call", "run-d2")]
    assert log[-1].message.id == "msg-d3"


@behaviour("ST-042", "DS-009", "MBX-290")
async def test_each_call_that_is_closed_is_logged_behind_its_answer(store: Store, clock: ManualClock) -> None:
    """Whoever closes it: a run that begins, one that goes on with input, or the import of a thread."""
    await given_up(store, "d1", calling("turn", "call-1", "call-2"), result_of("call-1"))
    await waits(store, "e1", calling("turn", "call-1"), thread=ELSEWHERE)
    await submitted(store, "e2", thread=ELSEWHERE)
    imported = ThreadId("imported")
    for thread in (THREAD, ELSEWHERE):
        seen = (await store.event_bounds(SCOPE, thread))[1]
        await (submitted(store, "d2", offered=offer()) if thread == THREAD else claim(store))
        await assert_closed(store, thread, seen)
    messages = (said("hello"), calling("turn", "call-1"))
    await apply(store, SaveThread(scope=SCOPE, thread_id=imported, messages=messages))
    await assert_closed(store, imported, 0)


async def assert_closed(store: Store, thread: ThreadId, seen: int) -> None:
    """Of the thread's log behind that place: its last call of `turn` is answered as cancelled, and logged as done."""
    events = [event for row in await events_of(store, thread, after=seen) for event in row.events]
    [place] = [no for no, event in enumerate(events) if event.kind == "ToolCallDone"]
    answer, done = opened(events[place - 1]), opened(events[place])
    assert (answer.tool_status, done) == (
        ToolStatus.CANCELLED,
        ToolCallDone(
            message_id("turn"),
            answer.tool_call_id,
            "look_up",
            answer.message_id,
            "cancelled",
            error_text=answer.content_blocks[0].text,
        ),
    )


@behaviour("ST-043")
async def test_no_message_id_that_somebody_brings_is_in_the_way_of_a_call_that_is_closed(
    store: Store, clock: ManualClock
) -> None:
    """What has closed the same call in another thread is known to everybody, and is not used again."""
    brought = [said(f"cancelled.{seq}.{event}") for seq in range(1, 9) for event in range(1, 20)]
    for thread, name in ((THREAD, "d"), (ELSEWHERE, "e")):
        await given_up(store, f"{name}1", calling("turn", "call-1"), thread=thread)
        await submitted(store, f"{name}2", thread=thread, messages=brought)
        assert await claim_name(store) == f"{name}2"
        [closed] = [each.message for each in await log_of(store, thread, limit=1_000) if each.message.tool_status]
        assert closed.tool_call_id == "call-1"
        brought = [said(closed.id)]


@behaviour("ST-024")
async def test_the_open_turn_of_a_run_is_its_last_message_with_calls(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    async def open_turn() -> int | None:
        return (await run_of(store, "d1")).open_turn

    assert await open_turn() is None
    await committed(store, owner, calling("turn-1", "call-1"))
    assert await open_turn() == 2
    await committed(store, owner, result_of("call-1"))
    assert await open_turn() == 2, "a result alone does not close a step"
    await committed(store, owner, closes=StepClosed(1, turn=message_id("turn-1")))
    assert await open_turn() is None
    closes = StepClosed(2, turn=message_id("turn-2"))
    await committed(store, owner, calling("turn-2", "call-2"), result_of("call-2"), closes=closes)
    assert await open_turn() is None
    await committed(store, owner, calling("turn-3", "call-3"))
    closes = StepClosed(3, turn=message_id("turn-3"))
    await committed(store, owner, result_of("call-3"), calling("turn-4", "call-4"), closes=closes)
    assert await open_turn() == 8, "the next turn began in the commit that closed the one before"


@behaviour("ST-025")
async def test_a_takeover_finds_the_calls_of_its_own_turn_as_they_were(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", lease_ms=1_000)
    await committed(store, owner, calling("turn", "call-1", "call-2"))
    await committed(store, owner, result_of("call-1"))
    clock.tick(2)
    await reclaim(store)

    assert await claim_name(store) == "d1"

    assert await answers(store) == [("msg-d1", None), ("turn", None), ("call-1", ToolStatus.SUCCESS)]
    [resumed] = [bytes(event.payload) for row in await events_of(store) for event in row.events][-1:]
    assert b'"finished_calls":["call-1"]' in resumed and b'"previous_worker":"worker-1"' in resumed


@behaviour("ST-026", "P-007")
async def test_a_claim_brings_the_messages_of_its_dispatch_every_time(store: Store, clock: ManualClock) -> None:
    brought = [said("one"), said("two")]
    first = await claimed(store, "d1", messages=brought)
    assert (first.messages, first.commit_no) == (tuple(brought), 0)
    await committed(store, first, number=1)
    await settled(store, first, Release("draining"), number=2)

    again = await claim(store)
    assert again is not None
    assert (again.messages, again.commit_no, again.thread_no) == (tuple(brought), 2, first.thread_no)
    await settled(store, again, suspended(), number=3)
    third = await submitted(store, "d2", offered=offer())
    assert third.claimed is not None
    assert (third.claimed.messages, third.claimed.commit_no) == ((said("msg-d2"),), 3)
    other = await claimed(store, "e1", thread=ELSEWHERE)
    assert (other.commit_no, other.thread_no == first.thread_no) == (0, False)


async def given_up(store: Store, name: str, *entries: Message, **details: Any) -> Settled:
    """A run of its own that ends without an answer to the calls of these messages."""
    owner = await claimed(store, name, metadata={"own": True}, **details)
    return await settled(store, owner, DeadLetter("no"), *entries)
