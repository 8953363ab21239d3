"""What the processes of the crash test do: agents that take no time, and what a caller asks of them.

Above: `life` lives through a scenario, `evidence` judges what it left. Below: the public API.
Holds: every call of a model, a tool or a step first notes its name in a file. The note is one `write` of the kernel's,
so it stands whatever the signal does to the process. An agent waits for nothing but to be stopped, so where a process
dies is up to the store.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from awaken.domain.errors import TransientFailure
from awaken.domain.ids import ThreadId
from awaken.executors.function import Context
from awaken.wiring import Awaken

THREAD: Final = ThreadId("t1")


class Ask(NamedTuple):
    """A run to submit."""

    run_id: str
    agent: str
    text: str

    @property
    def name(self) -> str:
        return self.run_id

    async def send(self, app: Awaken) -> None:
        await app.submit(THREAD, self.text, agent=self.agent, run_id=self.run_id)


class Stop(NamedTuple):
    """A stop to ask for, once an agent holds still: of one run, or without one of everything the thread has."""

    run_id: str | None = None

    @property
    def name(self) -> str:
        return "interrupt" if self.run_id is None else "cancel"

    async def send(self, app: Awaken) -> None:
        if self.run_id is None:
            await app.interrupt(THREAD)
        else:
            await app.cancel(self.run_id)


class Stage(NamedTuple):
    """What agents are given of the process they run in."""

    note: Callable[[str], None]
    """Notes a call, by a name that is the same each time it is made: `step:NAME#n`, `model:TURN`, `tool:CALL_ID`."""
    hold: Callable[[], Awaitable[None]]
    """Tells the caller that it is time for its `Stop`, and waits for that. Returns only where the stop had been
    accepted before this process: then nobody asks again, and an agent that gets this far goes on, which shows."""
    folder: Path


class Scenario(NamedTuple):
    """Agents to register, and what a caller asks of one thread, in order."""

    plan: tuple[Ask | Stop, ...]
    register: Callable[[Awaken, Stage], None]
    answers: dict[str, str]
    """What each run says in the end, by run. The others are stopped."""
    calls: dict[str, tuple[str, ...]]
    """The calls each run takes, each once. None, where a run is stopped before it starts."""

    @property
    def asks(self) -> tuple[Ask, ...]:
        return tuple(step for step in self.plan if isinstance(step, Ask))

    @property
    def stops(self) -> tuple[Stop, ...]:
        return tuple(step for step in self.plan if isinstance(step, Stop))

    @property
    def stopped(self) -> frozenset[str]:
        """The runs that never finish."""
        return frozenset(ask.run_id for ask in self.asks) - self.answers.keys()


class Notebook:
    """Lines in a file, each on its way to the file before `add` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def add(self, entry: object) -> None:
        os.write(self._file, msgspec.json.encode(entry) + b"\n")


# --- a function with steps and streamed text --------------------------------------------------------------------------


def _register_steps(app: Awaken, stage: Stage) -> None:
    async def support(ctx: Context) -> AsyncIterator[str]:
        def find() -> dict[str, int]:
            stage.note("r1 step:find#1")
            return {"number": 4711}

        async def track() -> dict[str, str]:
            stage.note("r1 step:track#1")
            return {"place": "Ulm"}

        def again() -> str:
            stage.note("r1 step:track#2")
            return "tomorrow"

        yield "I will look. "
        order = await ctx.step("find", find)
        yield f"Order {order['number']}"
        yield " is in "
        parcel = await ctx.step("track", track)
        yield f"{parcel['place']}, "
        yield f"and with you {await ctx.step('track', again)}."

    app.agent("support", support)


_STEPS: Final = Scenario(
    plan=(Ask("r1", "support", "Where is it?"),),
    register=_register_steps,
    answers={"r1": "I will look. Order 4711 is in Ulm, and with you tomorrow."},
    calls={"r1": ("step:find#1", "step:track#1", "step:track#2")},
)


# --- a Pydantic AI agent with two model turns and two tools side by side ----------------------------------------------


def _register_tools(app: Awaken, stage: Stage) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

    async def script(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        turn = 1 + sum(isinstance(message, ModelResponse) for message in messages)
        stage.note(f"r1 model:{turn}")
        if turn == 1:
            yield "Let me "
            yield "see. "
            yield {1: DeltaToolCall(name="find_order", json_args='{"number": 4711}', tool_call_id="order")}
            yield {2: DeltaToolCall(name="find_parcel", json_args='{"number": 4711}', tool_call_id="parcel")}
        else:
            yield "It is "
            yield "in Ulm"
            yield "."

    agent = Agent(FunctionModel(stream_function=script, model_name="script"))

    @agent.tool_plain
    async def find_order(number: int) -> str:  # pyright: ignore[reportUnusedFunction]
        stage.note("r1 tool:order")
        return f"order {number} was sent"

    @agent.tool_plain
    async def find_parcel(number: int) -> str:  # pyright: ignore[reportUnusedFunction]
        stage.note("r1 tool:parcel")
        return f"the parcel of {number} is in Ulm"

    app.agent("support", agent)


_TOOLS: Final = Scenario(
    plan=(Ask("r1", "support", "Where is it?"),),
    register=_register_tools,
    answers={"r1": "It is in Ulm."},
    calls={"r1": ("model:1", "tool:order", "tool:parcel", "model:2")},
)


# --- two runs on one thread, the first of which fails once ------------------------------------------------------------


def _register_queue(app: Awaken, stage: Stage) -> None:
    has_failed = stage.folder / "has_failed"

    async def moody(ctx: Context) -> AsyncIterator[str]:
        def weigh() -> int:
            stage.note("r1 step:weigh#1")
            return 12

        grams = await ctx.step("weigh", weigh)
        yield "It weighs "
        if not has_failed.exists():
            has_failed.touch()
            raise TransientFailure("the scale is stuck")
        yield f"{grams} g."

    async def calm(ctx: Context) -> AsyncIterator[str]:
        def measure() -> int:
            stage.note("r2 step:measure#1")
            return 30

        yield f"It is {await ctx.step('measure', measure)} cm long."

    app.agent("moody", moody)
    app.agent("calm", calm)


_QUEUE: Final = Scenario(
    plan=(Ask("r1", "moody", "How heavy is it?"), Ask("r2", "calm", "And how long?")),
    register=_register_queue,
    answers={"r1": "It weighs 12 g.", "r2": "It is 30 cm long."},
    calls={"r1": ("step:weigh#1",), "r2": ("step:measure#1",)},
)


# --- a function that is cancelled between two steps, in the middle of an answer ---------------------------------------


def _register_cancelled(app: Awaken, stage: Stage) -> None:
    async def support(ctx: Context) -> AsyncIterator[str]:
        def find() -> int:
            stage.note("r1 step:find#1")
            return 4711

        def track() -> str:
            stage.note("r1 step:track#1")
            return "Ulm"

        yield f"Order {await ctx.step('find', find)} "
        await stage.hold()
        yield f"is in {await ctx.step('track', track)}."

    app.agent("support", support)


_CANCEL: Final = Scenario(
    plan=(Ask("r1", "support", "Where is it?"), Stop("r1")),
    register=_register_cancelled,
    answers={},
    calls={"r1": ("step:find#1",)},
)


# --- a thread that is interrupted: one run is in a tool, two are queued, and one comes after --------------------------


def _register_interrupted(app: Awaken, stage: Stage) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

    async def script(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        turn = 1 + sum(isinstance(message, ModelResponse) for message in messages)
        stage.note(f"r1 model:{turn}")
        yield "One moment. "
        if turn == 1:
            yield {1: DeltaToolCall(name="find_order", json_args="{}", tool_call_id="order")}
            yield {2: DeltaToolCall(name="find_parcel", json_args="{}", tool_call_id="parcel")}

    clerk = Agent(FunctionModel(stream_function=script, model_name="script"))

    @clerk.tool_plain
    async def find_order() -> str:  # pyright: ignore[reportUnusedFunction]
        stage.note("r1 tool:order")
        return "it was sent"

    @clerk.tool_plain
    async def find_parcel() -> str:  # pyright: ignore[reportUnusedFunction]
        stage.note("r1 tool:parcel")
        await stage.hold()
        return "it is in Ulm"

    async def superseded(ctx: Context) -> str:
        stage.note(f"{ctx.identity.run_id} step:start#1")
        return "this was not to be said"

    async def calm(ctx: Context) -> AsyncIterator[str]:
        def measure() -> int:
            stage.note("r4 step:measure#1")
            return 30

        yield f"It is {await ctx.step('measure', measure)} cm long."

    app.agent("clerk", clerk)
    app.agent("superseded", superseded)
    app.agent("calm", calm)


_INTERRUPT: Final = Scenario(
    plan=(
        Ask("r1", "clerk", "Where is it?"),
        Ask("r2", "superseded", "And who sent it?"),
        Ask("r3", "superseded", "And when?"),
        Stop(),
        Ask("r4", "calm", "Never mind. How long is it?"),
    ),
    register=_register_interrupted,
    answers={"r4": "It is 30 cm long."},
    calls={"r1": ("model:1", "tool:order", "tool:parcel"), "r2": (), "r3": (), "r4": ("step:measure#1",)},
)

SCENARIOS: Final[dict[str, Scenario]] = {
    "steps": _STEPS,
    "tools": _TOOLS,
    "queue": _QUEUE,
    "cancel": _CANCEL,
    "interrupt": _INTERRUPT,
}
