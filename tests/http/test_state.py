"""The state of a thread and its view, over HTTP and in a program."""

from __future__ import annotations

from typing import Any

import pytest

from awaken import Awaken, ClientTool, Context, Limits
from awaken.domain.errors import MessageNotFound, RunNotOpen, StaleVersion, ThreadNotFound, ValidationError
from awaken.domain.message import Role
from awaken.domain.state import StateTooLarge
from awaken.store.contract import Store
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served


async def _texts(site: Site, query: str = "") -> list[str]:
    answer = await site.http.get(f"/v1/threads/t/messages{query}")
    return [message["content"][0]["text"] for message in answer.json()["items"]]


async def test_a_state_is_read_and_changed_with_its_version(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        first = await site.http.get("/v1/threads/t/state")
        changed = await site.http.patch("/v1/threads/t/state", {"values": {"a": {"b": 1}, "c": 2}})
        again = await site.http.patch(
            "/v1/threads/t/state", {"values": {"a": None}}, headers={"if-match": changed.headers["etag"]}
        )
        stale = await site.http.patch("/v1/threads/t/state", {"values": {"a": 3}}, headers={"if-match": '"1"'})

        assert (first.status, first.headers["etag"]) == (200, '"0"')
        assert first.json() | {"cursor": ""} == {
            "values": {}, "version": 0, "tickets": [], "pending": [], "next": [], "cursor": "",
        }  # fmt: skip
        assert (changed.json()["values"], changed.headers["etag"]) == ({"a": {"b": 1}, "c": 2}, '"1"')
        assert (again.json()["values"], again.json()["version"]) == ({"c": 2}, 2)
        assert (stale.status, stale.json()["code"], stale.json()["version"]) == (412, "precondition_failed", 2)
        events = await site.http.get("/v1/threads/t/events?kinds=StateDeltaObserved")
        assert [event["payload"]["version"] for event in events.json()["items"]] == [1, 2]
        assert events.json()["next_cursor"] == again.json()["cursor"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ({"values": {"a": "x" * 262_144}}, {}, 422, "state_too_large"),
        ({"values": []}, {}, 422, "invalid_request"),
        ({}, {}, 422, "invalid_request"),
        ({"values": {}, "more": 1}, {}, 422, "invalid_request"),
        ({"values": {"a": 1}}, {"if-match": "latest"}, 422, "invalid_request"),
        ({"values": {"a": 1}}, {"if-match": '"1", "2"'}, 422, "invalid_request"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    memory: Store, clock: ManualClock, body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    async with served(memory, clock) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})

        answer = await site.http.patch("/v1/threads/t/state", body, headers=headers)

        assert (answer.status, answer.json()["code"]) == (status, code)
        assert (await site.http.get("/v1/threads/t/state")).json()["version"] == 0


async def test_a_state_larger_than_it_may_be_is_refused(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        await site.http.patch("/v1/threads/t/state", {"values": {"a": "x" * 200_000}})

        answer = await site.http.patch("/v1/threads/t/state", {"values": {"b": "x" * 200_000}})

        assert (answer.status, answer.json()["code"]) == (422, "state_too_large")
        assert (await site.http.get("/v1/threads/t/state")).json()["version"] == 1


async def test_a_thread_that_does_not_exist_has_no_state(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        assert (await site.http.get("/v1/threads/t/state")).json()["code"] == "thread_not_found"
        answer = await site.http.patch("/v1/threads/t/state", {"values": {}})
        assert answer.json()["code"] == "thread_not_found"


async def test_what_goes_on_next_is_part_of_the_snapshot(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        runs = [await site.submit("gated", "t", state={"n": number}) for number in range(3)]

        state = (await site.http.get("/v1/threads/t/state")).json()

        assert state["next"] == [run["run_id"] for run in runs]
        assert state["values"] == {"n": 0}


async def test_what_waits_for_a_run_is_part_of_the_snapshot(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("gated", "t", input="one")
        await site.world.agent.next_call()
        sent = await site.http.post("/v1/threads/t/messages", {"messages": [{"content": "two"}], "mode": "steer"})
        assert (sent.status, sent.json()["path"]) == (202, "steered")

        [pending] = (await site.http.get("/v1/threads/t/state")).json()["pending"]

        assert (pending["run_id"], pending["boundary"], pending["position"]) == (run["run_id"], "next_step", 1)
        assert pending["content"] == [{"type": "text", "text": "two"}]


async def test_a_run_is_rolled_back_out_of_the_view(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.finished(await site.submit("talk", "t", input="one"))
        run = await site.submit("gated", "t", input="two")
        await site.world.agent.next_call()

        answer = await site.http.post(f"/v1/runs/{run['run_id']}/cancel?action=rollback&wait=true")
        again = await site.http.post(f"/v1/runs/{run['run_id']}/cancel?action=rollback")
        plain = await site.http.post(f"/v1/runs/{run['run_id']}/cancel")

        assert (answer.status, answer.json()["state"]) == (200, "stopped")
        assert (again.status, plain.status) == (200, 200)
        assert await _texts(site) == ["one", "The order left today."]
        assert await _texts(site, "?view=log") == ["one", "The order left today.", "two"]
        assert await _texts(site, "?order=desc&limit=1") == ["The order left today."]
        events = (await site.http.get("/v1/threads/t/events?kinds=MessagesHidden")).json()["items"]
        assert [event["payload"] for event in events] == [{"first_seq": 3, "last_seq": 3, "why": "rolled_back"}]


async def test_a_run_that_has_ended_is_not_rolled_back(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)

        answer = await site.http.post(f"/v1/runs/{run['run_id']}/cancel?action=rollback")
        unknown = await site.http.post(f"/v1/runs/{run['run_id']}/cancel?action=undo")

        assert (answer.status, answer.json()["code"]) == (409, "run_not_open")
        assert unknown.status == 422
        assert len(await _texts(site)) == 2


async def test_a_message_over_which_runs_fail_is_hidden_from_the_next_run(store: Store, clock: ManualClock) -> None:
    heard: list[list[str]] = []

    async def reader(ctx: Context) -> str:
        texts = [message.text for message in await ctx.messages()]
        heard.append(texts)
        if "poison" in texts:
            raise ValueError("I cannot read this")
        return "fine"

    async with served(store, clock, agents={"reader": reader}) as site:
        poison = {"content": "poison", "message_id": "bad"}
        await site.finished(await site.submit("reader", "t", input=None, messages=[poison], max_attempts=1))
        answer = await site.http.post("/v1/threads/t/messages/bad/hide")
        again = await site.http.post("/v1/threads/t/messages/bad/hide")
        result = await site.finished(await site.submit("reader", "t", input="hello"))

        assert answer.json() == {"spans": [{"first_seq": 1, "last_seq": 1, "why": "hidden"}]}
        assert (again.status, again.json()) == (200, {"spans": []})
        assert (result["output"], heard[-1]) == ("fine", ["hello"])
        assert await _texts(site) == ["hello", "fine"]


async def test_only_what_is_there_can_be_hidden(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        nowhere = await site.http.post("/v1/threads/t/messages/m/hide")
        await site.submit("gated", "t")
        unknown = await site.http.post("/v1/threads/t/messages/m/hide")
        no_id = await site.http.post("/v1/threads/t/messages/a%20b/hide")

        assert [each.json()["code"] for each in (nowhere, unknown, no_id)] == [
            "thread_not_found",
            "message_not_found",
            "invalid_id",
        ]


async def test_what_a_submit_says_reaches_the_agent(store: Store, clock: ManualClock) -> None:
    seen: dict[str, Any] = {}

    async def agent(ctx: Context) -> str:
        options = ctx.request.options
        seen.update(
            tools=options.client_tools,
            overrides=options.overrides,
            limits=options.limits,
            state=await ctx.state.values(),
            roles=[(message.role, message.text) for message in await ctx.messages()],
            input=await ctx.input(),
        )
        await ctx.state.patch({"answered": True})
        return "ok"

    asked = {
        "client_tools": [{"name": "beep", "parameters": {"type": "object"}}],
        "overrides": {"temperature": 0},
        "limits": {"max_steps": 3, "max_total_tokens": 1_000},
        "state": {"plan": "free"},
        "context": {"page": "/cart"},
    }
    async with served(store, clock, agents={"asked": agent}) as site:
        await site.finished(await site.submit("asked", "t", input="hello", **asked))

        assert seen == {
            "tools": (ClientTool("beep", parameters={"type": "object"}),),
            "overrides": {"temperature": 0},
            "limits": Limits(max_steps=3, max_total_tokens=1_000),
            "state": {"plan": "free"},
            "roles": [(Role.SYSTEM, '{"page":"/cart"}'), (Role.USER, "hello")],
            "input": "hello",
        }
        assert await _texts(site) == ["hello", "ok"]
        state = (await site.http.get("/v1/threads/t/state")).json()
        assert (state["values"], state["version"]) == ({"plan": "free", "answered": True}, 2)


async def test_a_repeated_submit_with_a_context_is_the_same_run(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        named = {"input": None, "messages": [{"content": "a", "message_id": "m1"}], "context": "from the cart"}
        first = await site.submit("gated", "t", **named)
        again = await site.submit("gated", "t", **named)
        by_id = await site.submit("gated", "t", input="x", context="y", run_id="r1")
        same = await site.submit("gated", "t", input="x", context="y", run_id="r1")

        assert first["run_id"] == again["run_id"]
        assert by_id["run_id"] == same["run_id"] == "r1"
        assert len((await site.http.get("/v1/threads/t/runs")).json()["items"]) == 2


async def test_a_run_ends_when_it_has_used_up_its_steps(store: Store, clock: ManualClock) -> None:
    async def counting(ctx: Context) -> None:
        number = 0
        while True:
            number += 1
            await ctx.step("count", lambda number=number: number)
            await ctx.emit(f"{number} ")

    async with served(store, clock, agents={"counting": counting}) as site:
        result = await site.finished(await site.submit("counting", "t", limits={"max_steps": 2}))

        termination = result["run"]["termination"]
        assert (termination["type"], termination["code"], result["run"]["steps"]) == ("stopped", "max_steps", 2)
        assert (result["run"]["phase"], result["output"]) == ("stopped", "1 2 ")


async def test_a_program_does_the_same(store: Store, clock: ManualClock) -> None:
    app = Awaken(store=store, clock=clock)

    async def quick(ctx: Context) -> str:
        await ctx.state.set("ran", True)
        return "fine"

    app.agent("quick", quick)
    async with app:
        run = await app.run("t", "hello", state={"plan": "free"}, context="be brief")
        state = await app.get_state("t")
        assert (state.values, state.version, state.next) == ({"plan": "free", "ran": True}, 2, ())
        changed = await app.patch_state("t", {"plan": None}, if_version=2)
        assert changed.values == {"ran": True}
        with pytest.raises(StaleVersion) as stale:
            await app.patch_state("t", {"plan": "x"}, if_version=2)
        assert stale.value.version == 3
        with pytest.raises(StateTooLarge):
            await app.patch_state("t", {"plan": "x" * 300_000})
        with pytest.raises(ValidationError):
            await app.patch_state("t", {"plan": float("nan")})
        with pytest.raises(ThreadNotFound):
            await app.get_state("nowhere")
        [said, answer] = await app.messages("t")
        hidden = await app.hide_message("t", answer.message_id)
        assert [(span.first_seq, span.last_seq) for span in hidden.spans] == [(3, 3)]
        assert [message.message_id for message in await app.messages("t")] == [said.message_id]
        assert len(await app.messages("t", view="log")) == 2
        with pytest.raises(MessageNotFound):
            await app.hide_message("t", "unknown")
        with pytest.raises(RunNotOpen):
            await app.cancel(run.run_id, action="rollback")
        with pytest.raises(ValidationError):
            await app.messages("t", view="raw")  # pyright: ignore[reportArgumentType]
