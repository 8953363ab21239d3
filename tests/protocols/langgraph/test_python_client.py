"""LangGraph's Python client against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from awaken import Context
from awaken.testing.behaviour import behaviour
from tests.protocols.langgraph.server import GO, Live, live, said


async def streamed(site: Live, thread_id: str | None, agent: str, **more: Any) -> list[tuple[str, Any]]:
    more.setdefault("input", GO if "command" not in more else None)
    return [(part.event, part.data) async for part in site.client.runs.stream(thread_id, agent, **more)]


@behaviour("SRV-037")
async def test_a_thread_is_made_and_an_answer_streamed() -> None:
    async with asyncio.timeout(30), live() as site:
        thread = await site.client.threads.create(metadata={"who": "me"})
        seen = await streamed(site, thread["thread_id"], "text", stream_mode=["values", "messages-tuple"])
        assert seen[0][0] == "metadata"
        assert seen[-1] == ("end", None)
        text = "".join([data[0]["content"] for event, data in seen if event == "messages"])
        assert text == "Hello there. All is well."
        values = [data for event, data in seen if event == "values"]
        assert [each["type"] for each in values[-1]["messages"]] == ["human", "ai"]
        state = await site.client.threads.get_state(thread["thread_id"])
        assert state["values"] == values[-1]
        assert state["next"] == []


def text_of(values: Any) -> str:
    content = values["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join([each.get("text", "") for each in content])


@behaviour("SRV-037")
async def test_a_run_in_the_background_is_joined_listed_and_read() -> None:
    async with asyncio.timeout(30), live() as site:
        runs = site.client.runs
        thread_id = (await site.client.threads.create())["thread_id"]
        created: list[Any] = []
        run = await runs.create(thread_id, "tool", input=GO, metadata={"n": 1}, on_run_created=created.append)
        assert created == [{"run_id": run["run_id"], "thread_id": thread_id}]
        assert run["status"] in ("pending", "running", "success")

        values = await runs.join(thread_id, run["run_id"])

        assert text_of(values) == "Otter means something."
        assert [each["type"] for each in values["messages"]] == ["human", "ai", "tool", "ai"]
        assert values["messages"][2]["name"] == "look_up"
        assert (await runs.get(thread_id, run["run_id"]))["status"] == "success"
        [listed] = await runs.list(thread_id, status="success", select=["run_id", "status"])
        assert listed == {"run_id": run["run_id"], "status": "success"}
        assert await runs.list(thread_id, status="pending") == []
        await runs.delete(thread_id, run["run_id"])
        assert await runs.list(thread_id) == []


@behaviour("SRV-037")
async def test_a_run_is_waited_for_and_what_fails_is_raised() -> None:
    async with asyncio.timeout(30), live() as site:
        values = await site.client.runs.wait(None, "text", input=GO)
        assert text_of(values) == "Hello there. All is well."
        thread_id = (await site.client.threads.create())["thread_id"]
        with pytest.raises(Exception, match="it cannot be done"):
            await site.client.runs.wait(thread_id, "failing", input=GO)
        assert (await site.client.threads.get(thread_id))["status"] == "error"
        seen = await streamed(site, thread_id, "failing")
        assert seen[-1][0] == "error"
        assert seen[-1][1]["message"] == "it cannot be done"
        seen = await streamed(site, thread_id, "dead")
        assert seen[-1][0] == "error"


@behaviour("LG-004")
async def test_an_interrupt_is_resumed_with_one_value() -> None:
    async with asyncio.timeout(30), live() as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        seen = await streamed(site, thread_id, "approval", stream_mode=["values", "updates"])
        [interrupt] = seen[-2][1]["__interrupt__"]
        assert interrupt["value"]["action_requests"] == [
            {"name": "pay", "args": {"amount": 5}, "description": "Pay this?"}
        ]
        thread = await site.client.threads.get(thread_id)
        assert thread["status"] == "interrupted"
        assert [each["id"] for listed in thread["interrupts"].values() for each in listed] == [interrupt["id"]]
        state = await site.client.threads.get_state(thread_id)
        assert state["next"] == ["approval"]
        assert state["tasks"][0]["interrupts"] == [interrupt]
        [run] = await site.client.runs.list(thread_id)
        assert run["status"] == "interrupted"

        decided = {"decisions": [{"type": "approve"}]}
        seen = await streamed(site, thread_id, "approval", command={"resume": decided})

        assert seen[0] == ("metadata", {"run_id": run["run_id"], "attempt": 1, "message_ids": []})
        assert text_of(seen[-2][1]) == "That is settled."
        assert seen[-2][1]["messages"][-2]["content"] == "paid 5"
        assert [each["status"] for each in await site.client.runs.list(thread_id)] == ["success"]


@behaviour("LG-003", "LG-004")
@pytest.mark.parametrize("name", ["pay", "refund"])
async def test_a_call_is_edited_and_stays_the_one_that_it_is(name: str) -> None:
    async with asyncio.timeout(30), live() as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        await site.client.runs.wait(thread_id, "approval", input=GO)
        for edited in (
            {"type": "edit", "edited_action": {"name": name, "args": {"amount": 1}}},
            {"type": "edit", "args": {"action": name, "args": {"amount": 1}}},
        ):
            resume = {"resume": {"decisions": [edited]}}
            if name == "pay":
                last = await site.client.runs.wait(thread_id, "approval", command=resume)
                assert last["messages"][-2]["content"] == "paid 1"
                break
            with pytest.raises(httpx.HTTPStatusError, match="422"):
                await site.client.runs.wait(thread_id, "approval", command=resume)
            assert (await site.client.threads.get(thread_id))["status"] == "interrupted"


@behaviour("SRV-037", "LG-001")
async def test_a_value_that_an_agent_returns_is_in_what_is_waited_for_streamed_and_read_later() -> None:
    value = {"answer": 42, "units": ["otters"]}
    async with asyncio.timeout(30), live() as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        waited = await site.client.runs.wait(thread_id, "data", input=GO)
        assert waited["__output__"] == value
        seen = await streamed(site, thread_id, "data", stream_mode=["values", "updates", "custom"])
        assert [data for event, data in seen if event == "values"][-1]["__output__"] == value
        assert [data for event, data in seen if event == "updates"][-1] == {"data": {"__output__": value}}
        assert ("custom", {"type": "output", "value": value}) in seen
        assert (await site.client.threads.get_state(thread_id))["values"]["__output__"] == value
        await site.client.runs.wait(thread_id, "text", input=GO)
        now, *before = await site.client.threads.get_history(thread_id)
        assert "__output__" not in now["values"]
        assert [each["values"]["__output__"] for each in before] == [value, value]


@behaviour("SRV-037", "LG-001")
async def test_who_follows_a_run_is_told_that_a_run_of_it_waits_for_somebody_and_for_what() -> None:
    async def parent(context: Context) -> Any:
        return await context.call("ask", "Go on.")

    async with asyncio.timeout(30), live(parent=parent) as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        seen: list[tuple[str, Any]] = []
        modes = ["custom", "lifecycle"]
        async for part in site.client.runs.stream(thread_id, "parent", input=GO, stream_mode=modes):
            seen.append((part.event, part.data))
            if part.event == "custom" and part.data["type"] == "child_suspended":
                [ticket_id] = part.data["ticket_ids"]
                await site.app.decide(ticket_id, "answer", result="Ada")
        child = [data["event"] for event, data in seen if event.startswith("lifecycle|")]
        assert child == ["started", "interrupted", "completed"]
        assert seen[-1] == ("end", None)


@behaviour("SRV-037")
async def test_why_a_run_has_failed_is_read_later_too() -> None:
    async with asyncio.timeout(30), live() as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        seen = await streamed(site, thread_id, "failing", stream_mode=["lifecycle"])
        assert [data["event"] for event, data in seen if event == "lifecycle"] == ["started", "failed"]
        assert (await site.client.threads.get(thread_id))["error"] == "it cannot be done"
        [task] = (await site.client.threads.get_state(thread_id))["tasks"]
        assert task["error"] == "it cannot be done"
        seen = await streamed(site, thread_id, "text", stream_mode=["lifecycle"])
        assert [data["event"] for event, data in seen if event == "lifecycle"] == ["started", "completed"]
        assert (await site.client.threads.get(thread_id))["error"] is None
        seen = await streamed(site, thread_id, "approval", stream_mode=["lifecycle"])
        assert [data["event"] for event, data in seen if event == "lifecycle"] == ["started", "interrupted"]


@behaviour("LG-004")
async def test_interrupts_are_resumed_each_by_its_id_also_one_after_the_other() -> None:
    async with asyncio.timeout(30), live() as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        first = await site.client.runs.wait(thread_id, "mixed", input=GO)
        asked = {each["value"].get("type", "approval"): each["id"] for each in first["__interrupt__"]}
        assert len(asked) == 2
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            await site.client.runs.wait(thread_id, "mixed", command={"resume": "blue"})

        seen = await streamed(site, thread_id, "mixed", command={"resume": {asked["input"]: "blue"}})
        assert [each["id"] for each in seen[-2][1]["__interrupt__"]] == [asked["approval"]]
        last = await site.client.runs.wait(thread_id, "mixed", command={"resume": {asked["approval"]: False}})

        assert text_of(last) == "All is settled."
        results = {each["name"]: each for each in last["messages"] if each["type"] == "tool"}
        assert results["ask_colour"]["content"] == "the colour is blue"
        with pytest.raises(httpx.HTTPStatusError, match="409"):
            await site.client.runs.wait(thread_id, "mixed", command={"resume": "blue"})


@behaviour("LG-002", "LG-004")
async def test_who_has_the_end_of_a_turn_is_shown_the_one_that_is_under_way() -> None:
    gate = asyncio.Event()

    async def slow(context: Context) -> str:
        name = await context.ask("Who?", name="who")
        await gate.wait()
        return f"Hello {name}"

    async with asyncio.timeout(30), live(slow=slow) as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        first = [part async for part in site.client.runs.stream(thread_id, "slow", input=GO)]
        run = await site.client.runs.create(thread_id, "slow", command={"resume": "Ann"})
        joining = site.client.runs.join_stream(thread_id, run["run_id"], last_event_id=first[-1].id)
        seen: list[Any] = []
        async for part in joining:
            seen.append(part)
            gate.set()
        assert (seen[0].event, seen[-1].event) == ("metadata", "end")
        assert seen[-2].data["messages"][-1]["content"] == "Hello Ann"


@behaviour("SRV-037", "LG-004")
async def test_a_tool_of_the_client_is_answered_by_resuming_or_with_its_message() -> None:
    brought = {"configurable": {"client_tools": [{"name": "look_around"}]}}
    async with asyncio.timeout(30), live() as site:
        for answers_with_message in (False, True):
            thread_id = (await site.client.threads.create())["thread_id"]
            first = await site.client.runs.wait(thread_id, "client-tool", input=GO, config=brought)
            [asked] = first["__interrupt__"]
            call = asked["value"]["tool_call"]
            assert (asked["value"]["type"], call["name"], call["args"]) == ("tool", "look_around", {"where": "here"})
            if answers_with_message:
                answer = {"type": "tool", "tool_call_id": call["id"], "content": "a lake"}
                given: dict[str, Any] = {"input": {"messages": [*first["messages"], answer]}}
            else:
                given = {"command": {"resume": {asked["id"]: {call["id"]: "a lake"}}}}
            last = await site.client.runs.wait(thread_id, "client-tool", **given)
            assert [each["content"] for each in last["messages"][-2:]] == ["a lake", "The page has answered."]


@behaviour("LG-001")
@pytest.mark.parametrize("agent", ["retried", "approval", "state", "child"])
async def test_values_hold_what_was_said_before_the_run_too(agent: str) -> None:
    async with asyncio.timeout(30), live() as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        before = await site.client.runs.wait(thread_id, "text", input=GO)
        parts = await streamed(site, thread_id, agent, input=said("And now?"))
        if agent == "approval":
            parts += await streamed(site, thread_id, agent, command={"resume": True})
        found = [data["messages"] for event, data in parts if event == "values"]
        for messages in found:
            assert messages[:2] == before["messages"]
            assert len({each["id"] for each in messages}) == len(messages)
        state = await site.client.threads.get_state(thread_id)
        assert state["values"]["messages"] == found[-1]
