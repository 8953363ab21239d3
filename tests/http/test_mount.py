"""Mounted in somebody else's application."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from awaken.store.contract import Store
from awaken.testing.clock import ManualClock
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
