"""Agents that do what their input says, word by word, so that a random sequence reaches what agents can do.

Above: the processes of the random sequences. Below: the contexts of functions, and a Pydantic AI agent whose model is
told what to do next.
Holds: what agents have done outside of any store is kept here, and no crash undoes it. What breaks a promise while an
agent executes is a fault, which the next check finds.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_ai import Agent, CallDeferred
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import RequestUsage

from awaken import current_run
from awaken.domain.clock import sleep
from awaken.domain.errors import PermanentFailure, TransientFailure
from awaken.executors.children import Child
from awaken.executors.function import Context
from awaken.testing.clock import ManualClock

ANSWERED_AT: Final = datetime(2027, 1, 15, tzinfo=UTC)
"""The same each time, so that what is stored is the same."""
NAP_S: Final = 5.0
EXPIRES_S: Final = 3.0
WORDS: Final = (
    "nap", "nap", "nap", "inbox", "inbox", "ask", "ask", "step", "start", "hire", "leave", "gather", "late", "permit",
    "send", "state", "say", "flaky", "fail",
)  # fmt: skip
CALLS: Final = ("book", "book", "fetch", "look", "look", "nap", "quiz", "start", "note")
"""Tools of the Pydantic AI agent. It passes over other words."""


DID: Final = "did"
ANSWER: Final = "called"
"""How results of tools begin, and the answers of the model; those of functions do not."""


class Effects:
    """What agents have done outside of any store, which no crash undoes."""

    def __init__(self) -> None:
        self.recorded: set[tuple[str, Any]] = set()
        """Steps that have returned, tools whose result a model was told, and answers of models that were read."""
        self.tried: Counter[str] = Counter()
        self.programs: dict[str, str] = {}
        """What each run was told at first; it may go on with other words."""
        self.taken: dict[str, list[str]] = {}
        """The messages that the last execution of each run has found in its inbox, in order."""
        self.edited: set[str] = set()
        """Threads of which somebody has hidden messages: a model that reads less does things again."""
        self.faults: list[str] = []

    def once(self, run_id: str, what: Any) -> None:
        """It is done now, and may only be if nobody has recorded that it was."""
        if (run_id, what) in self.recorded:
            self.faults.append(f"{what} of run {run_id} was repeated")


class Interpreter:
    """The function agent of one process."""

    def __init__(self, effects: Effects, clock: ManualClock) -> None:
        self._effects = effects
        self._clock = clock
        self._running: Counter[str] = Counter()

    async def __call__(self, ctx: Context) -> str:
        thread_id = ctx.identity.thread_id
        self._running[thread_id] += 1
        if self._running[thread_id] > 1:
            self._effects.faults.append(f"two runs of thread {thread_id} at once")
        try:
            return await self._follow(ctx)
        finally:
            self._running[thread_id] -= 1

    async def _follow(self, ctx: Context) -> str:
        run_id = ctx.identity.run_id
        heard: list[str] = []
        children: list[Child] = []
        taken = self._effects.taken[run_id] = []
        program = self._effects.programs.setdefault(run_id, await ctx.input())
        for number, word in enumerate(program.split()):
            match word:
                case "step":
                    heard.append(str(await self._step(ctx, number)))
                case "nap":
                    await ctx.step("nap", lambda: sleep(self._clock, NAP_S))
                case "inbox":
                    found = await ctx.inbox()
                    heard += [message.text for message in found]
                    taken += [message.id for message in found]
                case "ask":
                    heard.append(await ctx.ask("well?"))
                case "permit":
                    heard.append(str((await ctx.approve("may I?", expires_in_s=EXPIRES_S * 4)).approved))
                case "late":
                    heard.append(await ctx.ask("soon?", expires_in_s=EXPIRES_S, default="nobody"))
                case "start":
                    children.append(await ctx.start("worker", "step nap"))
                case "hire":
                    children.append(await ctx.start("worker", "ask"))
                case "leave":
                    children.append(await ctx.start("worker", "nap step", detached=True))
                case "gather":
                    heard += [str(each) for each in await ctx.gather(*children, return_exceptions=True)]
                case "send":
                    await ctx.send("worker", "step", thread_id="b")
                case "state":
                    await ctx.state.set("n", number)
                case "flaky":
                    self._effects.tried[run_id] += 1
                    if self._effects.tried[run_id] < 2:
                        raise TransientFailure("not yet")
                case "fail":
                    raise PermanentFailure("told to")
                case _:
                    await ctx.emit(f"{word} ")
        return f"did {len(heard)}: {' '.join(heard)}"

    async def _step(self, ctx: Context, number: int) -> int:
        run_id, what = ctx.identity.run_id, f"step {number}"

        def effect() -> int:
            self._effects.once(run_id, what)
            return number

        value = await ctx.step("step", effect, int)
        self._effects.recorded.add((run_id, what))
        return value


class Scripted:
    """The Pydantic AI agent of one process: its model calls each tool that it was told to since its last answer,
    one after the other, and then answers.
    """

    def __init__(self, effects: Effects, clock: ManualClock) -> None:
        self._effects = effects
        model = FunctionModel(self._respond, model_name="scripted")
        self.agent: Agent[None, Any] = Agent(model, output_type=[str, DeferredToolRequests])

        @self.agent.tool_plain(requires_approval=True, metadata={"message": "Book it?", "expires_in_s": EXPIRES_S * 4})
        async def book(call: str) -> str:
            return self._done(call)

        @self.agent.tool_plain
        async def fetch(call: str) -> str:
            raise CallDeferred(metadata={"job": call})

        @self.agent.tool_plain
        async def look(call: str) -> str:
            return self._done(call)

        @self.agent.tool_plain
        async def nap(call: str) -> str:
            await sleep(clock, NAP_S)
            return self._done(call)

        @self.agent.tool_plain
        async def quiz(call: str) -> str:
            answer = await current_run().ask("well?")
            return f"{self._done(call)} {answer}"

        @self.agent.tool_plain
        async def start(call: str) -> str:
            await current_run().start("worker", "step nap")
            return self._done(call)

        @self.agent.tool_plain
        async def note(call: str) -> str:
            await current_run().state.set("call", call)
            return self._done(call)

    def _done(self, call: str) -> str:
        self._effects.once(current_run().identity.run_id, f"call {call}")
        return f"{DID} {call}"

    def _next(self, messages: list[ModelMessage]) -> str | tuple[str, str]:
        """The name and the id of the next call, or the answer."""
        answered, words, calls, told = _since_last_answer(messages)
        identity = current_run().identity
        turn = f"{identity.run_id}-{answered}"  # a run that finds something at its end goes on
        if identity.thread_id not in self._effects.edited:
            self._effects.recorded |= {(identity.run_id, f"call {call}") for call in told}
            self._effects.recorded |= {(identity.run_id, f"answer {turn}-{n}") for n in range(len(calls))}
            self._effects.once(identity.run_id, f"answer {turn}-{len(calls)}")
        if len(calls) >= len(words):
            return f"{ANSWER} {len(calls)}"
        return words[len(calls)], f"{turn}-{len(calls)}"

    async def _respond(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        wanted = self._next(messages)
        part = TextPart(wanted) if isinstance(wanted, str) else ToolCallPart(wanted[0], {"call": wanted[1]}, wanted[1])
        return ModelResponse([part], usage=RequestUsage(input_tokens=10, output_tokens=5), timestamp=ANSWERED_AT)


def _since_last_answer(messages: list[ModelMessage]) -> tuple[int, list[str], list[str], list[str]]:
    """How many answers there were; and since the last one the words of the prompts, the ids of the calls, and of those
    whose tools have done something.
    """
    answered = 0
    words: list[str] = []
    calls: list[str] = []
    told: list[str] = []
    for message in messages:
        if isinstance(message, ModelRequest):
            for part in message.parts:
                if isinstance(part, UserPromptPart) and isinstance(part.content, str):
                    words += [word for word in part.content.split() if word in CALLS]
                if isinstance(part, ToolReturnPart) and str(part.content).startswith(DID):
                    told.append(part.tool_call_id)
        elif message.text is not None and ANSWER in message.text:
            answered += 1
            words, calls, told = [], [], []
        else:
            calls += [part.tool_call_id for part in message.tool_calls]
    return answered, words, calls, told
