"""Agents of every shape that a run can have, for trying out a client: one for each, chosen by agent id.

    app = Awaken("memory://")
    add_scripted(app)

Above: tests of protocols and of whoever's client. Below: Pydantic AI with a scripted model, and agent functions.
Holds: each does the same every time it is asked, whatever it is asked. `SHAPES` says what each does. Those that ask a
model are there twice: `text-whole` is `text` with a model that does not stream.

Source: docs/concepts/protocols.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall

from awaken.domain.errors import PermanentFailure, TransientFailure
from awaken.domain.event import ActivityDelta, ActivitySnapshot, ToolCallStreamDelta
from awaken.domain.message import (
    Base64Source,
    Document,
    Image,
    Json,
    Message,
    Role,
    Text,
    ToolCall,
    ToolStatus,
    UrlSource,
)
from awaken.executors.current import current_run
from awaken.executors.function import Context
from awaken.executors.tool_call import tool_call_key
from awaken.testing.executors import Call, Script, Turn
from awaken.wiring import Awaken

LONG_WORDS: Final = 400
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
"""A PNG of one pixel."""

SHAPES: Final[dict[str, str]] = {
    "text": "says two sentences",
    "reasoning": "thinks, then answers",
    "tool": "calls a tool, then answers",
    "tool-error": "calls a tool that fails, then answers",
    "parallel": "calls three tools at once, one of which fails, then answers",
    "approval": "calls a tool that somebody has to approve, then answers",
    "question": "calls a tool that asks somebody, then answers",
    "client-tool": "calls the first client tool of the run, or says that there is none, then answers",
    "mixed": "calls a tool of its own, one to approve and one that asks, all at once",
    "progress": "calls a tool that reports how far it is",
    "artifacts": "publishes documents: text, JSON, an image and a link, one of them in pieces",
    "activity": "says what it is doing, and changes that",
    "state": "changes the thread's state, twice in tools",
    "long": f"says {LONG_WORDS} words",
    "failing": "says a few words, then fails for good",
    "dead": "fails each time it is tried, until it is given up",
    "retried": "fails the first time, after a few words, and answers the second time",
    "child": "has another agent do something, and says what came of it",
    "ask": "a function that asks a name, and greets",
    "data": "returns a value, and no text",
    "silent": "returns nothing",
    "messages": "a function that says whole messages, with calls that it has made itself",
}


class _Scripted(Script):
    """Answers from its list anew to each message of a user."""

    def _next(self, messages: list[ModelMessage]) -> Turn:
        since: list[ModelMessage] = []
        for message in reversed(messages):
            if isinstance(message, ModelRequest) and any(isinstance(part, UserPromptPart) for part in message.parts):
                break
            since.append(message)
        index = sum([isinstance(message, ModelResponse) for message in since])
        return self._turns[index] if index < len(self._turns) else Turn("done")


class _OnThePage(_Scripted):
    """Calls the first tool that the caller of the run has brought."""

    def _respond(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self._choose(info)
        return super()._respond(messages, info)

    def _stream(
        self, messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | dict[int, DeltaToolCall] | dict[int, DeltaThinkingPart]]:
        self._choose(info)
        return super()._stream(messages, info)

    def _choose(self, info: AgentInfo) -> None:
        tools = [tool.name for tool in info.function_tools]
        first = Turn(calls=(Call(tools[0], {"where": "here"}),)) if tools else Turn("There is no such tool.")
        self._turns = [first, Turn("The page has answered.")]


def scripted_agents(*, streams: bool = True) -> dict[str, Any]:
    """The agents by shape. `streams=False`: their models answer in one piece."""
    made: dict[str, Any] = {name: make(streams) for name, make in _MODELS.items()}
    return made | _FUNCTIONS


def add_scripted(app: Awaken) -> None:
    """Make all of them known to an app, by shape; and with `-whole` those whose model does not stream."""
    for name, agent in scripted_agents().items():
        app.agent(name, agent, description=SHAPES.get(name, ""))
    for name, agent in scripted_agents(streams=False).items():
        if name in _MODELS:
            app.agent(f"{name}-whole", agent, description=SHAPES[name])


# --- tools ------------------------------------------------------------------------------------------------------------


async def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} means something"


async def break_down(reason: str) -> str:
    """Fail."""
    raise ModelRetry(f"it is broken: {reason}")


async def pay(amount: int) -> str:
    """Pay. Somebody has to approve it."""
    return f"paid {amount}"


async def ask_colour() -> str:
    """Ask which colour."""
    return f"the colour is {await current_run().ask('Which colour?', name='colour')}"


async def work() -> str:
    """Work for a while, and say how far it is."""
    call = tool_call_key().split("/", 2)[2]
    await current_run().emit(ToolCallStreamDelta(call, text="half "))
    await current_run().emit(ToolCallStreamDelta(call, text="done"))
    await current_run().emit(ToolCallStreamDelta(call, value={"percent": 100}, name="progress"))
    return "worked"


async def remember(key: str, value: Any) -> str:
    """Put something into the thread's state."""
    await current_run().state.set(key, value)
    return f"{key} is kept"


# --- agents with a model ----------------------------------------------------------------------------------------------


def _agent(*turns: Turn | str, tools: tuple[Callable[..., Any], ...] = ()) -> Callable[[bool], Agent[Any, Any]]:
    def make(streams: bool) -> Agent[Any, Any]:
        agent = _Scripted(*turns).agent(streams=streams)
        for tool in tools:
            if tool is pay:
                agent.tool_plain(requires_approval=True, metadata={"message": "Pay this?"})(tool)
            elif tool is break_down:
                agent.tool_plain(retries=3)(tool)
            else:
                agent.tool_plain(tool)
        return agent

    return make


def _call(tool: str, id: str = "call_0", **args: Any) -> Call:
    return Call(tool, args, id)


_MODELS: Final[dict[str, Callable[[bool], Agent[Any, Any]]]] = {
    "text": _agent("Hello there. All is well."),
    "reasoning": _agent(Turn("The answer is four.", thinking="Two and two. That is four.", signature="signed")),
    "tool": _agent(
        Turn("Let me see.", calls=(_call("look_up", word="otter"),)), "Otter means something.", tools=(look_up,)
    ),
    "tool-error": _agent(Turn(calls=(_call("break_down", reason="rust"),)), "It did not work.", tools=(break_down,)),
    "parallel": _agent(
        Turn(
            "Three at once.",
            calls=(
                _call("look_up", "call_a", word="one"),
                _call("break_down", "call_b", reason="two"),
                _call("look_up", "call_c", word="three"),
            ),
        ),
        "All three came back.",
        tools=(look_up, break_down),
    ),
    "approval": _agent(Turn("I have to pay.", calls=(_call("pay", amount=5),)), "That is settled.", tools=(pay,)),
    "question": _agent(Turn(calls=(_call("ask_colour"),)), "I know the colour.", tools=(ask_colour,)),
    "mixed": _agent(
        Turn(
            calls=(
                _call("look_up", "call_a", word="one"),
                _call("pay", "call_b", amount=7),
                _call("ask_colour", "call_c"),
            )
        ),
        "All is settled.",
        tools=(look_up, pay, ask_colour),
    ),
    "progress": _agent(Turn(calls=(_call("work"),)), "The work is done.", tools=(work,)),
    "state": _agent(
        Turn(calls=(_call("remember", "call_a", key="colour", value="blue"),)),
        Turn(calls=(_call("remember", "call_b", key="size", value={"w": 1}),)),
        "I shall remember.",
        tools=(remember,),
    ),
    "client-tool": lambda streams: _OnThePage().agent(streams=streams),
    "long": _agent(" ".join([f"word{number}" for number in range(LONG_WORDS)])),
}


# --- functions --------------------------------------------------------------------------------------------------------


async def _artifacts(context: Context) -> str:
    await context.artifact("notes.txt", "first ", artifact_id="notes", last=False)
    await context.artifact("notes.txt", "second", artifact_id="notes", append=True)
    await context.artifact("data.json", Json({"rows": 2}), artifact_id="data")
    await context.artifact("pixel.png", Image(Base64Source("image/png", PIXEL)), artifact_id="pixel")
    link = Document(UrlSource("https://files.example/report.pdf", "application/pdf"), "Report")
    await context.artifact("report", [Text("See"), link], artifact_id="report")
    return "Four documents."


async def _activity(context: Context) -> str:
    await context.emit(ActivitySnapshot("plan", "plan", {"steps": ["look"], "done": 0}))
    await context.emit(ActivityDelta("plan", "plan", ({"op": "replace", "path": "/done", "value": 1},)))
    return "The plan is done."


async def _failing(context: Context) -> AsyncIterator[str]:
    yield "It begins "
    yield "well."
    raise PermanentFailure("it cannot be done")


async def _dead(context: Context) -> str:
    raise TransientFailure("nobody answers there")


class _Retried:
    """Remembers which runs it has failed: an agent like no real one."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    async def __call__(self, context: Context) -> AsyncIterator[str]:
        run_id = context.identity.run_id
        yield "At last "
        if run_id not in self._failed:
            self._failed.add(run_id)
            raise TransientFailure("try again")
        yield "it worked."


async def _child(context: Context) -> str:
    return f"The other one says: {await context.call('text', 'Say something', name='helper')}"


async def _ask(context: Context) -> AsyncIterator[str]:
    yield "Welcome. "
    name = await context.ask("Who are you?", name="name")
    yield f"Hello {name}."


async def _data(context: Context) -> dict[str, Any]:
    return {"answer": 42, "units": ["otters"]}


async def _silent(context: Context) -> None:
    return None


async def _messages(context: Context) -> AsyncIterator[Message]:
    turn = len(await context.messages())  # ids of calls are unique in a thread
    calls = (ToolCall(f"look-{turn}", "look_up", {"word": "otter"}), ToolCall(f"break-{turn}", "break_down", {}))
    yield _whole(context, "Let me see.", tool_calls=calls)
    for call, status in zip(calls, (ToolStatus.SUCCESS, ToolStatus.ERROR), strict=True):
        yield _whole(context, "It was called.", role=Role.TOOL, tool_call_id=call.id, tool_status=status)
    yield _whole(context, "That is all.")


def _whole(context: Context, text: str, *, role: Role = Role.ASSISTANT, **more: Any) -> Message:
    return Message(id=context.new_message_id(), role=role, content=(Text(text),), **more)


_FUNCTIONS: Final[dict[str, Any]] = {
    "artifacts": _artifacts,
    "activity": _activity,
    "failing": _failing,
    "dead": _dead,
    "retried": _Retried(),
    "child": _child,
    "ask": _ask,
    "data": _data,
    "silent": _silent,
    "messages": _messages,
}
