"""Cancel and interrupt, seen from outside."""

from __future__ import annotations

from typing import Any

from awaken.domain.ids import ClaimToken, ConsumerId, InstanceId, Route
from awaken.store.contract import Store
from awaken.store.transitions import Claim, Offer, Rooms
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served


async def phase(site: Site, run: Any) -> str:
    return (await site.http.get(f"/v1/runs/{run['run_id']}")).json()["phase"]


@behaviour("SRV-015")
async def test_cancelling_queued_work_stops_it_at_once(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.submit("gated", "t")
        queued = await site.submit("gated", "t")
        answer = await site.http.post(f"/v1/runs/{queued['run_id']}/cancel")
        again = await site.http.post(f"/v1/runs/{queued['run_id']}/cancel?wait=true")

        assert (answer.status, answer.json()["state"], answer.json()["run"]["phase"]) == (200, "stopped", "cancelled")
        assert (again.status, again.json()["state"]) == (200, "stopped")
        assert len(site.world.agent.calls) == 1


@behaviour("SRV-015")
async def test_cancelling_a_running_run_asks_its_owner_and_waits_if_told_to(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("gated", "t")
        await site.world.agent.next_call()
        answer = await site.http.post(f"/v1/runs/{run['run_id']}/cancel?wait=true")
        again = await site.http.post(f"/v1/runs/{run['run_id']}/cancel")

        assert (answer.status, answer.json()["state"]) == (200, "stopped")
        assert (answer.json()["run"]["phase"], again.status) == ("cancelled", 200)
        kinds = [event["kind"] for event in (await site.http.get("/v1/threads/t/events")).json()["items"]]
        assert kinds[-3:] == ["CancelRequested", "CancelAcknowledged", "RunCancelled"]


@behaviour("SRV-015")
async def test_a_cancel_while_the_owner_is_dead_is_kept_for_whoever_takes_over(
    store: Store, clock: ManualClock
) -> None:
    """Its owner was the process before, and the store is opened anew: what it had claimed is taken back then."""
    async with served(store, clock, executes=False) as site:
        run = await site.submit("gated", "t")
        route = Route("gated")
        offer = Offer(ConsumerId("dead"), ClaimToken("token"), InstanceId("instance"), frozenset([route]))
        await store.apply([Claim(offers=(offer,), rooms=Rooms({route: 1}))])
        first = await site.http.post(f"/v1/runs/{run['run_id']}/cancel")
        again = await site.http.post(f"/v1/runs/{run['run_id']}/cancel")

        assert (first.status, first.json()["state"], first.json()["run"]["phase"]) == (202, "requested", "running")
        assert (again.status, again.json()["state"]) == (202, "requested")
    async with served(store, clock) as site:
        assert await phase(site, run) == "cancelled"
        assert site.world.agent.calls == []


@behaviour("SRV-015")
async def test_cancelling_what_ended_otherwise_is_a_conflict(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk")
        await site.finished(run)
        answer = await site.http.post(f"/v1/runs/{run['run_id']}/cancel")

        assert (answer.status, answer.code, answer.json()["run_status"]) == (409, "run_not_open", "done")
        assert (await site.http.post("/v1/runs/nobody/cancel")).code == "run_not_found"


@behaviour("SRV-015")
async def test_cancelling_a_thread_stops_its_active_run_and_leaves_the_queue(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        first, second = await site.submit("gated", "t"), await site.submit("gated", "t")
        call = await site.world.agent.next_call()
        answer = await site.http.post("/v1/threads/t/cancel?wait=true")
        assert (answer.status, answer.json()["run"]["run_id"]) == (200, first["run_id"])

        await call.over()
        (await site.world.agent.next_call()).release("done")
        await site.finished(second)
        idle = await site.http.post("/v1/threads/t/cancel")
        assert (idle.status, idle.json()) == (200, {"state": "stopped", "run": None})
        assert (await site.http.post("/v1/threads/nobody/cancel")).code == "thread_not_found"


@behaviour("SRV-016")
async def test_an_interrupt_supersedes_the_queue_and_reports_it(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        runs = [await site.submit("gated", "t") for _ in range(3)]
        await site.world.agent.next_call()
        answer = await site.http.post("/v1/threads/t/interrupt?wait=true")

        assert answer.status == 202
        assert answer.json() == {
            "epoch": 1,
            "active_run_id": runs[0]["run_id"],
            "superseded": [runs[1]["run_id"], runs[2]["run_id"]],
            "cancel": "stopped",
        }
        assert [await phase(site, run) for run in runs[1:]] == ["superseded", "superseded"]


@behaviour("SRV-016")
async def test_an_interrupt_of_an_idle_thread_is_fine_and_reports_nothing(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        answer = await site.http.post("/v1/threads/t/interrupt")

        assert (answer.status, answer.json()["superseded"], answer.json()["active_run_id"]) == (200, [], None)
        assert (await site.http.post("/v1/threads/nobody/interrupt")).code == "thread_not_found"
