"""Submitting: what is accepted, what is stored, what runs at once, and what comes back."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, get_args, get_type_hints

import pytest
from msgspec.structs import replace

from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import (
    AlreadyExists,
    AwakenError,
    QueueFull,
    RunNotFound,
    StoreUnavailable,
    ThreadBusy,
    ThreadNotFound,
    Unavailable,
    UnknownAgent,
    ValidationError,
)
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, RunId, Scope, ThreadId
from awaken.domain.message import Json, Message, Role, user_message
from awaken.domain.run import Adapter, Origin, RunMode, RunStatus, SeqRange, Trace
from awaken.domain.thread import ThreadInfo
from awaken.executors.contract import Entry, Finished, RunPort
from awaken.executors.function import Context
from awaken.mailbox.observer import OutcomeLabel
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import RunSubmission, Submission
from awaken.store.contract import DispatchQuery
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import GatedAgent, WatchedStore, World


def said(*texts: str) -> tuple[Message, ...]:
    return tuple(user_message(MessageId(""), text) for text in texts)


# --- the words --------------------------------------------------------------------------------------------------------


@behaviour("MBX-010")
def test_an_error_says_what_was_wrong_and_of_which_class_it_is() -> None:
    assert str(ValidationError("at least one message is required")) == "at least one message is required"
    assert (ValidationError("x").code, AwakenError("x").code) == ("invalid_request", "internal")


@behaviour("MBX-011")
def test_errors_of_the_store_are_told_from_all_others() -> None:
    assert (StoreUnavailable("x").code, RunNotFound("r1").code) == ("store_unavailable", "run_not_found")
    assert "r1" in str(RunNotFound("r1"))


@behaviour("MBX-013", "MBX-014")
def test_a_submission_is_running_or_queued() -> None:
    assert get_args(get_type_hints(Submission)["status"]) == ("running", "queued")


@behaviour("MBX-016")
def test_the_labels_of_outcomes_are_stable() -> None:
    assert get_args(OutcomeLabel)[:3] == ("completed", "transient_error", "permanent_error")


@behaviour("MBX-017")
def test_a_request_holds_what_was_asked_and_comes_from_inside_unless_it_says_otherwise() -> None:
    request = RunSubmission(messages=said("hi"), thread_id="t", agent_id="a")

    assert (request.thread_id, request.agent_id, request.messages[0].text) == ("t", "a", "hi")
    assert request.trace.adapter is Adapter.INTERNAL


# --- what is accepted -------------------------------------------------------------------------------------------------


@behaviour("MBX-018")
async def test_a_submit_without_messages_is_refused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        with pytest.raises(ValidationError, match="at least one message is required"):
            await world.mailbox.submit(RunSubmission(messages=(), thread_id="t"))


@behaviour("MBX-020", "MBX-024")
@pytest.mark.parametrize("blank", ["", "  "])
async def test_a_blank_thread_id_makes_a_new_thread(store: WatchedStore, clock: ManualClock, blank: str) -> None:
    async with World(store, clock) as world:
        submission = await world.submit(thread_id=blank)

        thread_id = submission.run.thread_id
        assert len(thread_id) == 36 and uuid.UUID(thread_id).version == 7
        assert (await world.mailbox.get_thread(DEFAULT_SCOPE, thread_id)).active_run_id == submission.run.run_id


@behaviour("MBX-021", "MBX-022")
@pytest.mark.parametrize("given", ["t-1", "  t-1 "])
async def test_a_thread_id_is_kept_without_the_spaces_around_it(
    store: WatchedStore, clock: ManualClock, given: str
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit("one", thread_id=given)

        assert submission.run.thread_id == "t-1"
        assert await world.texts("t-1") == ["one"]


@behaviour("MBX-023")
async def test_several_messages_enter_the_conversation_in_order(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.mailbox.submit(
            RunSubmission(messages=said("a", "b", "c"), thread_id="t", agent_id="gated")
        )

        assert await world.texts() == ["a", "b", "c"]
        assert (await world.run(submission)).input == SeqRange(1, 3)


async def test_what_cannot_be_stored_is_refused_and_costs_its_neighbours_nothing(
    store: WatchedStore, clock: ManualClock
) -> None:
    odd = Message(id=MessageId(""), role=Role.USER, content=(Json(object()),))
    async with World(store, clock) as world:
        refused = world.mailbox.submit(RunSubmission(messages=(odd,), thread_id="t", agent_id="gated"))
        results = await asyncio.gather(refused, world.submit("\ud800"), world.submit("fine"), return_exceptions=True)

        assert [type(result) for result in results] == [ValidationError, ValidationError, Submission]


@pytest.mark.parametrize("options", [{"max_attempts": 0}, {"delay_s": -1.0}, {"delay_s": float("nan")}])
async def test_quantities_out_of_range_are_refused(
    store: WatchedStore, clock: ManualClock, options: dict[str, Any]
) -> None:
    async with World(store, clock) as world:
        with pytest.raises(ValidationError):
            await world.submit(**options)
        assert await world.kinds() == []


async def test_an_unknown_agent_is_refused_by_name(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        with pytest.raises(UnknownAgent, match="nobody"):
            await world.submit(agent_id="nobody")


async def test_a_thread_that_must_exist_is_not_made(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        with pytest.raises(ThreadNotFound):
            await world.submit(thread_id="nowhere", create_thread=False)


async def test_a_mailbox_that_is_not_entered_takes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    world = World(store, clock)
    with pytest.raises(Unavailable):
        await world.submit()
    async with world:
        pass
    with pytest.raises(Unavailable):
        await world.submit()


async def test_a_full_queue_refuses_more_and_keeps_what_it_has(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, settings=MailboxSettings(max_queued_per_thread=2, drain_s=0)) as world:
        accepted = [await world.submit(str(number)) for number in range(3)]
        with pytest.raises(QueueFull):
            await world.submit("one too many")

        assert [each.status for each in accepted] == ["running", "queued", "queued"]


# --- what is stored ---------------------------------------------------------------------------------------------------


@behaviour("MBX-032", "MBX-004")
async def test_a_dispatch_starts_queued_and_untouched(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, executes=False) as world:
        dispatch = await world.dispatch(await world.submit())

    assert (dispatch.status, dispatch.attempt_count, dispatch.max_attempts) == (DispatchStatus.QUEUED, 0, 5)
    assert (dispatch.priority, dispatch.epoch, dispatch.last_error) == (128, 0, None)
    assert (dispatch.claim_token, dispatch.claimed_by, dispatch.lease_until) == (None, None, None)
    assert dispatch.available_at == dispatch.created_at == clock.now()


@behaviour("MBX-034", "MBX-042")
async def test_an_accepted_run_names_its_messages_and_is_the_open_run_of_its_thread(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit("later", delay_s=60, trace=Trace(wire_run_id="req-1"))

        run = await world.run(submission)
        assert (run.status, run.agent_id, run.request.trace.wire_run_id) == (
            RunStatus.CREATED,
            "gated",
            "req-1",
        )
        [message_id] = run.request.input_message_ids
        stored = await store.load_message(DEFAULT_SCOPE, ThreadId("t"), message_id)
        assert stored is not None and (stored.message.text, stored.seq) == ("later", None)
        assert (run.request.trace.origin, run.request.trace.parent_run_id) == (Origin.USER, None)
        thread = await world.mailbox.get_thread(DEFAULT_SCOPE, ThreadId("t"))
        assert (thread.open_run_id, thread.latest_run_id, thread.active_run_id) == (run.run_id, run.run_id, None)

        await world.advance(60)
        assert (await world.run(submission)).input == SeqRange(1, 1)


@behaviour("MBX-037")
async def test_a_run_without_an_agent_goes_to_the_last_one_of_its_thread(
    store: WatchedStore, clock: ManualClock
) -> None:
    """And finds the state that its thread was left with."""

    async def other(context: Context) -> str:
        known = await context.state.values()
        await context.state.patch({"remote": {"context_id": "ctx-1"}})
        return f"knows {known}"

    async with World(store, clock, agents={"other": other}) as world:
        first = await world.submit("one", agent_id="other")
        assert (await world.done(first)).final_output == "knows {}"
        second = await world.mailbox.submit(RunSubmission(messages=said("two"), thread_id="t"))

        run = await world.done(second)
        assert (run.agent_id, run.input) == ("other", SeqRange(3, 3))
        assert run.final_output == "knows {'remote': {'context_id': 'ctx-1'}}"
        with pytest.raises(UnknownAgent):
            await world.mailbox.submit(RunSubmission(messages=said("two"), thread_id="elsewhere"))


@behaviour("MBX-051")
async def test_a_thread_of_an_earlier_life_is_continued(store: WatchedStore, clock: ManualClock) -> None:
    async def echo(context: Context) -> str:
        return " | ".join([message.text for message in await context.messages()])

    async with store:
        async with World(store, clock, agents={"echo": echo}) as world:
            await world.done(await world.submit("one", agent_id="echo"))
        async with World(store, clock, agents={"echo": echo}, seed=2) as later:
            run = await later.done(await later.submit("two", agent_id="echo"))

            assert run.final_output == "one | one | two"
            assert await later.texts() == ["one", "one", "two", "one | one | two"]


@behaviour("MBX-052")
async def test_a_message_that_waits_enters_behind_what_the_running_run_says(
    store: WatchedStore, clock: ManualClock
) -> None:
    """What is kept in memory of the conversation is older by then, and is not taken for all of it."""
    async with World(store, clock) as world:
        await world.submit("first")
        call = await world.agent.next_call()
        second = await world.submit("second")
        assert await world.texts() == ["first"]

        call.release("output")
        later = await world.agent.next_call()

        assert [message.text for message in await later.context.messages()] == ["first", "output", "second"]
        assert later.run_id == second.run.run_id
        later.release("end")
        await world.done(second)
        assert await world.texts() == ["first", "output", "second", "end"]


@behaviour("MBX-055")
async def test_32_submits_at_once_on_one_thread_lose_no_message(store: WatchedStore, clock: ManualClock) -> None:
    async def done(context: Context) -> None:
        return None

    async with World(store, clock, agents={"quick": done}) as world:
        submissions = await asyncio.gather(*[world.submit(str(n), agent_id="quick") for n in range(32)])
        for submission in submissions:
            await world.done(submission)

        assert await world.texts() == [str(n) for n in range(32)]
        for submission in submissions:
            for message_id in (await world.run(submission)).request.input_message_ids:
                assert await store.load_message(DEFAULT_SCOPE, ThreadId("t"), message_id) is not None


@behaviour("MBX-056")
async def test_two_mailboxes_on_one_store_lose_no_message(store: WatchedStore, clock: ManualClock) -> None:
    async def done(context: Context) -> None:
        return None

    store.exclusive = False
    async with World(store, clock, agents={"q": done}) as one, World(store, clock, agents={"q": done}, seed=2) as two:
        worlds = [one, two] * 16
        submissions = await asyncio.gather(*[w.submit(str(n), agent_id="q") for n, w in enumerate(worlds)])
        for submission in submissions:
            await two.quiet()
            await one.advance(0)
            run = await one.run(submission)
            while run.status is not RunStatus.DONE:
                await one.advance(1)
                run = await one.run(submission)

        assert sorted(await one.texts(), key=int) == [str(n) for n in range(32)]


async def test_a_repetition_is_recognised_by_what_was_sent_whoever_was_the_last_agent_since(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def one(context: Context) -> str:
        return "one"

    async def two(context: Context) -> str:
        return "two"

    async with World(store, clock, agents={"one": one, "two": two}) as world:
        await world.done(await world.submit("hello", agent_id="one"))
        asked = RunSubmission(messages=said("again"), thread_id="t", run_id="order-1")
        first = await world.mailbox.submit(asked)
        await world.done(await world.submit("hello", agent_id="two"))

        again = await world.mailbox.submit(asked)

        assert (again.replayed, again.run.run_id, again.run.agent_id) == (True, first.run.run_id, "one")


async def test_a_repetition_is_recognised_also_where_its_agent_is_gone(store: WatchedStore, clock: ManualClock) -> None:
    async def one(context: Context) -> str:
        return "one"

    named = RunSubmission(messages=said("hello"), thread_id="t", run_id="order-1", agent_id="one")
    keyed = RunSubmission(
        messages=said("later"), thread_id="t", agent_id="one", delivery=Delivery(dedupe_key="k", delay_ms=60_000)
    )
    async with store:
        async with World(store, clock, agents={"one": one}) as world:
            first = await world.mailbox.submit(named)
            await world.done(first)
            waits = await world.mailbox.submit(keyed)
        async with World(store, clock, agents={}, seed=2) as later:
            again = await later.mailbox.submit(named)
            assert (again.replayed, again.run.run_id) == (True, first.run.run_id)
            assert (await later.mailbox.submit(keyed)).run.run_id == waits.run.run_id

            with pytest.raises(UnknownAgent):
                await later.mailbox.submit(replace(named, run_id="order-2"))
            with pytest.raises(AlreadyExists):
                await later.mailbox.submit(replace(named, messages=said("other")))


# --- what runs --------------------------------------------------------------------------------------------------------


@behaviour("MBX-012", "MBX-057")
async def test_a_submit_answers_with_its_run_its_dispatch_and_whether_it_runs(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()

        assert submission.dispatch is not None
        assert (submission.status, submission.run.thread_id) == ("running", "t")
        assert submission.dispatch.dispatch_id not in ("", submission.run.run_id)
        assert (await world.dispatch(submission)).run_id == submission.run.run_id


@behaviour("MBX-058")
async def test_the_agent_is_told_how_and_where_it_was_asked(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        trace = Trace(adapter=Adapter.ACP, mode=RunMode.FOREGROUND)
        submission = await world.submit(trace=trace)
        context = (await world.agent.next_call()).context

        assert (context.request.trace.mode, context.request.trace.adapter) == (RunMode.SCHEDULED, Adapter.ACP)
        assert context.identity.dispatch_id == (await world.run(submission)).dispatch_id
        assert context.identity.instance_id == (await world.dispatch(submission)).instance_id


@behaviour("MBX-059", "MBX-061", "MBX-078")
async def test_a_busy_thread_queues_what_comes_and_refuses_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        statuses = [(await world.submit(str(n))).status for n in range(3)]

        assert statuses == ["running", "queued", "queued"]
        listed = await store.list_dispatches(DEFAULT_SCOPE, DispatchQuery(thread_id=ThreadId("t")))
        assert [each.status for each in listed.items] == [
            DispatchStatus.CLAIMED,
            DispatchStatus.QUEUED,
            DispatchStatus.QUEUED,
        ]


@behaviour("MBX-060")
async def test_a_submit_can_be_watched_from_its_first_event(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release("hi")

        kinds: list[str] = []
        async with world.mailbox.read_run(DEFAULT_SCOPE, submission.run) as reader:
            async for row in reader:
                kinds += [event.kind for event in row.events]

        assert kinds == [
            "RunQueued",
            "MessageCommitted",
            "RunSubmitted",
            "RunStarted",
            "StepStarted",
            "MessageCommitted",
            "StepEnded",
            "RunFinished",
        ]


@behaviour("MBX-030")
async def test_any_driver_can_be_an_agent(store: WatchedStore, clock: ManualClock) -> None:
    class Driver:
        async def drive(self, entry: Entry, port: RunPort) -> Finished:
            return Finished(final_output=f"consumer sees {port.identity.agent_id}")

    async with World(store, clock, agents={"mine": Driver()}) as world:
        run = await world.done(await world.submit(agent_id="mine"))

        assert run.final_output == "consumer sees mine"


async def test_a_thread_whose_messages_cannot_be_stored_is_refused_before_the_store_sees_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        before = len(store.batches)
        brought = (user_message(MessageId("m"), "\ud800"),)
        with pytest.raises(ValidationError, match="half of a character"):
            await world.mailbox.save_thread(DEFAULT_SCOPE, "t", ThreadInfo(), messages=brought)

        assert len(store.batches) == before and await store.load_thread(DEFAULT_SCOPE, ThreadId("t")) is None


async def test_messages_are_not_added_to_a_conversation_while_a_run_writes_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        await world.agent.next_call()
        brought = (user_message(MessageId("m"), "between"),)
        with pytest.raises(ThreadBusy) as refused:
            await world.mailbox.save_thread(DEFAULT_SCOPE, "t", ThreadInfo(), messages=brought, if_exists="replace")

        assert (refused.value.thread_id, refused.value.active_run_id) == ("t", submission.run.run_id)
        assert await world.texts() == ["hello"]


# --- asked twice ------------------------------------------------------------------------------------------------------


async def test_the_same_request_under_the_same_run_id_is_accepted_once(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        first = await world.submit("hi", run_id="r1", trace=Trace(wire_run_id="1"))
        again = await world.submit("hi", run_id="r1", trace=Trace(wire_run_id="2"))

        assert (again.replayed, again.run.run_id, len(world.agent.calls)) == (True, first.run.run_id, 1)
        with pytest.raises(AlreadyExists):
            await world.submit("something else", run_id="r1")


async def test_a_repetition_is_known_by_what_was_sent_whatever_the_threads_last_agent_is_by_then(
    store: WatchedStore, clock: ManualClock
) -> None:
    agents = {"sales": GatedAgent(), "support": GatedAgent()}
    async with World(store, clock, agents=agents) as world:

        async def done(by: str, **options: Any) -> Submission:
            accepted = await world.submit(**options)
            (await agents[by].next_call()).release("ok")
            await world.done(accepted)
            return accepted

        await done("sales", agent_id="sales")
        first = await done("sales", text="one of these", run_id="order-1", agent_id=None)
        await done("support", agent_id="support")

        again = await world.submit("one of these", run_id="order-1", agent_id=None)
        assert (again.replayed, again.run.run_id) == (True, first.run.run_id)
        with pytest.raises(AlreadyExists):
            await world.submit("one of those", run_id="order-1", agent_id=None)


async def test_a_repetition_is_known_when_its_agent_is_gone(store: WatchedStore, clock: ManualClock) -> None:
    leaving = GatedAgent()
    async with World(store, clock, agents={"leaving": leaving}) as world:
        first = await world.submit("hi", run_id="order-1", agent_id="leaving")
        (await leaving.next_call()).release("ok")
        await world.done(first)

    async with World(store, clock, seed=2) as later:
        again = await later.submit("hi", run_id="order-1", agent_id="leaving")
        assert (again.replayed, again.run.run_id) == (True, "order-1")
        with pytest.raises(UnknownAgent):
            await later.submit("hi", run_id="order-2", agent_id="leaving")
        with pytest.raises(AlreadyExists):
            await later.submit("ho", run_id="order-1", agent_id="leaving")
        with pytest.raises(AlreadyExists):
            await later.submit("hi", run_id="order-1", agent_id="leaving", priority=1)


async def test_a_dedupe_key_in_use_answers_with_the_run_that_holds_it(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        first = await world.submit("hi", dedupe_key="k")
        again = await world.submit("hi again", dedupe_key="k")
        assert (again.replayed, again.run.run_id) == (True, first.run.run_id)

        (await world.agent.next_call()).release()
        await world.done(first)
        assert not (await world.submit("hi again", dedupe_key="k")).replayed


async def test_a_caller_who_goes_away_leaves_a_run_that_runs(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        store.hold()
        asking = asyncio.create_task(world.submit("hi", run_id="r1"))
        await world.quiet()
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()

        store.let_go()
        call = await world.agent.next_call()
        call.release("done")
        assert (await world.done(RunId("r1"))).final_output == "done"


@behaviour("SC-002")
async def test_scopes_do_not_see_each_other(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        mine = await world.submit("mine", run_id="same")
        theirs = await world.submit("theirs", run_id="same", scope=Scope("other"))
        calls = [await world.agent.next_call(), await world.agent.next_call()]

        assert (mine.status, theirs.status) == ("running", "running")
        cancelled = await world.mailbox.cancel(Scope("other"), RunId("same"), wait_s=1)
        assert cancelled.state == "stopped"
        assert [call.is_over for call in calls] == [False, True]


# --- nobody watching --------------------------------------------------------------------------------------------------


async def test_disconnecting_is_not_cancelling(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        async with world.mailbox.read_run(DEFAULT_SCOPE, submission.run) as reader:
            await reader.next_rows()
        waiting = asyncio.create_task(world.done(submission))
        await world.quiet()
        waiting.cancel()
        await asyncio.wait((waiting,))
        await world.quiet()

        assert (call.is_over, world.mailbox.reader_count) == (False, 0)
        call.release("all the same")
        await world.quiet()
        assert (await world.run(submission)).final_output == "all the same"
