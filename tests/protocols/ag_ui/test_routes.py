"""What a client of AG-UI asks for over HTTP: what is taken, what is answered, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ag_ui.core.capabilities import AgentCapabilities

from awaken.domain.ids import ThreadId
from awaken.executors.function import Context
from awaken.protocols.ag_ui.routes import OPERATIONS
from awaken.store.contract import MessageQuery, TicketQuery
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import approve_all, patched
from tests.protocols.ag_ui.judges import check_stream
from tests.protocols.site import ProtocolSite, cuts, frames_in, protocol_site, without_beginning

Event = dict[str, Any]
T = ThreadId("t")
TOOLS = [{"name": "look_around", "description": "Look around on the page.", "parameters": {"type": "object"}}]
STREAM = "/v1/ag-ui/threads/t/stream"


def user(content: Any = "Go on.", id: str = "m1") -> Event:
    return {"id": id, "role": "user", "content": content}


def asked(*messages: Event, run: str = "r1", **more: Any) -> Event:
    return {"threadId": "t", "runId": run, "messages": [*messages], "tools": [], "context": [], **more}


async def ask(site: ProtocolSite, agent: str, *messages: Event, **more: Any) -> bytes:
    answer = await site.http.post(f"/v1/ag-ui/agents/{agent}/run", asked(*messages, **more))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.body


def events(body: bytes) -> list[Event]:
    """Those of a stream, about which no judge has anything to say."""
    found = [each.json() for each in frames_in(body)]
    check_stream(found)
    return found


def said(found: list[Event]) -> str:
    return "".join([each["delta"] for each in found if each["type"] == "TEXT_MESSAGE_CONTENT"])


def state_of(found: list[Event]) -> Event:
    """What the page has in the end."""
    state: Event = {}
    for each in found:
        state = each["snapshot"] if each["type"] == "STATE_SNAPSHOT" else state
        state = patched(state, each["delta"]) if each["type"] == "STATE_DELTA" else state
    return state


def refusal(body: bytes) -> str:
    """The code of a stream that says no, and shows the thread as it stands before that."""
    *standing, started, failed = events(body)
    assert (started["type"], started["threadId"], failed["type"]) == ("RUN_STARTED", "t", "RUN_ERROR")
    types = [each["type"] for each in standing if each["type"] != "STATE_SNAPSHOT"]
    assert [*dict.fromkeys(types)] == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    return failed["code"]


def interrupts(found: list[Event]) -> list[Event]:
    return found[-1]["outcome"]["interrupts"]


async def stored(site: ProtocolSite) -> list[Any]:
    """All that a refused request could have changed."""
    scope = site.app.scope
    log = await site.app.store.list_messages(scope, T, MessageQuery())
    return [log, await site.app.store.load_thread(scope, T), await site.app.store.event_bounds(scope, T)]


# --- running ----------------------------------------------------------------------------------------------------------


@behaviour("SRV-033")
async def test_a_run_has_the_clients_name_and_the_same_name_again_joins_it() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        first = await ask(site, "text", user(), parentRunId="r0", protocolVersion="1.0")
        found = events(first)
        assert (found[0]["runId"], found[0]["parentRunId"], found[0]["protocolVersion"]) == ("r1", "r0", "1.0")
        assert (found[-1]["runId"], found[-1]["outcome"]) == ("r1", {"type": "success"})
        before = await stored(site)
        again = await ask(site, "text", user())
        assert without_beginning(again) == without_beginning(first)
        assert refusal(await ask(site, "text", user(), user("something new", "m2"))) == "run_exists"
        assert await stored(site) == before
        run = (await site.http.get(f"/v1/runs/{found[0]['metadata']['awaken']['runId']}")).json()
        assert run["metadata"] == {"parent_run_id": "r0"}


@behaviour("SRV-033")
async def test_with_nothing_new_a_run_shows_the_thread_as_it_stands() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        first = events(await ask(site, "text", user(), state={"a": 1}))
        found = events(await ask(site, "text", user(), run="r2"))
        assert [each["type"] for each in found] == STANDING
        assert [each["content"] for each in found[1]["messages"]] == ["Go on.", said(first)]
        assert found[2]["snapshot"] == {"a": 1}
        assert (found[0]["runId"], found[-1]["runId"]) == ("r2", "r2")


STANDING = ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "RUN_FINISHED"]


@behaviour("SRV-033", "AGUI-006")
async def test_a_page_that_lost_its_connection_and_asks_again_is_shown_all_of_what_is_under_way() -> None:
    """What it has of the answer is in no log yet: it is begun anew, and not written behind what is there."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def talker(context: Context) -> AsyncIterator[str]:
        yield "one "
        begun.set()
        await gate.wait()
        yield "two"

    async with asyncio.timeout(30), protocol_site(OPERATIONS, talker=talker) as site:
        running = asyncio.create_task(ask(site, "talker", user()))
        await begun.wait()
        async with site.http.open("POST", "/v1/ag-ui/agents/talker/run", asked(user(), run="r2")) as again:
            kinds: list[str] = []
            async for each in again.frames():
                kinds += [each.json()["type"]] if each.data and each.event != ":" else []
                if kinds[-1:] == ["TEXT_MESSAGE_CONTENT"]:
                    break
            assert kinds[:2] == ["RUN_STARTED", "MESSAGES_SNAPSHOT"]
        gate.set()
        assert said(events(await running)) == "one two"


@behaviour("SRV-033", "AGUI-006")
@pytest.mark.parametrize(
    ("agent", "end"),
    [
        ("struct", {"type": "RUN_FINISHED", "outcome": {"type": "success"}, "result": {"n": 7}}),
        ("failing", {"type": "RUN_ERROR", "message": "it cannot be done"}),
    ],
)
async def test_who_comes_later_is_told_the_same_end(agent: str, end: Event) -> None:
    async def struct(context: Context) -> Any:
        return {"n": 7}

    async with asyncio.timeout(30), protocol_site(OPERATIONS, struct=struct) as site:
        live = events(await ask(site, agent, user()))[-1]
        joined = events((await site.http.get(STREAM)).body)[-1]
        again = events(await ask(site, agent, user(), run="r2"))[-1]
        for found in (live, joined, again):
            assert end.items() <= found.items(), found


@behaviour("SRV-033")
async def test_a_page_brings_tools_state_context_and_properties() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        more: Event = {"state": {"city": "Paris"}, "context": [{"description": "page", "value": "maps"}]}
        found = events(
            await ask(site, "text", user(), tools=TOOLS, **more, forwardedProps={"on_disconnect": "continue", "x": 1})
        )
        assert state_of(found) == {"city": "Paris"}
        run = (await site.http.get(f"/v1/runs/{found[0]['metadata']['awaken']['runId']}")).json()
        assert run["metadata"] == {"forwarded_props": {"on_disconnect": "continue", "x": 1}}
        log = await site.app.store.list_messages(site.app.scope, T, MessageQuery())
        assert any(["maps" in each.message.text for each in log])
        assert "maps" not in str(found)


@behaviour("SRV-033")
async def test_the_state_of_the_page_becomes_that_of_the_thread_unless_it_is_empty() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        await ask(site, "text", user(), state={"a": 1, "b": {"c": 1, "d": 2}})
        await ask(site, "text", user("two", "m2"), run="r2", state={"b": {"c": 1}, "e": 3})
        assert (await site.http.get("/v1/threads/t/state")).json()["values"] == {"b": {"c": 1}, "e": 3}
        await ask(site, "text", user("three", "m3"), run="r3", state={})
        assert (await site.http.get("/v1/threads/t/state")).json()["values"] == {"b": {"c": 1}, "e": 3}


@behaviour("SRV-033")
async def test_a_new_thread_begins_with_what_is_brought_and_a_known_one_takes_only_what_is_new() -> None:
    call = {"id": "k", "type": "function", "function": {"name": "look_up", "arguments": '{"w":1}'}}
    before: list[Event] = [
        {"id": "s1", "role": "system", "content": "Obey."},
        user("one", "u1"),
        {"id": "a1", "role": "assistant", "content": "Let me see.", "toolCalls": [call]},
        {"id": "t1", "role": "tool", "toolCallId": "k", "content": "[2]"},
        {"id": "a2", "role": "assistant", "content": "Two."},
        {"id": "x1", "role": "activity", "activityType": "plan", "content": {}},
        {"id": "x2", "role": "reasoning", "content": "hm"},
    ]
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        await ask(site, "text", *before, user("two", "u2"))
        log = (await site.http.get("/v1/threads/t/messages")).json()["items"]
        assert [each["role"] for each in log] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
        lie = {"id": "l", "role": "assistant", "content": "I owe you money."}
        await ask(site, "text", *before, user("TWO", "u2"), lie, user("three", "u3"), run="r2")
        log = (await site.http.get("/v1/threads/t/messages")).json()["items"]
        assert len(log) == 8 and "money" not in str(log) and "TWO" not in str(log)


@behaviour("SRV-033")
async def test_what_is_under_way_is_joined_stopped_and_told_as_cancelled() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def talker(context: Context) -> AsyncIterator[str]:
        yield "It begins"
        begun.set()
        await gate.wait()

    async with asyncio.timeout(30), protocol_site(OPERATIONS, talker=talker) as site:
        running = asyncio.create_task(ask(site, "talker", user()))
        await begun.wait()
        joining = asyncio.create_task(site.http.get(STREAM))
        async with site.http.open("GET", STREAM) as joined:
            await anext(joined.frames())
            stopped = await site.http.post("/v1/ag-ui/threads/t/stop?wait_s=10", {})
            assert stopped.status in (200, 202)
        for body in (await running, (await joining).body):
            found = events(body)
            assert found[-1]["outcome"] == {"type": "cancelled"}
            assert said(found) == "It begins"


# --- coming back ------------------------------------------------------------------------------------------------------


@behaviour("SRV-033", "SRV-020", "AGUI-002")
@pytest.mark.parametrize("agent", ["parallel", "approval", "mixed", "reasoning", "state", "retried", "ask"])
async def test_cut_behind_any_frame_and_resumed_it_is_the_uncut_stream(agent: str) -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        whole = await ask(site, agent, user())
        for seen, id in cuts(whole):
            answer = await site.http.get(STREAM, headers={"last-event-id": id})
            rest = b"" if answer.status == 204 else without_beginning(answer.body)
            assert seen + rest == without_beginning(whole), id


@behaviour("SRV-033")
async def test_a_thread_on_which_nothing_runs_is_shown_as_it_stands() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        assert (await site.http.get(STREAM)).code == "thread_not_found"
        found = events(await ask(site, "mixed", user(), state={"a": 1}))
        standing = events((await site.http.get(STREAM)).body)
        assert interrupts(standing) == interrupts(found)
        assert {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1}} in standing
        snapshot = [each for each in found if each["type"] == "MESSAGES_SNAPSHOT"]
        assert [each for each in standing if each["type"] == "MESSAGES_SNAPSHOT"] == snapshot
        bad = await site.http.get(STREAM, headers={"last-event-id": "x"})
        assert bad.code == "invalid_request"


# --- interrupts -------------------------------------------------------------------------------------------------------


def answer(interrupt: Event, payload: Any = None, status: str = "resolved") -> Event:
    return {"interruptId": interrupt["id"], "status": status} | ({} if payload is None else {"payload": payload})


@behaviour("SRV-033", "AGUI-003")
async def test_answers_that_are_not_as_the_protocol_wants_them_are_refused_in_the_stream() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        open_ones = interrupts(events(await ask(site, "mixed", user())))
        before = await stored(site)
        by_reason = {each["reason"]: each for each in open_ones}
        approval, question = by_reason["tool_call"], by_reason["input_required"]
        yes, blue = answer(approval, {"approved": True}), answer(question, "blue")
        refused: list[tuple[str, Event]] = [
            ("interrupts_pending", {}),
            ("interrupts_pending", {"resume": []}),
            ("incomplete_resume", {"resume": [yes]}),
            ("unknown_interrupt", {"resume": [yes, blue, answer({"id": "nobody"})]}),
            ("invalid_resume_payload", {"resume": [answer(approval, {"approved": "perhaps"}), blue]}),
            ("invalid_resume_payload", {"resume": [answer(approval, {"editedArgs": 5}), blue]}),
            ("invalid_resume_payload", {"resume": [yes, answer(question, {"no": "string"})]}),
        ]
        for number, (code, more) in enumerate(refused):
            body = await ask(site, "mixed", user(), user("more", "m2"), run=f"no-{number}", **more)
            assert refusal(body) == code, more
            assert await stored(site) == before
        assert said(events(await ask(site, "mixed", user(), run="r2", resume=[yes, blue]))) == "All is settled."
        after = await stored(site)
        found = events(await ask(site, "mixed", user(), run="r3", resume=[yes, blue]))
        assert [each["type"] for each in found] == [*STANDING[:2], STANDING[3]], "the same again changes nothing"
        assert await stored(site) == after


@behaviour("SRV-033", "AGUI-003")
async def test_a_resume_of_no_thread_or_of_another_one_answers_nothing() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        [asked_for] = interrupts(events(await ask(site, "approval", user())))
        other = asked(user(), resume=[answer(asked_for)]) | {"threadId": "other"}
        found = [each.json() for each in frames_in((await site.http.post("/v1/ag-ui/agents/text/run", other)).body)]
        assert found[-1]["code"] == "unknown_interrupt"
        assert await site.app.store.load_thread(site.app.scope, ThreadId("other")) is None


@behaviour("SRV-033")
@pytest.mark.parametrize(
    ("payload", "status", "result"),
    [
        (None, "resolved", "paid 5"),
        ({"approved": True}, "resolved", "paid 5"),
        ({"approved": True, "editedArgs": {"amount": 3}}, "resolved", "paid 3"),
        ({"approved": False, "reason": "too dear"}, "resolved", "too dear"),
        (False, "resolved", ""),
        (None, "cancelled", ""),
    ],
)
async def test_an_approval_is_given_changed_denied_or_cancelled(payload: Any, status: str, result: str) -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        [asked_for] = interrupts(events(await ask(site, "approval", user())))
        assert (asked_for["toolCallId"], asked_for["message"]) == ("call_0", "Pay this?")
        about = {"toolName": "pay", "arguments": {"amount": 5}, "allowedActions": ["approve", "deny", "edit"]}
        assert asked_for["metadata"]["awaken"] == about
        found = events(await ask(site, "approval", user(), run="r2", resume=[answer(asked_for, payload, status)]))
        [done] = [each for each in found if each["type"] == "TOOL_CALL_RESULT"]
        assert result in done["content"]
        is_denied = done.get("metadata", {}).get("awaken", {}).get("status") == "denied"
        assert is_denied == (status == "cancelled" or payload is False or result == "too dear")
        assert "TOOL_CALL_START" not in [each["type"] for each in found], "it was begun before"


NO_YES: list[Any] = [
    "no", "yes", "deny", "true", {}, [], 0, 1, None, {"approve": False}, {"approve": True}, {"denied": True},
    {"accepted": False}, {"action": "deny"}, {"decision": "reject"}, {"type": "reject"}, {"reason": "because"},
    {"Approved": False}, {"approved": None}, {"approved": 0}, {"approved": "yes"}, {"approved": [True]},
    {"editedArgs": {"amount": 1}, "accepted": False}, {"editedArgs": {"amount": 1}, "approved": None},
    {"editedArgs": None}, {"approved": True, "editedArgs": "amount=1"}, [{"approved": True}],
]  # fmt: skip
"""What other backends may take for an answer, and this one for none."""


@behaviour("SRV-033", "TK-085")
async def test_what_is_not_plainly_a_yes_approves_nothing() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        [asked_for] = interrupts(events(await ask(site, "approval", user())))
        before = await stored(site)
        for number, payload in enumerate(NO_YES):
            said = {"interruptId": asked_for["id"], "status": "resolved", "payload": payload}
            body = await ask(site, "approval", user(), run=f"no-{number}", resume=[said])
            assert refusal(body) == "invalid_resume_payload", payload
            assert await stored(site) == before
        found = events(await ask(site, "approval", user(), run="r2", resume=[answer(asked_for, True)]))
        assert "paid 5" in str(found)


@behaviour("SRV-033")
async def test_what_somebody_else_has_decided_is_open_no_more() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        found = events(await ask(site, "approval", user()))
        [asked_for] = interrupts(found)
        run_id = found[0]["metadata"]["awaken"]["runId"]
        run = await site.app.mailbox.get_run(site.app.scope, run_id)
        [ticket] = (await site.app.store.list_tickets(site.app.scope, _open_tickets())).items
        await site.app.mailbox.decisions.decide(site.app.scope, run.run_id, [approve_all(ticket)])
        await site.app.mailbox.wait(site.app.scope, run.run_id)
        same = events(await ask(site, "approval", user(), run="r2", resume=[answer(asked_for, {"approved": True})]))
        assert [each["type"] for each in same] == [*STANDING[:2], STANDING[3]]
        late = await ask(site, "approval", user(), run="r2", resume=[answer(asked_for, {"approved": False})])
        assert refusal(late) == "interrupt_conflict"
        unsent = user("say this, too", "m9")
        late = await ask(site, "approval", user(), unsent, run="r2", resume=[answer(asked_for, {"approved": False})])
        shown = events(late)[2]["messages"]
        assert "paid 5" in str(shown) and shown[-1] == unsent, "what really was decided, and what the page has besides"
        assert said(events(await ask(site, "text", user(), user("and now", "m2"), run="r3"))) != ""


def _open_tickets() -> Any:
    return TicketQuery(thread_id=T, state="open")


@behaviour("SRV-033")
async def test_a_tool_of_the_page_fails_or_returns_what_is_json() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        found = events(await ask(site, "client-tool", user(), tools=TOOLS))
        [call] = found[-1]["outcome"]["pendingToolCallIds"]
        result = {"id": "x", "role": "tool", "toolCallId": call, "content": '{"seen":[1]}'}
        found = events(await ask(site, "client-tool", user(), result, run="r2", tools=TOOLS))
        assert said(found) == "The page has answered."
        [done] = [each for each in found if each["type"] == "TOOL_CALL_RESULT"]
        assert done["content"] == '{"seen":[1]}'
        found = events(await ask(site, "client-tool", user(), user("again", "m2"), run="r3", tools=TOOLS))
        [call] = found[-1]["outcome"]["pendingToolCallIds"]
        failed = {"id": "y", "role": "tool", "toolCallId": call, "content": "", "error": "it is dark"}
        found = events(await ask(site, "client-tool", user(), user("again", "m2"), failed, run="r4", tools=TOOLS))
        [done] = [each for each in found if each["type"] == "TOOL_CALL_RESULT"]
        assert (done["content"], done["metadata"]["awaken"]["status"]) == ("it is dark", "failed")


# --- what is wrong ----------------------------------------------------------------------------------------------------

BAD: list[tuple[Any, int]] = [
    ({"runId": "r", "messages": []}, 422),
    ({"threadId": "t", "messages": [user()]}, 422),
    (asked(user()) | {"messages": "hello"}, 422),
    (asked(), 422),
    (asked({"id": "a", "role": "assistant", "content": "hi"}), 422),
    (asked(user("")), 422),
    (asked(user([{"type": "text", "text": 5}])), 422),
    (asked(user(), state=[1]), 422),
    (asked(user(), run="x" * 5_000), 422),
    (asked(user(), tools=[{"description": "no name"}]), 422),
    (asked(user(), resume=[{"interruptId": "i", "status": "perhaps"}]), 422),
    (asked(user(), forwardedProps={"multitask_strategy": "whatever"}), 422),
    (asked(user(), forwardedProps={"agentId": 5}), 422),
    (asked(user(), context=[{"description": "d", "value": "x" * 300_000}]), 422),
    (asked(user([{"type": "image", "source": {"type": "url", "value": "file:///etc/passwd"}}])), 422),
    (asked(user([{"type": "image", "source": {"type": "data", "value": "%%", "mimeType": "image/png"}}])), 422),
    (asked(user([{"type": "document", "source": {"type": "data", "value": "AA==", "mimeType": "x/y"}}])), 422),
    (asked(user([{"type": "image", "source": {"type": "file", "value": "file-1", "provider": "openai"}}])), 422),
]


@behaviour("SRV-033", "AGUI-004")
@pytest.mark.parametrize(("body", "status"), BAD)
async def test_what_is_wrong_is_refused_and_leaves_nothing(body: Any, status: int) -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        refused = await site.http.post("/v1/ag-ui/agents/text/run", body)
        assert (refused.status, refused.headers["content-type"]) == (status, "application/problem+json"), refused
        assert await site.app.store.load_thread(site.app.scope, T) is None


@behaviour("SRV-033")
async def test_an_agent_that_is_not_there_is_said_before_the_stream() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        assert (await site.http.post("/v1/ag-ui/agents/nobody/run", asked(user()))).status in (404, 422)
        assert await site.app.store.load_thread(site.app.scope, T) is None


@behaviour("SRV-033")
async def test_files_are_taken_and_shown_as_they_are_and_nothing_is_fetched() -> None:
    parts: list[Event] = [
        {"type": "text", "text": "Look:"},
        {"type": "image", "source": {"type": "data", "value": "AAAA", "mimeType": "image/png"}},
        {"type": "document", "source": {"type": "url", "value": "https://files.example/a.pdf"}},
        {"type": "binary", "mimeType": "audio/wav", "data": "AAAA"},
        {"type": "hologram", "source": {}},
    ]
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        await ask(site, "text", user(parts))
        [snapshot] = [
            each for each in events((await site.http.get(STREAM)).body) if each["type"] == "MESSAGES_SNAPSHOT"
        ]
        shown = snapshot["messages"][0]["content"]
        assert [each["type"] for each in shown] == ["text", "image", "document", "audio"]
        assert shown[1] == parts[1]
        assert shown[2]["source"]["value"] == "https://files.example/a.pdf"


@behaviour("SRV-033")
async def test_an_agent_says_what_it_can() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        told = (await site.http.get("/v1/ag-ui/agents/approval/capabilities")).json()
        read = AgentCapabilities.model_validate(told)
        assert read.model_dump(by_alias=True) == told
        assert told["transport"]["resumable"] and told["humanInTheLoop"]["approveWithEdits"]
        assert (await site.http.get("/v1/ag-ui/agents/nobody/capabilities")).code == "agent_not_found"
