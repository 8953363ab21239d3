"""What every operation does with a request that is not one: the documented problem, and nothing stored."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from contextlib import suppress
from typing import Any, Final

import pytest
from starlette.requests import Request

from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import DEFAULT_SCOPE, RunId, Scope, ThreadId
from awaken.domain.thread import Thread
from awaken.executors.function import Context
from awaken.http.openapi import problem_codes
from awaken.http.operation import Operation
from awaken.http.settings import HttpSettings
from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import Answer, Client
from tests.http.site import SERVED, served

EACH = pytest.mark.parametrize("operation", SERVED, ids=lambda operation: operation.id)
WITH_BODY = pytest.mark.parametrize(
    "operation", [each for each in SERVED if each.body is not None], ids=lambda operation: operation.id
)
NEEDS_BODY = pytest.mark.parametrize(
    "operation", [each for each in SERVED if each.needs_body], ids=lambda operation: operation.id
)
MAY_HAVE_BODY = pytest.mark.parametrize(
    "operation",
    [each for each in SERVED if each.body is not None and not each.needs_body],
    ids=lambda operation: operation.id,
)
WITHOUT_BODY = pytest.mark.parametrize(
    "operation",
    [each for each in SERVED if each.body is None and each.method != "GET"],
    ids=lambda operation: operation.id,
)
SMALL = HttpSettings(max_body_bytes=1000, max_run_body_bytes=1000)


def path_of(operation: Operation) -> str:
    return (
        operation.path.replace("{thread_id}", "t")
        .replace("{run_id}", "r")
        .replace("{agent_id}", "talk")
        .replace("{note_id}", "n")
        .replace("{name}", "nightly")
        .replace("{ticket_id}", "k")
        .replace("{message_id}", "m")
        .replace("{dispatch_id}", "d")
    )


def check(operation: Operation, answer: Answer, status: int, code: str) -> None:
    """The problem is the expected one, complete, and one that the operation's description names."""
    assert (answer.status, answer.code) == (status, code), answer
    assert code in problem_codes(operation)
    document = answer.json()
    assert document["type"] == f"urn:awaken:problem:{code}"
    assert document["message"] == document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@behaviour("SRV-007")
@EACH
async def test_an_unknown_parameter_is_refused(memory: Store, clock: ManualClock, operation: Operation) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.request(operation.method, path_of(operation) + "?colour=blue", *_plain_body(operation))

        check(operation, answer, 422, "unknown_parameter")
        assert await site.stored() == (0, 0)


@behaviour("SRV-007")
@WITHOUT_BODY
@pytest.mark.parametrize(
    ("body", "type", "status", "code"),
    [
        (b'{"dry_run": true}', "application/json", 422, "invalid_request"),
        (b"{", "application/json", 400, "malformed_json"),
        (b"x", "text/plain", 415, "unsupported_media_type"),
    ],
)
async def test_a_body_that_nobody_reads_is_refused(
    memory: Store, clock: ManualClock, operation: Operation, body: bytes, type: str, status: int, code: str
) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.request(operation.method, path_of(operation), body, headers={"content-type": type})

        check(operation, answer, status, code)
        if status == 422:
            assert answer.json()["errors"][0]["loc"] == ["body", "dry_run"]
        assert await site.stored() == (0, 0)


@behaviour("SRV-007")
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/dead-letters?since=yesterday", "since"),
        ("/v1/dead-letters/summary?since=yesterday", "since"),
        ("/v1/dispatches?claimed_by=..", "claimed_by"),
        ("/v1/threads/t/dispatches?agent_id=..", "agent_id"),
        ("/v1/watch?on=a,a", "on"),
    ],
)
async def test_a_parameter_that_cannot_be_is_named_with_its_place(
    memory: Store, clock: ManualClock, path: str, name: str
) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.get(path)

        assert answer.status == 422
        assert [each["loc"] for each in answer.json()["errors"]] == [["query", name]]


@behaviour("SRV-007")
@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/v1/dead-letters/retry", {"filter": {"since": "yesterday"}}, ["filter", "since"]),
        ("/v1/dead-letters/retry", {"filter": {"agent_id": ".."}}, ["filter", "agent_id"]),
        ("/v1/dead-letters/retry", {"filter": {"thread_id": ".."}}, ["filter", "thread_id"]),
        ("/v1/dead-letters/retry", {"filter": {"error_class": 5}}, ["filter", "error_class"]),
        ("/v1/dead-letters/retry", {"filter": {"other": "x"}}, ["filter"]),
        ("/v1/dead-letters/retry", {"filter": {}}, ["filter"]),
        ("/v1/dead-letters/retry", {"filter": {"agent_id": "x"}, "limit": 0}, ["limit"]),
        ("/v1/dead-letters/discard", {"filter": {"since": "x"}, "reason": "x"}, ["filter", "since"]),
        ("/v1/dead-letters/discard", {"filter": {"agent_id": "x"}, "reason": " "}, ["reason"]),
        ("/v1/runs/cancel", {"thread_id": ".."}, ["thread_id"]),
        ("/v1/runs/cancel", {"run_ids": ["a", ".."]}, ["run_ids", 1]),
        ("/v1/runs/cancel", {"status": "red"}, ["status"]),
        ("/v1/runs/cancel", {}, ["run_ids"]),
        ("/v1/threads/t/regenerate", {"message_id": ".."}, ["message_id"]),
        ("/v1/threads/t/regenerate", {"run_id": ".."}, ["run_id"]),
        ("/v1/threads/t/fork", {"at_message_id": ".."}, ["at_message_id"]),
        ("/v1/threads/t/fork", {"thread_id": ".."}, ["thread_id"]),
    ],
)
async def test_a_field_that_cannot_be_is_named_with_its_place(
    memory: Store, clock: ManualClock, path: str, body: dict[str, Any], place: list[str | int]
) -> None:
    async with served(memory, clock) as site:
        await site.finished(await site.submit("talk", "t"))
        answer = await site.http.post(path, body)

        assert answer.status == 422, answer
        assert [each["loc"] for each in answer.json()["errors"]] == [["body", *place]]


@behaviour("SRV-007")
async def test_too_many_parameters_are_said_to_be(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.get("/v1/runs?" + "&".join(["limit=1"] * 33))

        assert (answer.status, answer.code) == (422, "invalid_request")
        assert answer.json()["detail"] == "the query has more than 32 parameters"


@behaviour("SRV-007")
@WITH_BODY
@pytest.mark.parametrize(
    ("body", "offset"),
    [
        (b" ", 1),
        (b'{"input": "a"', 13),
        (b'{"input": "a" "b"}', 14),
        (b'{"input": \xff}', 10),
        (b'["input"]', 0),
        (b'"input"', 0),
        (b'{"input": "a"} {}', 15),
        (b'{"input": NaN}', None),
        (b'{"input": "a", "input": "b"}', None),
        (b'{"metadata": {"a": 1, "a": 1}}', None),
        (b'{"x": ' + b"[" * 64 + b"]" * 64 + b"}", None),
        (b"[" * 500_000, None),
    ],
)
async def test_what_is_not_a_json_object_is_refused(
    memory: Store, clock: ManualClock, operation: Operation, body: bytes, offset: int | None
) -> None:
    async with served(memory, clock) as site:
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        answer = await site.http.request(operation.method, path_of(operation), body, headers=headers)

        check(operation, answer, 400, "malformed_json")
        assert answer.json().get("offset") == offset
        assert await site.stored() == (0, 0)


@behaviour("SRV-007")
@MAY_HAVE_BODY
async def test_where_no_field_is_required_no_body_is_as_good_as_an_empty_object(
    memory: Store, clock: ManualClock, operation: Operation
) -> None:
    async with served(memory, clock) as site:
        method, path = operation.method, path_of(operation)
        empty, absent, declared, form = [
            await site.http.request(method, path, body, headers=headers)
            for body, headers in [
                (b"{}", {"content-type": "application/json"}),
                (b"", {}),
                (b"", {"content-type": "application/json", "content-length": "0"}),
                (b"", {"content-type": "application/x-www-form-urlencoded"}),  # so `curl -d ""` sends it
            ]
        ]
        for answer in (absent, declared, form):
            assert answer.status == empty.status, answer
            if answer.status >= 400:
                assert (answer.code, answer.json()["detail"]) == (empty.code, empty.json()["detail"])


@behaviour("SRV-007")
@NEEDS_BODY
async def test_where_a_field_is_required_so_is_a_body(memory: Store, clock: ManualClock, operation: Operation) -> None:
    async with served(memory, clock) as site:
        method, path = operation.method, path_of(operation)
        headers = {"content-type": "application/json"}
        check(operation, await site.http.request(method, path, b"", headers=headers), 400, "malformed_json")
        check(operation, await site.http.request(method, path, b""), 415, "unsupported_media_type")
        assert await site.stored() == (0, 0)


@behaviour("SRV-007")
@pytest.mark.parametrize("unit", [b"[],", b"1,", b'"",', b'"a",'])
async def test_a_large_body_of_very_many_values_is_not_even_parsed(
    memory: Store, clock: ManualClock, unit: bytes
) -> None:
    async with served(memory, clock) as site:
        many = b'{"agent_id": "talk", "input": "hello", "unknown": [' + unit * (3_000_000 // len(unit)) + b"0]}"
        large = b'{"agent_id": "talk", "input": "' + b"[" * 500_000 + b'"}'
        refused, accepted = await site.http.post("/v1/runs", many), await site.http.post("/v1/runs", large)

        assert (refused.status, refused.code) == (422, "invalid_request")
        assert accepted.status == 202


@behaviour("SRV-007")
@pytest.mark.parametrize("number", [b"18446744073709551616", b"-9223372036854775809", b"1e999", b"9" * 5000])
async def test_numbers_that_no_store_can_keep_are_refused(memory: Store, clock: ManualClock, number: bytes) -> None:
    async with served(memory, clock) as site:
        body = b'{"agent_id": "talk", "input": "hello", "metadata": {"n": ' + number + b"}}"
        answer = await site.http.post("/v1/runs", body)

        assert (answer.status, answer.code) == (422, "invalid_request")
        assert await site.stored() == (0, 0)


@behaviour("SRV-007")
@WITH_BODY
async def test_a_body_that_is_too_large_is_refused_as_soon_as_that_is_known(
    memory: Store, clock: ManualClock, operation: Operation
) -> None:
    async with served(memory, clock, settings=SMALL) as site:
        method, path = operation.method, path_of(operation)
        declared = await site.http.request(method, path, b"{}", headers={"content-length": "1001"})
        chunked = await site.http.request(method, path, chunks=[b"{", b" " * 600, b" " * 600, b" " * 600, b"}"])

        for answer in (declared, chunked):
            check(operation, answer, 413, "body_too_large")
            assert answer.json()["limit_bytes"] == 1000
        assert await site.stored() == (0, 0)


@behaviour("SRV-007")
@WITH_BODY
@pytest.mark.parametrize(
    "declared", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
async def test_a_body_of_another_type_is_refused(
    memory: Store, clock: ManualClock, operation: Operation, declared: str
) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.request(
            operation.method, path_of(operation), b"{}", headers={"content-type": declared}
        )

        check(operation, answer, 415, "unsupported_media_type")


@behaviour("SRV-007")
@WITH_BODY
async def test_a_compressed_body_is_refused_and_the_header_named(
    memory: Store, clock: ManualClock, operation: Operation
) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.request(
            operation.method, path_of(operation), gzip.compress(b"{}"), headers={"content-encoding": "gzip"}
        )

        check(operation, answer, 415, "unsupported_media_type")
        assert "Content-Encoding" in answer.json()["detail"]


@behaviour("SRV-007")
@WITH_BODY
async def test_fields_of_the_wrong_type_are_refused_with_their_place(
    memory: Store, clock: ManualClock, operation: Operation
) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.request(operation.method, path_of(operation), {"metadata": 5})

        check(operation, answer, 422, "invalid_request")
        assert answer.json()["errors"][0]["loc"] == ["body", "metadata"]


@behaviour("SRV-007")
@EACH
async def test_headers_and_addresses_have_limits(memory: Store, clock: ManualClock, operation: Operation) -> None:
    async with served(memory, clock) as site:
        long = await site.http.request(operation.method, path_of(operation) + "?x=" + "y" * 8_192)
        heavy = await site.http.request(operation.method, path_of(operation), headers={"x-heavy": "y" * 65_536})

        check(operation, long, 414, "uri_too_long")
        check(operation, heavy, 431, "headers_too_large")


@behaviour("SRV-007")
@pytest.mark.parametrize(
    "operation", [each for each in SERVED if each.media_type is not None], ids=lambda operation: operation.id
)
async def test_an_answer_nobody_accepts_is_not_made(memory: Store, clock: ManualClock, operation: Operation) -> None:
    async with served(memory, clock) as site:
        body = _plain_body(operation)
        for accept in ("image/png", "application/xml;q=0.5, text/css", "*/*;q=0"):
            answer = await site.http.request(operation.method, path_of(operation), *body, headers={"accept": accept})
            check(operation, answer, 406, "not_acceptable")


@behaviour("SRV-007")
@pytest.mark.parametrize("path", sorted({path_of(operation) for operation in SERVED}))
async def test_a_method_that_is_not_served_is_refused_with_those_that_are(
    memory: Store, clock: ManualClock, path: str
) -> None:
    own = {operation.method for operation in SERVED if path_of(operation) == path}
    allowed = {*own, "HEAD"} if "GET" in own else own
    async with served(memory, clock) as site:
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - allowed:
            answer = await site.http.request(method, path)

            assert answer.status == 405, method
            assert answer.headers["allow"] == ", ".join(sorted(allowed))
            assert method == "HEAD" or answer.code == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/runs", "/v1/runs//wait", "/v1/runs/a/b/c", "/v1/threads//runs", "//"]
)
async def test_a_path_that_leads_nowhere_is_a_404(memory: Store, clock: ManualClock, path: str) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.get(path)

        assert (answer.status, answer.code) == (404, "not_found")
        assert site.counts.requests == [("GET", "unmatched", 404)]


@pytest.mark.parametrize("id", ["a b", "a\r\nb", "..", "x" * 129, "é"])
async def test_an_id_that_cannot_be_is_refused(memory: Store, clock: ManualClock, id: str) -> None:
    async with served(memory, clock) as site:
        for path in (f"/v1/threads/{id}", f"/v1/runs/{id}/events", f"/v1/runs/{id}/stream"):
            answer = await site.http.get(path)
            assert (answer.status, answer.code) == (422, "invalid_id")
            assert answer.json()["errors"][0]["loc"][0] == "path"


@EACH
async def test_a_slash_at_the_end_changes_nothing(memory: Store, clock: ManualClock, operation: Operation) -> None:
    async with served(memory, clock) as site:
        answers = [
            await site.http.request(
                operation.method, path_of(operation) + end + "?colour=blue", *_plain_body(operation)
            )
            for end in ("", "/")
        ]
        assert answers[0].status == answers[1].status == 422


async def test_head_answers_like_get_without_a_body(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        await site.http.post("/v1/threads", {"thread_id": "t", "messages": [{"id": "m", "content": "before"}]})
        await site.finished(await site.submit("talk", "t", run_id="r"))
        await site.http.post("/v1/schedules", {"name": "nightly", "input": "hi", "agent_id": "talk", "every_s": 60})
        for operation in SERVED:
            if operation.method == "GET" and operation.id not in {
                "list_run_dispatches",
                "get_ticket",
                "get_dead_letter",
                "get_dispatch",
            }:
                path = path_of(operation)
                head = await site.http.request("HEAD", path)
                assert (head.status, head.body) == (200, b""), path
                if not operation.streams:
                    assert head.headers["content-length"] == (await site.http.get(path)).headers["content-length"]


async def test_a_request_id_is_echoed_when_it_is_fit_and_made_when_it_is_not(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        own = await site.http.get("/health/live", headers={"x-request-id": "order-4711/7"})
        assert own.headers["x-request-id"] == "order-4711/7"
        for unfit in ("", "a b", "x" * 129, "né"):
            made = await site.http.get("/health/live", headers={"x-request-id": unfit})
            assert len(made.headers["x-request-id"]) == 36


async def test_changing_answers_name_the_durability_and_others_do_not(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        made = await site.http.post("/v1/threads", {})
        refused = await site.http.post("/v1/threads", {"thread_id": "a b"})
        read = await site.http.get("/v1/threads")

        assert made.headers["awaken-durability"] == store.capabilities.durability
        assert "awaken-durability" not in {**refused.headers, **read.headers}


async def test_beyond_the_bound_of_requests_callers_are_sent_away_but_health_answers(
    memory: Store, clock: ManualClock
) -> None:
    goes_on = asyncio.Event()

    async def slow(request: Request) -> Scope:
        await goes_on.wait()
        return DEFAULT_SCOPE

    async with served(memory, clock, settings=HttpSettings(max_requests=1, authorize=slow)) as site:
        async with site.http.open("GET", "/v1/threads"):
            await site.world.quiet()
            refused = await site.http.get("/v1/runs")
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
            assert (await site.http.get("/health/ready")).status == 200
            goes_on.set()
        assert (await site.http.get("/v1/runs")).status == 200
        assert site.counts.in_flight == 0


WAITS: Final = (
    ("GET", "/v1/runs/{run}/wait"),
    ("GET", "/v1/runs/{run}/join"),
    ("POST", "/v1/runs/{run}/cancel?wait_s=9"),
    ("POST", "/v1/threads/{thread}/cancel?wait=true"),
    ("POST", "/v1/threads/{thread}/interrupt?wait=true"),
    ("GET", "/v1/messages/{message}/receipt?wait_s=9"),
)


@pytest.mark.parametrize(("method", "path"), WAITS)
async def test_whoever_waits_does_not_take_the_room_of_whoever_ends_the_waiting(
    memory: Store, clock: ManualClock, method: str, path: str
) -> None:
    ends = asyncio.Event()

    async def stubborn(context: Context) -> None:
        """Ignores every stop."""
        while not ends.is_set():
            with suppress(asyncio.CancelledError):
                await ends.wait()

    settings = HttpSettings(max_requests=1, max_streams=1)
    async with served(memory, clock, settings=settings, agents={"stubborn": stubborn}) as site:
        run = await site.submit("stubborn", thread_id="t")
        behind = await site.submit("gated", thread_id="t")
        [message] = (await site.world.run(RunId(behind["run_id"]))).request.input_message_ids
        place = path.format(run=run["run_id"], thread="t", message=message)
        async with site.http.open(method, place):
            await site.world.quiet()
            refused = await site.http.request(method, place)
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "too_many_streams", "1")
            assert (await site.http.post(f"/v1/runs/{run['run_id']}/cancel")).status == 202
        ends.set()
        await site.world.quiet()
        assert site.counts.in_flight == 0


class Faulty(MemoryStore):
    """Fails to read threads, in the way it is told."""

    error: Exception = StoreUnavailable("the disk is gone")

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        raise self.error


async def test_a_store_that_fails_is_a_503_and_a_bug_a_500_that_tells_nothing(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Faulty(clock)
    async with served(store, clock) as site:
        down = await site.http.get("/v1/threads/t")
        assert (down.status, down.code, down.headers["retry-after"]) == (503, "store_unavailable", "1")
        assert down.json()["retryable"] is True

        store.error = ZeroDivisionError("secret: hunter2")
        with caplog.at_level(logging.ERROR, logger="awaken.http"):
            bug = await site.http.get("/v1/threads/t")
        assert (bug.status, bug.code) == (500, "internal")
        assert b"hunter2" not in bug.body
        assert b"ZeroDivisionError" not in bug.body
        assert "hunter2" in caplog.text


@pytest.mark.parametrize("root_path", ["/agents", "/deep/er"])
async def test_links_follow_the_place_where_the_application_is_mounted(
    memory: Store, clock: ManualClock, root_path: str
) -> None:
    async with served(memory, clock) as site:
        mounted = Client(site.app, root_path=root_path)
        made = await mounted.post("/v1/runs", {"agent_id": "talk", "input": "hello"})
        assert made.headers["location"] == f"{root_path}/v1/runs/{made.json()['run_id']}/stream"

        outside = Client(site.app)
        assert (await outside.get(made.headers["content-location"])).code == "not_found"
        assert (await mounted.get(made.headers["content-location"].removeprefix(root_path))).status == 200
        assert (await mounted.get("/openapi.json")).json()["servers"] == [{"url": root_path}]


def _plain_body(operation: Operation) -> tuple[Any, ...]:
    return () if operation.body is None else ({"agent_id": "talk", "input": "hello"},)


async def test_the_table_and_the_description_agree(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        document: Any = json.loads((await site.http.get("/openapi.json")).body)

        described = {
            (method.upper(), path, each["operationId"])
            for path, methods in document["paths"].items()
            for method, each in methods.items()
        }
        assert described == {(operation.method, operation.path, operation.id) for operation in SERVED}
        assert "OPTIONS" not in str(described)


async def test_requests_are_counted_by_the_template_of_their_route(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        await site.http.get("/v1/runs/some-run")
        await site.http.get("/v1/threads/some-thread/messages/")

        routes = [("GET", "/v1/runs/{run_id}", 404), ("GET", "/v1/threads/{thread_id}/messages", 404)]
        assert site.counts.requests == routes
