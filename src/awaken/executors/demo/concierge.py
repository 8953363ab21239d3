"""A concierge that has to ask: somebody has to approve its bookings, it asks for names, and it has things looked up.

Its model is scripted. `book a table for two` waits for an approval, `book a table under my name` for an answer, and
`research otters` starts a run of `researcher` in the background, whose end wakes the thread.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

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
from awaken.executors.current import current_run
from awaken.executors.demo.assistant import TOKEN_DELAY_S

RESEARCHER: Final = "researcher"
_NEWS: Final = re.compile(r"The background run '\w+' is done: (.*)", re.DOTALL)
_RESEARCH: Final = re.compile(r"\bresearch\s+(.+)", re.IGNORECASE | re.DOTALL)
_PEOPLE: Final = re.compile(r"\bfor\s+(\w+)", re.IGNORECASE)
_HELP: Final = (
    'I am a scripted model on this machine. Say "book a table for two", "book a table under my name", or'
    ' "research otters".'
)


def make_concierge(clock: Clock, *, token_delay_s: float = TOKEN_DELAY_S) -> Agent[Any, str]:
    """The agent. `researcher` has to be registered beside it."""
    agent = Agent[Any, str](_scripted_model(clock, token_delay_s), instructions="You are a concierge. Be brief.")
    agent.tool_plain(requires_approval=True, metadata={"message": "Book this table?"})(book_table)
    agent.tool_plain(book_under_name)
    agent.tool_plain(research)
    return agent


async def book_table(people: str) -> str:
    """Book a table for some people. Somebody has to approve it."""
    return f"a table for {people} is booked"


async def book_under_name() -> str:
    """Book a table under the name of whoever asks, who is asked for it."""
    name = await current_run().ask("Under which name?", name="name")
    return f"a table is booked under the name {name}"


async def research(topic: str) -> str:
    """Have something looked up in the background."""
    await current_run().start(RESEARCHER, topic, name="research")
    return f"somebody looks up {topic}, and you will hear of it"


# --- the scripted model -----------------------------------------------------------------------------------------------


def _scripted_model(clock: Clock, token_delay_s: float) -> FunctionModel:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        reply = _answer(messages)
        if isinstance(reply, ToolCallPart):
            yield {0: DeltaToolCall(reply.tool_name, reply.args_as_json_str(), tool_call_id=reply.tool_call_id)}
            return
        for index, token in enumerate(re.findall(r"\S+\s*", reply)):
            if index and token_delay_s:
                await sleep(clock, token_delay_s)
            yield token

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        reply = _answer(messages)
        return ModelResponse(parts=[reply if isinstance(reply, ToolCallPart) else TextPart(reply)])

    return FunctionModel(respond, stream_function=stream, model_name="scripted-concierge")


def _answer(messages: list[ModelMessage]) -> str | ToolCallPart:
    """A call for what it can do, and a sentence for what came of it."""
    last = messages[-1]
    parts = last.parts if isinstance(last, ModelRequest) else ()
    asked = " ".join([part.content for part in parts if isinstance(part, UserPromptPart) and type(part.content) is str])
    told = [part for part in parts if isinstance(part, ToolReturnPart)]
    news = _NEWS.search(asked)
    if news is not None:
        return f"News: {news[1].strip()}"
    if told and not asked:
        return f"Done: {told[-1].content}." if told[-1].outcome == "success" else f"No: {told[-1].content}."
    topic, people = _RESEARCH.search(asked), _PEOPLE.search(asked)
    call = partial(ToolCallPart, tool_call_id="call_0")
    if topic is not None:
        return call("research", {"topic": topic[1].strip()})
    if "table" in asked and "name" in asked:
        return call("book_under_name", {})
    if "table" in asked:
        return call("book_table", {"people": "two" if people is None else people[1]})
    return _HELP
