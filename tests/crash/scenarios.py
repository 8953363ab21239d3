"""What the processes of the crash test do: agents that take no time, and the runs asked of them.

Above: `life` lives through a scenario, `evidence` judges what it left. Below: the public API.
Holds: every call of a model, a tool or a step first notes its name in a file. The note is one `write` of the kernel's,
so it stands whatever the signal does to the process; an agent never waits, so where a process dies is up to the store.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from awaken.domain.errors import TransientFailure
from awaken.executors.function import Context
from awaken.wiring import Awaken

Note = Callable[[str], None]
"""Notes a call, by a name that is the same each time it is made: `step:NAME#n`, `model:TURN`, `tool:CALL_ID`."""


class Ask(NamedTuple):
    """A run to submit."""

    run_id: str
    agent: str
    text: str


class Scenario(NamedTuple):
    """Agents to register, and runs to submit to one thread, in order."""

    asks: tuple[Ask, ...]
    register: Callable[[Awaken, Note, Path], None]
    answers: dict[str, str]
    """What each run says in the end, by run."""
    calls: dict[str, tuple[str, ...]]
    """The calls it takes, each once, by run."""


class Notebook:
    """Lines in a file, each on its way to the file before `add` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def add(self, entry: object) -> None:
        os.write(self._file, msgspec.json.encode(entry) + b"\n")


# --- a function with steps and streamed text --------------------------------------------------------------------------


def _register_steps(app: Awaken, note: Note, folder: Path) -> None:
    async def support(ctx: Context) -> AsyncIterator[str]:
        def find() -> dict[str, int]:
            note("r1 step:find#1")
            return {"number": 4711}

        async def track() -> dict[str, str]:
            note("r1 step:track#1")
            return {"place": "Ulm"}

        def again() -> str:
            note("r1 step:track#2")
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
    asks=(Ask("r1", "support", "Where is it?"),),
    register=_register_steps,
    answers={"r1": "I will look. Order 4711 is in Ulm, and with you tomorrow."},
    calls={"r1": ("step:find#1", "step:track#1", "step:track#2")},
)


# --- a Pydantic AI agent with two model turns and two tools side by side ----------------------------------------------


def _register_tools(app: Awaken, note: Note, folder: Path) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

    async def script(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        turn = 1 + sum(isinstance(message, ModelResponse) for message in messages)
        note(f"r1 model:{turn}")
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
        note("r1 tool:order")
        return f"order {number} was sent"

    @agent.tool_plain
    async def find_parcel(number: int) -> str:  # pyright: ignore[reportUnusedFunction]
        note("r1 tool:parcel")
        return f"the parcel of {number} is in Ulm"

    app.agent("support", agent)


_TOOLS: Final = Scenario(
    asks=(Ask("r1", "support", "Where is it?"),),
    register=_register_tools,
    answers={"r1": "It is in Ulm."},
    calls={"r1": ("model:1", "tool:order", "tool:parcel", "model:2")},
)


# --- two runs on one thread, the first of which fails once ------------------------------------------------------------


def _register_queue(app: Awaken, note: Note, folder: Path) -> None:
    has_failed = folder / "has_failed"

    async def moody(ctx: Context) -> AsyncIterator[str]:
        def weigh() -> int:
            note("r1 step:weigh#1")
            return 12

        grams = await ctx.step("weigh", weigh)
        yield "It weighs "
        if not has_failed.exists():
            has_failed.touch()
            raise TransientFailure("the scale is stuck")
        yield f"{grams} g."

    async def calm(ctx: Context) -> AsyncIterator[str]:
        def measure() -> int:
            note("r2 step:measure#1")
            return 30

        yield f"It is {await ctx.step('measure', measure)} cm long."

    app.agent("moody", moody)
    app.agent("calm", calm)


_QUEUE: Final = Scenario(
    asks=(Ask("r1", "moody", "How heavy is it?"), Ask("r2", "calm", "And how long?")),
    register=_register_queue,
    answers={"r1": "It weighs 12 g.", "r2": "It is 30 cm long."},
    calls={"r1": ("step:weigh#1",), "r2": ("step:measure#1",)},
)

SCENARIOS: Final[dict[str, Scenario]] = {"steps": _STEPS, "tools": _TOOLS, "queue": _QUEUE}
