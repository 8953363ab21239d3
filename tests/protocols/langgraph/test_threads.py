"""Threads, their state and their history, and what runs do beside one another, with the stock clients."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client

from awaken.testing.behaviour import behaviour
from tests.protocols.langgraph.server import GO, Live, live, said


async def begun(site: Live, thread_id: str) -> Any:
    """A run of `gated`, which has said something and waits at its gate."""
    run = await site.client.runs.create(thread_id, "gated", input=GO)
    async for part in site.client.runs.join_stream(thread_id, run["run_id"], stream_mode="messages-tuple"):
        if part.event == "messages":
            return run
    raise AssertionError("it said nothing")


@behaviour("SRV-037")
async def test_threads_are_searched_counted_changed_copied_and_deleted() -> None:
    async with asyncio.timeout(60), live() as site:
        threads, runs = site.client.threads, site.client.runs
        one = await threads.create(thread_id="one", metadata={"who": "me", "n": 1}, graph_id="text")
        assert one["status"] == "idle"
        assert (await threads.create(thread_id="one", if_exists="do_nothing"))["metadata"]["who"] == "me"
        with pytest.raises(httpx.HTTPStatusError, match="exists already"):
            await threads.create(thread_id="one")
        await threads.create(thread_id="two", metadata={"who": "you"})
        await runs.wait("two", "approval", input=GO)
        assert [each["thread_id"] for each in await threads.search(metadata={"who": "me", "n": 1})] == ["one"]
        assert [each["thread_id"] for each in await threads.search(status="interrupted")] == ["two"]
        assert [each["thread_id"] for each in await threads.search(sort_by="thread_id", sort_order="asc")] == [
            "one",
            "two",
        ]
        assert [each["thread_id"] for each in await threads.search(metadata={"graph_id": "approval"})] == ["two"]
        assert await threads.search(limit=1, offset=5) == []
        assert await threads.search(ids=["two", "none"], select=["thread_id"]) == [{"thread_id": "two"}]
        assert await threads.count(status="idle") == 1
        assert (await threads.update("one", metadata={"more": True}))["metadata"]["more"] is True
        copy = await threads.copy("two")
        assert len((await threads.get_state(copy["thread_id"]))["values"]["messages"]) == 3, "its open call is closed"
        await threads.delete("two")
        with pytest.raises(httpx.HTTPStatusError, match="no thread"):
            await threads.get("two")
        assert await threads.prune(["one", "none"]) == {"pruned_count": 1}


@behaviour("SRV-037")
async def test_a_state_is_updated_and_history_has_one_for_each_run() -> None:
    async with asyncio.timeout(60), live() as site:
        threads, runs = site.client.threads, site.client.runs
        await threads.create(thread_id="t")
        assert await threads.get_history("t") == []
        assert (await threads.get_state("t"))["values"] == {"messages": []}
        first = await runs.create("t", "text", input=GO)
        await runs.join("t", first["run_id"])
        second = await runs.create("t", "state", input=said("Again."))
        await runs.join("t", second["run_id"])
        updated = await threads.update_state("t", {"messages": [{"role": "user", "content": "By the way."}], "x": 1})
        assert updated["checkpoint"]["checkpoint_id"] == second["run_id"]

        newest, oldest = await threads.get_history("t")

        assert newest["checkpoint"]["checkpoint_id"] == second["run_id"]
        assert newest["parent_checkpoint"]["checkpoint_id"] == first["run_id"]
        assert newest["values"] == (await threads.get_state("t"))["values"]
        assert newest["values"]["colour"] == "blue"
        assert newest["values"]["x"] == 1
        assert newest["values"]["messages"][-1]["content"] == "By the way."
        assert oldest["parent_checkpoint"] is None
        assert [each["content"] for each in oldest["values"]["messages"]] == ["Go on.", "Hello there. All is well."]
        assert await threads.get_state("t", checkpoint_id=first["run_id"]) == oldest
        assert await threads.get_history("t", before=second["run_id"], limit=5) == [oldest]


@behaviour("SRV-037")
async def test_history_has_no_state_twice_where_a_run_waits_beside_others() -> None:
    async with asyncio.timeout(60), live() as site:
        threads, runs = site.client.threads, site.client.runs
        await threads.create(thread_id="t")
        first = await runs.create("t", "text", input=GO)
        await runs.join("t", first["run_id"])
        waiting = await runs.create("t", "approval", input=said("Pay."))
        await runs.join("t", waiting["run_id"])
        other = await runs.create("t", "text", input=said("Meanwhile."), metadata={"own": True})
        await runs.join("t", other["run_id"])
        later = await runs.create("t", "text", input=said("Later."), after_seconds=1000, metadata={"own": True})
        assert (await threads.get_state("t"))["checkpoint"]["checkpoint_id"] in (waiting["run_id"], other["run_id"])
        history = await threads.get_history("t")
        assert [each["checkpoint"]["checkpoint_id"] for each in history] == [
            each["run_id"] for each in (other, waiting, first)
        ]
        assert [each["parent_checkpoint"] and each["parent_checkpoint"]["checkpoint_id"] for each in history] == [
            waiting["run_id"],
            first["run_id"],
            None,
        ]
        await runs.cancel("t", later["run_id"], wait=True)
        assert (await threads.get("t"))["status"] == "interrupted"
        assert (await threads.get_state("t"))["checkpoint"]["checkpoint_id"] == waiting["run_id"]


@behaviour("SRV-037")
async def test_every_strategy_has_its_way_with_a_busy_thread() -> None:
    async with asyncio.timeout(60), live() as site:
        threads, runs = site.client.threads, site.client.runs
        for name in ("reject", "enqueue", "interrupt", "rollback"):
            await threads.create(thread_id=name)
            busy = await begun(site, name)
            assert (await threads.get(name))["status"] == "busy"
            if name == "reject":
                with pytest.raises(httpx.HTTPStatusError, match="in the hands of"):
                    await runs.create(name, "text", input=said("Now."), multitask_strategy=name)
                site.gates[name].set()
                await runs.join(name, busy["run_id"])
                continue
            run = await runs.create(name, "text", input=said("Now."), multitask_strategy=name)
            if name == "enqueue":
                [pending] = await runs.list(name, status="pending", select=["run_id", "kwargs"])
                assert pending["kwargs"]["input"]["messages"][0]["content"] == "Now."
                site.gates[name].set()
            values = await runs.join(name, run["run_id"])
            assert values["messages"][-1]["content"] == "Hello there. All is well."
            stopped = await runs.get(name, busy["run_id"])
            assert stopped["status"] == ("success" if name == "enqueue" else "interrupted")
            texts = [each["content"] for each in values["messages"]]
            assert ("Go on." in texts) is (name != "rollback")


@behaviour("SRV-037")
async def test_runs_are_cancelled_one_by_one_or_together() -> None:
    async with asyncio.timeout(60), live() as site:
        threads, runs = site.client.threads, site.client.runs
        await threads.create(thread_id="t")
        run = await begun(site, "t")
        queued = await runs.create("t", "text", input=said("Later."))
        await runs.cancel("t", queued["run_id"])
        await runs.cancel("t", run["run_id"], wait=True)
        assert (await runs.get("t", run["run_id"]))["status"] == "interrupted"
        await runs.cancel("t", run["run_id"])
        seen = [part.event async for part in runs.join_stream("t", run["run_id"])]
        assert (seen[0], seen[-1]) == ("metadata", "end")
        await threads.create(thread_id="u")
        other = await begun(site, "u")
        await runs.cancel_many(thread_id="u", status="all")
        await runs.join("u", other["run_id"])
        assert (await runs.get("u", other["run_id"]))["status"] == "interrupted"


@behaviour("SRV-037")
async def test_runs_without_a_thread_many_at_once_and_later() -> None:
    async with asyncio.timeout(60), live() as site:
        runs = site.client.runs
        payload = {"assistant_id": "text", "input": GO}
        batch = await runs.create_batch([payload, payload])
        assert len({each["thread_id"] for each in batch}) == 2
        for each in batch:
            await runs.join(each["thread_id"], each["run_id"])
        with pytest.raises(httpx.HTTPStatusError, match="no agent has the id"):
            await runs.create_batch([payload, {"assistant_id": "nobody", "input": GO}])
        later = await runs.create(None, "text", input=GO, after_seconds=1000)
        assert (await runs.get(later["thread_id"], later["run_id"]))["status"] == "pending"
        seen = [part.event async for part in runs.stream(None, "text", input=GO, stream_mode="updates")]
        assert seen == ["metadata", "updates", "end"]


@behaviour("SRV-037")
async def test_a_thread_is_followed_from_one_run_to_the_next() -> None:
    async with asyncio.timeout(60), live() as site:
        threads, runs = site.client.threads, site.client.runs
        await threads.create(thread_id="t")
        await begun(site, "t")
        seen: list[str] = []
        async for part in await threads.join_stream("t"):
            seen.append(part.event)
            if part.event == "updates" and seen.count("run_done") == 0:
                await runs.create("t", "text", input=said("And?"))
            if not site.gates["t"].is_set():
                site.gates["t"].set()
            if seen.count("run_done") == 2:
                break
        assert seen.count("metadata") == 2
        assert seen[-1] == "run_done"


@behaviour("SRV-037")
async def test_assistants_are_the_agents_and_the_synchronous_client_works_too() -> None:
    async with asyncio.timeout(60), live() as site:
        await asyncio.to_thread(synchronously, site.url)


def synchronously(url: str) -> None:
    client: Any = get_sync_client(url=url, api_key=None)
    found = client.assistants.search(graph_id="text", response_format="object")
    [assistant] = found["assistants"]
    assert found["next"] is None
    assert client.assistants.get(assistant["assistant_id"]) == assistant == client.assistants.get("text")
    assert client.assistants.create("text") == assistant
    assert client.assistants.count() > 20
    assert client.assistants.get_schemas("text")["graph_id"] == "text"
    assert [node["id"] for node in client.assistants.get_graph("text")["nodes"]] == ["__start__", "text", "__end__"]
    assert client.assistants.get_subgraphs("text") == {}
    thread_id = client.threads.create()["thread_id"]
    seen = list(client.runs.stream(thread_id, assistant["assistant_id"], input=GO, stream_mode="messages-tuple"))
    assert (
        "".join([part.data[0]["content"] for part in seen if part.event == "messages"]) == "Hello there. All is well."
    )
    values = client.runs.wait(thread_id, "ask", input=GO)
    [asked] = values["__interrupt__"]
    assert asked["value"]["message"] == "Who are you?"
    values = client.runs.wait(thread_id, "ask", command={"resume": {asked["id"]: "Ann"}})
    assert values["messages"][-1]["content"].endswith("Hello Ann.")
    client.close()
