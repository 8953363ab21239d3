"""Mounted in somebody else's application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from awaken.store.contract import Store
from awaken.testing.clock import ManualClock
from tests.http.asgi import Answer
from tests.http.site import Site, served


def mounted(site: Site) -> httpx.AsyncClient:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield

    api = FastAPI(lifespan=lifespan)
    api.mount("/agents", site.app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://shop.example", follow_redirects=False)


async def test_every_link_leads_back_through_the_mount(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site, mounted(site) as client:
        made = await client.post("/agents/v1/runs/", json={"agent_id": "talk", "input": "hello"})
        assert (made.status_code, made.headers["location"].startswith("/agents/v1/runs/")) == (202, True)

        run = await client.get(made.headers["content-location"])
        assert run.json()["run_id"] == made.json()["run_id"]
        stream = await client.get(made.headers["location"])
        assert stream.text.endswith('event: stream.end\ndata: {"reason":"done"}\n\n')
        thread = await client.post("/agents/v1/threads", json={"thread_id": "t"})
        assert (await client.get(thread.headers["location"])).json()["thread_id"] == "t"
        assert (await client.get("/agents/openapi.json")).json()["servers"] == [{"url": "/agents"}]


async def test_what_is_not_found_below_the_mount_is_a_problem_of_ours(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site, mounted(site) as client:
        assert (await client.get("/agents/nothing")).json()["code"] == "not_found"
        assert "code" not in (await client.get("/nothing")).json()


async def test_on_another_event_loop_every_request_is_refused_and_told_which_loop(
    memory: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a server runs the application in a thread of its own, and the object was started elsewhere."""
    paths = ["/v1/agents", "/v1/runs", "/v1/threads", "/v1/runs/r", "/v1/runs/r/stream"]

    async def elsewhere() -> list[Answer]:
        async with asyncio.timeout(20):
            asked = [await site.http.get(path) for path in paths]
            asked.append(await site.http.post("/v1/runs", {"agent_id": "talk", "input": "hello"}))
            return [*asked, await site.http.get("/health"), await site.http.get("/health/live")]

    home = asyncio.get_running_loop()
    async with served(memory, clock) as site:
        *refused, health, live = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))

        for answer in refused:
            assert (answer.status, answer.code, answer.json()["retryable"]) == (503, "wrong_loop", False)
            assert repr(home) in answer.json()["detail"]
        assert health.status == 503
        assert health.json()["components"]["mailbox"]["state"] == "failed"
        assert repr(home) in health.json()["components"]["mailbox"]["detail"]
        assert live.status == 200
        assert (await site.http.get("/health")).status == 200
    assert repr(home) in caplog.text
