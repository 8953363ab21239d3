"""Health, readiness and the phases of life."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import Scope, ThreadId
from awaken.executors.registry import Agents
from awaken.http.app import build_app
from awaken.mailbox.service import Mailbox
from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from tests.http.asgi import Client, all_frames
from tests.http.site import SERVED, Site, served, talk
from tests.http.test_requests import path_of


class Unsteady(MemoryStore):
    """Does not answer while it is down."""

    is_down = False

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        if self.is_down:
            raise StoreUnavailable("the disk is gone")
        return await super().event_bounds(scope, thread_id)


@behaviour("SRV-006")
async def test_readiness_reflects_the_store_and_liveness_does_not(clock: ManualClock) -> None:
    store = Unsteady(clock)
    async with served(store, clock) as site:
        ready = await site.http.get("/health/ready")
        assert (ready.status, ready.json()["status"], ready.json()["durability"]) == (200, "ready", "volatile")

        store.is_down = True
        await clock.advance(1)
        down, live = await site.http.get("/health/ready"), await site.http.get("/health/live")
        assert (down.status, down.json()["components"]["store"]["state"]) == (503, "failed")
        assert (live.status, live.json()) == (200, {"status": "ok"})

        store.is_down = False
        assert (await site.http.get("/health")).status == 503, "asked less than a second ago"
        await clock.advance(1)
        assert (await site.http.get("/health")).status == 200


@behaviour("SRV-006")
async def test_a_server_whose_store_can_be_read_and_not_written_is_not_ready_and_names_the_reason(
    tmp_path: Path, clock: ManualClock
) -> None:
    path = tmp_path / "moved.db"
    async with served(SqliteStore(path, clock=clock), clock) as site:
        assert (await site.http.get("/health/ready")).status == 200

        path.rename(tmp_path / "elsewhere.db")
        await site.world.advance(1)
        down = await site.http.get("/health/ready")
        refused = await site.http.post("/v1/runs", {"agent_id": "talk", "input": "accepted?"})
        assert (down.status, down.json()["components"]["store"]["state"]) == (503, "failed")
        assert "moved or removed while it was served" in down.json()["components"]["store"]["detail"]
        assert (refused.status, refused.code) == (503, "store_unavailable")

        (tmp_path / "elsewhere.db").rename(path)
        await site.world.advance(1)
        assert (await site.http.get("/health/ready")).status == 200


@behaviour("SRV-006")
async def test_outside_its_life_the_server_answers_only_about_its_health(memory: Store, clock: ManualClock) -> None:
    mailbox = Mailbox(memory, Agents(clock), clock=clock)
    http = Client(build_app(mailbox, memory, SERVED))

    async def codes() -> set[tuple[int, str]]:
        found: set[tuple[int, str]] = set()
        for operation in SERVED:
            if not operation.always_answers:
                answer = await http.request(operation.method, path_of(operation), {})
                found.add((answer.status, answer.code))
                assert answer.headers["retry-after"] == "1"
        assert (await http.get("/health/live")).status == 200
        return found

    assert await codes() == {(503, "starting")}
    detail = (await http.request("GET", "/v1/agents", {})).json()["detail"]
    assert "nobody has started this server; enter it in the lifespan" in detail
    health = (await http.get("/health")).json()
    assert (health["status"], health["recovery"]) == ("starting", {"phase": "opening", "done": 0.0})
    async with mailbox:
        assert (await http.get("/health/ready")).status == 200
        await settle()
        assert (await http.get("/health")).json()["recovery"] == {"phase": "done", "done": 1.0}
    assert await codes() == {(503, "stopping")}
    assert ((await http.get("/health/ready")).status, (await http.get("/health")).json()["status"]) == (503, "stopping")


@behaviour("SRV-006")
async def test_a_server_that_will_stop_is_not_ready_and_does_what_it_is_asked(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        site.app.prepare_to_stop()

        ready = await site.http.get("/health/ready")
        assert (ready.status, ready.json()["status"], ready.headers["retry-after"]) == (503, "stopping", "1")
        live = await site.http.get("/health/live")
        accepted = await site.http.post("/v1/runs", {"agent_id": "talk", "input": "still in time"})
        assert (live.status, accepted.status) == (200, 202)
        streamed = await site.http.post("/v1/runs/stream", {"agent_id": "talk", "input": "and watched"})
        assert all_frames(streamed.body)[-1].event == "stream.end"
        assert {answer.headers["connection"] for answer in (ready, live, accepted, streamed)} == {"close"}


@behaviour("RT-002", "RT-007")
async def test_health_names_the_agents_that_cannot_run_here_and_whose_runs_wait(
    store: Store, clock: ManualClock
) -> None:
    """One was to be imported and is not there, one was there when its run was accepted. All others are served."""

    async def agents(site: Site) -> Any:
        answer = await site.http.get("/health")
        assert (answer.status, answer.json()["status"]) == (200, "ready")
        return answer.json()["components"]["agents"]

    async with served(store, clock, agents={"gone": talk, "there": talk}, executes=False) as site:
        runs = [await site.submit(name, name) for name in ("gone", "there")]
        assert await agents(site) == {"state": "ok", "detail": None}

    async with served(store, clock, agents={"late": "no_such_module:agent", "there": talk}) as site:
        await site.finished(runs[1])
        withdrawn = asyncio.Event()
        site.world.mailbox.agents.on_change(withdrawn.set)
        runs.append(await site.submit("late", "late"))
        await withdrawn.wait()  # it is imported in a thread
        await site.world.advance(31)
        assert await agents(site) == {
            "state": "degraded",
            "detail": "cannot be loaded, for a reason that is in the log: late;"
            " not registered here, and runs wait for it: gone",
        }
        listed = (await site.http.get("/v1/agents")).json()["items"]
        reasons = {each["agent_id"]: each["not_loadable"] for each in listed}
        assert [name for name, reason in reasons.items() if reason is not None] == ["late"]
        assert "no module named 'no_such_module'" in reasons["late"].lower()
        assert (await site.http.get("/v1/agents/late")).json()["not_loadable"] == reasons["late"]

        for name in ("gone", "late"):
            site.world.mailbox.agents.add(name, talk)
        assert await agents(site) == {"state": "ok", "detail": None}
        assert (await site.http.get("/v1/agents/late")).json()["not_loadable"] is None
        for run in runs:
            assert (await site.finished(run))["run"]["phase"] == "completed"


async def test_metrics_are_what_the_application_was_given(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.get("/metrics", headers={"accept": "text/plain"})
        assert (answer.status, answer.body) == (200, b"awaken_up 1\n")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"

        without = Client(build_app(site.world.mailbox, memory, SERVED))
        assert (await without.get("/metrics")).code == "not_found"


async def test_the_lifespan_belongs_to_whoever_serves_the_application(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        asked = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        answers: list[Any] = []

        async def receive() -> Any:
            return asked.pop(0)

        async def send(message: Any) -> None:
            answers.append(message["type"])

        await site.app({"type": "lifespan"}, receive, send)
        assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert (await site.http.get("/health/ready")).status == 200


async def test_a_process_that_executes_nothing_is_well_without_room_or_audit(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, executes=False) as site:
        health = (await site.http.get("/health")).json()
        assert (health["status"], health["free_slots"], health["recovery"]["phase"]) == ("ready", 0, "done")
        assert {name: each["state"] for name, each in health["components"].items()} == {
            "store": "ok",
            "mailbox": "ready",
            "agents": "ok",
        }
