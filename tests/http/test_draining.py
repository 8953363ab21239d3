"""A process is drained and undrained over HTTP."""

from __future__ import annotations

from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import served


@behaviour("OPS-003", "OPS-004")
async def test_a_process_is_drained_and_undrained_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        for _ in range(2):
            drained = await site.http.post("/v1/system/drain")
            assert (drained.status, drained.json()) == (200, {"drained": True, "executing": 0})
        run = await site.submit("talk", "t")
        assert (await site.http.get(f"/v1/runs/{run['run_id']}")).json()["phase"] == "queued"
        health = await site.http.get("/health")
        assert (health.status, health.json()["status"]) == (200, "ready"), "what is submitted is accepted"
        assert health.json()["components"]["mailbox"] == {
            "state": "drained",
            "detail": "begins no run until it is undrained, and accepts them meanwhile",
        }
        why = (await site.http.get(f"/v1/runs/{run['run_id']}/explain")).json()
        assert (why["code"], why["blocked_by"]) == ("drained", [])

        undrained = await site.http.post("/v1/system/undrain")
        assert (undrained.status, undrained.json()["drained"]) == (200, False)
        assert (await site.finished(run))["run"]["phase"] == "completed"
        assert (await site.http.get("/health")).json()["components"]["mailbox"] == {"state": "ready", "detail": None}
