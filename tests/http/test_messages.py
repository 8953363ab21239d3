"""Messages for runs that are there, over HTTP: sent, followed, changed until somebody takes them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from awaken.executors.function import Context
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import Answer
from tests.http.site import Site, served


async def send(site: Site, text: str, **fields: Any) -> Answer:
    return await site.http.post("/v1/threads/t/messages", {"input": text, "mode": "steer", **fields})


async def started(site: Site) -> tuple[Any, Any]:
    """A run that executes, and its call."""
    run = await site.submit("gated", "t")
    return run, await site.world.agent.next_call()


async def fate(site: Site, message_id: str) -> tuple[str, str | None]:
    found = (await site.http.get(f"/v1/threads/t/messages/{message_id}/receipt")).json()
    return found["fate"], found["run_id"]


@behaviour("SRV-013")
async def test_a_message_steers_the_run_that_is_under_way_once_and_opens_none(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run, call = await started(site)
        body = {"messages": [{"message_id": "m1", "content": "look here"}]}
        first = await site.http.post(f"/v1/runs/{run['run_id']}/messages", body)
        again = await site.http.post(f"/v1/runs/{run['run_id']}/inputs", body)

        assert (first.status, again.status) == (202, 200)
        assert (first.json()["path"], first.json()["run_id"]) == ("steered", run["run_id"])
        assert (again.json()["path"], again.json()["replayed"]) == ("steered", True)
        assert first.headers["location"] == f"/v1/runs/{run['run_id']}/stream"
        assert first.headers["content-location"] == f"/v1/runs/{run['run_id']}"
        assert await fate(site, "m1") == ("pending", run["run_id"])
        assert [message.text for message in await call.context.inbox()] == ["look here"]
        assert await call.context.inbox() == ()
        assert await fate(site, "m1") == ("consumed", run["run_id"])
        call.release()
        assert (await site.finished(run))["run"]["phase"] == "completed"
        assert (await site.stored())[1] == 1


@behaviour("SRV-011")
async def test_what_a_submit_does_follows_from_its_strategy_and_what_the_thread_does(
    store: Store, clock: ManualClock
) -> None:
    async with served(store, clock) as site:
        idle = await site.http.post("/v1/threads/t/runs", {"input": "x", "agent_id": "gated"})
        assert idle.code == "thread_not_found"
        for strategy in ("enqueue", "reject", "interrupt", "rollback"):
            run = await site.submit("gated", f"idle-{strategy}", multitask_strategy=strategy)
            assert run["phase"] in ("queued", "running")
            (await site.world.agent.next_call()).release()

        first, call = await started(site)
        behind = await site.submit("gated", "t", multitask_strategy="enqueue")
        body = {"agent_id": "gated", "thread_id": "t", "input": "x"}
        refused = await site.http.post("/v1/runs", {**body, "multitask_strategy": "reject"})
        assert (refused.status, refused.code) == (409, "thread_busy")
        assert refused.json()["active_run_id"] == first["run_id"]

        for strategy in ("interrupt", "rollback"):
            taken = await site.http.post("/v1/runs", {**body, "multitask_strategy": strategy, "release_wait_s": 5})
            assert (taken.status, taken.json()["thread_id"]) == (202, "t")
            call = await site.world.agent.next_call()
            phases = {
                each["run_id"]: each["phase"] for each in (await site.http.get("/v1/threads/t/runs")).json()["items"]
            }
            assert (phases[first["run_id"]], phases[behind["run_id"]]) == ("superseded", "superseded")
            first = taken.json()
            assert phases[first["run_id"]] == "running"
        call.release()


@behaviour("MBX-106", "MBX-079", "SV-020")
async def test_a_thread_is_given_back_its_run_when_another_does_not_let_go_in_time(
    store: Store, clock: ManualClock
) -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def clinging(context: Context) -> None:
        begun.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    async with served(store, clock, agents={"clinging": clinging}) as site:
        run = await site.submit("clinging", "t")
        await begun.wait()
        body = {
            "agent_id": "gated",
            "run_id": "late",
            "thread_id": "t",
            "input": "x",
            "multitask_strategy": "interrupt",
        }
        asking = asyncio.create_task(site.http.post("/v1/runs", {**body, "release_wait_s": 2}))
        await site.world.advance(3)
        answer = await asking
        assert (answer.status, answer.code, answer.json()["active_run_id"]) == (409, "thread_busy", run["run_id"])
        late = (await site.http.get("/v1/runs/late")).json()
        assert late["phase"] == "cancelled"
        gave_up, end = (await site.http.get("/v1/runs/late/events")).json()["items"][-2:]
        assert gave_up["kind"] == "MailboxTimeout"
        assert gave_up["payload"] == {"timeout_ms": 2_000, "active_run_id": run["run_id"]}
        assert (end["kind"], end["payload"]["cause"]) == ("RunCancelled", "not_released_in_time")
        let_go.set()


async def test_a_receipt_is_waited_for(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        _, call = await started(site)
        sent = (await send(site, "look here")).json()
        message_id = sent["message_ids"][0]
        waiting = asyncio.create_task(site.http.get(f"/v1/messages/{message_id}/receipt?wait_s=30"))
        await site.world.advance(1)
        assert not waiting.done()
        await call.context.inbox()
        assert (await waiting).json()["fate"] == "consumed"
        assert (await site.http.get("/v1/messages/none/receipt")).code == "message_not_found"
        assert (await site.http.get("/v1/threads/none/messages/m/receipt")).code == "thread_not_found"
        assert (await site.http.get(f"/v1/messages/{message_id}/receipt?wait_s=-1")).status == 422
        call.release()


async def test_what_waits_is_read_changed_ordered_and_taken_back(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        _, call = await started(site)
        for name in ("a", "b", "c"):
            body = {"messages": [{"message_id": name, "content": name}], "mode": "follow_up"}
            assert (await site.http.post("/v1/threads/t/messages", body)).status == 202
        listed = await site.http.get("/v1/threads/t/pending")
        assert [(each["message_id"], each["position"]) for each in listed.json()["items"]] == [
            ("a", 1),
            ("b", 2),
            ("c", 3),
        ]
        assert listed.headers["etag"] == f'"{listed.json()["revision"]}"'

        where = "/v1/threads/t/pending"
        change = {"message": {"content": "better"}, "boundary": "next_step"}
        unseen = await site.http.request("PATCH", f"{where}/b", change)
        assert (unseen.status, unseen.code) == (428, "precondition_required")
        stale = await site.http.request("PATCH", f"{where}/b", change, headers={"If-Match": '"7"'})
        assert (stale.status, stale.code, stale.json()["version"]) == (412, "precondition_failed", 1)
        changed = await site.http.request("PATCH", f"{where}/b", change, headers={"If-Match": '"1"'})
        assert (changed.status, changed.json()["revision"], changed.json()["boundary"]) == (200, 2, "next_step")
        assert changed.headers["etag"] == '"2"'
        assert changed.json()["content"] == [{"type": "text", "text": "better"}]

        order = {"message_ids": ["c", "b", "a"]}
        old = {"If-Match": listed.headers["etag"]}
        assert (await site.http.request("PUT", f"{where}/order", order, headers=old)).code == "precondition_failed"
        ordered = await site.http.request("PUT", f"{where}/order", order, headers={"If-Match": "*"})
        assert [each["message_id"] for each in ordered.json()["items"]] == ["c", "b", "a"]
        short = await site.http.request("PUT", f"{where}/order", {"message_ids": ["c"]}, headers={"If-Match": "*"})
        assert (short.status, "lacks" in short.json()["detail"]) == (422, True)

        assert (await site.http.request("DELETE", f"{where}/c", None)).status == 428
        gone = await site.http.request("DELETE", f"{where}/c", None, headers={"If-Match": "*"})
        assert gone.status == 204
        again = await site.http.request("DELETE", f"{where}/c", None, headers={"If-Match": "*"})
        assert again.status == 204
        kept = await site.http.request("PATCH", f"{where}/c", change, headers={"If-Match": "*"})
        assert (kept.status, kept.code, kept.json()["fate"]) == (409, "already_consumed", "retracted")
        none = await site.http.request("DELETE", f"{where}/none", None, headers={"If-Match": "*"})
        assert (none.status, none.code) == (404, "message_not_found")

        assert [message.text for message in await call.context.inbox()] == ["better"]
        late = await site.http.request("PATCH", f"{where}/b", change, headers={"If-Match": "*"})
        assert (late.code, late.json()["fate"]) == ("already_consumed", "consumed")
        call.release()
        following = await site.world.agent.next_call()
        assert await fate(site, "a") == ("consumed", following.run_id)
        following.release()


@behaviour("PM-023")
async def test_what_waits_is_there_after_reopening_in_its_order(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, executes=False) as site:
        run = await site.submit("gated", "t")
        for name in ("a", "b"):
            body = {"messages": [{"message_id": name, "content": name}]}
            assert (await site.http.post(f"/v1/runs/{run['run_id']}/messages", body)).status == 202
        before = (await site.http.get("/v1/threads/t/pending")).json()
    async with served(store, clock, executes=False) as site:
        assert (await site.http.get("/v1/threads/t/pending")).json() == before
        assert [each["message_id"] for each in before["items"]] == ["a", "b"]


async def test_a_message_of_a_queued_run_is_changed_in_place(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        _, call = await started(site)
        queued = (await send(site, "first", mode="queue")).json()
        message_id = queued["message_ids"][0]
        where = f"/v1/threads/t/pending/{message_id}"
        changed = await site.http.request("PATCH", where, {"message": {"content": "second"}}, headers={"If-Match": "*"})
        assert (changed.status, changed.json()["position"], changed.json()["boundary"]) == (200, None, None)
        moved = await site.http.request("PATCH", where, {"boundary": "next_step"}, headers={"If-Match": "*"})
        assert (moved.status, moved.json()["errors"][0]["loc"]) == (422, ["body", "boundary"])
        call.release()
        following = await site.world.agent.next_call()
        assert await following.context.input() == "second"
        following.release()


@pytest.mark.parametrize(
    ("path", "fields", "status", "code"),
    [
        ("threads/none/messages", {"input": "x", "agent_id": "talk"}, 404, "thread_not_found"),
        ("runs/none/messages", {"input": "x"}, 404, "run_not_found"),
        ("threads/t/messages", {}, 422, "invalid_request"),
        ("threads/t/messages", {"input": "x", "messages": []}, 422, "invalid_request"),
        ("threads/t/messages", {"input": "x", "mode": "soon"}, 422, "invalid_request"),
        ("threads/t/messages", {"input": "x", "mode": "resume"}, 409, "run_not_waiting"),
        ("threads/t/messages", {"input": "x", "mode": "resume_open_run"}, 409, "run_not_waiting"),
        ("threads/t/messages", {"input": "x", "mode": "steer", "dedupe_key": "k"}, 422, "invalid_request"),
        ("threads/t/messages", {"input": "x", "agent_id": "nobody"}, 422, "unknown_agent"),
        ("threads/t/messages", {"input": "x", "target_run_id": ".."}, 422, "invalid_id"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_its_reason(
    memory: Store, clock: ManualClock, path: str, fields: dict[str, Any], status: int, code: str
) -> None:
    async with served(memory, clock) as site:
        await site.finished(await site.submit("talk", "t"))
        answer = await site.http.post(f"/v1/{path}", fields)
        assert (answer.status, answer.code) == (status, code), answer


async def test_a_message_for_a_run_that_has_ended(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        where = f"/v1/runs/{run['run_id']}/messages"
        refused = await site.http.post(where, {"input": "x", "fallback_to_new_run": False})
        assert (refused.status, refused.code, refused.json()["run_status"]) == (409, "run_not_open", "done")
        assert (await site.http.post(where, {"input": "x"})).code == "run_not_open"
        queued = await site.http.post(where, {"input": "x", "mode": "queue"})
        assert (queued.status, queued.json()["run_id"] != run["run_id"]) == (202, True)
