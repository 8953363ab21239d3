"""Talking to a run that is there: what it takes and when, what falls to a run of its own, what its sender learns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, Tool
from pydantic_ai.messages import ModelMessage, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from awaken.domain.delivery import Delivery
from awaken.domain.errors import (
    AlreadyConsumed,
    AwakenError,
    Conflict,
    DeliveryBlocked,
    MessageNotFound,
    QueueFull,
    RunNotFound,
    RunNotOpen,
    RunNotWaiting,
    StaleVersion,
    StoreUnavailable,
    ThreadBusy,
    ThreadNotFound,
    TransientFailure,
    ValidationError,
)
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, RunId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.run import RunStatus, Usage
from awaken.domain.ticket import Ticket, Verdict
from awaken.executors.contract import Entry, Finished, RunPort
from awaken.executors.current import current_run
from awaken.executors.function import Context
from awaken.mailbox.messages import Sent
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import RunSubmission
from awaken.store.contract import DispatchQuery, RunQuery, TicketQuery
from awaken.store.transitions import Commit, Edit, Settle, Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.executors import Call, Script, Turn
from awaken.testing.mailboxes import WatchedStore, World, claim_for

SCOPE = DEFAULT_SCOPE


def asking(*texts: str, ids: Sequence[str] = (), thread_id: str = "t", agent_id: Any = "gated", **wishes: Any) -> Any:
    named = [*ids, *[""] * (len(texts) - len(ids))]
    messages = tuple([user_message(MessageId(id), text) for id, text in zip(named, texts, strict=True)])
    return RunSubmission(messages=messages, thread_id=thread_id, agent_id=agent_id, delivery=Delivery(**wishes))


async def steer(world: World, *texts: str, **details: Any) -> Sent:
    return await world.mailbox.messages.send(asking(*texts, **({"mode": "steer"} | details)))


async def fate(world: World, sent: Sent, index: int = 0) -> str:
    found = await world.mailbox.messages.receipt(
        SCOPE, sent.receipts[index].message_id, thread_id=sent.receipts[index].thread_id
    )
    return found.fate


def texts_of(messages: Sequence[Any]) -> list[str]:
    return [message.text for message in messages]


def prompts_in(request: Sequence[ModelMessage]) -> list[Any]:
    """What a model was told by users."""
    return [part.content for message in request for part in message.parts if isinstance(part, UserPromptPart)]


# --- what a run takes -------------------------------------------------------------------------------------------------


@behaviour("MBX-258")
async def test_a_run_that_asks_for_what_was_sent_to_it_gets_each_message_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()
        assert await call.context.inbox() == ()

        sent = await steer(world, "one", "two")
        assert (sent.submission.run.run_id, sent.submission.path) == (run.run.run_id, "steered")
        assert [receipt.fate for receipt in sent.receipts] == ["pending", "pending"]

        assert texts_of(await call.context.inbox()) == ["one", "two"]
        assert await call.context.inbox() == ()
        assert texts_of(call.context.new_messages()) == ["hello", "one", "two"]
        assert await fate(world, sent, 1) == "consumed"
        call.release("done")
        assert (await world.done(run)).final_output == "done"
        assert await world.texts() == ["hello", "one", "two", "done"]
        assert len(world.agent.calls) == 1, "it opened no run of its own"


@behaviour("MBX-144")
async def test_a_model_reads_with_its_next_request_what_was_sent_while_its_tool_ran(
    store: WatchedStore, clock: ManualClock
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def block() -> str:
        begun.set()
        await may_end.wait()
        return "unblocked"

    script = Script(Turn("start tool", (Call("block", {}),)), "saw it")
    async with World(store, clock, agents={"model": script.agent(tools=[block])}) as world:
        run = await world.submit("start", agent_id="model")
        async with asyncio.timeout(20):
            await begun.wait()

        sent = await steer(world, "look here", agent_id="model")

        answer = sent.submission
        assert (answer.run.run_id, answer.status, answer.path) == (run.run.run_id, "running", "steered")
        assert answer.dispatch == await world.dispatch(run)
        may_end.set()
        assert (await world.done(run)).final_output == "saw it"
        first, second = script.heard
        assert (prompts_in(first), prompts_in(second)) == (["start"], ["start", "look here"])
        texts = await world.texts()
        assert (texts.count("look here"), await fate(world, sent)) == (1, "consumed")
        assert len((await store.list_dispatches(SCOPE, DispatchQuery(thread_id=ThreadId("t")))).items) == 1


@behaviour("MBX-260")
async def test_asking_costs_nothing_while_nothing_is_there(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        before = len(world.store.transitions)

        for _ in range(100):
            assert await call.context.inbox() == ()

        assert world.store.transitions[before:] == []


async def test_asks_side_by_side_get_each_message_once(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        await steer(world, "one", "two")

        asked = await asyncio.gather(*[call.context.inbox() for _ in range(3)])

        assert texts_of([message for each in asked for message in each]) == ["one", "two"]


async def test_an_ask_that_is_cancelled_loses_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        await steer(world, "one")
        world.store.hold(Commit)
        asked = asyncio.ensure_future(call.context.inbox())
        await world.quiet()
        asked.cancel()
        await world.quiet()
        world.store.let_go()
        with pytest.raises(asyncio.CancelledError):
            await asked

        assert texts_of(await call.context.inbox()) == ["one"]


@behaviour("D-013")
async def test_an_answer_that_is_lost_is_asked_for_again_and_takes_nothing_twice(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        await steer(world, "one")
        world.store.lose_answer(Commit)
        asked = asyncio.ensure_future(call.context.inbox())
        await world.advance(1)

        assert texts_of(await asked) == ["one"]
        assert await world.texts() == ["hello", "one"]


async def test_a_run_that_waits_in_the_queue_or_for_its_next_attempt_finds_what_was_sent_meanwhile(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        ahead = await world.submit("ahead")
        run = await world.submit("hello")
        first = await world.agent.next_call()
        await steer(world, "while queued", target_run_id=run.run.run_id)
        assert await first.context.inbox() == (), "that is for another run"
        first.release()
        await world.done(ahead)
        call = await world.agent.next_call()
        call.fail(OSError("try again"))
        await world.quiet()
        await steer(world, "in back-off", target_run_id=run.run.run_id)
        await world.advance(1)

        again = await world.agent.next_call()

        assert again.run_id == run.run.run_id
        assert texts_of(await again.context.inbox()) == ["while queued", "in back-off"]


@behaviour("OS-005")
async def test_what_another_mailbox_of_the_store_accepts_is_found_too(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world, World(store, clock, seed=2, executes=False) as other:
        await world.submit("hello")
        call = await world.agent.next_call()
        assert await call.context.inbox() == ()

        sent = await steer(other, "from elsewhere")

        assert sent.submission.path == "steered"
        assert texts_of(await call.context.inbox()) == ["from elsewhere"]


@behaviour("OS-005")
@pytest.mark.parametrize("how", ["child", "edited", "edit lost", "submit lost"])
async def test_a_run_that_only_asks_finds_whatever_has_come_for_it(
    store: WatchedStore, clock: ManualClock, how: str
) -> None:
    """Also what no answer to this process has told it of; nothing else of the run is committed meanwhile."""

    async def parent(ctx: Context) -> list[str]:
        if how == "child":
            await ctx.start("worker", "hi", name="work")
        found: list[str] = []
        while not found:
            may_ask.clear()
            await may_ask.wait()
            found = texts_of(await ctx.inbox())
        return found

    async def worker(ctx: Context) -> str:
        return "done"

    may_ask = asyncio.Event()
    async with World(store, clock, agents={"parent": parent, "worker": worker}) as world:
        run = await world.submit(agent_id="parent")
        await world.quiet()
        if how == "submit lost":
            store.lose_answer(Submit)
            with pytest.raises(StoreUnavailable):
                await steer(world, "news", agent_id="parent")
        elif how != "child":
            sent = await steer(world, "news", agent_id="parent", mode="follow_up")
            may_ask.set()
            await world.quiet()
            message_id = sent.receipts[0].message_id
            edit = world.mailbox.messages.edit(SCOPE, ThreadId("t"), message_id, boundary="next_step")
            if how == "edit lost":
                store.lose_answer(Edit)
                with pytest.raises(StoreUnavailable):
                    await edit
            else:
                await edit
        await world.quiet()
        may_ask.set()

        expected = "The background run 'work' is done: done" if how == "child" else "news"
        assert (await world.done(run)).output == [expected]


async def test_a_run_that_was_asked_to_stop_gets_nothing_any_more(store: WatchedStore, clock: ManualClock) -> None:
    found: list[object] = []

    async def tidies(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            found.append(await ctx.inbox())

    async with World(store, clock, agents={"tidies": tidies}) as world:
        run = await world.submit("hello", agent_id="tidies")
        await world.quiet()
        await steer(world, "too late", agent_id="tidies")
        await world.mailbox.cancel(SCOPE, run.run.run_id)
        await world.done(run)

        assert found == [()]


# --- executed again ---------------------------------------------------------------------------------------------------


async def steps(ctx: Context, seen: list[list[str]], crash: asyncio.Event) -> str:
    heard: list[str] = []
    for name in ("a", "b", "c"):
        heard.append("+".join(texts_of(await ctx.inbox())))
        await ctx.step(name, lambda: 1)
    seen.append([*heard])
    if not crash.is_set():
        crash.set()
        raise OSError("try again")
    heard.append("+".join(texts_of(await ctx.inbox())))
    return ",".join(heard)


async def test_executed_again_a_run_hears_the_same_at_the_same_place(store: WatchedStore, clock: ManualClock) -> None:
    seen: list[list[str]] = []
    crash = asyncio.Event()
    held = asyncio.Event()

    async def agent(ctx: Context) -> str:
        await held.wait()
        return await steps(ctx, seen, crash)

    async with World(store, clock, agents={"steps": agent}) as world:
        run = await world.submit("hello", agent_id="steps")
        await world.quiet()
        await steer(world, "one", "two", agent_id="steps")
        held.set()
        await world.quiet()
        await steer(world, "three", target_run_id=run.run.run_id, agent_id="steps")
        await world.advance(1)

        assert (await world.done(run)).final_output == "one+two,,,three"
        assert seen == [["one+two", "", ""], ["one+two", "", ""]]


async def test_what_was_taken_between_two_steps_is_heard_there_again(store: WatchedStore, clock: ManualClock) -> None:
    outputs: list[list[str]] = []
    gates = [asyncio.Event(), asyncio.Event()]

    async def agent(ctx: Context) -> str:
        heard = ["+".join(texts_of(await ctx.inbox()))]
        await ctx.step("a", lambda: 1)
        await gates[0].wait()
        heard.append("+".join(texts_of(await ctx.inbox())))
        await ctx.step("b", lambda: 1)
        outputs.append(heard)
        if len(outputs) == 1:
            raise OSError("try again")
        return "done"

    async with World(store, clock, agents={"agent": agent}) as world:
        run = await world.submit("hello", agent_id="agent")
        await world.quiet()
        await steer(world, "between", agent_id="agent")
        gates[0].set()
        await world.advance(1)
        await world.done(run)

        assert outputs == [["", "between"], ["", "between"]]


# --- what it does not take --------------------------------------------------------------------------------------------


@behaviour("MBX-145")
async def test_what_a_function_never_asks_for_opens_a_run_of_its_own(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()
        sent = await steer(world, "unheard")
        call.release("done")
        await world.done(run)

        second = await world.agent.next_call()

        assert second.run_id != run.run.run_id
        assert await second.context.input() == "unheard"
        assert await fate(world, sent) == "consumed"
        second.release()


async def test_what_may_open_none_is_retracted_and_its_receipt_says_so(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()
        sent = await steer(world, "only now", fallback_to_new_run=False)
        call.release("done")
        await world.done(run)

        assert await fate(world, sent) == "retracted"
        assert len(world.agent.calls) == 1


@pytest.mark.parametrize("order", ["message first", "end first"])
async def test_a_message_and_the_end_of_its_run_meet_in_either_order(
    store: WatchedStore, clock: ManualClock, order: str
) -> None:
    """Whichever the store sees first, the message is answered by exactly one run."""
    async with World(store, clock) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()
        world.store.hold(Settle if order == "message first" else Submit)
        call.release("done")
        sending = asyncio.ensure_future(steer(world, "are you there?"))
        await world.quiet()
        world.store.let_go()
        sent = await sending
        await world.done(run)

        second = await world.agent.next_call()
        assert await second.context.input() == "are you there?"
        second.release()
        await world.quiet()
        assert await fate(world, sent) == "consumed"
        assert len(world.agent.calls) == 2


# --- calls that are open ----------------------------------------------------------------------------------------------


async def waiting_for_somebody(world: World, run: Any) -> Ticket:
    """The ticket that the run waits for, once it does."""
    while (await world.run(run)).status is not RunStatus.WAITING:
        await world.quiet()
    [ticket] = (await world.store.list_tickets(SCOPE, TicketQuery(state="open", kind="approval"))).items
    return ticket


@behaviour("TK-080")
@pytest.mark.parametrize("sender", ["user", "child"])
async def test_what_comes_while_a_call_waits_for_approval_is_read_behind_its_answer(
    store: WatchedStore, clock: ManualClock, sender: str
) -> None:
    made: list[str] = []

    async def pay(sum: int) -> str:
        made.append(f"paid {sum}")
        return made[-1]

    async def begin() -> str:
        await current_run().start("gated", "work", name="work", detached=True)
        return "it has begun"

    calls = (Call("pay", {"sum": 3}, "c1"),) + ((Call("begin", {}, "c2"),) if sender == "child" else ())
    script = Script(Turn("", calls), "done")
    agent = script.agent(tools=[Tool(pay, requires_approval=True), begin])
    async with World(store, clock, agents={"model": agent}) as world:
        run = await world.submit("pay", agent_id="model")
        ticket = await waiting_for_somebody(world, run)
        if sender == "user":
            assert (await steer(world, "be quick", target_run_id=run.run.run_id)).submission.path == "steered"
        else:
            (await world.agent.next_call()).release("42")
        await world.quiet()
        assert len(await store.list_pending(SCOPE, ThreadId("t"))) == 1

        await world.mailbox.decisions.decide_ticket(SCOPE, ticket.ticket_id, Verdict(action="approve"))

        assert (await world.done(run)).final_output == "done"
        assert made == ["paid 3"]
        news = "be quick" if sender == "user" else "The background run 'work' is done: 42"
        assert prompts_in(script.heard[-1]) == ["pay", news]
        answers = [part.content for part in script.heard[-1][2].parts if isinstance(part, ToolReturnPart)]
        assert answers[0] == "paid 3"
        assert (await world.texts())[-2:] == [news, "done"]
        assert len((await store.list_runs(SCOPE, RunQuery(thread_id=ThreadId("t"), limit=9))).items) == 1


@behaviour("TK-081")
@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_call_took_the_model_reads_too_and_a_call_that_failed_hears_it_again(
    store: WatchedStore, clock: ManualClock, fails: bool
) -> None:
    heard: list[list[str]] = []
    begun, may_look = asyncio.Event(), asyncio.Event()

    async def listen() -> str:
        begun.set()
        await may_look.wait()
        heard.append(texts_of(await current_run().inbox()))
        if fails and len(heard) == 1:
            raise TransientFailure("busy")
        return "heard"

    script = Script(Turn("", (Call("listen", {}),)), "done")
    async with World(store, clock, agents={"model": script.agent(tools=[listen])}) as world:
        run = await world.submit("listen", agent_id="model")
        await begun.wait()
        sent = await steer(world, "one", agent_id="model")
        may_look.set()
        await world.advance(1)

        assert (await world.done(run)).final_output == "done"
        assert heard == [["one"]] * (2 if fails else 1)
        assert len(script.asked) == 2, "the turn is not asked for again"
        assert prompts_in(script.heard[-1]) == ["listen", "one"]
        assert await fate(world, sent) == "consumed"


# --- a natural end ----------------------------------------------------------------------------------------------------


class Counted(BaseModel):
    n: int


class Talks:
    """A driver that answers what it finds at the end of the log, and looks once more before it ends."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.drives = 0

    async def drive(self, entry: Entry, port: RunPort) -> Finished:
        self.drives += 1
        said = (await entry.conversation()).history[-1].text
        await self.gate.wait()
        from awaken.domain.message import assistant_message

        answer = assistant_message(port.new_message_id(), f"re: {said}")
        return Finished(messages=(answer,), usage=Usage(model_calls=self.drives), continues=True)


async def test_a_run_goes_on_with_what_was_sent_for_its_end(store: WatchedStore, clock: ManualClock) -> None:
    agent = Talks()
    settings = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)
    async with World(store, clock, agents={"talks": agent}, settings=settings) as world:
        run = await world.submit("hello", agent_id="talks")
        await world.quiet()
        sent = await steer(world, "and then?", mode="follow_up", agent_id="talks")
        assert sent.submission.path == "steered"
        agent.gate.set()

        ended = await world.done(run)
        await world.quiet()

        assert await world.texts() == ["hello", "re: hello", "and then?", "re: and then?"]
        assert (ended.final_output, ended.usage.model_calls, agent.drives) == ("re: and then?", 2, 2)
        assert await fate(world, sent) == "consumed"
        assert world.free_slots == 1
        assert (await world.kinds(run)).count("RunFinished") == 1


@pytest.mark.parametrize("output_type", [str, Counted])
async def test_a_model_that_has_answered_is_asked_again_with_what_was_sent_meanwhile(
    store: WatchedStore, clock: ManualClock, output_type: type[Any]
) -> None:
    """As often as that happens, and whatever an answer looks like."""
    asked, may_answer, heard = asyncio.Event(), asyncio.Event(), list[list[ModelMessage]]()

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        heard.append(list(messages))
        asked.set()
        await may_answer.wait()
        may_answer.clear()
        if output_type is str:
            yield f"answer {len(heard)}"
        else:
            yield {0: DeltaToolCall(info.output_tools[0].name, f'{{"n": {len(heard)}}}')}

    agent = Agent(FunctionModel(stream_function=answer), output_type=output_type)
    async with World(store, clock, agents={"model": agent}) as world:
        run = await world.submit("hello", agent_id="model")
        sent: list[Sent] = []
        for text in ("and then?", "and now?"):
            await asked.wait()
            asked.clear()
            sent.append(await steer(world, text, agent_id="model"))
            may_answer.set()
        await asked.wait()
        may_answer.set()

        done = await world.done(run)
        assert done.output == ("answer 3" if output_type is str else {"n": 3})
        assert (done.usage.model_calls, done.steps) == (3, 3)
        assert prompts_in(heard[-1]) == ["hello", "and then?", "and now?"]
        assert [await fate(world, each) for each in sent] == ["consumed", "consumed"]
        assert (await world.kinds(run)).count("RunFinished") == 1


async def test_a_message_that_arrives_while_a_run_is_being_settled_is_taken_all_the_same(
    store: WatchedStore, clock: ManualClock
) -> None:
    agent = Talks()
    settings = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)
    async with World(store, clock, agents={"talks": agent}, settings=settings) as world:
        run = await world.submit("hello", agent_id="talks")
        await world.quiet()
        world.store.hold(Settle)
        agent.gate.set()
        await world.quiet()
        [outcome] = await store.apply([_staging("m9", run.run.thread_id)])
        assert type(outcome).__name__ == "Staged"
        world.store.let_go()

        assert (await world.done(run)).final_output == "re: late"
        await world.quiet()
        assert (agent.drives, world.free_slots) == (2, 1)


def _staging(name: str, thread_id: str) -> Submit:
    from msgspec.structs import replace

    from awaken.domain.ids import AgentId, DispatchId, ThreadId
    from awaken.testing.conformance.steps import asked

    submit = asked(name, thread=ThreadId(thread_id), agent=AgentId("talks"), dispatch=DispatchId(name))
    late = (user_message(MessageId(name), "late"),)
    return replace(submit, messages=late, delivery=Delivery(mode="steer"))


async def test_a_lost_answer_to_an_end_that_went_on_changes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    agent = Talks()
    async with World(store, clock, agents={"talks": agent}) as world:
        run = await world.submit("hello", agent_id="talks")
        await world.quiet()
        await steer(world, "more", agent_id="talks")
        world.store.lose_answer(Settle)
        agent.gate.set()
        await world.advance(5)

        assert (await world.done(run)).final_output == "re: more"
        assert await world.texts() == ["hello", "re: hello", "more", "re: more"]


# --- modes ------------------------------------------------------------------------------------------------------------


async def test_a_busy_thread_refuses_what_wants_it_idle(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit("hello")
        with pytest.raises(ThreadBusy) as busy:
            await world.submit("me", mode="reject")
        assert busy.value.active_run_id == run.run.run_id
        assert await world.submit("me", mode="reject", thread_id="other") is not None


async def test_a_submit_that_interrupts_stops_what_executes_and_starts_when_that_has_let_go(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        first = await world.submit("first")
        call = await world.agent.next_call()
        queued = await world.submit("queued")

        new = await world.submit("instead", mode="interrupt")

        await call.over()
        assert (await world.done(first)).termination is not None
        assert (await world.done(queued)).status is RunStatus.DONE
        second = await world.agent.next_call()
        assert second.run_id == new.run.run_id
        assert await second.context.input() == "instead"
        second.release()
        assert (await world.done(new)).status is RunStatus.DONE


@behaviour("D-011")
async def test_what_is_refused_destroys_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()
        queued = await world.submit("queued")
        await steer(world, "wall", barrier=True)
        before = await world.kinds()

        refusals: list[tuple[type[AwakenError], dict[str, Any]]] = [
            (DeliveryBlocked, {"mode": "interrupt"}),
            (ThreadBusy, {"mode": "reject"}),
            (RunNotWaiting, {"mode": "resume"}),
            (RunNotWaiting, {"mode": "resume", "target_run_id": run.run.run_id}),
            (RunNotFound, {"mode": "steer", "target_run_id": RunId("nobody")}),
            (ValidationError, {"mode": "steer", "available_at": 5}),
            (ValidationError, {"mode": "steer", "dedupe_key": "k"}),
            (ValidationError, {"mode": "guess"}),
            (ValidationError, {"mode": "interrupt", "granularity": "all"}),
        ]
        for kind, wishes in refusals:
            with pytest.raises(kind):
                await world.submit("no", **wishes)

        assert await world.kinds() == before
        assert not call.is_over
        assert (await world.run(queued)).status is RunStatus.CREATED


async def test_what_is_for_a_run_goes_to_its_thread_and_its_agent(store: WatchedStore, clock: ManualClock) -> None:
    async def other(ctx: Context) -> str:
        return await ctx.input()

    async with World(store, clock, agents={"other": other}) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()

        sent = await steer(world, "go on", thread_id="", agent_id=None, target_run_id=run.run.run_id)

        assert sent.submission.run.run_id == run.run.run_id
        with pytest.raises(RunNotFound):
            await steer(world, "go on", thread_id="elsewhere", target_run_id=run.run.run_id)
        call.release()
        await world.done(run)
        with pytest.raises(RunNotOpen) as ended:
            await steer(world, "go on", target_run_id=run.run.run_id)
        assert ended.value.status == "done"
        (await world.agent.next_call()).release()


async def test_a_request_with_a_run_id_is_recognised_also_where_it_opens_no_run(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        for _ in range(2):
            answer = await world.submit("once", mode="steer", run_id="mine")
            assert answer.run.run_id == call.run_id

        assert texts_of(await call.context.inbox()) == ["once"]
        again = await world.submit("once", mode="steer", run_id="mine")
        assert again.replayed


async def test_what_is_pending_has_a_bound_named_in_the_settings(store: WatchedStore, clock: ManualClock) -> None:
    settings = MailboxSettings(drain_s=0, handover_s=0, max_pending_per_thread=2)
    async with World(store, clock, settings=settings) as world:
        await world.submit("hello")
        await steer(world, "one", "two")
        with pytest.raises(QueueFull, match="2 messages pending"):
            await steer(world, "three")


# --- receipts ---------------------------------------------------------------------------------------------------------


async def test_a_receipt_can_be_waited_for(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        sent = await steer(world, "one")
        waits = asyncio.ensure_future(world.mailbox.messages.receipt(SCOPE, sent.receipts[0].message_id, wait_s=60.0))
        await world.quiet()
        assert not waits.done()

        await call.context.inbox()

        receipt = await waits
        assert (receipt.fate, receipt.run_id, receipt.seq) == ("consumed", call.run_id, 2)


async def test_a_receipt_that_is_not_final_in_time_says_pending(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        sent = await steer(world, "one")
        waits = asyncio.ensure_future(world.mailbox.messages.receipt(SCOPE, sent.receipts[0].message_id, wait_s=5.0))
        await world.advance(5)

        assert (await waits).fate == "pending"


async def test_a_message_that_came_with_a_queued_run_has_a_receipt_too(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        sent = await steer(world, "behind", mode="queue")
        waits = asyncio.ensure_future(world.mailbox.messages.receipt(SCOPE, sent.receipts[0].message_id, wait_s=60.0))
        await world.quiet()
        await world.mailbox.cancel(SCOPE, sent.submission.run.run_id)

        assert (await waits).fate == "cancelled"


async def test_a_receipt_that_nobody_can_have_is_refused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        for thread_id in ("a", "b"):
            await steer(world, "same", ids=["m"], thread_id=thread_id)
        messages = world.mailbox.messages
        with pytest.raises(Conflict, match=r"a, b|b, a"):
            await messages.receipt(SCOPE, "m")
        assert (await messages.receipt(SCOPE, "m", thread_id="b")).thread_id == "b"
        with pytest.raises(MessageNotFound):
            await messages.receipt(SCOPE, "nothing")
        with pytest.raises(MessageNotFound):
            await messages.receipt(SCOPE, "nothing", thread_id="a")
        with pytest.raises(ThreadNotFound):
            await messages.receipt(SCOPE, "m", thread_id="c")
        with pytest.raises(ValidationError):
            await messages.receipt(SCOPE, "no id at all")


# --- changing what waits ----------------------------------------------------------------------------------------------


async def test_what_waits_is_listed_and_changed_until_it_is_taken(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        await steer(world, "a", "b", "c", ids=["a", "b", "c"])
        messages = world.mailbox.messages
        first = await messages.pending(SCOPE, "t")
        assert [each.entry.message_id for each in first.items] == ["a", "b", "c"]

        edited = await messages.edit(SCOPE, "t", "b", if_version=1, message=user_message(MessageId(""), "better"))
        found = edited.edited
        assert (found.message.id, found.message.text, found.revision, edited.position) == ("b", "better", 2, 2)
        with pytest.raises(StaleVersion) as gone:
            await messages.reorder(SCOPE, "t", ["c", "b", "a"], if_version=first.revision)
        order = await messages.reorder(SCOPE, "t", ["c", "b", "a"], if_version=str(gone.value.version))
        assert [entry.message_id for entry in order] == ["c", "b", "a"]
        await messages.retract(SCOPE, "t", "a")

        assert texts_of(await call.context.inbox()) == ["c", "better"]
        for change in (messages.retract(SCOPE, "t", "b"), messages.edit(SCOPE, "t", "c", barrier=True)):
            with pytest.raises(AlreadyConsumed) as over:
                await change
            assert over.value.fate == "consumed"


@behaviour("PM-002", "PM-005", "PM-010")
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        await steer(world, "a", "b", ids=["a"])
        messages = world.mailbox.messages
        before = await messages.pending(SCOPE, "t")
        assert len(before.items[1].entry.message_id) == 36, "minted, where there was none"
        second = before.items[1].entry.message_id

        with pytest.raises(ValidationError, match="keeps the id"):
            await messages.edit(SCOPE, "t", "a", message=user_message(MessageId("other"), "x"))
        with pytest.raises(ValidationError):
            await messages.edit(SCOPE, "t", "a", message="text")  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValidationError, match="something that is to change"):
            await messages.edit(SCOPE, "t", "a")
        with pytest.raises(ValidationError, match="boundary is one of"):
            await messages.edit(SCOPE, "t", "a", boundary="new_run")
        with pytest.raises(ValidationError, match="if_version is a whole number"):
            await messages.retract(SCOPE, "t", "a", if_version=0)
        with pytest.raises(MessageNotFound):
            await messages.retract(SCOPE, "t", "nothing")
        with pytest.raises(MessageNotFound):
            await messages.reorder(SCOPE, "t", ["a", second, "nothing"])
        with pytest.raises(ValidationError, match="lacks"):
            await messages.reorder(SCOPE, "t", [second])
        with pytest.raises(ValidationError, match="this one names a twice"):
            await messages.reorder(SCOPE, "t", ["a", second, "a"])
        with pytest.raises(ThreadNotFound):
            await messages.reorder(SCOPE, "nowhere", [second])
        with pytest.raises(ThreadNotFound):
            await messages.pending(SCOPE, "nowhere")

        assert await messages.pending(SCOPE, "t") == before


@behaviour("PM-003", "PM-004", "PM-020")
async def test_an_id_that_is_pending_or_taken_is_refused_for_something_else(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        call = await world.agent.next_call()
        await steer(world, "a", ids=["a"])
        for _ in range(2):  # pending, and then in the log
            with pytest.raises(AwakenError, match="'a'"):
                await steer(world, "another", ids=["a"])
            with pytest.raises(AwakenError, match="'a'"):
                await steer(world, "new", "another", ids=["new", "a"])
            with pytest.raises(MessageNotFound):
                await world.mailbox.messages.receipt(SCOPE, "new")
            await call.context.inbox()
        with pytest.raises(ValidationError, match="have one message id"):
            await steer(world, "x", "y", ids=["same", "same"])


async def test_retracting_a_queued_run_wakes_whoever_waits_for_it(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("hello")
        sent = await steer(world, "behind", mode="queue")
        waits = asyncio.ensure_future(world.done(sent.submission))
        await world.quiet()

        await world.mailbox.messages.retract(SCOPE, "t", sent.receipts[0].message_id)

        ended = await waits
        assert ended.termination is not None
        assert ended.termination.type == "cancelled"


async def test_what_another_process_claims_it_takes_with_it(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, executes=False) as world:
        run = await world.submit("hello")
        await steer(world, "for you", target_run_id=run.run.run_id)
        [claimed] = await claim_for(store, "elsewhere")
        assert claimed.pending == 1
