"""Operations handed to the application: what clashes, all methods, and errors in the form that their protocol has."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest
from starlette.responses import Response

from awaken.domain.errors import RunNotFound, ValidationError
from awaken.http.app import build_app
from awaken.http.openapi import describe
from awaken.http.operation import Call, ErrorRenderer, Operation, json_response
from awaken.http.problems import Problem
from awaken.http.settings import HttpSettings
from awaken.http.table import OPERATIONS
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import Answer
from tests.http.notes import NOTE_OPERATIONS, NoteWrite
from tests.http.site import served


class Complaint(msgspec.Struct, frozen=True):
    """What another protocol answers with when something is wrong."""

    error: str
    reference: str


def complain(problem: Problem, request_id: str) -> Response:
    body = msgspec.json.encode(Complaint(problem.code, request_id))
    return Response(body, problem.status, problem.headers, media_type="application/json")


COMPLAINTS: Final = ErrorRenderer(complain, "application/json", Complaint)


async def nothing(call: Call) -> Response:
    return json_response({})


async def lost(call: Call) -> Response:
    raise RunNotFound(call.path_id("letter_id"))


def operation(method: Any, path: str, id: str = "another", **fields: Any) -> Operation:
    given: dict[str, Any] = {"handler": nothing, "answers": {200: dict[str, Any]}, "summary": "", **fields}
    return Operation(method=method, path=path, id=id, **given)


LETTERS: Final = (
    operation("GET", "/letters", "letters", errors=COMPLAINTS),
    operation("GET", "/letters/{letter_id}", "letter", handler=lost, errors=COMPLAINTS, problems=("run_not_found",)),
    operation("POST", "/letters/{letter_id}", "post_letter", body=NoteWrite, errors=COMPLAINTS),
)


# --- what is handed over ----------------------------------------------------------------------------------------------


async def test_an_application_offers_what_it_was_given_and_nothing_else(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, operations=NOTE_OPERATIONS) as site:
        assert (await site.http.get("/notes/n")).status == 200
        assert (await site.http.get("/v1/runs")).code == "not_found"


@pytest.mark.parametrize(
    ("clashing", "complaint"),
    [
        (operation("GET", "/v1/runs"), "'another' and 'list_runs' are both GET /v1/runs"),
        (operation("POST", "/v1/runs/wait"), "'another' and 'create_run_and_wait' are both POST /v1/runs/wait"),
        (operation("GET", "/v1/runs/{run_id}"), "'another' and 'get_run' are both GET /v1/runs/{run_id}"),
        (operation("PUT", "/v1/threads/{id}/name"), "different names for one parameter"),
        (operation("GET", "/elsewhere", "get_run"), "two operations have the name 'get_run'"),
    ],
)
async def test_operations_that_could_be_taken_for_one_another_stop_the_application_when_it_is_built(
    memory: Store, clock: ManualClock, clashing: Operation, complaint: str
) -> None:
    async with served(memory, clock) as site:
        with pytest.raises(ValidationError) as refused:
            build_app(site.world.mailbox, memory, (*OPERATIONS, clashing))

        assert complaint in str(refused.value)


def test_an_operation_that_gets_takes_no_body() -> None:
    with pytest.raises(ValidationError, match="another: what a GET asks for"):
        operation("GET", "/elsewhere", body=NoteWrite)


async def test_other_methods_of_a_known_path_and_other_words_in_place_of_a_parameter_do_not_clash(
    memory: Store, clock: ManualClock
) -> None:
    beside = (operation("PUT", "/v1/runs/{run_id}", "replace"), operation("GET", "/v1/runs/newest", "newest"))
    async with served(memory, clock, operations=(*OPERATIONS, *beside)) as site:
        assert (await site.http.request("PUT", "/v1/runs/r")).status == 200
        assert (await site.http.get("/v1/runs/newest")).status == 200
        assert (await site.http.get("/v1/runs/oldest")).code == "run_not_found"


# --- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_every_method_that_changes_something_brings_its_body_and_gets_its_answer(
    store: Store, clock: ManualClock, method: str
) -> None:
    async with served(store, clock) as site:
        answer = await site.http.request(method, "/notes/n", {"input": "as it is now"})

        assert answer.headers["awaken-durability"] == store.capabilities.durability
        if method == "DELETE":
            assert (answer.status, answer.body, "content-type" in answer.headers) == (204, b"", False)
        else:
            assert (answer.status, answer.json()) == (200, {"note_id": "n", "text": "as it is now"})


async def test_an_answer_without_content_is_made_whatever_is_accepted(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.request("DELETE", "/notes/n", {}, headers={"accept": "image/png"})

        assert answer.status == 204


def test_each_method_of_a_path_is_described_with_its_body() -> None:
    path = json.loads(describe(NOTE_OPERATIONS, ""))["paths"]["/notes/{note_id}"]

    assert {method: "requestBody" in each for method, each in path.items()} == {
        "get": False, "put": True, "patch": True, "delete": True,
    }  # fmt: skip
    assert path["delete"]["responses"]["204"] == {"description": "OK, without content"}


# --- errors -----------------------------------------------------------------------------------------------------------


def check_complaint(answer: Answer, status: int, error: str) -> None:
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json() == {"error": error, "reference": answer.headers["x-request-id"]}


async def test_a_group_reports_every_error_in_its_own_form(memory: Store, clock: ManualClock) -> None:
    settings = HttpSettings(allowed_hosts=("testserver",), max_body_bytes=100, max_uri_bytes=200)
    async with served(memory, clock, operations=(*OPERATIONS, *LETTERS), settings=settings) as site:
        check_complaint(await site.http.get("/letters/a"), 404, "run_not_found")
        check_complaint(await site.http.get("/letters?colour=blue"), 422, "unknown_parameter")
        check_complaint(await site.http.get("/letters", headers={"accept": "image/png"}), 406, "not_acceptable")
        check_complaint(await site.http.post("/letters/a", b"{"), 400, "malformed_json")
        check_complaint(await site.http.post("/letters/a", {"input": "x" * 200}), 413, "body_too_large")
        # What is refused before an operation is known:
        check_complaint(await site.http.get("/letters/a/b/c"), 404, "not_found")
        check_complaint(await site.http.get("/letters/a?" + "x" * 200), 414, "uri_too_long")
        check_complaint(await site.http.get("/letters", headers={"host": "evil.example"}), 421, "host_not_allowed")
        refused = await site.http.request("PUT", "/letters/a")
        check_complaint(refused, 405, "method_not_allowed")
        assert refused.headers["allow"] == "GET, HEAD, POST"


@behaviour("SRV-007")
async def test_a_group_with_its_own_form_changes_nothing_for_the_others(memory: Store, clock: ManualClock) -> None:
    mixed = (*LETTERS, operation("POST", "/notes", errors=COMPLAINTS), *OPERATIONS, *NOTE_OPERATIONS)
    async with served(memory, clock, operations=mixed) as site:
        assert (await site.http.get("/v1/runs/nobody")).code == "run_not_found"
        for path in ("/", "/nowhere", "/v1/nowhere", "/letter", "/notes/n/nowhere"):
            assert (await site.http.get(path)).code == "not_found", path
        # Below `/notes` the two forms disagree where nothing more is known, and each operation keeps its own.
        assert (await site.http.get("/notes")).code == "method_not_allowed"
        check_complaint(await site.http.post("/notes?colour=blue"), 422, "unknown_parameter")


def test_the_form_of_an_error_is_described() -> None:
    document = json.loads(describe((*OPERATIONS, *LETTERS), ""))

    answers = document["paths"]["/letters/{letter_id}"]["get"]["responses"]
    assert answers["404"]["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Complaint"}}}
    own = document["paths"]["/v1/runs/{run_id}"]["get"]["responses"]["404"]["content"]
    assert list(own) == ["application/problem+json"]
    assert {"Complaint", "ProblemDocument"} <= document["components"]["schemas"].keys()
