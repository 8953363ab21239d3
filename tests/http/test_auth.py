"""Who asks decides what is there: one function per application, and every route goes through it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from starlette.requests import Request

from awaken import Awaken, Context
from awaken.domain.errors import Forbidden, Unauthorized, ValidationError
from awaken.domain.ids import Scope
from awaken.http.auth import Answer, Authorize, Caller
from awaken.http.operation import Operation
from awaken.http.settings import HttpSettings
from awaken.http.table import OPERATIONS
from awaken.testing.behaviour import behaviour
from tests.http.asgi import Answer as HttpAnswer
from tests.http.asgi import Client

GUARDED: Final = tuple(operation for operation in OPERATIONS if not operation.always_answers)
ON_SOMETHING: Final = tuple(each for each in GUARDED if "{thread_id}" in each.path or "{run_id}" in each.path)
LISTS: Final = ("/v1/threads", "/v1/runs")
BODIES: Final[dict[str, Any]] = {
    "decide_ticket": {"action": "deny"},
    "decide_run": {"decisions": [{"ticket_id": "k", "action": "deny"}]},
    "decide_thread": {"decisions": [{"ticket_id": "k", "action": "deny"}]},
    "decide_call": {"tool_call_id": "c", "action": "resume"},
    "create_thread": {},
    "patch_state": {"values": {}},
    "edit_pending": {"barrier": True},
    "reorder_pending": {"message_ids": []},
    "edit_thread": {},
    "fork_thread": {},
    "retry_run": {},
    "regenerate": {},
    "retry_dead_letter": {},
    "discard_dead_letter": {"reason": "x"},
    "retry_dead_letters": {"filter": {"agent_id": "whoami"}},
    "discard_dead_letters": {"filter": {"agent_id": "whoami"}, "reason": "x"},
    "default": {"agent_id": "whoami", "input": "hello"},
}


async def whoami(context: Context) -> dict[str, Any]:
    return {"caller": context.caller, "resource_id": context.resource_id, "metadata": context.metadata}


async def by_header(request: Request) -> Answer:
    await asyncio.sleep(0)  # as one that looks somebody up
    user = request.headers.get("x-user")
    if user == "banned":
        raise Forbidden("not you")
    return None if user is None else Caller(Scope(f"user-{user}"), user)


def anybody(request: Request) -> Answer:
    return "all"


@asynccontextmanager
async def served(authorize: Authorize = by_header) -> AsyncGenerator[Client]:
    app = Awaken("memory://")
    app.agent("whoami", whoami)
    async with asyncio.timeout(20), app:
        yield Client(app.asgi(authorize=authorize))


def as_user(user: str) -> dict[str, str]:
    return {"x-user": user}


async def ask(client: Client, operation: Operation, headers: dict[str, str]) -> HttpAnswer:
    names = {"thread_id": "anns", "run_id": "anns-run", "agent_id": "whoami", "message_id": "m", "name": "none"}
    path = operation.path.format_map(defaultdict(lambda: "none", names))
    body = None if operation.body is None else BODIES.get(operation.id, BODIES["default"])
    return await client.request(operation.method, path, body, headers=headers)


async def anns_run(client: Client) -> dict[str, Any]:
    body = {"thread_id": "anns", "resource_id": "customer-7"}
    assert (await client.post("/v1/threads", body, headers=as_user("ann"))).status == 201
    asked = {**BODIES["default"], "run_id": "anns-run", "metadata": {"order": 7}}
    answer = await client.post("/v1/threads/anns/runs/wait", asked, headers=as_user("ann"))
    assert answer.status == 200
    return answer.json()


@pytest.mark.parametrize("operation", GUARDED, ids=lambda each: each.id)
async def test_nobody_in_particular_gets_nothing(operation: Operation) -> None:
    async with served() as client:
        answer = await ask(client, operation, {})
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        refused = await ask(client, operation, as_user("banned"))
        assert (refused.status, refused.code) == (403, "forbidden")
        assert (await client.get("/health")).status == 200


@pytest.mark.parametrize("operation", ON_SOMETHING, ids=lambda each: each.id)
async def test_what_belongs_to_somebody_else_is_not_there(operation: Operation) -> None:
    async with served() as client:
        await anns_run(client)
        seen = {"If-Match": "*"} if "precondition_required" in operation.problems else {}
        answer = await ask(client, operation, {**as_user("bob"), **seen})

        assert answer.status == 404
        assert answer.code in ("thread_not_found", "run_not_found", "ticket_not_found", "message_not_found")


async def test_what_an_app_decides_holds_for_every_application_that_has_no_other() -> None:
    app = Awaken("memory://", http=HttpSettings(authorize=by_header))
    app.agent("whoami", whoami)
    async with asyncio.timeout(20), app:
        for given in ({}, {"settings": HttpSettings(max_requests=7)}, {"allowed_hosts": ["testserver"]}):
            options: Any = given
            client = Client(app.asgi(**options))
            assert (await client.get("/v1/agents")).code == "unauthorized"
            assert (await client.get("/v1/agents", headers=as_user("ann"))).status == 200
        for http in (app.asgi(authorize=anybody), app.asgi(settings=HttpSettings(authorize=anybody))):
            assert (await Client(http).get("/v1/agents")).status == 200


@behaviour("SC-001")
@pytest.mark.parametrize("scope", ["", " ", "a b", "a\n", "a\0", "ü", "a/b", ".", "..", "x" * 129, 5])
async def test_a_scope_is_a_short_name(scope: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One that is none is the mistake of whoever wrote the function, and not of whoever asks."""
    with pytest.raises(ValidationError, match="scope"):
        Awaken("memory://", scope=scope)
    async with served(lambda _: Caller(scope)) as client:
        answer = await client.get("/v1/runs")
        assert (answer.status, answer.code) == (500, "internal")
        assert "authorize returned what cannot be used" in caplog.text


@behaviour("SC-004")
async def test_a_cursor_of_one_scope_is_none_in_another() -> None:
    """Also where scope and thread, one behind the other, are the same text."""
    places = (("a", "bc"), ("ab", "c"), ("a.b", "c"), ("a", "b.c"))
    async with served(lambda request: request.headers["x-user"]) as client:
        cursors: dict[str, str] = {}
        for scope, thread in places:
            made = await client.post("/v1/threads", {"thread_id": thread}, headers=as_user(scope))
            cursors[f"{scope} {thread}"] = made.json()["cursor"]
        for scope, thread in places:
            for owner, cursor in cursors.items():
                answer = await client.get(f"/v1/threads/{thread}/events?cursor={cursor}", headers=as_user(scope))
                assert answer.status == (200 if owner == f"{scope} {thread}" else 422)


def test_what_finds_out_who_asks_is_a_function() -> None:
    with pytest.raises(ValidationError, match="authorize = 'ann' of HttpSettings cannot be: expected a function"):
        HttpSettings(authorize="ann")  # pyright: ignore[reportArgumentType]


async def test_lists_hold_what_is_ones_own() -> None:
    async with served() as client:
        await anns_run(client)
        for path in LISTS:
            assert len((await client.get(path, headers=as_user("ann"))).json()["items"]) == 1
            assert (await client.get(path, headers=as_user("bob"))).json()["items"] == []
        cursor = (await client.get("/v1/threads/anns", headers=as_user("ann"))).json()["cursor"]
        assert (await client.post("/v1/threads", {"thread_id": "anns"}, headers=as_user("bob"))).status == 201
        stolen = await client.get(f"/v1/threads/anns/events?cursor={cursor}", headers=as_user("bob"))
        assert stolen.code == "cursor_mismatch"


async def test_an_agent_sees_for_whom_it_works() -> None:
    async with served() as client:
        output = (await anns_run(client))["output"]
        assert output == {"caller": "ann", "resource_id": "customer-7", "metadata": {"order": 7}}


async def test_a_request_repeated_by_somebody_else_of_the_same_scope_is_the_same_request() -> None:
    def one_team(request: Request) -> Answer:
        return Caller(Scope("team"), request.headers["x-user"])

    async with served(one_team) as client:
        asked = {**BODIES["default"], "run_id": "r"}
        assert (await client.post("/v1/runs", asked, headers=as_user("ann"))).status == 202
        assert (await client.post("/v1/runs", asked, headers=as_user("bob"))).status == 200


async def test_a_scope_that_is_none_shows_nothing_to_anybody() -> None:
    async with served(lambda request: "") as client:
        assert (await client.get("/v1/threads")).code == "internal"

    def fails(request: Request) -> Answer:
        raise Unauthorized("the token is expired")

    async with served(fails) as client:
        answer = await client.get("/v1/threads")
        assert (answer.status, answer.json()["detail"]) == (401, "the token is expired")
