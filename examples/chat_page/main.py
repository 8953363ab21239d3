"""A page to chat on, and the durable server that answers it, in one small application.

    uvicorn examples.chat_page.main:site --timeout-graceful-shutdown 3

`page.html` is the page. It knows the server by `/awaken.js` alone, which the server brings along.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from awaken import Awaken, Context

PAGE: Final = Path(__file__).with_name("page.html")
SECONDS_PER_WORD: Final = float(os.environ.get("CHAT_SECONDS_PER_WORD", "0.15"))
ANSWER: Final = (
    "You wrote: “{text}”. This answer is scripted, and written word by word, so that there is time to try something. "
    "Reload the page: what was said so far is there again, and the rest follows. Stop the server and start it again: "
    "the page notices, waits, and the answer is completed, once. Close the laptop: nobody has to watch for it to go on."
)


async def guide(ctx: Context) -> AsyncIterator[str]:
    """Says what there is to try, slowly. No model is needed, and no network."""
    text = await ctx.input()
    await ctx.step("read", lambda: {"characters": len(text)})
    for word in ANSWER.format(text=text).split(" "):
        yield f"{word} "
        await asyncio.sleep(SECONDS_PER_WORD)


async def show_page(_: Request) -> FileResponse:
    return FileResponse(PAGE)


def make_site(store_url: str) -> Starlette:
    """The page at the root, and all routes of the server beside it."""
    awaken = Awaken(store_url)
    awaken.agent("guide", guide)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with awaken:
            yield

    return Starlette(routes=[Route("/", show_page), Mount("/", awaken.asgi())], lifespan=lifespan)


site = make_site(os.environ.get("CHAT_STORE", "sqlite:///chat.db"))
