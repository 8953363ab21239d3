"""Submitting, reading and waiting for runs."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from awaken.domain.errors import ValidationError
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.store.transitions import Purge
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import all_frames
from tests.http.site import WORDS, served

ASK: Final[dict[str, Any]] = {"agent_id": "talk", "input": "Where is my order?"}

REFUSED: Final[list[tuple[dict[str, Any], str, list[str | int]]]] = [
    ({**ASK, "agent_id": ""}, "unknown_agent", ["body", "agent_id"]),
    ({**ASK, "agent_id": "nobody"}, "unknown_agent", ["body", "agent_id"]),
    ({"input": "hello"}, "unknown_agent", ["body", "agent_id"]),
    ({"agent_id": "talk"}, "invalid_request", ["body", "messages"]),
    ({"agent_id": "talk", "messages": []}, "invalid_request", ["body", "messages"]),
    ({"agent_id": "talk", "input": {"messages": []}}, "invalid_request", ["body", "input", "messages"]),
    ({"agent_id": "talk", "input": {"question": "?"}}, "invalid_request", ["body", "input"]),
    ({**ASK, "agnet": "talk"}, "invalid_request", ["body", "agnet"]),
    ({"messages": [{"content": "x", "colour": "blue"}]}, "invalid_request", ["body", "messages", 0]),
    ({**ASK, "limits": {"max_words": 1}}, "invalid_request", ["body", "limits"]),
    ({**ASK, "limits": {"max_steps": 0}}, "invalid_request", ["body", "limits", "max_steps"]),
    ({**ASK, "limits": {"max_total_tokens": 0}}, "invalid_request", ["body", "limits", "max_total_tokens"]),
    ({**ASK, "client_tools": [{"name": "two words"}]}, "invalid_request", ["body", "client_tools"]),
    ({**ASK, "client_tools": [{"name": "a"}, {"name": "a"}]}, "invalid_request", ["body", "client_tools"]),
    ({**ASK, "client_tools": [{"name": str(n)} for n in range(129)]}, "invalid_request", ["body", "client_tools"]),
    ({**ASK, "overrides": {"long": "x" * 65_536}}, "invalid_request", ["body", "overrides"]),
    ({**ASK, "state": {"long": "x" * 262_144}}, "state_too_large", ["body"]),
    ({**ASK, "state": []}, "invalid_request", ["body", "state"]),
    ({**ASK, "context": ""}, "invalid_request", ["body", "context"]),
    ({**ASK, "limits": {"timeout_s": 0}}, "invalid_request", ["body", "limits"]),
    ({"agent_id": "talk", "input": ""}, "invalid_request", ["body", "input"]),
    ({**ASK, "messages": [{"content": "both"}]}, "invalid_request", ["body", "messages"]),
    (
        {"agent_id": "talk", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        "invalid_request",
        ["body", "messages", 1, "role"],
    ),
    ({"agent_id": "talk", "messages": [{"content": []}]}, "invalid_request", ["body", "messages", 0, "content"]),
    ({"agent_id": "talk", "messages": [{"content": 5}]}, "invalid_request", ["body", "messages", 0, "content"]),
    ({**ASK, "run_id": "../etc"}, "invalid_id", ["body", "run_id"]),
    ({**ASK, "run_id": "stream"}, "invalid_id", ["body", "run_id"]),
    ({**ASK, "thread_id": "a b"}, "invalid_id", ["body", "thread_id"]),
    (
        {"agent_id": "talk", "messages": [{"content": "a", "message_id": "\x00"}]},
        "invalid_id",
        ["body", "messages", 0, "message_id"],
    ),
    ({**ASK, "priority": 256}, "invalid_request", ["body", "priority"]),
    ({**ASK, "max_attempts": 0}, "invalid_request", ["body", "max_attempts"]),
    ({**ASK, "after_seconds": -1}, "invalid_request", ["body", "after_seconds"]),
    ({**ASK, "metadata": {"k" * 65: 1}}, "invalid_request", ["body", "metadata"]),
    ({**ASK, "metadata": {"deep": [{str(n): n for n in range(65)}]}}, "invalid_request", ["body", "metadata"]),
    ({**ASK, "metadata": {"long": "x" * 16_384}}, "invalid_request", ["body", "metadata"]),
    ({**ASK, "if_not_exists": "maybe"}, "invalid_request", ["body", "if_not_exists"]),
    ({**ASK, "multitask_strategy": "fastest"}, "invalid_request", ["body", "multitask_strategy"]),
    ({**ASK, "agentId": "gated"}, "invalid_request", ["body", "agentId"]),
]
"""Bodies, the code of the refusal, and where it says the fault is."""

SAID: Final[list[tuple[dict[str, Any], str]]] = [
    ({"priority": 256}, "priority is a whole number, 0 (first) to 255 (last), and not 256"),
    ({"max_attempts": 101}, "max_attempts is a whole number, 1 to 100, and not 101"),
    ({"dedupe_key": ""}, "dedupe_key is a text of 1 to 255 characters without control characters, not ''"),
    ({"dedupe_key": "a\u0007"}, "dedupe_key is a text of 1 to 255 characters without control characters, not 'a\\x07'"),
    ({"after_seconds": 31_536_001.0}, "a delay is 0 to 31536000 seconds, and not 31536001.0"),
    ({"run_id": "a b"}, "run_id 'a b' is not a valid id; use 1 to 128 characters of A-Z a-z 0-9 . _ : @ -"),
    ({"if_not_exists": "maybe"}, "body.if_not_exists: expected one of create, reject, got 'maybe'"),
    ({"priority": "high"}, "body.priority: expected a whole number or null, got 'high'"),
]
"""Fields, and what is answered; in Python the same is refused in the same words."""

NOT_SERVED: Final[list[tuple[str, Any, str]]] = [
    ("webhook", "https://example.org", "webhook"),
    ("stream", {"channels": []}, "stream"),
]
"""Fields or values of later versions, and the capability that the refusal names."""


@pytest.mark.parametrize(("fields", "words"), SAID)
async def test_a_refusal_names_the_range_or_the_values(
    memory: Store, clock: ManualClock, fields: dict[str, Any], words: str
) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.post("/v1/runs", {**ASK, **fields})
        assert (answer.status, answer.json()["detail"]) == (422, words)
        in_python = {"delay_s" if name == "after_seconds" else name: value for name, value in fields.items()}
        if words.startswith("body.") or "run_id" in fields:
            return
        with pytest.raises(ValidationError) as refused:
            await site.world.submit(**in_python)
        assert str(refused.value) == words


async def test_a_filter_that_knows_no_such_value_lists_those_there_are(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.get("/v1/runs?status=sleeping")
        assert answer.json()["detail"] == (
            "query.status: expected one of created, running, waiting, done, got 'sleeping'"
        )
        answer = await site.http.get("/v1/threads/t/events?channels=noise")
        assert answer.status == 404
        await site.submit("gated", "t")
        answer = await site.http.get("/v1/threads/t/events?channels=noise")
        assert "channels does not know 'noise'; there are: activity, debug, decisions" in answer.json()["detail"]


@behaviour("SRV-001")
async def test_a_streamed_submit_shows_the_run_from_its_start_to_its_end(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        answer = await site.http.post("/v1/runs/stream", ASK)

        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["content-location"] == answer.headers["location"].removesuffix("/stream")
        opened, *events, ended = all_frames(answer.body)
        assert (opened.event, ended.event, ended.json()) == ("stream.open", "stream.end", {"reason": "done"})
        thread_id, run_id = opened.json()["thread_id"], opened.json()["run_id"]
        assert answer.headers["content-location"] == f"/v1/runs/{run_id}"
        assert {(frame.json()["thread_id"], frame.json()["run_id"]) for frame in events} == {(thread_id, run_id)}
        kinds = [frame.event for frame in events]
        assert kinds.index("RunStarted") < kinds.index("TextDeltaObserved")
        assert (kinds[0], kinds[-1]) == ("RunQueued", "RunFinished")
        text = [frame.json()["payload"]["delta"] for frame in events if frame.event == "TextDeltaObserved"]
        assert tuple(text) == WORDS


@behaviour("SRV-001")
@pytest.mark.parametrize("thread_id", [None, "", "  "])
async def test_a_run_without_a_thread_gets_a_new_one(memory: Store, clock: ManualClock, thread_id: str | None) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.post("/v1/runs", {**ASK, "thread_id": thread_id})

        assert answer.status == 202
        thread = await site.http.get(f"/v1/threads/{answer.json()['thread_id']}")
        assert (thread.status, thread.json()["latest_run_id"]) == (200, answer.json()["run_id"])


@behaviour("SRV-002")
@pytest.mark.parametrize("path", ["/v1/runs", "/v1/runs/stream", "/v1/runs/wait", "/v1/threads/new/runs"])
@pytest.mark.parametrize(("body", "code", "loc"), REFUSED)
async def test_a_submit_that_can_never_be_accepted_stores_nothing(
    memory: Store, clock: ManualClock, path: str, body: dict[str, Any], code: str, loc: list[str | int]
) -> None:
    if "/threads/" in path:
        body = {"if_not_exists": "create", **body}
    async with served(memory, clock) as site:
        answer = await site.http.post(path, body)

        assert (answer.status, answer.code) == (422, code), answer.body
        assert answer.json()["errors"][0]["loc"] == loc
        assert await site.stored() == (0, 0)


@behaviour("SRV-002")
@pytest.mark.parametrize("path", ["/v1/runs/stream", "/v1/runs/wait", "/v1/threads/t/runs/wait"])
async def test_a_delay_makes_no_sense_where_somebody_waits(memory: Store, clock: ManualClock, path: str) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.post(path, {**ASK, "if_not_exists": "create", "after_seconds": 5})

        assert (answer.status, answer.json()["errors"][0]["loc"]) == (422, ["body", "after_seconds"])
        assert await site.stored() == (0, 0)


@behaviour("SRV-002")
@pytest.mark.parametrize(("field", "value", "capability"), NOT_SERVED)
async def test_what_this_version_does_not_do_is_refused_by_name(
    memory: Store, clock: ManualClock, field: str, value: Any, capability: str
) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.post("/v1/runs", {**ASK, field: value})

        assert (answer.status, answer.code, answer.json()["capability"]) == (501, "not_supported", capability)
        assert await site.stored() == (0, 0)


async def test_other_names_of_a_field_are_accepted_and_null_is_as_good_as_absent(
    memory: Store, clock: ManualClock
) -> None:
    body = {"assistant_id": "talk", "threadId": "t", "runId": "r", "input": "hello", "if_not_exists": "create"}
    async with served(memory, clock) as site:
        run = (await site.http.post("/v1/runs", {**body, "webhook": None})).json()

        assert (run["agent_id"], run["thread_id"], run["run_id"]) == ("talk", "t", "r")


async def test_a_run_on_a_thread_that_does_not_exist_is_refused_unless_it_may_make_it(
    store: Store, clock: ManualClock
) -> None:
    async with served(store, clock) as site:
        missing = await site.http.post("/v1/threads/t/runs", ASK)
        named = await site.http.post("/v1/runs", {**ASK, "thread_id": "t"})
        assert (missing.code, named.code) == ("thread_not_found", "thread_not_found")
        assert missing.json()["id"] == "t"

        made = await site.http.post("/v1/threads/t/runs", {**ASK, "if_not_exists": "create"})
        assert (made.status, made.json()["thread_id"]) == (202, "t")
        other = await site.http.post("/v1/threads/t/runs", {**ASK, "thread_id": "u"})
        assert (other.status, other.code) == (422, "invalid_request")


async def test_messages_arrive_as_they_were_sent(store: Store, clock: ManualClock) -> None:
    content: list[Any] = [
        {"type": "text", "text": "What is on \U0001f600 this?"},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "aGk="}, "title": "hi"},
    ]
    async with served(store, clock) as site:
        body = {"agent_id": "talk", "messages": [{"id": "m1", "role": "user", "content": content}, {"content": "And?"}]}
        run = (await site.http.post("/v1/runs", body)).json()
        await site.finished(run)

        page = (await site.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()
        first, second, answer = page["items"]
        assert (first["message_id"], first["seq"], first["role"], first["run_id"]) == ("m1", 1, "user", run["run_id"])
        assert first["content"] == content
        assert second["content"] == [{"type": "text", "text": "And?"}]
        assert (answer["role"], answer["content"]) == ("assistant", [{"type": "text", "text": "".join(WORDS)}])
        assert (page["version"], page["has_more"], page["next_cursor"]) == (3, False, None)


async def test_half_characters_in_a_text_are_replaced(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        raw = b'{"agent_id": "talk", "input": "a\\ud800b\\u0000c"}'
        run = (await site.http.post("/v1/runs", raw)).json()

        page = (await site.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()
        assert page["items"][0]["content"][0]["text"] == "a\ufffdb\ufffdc"


async def test_more_attachments_than_allowed_are_refused(memory: Store, clock: ManualClock) -> None:
    image: Any = {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}
    heavy: Any = {"type": "audio", "source": {"type": "base64", "media_type": "audio/wav", "data": "A" * 6_000_000}}
    broken = {"type": "base64", "media_type": "audio/wav", "data": "not base64!"}
    async with served(memory, clock) as site:
        for content in ([image] * 9, [heavy] * 2, [{"type": "audio", "source": broken}]):
            answer = await site.http.post("/v1/runs", {"agent_id": "talk", "messages": [{"content": content}]})
            assert (answer.status, answer.json()["errors"][0]["loc"]) == (422, ["body", "messages"])


@behaviour("SRV-003")
async def test_two_streamed_submits_on_one_thread_run_one_after_the_other(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        first, second = await asyncio.gather(
            site.http.post("/v1/threads/t/runs/stream", ASK), site.http.post("/v1/threads/t/runs/stream", ASK)
        )

        assert [first.status, second.status] == [200, 200]
        for answer in (first, second):
            frames = all_frames(answer.body)
            assert (frames[1].event, frames[-2].event, frames[-1].event) == ("RunQueued", "RunFinished", "stream.end")
        events = (await site.http.get("/v1/threads/t/events?kinds=RunStarted,RunFinished")).json()["items"]
        assert [event["kind"] for event in events] == ["RunStarted", "RunFinished"] * 2


@behaviour("SRV-010")
async def test_a_run_id_sent_again_returns_the_run_it_named(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        body = {**ASK, "run_id": "r1"}
        first = await site.http.post("/v1/runs", body)
        again = await site.http.post("/v1/runs", body)
        streamed = await site.http.post("/v1/runs/stream", body)
        waited = await site.http.post("/v1/runs/wait", body)
        other = await site.http.post("/v1/runs", {**body, "input": "Something else"})
        elsewhere = await site.http.post("/v1/runs", {**body, "thread_id": "t", "if_not_exists": "create"})

        assert (first.status, again.status, again.json()["run_id"]) == (202, 200, "r1")
        assert all_frames(streamed.body)[0].json()["run_id"] == "r1"
        assert (waited.status, waited.json()["run"]["run_id"]) == (200, "r1")
        assert (other.status, other.code, other.json()["id"]) == (409, "already_exists", "r1")
        assert (elsewhere.status, elsewhere.code) == (409, "already_exists")
        assert await site.stored() == (1, 1)


@behaviour("SRV-010")
async def test_messages_that_are_all_known_return_the_run_that_brought_them(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        body: dict[str, Any] = {"agent_id": "talk", "messages": [{"id": "m1", "content": "hello"}]}
        first = await site.http.post("/v1/threads/t/runs", body)
        again = await site.http.post("/v1/threads/t/runs", body)
        more = await site.http.post(
            "/v1/threads/t/runs", {**body, "messages": [*body["messages"], {"id": "m2", "content": "and?"}]}
        )
        await site.finished(more.json())

        assert (first.status, again.status, more.status) == (202, 200, 202)
        assert again.json()["run_id"] == first.json()["run_id"] != more.json()["run_id"]
        sent = (await site.http.get("/v1/threads/t/messages")).json()["items"]
        assert [each["message_id"] for each in sent if each["role"] == "user"] == ["m1", "m2"]


@behaviour("SRV-010")
async def test_messages_whose_run_is_kept_no_longer_are_known_and_are_not_executed_again(
    store: Store, clock: ManualClock
) -> None:
    async with served(store, clock) as site:
        body: dict[str, Any] = {"agent_id": "talk", "messages": [{"id": "m1", "content": "hello"}]}
        await site.http.post("/v1/threads", {"thread_id": "t", "messages": [{"id": "m0", "content": "before"}]})
        first = (await site.http.post("/v1/threads/t/runs", body)).json()
        await site.finished(first)
        clock.tick(1)
        await store.apply([Purge(run_retention_ms=0, event_retention_ms=10**9)])

        again = await site.http.post("/v1/threads/t/runs", body)
        assert (again.status, again.code) == (409, "already_accepted")
        assert (again.json()["id"], again.json()["run_id"]) == ("m1", first["run_id"])
        imported = await site.http.post("/v1/threads/t/runs", {**body, "messages": [{"id": "m0", "content": "before"}]})
        assert (imported.code, imported.json()["id"], "run_id" in imported.json()) == ("already_accepted", "m0", False)
        changed = await site.http.post("/v1/threads/t/runs", {**body, "messages": [{"id": "m1", "content": "other"}]})
        assert changed.code == "already_exists"
        assert (await site.http.get("/v1/threads/t/runs")).json()["items"] == []


@behaviour("SRV-010")
async def test_a_dedupe_key_returns_the_run_that_holds_it_until_it_ends(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        first = await site.submit("gated", "t", dedupe_key="nightly")
        again = await site.http.post("/v1/threads/t/runs", {**ASK, "dedupe_key": "nightly"})
        assert (again.status, again.json()["run_id"]) == (200, first["run_id"])

        (await site.world.agent.next_call()).release("done")
        await site.finished(first)
        third = await site.http.post("/v1/threads/t/runs", {**ASK, "dedupe_key": "nightly"})
        assert (third.status, third.json()["run_id"] != first["run_id"]) == (202, True)


@behaviour("SRV-018")
async def test_waiting_returns_the_result_of_a_run_that_ends_in_time(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        created = await site.http.post("/v1/runs/wait", ASK)
        result = created.json()
        read = (await site.http.get(f"/v1/runs/{result['run']['run_id']}/wait?timeout_s=0")).json()

        assert created.status == 200
        assert (result["run"]["phase"], result["output"]) == ("completed", "".join(WORDS))
        assert [message["role"] for message in result["messages"]] == ["assistant"]
        assert read == result


@behaviour("SRV-018")
async def test_waiting_past_the_time_limit_says_that_the_run_goes_on(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        async with site.http.open("POST", "/v1/runs/wait?timeout_s=5", {**ASK, "agent_id": "gated"}) as waiting:
            call = await site.world.agent.next_call()
            await site.world.advance(5)
            await waiting.rest()
        assert (waiting.status, waiting.headers["retry-after"]) == (202, "0")
        run_id = call.run_id

        async with site.http.open("GET", f"/v1/runs/{run_id}/wait?timeout_s=5") as waiting:
            call.release("at last")
            await waiting.rest()
        assert waiting.status == 200


@behaviour("SRV-018")
async def test_waiting_for_a_run_nobody_knows_is_a_404(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        assert (await site.http.get("/v1/runs/nobody/wait")).code == "run_not_found"
        assert (await site.http.get("/v1/runs/nobody/wait?timeout_s=301")).code == "invalid_request"


async def test_a_client_that_stops_waiting_stops_nothing(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        run = await site.submit("gated")
        call = await site.world.agent.next_call()
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/wait"):
            await site.world.quiet()
        assert site.counts.requests[-1] == ("GET", "/v1/runs/{run_id}/wait", 499)

        call.release("still here")
        assert (await site.finished(run))["output"] == "still here"


async def test_a_run_tells_where_it_is_in_one_word(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:

        async def phase(run: Any) -> tuple[str, int | None]:
            found = (await site.http.get(f"/v1/runs/{run['run_id']}")).json()
            return found["phase"], found["queue_position"]

        first = await site.submit("gated", "t")
        call = await site.world.agent.next_call()
        second, third = await site.submit("gated", "t"), await site.submit("gated", "t", priority=1)
        late = await site.submit("gated", "late", after_seconds=60)
        assert await phase(first) == ("running", None)
        assert [await phase(run) for run in (third, second, late)] == [("queued", 1), ("queued", 2), ("queued", 1)]

        call.fail(ConnectionError("the provider hung up"))
        await call.over()
        await site.world.quiet()
        assert (await phase(first))[0] == "retrying"
        shown = (await site.http.get(f"/v1/runs/{first['run_id']}")).json()
        assert (shown["attempt"], shown["error"]["retryable"]) == (2, True)


async def test_a_full_queue_is_refused_with_the_time_to_come_back(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, mailbox=MailboxSettings(max_queued_per_thread=1, drain_s=0)) as site:
        await site.submit("gated", "t")
        await site.submit("gated", "t")
        answer = await site.http.post("/v1/threads/t/runs", ASK)

        assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "queue_full", "1")


async def test_the_children_of_a_run_are_listed(memory: Store, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> None:
        for number in range(3 if ctx.sender is None else 0):
            await ctx.start("talk", f"hello {number}", name=f"n{number}")

    async with served(memory, clock, agents={"boss": boss}) as site:
        run = await site.submit("boss", "t")
        await site.finished(run)
        await site.world.quiet()
        first = (await site.http.get(f"/v1/runs/{run['run_id']}/children?limit=2")).json()
        rest = (await site.http.get(f"/v1/runs/{run['run_id']}/children?cursor={first['next_cursor']}&limit=2")).json()
        children = first["items"] + rest["items"]

        assert [child["agent_id"] for child in children] == ["talk"] * 3
        assert {child["parent_run_id"] for child in children} == {run["run_id"]}
        assert {child["origin"] for child in children} == {"subagent"}
        thread = (await site.http.get(f"/v1/threads/{children[0]['thread_id']}")).json()
        assert thread["parent_thread_id"] == "t"
        threads = (await site.http.get("/v1/threads/t/children?limit=2")).json()
        assert (len(threads["items"]), threads["has_more"]) == (2, True)
        assert {each["parent_thread_id"] for each in threads["items"]} == {"t"}
        assert (await site.http.get("/v1/runs/nobody/children")).code == "run_not_found"
