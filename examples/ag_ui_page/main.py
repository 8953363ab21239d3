"""A page that talks AG-UI, and the durable server that answers it, in one small application.

    uvicorn examples.ag_ui_page.main:site --timeout-graceful-shutdown 3

`page.html` draws what AG-UI's own client has: messages, what is asked, and how it ended.
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

HERE: Final = Path(__file__).parent
SECONDS_PER_WORD: Final = float(os.environ.get("CHAT_SECONDS_PER_WORD", "0.15"))


async def guide(ctx: Context) -> AsyncIterator[str]:
    """Asks before it begins, then says slowly what there is to try. No model is needed, and no network."""
    text = await ctx.input()
    said = await ctx.approve("Shall I tell you about it?")
    if not said.approved:
        yield "Then not."
        return
    for word in f"You wrote “{text}”. Reload the page, or open a second one: it is shown all of this.".split(" "):
        yield f"{word} "
        await asyncio.sleep(SECONDS_PER_WORD)


async def show(request: Request) -> FileResponse:
    return FileResponse(HERE / "page.html")


def make_site(store_url: str) -> Starlette:
    """The page at the root, and all routes of the server beside it."""
    awaken = Awaken(store_url)
    awaken.agent("guide", guide)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with awaken:
            yield

    return Starlette(routes=[Route("/", show), Mount("/", awaken.asgi())], lifespan=lifespan)


site = make_site(os.environ.get("CHAT_STORE", "sqlite:///ag-ui-page.db"))
