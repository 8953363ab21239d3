"""Background work: children are started once, waited for without holding anything, and told of once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import json
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from awaken.domain.child import MAX_DEPTH
from awaken.domain.errors import ChildFailed, PermanentFailure, TransientFailure, UnknownAgent
from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.domain.message import Role, Visibility
from awaken.domain.run import Origin, Run, RunStatus
from awaken.domain.ticket import Verdict
from awaken.executors.children import Child
from awaken.executors.current import current_run
from awaken.executors.function import Context
from awaken.store.contract import RunQuery, TicketQuery
from awaken.store.transitions import Commit, Decide, Delivered, Settle, Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

THREAD = "t"


async def worker(ctx: Context) -> Any:
    text = await ctx.input()
    if text == "fail":
        raise PermanentFailure("no luck")
    return f"did {text}"


async def runs_in(world: World, thread_id: str = THREAD) -> list[Run]:
    query = RunQuery(thread_id=ThreadId(thread_id), limit=200)
    return [*(await world.store.list_runs(DEFAULT_SCOPE, query)).items]


@behaviour("CH-002")
async def test_a_function_starts_children_and_waits_for_all_of_them(store: WatchedStore, clock: ManualClock) -> None:
    executions: list[int] = []

    async def boss(ctx: Context) -> str:
        executions.append(1)
        children = [await ctx.start("worker", text) for text in ("one", "two", "three")]
        return " and ".join(await ctx.gather(*children))

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        run = await world.done(await world.submit(agent_id="boss"))
        await world.quiet()

        assert run.final_output == "did one and did two and did three"
        assert len(executions) == 2, "once to start them, once when all have ended"
        kinds = await world.kinds(run)
        assert (kinds.count("ChildStarted"), kinds.count("RunSuspended"), kinds.count("ChildFinished")) == (3, 1, 3)
        assert len(await runs_in(world)) == 1, "nothing else was told of it"
        assert await store.list_outbox() == []
        found = (await store.list_runs(DEFAULT_SCOPE, RunQuery(agent_id=None, limit=50))).items
        children = [each for each in found if each.request.trace.origin is Origin.SUBAGENT]
        assert {each.request.trace.parent_run_id for each in children} == {run.run_id}
        assert len({each.thread_id for each in children}) == 3


@behaviour("CH-002")
async def test_a_waiting_parent_holds_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> Any:
        return await ctx.call("gated", "take your time")

    async with World(store, clock, agents={"boss": boss}) as world:
        run = await world.submit(agent_id="boss")
        call = await world.agent.next_call()
        await world.quiet()
        assert (await world.run(run)).status is RunStatus.WAITING
        assert world.free_slots == 99, "the child has the only slot that is taken"
        call.release("done")
        assert (await world.done(run)).final_output == "done"


@behaviour("TK-026")
async def test_that_a_child_asks_somebody_is_told_on_the_thread_of_its_parent(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def asker(ctx: Context) -> str:
        return f"{await ctx.ask('who are you?')} from {await ctx.ask('and from where?', name='where')}"

    async def boss(ctx: Context) -> Any:
        return await ctx.call("asker", "find out")

    async def waits_of_children() -> list[list[str]]:
        rows = await store.list_events(DEFAULT_SCOPE, ThreadId(THREAD), after=0, limit=200)
        events = [event for row in rows for event in row.events if event.kind == "ChildSuspended"]
        return [json.decode(event.payload)["ticket_ids"] for event in events]

    async with World(store, clock, agents={"boss": boss, "asker": asker}) as world:
        run = await world.submit(agent_id="boss")
        for answer in ("Ann", "Rome"):
            await world.quiet()
            [ticket_id] = (await waits_of_children())[-1]
            await world.mailbox.decisions.decide_ticket(
                DEFAULT_SCOPE, ticket_id, Verdict(action="answer", result=answer)
            )
        done = await world.done(run)
        await world.quiet()

        assert done.final_output == "Ann from Rome"
        assert len(await waits_of_children()) == 2
        assert await store.list_outbox() == []


@behaviour("CH-005")
async def test_a_child_that_failed_is_an_error_or_stands_in_the_place_of_its_output(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def boss(ctx: Context) -> str:
        bad, good = await ctx.start("worker", "fail"), await ctx.start("worker", "well")
        failed, output = await ctx.gather(bad, good, return_exceptions=True)
        assert isinstance(failed, ChildFailed) and failed.run_id == bad.run_id
        try:
            await ctx.gather(good, bad)
        except ChildFailed as error:
            return f"{output}; {error.why}"
        return "not told"

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        run = await world.done(await world.submit(agent_id="boss"))
        assert run.final_output == "did well; no luck"

        async def careless(ctx: Context) -> Any:
            return await ctx.call("worker", "fail")

        world.agents.add("careless", careless)
        failed = await world.done(await world.submit(agent_id="careless", thread_id="other"))
        assert failed.dead_lettered


@behaviour("MBX-157", "MBX-257", "MBX-261", "MBX-201", "SV-036")
async def test_a_child_that_nobody_waits_for_wakes_the_thread(store: WatchedStore, clock: ManualClock) -> None:
    heard: list[tuple[str, str | None]] = []

    async def boss(ctx: Context) -> str:
        if ctx.sender is not None:
            heard.append((await ctx.input(), ctx.sender.agent_id))
            return "heard"
        await ctx.start("gated", "research", name="research")
        return "started"

    async with World(store, clock, agents={"boss": boss}) as world:
        assert (await world.done(await world.submit(agent_id="boss"))).final_output == "started"
        (await world.agent.next_call()).release("42")
        await world.quiet()

        assert heard == [("The background run 'research' is done: 42", "gated")]
        first, wake = await runs_in(world)
        assert (wake.request.trace.origin, wake.final_output) == (Origin.INTERNAL, "heard")
        assert await world.texts() == ["hello", "started", "The background run 'research' is done: 42", "heard"]
        shown = [message.visibility for message in await world.messages()]
        assert shown == [Visibility.ALL, Visibility.ALL, Visibility.INTERNAL, Visibility.ALL], "no user said it"
        kinds = await world.kinds()
        assert (kinds.count("MessagePended"), await store.list_pending(DEFAULT_SCOPE, ThreadId(THREAD))) == (0, [])
        told = (await world.messages())[2]
        assert (told.role, told.visibility) == (Role.USER, Visibility.INTERNAL)
        assert (await world.run(first)).open_tickets == 0


@behaviour("MBX-259")
@pytest.mark.parametrize(
    "output",
    [{"messages": [{"role": "user", "text": "hello"}, 5]}, [{"role": "system"}], {"role": "assistant"}, None, "", "{"],
    ids=str,
)
async def test_whatever_background_work_reports_is_told_as_one_message(
    store: WatchedStore, clock: ManualClock, output: Any
) -> None:
    """Nothing in its output is read as messages, so none of them can be malformed."""

    async def boss(ctx: Context) -> None:
        if ctx.sender is None:
            await ctx.start("gated", "research", name="research")

    async with World(store, clock, agents={"boss": boss}) as world:
        await world.done(await world.submit(agent_id="boss"))
        (await world.agent.next_call()).release(output)
        await world.quiet()

        [_, told] = await world.messages()
        assert told.text.startswith("The background run 'research' is done")
        assert (told.role, told.visibility, len(told.content)) == (Role.USER, Visibility.INTERNAL, 1)


@behaviour("MBX-130", "SV-017", "MBX-131", "SV-018")
@pytest.mark.parametrize("count", [5, 205])
async def test_runs_that_wait_for_children_go_on_after_a_restart_and_one_that_waits_for_a_person_goes_on_waiting(
    store: WatchedStore, clock: ManualClock, count: int
) -> None:
    """However many: 205 are more than one transition takes."""
    may_end = asyncio.Event()

    async def slow(ctx: Context) -> str:
        await may_end.wait()
        return "done"

    async def boss(ctx: Context) -> Any:
        return await ctx.call("slow", "take your time")

    async def asker(ctx: Context) -> Any:
        return await ctx.ask("who are you?")

    agents = {"boss": boss, "asker": asker, "slow": slow}
    runs: list[Any] = []
    async with World(store, clock, agents=agents) as world:
        runs += [await world.submit(agent_id="boss", thread_id=f"t{number}") for number in range(count)]
        asks = await world.submit(agent_id="asker", thread_id="person")
        await world.quiet()
    may_end.set()
    async with World(store, clock, agents=agents, seed=2) as world:
        for run in runs:
            assert (await world.done(run.run.run_id)).final_output == "done"
        assert (await world.run(asks.run.run_id)).status is RunStatus.WAITING


@behaviour("MBX-211")
async def test_a_wake_up_that_cannot_be_stored_is_tried_again(store: WatchedStore, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> Any:
        return await ctx.call("gated", "take your time")

    async with World(store, clock, agents={"boss": boss}) as world:
        run = await world.submit(agent_id="boss")
        call = await world.agent.next_call()
        await world.quiet()
        store.fail_once(Decide)
        call.release("done")
        await world.advance(2)
        assert (await world.done(run)).final_output == "done"


@behaviour("D-012")
async def test_many_endings_are_one_wake_up(store: WatchedStore, clock: ManualClock) -> None:
    heard: list[str] = []

    async def boss(ctx: Context) -> None:
        if ctx.sender is None:
            for number in range(5):
                await ctx.start("worker", str(number), name=f"n{number}")
            await ctx.start("gated", "hold the thread")
            return
        heard.append(await ctx.input())

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        await world.done(await world.submit(agent_id="boss"))
        await world.quiet()
        await world.submit(agent_id="gated")
        assert sum(text.count("is done") for text in heard) == 5
        assert 1 <= len(heard) <= 5


async def test_a_child_that_ended_before_the_others_is_told_once_to_a_run_that_is_executed_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Its end found a run that did not wait yet, and waits when it is executed again: for the others alone."""
    attempts: list[str] = []

    async def boss(ctx: Context) -> Any:
        attempts.append(await ctx.input())
        if ctx.identity.run_id != "r1":
            return "told another time"
        quick = await ctx.start("worker", "one")
        if len(attempts) == 1:
            await has_ended.wait()
            raise TransientFailure("a bad moment")
        return await ctx.gather(quick, await ctx.start("gated", "take your time"))

    has_ended = asyncio.Event()
    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        run = await world.submit(agent_id="boss", run_id="r1")
        await world.quiet()
        assert await store.list_outbox() == []
        has_ended.set()
        await world.advance(1)
        (await world.agent.next_call()).release("two")
        assert (await world.done(run)).output == ["did one", "two"]
        await world.quiet()
        assert [each.run_id for each in await runs_in(world)] == ["r1"]
        assert (await world.texts())[:1] == ["hello"] and len(attempts) == 3


@behaviour("CH-001")
async def test_a_child_is_started_once_whatever_the_function_comes_to(store: WatchedStore, clock: ManualClock) -> None:
    children: list[Child] = []

    async def boss(ctx: Context) -> Any:
        children.append(await ctx.start("worker", "one"))
        if len(children) == 1:
            raise ConnectionError("the network")
        return await ctx.gather(children[-1])

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        run = await world.submit(agent_id="boss")
        await world.advance(5)
        assert (await world.done(run)).output == ["did one"]
        assert len({child.run_id for child in children}) == 1
        assert len(await runs_in(world, children[0].thread_id)) == 1
        assert len(await runs_in(world)) == 1, "it waited for it after all, and was told once"


@pytest.mark.parametrize("kind", [Commit, Submit, Settle, Decide, Delivered])
async def test_a_lost_answer_anywhere_changes_nothing(store: WatchedStore, clock: ManualClock, kind: type[Any]) -> None:
    async def boss(ctx: Context) -> str:
        return " and ".join(await ctx.gather(await ctx.start("worker", "one"), await ctx.start("worker", "two")))

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        store.hold(Commit)
        run = await world.submit(agent_id="boss")
        await world.quiet()
        store.lose_answer(kind)
        store.let_go()
        await world.advance(60)

        assert (await world.done(run)).final_output == "did one and did two"
        found = (await store.list_runs(DEFAULT_SCOPE, RunQuery(limit=50))).items
        assert len(found) == 3
        assert await store.list_outbox() == []


@behaviour("CH-004")
async def test_stopping_a_parent_stops_its_children(store: WatchedStore, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> Any:
        own = await ctx.start("gated", "mine", name="own")
        await ctx.start("gated", "its own", name="free", detached=True)
        return await ctx.gather(own)

    async with World(store, clock, agents={"boss": boss}) as world:
        run = await world.submit(agent_id="boss")
        first, second = await world.agent.next_call(), await world.agent.next_call()
        await world.quiet()
        await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        await world.quiet()

        calls = {(await call.context.input()): call for call in (first, second)}
        assert calls["mine"].is_over
        assert not calls["its own"].is_over
        calls["its own"].release("done")
        await world.quiet()
        assert len(await runs_in(world)) == 1, "its end starts nothing"


@behaviour("CH-004")
async def test_stopping_a_run_stops_the_whole_tree_below_it(store: WatchedStore, clock: ManualClock) -> None:
    """One executes, one waits for somebody, one waits for its turn; and each is a child of a child."""

    async def root(ctx: Context) -> Any:
        return await ctx.gather(await ctx.start("manager", "all of it"))

    async def manager(ctx: Context) -> Any:
        return await ctx.gather(*[await ctx.start(agent, agent) for agent in ("gated", "asking", "later")])

    async def asking(ctx: Context) -> Any:
        return await ctx.ask("how many?")

    async with World(
        store, clock, agents={"root": root, "manager": manager, "asking": asking, "later": worker}
    ) as world:
        world.mailbox.agents.pause("later")
        run = await world.submit(agent_id="root")
        call = await world.agent.next_call()
        await world.quiet()
        begun = (await store.list_runs(DEFAULT_SCOPE, RunQuery(limit=50))).items
        assert len(begun) == 5 and all(each.status is not RunStatus.DONE for each in begun)

        await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        await call.over()
        await world.quiet()

        ended = (await store.list_runs(DEFAULT_SCOPE, RunQuery(limit=50))).items
        assert len(ended) == 5, "their ends start nothing"
        assert {each.termination.type for each in ended if each.termination is not None} == {"cancelled"}
        assert all(each.status is RunStatus.DONE for each in ended)
        assert (await store.list_tickets(DEFAULT_SCOPE, TicketQuery(state="open"))).items == ()


async def test_what_was_said_before_a_wait_is_said_once(store: WatchedStore, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> Any:
        yield "I will ask. "
        answer = await ctx.call("worker", "one")
        yield f"It {answer}."

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        await world.done(await world.submit(agent_id="boss"))
        assert await world.texts() == ["hello", "I will ask. ", "It did one."]


@behaviour("CH-011")
async def test_an_agent_that_starts_something_whenever_it_is_told_of_something_comes_to_an_end(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def restless(ctx: Context) -> None:
        await ctx.start("worker", "again")

    async with World(store, clock, agents={"restless": restless, "worker": worker}) as world:
        await world.submit(agent_id="restless")
        await world.quiet()
        runs = await runs_in(world)
        assert len(runs) == MAX_DEPTH + 1
        assert runs[-1].dead_lettered


async def test_an_agent_that_starts_itself_and_is_told_of_its_own_end_comes_to_an_end(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Each run starts one, and the end of each is told to a run that starts one: without a bound on both together that
    is as many runs as there are paths.
    """

    async def selfish(ctx: Context) -> None:
        await ctx.start("selfish", "again")

    async with World(store, clock, agents={"selfish": selfish}, patience_s=60) as world:
        await world.submit(agent_id="selfish")
        await world.quiet()
        assert sum((await store.count_dispatches()).values()) == 2 ** (MAX_DEPTH + 1) - 1


@behaviour("CH-006")
async def test_children_have_children_down_to_a_depth(store: WatchedStore, clock: ManualClock) -> None:
    async def nest(ctx: Context) -> int:
        try:
            return 1 + int(await ctx.call("nest", "deeper"))
        except ChildFailed:
            raise
        except PermanentFailure as error:
            return 0 if "this one may start no other" in str(error) else -100

    async with World(store, clock, agents={"nest": nest}) as world:
        run = await world.done(await world.submit(agent_id="nest"))
        assert run.output == MAX_DEPTH


@behaviour("CH-006")
@pytest.mark.parametrize("wrong", ["agent", "child", "number"])
async def test_what_cannot_be_started_or_gathered_is_refused(
    store: WatchedStore, clock: ManualClock, wrong: str
) -> None:
    async def boss(ctx: Context) -> Any:
        if wrong == "agent":
            with pytest.raises(UnknownAgent):
                await ctx.start("nobody", "hi")
        elif wrong == "child":
            stranger = Child(RunId("r"), ThreadId("x"), ctx.identity.agent_id, "x", "x#1")
            with pytest.raises(PermanentFailure, match="what start has returned"):
                await ctx.gather(stranger)
        else:
            for number in range(100):
                await ctx.start("gated", str(number), detached=True)
            with pytest.raises(PermanentFailure, match="at most 100 children"):
                await ctx.start("gated", "one more")
        return "went on"

    async with World(store, clock, agents={"boss": boss}) as world:
        assert (await world.done(await world.submit(agent_id="boss"))).final_output == "went on"


# --- in a tool --------------------------------------------------------------------------------------------------------


@behaviour("CH-008")
async def test_a_tool_of_a_pydantic_ai_agent_starts_children_and_waits_for_them(
    store: WatchedStore, clock: ManualClock
) -> None:
    calls: list[str] = []

    async def model(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        for part in [part for message in messages for part in message.parts]:
            if isinstance(part, ToolReturnPart):
                yield f"It {part.content}."
                return
        yield {0: DeltaToolCall(name="research", json_args='{"topic": "whales"}', tool_call_id="c1")}

    agent = Agent(FunctionModel(stream_function=model))

    @agent.tool_plain
    async def research(topic: str) -> str:  # pyright: ignore[reportUnusedFunction]
        calls.append(topic)
        run = current_run()
        children = [await run.start("worker", f"{topic} {number}") for number in range(2)]
        return " and ".join(await run.gather(*children))

    async with World(store, clock, agents={"agent": agent, "worker": worker}) as world:
        run = await world.done(await world.submit(agent_id="agent"))

        assert run.final_output == "It did whales 0 and did whales 1."
        assert len(calls) == 2, "once to start them, and again when both have ended"
        assert len((await store.list_runs(DEFAULT_SCOPE, RunQuery(limit=50))).items) == 3


@behaviour("MBX-157")
async def test_a_model_reads_what_became_of_the_work_that_its_tool_has_begun(
    store: WatchedStore, clock: ManualClock
) -> None:
    heard: list[list[Any]] = []

    async def model(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        parts = [part for message in messages for part in message.parts]
        heard.append([part.content for part in parts if isinstance(part, UserPromptPart)])
        if len(heard) == 1:
            yield {0: DeltaToolCall(name="begin", json_args="{}")}
        else:
            yield f"answer {len(heard)}"

    agent = Agent(FunctionModel(stream_function=model))

    @agent.tool_plain
    async def begin() -> str:  # pyright: ignore[reportUnusedFunction]
        await current_run().start("gated", "research", name="research")
        return "it has begun"

    async with World(store, clock, agents={"agent": agent}) as world:
        assert (await world.done(await world.submit(agent_id="agent"))).final_output == "answer 2"
        (await world.agent.next_call()).release("42")
        await world.quiet()

        assert heard[-1] == ["hello", "The background run 'research' is done: 42"]
        assert [run.final_output for run in await runs_in(world)] == ["answer 2", "answer 3"]


@behaviour("TK-028")
async def test_two_tools_side_by_side_go_on_when_each_has_all_that_it_waits_for(
    store: WatchedStore, clock: ManualClock
) -> None:
    calls: list[str] = []

    async def model(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        returns = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
        if returns:
            yield ", ".join(f"{part.tool_name}: {part.content}" for part in returns)
            return
        yield {0: DeltaToolCall(name="research", json_args="{}", tool_call_id="c1")}
        yield {1: DeltaToolCall(name="ask", json_args="{}", tool_call_id="c2")}

    agent = Agent(FunctionModel(stream_function=model))

    @agent.tool_plain
    async def research() -> str:  # pyright: ignore[reportUnusedFunction]
        calls.append("research")
        run = current_run()
        children = [await run.start("gated", f"part {number}") for number in range(3)]
        return " and ".join(await run.gather(*children))

    @agent.tool_plain
    async def ask() -> str:  # pyright: ignore[reportUnusedFunction]
        calls.append("ask")
        return await current_run().ask("who are you?")

    async with World(store, clock, agents={"agent": agent}) as world:
        run = await world.submit(agent_id="agent")
        parts = [await world.agent.next_call() for _ in range(3)]
        await world.quiet()
        assert sorted(calls) == ["ask", "research"]

        parts[0].release("one")
        await world.quiet()
        assert sorted(calls) == ["ask", "research"], "two more are waited for"

        [ticket] = (await store.list_tickets(DEFAULT_SCOPE, TicketQuery(kind="input", limit=9))).items
        verdict = Verdict(action="answer", result="Ann")
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, verdict)
        await world.quiet()
        assert calls.count("ask") == 2, "it does not wait for what another tool waits for"
        called = calls.count("research")

        parts[1].release("two")
        await world.quiet()
        assert calls.count("research") == called
        parts[2].release("three")

        assert (await world.done(run)).final_output == "research: one and two and three, ask: Ann"
        assert (calls.count("ask"), calls.count("research")) == (2, called + 1)


# --- told once, whatever else the parent waits for --------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the question", "while it is open", "after the answer"])
@pytest.mark.parametrize("shape", ["one after the other", "side by side"])
async def test_a_child_that_is_gathered_after_a_question_is_told_by_no_message(
    store: WatchedStore, clock: ManualClock, when: str, shape: str
) -> None:
    executions: list[str] = []
    may_ask = asyncio.Event()

    async def boss(ctx: Context) -> str:
        executions.append(await ctx.input())
        if shape == "side by side":
            name, found = await asyncio.gather(ctx.ask("who?"), ctx.call("gated", "look", name="look"))
            return f"{name}: {found}"
        child = await ctx.start("gated", "look", name="look")
        await may_ask.wait()
        name = await ctx.ask("who?")
        return f"{name}: {(await ctx.gather(child))[0]}"

    async with World(store, clock, agents={"boss": boss}) as world:
        run = await world.submit(agent_id="boss")
        child = await world.agent.next_call()
        if when == "before the question":
            child.release("found it")
            await world.quiet()
        may_ask.set()
        await world.quiet()
        if when == "while it is open":
            child.release("found it")
            await world.quiet()
        page = await store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=run.run.run_id, kind="input"))
        [question] = page.items
        await world.mailbox.decisions.decide_ticket(
            DEFAULT_SCOPE, question.ticket_id, Verdict(action="answer", result="ann")
        )
        await world.quiet()
        child.release("found it")
        await world.quiet()

        assert (await world.done(run)).final_output == "ann: found it"
        assert set(executions) == {"hello"}
        assert await world.texts() == ["hello", "ann: found it"]
        assert len(await runs_in(world)) == 1
        assert await store.list_pending(DEFAULT_SCOPE, ThreadId(THREAD)) == []


async def test_a_child_that_ended_while_its_parent_waited_for_somebody_is_told_when_that_has_ended(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def boss(ctx: Context) -> str:
        if ctx.sender is not None:
            return f"heard: {await ctx.input()}"
        await ctx.start("worker", "it", name="work")
        return f"asked {await ctx.ask('who?')}"

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        run = await world.submit(agent_id="boss")
        await world.quiet()
        page = await store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=run.run.run_id, kind="input"))
        await world.mailbox.decisions.decide_ticket(
            DEFAULT_SCOPE, page.items[0].ticket_id, Verdict(action="answer", result="ann")
        )
        await world.done(run)
        await world.quiet()

        assert [each.final_output for each in await runs_in(world)] == [
            "asked ann",
            "heard: The background run 'work' is done: did it",
        ]


async def test_the_same_child_may_be_gathered_twice_at_once(store: WatchedStore, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> Any:
        child = await ctx.start("worker", "it")
        return await ctx.gather(child, child)

    async with World(store, clock, agents={"boss": boss, "worker": worker}) as world:
        assert (await world.done(await world.submit(agent_id="boss"))).output == ["did it", "did it"]
