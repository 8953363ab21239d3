"""A shop's FastAPI application with an agent that pays money back, but never before somebody has approved it.

    uvicorn examples.approvals.main:api --workers 1 --timeout-graceful-shutdown 3

`page.html` is where one talks to the agent, and decides. The routes of the server are below `/awaken`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import FileResponse
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from awaken import Awaken
from awaken.executors.tool_call import tool_call_key

PAGE: Final = Path(__file__).with_name("page.html")
SECONDS_PER_WORD: Final = float(os.environ.get("REFUNDS_SECONDS_PER_WORD", "0.08"))
A_WEEK_S: Final = 7 * 86_400


async def refund(order: int, euros: float, reason: str) -> str:
    """Pay money back for an order."""
    reference = await pay_back(order, euros, key=tool_call_key())
    return f"{euros:.2f} € for order {order}, reference {reference}"


async def pay_back(order: int, euros: float, *, key: str) -> str:
    """Here the provider of payments would be called. A call that a crash repeats has the key it had before, so a
    provider that knows the key pays once.
    """
    return "R-" + hashlib.sha256(key.encode()).hexdigest()[:8].upper()


def make_agent() -> Agent[Any, str]:
    """The agent. What its tool needs is said where the tool is added: the run waits, for a week if need be."""
    # A real model is named in place of the scripted one: Agent[Any, str]("openai:gpt-5", instructions=…).
    agent = Agent[Any, str](
        FunctionModel(stream_function=scripted),
        instructions="You help customers of a shop with their orders. Be brief.",
    )
    agent.tool_plain(requires_approval=True, metadata={"message": "Pay this back?", "expires_in_s": A_WEEK_S})(refund)
    return agent


def make_api(store_url: str) -> FastAPI:
    """The shop. Its lifespan is the server's: entered when the application starts, left when it stops."""
    awaken = Awaken(store_url)
    awaken.agent("refunds", make_agent())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with awaken:
            yield

    api = FastAPI(lifespan=lifespan)
    # Here everybody may ask and everybody may approve. `asgi(authorize=…)` says who somebody is, and what they may see.
    api.mount("/awaken", awaken.asgi())

    @api.get("/")
    async def show_page() -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        return FileResponse(PAGE)

    return api


# --- the scripted model -----------------------------------------------------------------------------------------------


async def scripted(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
    """What a model would make of it, without one: a refund for whoever names an order and an amount."""
    asked = [part.content for part in messages[-1].parts if isinstance(part, UserPromptPart)]
    told = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
    text = str(asked[-1]) if asked else ""
    euros = re.search(r"(\d+(?:\.\d+)?) ?(?:€|euro)", text, re.IGNORECASE)
    order = re.search(r"order (\d+)", text, re.IGNORECASE)
    call = None
    if told and not asked:
        say = f"Done: {told[-1].content}." if told[-1].outcome == "success" else f"I am sorry, no: {told[-1].content}."
    elif euros and order:
        say = "I have to ask somebody who may decide about that. "
        call = json.dumps({"order": int(order[1]), "euros": float(euros[1]), "reason": text.rpartition(", ")[2]})
    else:
        say = "What should be paid back? Say, for example: 40 € for order 4711, the kettle leaks"
    for word in re.findall(r"\S+\s*", say):
        yield word
        await asyncio.sleep(SECONDS_PER_WORD)
    if call:
        yield {0: DeltaToolCall("refund", call, tool_call_id="call_0")}


api = make_api(os.environ.get("REFUNDS_STORE", "sqlite:///refunds.db"))
