"""Problem documents become the errors of the domain, by their code alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from awaken.client import ApiError
from awaken.client.errors import error_of
from awaken.domain.errors import (
    AlreadyAccepted,
    AlreadyExists,
    AwakenError,
    Conflict,
    CursorExpired,
    DataIntegrity,
    DispatchNotFound,
    QueueFull,
    StoreUnreachable,
    ThreadBusy,
    Unavailable,
    Unsupported,
    ValidationError,
)


def read(status: int, code: str | None, **facts: Any) -> AwakenError:
    document = {"status": status, "code": code, "detail": "what happened", "request_id": "q1", **facts}
    return error_of(status, msgspec.json.encode({name: value for name, value in document.items() if value is not None}))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "already_accepted", AlreadyAccepted),
        (409, "already_exists", AlreadyExists),
        (409, "thread_busy", ThreadBusy),
        (409, "something_new", Conflict),
        (410, "cursor_expired", CursorExpired),
        (422, "something_new", ValidationError),
        (429, "queue_full", QueueFull),
        (500, "data_integrity", DataIntegrity),
        (500, "internal", ApiError),
        (501, "not_supported", Unsupported),
        (503, "starting", Unavailable),
        (503, "stopping", Unavailable),
        (503, "store_unavailable", StoreUnreachable),
        (503, "overloaded", ApiError),
        (404, "webhook_not_found", ApiError),
        (404, "run_not_found", ApiError),
    ],
)
def test_a_code_names_an_error_and_the_servers_words_are_kept(status: int, code: str, kind: type[Exception]) -> None:
    error = read(status, code)
    assert type(error) is kind
    assert "what happened" in str(error)
    assert error.code == code


def test_an_error_carries_the_servers_facts() -> None:
    assert isinstance(missing := read(404, "dispatch_not_found", id="d1"), DispatchNotFound)
    assert (missing.id, missing.__notes__) == ("d1", ["request q1"])
    assert isinstance(busy := read(409, "thread_busy", active_run_id="r1"), ThreadBusy)
    assert busy.active_run_id == "r1"
    assert isinstance(expired := read(410, "cursor_expired", oldest_cursor="0"), CursorExpired)
    assert expired.oldest == "0"
    invalid = read(422, "invalid_request", errors=[{"loc": ["body", "messages", 0], "msg": "no", "type": "t"}])
    assert isinstance(invalid, ValidationError)
    assert invalid.loc == ("body", "messages", 0)


@pytest.mark.parametrize("errors", [[], [{}], "nonsense", [{"loc": {"a": 1}}]])
def test_a_place_that_cannot_be_read_is_left_out(errors: Any) -> None:
    error = read(422, "invalid_request", errors=errors)
    assert isinstance(error, ValidationError)
    assert error.loc == ()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"detail": 3}'])
def test_an_answer_without_a_problem_is_told_by_its_status(body: bytes) -> None:
    error = error_of(502, body)
    assert isinstance(error, ApiError)
    assert (error.status, error.code, error.request_id) == (502, "unknown", None)


def test_what_has_no_class_keeps_everything() -> None:
    error = read(503, "overloaded", retry_after_s=3)
    assert isinstance(error, ApiError)
    assert (error.status, error.request_id, error.problem["retry_after_s"]) == (503, "q1", 3)
    assert "(request q1)" in str(error)
