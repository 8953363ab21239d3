"""An agent that takes its time: six answers of about two seconds, with a tool call between each two.

It exists to be interrupted, and to be talked to: it says `noted: …` of whatever it is told on its way. Every call of
its model and of its tool is noted in a file when it starts and when it is done, outside of anything the server keeps,
so that one can count afterwards what was done twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from awaken.domain.clock import Clock, sleep
from awaken.executors.tool_call import tool_call_key

STEPS: Final = 6
DELTAS_PER_STEP: Final = 40
DELTA_DELAY_S: Final = 0.05
"""Twenty pieces of text a second."""
_WORDS: Final = ("taking ", "one ", "small ", "and ", "careful ", "step ", "after ", "another ")


class SlowNote(msgspec.Struct, frozen=True):
    """A line of the file: call `call` of the model or the tool has begun, or is done."""

    what: Literal["model", "tool"]
    call: str
    state: Literal["started", "done"]


def read_notes(log: Path) -> list[SlowNote]:
    """Every note in the file, oldest first; none when there is no file. A line cut off by a kill is left out."""
    found: list[SlowNote] = []
    for line in log.read_bytes().splitlines() if log.exists() else ():
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=SlowNote))
    return found


def make_slow(
    clock: Clock,
    *,
    log: Path | None = None,
    steps: int = STEPS,
    deltas_per_step: int = DELTAS_PER_STEP,
    delta_delay_s: float = DELTA_DELAY_S,
) -> Agent[Any, str]:
    """The agent. With `delta_delay_s=0` it does not wait at all."""

    def note(what: Literal["model", "tool"], call: str, state: Literal["started", "done"]) -> None:
        if log is not None:
            with log.open("ab") as file:  # a line of its own, whatever a kill left of the one before
                file.write(b"\n" + msgspec.json.encode(SlowNote(what, call, state)) + b"\n")

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        step, said = _due(messages)
        call = f"{messages[-1].conversation_id}/{_prompts(messages)}/{step}"
        note("model", call, "started")
        for text in said:
            yield f"noted: {text}\n"
        for index in range(deltas_per_step):
            if delta_delay_s:
                await sleep(clock, delta_delay_s)
            yield f"[{step}/{steps}] " if index == 0 else _WORDS[index % len(_WORDS)]
        if step < steps:
            args = msgspec.json.encode({"step": step}).decode()
            yield {0: DeltaToolCall("take_note", args, tool_call_id=f"note_{step}")}
        note("model", call, "done")

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        text: list[str] = []
        calls: list[ToolCallPart] = []
        async for piece in stream(messages, info):
            if isinstance(piece, str):
                text.append(piece)
            else:
                calls += [ToolCallPart(d.name or "", d.json_args, d.tool_call_id or "") for d in piece.values()]
        return ModelResponse(parts=[TextPart("".join(text)), *calls])

    async def take_note(step: int) -> str:
        """Write down that a step is done."""
        key = tool_call_key()
        note("tool", key, "started")
        if delta_delay_s:
            await sleep(clock, delta_delay_s)
        note("tool", key, "done")
        return f"step {step} of {steps} is written down"

    model = FunctionModel(respond, stream_function=stream, model_name="scripted-slow")
    return Agent[Any, str](model, tools=[take_note])


def _due(messages: list[ModelMessage]) -> tuple[int, list[str]]:
    """Which step is due, and what was said while the one before was taken."""
    said: list[str] = []
    for message in reversed(messages):
        if isinstance(message, ModelResponse):
            steps = [int(call.args_as_dict()["step"]) for call in message.parts if isinstance(call, ToolCallPart)]
            return (steps[-1] + 1, said) if steps else (1, [])
        if any([isinstance(part, ToolReturnPart) and part.outcome != "success" for part in message.parts]):
            return 1, []  # the run before was stopped while it took the step
        prompts = [part.content for part in message.parts if isinstance(part, UserPromptPart)]
        said = [text for text in prompts if isinstance(text, str)] + said
    return 1, []


def _prompts(messages: list[ModelMessage]) -> int:
    """How often the user has spoken, so that the calls of two runs of a thread have different names."""
    parts = [part for message in messages if isinstance(message, ModelRequest) for part in message.parts]
    return sum(isinstance(part, UserPromptPart) for part in parts)
