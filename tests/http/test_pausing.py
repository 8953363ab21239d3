"""Agents are paused and resumed over HTTP."""

from __future__ import annotations

from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import served


@behaviour("AP-003")
async def test_an_agent_is_paused_and_resumed_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        assert (await site.http.get("/v1/agents/talk")).json()["paused"] is False
        for _ in range(2):
            paused = await site.http.post("/v1/agents/talk/pause")
            assert (paused.status, paused.json()["paused"]) == (200, True)
        run = await site.submit("talk", "t")

        read = (await site.http.get(f"/v1/runs/{run['run_id']}")).json()
        assert (read["phase"], read["waiting"]["reason"]) == ("queued", "agent_paused")
        health = (await site.http.get("/health")).json()
        assert (health["status"], health["components"]["agents"]) == (
            "ready",
            {"state": "degraded", "detail": "paused here: talk"},
        )

        resumed = await site.http.post("/v1/agents/talk/resume")
        assert (resumed.status, resumed.json()["paused"]) == (200, False)
        ended = (await site.finished(run))["run"]
        assert (ended["phase"], ended["waiting"]) == ("completed", None)
        assert (await site.http.get("/health")).json()["components"]["agents"] == {"state": "ok", "detail": None}
        for verb in ("pause", "resume"):
            assert (await site.http.post(f"/v1/agents/nobody/{verb}")).code == "agent_not_found"
