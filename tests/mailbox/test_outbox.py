"""What runs do to other threads arrives there once, in order, whatever dies or fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from awaken.domain.errors import PermanentFailure, StoreUnavailable, UnknownAgent, ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, ThreadId, derived_id
from awaken.domain.outbox import MAX_HOPS
from awaken.domain.run import Origin, Run
from awaken.executors.function import Context
from awaken.executors.sending import Sent
from awaken.mailbox.outbox import MAX_KNOWN_OF_LANE
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import MessageQuery, RunQuery
from awaken.store.transitions import Commit, DeleteThread, Delivered, Submit, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

DESK = "desk"
_ALL_OF_USERS = MessageQuery(limit=10_000)


async def echo(ctx: Context) -> str:
    return f"got {await ctx.input()}"


def sends(*texts: str, to: str = "echo", thread_id: str | None = DESK) -> Callable[[Context], Any]:
    """An agent that sends each of the texts to another agent."""

    async def agent(ctx: Context) -> str:
        for text in texts:
            await ctx.send(to, text, thread_id=thread_id)
        return "sent"

    return agent


async def runs_of(world: World, thread_id: str) -> list[Run]:
    query = RunQuery(thread_id=ThreadId(thread_id), limit=200)
    return [*(await world.store.list_runs(DEFAULT_SCOPE, query)).items]


def delivered(store: WatchedStore) -> int:
    return sum([len(each.rows) for each in store.transitions if isinstance(each, Delivered)])


@behaviour("MBX-222", "MBX-223")
async def test_a_message_to_an_agent_opens_a_run_on_its_thread(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"caller": sends("hello"), "echo": echo}) as world:
        sender = await world.done(await world.submit(agent_id="caller", thread_id="home"))
        await world.quiet()

        [run] = await runs_of(world, DESK)
        assert run.final_output == "got hello"
        trace = run.request.trace
        assert (trace.origin, trace.hops) == (Origin.INTERNAL, 1)
        assert trace.sender is not None
        assert (trace.sender.agent_id, trace.sender.thread_id, trace.sender.run_id) == (
            "caller", "home", sender.run_id,
        )  # fmt: skip
        assert [message.metadata.sender_agent_id for message in await world.messages(DESK)] == ["caller", None]
        assert "MessageSent" in await world.kinds(sender)
        assert await store.list_outbox() == []


async def test_a_message_costs_a_commit_a_submit_and_a_share_of_a_delivery(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"caller": sends("hello"), "echo": echo}) as world:
        before = len(store.transitions)
        await world.submit(agent_id="caller", thread_id="home")
        await world.quiet()

        asked = [type(each).__name__ for each in store.transitions[before:]]
        assert sorted(asked) == ["Commit", "Delivered", "Settle", "Settle", "Submit", "Submit"]


async def test_a_message_without_a_thread_gets_a_new_one(store: WatchedStore, clock: ManualClock) -> None:
    seen: list[Sent] = []

    async def caller(ctx: Context) -> None:
        seen.append(await ctx.send("echo", "one"))
        seen.append(await ctx.send("echo", "two"))

    async with World(store, clock, agents={"caller": caller, "echo": echo}) as world:
        await world.submit(agent_id="caller")
        await world.quiet()
        first, second = seen
        assert first.thread_id != second.thread_id
        assert await world.texts(first.thread_id) == ["one", "got one"]
        assert (await world.run(second.run_id)).final_output == "got two"


@behaviour("CH-009")
async def test_messages_to_one_thread_arrive_in_order(store: WatchedStore, clock: ManualClock) -> None:
    texts = [str(number) for number in range(20)]
    async with World(store, clock, agents={"caller": sends(*texts), "echo": echo}) as world:
        await world.submit(agent_id="caller", thread_id="home")
        await world.quiet()

        assert [run.final_output for run in await runs_of(world, DESK)] == [f"got {text}" for text in texts]


async def test_more_messages_than_are_kept_in_memory_arrive_in_order(store: WatchedStore, clock: ManualClock) -> None:
    texts = [str(number) for number in range(2 * MAX_KNOWN_OF_LANE + 5)]

    async def caller(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            for text in texts:
                group.create_task(ctx.send("echo", text, thread_id=DESK))

    async with World(store, clock, agents={"caller": caller, "echo": echo}, patience_s=60) as world:
        store.hold(Delivered)
        await world.submit(agent_id="caller", thread_id="home")
        await world.quiet()
        store.let_go()
        await world.quiet()

        found = await store.list_messages(DEFAULT_SCOPE, ThreadId(DESK), _ALL_OF_USERS)
        assert [each.message.text for each in found if each.message.role == "user"] == texts
        assert await store.list_outbox() == []


@behaviour("MBX-224")
async def test_a_message_is_not_sent_again_by_an_execution_that_comes_there_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    seen: list[Sent] = []

    async def caller(ctx: Context) -> str:
        seen.append(await ctx.send("echo", "hello", thread_id=DESK))
        seen.append(await ctx.send("echo", "again", thread_id=DESK, name="other"))
        if len(seen) == 2:
            raise ConnectionError("the network")
        return "done"

    async with World(store, clock, agents={"caller": caller, "echo": echo}) as world:
        run = await world.submit(agent_id="caller", thread_id="home")
        await world.advance(5)
        assert (await world.done(run)).final_output == "done"

        assert seen[:2] == seen[2:]
        assert [run.final_output for run in await runs_of(world, DESK)] == ["got hello", "got again"]
        assert delivered(store) == 2


# --- what fails on the way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Commit, Delivered])
async def test_a_lost_answer_costs_no_message_and_doubles_none(
    store: WatchedStore, clock: ManualClock, kind: type[Transition]
) -> None:
    async with World(store, clock, agents={"caller": sends("one", "two"), "echo": echo}) as world:
        store.lose_answer(kind)
        await world.submit(agent_id="caller", thread_id="home")
        await world.advance(40)

        assert [run.final_output for run in await runs_of(world, DESK)] == ["got one", "got two"]
        assert await store.list_outbox() == []


async def test_a_delivery_whose_answer_is_lost_is_repeated_without_a_second_run(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"caller": sends("one"), "echo": echo}) as world:
        store.hold(Commit)
        run = await world.submit(agent_id="caller", thread_id="home")
        await world.quiet()
        store.lose_answer(Submit)
        store.let_go()
        await world.done(run)
        await world.advance(40)

        assert [run.final_output for run in await runs_of(world, DESK)] == ["got one"]
        assert await store.list_outbox() == []


async def test_a_store_that_does_not_write_delays_a_message_and_no_more(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"caller": sends("one"), "echo": echo}) as world:
        store.fail_once(Delivered)
        await world.submit(agent_id="caller", thread_id="home")
        await world.quiet()
        assert [row.thread_id for row in await store.list_outbox()] == [DESK]

        await world.advance(2)
        assert await store.list_outbox() == []
        assert [run.final_output for run in await runs_of(world, DESK)] == ["got one"]


async def test_what_was_not_delivered_when_the_process_ended_is_at_the_next_start(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Both before and after the other thread has taken it: the first process dies before it can say so."""
    for number, kind in enumerate((Submit, Delivered)):
        async with World(store, clock, agents={"caller": sends("one"), "echo": echo}, seed=10 + number) as world:
            store.hold(Commit)
            run = await world.submit(agent_id="caller", thread_id=f"home-{number}")
            await world.quiet()
            store.let_go()
            store.refuse = lambda batch, kind=kind: _no(batch, kind)
            await world.done(run)
            await world.quiet()
            assert len(await store.list_outbox()) == 1
        store.come_back()
        async with World(store, clock, agents={"echo": echo}, seed=20 + number) as world:
            await world.advance(1)
            assert [run.final_output for run in await runs_of(world, DESK)] == ["got one"] * (number + 1)
            assert await store.list_outbox() == []


async def test_a_full_queue_holds_up_what_is_for_it_and_nothing_else(store: WatchedStore, clock: ManualClock) -> None:
    async def caller(ctx: Context) -> None:
        for text in ("one", "two", "three"):
            await ctx.send("gated", text, thread_id=DESK)
        await ctx.send("echo", "past it", thread_id="other")

    settings = MailboxSettings(drain_s=0, handover_s=0, max_queued_per_thread=1)
    async with World(store, clock, agents={"caller": caller, "echo": echo}, settings=settings) as world:
        await world.submit(agent_id="caller", thread_id="home")
        await world.quiet()
        assert await world.texts("other") == ["past it", "got past it"]
        assert len(await store.list_outbox()) == 1, "one runs, one is queued, one waits for room"

        for _ in range(3):
            call = await world.agent.next_call()
            call.release("done")
            await world.advance(31)
        assert [m.text for m in await world.messages(DESK) if m.role == "user"] == ["one", "two", "three"]
        assert await store.list_outbox() == []


@behaviour("CH-010")
async def test_a_message_that_can_never_arrive_is_reported_where_it_came_from(
    store: WatchedStore, clock: ManualClock
) -> None:
    texts: list[str] = []

    async def caller(ctx: Context) -> None:
        sent = await ctx.send("echo", "hello", thread_id=DESK)
        texts.append(sent.run_id)

    async with World(store, clock, agents={"caller": caller, "echo": echo}) as world:
        taken = derived_id("r", "send:send#1", "run")
        await world.submit(run_id=taken, thread_id="else")
        await world.done(await world.submit(agent_id="caller", thread_id="home", run_id="r"))
        await world.quiet()

        assert texts == [taken]
        assert (await world.kinds(thread_id="home"))[-1] == "MessageUndeliverable"
        assert await store.list_outbox() == []


async def test_a_deleted_thread_takes_no_message_and_is_not_made_again(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"caller": sends("one"), "echo": echo}) as world:
        await world.done(await world.submit(agent_id="echo", thread_id=DESK))
        await store.apply([DeleteThread(scope=DEFAULT_SCOPE, thread_id=ThreadId(DESK))])

        await world.done(await world.submit(agent_id="caller", thread_id="home"))
        await world.quiet()

        assert (await world.kinds(thread_id="home"))[-1] == "MessageUndeliverable"
        assert await store.load_thread(DEFAULT_SCOPE, ThreadId(DESK)) is None
        assert await store.list_outbox() == []


# --- what is refused --------------------------------------------------------------------------------------------------


@behaviour("MBX-225")
@pytest.mark.parametrize(
    ("agent", "message", "details", "error"),
    [
        ("nobody", "hi", {}, UnknownAgent),
        ("echo", "", {}, ValidationError),
        ("echo", 5, {}, ValidationError),
        ("echo", "hi", {"thread_id": "a b"}, ValidationError),
        ("echo", "hi", {"metadata": {"a": float("nan")}}, ValidationError),
        ("echo", "x" * 2_000, {}, PermanentFailure),
        ("echo", "hi", {"name": "a\0b"}, PermanentFailure),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_nothing_is_written(
    store: WatchedStore, clock: ManualClock, agent: str, message: Any, details: dict[str, Any], error: type[Exception]
) -> None:
    raised: list[Exception] = []

    async def caller(ctx: Context) -> str:
        try:
            await ctx.send(agent, message, **details)
        except Exception as caught:
            raised.append(caught)
        return "went on"

    settings = MailboxSettings(drain_s=0, handover_s=0, max_result_bytes=1_000)
    async with World(store, clock, agents={"caller": caller, "echo": echo}, settings=settings) as world:
        run = await world.done(await world.submit(agent_id="caller"))

        assert run.final_output == "went on"
        assert [type(each) for each in raised] == [error]
        assert not [each for each in store.transitions if isinstance(each, Delivered)]


@behaviour("CH-011")
async def test_two_agents_that_answer_each_other_come_to_an_end(store: WatchedStore, clock: ManualClock) -> None:
    begun: list[int] = []

    async def parrot(ctx: Context) -> None:
        begun.append(ctx.request.trace.hops)
        back = "home" if ctx.sender is None else ctx.sender.thread_id
        await ctx.send("parrot", "and you?", thread_id=back)

    async with World(store, clock, agents={"parrot": parrot}) as world:
        await world.submit(agent_id="parrot", thread_id="home")
        await world.quiet()

        assert begun == [*range(MAX_HOPS + 1)]
        last = (await runs_of(world, "home"))[-1]
        assert last.dead_lettered and "32 runs in a row" in ((last.termination and last.termination.detail) or "")


def _no(batch: Any, kind: type[Any]) -> Exception | None:
    return StoreUnavailable(f"no {kind.__name__}") if any(isinstance(each, kind) for each in batch) else None
