"""Agents to try a server with, none of which needs the network.

Above: the command line adds them where it is given no agents. Below: the registry; the Pydantic AI agents are in
modules of their own, imported when their first run starts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from awaken.domain.clock import Clock, sleep
from awaken.executors.function import Context
from awaken.executors.registry import Agents, LazyAgent

MODEL_VARIABLE = "AWAKEN_MODEL"
SLOW_LOG_VARIABLE = "AWAKEN_SLOW_LOG"


async def echo(ctx: Context) -> AsyncIterator[str]:
    """Repeats what you write, word by word."""
    text = await ctx.input()
    for index, word in enumerate(text.split(" ")):
        yield word if index == 0 else f" {word}"


RESEARCH_S = 2.0


def make_researcher(clock: Clock) -> Callable[[Context], Awaitable[str]]:
    """The function that the concierge has look things up."""

    async def researcher(ctx: Context) -> str:
        """Looks something up, which takes two seconds."""
        topic = await ctx.input()
        await sleep(clock, RESEARCH_S)
        return f"{topic} are worth knowing about"

    return researcher


def add_demo_agents(agents: Agents, *, clock: Clock, environment: Mapping[str, str]) -> None:
    """Add `echo`, `assistant`, `slow`, `concierge` and `researcher`.

    `AWAKEN_MODEL` in `environment` names a real model for `assistant`; `AWAKEN_SLOW_LOG` a file in which `slow` notes
    every call of its model and its tool.
    """
    agents.add("echo", echo)
    agents.add(
        "assistant",
        LazyAgent(partial(_assistant, clock, environment.get(MODEL_VARIABLE) or None), "pydantic_ai"),
        description="Chats, counts words and calculates; a scripted local model unless AWAKEN_MODEL names a real one.",
    )
    log = environment.get(SLOW_LOG_VARIABLE)
    agents.add(
        "slow",
        LazyAgent(partial(_slow, clock, Path(log) if log else None), "pydantic_ai"),
        description="Takes about twelve seconds and six steps, for killing and resuming on purpose.",
    )
    agents.add(
        "concierge",
        LazyAgent(partial(_concierge, clock), "pydantic_ai"),
        description="Books tables when somebody approves, asks for names, and has things researched in the background.",
    )
    agents.add("researcher", make_researcher(clock))


def _assistant(clock: Clock, model: str | None) -> Any:
    from awaken.executors.demo.assistant import make_assistant

    return make_assistant(clock, model=model)


def _slow(clock: Clock, log: Path | None) -> Any:
    from awaken.executors.demo.slow import make_slow

    return make_slow(clock, log=log)


def _concierge(clock: Clock) -> Any:
    from awaken.executors.demo.concierge import make_concierge

    return make_concierge(clock)
