"""A shop's FastAPI application with a durable agent server mounted in it.

    uvicorn examples.fastapi_mount.main:api --workers 1

The routes of the server are below `/awaken`. The shop's own handlers use the same object without HTTP.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from awaken import Awaken, Context


async def support(ctx: Context) -> AsyncIterator[str]:
    """Answers customers, in order, whatever happens to this process."""
    order = await ctx.step("find order", lambda: {"number": 4711, "state": "on its way"})
    yield f"You asked: {await ctx.input()} "
    yield f"Order {order['number']} is {order['state']}."


def make_api(store_url: str) -> FastAPI:
    """The shop. Its lifespan is the server's: entered when the application starts, left when it stops."""
    awaken = Awaken(store_url)
    awaken.agent("support", support)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with awaken:
            yield

    api = FastAPI(lifespan=lifespan)
    api.mount("/awaken", awaken.asgi())

    @api.post("/orders/{number}/question", status_code=202)
    async def ask(number: int, text: str) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        """The shop's own way in: one thread per order, and the answer can be read under `/awaken`."""
        run = await awaken.submit(f"order-{number}", text, agent="support")
        return {"run_id": run.run_id}

    return api


api = make_api(os.environ.get("SHOP_STORE", "sqlite:///shop.db"))
