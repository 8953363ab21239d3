"""Agents in several versions over HTTP: what is named, shown and counted."""

from __future__ import annotations

import json

from awaken.executors.function import Context
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served


async def support(ctx: Context) -> str:
    return f"by {ctx.identity.agent_version}"


def register(site: Site, *versions: str) -> None:
    for version in versions:
        site.world.agents.add("support", support, version=version, description=f"version {version}")


@behaviour("RT-010", "RT-011")
async def test_a_version_may_be_named_wherever_an_agent_is(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        register(site, "1", "2")
        newest, older = await site.submit("support"), await site.submit("support@1")
        assert [(run["agent_id"], run["agent_version"]) for run in (newest, older)] == [
            ("support", "2"),
            ("support", "1"),
        ]
        assert [(await site.finished(run))["run"]["output"] for run in (newest, older)] == ["by 2", "by 1"]
        assert (await site.submit("talk"))["agent_version"] is None

        refused = await site.http.post("/v1/runs", {"agent_id": "support@3", "input": "Hello"})
        assert (refused.status, refused.code) == (422, "unknown_agent")
        assert refused.json()["known"] == ["support@1", "support@2"]
        listed = (await site.http.get("/v1/runs?agent_id=support")).json()["items"]
        assert {run["agent_version"] for run in listed} == {"1", "2"}


@behaviour("RT-015")
async def test_each_agent_is_listed_once_with_its_versions(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        register(site, "1", "2")
        agents = {each["agent_id"]: each for each in (await site.http.get("/v1/agents")).json()["items"]}
        assert (agents["talk"]["version"], agents["talk"]["versions"]) == (None, [])
        assert (agents["support"]["version"], agents["support"]["description"]) == ("2", "version 2")

        paused = (await site.http.post("/v1/agents/support@1/pause")).json()
        assert (paused["version"], paused["paused"], paused["description"]) == ("1", True, "version 1")
        found = (await site.http.get("/v1/agents/support")).json()
        assert (found["paused"], found["versions"]) == (
            False,
            [
                {"version": "1", "paused": True, "not_loadable": None},
                {"version": "2", "paused": False, "not_loadable": None},
            ],
        )
        waits = await site.submit("support@1")
        read = (await site.http.get(f"/v1/runs/{waits['run_id']}")).json()
        assert read["waiting"]["message"].startswith("agent 'support@1' is paused here")
        assert (await site.http.post("/v1/agents/support/resume")).status == 200
        assert (await site.finished(waits))["run"]["output"] == "by 1"
        for path in ("/v1/agents/support@3", "/v1/agents/support@1/stats"):
            assert (await site.http.get(path)).code == "agent_not_found"


@behaviour("RT-013")
async def test_health_and_the_run_say_which_version_is_missing(store: Store, clock: ManualClock) -> None:
    async with store:
        async with served(store, clock, executes=False) as site:
            register(site, "1")
            run = await site.submit("support", "t")
        async with served(store, clock) as site:
            register(site, "2")
            await site.world.advance(31)
            detail = (await site.http.get("/health")).json()["components"]["agents"]["detail"]
            assert detail == "not registered here, and runs wait for it: support@1"
            read = (await site.http.get(f"/v1/runs/{run['run_id']}")).json()
            assert (read["phase"], read["waiting"]["reason"]) == ("queued", "no_agent")
            assert read["waiting"]["message"].startswith("agent 'support@1' is not registered here")
            why = (await site.http.get(f"/v1/runs/{run['run_id']}/explain")).json()
            assert (why["code"], "support@1" in json.dumps(why)) == ("unserved", True)
