"""What is queued and executed, over HTTP."""

from __future__ import annotations

from awaken.domain.clock import to_rfc3339
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served


async def listed(site: Site, path: str = "/v1/dispatches", **query: object) -> list[str]:
    """The runs whose dispatches a list has, page by page."""
    found: list[str] = []
    asked = {"limit": 2, **query}
    while True:
        text = "&".join([f"{name}={value}" for name, value in asked.items()])
        page = (await site.http.get(f"{path}?{text}")).json()
        found += [item["run_id"] for item in page["items"]]
        if not page["has_more"]:
            return found
        asked["cursor"] = page["next_cursor"]


@behaviour("OPS-010", "OPS-014")
async def test_the_queue_is_listed_over_all_threads_by_page_and_filter(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        runs = [await site.submit("talk", thread, after_seconds=60) for thread in "abc"]
        done = await site.submit("talk", "d")
        await site.finished(done)
        await site.world.advance(10)
        young = await site.submit("gated", "a", after_seconds=60)
        executing = await site.submit("gated", "e")
        await site.world.quiet()
        ids = [run["run_id"] for run in runs]

        assert await listed(site) == [*ids, done["run_id"], young["run_id"], executing["run_id"]]
        assert await listed(site, status="queued") == [*ids, young["run_id"]]
        assert await listed(site, status="claimed") == [executing["run_id"]]
        assert await listed(site, status="acked") == [done["run_id"]]
        assert await listed(site, status="queued", agent_id="gated") == [young["run_id"]]
        assert await listed(site, status="queued", older_than_s=5) == ids
        assert await listed(site, thread_id="a") == [ids[0], young["run_id"]]
        assert await listed(site, stale="true") == []
        [held] = (await site.http.get("/v1/dispatches?status=claimed")).json()["items"]
        assert await listed(site, claimed_by=held["claimed_by"]) == [executing["run_id"]]
        for path in ("/v1/threads/a/dispatches", "/v1/threads/a/mailbox"):
            assert await listed(site, path) == [ids[0], young["run_id"]]
            assert await listed(site, path, agent_id="gated") == [young["run_id"]]

        for path, code in (
            ("/v1/threads/nowhere/dispatches", "thread_not_found"),
            ("/v1/dispatches?status=open", "invalid_request"),
            ("/v1/dispatches?older_than_s=-1", "invalid_request"),
            ("/v1/dispatches?older_than_s=inf", "invalid_request"),
            ("/v1/dispatches?older_than_s=1e300", "invalid_request"),
            ("/v1/dispatches?stale=perhaps", "invalid_request"),
            ("/v1/dispatches?agent_id=..", "invalid_id"),
            ("/v1/dispatches?run_id=r", "unknown_parameter"),
        ):
            assert (await site.http.get(path)).code == code
        first = (await site.http.get("/v1/dispatches?limit=1")).json()["next_cursor"]
        assert (await site.http.get(f"/v1/dispatches?status=queued&cursor={first}")).code == "cursor_mismatch"


@behaviour("OPS-011", "OPS-014")
async def test_what_is_queued_is_read_and_given_another_place(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk", "t", after_seconds=60)
        path = f"/v1/dispatches/{run['dispatch_id']}"
        read = (await site.http.get(path)).json()
        assert (read["status"], read["run"]["run_id"], read["run"]["phase"]) == ("queued", run["run_id"], "queued")

        later = to_rfc3339(clock.now() + 90_000)
        placed = await site.http.request("PATCH", path, {"priority": 3, "available_at": later})
        assert (placed.status, placed.json()["priority"], placed.json()["available_at"]) == (200, 3, later)
        assert placed.json()["run"]["available_at"] == later
        for body, code in (
            ({}, "invalid_request"),
            ({"priority": 256}, "invalid_request"),
            ({"after_seconds": 1, "available_at": later}, "invalid_request"),
            ({"available_at": "soon"}, "invalid_request"),
            ({"status": "claimed"}, "invalid_request"),
        ):
            assert (await site.http.request("PATCH", path, body)).code == code, body
        at_once = await site.http.request("PATCH", path, {"after_seconds": 0})
        assert at_once.json()["available_at"] == to_rfc3339(clock.now())
        ended = (await site.finished(run))["run"]
        assert ended["phase"] == "completed"

        refused = await site.http.request("PATCH", path, {"priority": 3})
        assert (refused.status, refused.code) == (409, "dispatch_not_queued")
        assert refused.json()["dispatch_status"] == "acked"
        assert (
            await site.http.request("PATCH", "/v1/dispatches/nothing", {"priority": 3})
        ).code == "dispatch_not_found"
        assert (await site.http.get("/v1/dispatches/nothing")).code == "dispatch_not_found"


@behaviour("OPS-013", "OPS-014", "SRV-015")
async def test_a_dispatch_is_cancelled_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        queued = await site.submit("talk", "t", after_seconds=60)
        executing = await site.submit("gated", "e")
        await site.world.quiet()

        stopped = await site.http.post(f"/v1/dispatches/{queued['dispatch_id']}/cancel")
        assert (stopped.status, stopped.json()["state"], stopped.json()["run"]["run_id"]) == (
            200,
            "stopped",
            queued["run_id"],
        )
        asked = await site.http.post(f"/v1/dispatches/{executing['dispatch_id']}/cancel")
        assert (asked.status, asked.json()["run"]["run_id"]) in ((202, executing["run_id"]), (200, executing["run_id"]))
        again = await site.http.post(f"/v1/dispatches/{queued['dispatch_id']}/cancel")
        assert (again.status, again.code, again.json()["dispatch_status"]) == (409, "dispatch_ended", "cancelled")
        assert (await site.http.post("/v1/dispatches/nothing/cancel")).code == "dispatch_not_found"
