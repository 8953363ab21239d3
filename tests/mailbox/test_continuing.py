"""Input for a thread whose run waits: which run takes it, what that finds, and what it reads meanwhile."""

from __future__ import annotations

from typing import Any

from awaken.domain.ids import DEFAULT_SCOPE
from awaken.domain.message import Message, Role, Text, ToolCall
from awaken.domain.run import RunStatus
from awaken.domain.ticket import TicketRequest
from awaken.executors.contract import Entry, Finished, RunPort, Suspended
from awaken.executors.function import Context
from awaken.store.contract import TicketQuery
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World


async def careful(entry: Entry, port: RunPort) -> Finished | Suspended:
    """Wants to call a tool and waits for leave; goes on with whatever came instead, and says what it read then."""
    conversation = await entry.conversation()
    if conversation.reenter is None and conversation.history[-1].text == "go":
        call = ToolCall("c1", "delete", {})
        turn = Message(id=port.new_message_id(), role=Role.ASSISTANT, content=(Text("may I?"),), tool_calls=(call,))
        await port.commit_assistant(turn)
        asked = TicketRequest(key="c1", kind="approval", tool_call_id="c1", tool_name="delete")
        return Suspended(tickets=(asked,))
    read = [f"{message.role}: {message.text}" for message in conversation.history]
    return Finished(final_output="\n".join(read))


class Careful:
    async def drive(self, entry: Entry, port: RunPort) -> Finished | Suspended:
        return await careful(entry, port)


async def reading(ctx: Context) -> str:
    """What a run of its own reads of the thread."""
    return "\n".join([f"{message.role}: {message.text}" for message in await ctx.messages()])


async def boss(ctx: Context) -> Any:
    return await ctx.call("gated", "take your time")


AGENTS: dict[str, Any] = {"careful": Careful(), "reading": reading, "boss": boss}


@behaviour("MBX-156")
async def test_input_continues_the_run_that_waits_for_a_person(store: WatchedStore, clock: ManualClock) -> None:
    """What it waited for is nobody's question any more, and the model is told so."""
    async with World(store, clock, agents=AGENTS) as world:
        first = await world.submit("go", agent_id="careful")
        await world.quiet()
        assert (await world.run(first)).status is RunStatus.WAITING

        more = await world.submit("never mind", agent_id=None)

        assert more.run.run_id == first.run.run_id
        run = await world.done(first)
        assert (run.final_output or "").splitlines() == [
            "user: go",
            "assistant: may I?",
            "tool: cancelled: nobody answers this call any more",
            "user: never mind",
        ]
        [ticket] = (await store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=run.run_id))).items
        assert ticket.state == "withdrawn"
        thread = await store.load_thread(DEFAULT_SCOPE, run.thread_id)
        assert thread is not None
        assert (thread.latest_run_id, thread.open_run_id) == (run.run_id, None)


@behaviour("MBX-155")
async def test_input_continues_the_run_that_waits_for_background_work(store: WatchedStore, clock: ManualClock) -> None:
    """Its child goes on, and is still waited for."""
    async with World(store, clock, agents=AGENTS) as world:
        first = await world.submit("go", agent_id="boss")
        child = await world.agent.next_call()
        await world.quiet()

        more = await world.submit("how long?", agent_id=None)

        assert more.run.run_id == first.run.run_id
        await world.quiet()
        assert (await world.run(first)).status is RunStatus.WAITING
        assert await world.texts() == ["go", "how long?"]
        child.release("done")
        run = await world.done(first)
        assert run.final_output == "done"
        thread = await store.load_thread(DEFAULT_SCOPE, run.thread_id)
        assert thread is not None and thread.latest_run_id == run.run_id


@behaviour("MBX-047", "MBX-048")
async def test_a_run_that_waited_and_is_done_is_not_continued_whoever_ended_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    """What waits is read in the transaction that accepts the input: no process has a copy that could be old."""
    async with World(store, clock, agents=AGENTS) as world:
        first = await world.submit("go", agent_id="careful")
        await world.quiet()
        async with World(store, clock, agents=AGENTS, seed=2, executes=False) as other:
            assert (await other.run(first)).status is RunStatus.WAITING
            await other.mailbox.cancel(DEFAULT_SCOPE, first.run.run_id)

        second = await world.submit("again", agent_id="careful")

        assert second.run.run_id != first.run.run_id
        assert (await world.done(second)).status is RunStatus.DONE
        third = await world.submit("and again", agent_id="careful")
        assert third.run.run_id not in (first.run.run_id, second.run.run_id)


@behaviour("TR-059")
async def test_another_run_reads_a_call_that_waits_with_a_placeholder_that_is_never_stored(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        waits = await world.submit("go", agent_id="careful")
        await world.quiet()

        other = await world.submit("what is going on?", agent_id="reading")

        assert other.run.run_id != waits.run.run_id
        read = ((await world.done(other)).final_output or "").splitlines()
        assert read == [
            "user: go",
            "assistant: may I?",
            "tool: the call has not been answered yet",
            "user: what is going on?",
        ]
        assert [message.role for message in await world.messages()] == ["user", "assistant", "user", "assistant"]
        assert (await world.run(waits)).status is RunStatus.WAITING
