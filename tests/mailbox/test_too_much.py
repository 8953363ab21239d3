"""Too much, too long, and what makes no sense: each has its bound and its words, and no other thread notices.

Above: nobody. Below: the mailbox through `Awaken`, over both stores. What is too large for an answer, a step or a
result is tried in `test_results`, arguments of every other kind in `test_arguments`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from awaken import Awaken
from awaken.domain import shown
from awaken.domain.errors import AwakenError, QueueFull, RunNotFound, TicketNotFound, ValidationError
from awaken.domain.ids import MessageId, Scope
from awaken.domain.message import user_message
from awaken.domain.ticket import TicketRequest
from awaken.executors.contract import Entry, Finished, RunPort, Suspended
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import WatchedStore

QUICK = MailboxSettings(drain_s=0, handover_s=0)
LARGE = 10_000_000
MANY = 10_000
TOGETHER = 100
"""Messages of one request."""


async def neighbour(ctx: Context) -> str:
    return f"fine: {await ctx.input()}"


class Holds:
    """An agent that goes on when it may."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, ctx: Context) -> str:
        self.began.set()
        await self.may_end.wait()
        return "done"


@asynccontextmanager
async def serving(
    store: WatchedStore, clock: ManualClock, settings: MailboxSettings = QUICK, **agents: Any
) -> AsyncGenerator[Awaken]:
    """An app, whose neighbour is asked again at the end."""
    app = Awaken(store=store, clock=clock, settings=settings)
    for name, agent in {"neighbour": neighbour, **agents}.items():
        app.agent(name, agent)
    async with app:
        yield app
        assert (await app.run("beside", "how are you?", agent="neighbour")).output == "fine: how are you?"


async def ended(app: Awaken, agent: str, **options: Any) -> shown.Run:
    run = await app.submit("t", "go", agent=agent, **options)
    return await app.wait(run.run_id)


# --- many -------------------------------------------------------------------------------------------------------------


async def test_of_ten_thousand_messages_to_one_thread_as_many_wait_as_may(
    store: WatchedStore, clock: ManualClock
) -> None:
    agent = Holds()
    async with serving(store, clock, holds=agent) as app:
        run = await app.submit("t", "go", agent="holds")
        await agent.began.wait()
        messages = [user_message(MessageId(f"m{n}"), "psst") for n in range(MANY)]
        asked = [app.steer("t", messages[n : n + TOGETHER]) for n in range(0, MANY, TOGETHER)]

        answers = await asyncio.gather(*asked, return_exceptions=True)

        accepted = [each for each in answers if isinstance(each, shown.Sent)]
        assert sum(len(each.message_ids) for each in accepted) == QUICK.max_pending_per_thread
        assert {type(each) for each in answers} == {shown.Sent, QueueFull}
        assert len((await app.pending("t")).items) == QUICK.max_pending_per_thread
        await app.interrupt("t")
        assert (await app.wait(run.run_id)).phase == "superseded"


async def test_of_many_runs_in_one_thread_as_many_wait_as_may(store: WatchedStore, clock: ManualClock) -> None:
    agent = Holds()
    settings = MailboxSettings(drain_s=0, handover_s=0, max_queued_per_thread=100)
    async with serving(store, clock, settings, holds=agent) as app:
        await app.submit("t", "go", agent="holds")
        await agent.began.wait()
        asked = [app.submit("t", f"run {n}", agent="holds") for n in range(300)]

        answers = await asyncio.gather(*asked, return_exceptions=True)

        assert sum(isinstance(each, QueueFull) for each in answers) == 200
        assert (await app.get_thread("t")).queued_count == 100
        await app.interrupt("t")


async def test_a_thousand_who_wait_are_all_answered(store: WatchedStore, clock: ManualClock) -> None:
    agent = Holds()

    async def kinds(run: Any) -> list[str]:
        return [event.kind async for event in run.events()]

    async with serving(store, clock, holds=agent) as app:
        run = await app.submit("t", "go", agent="holds")
        [given] = (await app.get_run(run.run_id)).input.trigger_message_ids
        sent = await app.steer("t", "and then?")
        waits = [asyncio.create_task(app.wait(run.run_id, timeout_s=60)) for _ in range(500)]
        receipts = [asyncio.create_task(app.receipt(sent.message_ids[0], wait_s=60)) for _ in range(250)]
        streams = [asyncio.create_task(kinds(run)) for _ in range(250)]
        await settle()
        assert (await app.run("other", "now", agent="neighbour")).output == "fine: now"
        assert (await app.receipt(given)).fate == "consumed"
        agent.may_end.set()

        async with asyncio.timeout(60):
            assert {(await each).output for each in waits} == {"done"}
            assert {(await each).fate for each in receipts} == {"consumed"}
            assert {(await each)[-1] for each in streams} == {"RunFinished"}


# --- large ------------------------------------------------------------------------------------------------------------


async def test_a_tool_that_returns_fifty_megabytes_is_told_to_the_model_as_an_error(
    store: WatchedStore, clock: ManualClock
) -> None:
    heard: list[list[ModelMessage]] = []

    def script(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        heard.append(messages)
        return ModelResponse([TextPart("I see.") if len(heard) > 1 else ToolCallPart("large", {}, "c1")])

    agent = Agent(FunctionModel(script))

    @agent.tool_plain
    async def large() -> str:  # pyright: ignore[reportUnusedFunction]
        return "x" * (5 * LARGE)

    async with serving(store, clock, model=agent) as app:
        run = await ended(app, "model")

        assert run.output == "I see."
        [told] = [part for part in heard[-1][-1].parts if isinstance(part, ToolReturnPart)]
        assert told.content == "the tool 'large' returned 50000316 bytes, of at most 8388608"
        assert sum(len(message.text) for message in await app.messages("t")) < 1_000


@pytest.mark.parametrize("how", ["submit", "patch", "agent"])
async def test_a_state_of_ten_megabytes_is_refused_and_the_one_before_stays(
    store: WatchedStore, clock: ManualClock, how: str
) -> None:
    async def hoards(ctx: Context) -> str:
        await ctx.state.set("large", "x" * LARGE)
        return "never"

    async with serving(store, clock, hoards=hoards) as app:
        await app.run("t", "go", agent="neighbour", state={"small": 1})
        if how == "agent":
            run = await ended(app, "hoards")
            assert run.termination is not None and "262144" in (run.termination.detail or "")
        else:
            values = {"large": "x" * LARGE}
            with pytest.raises(ValidationError, match="262144"):
                await (app.patch_state("t", values) if how == "patch" else ended(app, "neighbour", state=values))

        state = await app.get_state("t")
        assert (state.values, state.version) == ({"small": 1}, 1)


async def test_a_decision_that_is_too_large_or_for_somebody_else_decides_nothing(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def careful(ctx: Context) -> str:
        return str((await ctx.approve("may I?", arguments={"n": 1})).arguments)

    async with serving(store, clock, careful=careful) as app:
        run = await app.submit("t", "go", agent="careful")
        await settle()
        while not (found := await app.list_tickets(run_id=run.run_id, state="open")):
            await settle()
        [ticket] = found
        with pytest.raises(ValidationError, match="at most 262144 bytes"):
            await app.decide(ticket.ticket_id, "edit", arguments={"n": "x" * LARGE})
        stranger = Awaken(store=store, clock=clock, scope=Scope("other"))
        stranger.agent("neighbour", neighbour)
        async with stranger:
            for asked in (stranger.decide(ticket.ticket_id, "approve"), stranger.get_ticket(ticket.ticket_id)):
                with pytest.raises(TicketNotFound):
                    await asked
            for asked in (stranger.cancel(run.run_id), stranger.steer(None, "psst", run_id=run.run_id)):
                with pytest.raises(RunNotFound):
                    await asked
        assert (await app.get_ticket(ticket.ticket_id)).state == "open"

        await app.decide(ticket.ticket_id, "approve")
        assert (await app.wait(run.run_id)).output == "{'n': 1}"


async def test_a_run_is_not_reached_through_another_thread(store: WatchedStore, clock: ManualClock) -> None:
    agent = Holds()
    async with serving(store, clock, holds=agent) as app:
        run = await app.submit("t", "go", agent="holds")
        await app.run("other", "hello", agent="neighbour")
        with pytest.raises(AwakenError, match="run"):
            await app.steer("other", "psst", run_id=run.run_id)
        assert (await app.pending("t")).items == ()
        assert [message.text for message in await app.messages("other")] == ["hello", "fine: hello"]
        agent.may_end.set()
        assert (await app.wait(run.run_id)).output == "done"


# --- endless, and nonsense --------------------------------------------------------------------------------------------


async def test_a_model_that_never_stops_is_stopped_by_the_setting_or_by_what_its_submit_says(
    store: WatchedStore, clock: ManualClock
) -> None:
    def for_ever(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        return ModelResponse([ToolCallPart("look", {}, f"c{len(messages)}")])

    agent = Agent(FunctionModel(for_ever))

    @agent.tool_plain
    async def look() -> str:  # pyright: ignore[reportUnusedFunction]
        return "nothing"

    async def loops(ctx: Context) -> None:
        while True:
            await ctx.step("look", lambda: 1)

    settings = MailboxSettings(drain_s=0, handover_s=0, max_steps=7)
    async with serving(store, clock, settings, model=agent, loops=loops) as app:
        for name in ("model", "loops"):
            for limits, most in ((None, 7), ({"max_steps": 3}, 3), ({"max_steps": 9}, 9)):
                run = await ended(app, name, limits=limits)

                assert run.termination is not None
                assert (run.termination.type, run.termination.code, run.steps) == ("stopped", "max_steps", most)


@behaviour("TK-064")
@pytest.mark.parametrize(
    "schema", [{"type": "banana"}, {"$ref": "#/nowhere"}, {"pattern": "("}, {"$ref": "http://127.0.0.1:1/x"}]
)
@pytest.mark.parametrize("early", [True, False])
async def test_a_schema_that_is_none_is_refused_where_it_is_asked_with_and_nobody_waits(
    store: WatchedStore, clock: ManualClock, schema: dict[str, Any], early: bool
) -> None:
    """Else the run would wait for an answer that no answer can be."""

    class Asks:
        async def drive(self, entry: Entry, port: RunPort) -> Finished | Suspended:
            request = TicketRequest(key="q", kind="input", response_schema=schema)
            if early:
                await port.open_tickets(request)
            return Suspended(tickets=(request,))

    async with serving(store, clock, asks=Asks()) as app:
        run = await ended(app, "asks")

        assert run.phase == "dead_letter"
        assert run.termination is not None
        assert "the response_schema of 'q' is not a JSON schema" in (run.termination.detail or "")
        assert await app.list_tickets(run_id=run.run_id) == []
