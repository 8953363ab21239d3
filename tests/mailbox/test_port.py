"""The write buffer of one run: order, bounds, one commit at a time, what gathers, and what survives cancellation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from awaken.domain.clock import Timer
from awaken.domain.errors import LeaseLost, PermanentFailure, StoreUnavailable
from awaken.domain.event import ActivitySnapshot, Event, StateSnapshot, ToolCallStreamDelta
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, ThreadId
from awaken.domain.message import Json, Message, Role, assistant_message, user_message
from awaken.domain.run import Usage
from awaken.executors.contract import Entry, Finished, RunPort
from awaken.executors.function import Context
from awaken.mailbox.cancellation import to_the_end
from awaken.mailbox.settings import WRITE_BUFFER_BYTES, WRITE_BUFFER_EVENTS, WRITE_BUFFER_WAIT_S, MailboxSettings
from awaken.mailbox.submission import Submission
from awaken.store.transitions import Commit, Renew, Settle
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.events import text_delta
from awaken.testing.mailboxes import Call, WatchedStore, World

Script = Callable[[RunPort], Awaitable[None]]


class Driver:
    """Runs one script against the port."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def drive(self, entry: Entry, port: RunPort) -> Finished:
        await self._script(port)
        return Finished()


def commits(store: WatchedStore) -> list[Commit]:
    return [each for each in store.transitions if isinstance(each, Commit)]


async def deltas(world: World) -> list[str]:
    rows = await world.store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=1_000_000)
    events = [event for row in rows for event in row.events if event.kind == "TextDeltaObserved"]
    return [msgspec.json.decode(event.payload)["delta"] for event in events]


async def test_everything_a_run_writes_arrives_in_the_order_it_was_written(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def script(port: RunPort) -> None:
        for number in range(100):
            await port.emit(text_delta(str(number)))
            if number % 10 == 9:
                await port.commit_assistant(assistant_message(port.new_message_id(), f"m{number}"))
                await port.close_step(turn=None, usage=Usage(model_calls=number))

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        run = await world.done(submission)

        assert await deltas(world) == [str(number) for number in range(100)]
        assert await world.texts() == ["hello", *[f"m{number}" for number in range(9, 100, 10)]]
        assert (run.steps, run.usage.model_calls, run.final_output) == (10, 99, "m99")


async def test_messages_that_come_in_are_durable_and_close_no_step(store: WatchedStore, clock: ManualClock) -> None:
    seen: list[object] = []

    async def script(port: RunPort) -> None:
        await port.commit_extra(user_message(port.new_message_id(), "one"), user_message(port.new_message_id(), "two"))
        seen.extend([port.steps, await world.texts()])

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        run = await world.done(await world.submit(agent_id="d"))

        assert seen == [0, ["hello", "one", "two"]]
        assert run.steps == 0


@behaviour("MBX-161", "MBX-207")
async def test_events_emitted_while_a_commit_is_in_flight_leave_together_with_the_next(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def script(port: RunPort) -> None:
        await port.emit(text_delta("0"))
        await settle()
        for number in range(1, 50):
            await port.emit(text_delta(str(number)))
        store.let_go()
        await port.close_step(turn=None, usage=Usage())

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        store.hold()
        await world.done(submission)

        assert [len(commit.entries) for commit in commits(store)] == [1, 49]


async def test_of_messages_that_cannot_all_be_stored_none_is_written(store: WatchedStore, clock: ManualClock) -> None:
    async def script(port: RunPort) -> None:
        good = assistant_message(port.new_message_id(), "good")
        messages = [good, msgspec.structs.replace(good, id=port.new_message_id(), content=(Json(object()),))]
        with pytest.raises(PermanentFailure, match="cannot be stored"):
            await port.close_step(turn=None, usage=Usage(), extra=messages)

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        run = await world.done(submission)

        assert (run.final_output, await world.texts()) == (None, ["hello"])


async def test_what_is_left_at_the_end_leaves_with_the_settlement_and_not_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def script(port: RunPort) -> None:
        await port.emit(text_delta("the end"))

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        await world.done(submission)
        await world.quiet()

        assert await deltas(world) == ["the end"]
        assert commits(store) == []


async def test_who_waits_for_what_is_left_hears_that_the_run_is_over(store: WatchedStore, clock: ManualClock) -> None:
    waiting: list[asyncio.Task[object]] = []

    async def script(port: RunPort) -> None:
        waiting.append(asyncio.create_task(port.close_step(turn=None, usage=Usage(model_calls=7))))
        await asyncio.sleep(0)  # it has asked, and nothing has left yet

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        run = await world.done(submission)
        async with asyncio.timeout(10):
            await asyncio.wait(waiting)

        assert (commits(store), run.usage.model_calls) == ([], 7)
        assert isinstance(waiting[0].exception(), LeaseLost)


@pytest.mark.parametrize(
    ("event", "bound"),
    [(text_delta("x"), WRITE_BUFFER_EVENTS), (text_delta("x" * 8_192), WRITE_BUFFER_BYTES // 8_192)],
    ids=["events", "bytes"],
)
async def test_emit_waits_at_the_bound_and_goes_on_when_the_store_does(
    store: WatchedStore, clock: ManualClock, event: Event, bound: int
) -> None:
    emitted = 0

    async def script(port: RunPort) -> None:
        nonlocal emitted
        for _ in range(bound * 2):
            await port.emit(event)
            emitted += 1

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        store.hold()
        await world.quiet()
        assert bound * 0.9 <= emitted <= bound + 1

        store.let_go()
        await world.done(submission)
        assert (emitted, len(await deltas(world))) == (bound * 2, bound * 2)


# --- what nobody waits for gathers ------------------------------------------------------------------------------------

A_MOMENT_S = WRITE_BUFFER_WAIT_S / 10


class Timed(ManualClock):
    """Knows the timers of the write buffer that have neither fired nor been cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.gathering: set[object] = set()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        if delay_s != WRITE_BUFFER_WAIT_S:
            return super().call_later(delay_s, callback)

        def fire() -> None:
            self.gathering.discard(timer)
            callback()

        timer = _Watched(super().call_later(delay_s, fire), self.gathering)
        return timer


class _Watched:
    def __init__(self, timer: Timer, waiting: set[object]) -> None:
        self._timer = timer
        self._waiting = waiting
        waiting.add(self)

    def cancel(self) -> None:
        self._waiting.discard(self)
        self._timer.cancel()


@pytest.fixture
def timed() -> Timed:
    return Timed()


@pytest.fixture
def clock(timed: Timed) -> ManualClock:
    return timed


async def streaming(world: World, store: WatchedStore) -> tuple[Submission, Call]:
    """An agent at work whose first piece of text has landed: it left without waiting for anything."""
    submission = await world.submit()
    call = await world.agent.next_call()
    await call.context.emit(text_delta("first"))
    await world.quiet()
    assert len(commits(store)) == 1
    return submission, call


@behaviour("NC-006")
async def test_the_first_text_leaves_at_once_and_what_follows_gathers_for_a_bounded_time(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        _, call = await streaming(world, store)
        await call.context.emit(text_delta("1"))
        for number in ("2", "3"):
            await world.advance(A_MOMENT_S)
            await call.context.emit(text_delta(number))
        await world.advance(WRITE_BUFFER_WAIT_S - 3 * A_MOMENT_S)
        assert await deltas(world) == ["first"]

        await world.advance(1.1 * A_MOMENT_S)
        assert [len(commit.entries) for commit in commits(store)] == [2, 3]  # the first has the start of the step too
        await call.context.emit(text_delta("4"))
        await world.advance(WRITE_BUFFER_WAIT_S)
        assert await deltas(world) == ["first", "1", "2", "3", "4"]


@behaviour("NC-006")
async def test_what_came_while_a_commit_was_on_its_way_gathers_from_its_landing(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        _, call = await streaming(world, store)
        await call.context.emit(text_delta("on its way"))
        store.hold(Commit)
        await world.advance(WRITE_BUFFER_WAIT_S)
        await call.context.emit(text_delta("behind it"))
        store.let_go()
        await world.quiet()
        assert await deltas(world) == ["first", "on its way"]

        await world.advance(WRITE_BUFFER_WAIT_S)
        assert await deltas(world) == ["first", "on its way", "behind it"]


@behaviour("NC-006")
async def test_what_somebody_waits_for_takes_along_what_has_gathered(store: WatchedStore, timed: Timed) -> None:
    async with World(store, timed) as world:
        _, call = await streaming(world, store)
        await call.context.emit(text_delta("gathered"))
        await world.quiet()
        assert len(timed.gathering) == 1

        assert await call.context.step("a step", lambda: "done") == "done"  # time stands still, so this would never end
        assert (await deltas(world), len(commits(store))) == (["first", "gathered"], 2)
        assert not timed.gathering


@behaviour("NC-006")
async def test_the_bound_of_the_buffer_lets_it_leave_without_waiting(store: WatchedStore, timed: Timed) -> None:
    async with World(store, timed) as world:
        _, call = await streaming(world, store)
        for number in range(WRITE_BUFFER_EVENTS):
            await call.context.emit(text_delta(str(number)))
            await asyncio.sleep(0)  # each is looked at by itself

        assert [len(commit.entries) for commit in commits(store)] == [2, WRITE_BUFFER_EVENTS]
        assert not timed.gathering


@behaviour("NC-006")
@pytest.mark.parametrize("end", ["returns", "fails", "is cancelled", "is interrupted"])
async def test_the_rest_leaves_with_the_settlement_and_leaves_no_timer(
    store: WatchedStore, timed: Timed, end: str
) -> None:
    async with World(store, timed) as world:
        submission, call = await streaming(world, store)
        await call.context.emit(text_delta("rest"))
        await world.quiet()
        assert len(timed.gathering) == 1

        match end:
            case "returns":
                call.release("done")
            case "fails":
                call.fail(PermanentFailure("no"))
            case "is cancelled":
                await world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)
            case _:
                await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        run = await world.done(submission)
        assert run.termination is not None
        assert (await deltas(world), timed.gathering) == (["first", "rest"], set())


@behaviour("NC-006")
async def test_a_lease_that_cannot_be_confirmed_leaves_no_timer(store: WatchedStore, timed: Timed) -> None:
    shared = WatchedStore(store, exclusive=False)
    shared.refuse = lambda batch: StoreUnavailable("no") if any(type(each) is Renew for each in batch) else None
    settings = MailboxSettings(drain_s=0, handover_s=0)
    async with World(shared, timed, settings=settings) as world:
        _, call = await streaming(world, shared)
        await world.advance(settings.lease_ms / 1000 - settings.stop_margin_s - A_MOMENT_S)
        await call.context.emit(text_delta("never stored"))
        await world.quiet()
        assert len(timed.gathering) == 1

        await world.advance(2 * A_MOMENT_S)
        assert (call.is_over, timed.gathering) == (True, set())
        await world.advance(WRITE_BUFFER_WAIT_S)
        assert await deltas(world) == ["first"]


@behaviour("NC-006")
async def test_a_mailbox_that_is_left_leaves_no_timer_and_loses_nothing(store: WatchedStore, timed: Timed) -> None:
    async with World(store, timed) as world:
        _, call = await streaming(world, store)
        await call.context.emit(text_delta("rest"))
        await world.quiet()
        assert len(timed.gathering) == 1

        left_s = timed.monotonic()
        await world.leave()
        assert timed.gathering == set()
        assert timed.monotonic() - left_s <= 1, "it was handed over without waiting for the timer"
        async with World(store, timed) as again:
            assert (await deltas(again))[:2] == ["first", "rest"]


async def test_parallel_steps_share_commits_and_never_more_than_one_is_in_flight(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def parallel(context: Context) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(context.step(f"s{number}", lambda number=number: number))

    async with World(store, clock, agents={"p": parallel}) as world:
        run = await world.done(await world.submit(agent_id="p"))

        assert run.steps == 40
        assert len(await store.list_journal(DEFAULT_SCOPE, run.run_id)) == 40
        assert len(commits(store)) <= 2
        assert all(sum(isinstance(each, Commit | Settle) for each in batch) <= 1 for batch in store.batches)


async def test_a_commit_survives_however_often_its_run_is_cancelled(store: WatchedStore, clock: ManualClock) -> None:
    over: list[bool] = []

    async def script(port: RunPort) -> None:
        await port.emit(text_delta("a"))
        try:
            await port.commit_assistant(assistant_message(MessageId("m1"), "whole"))
        finally:
            over.append(True)

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        store.hold()
        await world.quiet()
        stopping = [
            asyncio.create_task(world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id, wait_s=5)) for _ in range(3)
        ]
        await world.quiet()
        assert over == []

        store.let_go()
        await asyncio.gather(*stopping)
        assert over == [True]
        assert await world.texts() == ["hello", "whole"]
        assert (await world.run(submission)).termination is not None


async def test_finish_ends_the_work_before_it_lets_a_cancellation_pass() -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_finishing(gate))
    for _ in range(5):
        await settle()
        task.cancel()
    await settle()
    assert not task.done()

    gate.set_result("done")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not gate.cancelled()


async def test_finish_prefers_the_failure_of_the_work_to_the_cancellation() -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_finishing(gate))
    await settle()
    task.cancel()
    await settle()
    gate.set_exception(LeaseLost("d1", "somebody else's"))

    with pytest.raises(LeaseLost):
        await task


async def _finishing(work: asyncio.Future[str]) -> str:
    return await to_the_end(work)


async def test_an_open_stream_is_reset_when_its_turn_will_not_be_committed(
    store: WatchedStore, clock: ManualClock
) -> None:
    attempts = 0

    async def script(port: RunPort) -> None:
        nonlocal attempts
        attempts += 1
        await port.emit(text_delta("half"))
        if attempts == 1:
            raise RuntimeError("the connection broke")
        await port.commit_assistant(assistant_message(port.new_message_id(), "half and half"))

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        await world.advance(1)

        kinds = await world.kinds(submission)
        assert kinds[4:] == [
            *("TextDeltaObserved", "StreamReset", "RunRescheduled", "RunSubmitted", "RunResumed"),
            *("TextDeltaObserved", "MessageCommitted", "RunFinished"),
        ]


async def test_what_a_leftover_task_of_an_ended_run_says_changes_nothing(
    store: WatchedStore, clock: ManualClock
) -> None:
    leftover: list[asyncio.Task[None]] = []
    go = asyncio.Event()

    async def late(port: RunPort) -> None:
        await go.wait()
        await port.emit(text_delta("too late"))
        await port.commit_assistant(assistant_message(port.new_message_id(), "far too late"))

    async def script(port: RunPort) -> None:
        leftover.append(asyncio.create_task(late(port)))

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        submission = await world.submit(agent_id="d")
        await world.done(submission)
        go.set()
        with pytest.raises(LeaseLost):
            await leftover[0]
        assert await world.texts() == ["hello"]
        assert (await world.kinds(submission))[-1] == "RunFinished"


async def test_a_message_that_cannot_be_stored_fails_in_the_hands_of_the_agent(
    store: WatchedStore, clock: ManualClock
) -> None:
    errors: list[Exception] = []

    async def script(port: RunPort) -> None:
        odd = assistant_message(port.new_message_id(), "")
        try:
            await port.commit_assistant(msgspec.structs.replace(odd, content=(Json(object()),)))
        except Exception as error:
            errors.append(error)
        await port.commit_assistant(assistant_message(port.new_message_id(), "recovered"))

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        run = await world.done(await world.submit(agent_id="d"))

        assert (len(errors), run.final_output) == (1, "recovered")
        assert [message.role for message in await world.messages()] == [Role.USER, Role.ASSISTANT]


# --- what an execution reads ------------------------------------------------------------------------------------------


async def test_what_a_run_was_given_comes_with_its_claim_and_is_read_from_nowhere(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def reading(context: Context) -> str:
        store.refuse_read = StoreUnavailable("nothing may be read")
        try:
            return await context.input()
        finally:
            store.refuse_read = None

    async with World(store, clock, agents={"reading": reading}) as world:
        runs = [await world.submit(text, agent_id="reading") for text in ("first", "second")]
        assert [(await world.done(run)).final_output for run in runs] == ["first", "second"]


async def test_the_conversation_is_read_once_in_each_execution(store: WatchedStore, clock: ManualClock) -> None:
    seen: list[list[str]] = []

    async def reading(context: Context) -> str:
        seen.append([message.text for message in await context.messages()])
        store.refuse_read = StoreUnavailable("it has been read")
        try:
            seen.append([message.text for message in await context.messages()])
        finally:
            store.refuse_read = None
        return "answer"

    async with World(store, clock, agents={"reading": reading}) as world:
        for text in ("one", "two"):
            await world.done(await world.submit(text, agent_id="reading"))

    assert seen == [["one"]] * 2 + [["one", "answer", "two"]] * 2


async def test_half_characters_of_messages_and_events_are_mended(store: WatchedStore, clock: ManualClock) -> None:
    async def script(port: RunPort) -> None:
        await port.emit(text_delta("half \ud83d"))
        await port.commit_assistant(assistant_message(port.new_message_id(), "half \ud83d"))

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        run = await world.done(await world.submit(agent_id="d"))
        rows = await store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=100)
        [delta] = [event for row in rows for event in row.events if event.kind == "TextDeltaObserved"]

        assert run.final_output == "half \ufffd"
        assert msgspec.json.decode(delta.payload)["delta"] == "half \ufffd"


async def test_numbers_that_are_none_have_their_names_in_messages_and_events(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Null would be another value, and nobody would hear of it."""
    value = {"loss": [math.nan, math.inf, -math.inf, 0.5]}
    named = {"loss": ["NaN", "Infinity", "-Infinity", 0.5]}

    async def script(port: RunPort) -> None:
        await port.emit(ActivitySnapshot("train", "progress", value), StateSnapshot(value, 1))
        await port.emit(ToolCallStreamDelta("c", value=(math.nan,)))
        await port.commit_tool(Message(id=port.new_message_id(), role=Role.ASSISTANT, content=(Json(value),)))

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        await world.done(await world.submit(agent_id="d"))
        rows = await store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=100)
        found = {event.kind: msgspec.json.decode(event.payload) for row in rows for event in row.events}

        assert found["ActivitySnapshotObserved"]["content"] == named
        assert found["StateSnapshotObserved"]["state"] == named
        assert found["ToolCallStreamDeltaObserved"]["value"] == ["NaN"]
        assert (await world.messages())[-1].content == (Json(named),)


async def test_the_journal_counts_against_the_buffer(store: WatchedStore, clock: ManualClock) -> None:
    """What a step returned is as heavy as what was streamed: `emit` waits behind it."""
    found: list[bool] = []

    async def script(port: RunPort) -> None:
        value = msgspec.Raw(msgspec.json.encode("x" * WRITE_BUFFER_BYTES))
        store.hold(Commit)
        await port.emit(text_delta("first"))
        await settle()  # it is on its way, and held
        step = asyncio.create_task(port.commit_step("large#1", value))
        await settle()
        streaming = asyncio.create_task(port.emit(text_delta("second")))
        await settle()
        found.append(streaming.done())
        store.let_go()
        await step
        await streaming

    async with World(store, clock, agents={"d": Driver(script)}) as world:
        await world.done(await world.submit(agent_id="d"))
        assert found == [False]
