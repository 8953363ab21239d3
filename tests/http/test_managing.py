"""Threads are changed, found, forked and deleted; runs are found, counted and stopped by many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken import Awaken, Context
from awaken.domain.errors import (
    HasChildThreads,
    LineageCycle,
    RunNotFound,
    StaleVersion,
    ThreadGone,
    ThreadNotFound,
    ValidationError,
)
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, Role, Text, ToolCall, ToolStatus
from awaken.mailbox.attendance import DISCONNECT_S
from awaken.store.contract import Store
from awaken.store.rules.ending import EPHEMERAL_MS
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served


async def _made(site: Site, thread_id: str, **fields: Any) -> Any:
    answer = await site.http.post("/v1/threads", {"thread_id": thread_id, **fields})
    assert answer.status == 201
    return answer.json()


async def _ids(site: Site, query: str) -> list[str]:
    answer = await site.http.get(f"/v1/threads?order=asc&{query}")
    assert answer.status == 200, answer
    return [thread["thread_id"] for thread in answer.json()["items"]]


async def _texts(site: Site, thread_id: str) -> list[str]:
    items = (await site.http.get(f"/v1/threads/{thread_id}/messages")).json()["items"]
    return [message["content"][0]["text"] for message in items]


# --- threads ----------------------------------------------------------------------------------------------------------


async def test_a_thread_is_changed_part_by_part_and_by_version(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await _made(site, "t", title="old", metadata={"a": 1, "b": 2}, resource_id="r")
        first = await site.http.get("/v1/threads/t")
        changed = await site.http.patch(
            "/v1/threads/t",
            {"title": None, "metadata": {"a": None, "c": 3}},
            headers={"if-match": first.headers["etag"]},
        )
        stale = await site.http.patch("/v1/threads/t", {"title": "x"}, headers={"if-match": first.headers["etag"]})

        assert (changed.status, changed.headers["etag"]) == (200, '"2"')
        body = changed.json()
        assert (body["title"], body["metadata"], body["resource_id"]) == (None, {"b": 2, "c": 3}, "r")
        assert (stale.status, stale.json()["version"]) == (412, 2)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"parent_thread_id": "child"}, 409, "lineage_cycle"),
        ({"parent_thread_id": "t"}, 422, "invalid_request"),
        ({"parent_thread_id": "nowhere"}, 404, "thread_not_found"),
        ({"parent_thread_id": "a b"}, 422, "invalid_id"),
        ({"resource_id": ""}, 422, "invalid_id"),
        ({"metadata": {"k" * 65: 1}}, 422, "invalid_request"),
        ({"metadata": None}, 422, "invalid_request"),
        ({"titel": "x"}, 422, "invalid_request"),
        ({"title": 5}, 422, "invalid_request"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    memory: Store, clock: ManualClock, body: Any, status: int, code: str
) -> None:
    async with served(memory, clock) as site:
        before = await _made(site, "t", title="kept")
        await _made(site, "child", parent_thread_id="t")

        answer = await site.http.patch("/v1/threads/t", body)

        assert (answer.status, answer.json()["code"]) == (status, code)
        assert (await site.http.get("/v1/threads/t")).json() == before


@behaviour("TR-005", "TR-015")
@pytest.mark.parametrize("parent", ["", " ", " a", "a "])
async def test_a_parent_is_an_id_or_none(memory: Store, clock: ManualClock, parent: str) -> None:
    async with served(memory, clock) as site:
        await _made(site, "a")
        await _made(site, "t")

        made = await site.http.post("/v1/threads", {"parent_thread_id": parent})
        changed = await site.http.patch("/v1/threads/t", {"parent_thread_id": parent})

        assert [(each.status, each.json()["code"]) for each in (made, changed)] == [(422, "invalid_id")] * 2


async def test_threads_are_found_by_what_is_said_about_them(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await _made(site, "a", title="My Order", metadata={"tier": "gold", "n": 7})
        await _made(site, "b", parent_thread_id="a", metadata={"tier": "gold"})
        await site.submit("gated", "c")

        assert await _ids(site, "root=true") == ["a", "c"]
        assert await _ids(site, "parent_thread_id=a") == ["b"]
        assert await _ids(site, "q=order") == ["a"]
        assert await _ids(site, "metadata.tier=gold") == ["a", "b"]
        assert await _ids(site, "metadata.tier=gold&metadata.n=7") == ["a"]
        assert await _ids(site, "status=busy") == ["c"]
        both = await site.http.get("/v1/threads?root=true&parent_thread_id=a")
        twice = await site.http.get("/v1/threads?metadata.a=1&metadata.a=2")
        bare = await site.http.get("/v1/threads?metadata=1")
        elsewhere = await site.http.get("/v1/threads/a/messages?metadata.a=1")
        assert [each.status for each in (both, twice, bare, elsewhere)] == [422] * 4
        page = (await site.http.get("/v1/threads?limit=1&metadata.tier=gold")).json()
        other = await site.http.get(f"/v1/threads?limit=1&metadata.tier=silver&cursor={page['next_cursor']}")
        assert other.json()["code"] == "cursor_mismatch"


async def test_a_fork_copies_what_is_read_up_to_a_message(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await _made(site, "t", title="first", metadata={"a": 1}, messages=[{"content": "zero", "message_id": "m0"}])
        await site.finished(await site.submit("talk", "t", input="one"))
        await site.finished(await site.submit("talk", "t", input="two"))
        await site.http.post("/v1/threads/t/messages/m0/hide")

        whole = (await site.http.post("/v1/threads/t/fork", {"thread_id": "copy"})).json()
        part = await site.http.post("/v1/threads/t/fork", {"at_seq": 3, "title": "second"})
        at_hidden = await site.http.post("/v1/threads/t/fork", {"at_seq": 1})
        behind = await site.http.post("/v1/threads/t/fork", {"at_seq": 9})
        unknown = await site.http.post("/v1/threads/t/fork", {"at_message_id": "nope"})
        both = await site.http.post("/v1/threads/t/fork", {"at_message_id": "m0", "at_seq": 1})
        again = await site.http.post("/v1/threads/t/fork", {"thread_id": "copy"})

        said = "The order left today."
        assert (whole["thread_id"], whole["title"], whole["metadata"]) == ("copy", "first", {"a": 1})
        assert await _texts(site, "copy") == ["one", said, "two", said]
        assert (part.status, part.json()["title"]) == (201, "second")
        assert await _texts(site, part.json()["thread_id"]) == ["one", said]
        assert [each.status for each in (at_hidden, behind, unknown, both, again)] == [422, 422, 404, 422, 409]
        assert await _texts(site, "t") == ["one", said, "two", said]
        result = await site.finished(await site.submit("talk", "copy", input="on"))
        assert result["output"] == said


async def test_a_fork_closes_the_calls_that_are_open(store: Store, clock: ManualClock) -> None:
    """At a call whose answers lie behind, a model would be sent what it does not accept."""
    calls = (ToolCall("c1", "look"), ToolCall("c2", "look"))
    turn = Message(id=MessageId("turn"), role=Role.ASSISTANT, content=(Text("wait"),), tool_calls=calls)
    answer = Message(
        id=MessageId("r1"), role=Role.TOOL, content=(Text("1"),), tool_call_id="c1", tool_status=ToolStatus.SUCCESS
    )
    app = Awaken(store=store, clock=clock)
    async with app:
        await app.create_thread("t", messages=[turn, answer])

        fork = await app.fork_thread("t", at_message_id="r1")

        roles = [(message.role, message.tool_status) for message in await app.messages(fork.thread_id)]
        assert roles == [("assistant", None), ("tool", "success"), ("tool", "cancelled")]


@behaviour("TR-019", "TR-020", "TR-021", "TR-023", "TR-024")
async def test_a_thread_is_deleted_with_or_without_its_children(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        for root in ("a", "x"):
            await _made(site, root)
            await _made(site, f"{root}1", parent_thread_id=root)
            await _made(site, f"{root}2", parent_thread_id=f"{root}1")

        refused = await site.http.delete("/v1/threads/a")
        detached = await site.http.delete("/v1/threads/a?child_strategy=detach")
        cascaded = await site.http.delete("/v1/threads/x?child_strategy=cascade")
        again = await site.http.delete("/v1/threads/x")
        unknown = await site.http.delete("/v1/threads/nowhere")
        wrong = await site.http.delete("/v1/threads/a1?child_strategy=kill")

        assert (refused.status, refused.json()["code"], refused.json()["child_thread_id"]) == (
            409,
            "has_children",
            "a1",
        )
        assert [each.status for each in (detached, cascaded, again, unknown, wrong)] == [204, 204, 204, 404, 422]
        assert await _ids(site, "") == ["a1", "a2"]
        assert (await site.http.get("/v1/threads/a1")).json()["parent_thread_id"] is None
        assert (await site.http.get("/v1/threads/a2")).json()["parent_thread_id"] == "a1"


async def test_a_deleted_thread_is_not_there_and_not_made_again(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        assert (await site.http.delete("/v1/threads/t")).status == 204

        for path in ("threads/t", "threads/t/messages", "threads/t/state", "threads/t/events", f"runs/{run['run_id']}"):
            assert (await site.http.get(f"/v1/{path}")).status == 404, path
        body = {"agent_id": "talk", "input": "again", "thread_id": "t", "if_not_exists": "create"}
        submit = await site.http.post("/v1/runs", body)
        create = await site.http.post("/v1/threads", {"thread_id": "t", "if_exists": "do_nothing"})
        assert [(each.status, each.json()["code"]) for each in (submit, create)] == [(410, "thread_deleted")] * 2
        assert await site.stored() == (0, 0)


async def test_a_thread_that_works_is_deleted_by_force(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("gated", "t")
        await site.submit("gated", "t")
        call = await site.world.agent.next_call()

        refused = await site.http.delete("/v1/threads/t")
        done = await site.http.delete("/v1/threads/t?force=true")
        async with asyncio.timeout(20):
            await call.over()

        assert (refused.status, refused.json()["code"], refused.json()["active_run_id"]) == (
            409,
            "thread_busy",
            run["run_id"],
        )
        assert done.status == 204
        await site.world.quiet()
        assert len(site.world.agent.calls) == 1
        assert (await site.submit("talk", "other"))["status"] in ("created", "running")


async def test_an_ephemeral_run_leaves_nothing_behind(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        answer = await site.http.post(
            "/v1/runs/wait", {"agent_id": "talk", "input": "hello", "on_completion": "delete"}
        )
        named = await site.http.post(
            "/v1/threads/t/runs",
            {"agent_id": "talk", "input": "x", "if_not_exists": "create", "on_completion": "delete"},
        )

        assert (answer.status, answer.json()["output"]) == (200, "The order left today.")
        assert (named.status, named.code) == (422, "invalid_request")
        assert await site.stored() == (1, 1)
        await site.world.advance(EPHEMERAL_MS / 1000 + 121)
        assert await site.stored() == (0, 0)


# --- runs -------------------------------------------------------------------------------------------------------------


async def test_runs_are_found_by_how_they_ended_and_what_came_with_them(store: Store, clock: ManualClock) -> None:
    async def failing(ctx: Context) -> None:
        raise ValueError("no")

    async with served(store, clock, agents={"failing": failing}) as site:
        good = await site.submit("talk", "a", metadata={"order": 1})
        bad = await site.submit("failing", "b", max_attempts=1)
        open_run = await site.submit("gated", "c")
        for run in (good, bad):
            await site.finished(run)

        async def found(query: str) -> list[str]:
            answer = await site.http.get(f"/v1/runs?order=asc&{query}")
            assert answer.status == 200, answer
            return [run["run_id"] for run in answer.json()["items"]]

        assert await found("failed=true") == [bad["run_id"]]
        assert await found("termination=natural_end") == [good["run_id"]]
        assert await found("phase=running") == [open_run["run_id"]]
        assert await found("metadata.order=1") == [good["run_id"]]
        assert await found(f"id_prefix={good['run_id']}") == [good["run_id"]]
        assert await found("created_after=2100-01-01T00:00:00Z") == []
        assert len(await found("created_before=2100-01-01T00:00:00Z")) == 3
        wrong = await site.http.get("/v1/runs?created_after=yesterday")
        none = await site.http.get("/v1/runs?phase=asleep")
        assert [wrong.status, none.status] == [422, 422]


async def test_several_runs_are_submitted_at_once(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        runs = [{"agent_id": "gated", "input": f"{n}", "thread_id": "t", "if_not_exists": "create"} for n in range(3)]
        answer = await site.http.post(
            "/v1/runs/batch", {"runs": [*runs, {"agent_id": "nobody", "input": "x"}, {"a": 1}]}
        )
        none = await site.http.post("/v1/runs/batch", {"runs": []})
        many = await site.http.post("/v1/runs/batch", {"runs": [runs[0]] * 101})

        items = answer.json()["items"]
        assert [item["problem"] and item["problem"]["code"] for item in items] == [
            None,
            None,
            None,
            "unknown_agent",
            "invalid_request",
        ]
        state = (await site.http.get("/v1/threads/t/state")).json()
        assert state["next"] == [item["run"]["run_id"] for item in items[:3]]
        assert [none.status, many.status] == [422, 422]


async def test_several_runs_are_stopped_at_once(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        done = await site.submit("talk", "done")
        await site.finished(done)
        running = await site.submit("gated", "t")
        queued = await site.submit("gated", "t")
        other = await site.submit("gated", "other")

        async def stop(body: Any) -> Any:
            answer = await site.http.post("/v1/runs/cancel", body)
            assert answer.status == 200, answer
            return {item["run_id"]: item["state"] for item in answer.json()["items"]}

        assert await stop({"thread_id": "t", "status": "queued"}) == {queued["run_id"]: "stopped"}
        named = await stop({"run_ids": [done["run_id"], "unknown", running["run_id"]]})
        assert named == {done["run_id"]: "ended", "unknown": "not_found", running["run_id"]: named[running["run_id"]]}
        assert named[running["run_id"]] in ("requested", "stopped")
        assert list(await stop({"status": "all"}))[-1:] == [other["run_id"]]
        bodies: list[Any] = [{}, {"run_ids": ["a"], "thread_id": "t"}, {"run_ids": []}, {"status": "some"}]
        for body in bodies:
            assert (await site.http.post("/v1/runs/cancel", body)).status == 422, body


async def test_unfinished_runs_are_counted(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.submit("gated", "t")
        await site.submit("gated", "t")
        clock.tick(3)

        summary = (await site.http.get("/v1/runs/summary")).json()

        assert summary == {
            "counts": [
                {"agent_id": "gated", "phase": "queued", "count": 1},
                {"agent_id": "gated", "phase": "running", "count": 1},
            ],
            "oldest_queued_s": 3.0,
        }


async def test_a_run_that_has_ended_is_left_out_of_lists(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        busy = await site.submit("gated", "t")

        answer = await site.http.delete(f"/v1/runs/{run['run_id']}")
        again = await site.http.delete(f"/v1/runs/{run['run_id']}")
        refused = await site.http.delete(f"/v1/runs/{busy['run_id']}")

        assert [answer.status, again.status, refused.status] == [204, 204, 409]
        listed = (await site.http.get("/v1/runs")).json()["items"]
        assert [each["run_id"] for each in listed] == [busy["run_id"]]
        assert (await site.http.get(f"/v1/runs/{run['run_id']}")).status == 200
        assert len(await _texts(site, "t")) == 3


async def test_a_join_waits_without_end_and_keeps_the_connection_alive(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("gated", "t")
        call = await site.world.agent.next_call()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            joining = group.create_task(site.http.get(f"/v1/runs/{run['run_id']}/join"))
            await site.world.advance(100)
            call.release("at last")

        answer = joining.result()
        assert answer.status == 200
        assert answer.body.startswith(b"\n\n\n")
        assert answer.json()["output"] == "at last"
        assert (await site.http.get("/v1/runs/unknown/join")).status == 404


@behaviour("SRV-028")
async def test_a_run_that_nobody_watches_any_more_is_stopped_after_a_while(store: Store, clock: ManualClock) -> None:
    body = {"agent_id": "gated", "input": "x", "run_id": "r1", "on_disconnect": "cancel"}
    async with served(store, clock) as site:
        async with asyncio.timeout(20), site.http.open("POST", "/v1/runs/stream", body) as connection:
            await connection.until("RunStarted")
        await site.world.advance(DISCONNECT_S - 1)
        async with asyncio.timeout(20), site.http.open("GET", "/v1/runs/r1/stream") as connection:
            await connection.until("RunStarted")
            await site.world.advance(DISCONNECT_S + 1)
        assert (await site.http.get("/v1/runs/r1")).json()["cancel_requested_at"] is None

        await site.world.advance(DISCONNECT_S)

        assert (await site.http.get("/v1/runs/r1")).json()["phase"] == "cancelled"
        background = await site.http.post("/v1/runs", {**body, "run_id": "r2"})
        assert (background.status, background.code) == (422, "invalid_request")


async def test_a_run_that_is_watched_to_its_end_is_not_stopped(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        body = {"agent_id": "talk", "input": "x", "run_id": "r1", "on_disconnect": "cancel"}
        answer = await site.http.post("/v1/runs/stream", body)
        await site.world.advance(DISCONNECT_S + 1)

        assert answer.status == 200
        assert (await site.http.get("/v1/runs/r1")).json()["phase"] == "completed"


async def test_a_program_does_the_same(store: Store, clock: ManualClock) -> None:
    app = Awaken(store=store, clock=clock)

    async def quick(ctx: Context) -> str:
        return "fine"

    app.agent("quick", quick)
    async with app:
        run = await app.run("t", "hello", metadata={"order": 1})
        await app.create_thread("child", parent_thread_id="t")
        changed = await app.edit_thread("t", title="new", metadata={"a": 1}, if_version=1)
        assert (changed.title, changed.metadata) == ("new", {"a": 1})
        with pytest.raises(StaleVersion):
            await app.edit_thread("t", title="x", if_version=1)
        with pytest.raises(LineageCycle):
            await app.edit_thread("t", parent_thread_id="child")
        assert [thread.thread_id for thread in await app.list_threads(parent_thread_id="t")] == ["child"]
        assert [each.run_id for each in await app.list_runs(metadata={"order": "1"}, phase="completed")] == [run.run_id]
        assert await app.list_runs(failed=True, created_after="2100-01-01T00:00:00Z") == []
        assert (await app.run_summary()).counts == ()
        assert [each.state for each in await app.cancel_runs(run_ids=[run.run_id])] == ["ended"]
        fork = await app.fork_thread("t", title="copy")
        assert (fork.title, fork.message_count) == ("copy", 2)
        await app.hide_run(run.run_id)
        assert await app.list_runs() == []
        with pytest.raises(HasChildThreads):
            await app.delete_thread("t")
        await app.delete_thread("t", child_strategy="cascade")
        with pytest.raises(ThreadNotFound):
            await app.get_thread("child")
        with pytest.raises(ThreadGone):
            await app.submit("t", "again")
        with pytest.raises(RunNotFound):
            await app.hide_run(run.run_id)
        with pytest.raises(ValidationError):
            await app.cancel_runs()
        with pytest.raises(ValidationError):
            await app.list_runs(phase="asleep")
        with pytest.raises(ValidationError):
            await app.delete_thread("x", child_strategy="kill")  # pyright: ignore[reportArgumentType]
