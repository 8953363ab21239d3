"""What wants attention, over HTTP, and what is said beside runs."""

from __future__ import annotations

from typing import Any

from awaken.domain.ids import Route
from awaken.executors.function import Context
from awaken.store.contract import Store
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import AGENT, claimed, submitted
from awaken.testing.mailboxes import WatchedStore
from tests.http.site import Site, served
from tests.http.test_tickets import careful, counting


async def failing(ctx: Context) -> str:
    raise OSError("the disk is gone")


async def hopeless(ctx: Context) -> str:
    raise ValueError("no such order")


AGENTS: dict[str, Any] = {"careful": careful, "counting": counting, "failing": failing, "hopeless": hopeless}


async def attention(site: Site, query: str = "") -> Any:
    answer = await site.http.get(f"/v1/attention{query}")
    assert answer.status == 200, answer
    return answer.json()


def ids(found: Any, name: str) -> list[str]:
    return [each["run_id"] for each in found[name]["items"]]


async def test_what_waits_for_somebody_is_first_and_oldest_first(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        runs = [await site.submit(agent) for agent in ("careful", "counting", "careful")]
        await site.world.quiet()
        found = await attention(site)
        tickets = found["tickets"]["items"]
        assert {each["run_id"] for each in tickets} == {run["run_id"] for run in runs}
        assert [each["created_at"] for each in tickets] == sorted(each["created_at"] for each in tickets)
        assert tickets[0]["expires_at"] is not None
        assert (found["tickets"]["has_more"], found["stuck"]["items"], found["running"]["items"]) == (False, [], [])
        few = await attention(site, "?limit=1")
        assert (few["tickets"]["items"], few["tickets"]["has_more"]) == (tickets[:1], True)
        assert found["store"] == store.capabilities.kind and found["durability"] == store.capabilities.durability
        for wrong in ("?limit=0", "?limit=21", "?deep=1"):
            assert (await site.http.get(f"/v1/attention{wrong}")).status == 422


async def test_what_is_executed_says_what_it_did_last(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        first = await site.submit("gated", "t")
        await site.submit("gated", "t")
        await site.world.quiet()
        [run] = (await attention(site))["running"]["items"]
        assert run["run_id"] == first["run_id"]
        assert run["why"]["code"] == "executing"
        path = f"/v1/runs/{run['run_id']}/events?channels=lifecycle,mailbox,messages,debug"
        newest = (await site.http.get(path)).json()["items"][-1]
        assert (run["last_event"]["cursor"], run["last_event"]["kind"]) == (newest["cursor"], newest["kind"])
        assert run["last_event"]["summary"]
        assert run["last_sign_of_life"] >= run["last_event"]["created_at"]


async def test_what_failed_and_is_tried_again_has_its_why_and_what_helps(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run = await site.submit("failing")
        await site.world.quiet()
        [stuck] = (await attention(site))["stuck"]["items"]
        assert (stuck["run_id"], stuck["why"]["code"]) == (run["run_id"], "in_back_off")
        assert "OSError" in stuck["why"]["summary"]
        assert stuck["why"] == (await site.http.get(f"/v1/runs/{run['run_id']}/explain")).json()
        repair = stuck["why"]["repair"]
        assert (repair["method"], repair["body"], repair["label"]) == ("PATCH", {"after_seconds": 0}, "Try it now")
        assert (await site.http.request(repair["method"], repair["path"], repair["body"])).status == 200


async def test_what_nobody_begins_is_told_by_route_and_by_its_oldest_run(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        lonely = await submitted(store, "lonely", agent=AGENT)
        await site.http.post("/v1/agents/careful/pause", None)
        paused = await site.submit("careful")
        await site.submit("careful")
        await site.http.post("/v1/agents/hopeless/pause", None)
        await site.submit("hopeless", after_seconds=86_400)
        found = await attention(site)
        assert ids(found, "running") == [], "what begins tomorrow is neither stuck nor at work"
        assert [(each["route"], each["code"], each["waiting"]) for each in found["unserved"]["items"]] == [
            (AGENT, "unserved", 1),
            ("careful", "agent_paused", 2),
            ("hopeless", "agent_paused", 1),
        ]
        assert ids(found, "stuck") == [paused["run_id"]]
        await clock.advance(61)
        stuck = (await attention(site))["stuck"]["items"]
        assert [(each["run_id"], each["why"]["code"]) for each in stuck] == [
            (lonely.run.run_id, "unserved"),
            (paused["run_id"], "agent_paused"),
        ]
        assert stuck[0]["why"]["repair"] is None
        repair = stuck[1]["why"]["repair"]
        assert (repair["method"], repair["path"]) == ("POST", "/v1/agents/careful/resume")
        assert (await site.http.request(repair["method"], repair["path"], repair["body"])).status == 200
        await site.world.quiet()
        assert ids(await attention(site), "stuck") == [lonely.run.run_id]


async def test_a_process_that_is_drained_says_so_and_what_waits_for_it(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.http.post("/v1/system/drain", None)
        run = await site.submit()
        found = await attention(site)
        assert (found["drained"], ids(found, "stuck")) == (True, [run["run_id"]])
        assert found["stuck"]["items"][0]["why"]["repair"]["path"] == "/v1/system/undrain"


async def test_a_lease_that_has_ended_is_taken_back_by_the_repair(memory: Store, clock: ManualClock) -> None:
    shared = WatchedStore(memory, exclusive=False)
    async with served(shared, clock, executes=False) as site:
        dead = await claimed(shared, "d1", lease_ms=1_000, routes=frozenset([Route(AGENT)]))
        [running] = (await attention(site))["running"]["items"]
        assert (running["run_id"], running["why"]["code"]) == (dead.run.run_id, "executing_elsewhere")
        clock.tick(2)
        found = await attention(site)
        [stuck] = found["stuck"]["items"]
        assert (stuck["run_id"], stuck["why"]["code"]) == (dead.run.run_id, "lease_ended")
        assert stuck["why"]["repair"]["path"] == "/v1/system/sweep"
        assert found["running"]["items"] == []


async def test_what_was_given_up_is_counted_by_its_error(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        runs = [await site.submit("failing", max_attempts=1) for _ in range(3)]
        for run in runs:
            await site.finished(run)
        found = await attention(site)
        [group] = found["dead_letters"]["items"]
        assert (group["agent_id"], group["error_class"], group["count"]) == ("failing", "OSError", 3)
        assert found["stuck"]["items"] == found["running"]["items"] == []
        why = (await site.http.get(f"/v1/runs/{runs[0]['run_id']}/explain")).json()
        assert why["repair"]["path"] == f"/v1/dead-letters/{why['facts']['dispatch_id']}/retry"
        assert (await site.http.request("POST", why["repair"]["path"], None)).status == 202
        assert (await site.http.get(f"/v1/runs/{runs[0]['run_id']}/explain")).json()["repair"] is None


async def test_runs_are_shown_with_what_is_asked_for_beside_them(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run = await site.submit("careful", "t")
        await site.world.quiet()
        behind = await site.submit("talk", "t", after_seconds=60)
        place = f"/v1/runs/{run['run_id']}"
        plain = (await site.http.get(place)).json()
        assert plain["last_event"] is plain["why"] is plain["last_sign_of_life"] is None

        shown = (await site.http.get(f"{place}?include=last_event,usage,why")).json()
        assert shown["why"] == (await site.http.get(f"{place}/explain")).json()
        assert shown["last_event"]["summary"] == "Waits for an approval"
        assert {**shown, "why": None, "last_event": None} == plain
        assert (await site.http.get(f"{place}?include=why")).json()["last_event"] is None

        for path in ("/v1/runs", "/v1/threads/t/runs"):
            listed = (await site.http.get(f"{path}?include=last_event,why")).json()["items"]
            assert [each["run_id"] for each in listed] == [behind["run_id"], run["run_id"]]
            assert [each["why"]["code"] for each in listed] == ["delayed", "waits_for_tickets"]
            assert listed[0]["why"] == (await site.http.get(f"/v1/runs/{behind['run_id']}/explain")).json()
            assert listed[1]["last_event"] == shown["last_event"]
            page = (await site.http.get(f"{path}?include=why&limit=1")).json()
            rest = await site.http.get(f"{path}?limit=1&cursor={page['next_cursor']}")
            assert [each["run_id"] for each in rest.json()["items"]] == [run["run_id"]]
            assert (await site.http.get(f"{path}?include=why,colour")).status == 422


async def test_how_a_run_went_is_drawn_again_only_when_something_has_happened(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents=AGENTS) as site:
        run = await site.submit("careful", "t")
        await site.world.quiet()
        path = f"/v1/runs/{run['run_id']}/timeline"
        answer = await site.http.get(path)
        drawn = answer.json()
        open_ones = [each["kind"] for each in drawn["spans"] if each["ended_at"] is None]
        assert (open_ones, drawn["has_more"], drawn["unreadable"]) == (["ticket", "waiting"], False, [])
        events = (await site.http.get("/v1/threads/t/events")).json()["items"]
        assert drawn["cursor"] == events[-1]["cursor"]
        assert {each["cursor"] for each in drawn["spans"]} <= {each["cursor"] for each in events}

        tag = {"If-None-Match": answer.headers["etag"]}
        same = await site.http.get(path, headers=tag)
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", answer.headers["etag"])
        [ticket] = (await site.http.get("/v1/tickets?state=open")).json()["items"]
        await site.http.post(f"/v1/tickets/{ticket['ticket_id']}/decision", {"action": "approve"})
        await site.finished(run)
        after = await site.http.get(path, headers=tag)
        assert (after.status, after.json()["spans"][-1]["kind"]) == (200, "end")
        assert all(each["ended_at"] for each in after.json()["spans"])
        assert (await site.http.get("/v1/runs/nothing/timeline")).code == "run_not_found"
