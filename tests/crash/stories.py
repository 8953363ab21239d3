"""Runs that are talked to, asked, answered, stopped and started by others, and what a caller asks for meanwhile.

Above: `theatre` plays a story in this process and has it die there, `test_kill_in_stories` in processes that are
killed. Below: the public API.
Holds: a story has one end, whatever happens on the way. An agent that has to be talked to at a certain place waits
there until the caller was told that he was heard, and for nothing else; and the caller asks for one thing after the
other, each again until he was told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from awaken.domain import shown
from awaken.domain.clock import sleep
from awaken.domain.errors import AlreadyConsumed, AlreadyExists, StoreUnavailable
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, user_message
from awaken.executors.function import Context
from awaken.wiring import Awaken


class Diary(Protocol):
    """What is known outside of every process."""

    def asked(self, step: str) -> None:
        """A caller is about to ask for it."""

    def accepted(self, step: str) -> None:
        """He was told that it was accepted."""

    def called(self, name: str) -> None:
        """An agent begins to do something that it does once: `RUN STEP#n`, or `RUN tool:CALL`."""


class Step(msgspec.Struct, frozen=True):
    """Something a caller asks for. `ask` may be repeated, and may wait for the moment at which it makes sense."""

    name: str
    ask: Callable[[Awaken], Awaitable[object]]


class Story(NamedTuple):
    plan: tuple[Step, ...]
    register: Callable[[Awaken, Stage], None]
    says: dict[str, list[str]]
    """What is read of each thread in the end."""
    fates: Mapping[str, str] = MappingProxyType({})
    """What became of messages that were not simply taken, by id."""


class Stage:
    """A process of a story: its caller, and what its agents know of him."""

    def __init__(self, diary: Diary, asked: Iterable[str], accepted: Iterable[str]) -> None:
        """`asked` and `accepted`: the steps of which earlier processes said so."""
        self._diary = diary
        self._asked = frozenset(asked)
        self._is_accepted = {name: _set() for name in accepted}
        self._is_awaited: dict[str, asyncio.Event] = {}

    async def until(self, step: str) -> None:
        """For agents: wait here until the step was accepted."""
        self._is_awaited.setdefault(step, asyncio.Event()).set()
        await self._is_accepted.setdefault(step, asyncio.Event()).wait()

    async def held(self, step: str) -> None:
        """For steps: an agent waits for this one. One that was asked for before may have had that effect already."""
        if step not in self._asked:
            await self._is_awaited.setdefault(step, asyncio.Event()).wait()

    async def once(self, ctx: Context, name: str) -> None:
        """For agents: a step of the run that is not to be repeated once it is recorded."""
        await ctx.step(name, lambda: self.called(f"{ctx.identity.run_id} {name}"))

    def called(self, name: str) -> None:
        self._diary.called(name)

    async def tell(self, app: Awaken, story: Story) -> None:
        """Be the caller."""
        for step in story.plan:
            is_accepted = self._is_accepted.setdefault(step.name, asyncio.Event())
            if is_accepted.is_set():
                continue
            if step.name.startswith("at "):
                await self.held(step.name)
            self._diary.asked(step.name)
            while not is_accepted.is_set():
                with suppress(StoreUnavailable):
                    await step.ask(app)
                    self._diary.accepted(step.name)
                    is_accepted.set()


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def user(message_id: str, text: str) -> Message:
    return user_message(MessageId(message_id), text)


def submits(run_id: str, agent: str, text: str, *, thread_id: str = "t", **options: Any) -> Step:
    return Step(run_id, lambda app: _submitted(app, run_id, agent, text, thread_id, options))


def at(step: Step) -> Step:
    """Once an agent waits for it."""
    return Step(f"at {step.name}", step.ask)


def ended(run_id: str) -> Step:
    """The caller waits until a run has ended."""
    return Step(f"the end of {run_id}", lambda app: app.wait(run_id))


def steers(message_id: str, text: str, run_id: str = "r1", **options: Any) -> Step:
    return Step(message_id, lambda app: app.steer(None, user(message_id, text), run_id=run_id, **options))


def decides(name: str, action: str, *, run_id: str = "r1", **details: Any) -> Step:
    """As soon as the run has opened the ticket, known by the name of what it asks with."""

    async def ask(app: Awaken) -> object:
        ticket = await _ticket(app, run_id, name)
        return await app.decide(ticket, action, decision_id=f"d-{name}", **details)

    return Step(f"decide {name}", ask)


async def _submitted(app: Awaken, run_id: str, agent: str, text: str, thread_id: str, options: dict[str, Any]) -> None:
    await app.submit(thread_id, user(f"m-{run_id}", text), agent=agent, run_id=run_id, **options)


async def _ticket(app: Awaken, run_id: str, name: str) -> str:
    async for event in _events(app, run_id):
        if event.kind == "TicketOpened":
            for ticket in await app.list_tickets(run_id=run_id):
                if ticket.tool_name == name:
                    return ticket.ticket_id
    raise AssertionError(f"run {run_id} never asked {name}")


async def _suspended(app: Awaken, run_id: str) -> None:
    async for event in _events(app, run_id):
        if event.kind == "RunSuspended":
            return


async def _events(app: Awaken, run_id: str) -> AsyncIterator[shown.Event]:
    """Those of a run, from the first on, as they come."""
    thread_id = (await app.get_run(run_id)).thread_id
    [first] = await app.list_events(thread_id, limit=1)
    async for event in app.events(thread_id, after=first.cursor):
        if event.run_id == run_id:
            yield event


# --- steered ----------------------------------------------------------------------------------------------------------


def _register_steered(app: Awaken, stage: Stage) -> None:
    async def listens(ctx: Context) -> str:
        await stage.until("at m1")
        await stage.until("m2")
        await stage.once(ctx, "first")
        heard = [message.text for message in await ctx.inbox()]
        await stage.until("at m3")
        while found := await ctx.inbox():
            heard += [message.text for message in found]
        await stage.once(ctx, "second")
        await stage.until("at m4")
        await stage.until("m5")
        return f"heard {' and '.join(heard)}"

    async def answers(ctx: Context) -> str:
        await stage.once(ctx, "answer")
        return f"to {await ctx.input()}"

    async def echo(ctx: Context) -> str:
        return await (listens if ctx.identity.run_id == "r1" else answers)(ctx)

    app.agent("echo", echo)


_STEERED: Final = Story(
    plan=(
        submits("r1", "echo", "go"),
        at(steers("m1", "one")),
        steers("m2", "two", granularity="one"),
        at(steers("m3", "three")),
        at(steers("m4", "late")),
        steers("m5", "never", fallback_to_new_run=False),
    ),
    register=_register_steered,
    says={
        "t": [
            "user: go", "user: one", "user: two", "user: three", "assistant: heard one and two and three",
            "user: late", "assistant: to late",
        ]
    },
    fates={"m5": "retracted"},
)  # fmt: skip


# --- asked, answered, approved ----------------------------------------------------------------------------------------


def _register_asked(app: Awaken, stage: Stage) -> None:
    async def careful(ctx: Context) -> str:
        await stage.once(ctx, "look")
        await ctx.emit("Let me see. ")
        name = await ctx.ask("Who are you?", name="name")
        await stage.once(ctx, "greet")
        both = await asyncio.gather(
            ctx.approve("May I?", name="may", arguments={"n": 1}), ctx.ask("How many?", name="many", type=int)
        )
        await stage.once(ctx, "do")
        return f"{name}: {both[0].arguments['n']} {both[1]}"

    app.agent("careful", careful)


_ASKED: Final = Story(
    plan=(
        submits("r1", "careful", "go"),
        decides("name", "answer", result="Ada"),
        decides("may", "edit", arguments={"n": 2}),
        decides("many", "answer", result=3),
    ),
    register=_register_asked,
    says={"t": ["user: go", "assistant: Let me see. ", "assistant: Ada: 2 3"]},
)


# --- a tool that is approved, beside one that is answered from outside ------------------------------------------------


def _register_deferred(app: Awaken, stage: Stage) -> None:
    from pydantic_ai import Agent, CallDeferred
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    async def script(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        turns = sum(isinstance(message, ModelResponse) for message in messages)
        if turns == 0:
            calls = [ToolCallPart("look", {}, "look"), ToolCallPart("book", {"seats": 2}, "book")]
            return ModelResponse([*calls, ToolCallPart("fetch", {}, "fetch")])
        return ModelResponse([TextPart("Booked.")])

    agent = Agent(FunctionModel(script, model_name="script"))

    @agent.tool_plain
    async def look() -> str:  # pyright: ignore[reportUnusedFunction]
        stage.called("r1 tool:look")
        return "seen"

    @agent.tool_plain(requires_approval=True)
    async def book(seats: int) -> str:  # pyright: ignore[reportUnusedFunction]
        stage.called("r1 tool:book")
        await stage.until("at decide fetch")
        return f"booked {seats}"

    @agent.tool_plain
    async def fetch() -> str:  # pyright: ignore[reportUnusedFunction]
        raise CallDeferred

    app.agent("desk", agent)


_DEFERRED: Final = Story(
    plan=(
        submits("r1", "desk", "a table"),
        decides("book", "edit", arguments={"seats": 3}),
        at(decides("fetch", "answer", result="from outside")),
    ),
    register=_register_deferred,
    says={
        "t": [
            "user: a table", "assistant: ", "tool: booked 3", "tool: from outside", "tool: seen", "assistant: Booked.",
        ]
    },
)  # fmt: skip


# --- stopped in every way ---------------------------------------------------------------------------------------------


def _register_stopped(app: Awaken, stage: Stage) -> None:
    async def busy(ctx: Context) -> str:
        await stage.once(ctx, "begin")
        if ctx.identity.run_id == "r1":
            await stage.until("at r4")
            await asyncio.Event().wait()  # until it is stopped
        return "this was not to be said"

    async def calm(ctx: Context) -> str:
        await stage.once(ctx, "begin")
        return f"calm after {[message.text for message in await ctx.messages() if message.text]}"

    app.agent("busy", busy)
    app.agent("calm", calm)


def _stopped(strategy: str, says: list[str]) -> Story:
    return Story(
        plan=(
            submits("r0", "calm", "before"),
            ended("r0"),
            submits("r1", "busy", "go"),
            steers("m1", "psst"),
            submits("r3", "calm", "in the queue"),
            at(submits("r4", "calm", "stop that", multitask_strategy=strategy)),
        ),
        register=_register_stopped,
        says={"t": ["user: before", "assistant: calm after ['before']", *says]},
        fates={"m1": "superseded", "m-r3": "superseded"},
    )


_INTERRUPTED: Final = _stopped(
    "interrupt",
    [
        "user: go",
        "user: stop that",
        "assistant: calm after ['before', \"calm after ['before']\", 'go', 'stop that']",
    ],
)  # fmt: skip
_ROLLED_BACK: Final = _stopped(
    "rollback",
    ["user: stop that", "assistant: calm after ['before', \"calm after ['before']\", 'stop that']"],
)


# --- what waits is changed --------------------------------------------------------------------------------------------


def _register_changed(app: Awaken, stage: Stage) -> None:
    async def listens(ctx: Context) -> str:
        await stage.until("order")
        await stage.once(ctx, "first")
        return " and ".join([message.text for message in await ctx.inbox()])

    app.agent("listens", listens)


async def _retracted(app: Awaken, message_id: str) -> None:
    try:
        await app.retract("t", message_id)
    except AlreadyConsumed as error:
        if error.fate != "retracted":
            raise


_CHANGED: Final = Story(
    plan=(
        submits("r1", "listens", "go"),
        steers("m1", "one"),
        steers("m2", "two"),
        steers("m3", "three"),
        Step("edit", lambda app: app.edit("t", "m1", "uno")),
        Step("retract", lambda app: _retracted(app, "m2")),
        Step("order", lambda app: app.reorder("t", ["m3", "m1"])),
    ),
    register=_register_changed,
    says={"t": ["user: go", "user: three", "user: uno", "assistant: three and uno"]},
    fates={"m2": "retracted"},
)


# --- threads: forked, hidden, deleted ---------------------------------------------------------------------------------


def _register_threads(app: Awaken, stage: Stage) -> None:
    async def clerk(ctx: Context) -> str:
        await stage.once(ctx, "begin")
        await ctx.state.set("last", ctx.identity.run_id)
        return f"{len(await ctx.messages())}"

    async def never(ctx: Context) -> None:
        await stage.once(ctx, "begin")
        if ctx.identity.run_id == "r4":
            await ctx.start("never", "child")
        else:
            await stage.until("at delete")
            await asyncio.Event().wait()  # until it is stopped

    app.agent("clerk", clerk)
    app.agent("never", never)


async def _has_child(app: Awaken) -> None:
    while not await app.list_children("r4"):
        await sleep(app.mailbox.clock, 0.1)  # it is on its way, and nothing in this thread says when it is there


async def _forked(app: Awaken) -> None:
    with suppress(AlreadyExists):  # it was there, and nobody had heard so
        await app.fork_thread("t", at_message_id="m-r2", new_thread_id="fork")


_THREADS: Final = Story(
    plan=(
        submits("r1", "clerk", "one"),
        ended("r1"),
        Step("hide", lambda app: app.hide_message("t", "m-r1")),
        submits("r2", "clerk", "two"),
        ended("r2"),
        Step("fork", _forked),
        submits("r3", "clerk", "three", thread_id="fork"),
        Step("patch", lambda app: app.patch_state("t", {"by": "hand"})),
        submits("r4", "never", "four", thread_id="gone"),
        submits("r5", "never", "five", thread_id="gone"),
        Step("the child", _has_child),
        at(Step("delete", lambda app: app.delete_thread("gone", force=True, child_strategy="cascade"))),
    ),
    register=_register_threads,
    says={
        "t": ["assistant: 1", "user: two", "assistant: 2"],
        "fork": ["assistant: 1", "user: two", "user: three", "assistant: 3"],
    },
)


# --- work for others --------------------------------------------------------------------------------------------------


def _register_family(app: Awaken, stage: Stage) -> None:
    async def worker(ctx: Context) -> str:
        text = await ctx.input()
        await stage.once(ctx, text)
        return f"did {await ctx.ask('which?', name='which')}" if text == "ask" else f"did {text}"

    async def clerk(ctx: Context) -> str:
        return f"filed {await ctx.input()}"

    async def parent(ctx: Context) -> str:
        if ctx.identity.run_id != "r1":
            return f"told: {await ctx.input()}"
        children = [await ctx.start("worker", text) for text in ("one", "two")]
        found = await ctx.gather(*children)
        await stage.once(ctx, "between")
        await ctx.send("clerk", "the report", thread_id="desk")
        return " and ".join(found)

    for name, agent in {"parent": parent, "worker": worker, "clerk": clerk}.items():
        app.agent(name, agent)


_FAMILY: Final = Story(
    plan=(submits("r1", "parent", "go"),),
    register=_register_family,
    says={
        "t": ["user: go", "assistant: did one and did two"],
        "desk": ["user: the report", "assistant: filed the report"],
    },
)


# --- a run that waits, and goes on with what somebody says instead ----------------------------------------------------


def _register_resumed(app: Awaken, stage: Stage) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    async def script(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        turns = sum(isinstance(message, ModelResponse) for message in messages)
        return ModelResponse([TextPart("Fine.") if turns else ToolCallPart("book", {"seats": 2}, "book")])

    agent = Agent(FunctionModel(script, model_name="script"))

    @agent.tool_plain(requires_approval=True)
    async def book(seats: int) -> str:  # pyright: ignore[reportUnusedFunction]
        stage.called("r1 tool:book")
        return f"booked {seats}"

    app.agent("desk", agent)


async def _resumed(app: Awaken) -> None:
    await _suspended(app, "r1")
    await app.steer("t", user("m1", "forget it"), mode="resume")


_RESUMED: Final = Story(
    plan=(submits("r1", "desk", "a table"), Step("m1", _resumed)),
    register=_register_resumed,
    says={
        "t": [
            "user: a table",
            "assistant: ",
            "tool: cancelled: nobody answers this call any more",
            "user: forget it",
            "assistant: Fine.",
        ]
    },
)

STORIES: Final[dict[str, Story]] = {
    "steered": _STEERED,
    "asked": _ASKED,
    "deferred": _DEFERRED,
    "interrupted": _INTERRUPTED,
    "rolled back": _ROLLED_BACK,
    "changed": _CHANGED,
    "threads": _THREADS,
    "family": _FAMILY,
    "resumed": _RESUMED,
}
