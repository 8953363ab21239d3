"""The agent: a Pydantic AI agent that uses two tools on a text, then writes a digest of it.

Its model is a script, so that the example needs no network. Another model takes its place by one argument:
`make_agent(..., model="openai:gpt-5")`.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

COMMON = frozenset(
    re.findall(
        r"\w+",
        """about after also and any are based been but can each for from has have how into its may module more most not
        one only other package provides same should such than that the their them then there these they this two use
        used uses using was when where which will with within you your""",
    )
)
"""Words that say nothing about what a text is about."""


def make_agent(
    texts: dict[str, str], *, calls: Counter[str], think_s: float = 0.0, model: Model | str | None = None
) -> Agent[None, str]:
    """An agent over `texts` (by module) that counts in `calls` how often its model and its tools were called."""
    agent = Agent(
        model or scripted_model(calls, think_s),
        instructions="Call both tools on the module you are asked about, then write its digest in one sentence.",
    )

    @agent.tool_plain
    def word_statistics(module: str) -> dict[str, Any]:
        """How long the module's docstring is, and how long its words are."""
        calls["tool"] += 1
        words = _words(texts[module])
        letters = sum(len(word) for word in words)
        return {"words": len(words), "mean_length": round(letters / len(words), 1) if words else 0.0}

    @agent.tool_plain
    def keywords(module: str) -> list[str]:
        """The words that the module's docstring uses most."""
        calls["tool"] += 1
        own = {*COMMON, *module.split(".")}
        count = Counter(word for word in map(str.lower, _words(texts[module])) if len(word) > 2 and word not in own)
        return [word for word, _ in sorted(count.items(), key=lambda item: (-item[1], item[0]))[:4]]

    return agent


def scripted_model(calls: Counter[str], think_s: float) -> FunctionModel:
    """A model that asks for both tools at once, puts their answers into a sentence, and takes `think_s` for each."""

    async def answer(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        calls["model"] += 1
        await asyncio.sleep(think_s)
        module = _asked_about(messages)
        results = _results(messages)
        if not results:
            for index, tool in enumerate(("word_statistics", "keywords")):
                arguments = f'{{"module": "{module}"}}'
                yield {index: DeltaToolCall(name=tool, json_args=arguments, tool_call_id=f"{tool}-1")}
            return
        statistics, words = results["word_statistics"], results["keywords"]
        yield f"{module}: {statistics['words']} words of {statistics['mean_length']} letters on average"
        yield f", about {', '.join(words)}." if words else "."

    return FunctionModel(stream_function=answer, model_name="script")


def _asked_about(messages: list[ModelMessage]) -> str:
    first = messages[0]
    assert isinstance(first, ModelRequest), "a conversation starts with a request"
    return str(getattr(first.parts[-1], "content", "")).partition("\n")[0]


def _results(messages: list[ModelMessage]) -> dict[str, Any]:
    last = messages[-1]
    if isinstance(last, ModelResponse):
        return {}
    return {part.tool_name: part.content for part in last.parts if isinstance(part, ToolReturnPart)}


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z](?:[\w'-]*\w)?", text)
