"""Cases that exist elsewhere because state is copied, cached or written in steps; each test tries it, in vain."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import StoreUnavailable, ThreadNotFound, ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, MessageId, RunId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.run import CANCELLED, Intent, RunRequest, RunStatus
from awaken.executors.function import Context
from awaken.mailbox.reader import Reader
from awaken.mailbox.submission import RunSubmission
from awaken.store.contract import DispatchQuery, Listener, Signal, Store
from awaken.store.transitions import Commit, Settle, Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.events import text_delta
from awaken.testing.mailboxes import WatchedStore, World

THREAD = ThreadId("t")


async def shown(reader: Reader) -> list[str]:
    """The kinds a reader is given until nothing more is there at once."""
    found: list[str] = []
    while rows := await reader.next_rows(0.0):
        found += [event.kind for row in rows for event in row.events]
    return found


# --- requests ---------------------------------------------------------------------------------------------------------


@behaviour("MBX-025", "MBX-026", "MBX-028")
def test_a_request_has_one_form_in_which_what_was_not_asked_is_absent() -> None:
    """Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field."""
    bare = RunRequest(Intent(AgentId("a")), (MessageId("m"),))
    encoded = msgspec.json.encode(bare)

    assert msgspec.json.decode(encoded) == {"intent": {"agent_id": "a"}, "input_message_ids": ["m"]}
    assert msgspec.json.decode(encoded, type=RunRequest) == bare
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"intent": {"agent_id": "a"}, "input_message_ids": 3}', type=RunRequest)


@behaviour("MBX-031")
async def test_a_mailbox_has_one_store_so_no_two_can_disagree(store: WatchedStore, clock: ManualClock) -> None:
    """Without it nothing is known, and nothing is accepted."""
    async with World(store, clock) as world:
        submission = await world.submit()
        store.go_down()
        store.refuse_read = StoreUnavailable("no reads")

        for asking in (
            world.submit("another"),
            world.run(submission),
            world.mailbox.get_thread(DEFAULT_SCOPE, THREAD),
            world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id),
        ):
            with pytest.raises(StoreUnavailable):
                await asking
        store.come_back()
        store.refuse_read = None
        assert await world.texts() == ["hello"]


@behaviour("MBX-033", "P-012", "P-013")
async def test_a_dispatch_is_only_made_together_with_its_run(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit(run_id=None)

        assert submission.run.run_id
        assert (await world.dispatch(submission)).run_id == submission.run.run_id
        [submit] = [each for each in store.transitions if isinstance(each, Submit)]
        assert (submit.run_id, submit.dispatch_id) == (submission.run.run_id, submission.run.dispatch_id)


@behaviour("MBX-167", "SV-026", "MBX-215")
async def test_a_submit_that_fails_leaves_what_was_there_and_nothing_of_its_own(
    store: WatchedStore, clock: ManualClock
) -> None:
    """No message, no run, and so no event that tells of a failure."""
    async with World(store, clock) as world:
        kept = await world.submit("kept", delay_s=5)
        before = await world.dispatch(kept)
        kinds = await world.kinds()

        for thread in ("t", "new"):
            store.fail_once(Submit)
            with pytest.raises(StoreUnavailable):
                await world.submit("lost", thread_id=thread, run_id=f"run-{thread}")
            assert await store.load_run(DEFAULT_SCOPE, RunId(f"run-{thread}")) is None

        assert (await world.dispatch(kept), await world.kinds()) == (before, kinds)
        with pytest.raises(ThreadNotFound):
            await world.mailbox.get_thread(DEFAULT_SCOPE, ThreadId("new"))


@behaviour("MBX-078")
async def test_a_submit_to_a_busy_thread_is_never_refused_and_never_cancelled(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Claiming is an offer inside the submit: one that wins nothing leaves the run queued."""
    async with World(store, clock) as world:
        results = await asyncio.gather(*[world.submit(str(n)) for n in range(10)], return_exceptions=True)
        assert not any(isinstance(result, BaseException) for result in results)

        listed = await store.list_dispatches(DEFAULT_SCOPE, DispatchQuery(thread_id=THREAD))
        assert [each.status for each in listed.items] == [DispatchStatus.CLAIMED] + [DispatchStatus.QUEUED] * 9


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


# --- what a process keeps ---------------------------------------------------------------------------------------------


@behaviour("MBX-080")
async def test_looking_for_work_on_a_busy_thread_changes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    """There is no worker per thread whose state a poll could corrupt: slots are counted, claims are rows."""
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        await world.advance(120)

        assert (call.is_over, world.free_slots, world.mailbox.health().executing) == (False, 99, 1)
        assert (await world.run(submission)).status is RunStatus.RUNNING


@behaviour("MBX-127", "MBX-128", "MBX-129", "P-010", "P-014", "P-019")
async def test_an_idle_thread_costs_a_mailbox_nothing(store: WatchedStore, clock: ManualClock) -> None:
    """No worker stands for a thread, with work or without, so none has to be collected, and none asks for anything."""
    async with World(store, clock) as world:
        without_threads = await _operations_in(world, 120)
        for number in range(20):
            await world.submit(thread_id=f"t{number}")
            (await world.agent.next_call()).release()
            await world.submit(thread_id=f"t{number}", delay_s=3_600)
        await world.quiet()

        health = world.mailbox.health()
        assert (health.executing, health.free_slots, world.mailbox.reader_count) == (0, 100, 0)
        assert await _operations_in(world, 120) == without_threads
        assert len(world.agent.calls) == 20
        assert (await world.submit(thread_id="t0")).status == "running"


async def _operations_in(world: World, seconds: float) -> int:
    """How much is asked of the store meanwhile, but for what the audit looks at in slices."""
    before = world.store.ended_count - world.store.audit_count
    await world.advance(seconds)
    return world.store.ended_count - world.store.audit_count - before


@behaviour("P-010")
async def test_a_dispatch_that_ends_ends_its_run_in_the_same_transaction(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Cancelled, superseded and dead-lettered, seen right after the one apply that did it."""
    async with World(store, clock) as world:
        await world.submit("running")
        cancelled, superseded = await world.submit("a"), await world.submit("b")
        await world.mailbox.cancel(DEFAULT_SCOPE, cancelled.run.run_id)
        await world.mailbox.interrupt(DEFAULT_SCOPE, THREAD)
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


# --- stopping ---------------------------------------------------------------------------------------------------------


@behaviour("MBX-268", "MBX-269", "MBX-270", "MBX-271")
async def test_a_run_and_a_thread_of_one_name_are_stopped_apart(store: WatchedStore, clock: ManualClock) -> None:
    """Each is stopped by an operation of its own, so no id is looked up as both."""
    async with World(store, clock) as world:
        named = await world.submit(thread_id="t", run_id="x")
        thread = await world.submit(thread_id="x", run_id="y")
        await world.quiet()

        await world.mailbox.cancel(DEFAULT_SCOPE, RunId("x"))
        assert (await world.done(named)).termination == CANCELLED
        assert (await world.run(thread)).status is RunStatus.RUNNING

        await world.mailbox.cancel_thread(DEFAULT_SCOPE, ThreadId("x"))
        assert (await world.done(thread)).termination == CANCELLED


@behaviour("MBX-266", "MBX-284")
async def test_cancelling_a_thread_that_executes_nothing_finds_nothing_to_stop(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        queued = await world.submit(delay_s=60)

        outcome = await world.mailbox.cancel_thread(DEFAULT_SCOPE, THREAD, wait_s=5)

        assert (outcome.state, outcome.run) == ("stopped", None)
        assert (await world.run(queued)).status is RunStatus.CREATED
        with pytest.raises(ThreadNotFound):
            await world.mailbox.cancel_thread(DEFAULT_SCOPE, ThreadId("nowhere"))


@behaviour("LV-001", "LV-002", "LV-003", "LV-004", "LV-005", "LV-006", "LV-007", "LV-008", "LV-009", "LV-010")
@behaviour("LV-011", "LV-013", "LV-014", "LV-015", "MBX-250", "MBX-251", "MBX-252", "MBX-253", "MBX-254")
@behaviour("MBX-255", "MBX-256")
async def test_what_is_asked_of_a_run_is_stored_whether_or_not_its_owner_can_be_reached(
    store: WatchedStore, clock: ManualClock
) -> None:
    """No delivery is acknowledged, ordered or aimed, and none can be lost: whoever has the run next carries it out."""
    store.exclusive = False
    async with World(store, clock) as asking:
        mine = WatchedStore(store)
        async with World(mine, clock, seed=2) as owner:
            submission = await owner.submit()
            bystander = await owner.submit(thread_id="bystander")
            await owner.quiet()
            mine.go_down()  # the owner hears of nothing any more

            outcome = await asking.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)

            assert outcome.state == "requested"
            assert (await asking.run(submission)).cancel_requested_at == clock.now()
            assert (await asking.run(bystander)).cancel_requested_at is None
            mine.come_back()
            await owner.advance(5)
            assert (await asking.run(submission)).termination == CANCELLED
            assert (await asking.kinds(submission)).count("CancelRequested") == 1
            assert (await asking.run(bystander)).status is RunStatus.RUNNING


# --- wake-ups ---------------------------------------------------------------------------------------------------------


class Crier(WatchedStore):
    """Signals in vain, doubled and late, and never when there is something to do."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, exclusive=False)
        self._heard_by: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._heard_by.append(listener)

    def unlisten(self, listener: Listener) -> None:
        self._heard_by.remove(listener)

    def cry(self) -> None:
        for listener in self._heard_by * 3:
            listener(Signal(frozenset({(DEFAULT_SCOPE, THREAD), (DEFAULT_SCOPE, ThreadId("nobody"))})))
            listener(Signal(None))


@behaviour("SG-003", "SG-004", "SG-005", "SG-006", "SG-007", "SG-008", "SG-009", "SG-013", "SG-014", "P-015")
@behaviour("MBX-005", "MBX-140")
async def test_a_wake_up_that_is_lost_late_or_doubled_costs_a_look_and_nothing_else(
    store: WatchedStore, clock: ManualClock
) -> None:
    """It is a hint without a receipt: nothing is acknowledged, handed back or sent again."""
    crier = Crier(store)
    async with World(crier, clock, executes=False, seed=2) as asking, World(crier, clock) as working:
        crier.cry()
        submission = await asking.submit()
        await working.advance(60)
        assert len(working.agent.calls) == 1

        crier.cry()
        await working.quiet()
        working.agent.calls[0].release("answer")
        await working.quiet()
        crier.cry()
        await working.advance(60)

        assert len(working.agent.calls) == 1
        assert (await asking.run(submission)).final_output == "answer"


# --- readers ----------------------------------------------------------------------------------------------------------


@behaviour("D-005", "P-017", "P-018")
@behaviour("CC-018", "CC-019", "CC-021", "CC-023", "DS-001", "DS-002", "DS-003", "DS-004", "DS-005", "DS-015", "DS-016")
@behaviour("MBX-158", "MBX-159", "MBX-160", "MBX-161", "MBX-162", "MBX-164", "MBX-173", "MBX-207", "MBX-208", "MBX-209")
@behaviour("MBX-287", "MBX-293", "MBX-294", "MBX-308", "MBX-309")
async def test_an_event_is_shown_after_its_commit_and_never_without_it(store: WatchedStore, clock: ManualClock) -> None:
    """None is forwarded before, staged, left out, or published by somebody else; deltas and states alike."""

    async def talker(context: Context) -> str:
        await context.emit(text_delta("first"))
        await context.step("one", lambda: 1)
        await context.emit(text_delta("second"))
        return "done"

    async with World(store, clock, agents={"talker": talker}) as world:
        store.hold(Commit)
        submission = await world.submit(agent_id="talker")
        async with world.mailbox.read_thread(DEFAULT_SCOPE, THREAD) as reader:
            await world.quiet()
            assert await shown(reader) == ["RunQueued", "MessageCommitted", "RunSubmitted", "RunStarted"]

            store.fail_once(Settle)
            store.let_go()
            await world.quiet()
            before = await shown(reader)
            assert "TextDeltaObserved" in before and "RunFinished" not in before

            await world.advance(1)
            after = await shown(reader)

        assert [kind for kind in before + after if kind in ("TextDeltaObserved", "RunFinished")] == [
            "TextDeltaObserved",
            "TextDeltaObserved",
            "RunFinished",
        ]
        assert (await world.kinds(submission))[4:] == before + after


@behaviour("MBX-217", "MBX-218", "MBX-219", "MBX-220", "MBX-221", "MBX-316", "MBX-317", "MBX-327", "MBX-328", "MBX-329")
@behaviour("MBX-330", "MBX-331", "MBX-332", "MBX-333", "MBX-334", "MBX-335", "MBX-336", "MBX-337", "MBX-338", "MBX-339")
@behaviour("MBX-340", "MBX-341", "MBX-342", "MBX-343", "MBX-344", "MBX-345", "MBX-346", "MBX-347", "MBX-348", "MBX-349")
async def test_between_an_agent_and_its_readers_there_is_nothing_but_the_log(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Readers that leave, take nothing, or come when all is over cost the agent nothing, and each sees every event."""
    count, go_on = 2_000, asyncio.Event()

    async def talker(context: Context) -> None:
        for number in range(count):
            if number == count // 2:
                await go_on.wait()
            await context.emit(text_delta(str(number)))

    async with World(store, clock, agents={"talker": talker}) as world:
        submission = await world.submit(agent_id="talker")
        async with world.mailbox.read_thread(DEFAULT_SCOPE, THREAD) as idle:
            async with world.mailbox.read_thread(DEFAULT_SCOPE, THREAD) as leaving:
                await world.quiet()
                first = await shown(leaving)
            go_on.set()
            assert (await world.done(submission)).status is RunStatus.DONE
            async with world.mailbox.read_thread(DEFAULT_SCOPE, THREAD, after=len(first)) as back:
                assert first + await shown(back) == await world.kinds()
            assert await shown(idle) == await world.kinds()
        async with world.mailbox.read_run(DEFAULT_SCOPE, submission.run) as late:
            found = await shown(late)
        assert (found.count("TextDeltaObserved"), found[-1]) == (count, "RunFinished")
        async with world.mailbox.read_thread(DEFAULT_SCOPE, THREAD, after=len(found)) as nothing:
            assert await shown(nothing) == []
        assert world.mailbox.reader_count == 0
