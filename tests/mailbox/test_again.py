"""Doing a run again, and answering anew: what the new run reads, and what of it is recognised."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.domain.errors import (
    AlreadyExists,
    MessageNotFound,
    PermanentFailure,
    RunNotFinished,
    RunNotFound,
    ThreadNotFound,
    ValidationError,
)
from awaken.domain.ids import DEFAULT_SCOPE, ThreadId
from awaken.domain.message import assistant_message
from awaken.domain.run import CANCELLED, Origin, Run
from awaken.domain.ticket import TicketRequest, Verdict
from awaken.executors.contract import DriveOutcome, Entry, Finished, RunPort, Suspended
from awaken.executors.function import Context
from awaken.mailbox.submission import Submission
from awaken.store.contract import MessageQuery, RunQuery, TicketQuery
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World


class Reader:
    """Remembers what each execution is given to read, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.read: list[list[str]] = []
        self.failures = failures

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        conversation = await entry.conversation()
        self.read.append([message.text for message in conversation.history])
        if self.failures:
            self.failures -= 1
            raise PermanentFailure("no luck")
        return Finished(messages=(assistant_message(port.new_message_id(), f"answer {len(self.read)}"),))


async def view(world: World, thread_id: str = "t") -> list[str]:
    query = MessageQuery(limit=100, view="effective")
    return [each.message.text for each in await world.store.list_messages(DEFAULT_SCOPE, ThreadId(thread_id), query)]


async def retried(world: World, run: Submission | Run, **options: Any) -> Submission:
    run = run.run if isinstance(run, Submission) else run
    return await world.mailbox.again.retry(DEFAULT_SCOPE, run.run_id, **options)


async def anew(world: World, thread_id: str = "t", **options: Any) -> Submission:
    return await world.mailbox.again.regenerate(DEFAULT_SCOPE, thread_id, **options)


@behaviour("VA-005")
async def test_a_run_that_was_given_up_is_done_again_with_its_own_input(
    store: WatchedStore, clock: ManualClock
) -> None:
    reader = Reader(failures=1)
    async with World(store, clock, agents={"reader": reader}) as world:
        failed = await world.done(await world.submit("first", agent_id="reader", metadata={"k": 1}))
        assert failed.dead_lettered
        await world.done(await world.submit("second", agent_id="reader"))

        again = await world.done(await retried(world, failed))

        assert reader.read == [["first"], ["first", "second"], ["second", "answer 2", "first"]]
        assert (again.final_output, again.metadata, again.agent_id) == ("answer 3", {"k": 1}, "reader")
        assert await view(world) == ["first", "second", "answer 2", "answer 3"], "nothing is appended twice"


@behaviour("VA-005")
async def test_a_run_is_done_again_once_however_often_that_is_asked_for(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"reader": Reader(failures=2)}) as world:
        failed = await world.done(await world.submit(agent_id="reader"))
        first = await retried(world, failed)
        second = await retried(world, failed, max_attempts=7)
        assert (second.run.run_id, first.replayed, second.replayed) == (first.run.run_id, False, True)
        failed_again = await world.done(first)
        assert failed_again.dead_lettered
        third = await world.done(await retried(world, failed_again))
        assert third.final_output == "answer 3"
        assert third.request.reference is not None
        assert third.request.reference.retry_of_run_id == failed_again.run_id


@behaviour("VA-006")
async def test_what_was_never_taken_is_brought_as_a_copy(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("busy")
        queued = await world.submit("never taken", run_id="q")
        await world.mailbox.cancel(DEFAULT_SCOPE, queued.run.run_id)
        (await world.agent.next_call()).release("done")

        again = await retried(world, queued)
        (await world.agent.next_call()).release("now")

        assert (await world.done(again)).final_output == "now"
        assert await world.texts() == ["busy", "done", "never taken", "now"]
        receipt = await world.mailbox.messages.receipt(DEFAULT_SCOPE, queued.run.request.input_message_ids[0])
        assert receipt.fate == "cancelled", "that of the message itself is decided"
        assert (await retried(world, queued)).replayed


@behaviour("VA-007")
async def test_what_cannot_be_done_again_is_refused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit("busy")
        with pytest.raises(RunNotFinished):
            await retried(world, run)
        with pytest.raises(RunNotFound):
            await world.mailbox.again.retry(DEFAULT_SCOPE, "nothing")
        other = await world.submit("taken back")
        [message_id] = other.run.request.input_message_ids
        await world.mailbox.messages.retract(DEFAULT_SCOPE, "t", message_id)
        with pytest.raises(ValidationError, match="retracted"):
            await retried(world, other)
        (await world.agent.next_call()).release("done")
        done = await world.done(run)
        with pytest.raises(ValidationError, match="no agent"):
            await retried(world, done, agent_id="nobody")
        assert len((await store.list_runs(DEFAULT_SCOPE, RunQuery(limit=50))).items) == 2


@behaviour("VA-006")
async def test_a_child_that_is_done_again_tells_nobody(store: WatchedStore, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> Any:
        child = await ctx.start("reader", "find out")
        [found] = await ctx.gather(child, return_exceptions=True)
        return str(found)

    async with World(store, clock, agents={"boss": boss, "reader": Reader(failures=1)}) as world:
        parent = await world.done(await world.submit(agent_id="boss"))
        page = await store.list_runs(DEFAULT_SCOPE, RunQuery(limit=50))
        [child] = [run for run in page.items if run.request.trace.child is not None]

        again = await world.done(await retried(world, child))
        await world.quiet()

        assert again.final_output == "answer 2"
        assert (again.request.trace.origin, again.request.trace.child) == (Origin.USER, None)
        assert (await world.run(parent)).updated_seq == parent.updated_seq
        assert await store.list_outbox() == []


@behaviour("VA-008")
async def test_the_last_answer_is_made_anew(store: WatchedStore, clock: ManualClock) -> None:
    reader = Reader()
    async with World(store, clock, agents={"reader": reader}) as world:
        await world.done(await world.submit("one", agent_id="reader"))
        await world.done(await world.submit("two", agent_id="reader"))

        await world.done(await anew(world))

        assert reader.read[-1] == ["one", "answer 1", "two"]
        assert await view(world) == ["one", "answer 1", "two", "answer 3"]
        first = (await world.messages())[1]
        await world.done(await anew(world, message_id=first.id))
        assert reader.read[-1] == ["one"]
        assert await view(world) == ["one", "answer 4"], "what was said behind it is hidden with it"


@behaviour("VA-008")
async def test_an_answer_that_is_on_its_way_is_stopped_and_made_anew(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("one")
        await world.agent.next_call()
        queued = await world.submit("two")

        again = await anew(world)
        (await world.agent.next_call()).release("better")

        assert (await world.done(again)).final_output == "better"
        assert (await world.run(queued)).termination == CANCELLED
        assert await view(world) == ["one", "better"]


@behaviour("VA-009")
async def test_answering_anew_is_recognised_by_its_run(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"reader": Reader()}) as world:
        await world.done(await world.submit("one", agent_id="reader"))
        first = await world.done(await anew(world, run_id="r2"))

        again = await anew(world, run_id="r2")

        assert (again.run.run_id, again.replayed) == (first.run_id, True)
        assert await view(world) == ["one", "answer 2"]
        with pytest.raises(AlreadyExists):
            await anew(world, run_id="r2", agent_id="gated")
        await world.done(await world.submit("other", agent_id="reader", run_id="r3"))
        with pytest.raises(AlreadyExists):
            await anew(world, run_id="r3")


@behaviour("VA-009")
async def test_what_cannot_be_answered_anew_is_refused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"reader": Reader()}) as world:
        with pytest.raises(ThreadNotFound):
            await anew(world)
        await world.done(await world.submit("one", agent_id="reader"))
        question, _ = await world.messages()
        with pytest.raises(ValidationError, match="no answer"):
            await anew(world, message_id=question.id)
        with pytest.raises(MessageNotFound):
            await anew(world, message_id="nothing")
        with pytest.raises(ValidationError, match="id"):
            await anew(world, message_id="a b\n")
        assert await view(world) == ["one", "answer 1"]


class Waiter(Reader):
    """Waits for an answer, and then reads."""

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        asked = TicketRequest(key="ask", kind="input")
        if not await entry.decisions():
            return Suspended(tickets=(asked,))
        return await super().drive(entry, port)


@behaviour("VA-010")
async def test_what_others_say_while_it_waits_is_not_for_a_run_with_input_by_reference(
    store: WatchedStore, clock: ManualClock
) -> None:
    waiter = Waiter()
    async with World(store, clock, agents={"reader": Reader(failures=1), "waiter": waiter}) as world:
        failed = await world.done(await world.submit("first", agent_id="reader"))
        again = await retried(world, failed, agent_id="waiter")
        await world.quiet()
        await world.done(await world.submit("second", agent_id="reader", metadata={"own": True}))

        [ticket] = (await store.list_tickets(DEFAULT_SCOPE, TicketQuery(limit=9))).items
        answer = Verdict(action="answer", result=1)
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer)

        await world.done(again)
        assert waiter.read == [["first"]]
        assert await view(world) == ["first", "second", "answer 2", "answer 1"]
