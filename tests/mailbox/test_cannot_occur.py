"""Cases that exist elsewhere because state is copied, cached or written in steps; each test shows why not here."""

from __future__ import annotations

import asyncio
import inspect

import msgspec
import pytest

from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, MessageId, RunId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.run import Intent, Run, RunOptions, RunRequest, RunStatus, Trace
from awaken.mailbox.service import Mailbox, RunSubmission
from awaken.store.contract import DispatchQuery
from awaken.store.transitions import Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World


@behaviour("MBX-025", "MBX-026", "MBX-027", "MBX-028")
def test_a_request_has_one_form_and_no_legacy_extras() -> None:
    """Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field."""
    request = RunRequest(
        Intent(AgentId("a")),
        (MessageId("m"),),
        RunOptions({"model": "x"}),
        Trace(transport_request_id="req", parent_thread_id=ThreadId("p")),
    )
    encoded = msgspec.json.encode(request)

    assert msgspec.json.decode(encoded, type=RunRequest) == request
    bare = msgspec.json.encode(RunRequest(Intent(AgentId("a")), (MessageId("m"),)))
    assert msgspec.json.decode(bare) == {"intent": {"agent_id": "a"}, "input_message_ids": ["m"]}
    assert not any("extra" in field for struct in (Run, RunRequest, Dispatch) for field in struct.__struct_fields__)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"intent": {"agent_id": "a"}, "input_message_ids": 3}', type=RunRequest)


@behaviour("MBX-029")
def test_a_dispatch_carries_no_part_of_a_request_and_a_submit_no_decision() -> None:
    """A dispatch orders delivery and names its run; what is asked stands on the run alone."""
    assert not {"request", "decisions", "options"} & set(Dispatch.__struct_fields__)
    assert "decisions" not in RunSubmission.__struct_fields__


@behaviour("MBX-031")
def test_a_mailbox_has_one_store_so_no_two_can_disagree() -> None:
    parameters = inspect.signature(Mailbox.__init__).parameters
    assert [name for name in parameters if "store" in name or "coordinator" in name] == ["store"]


@behaviour("MBX-033")
async def test_a_dispatch_is_only_made_together_with_its_run(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit(run_id=None)

        assert submission.run.run_id
        assert (await world.dispatch(submission)).run_id == submission.run.run_id
        [submit] = [each for each in store.transitions if isinstance(each, Submit)]
        assert (submit.run_id, submit.dispatch_id) == (submission.run.run_id, submission.run.dispatch_id)


@behaviour("MBX-078", "MBX-079")
async def test_a_submit_to_a_busy_thread_is_never_refused_and_never_cancelled(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Claiming is an offer inside the submit: one that wins nothing leaves the run queued."""
    async with World(store, clock) as world:
        results = await asyncio.gather(*[world.submit(str(n)) for n in range(10)], return_exceptions=True)
        assert not any(isinstance(result, BaseException) for result in results)

        listed = await store.list_dispatches(DEFAULT_SCOPE, DispatchQuery(thread_id=ThreadId("t")))
        assert [each.status for each in listed] == [DispatchStatus.CLAIMED] + [DispatchStatus.QUEUED] * 9


@behaviour("MBX-080")
async def test_looking_for_work_on_a_busy_thread_changes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    """There is no worker per thread whose state a poll could corrupt: slots are counted, claims are rows."""
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        await world.advance(120)

        assert (call.is_over, world.free_slots, world.mailbox.health().executing) == (False, 99, 1)
        assert (await world.run(submission)).status is RunStatus.RUNNING


@behaviour("MBX-108", "MBX-110")
async def test_a_dispatch_that_ends_ends_its_run_in_the_same_transaction(
    store: WatchedStore, clock: ManualClock
) -> None:
    """No repair pass is needed: cancelled, superseded and dead-lettered, seen right after the one apply that did it."""
    async with World(store, clock) as world:
        await world.submit("running")
        cancelled, superseded = await world.submit("a"), await world.submit("b")
        await world.mailbox.cancel(DEFAULT_SCOPE, cancelled.run.run_id)
        await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        broken = await world.submit("c", thread_id="elsewhere", max_attempts=1)
        await world.quiet()
        world.agent.calls[-1].fail(RuntimeError("broken"))
        await world.done(broken)

        for submission, status in (
            (cancelled, DispatchStatus.CANCELLED),
            (superseded, DispatchStatus.SUPERSEDED),
            (broken, DispatchStatus.DEAD_LETTER),
        ):
            assert (await world.dispatch(submission)).status is status
            assert (await world.run(submission)).status is RunStatus.DONE


@behaviour("MBX-127", "MBX-128", "MBX-129")
async def test_an_idle_thread_costs_a_process_nothing(store: WatchedStore, clock: ManualClock) -> None:
    """Nothing is kept per thread in memory, so nothing has to be collected."""
    async with World(store, clock) as world:
        for number in range(20):
            await world.submit(thread_id=f"t{number}")
            (await world.agent.next_call()).release()
        await world.quiet()

        health = world.mailbox.health()
        assert (health.executing, health.free_slots, world.mailbox.reader_count) == (0, 100, 0)
        await world.advance(120)
        assert [each.run.thread_id for each in [await world.submit(thread_id="t0")]] == ["t0"]


async def test_a_submit_that_repeats_a_stored_message_adds_no_second_one(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        message = user_message(MessageId("m1"), "hello")
        request = RunSubmission(messages=(message,), thread_id="t", agent_id="gated")
        first, second = await world.mailbox.submit(request), await world.mailbox.submit(request)

        assert (second.replayed, second.run.run_id) == (True, first.run.run_id)
        assert await world.texts() == ["hello"]
        with pytest.raises(ValidationError):
            await world.mailbox.submit(msgspec.structs.replace(request, messages=(message, message)))
        assert await store.load_run(DEFAULT_SCOPE, RunId(first.run.run_id)) is not None
