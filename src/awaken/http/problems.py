"""Errors as problem documents (RFC 9457): one table from codes to statuses, one from exceptions to problems.

Above: `app` has what `problem_of` makes of an exception rendered, as a document here or in the form of another
protocol; `openapi` lists the codes of each operation.
Holds: a problem contains what its reader can act on and nothing else: no stack, no statement, no secret.

Source: docs/reference/errors.md; SRV-007.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.errors import (
    AlreadyAccepted,
    AlreadyConsumed,
    AlreadyExists,
    AwakenError,
    Conflict,
    CursorExpired,
    DataIntegrity,
    DecisionConflict,
    DeliveryBlocked,
    DispatchEnded,
    DispatchNotQueued,
    Forbidden,
    HasChildThreads,
    LineageCycle,
    NotDeadLetter,
    NotFound,
    QueueFull,
    RunNotFinished,
    RunNotOpen,
    RunNotWaiting,
    ScheduleDeclared,
    StaleVersion,
    StoreError,
    ThreadBusy,
    TicketExpired,
    TicketWithdrawn,
    Unauthorized,
    Unavailable,
    UnknownAgent,
    Unsupported,
    ValidationError,
    WrongLoop,
)
from awaken.domain.explaining import explained, missing_field

_log = logging.getLogger("awaken.http")

STATUS: Final[dict[str, int]] = {
    "malformed_json": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "origin_not_allowed": 403,
    "not_found": 404,
    "thread_not_found": 404,
    "run_not_found": 404,
    "watched_not_found": 404,
    "dispatch_not_found": 404,
    "dead_letter_not_found": 404,
    "ticket_not_found": 404,
    "unknown_tool_call": 404,
    "message_not_found": 404,
    "agent_not_found": 404,
    "model_not_found": 404,
    "schedule_not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "already_accepted": 409,
    "already_exists": 409,
    "conflict": 409,
    "already_consumed": 409,
    "delivery_blocked": 409,
    "run_not_open": 409,
    "decision_conflict": 409,
    "ticket_withdrawn": 409,
    "run_not_waiting": 409,
    "schedule_declared": 409,
    "thread_busy": 409,
    "too_many_schedules": 409,
    "version_conflict": 409,
    "has_children": 409,
    "lineage_cycle": 409,
    "run_not_finished": 409,
    "not_dead_letter": 409,
    "dispatch_not_queued": 409,
    "dispatch_ended": 409,
    "cursor_expired": 410,
    "thread_deleted": 410,
    "ticket_expired": 410,
    "precondition_failed": 412,
    "body_too_large": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
    "host_not_allowed": 421,
    "invalid_request": 422,
    "invalid_id": 422,
    "unknown_parameter": 422,
    "state_too_large": 422,
    "unknown_agent": 422,
    "action_not_allowed": 422,
    "decision_rejected_by_schema": 422,
    "cursor_mismatch": 422,
    "precondition_required": 428,
    "queue_full": 429,
    "too_many_streams": 429,
    "headers_too_large": 431,
    "internal": 500,
    "run_failed": 500,
    "data_integrity": 500,
    "not_supported": 501,
    "starting": 503,
    "stopping": 503,
    "overloaded": 503,
    "store_unavailable": 503,
    "wrong_loop": 503,
}
"""Every code this server answers with."""

_RETRY_AFTER_S: Final = {"queue_full": 1, "thread_busy": 1, "starting": 1, "stopping": 1, "store_unavailable": 1}
_encode: Final = msgspec.json.Encoder().encode
_ORIGINS: Final = (("query",), ("path",), ("header",))


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong at one place of the input. `loc` starts with `body`, `query`, `path` or `header`."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class Problem(AwakenError):
    """An answer that is not the one asked for. The HTTP layer raises it where no error of the domain fits."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        facts: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = STATUS[code]
        self.detail = detail
        self.facts = dict(facts or {})
        self.headers = dict(headers or {})
        self.errors = errors

    def within(self, origin: Literal["body", "query"]) -> Problem:
        """The same about input that came there: whoever checks a value knows its name, and not how it was sent."""
        self.errors = tuple([replace(each, loc=_placed(each.loc, origin)) for each in self.errors])
        return self

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return (self.status in (429, 503) and self.code != "wrong_loop") or self.code == "thread_busy"

    def to_document(self, request_id: str) -> dict[str, Any]:
        """The members of the problem document, as JSON values."""
        document: dict[str, Any] = {
            "type": f"urn:awaken:problem:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "message": self.detail,
            "request_id": request_id,
            "retryable": self.is_retryable,
        }
        if self.errors:
            document["errors"] = list(self.errors)
        return document | self.facts

    def to_json(self, request_id: str) -> bytes:
        return _encode(self.to_document(request_id))

    def to_response(self, request_id: str) -> Response:
        return Response(self.to_json(request_id), self.status, self.headers, media_type="application/problem+json")


def invalid(code: str, detail: str, *loc: str | int) -> Problem:
    """A 422 about one place of the input."""
    return Problem(code, detail, errors=(FieldError(loc, detail, code),))


def _placed(loc: tuple[str | int, ...], origin: str) -> tuple[str | int, ...]:
    if loc[:1] == ("body",):
        return (origin, *loc[1:])
    return loc if loc[:1] in _ORIGINS else (origin, *loc)


def problem_of(error: Exception) -> Problem:
    """An exception as a client sees it. One that nobody foresaw is logged, and is `internal` to the client."""
    for cls in type(error).__mro__:
        make = _TABLE.get(cls)
        if make is not None:
            return make(error)
    _log.error("a request failed", exc_info=error)
    return Problem("internal", "something went wrong here; the log has more under this request id")


def shape_problem(error: msgspec.ValidationError, origin: str, type: type[Any], value: object) -> Problem:
    """A 422 for input, the `value`, that has not the shape of the type; `origin` is `body` or `query`."""
    place, text = explained(error, type, value)
    loc: list[str | int] = [origin, *place]
    missing = missing_field(error)
    if missing is not None:
        loc.append(missing)
    kind = "missing" if missing is not None else "wrong_type" if str(error).startswith("Expected") else "wrong_value"
    where = ".".join(str(part) for part in loc)
    return Problem("invalid_request", f"{where}: {text}", errors=(FieldError(tuple(loc), text, kind),))


def _itself(problem: Any) -> Problem:
    return problem


def _validation(error: Any) -> Problem:
    text = str(error)
    facts = {"agent_id": error.agent_id, "known": error.known} if isinstance(error, UnknownAgent) else None
    return Problem(error.code, text, facts=facts, errors=(FieldError(error.loc or ("body",), text, error.code),))


def _unauthorized(error: Any) -> Problem:
    return Problem("unauthorized", str(error), headers={"WWW-Authenticate": "Bearer"})


def _forbidden(error: Any) -> Problem:
    return Problem("forbidden", str(error))


def _not_found(error: Any) -> Problem:
    return Problem(error.code, str(error), facts={"id": error.id})


def _conflict(error: Any) -> Problem:
    facts: dict[str, Any] = {}
    match error:
        case AlreadyAccepted():
            facts = {"id": error.id} if error.run_id is None else {"id": error.id, "run_id": error.run_id}
        case AlreadyExists() | ScheduleDeclared():
            facts = {"id": error.id}
        case DecisionConflict():
            facts = {
                "id": error.id,
                "decision_id": error.decision_id,
                "action": error.action,
                "decided_by": error.decided_by,
                "decided_at": error.decided_at,
            }
        case TicketWithdrawn():
            facts = {"id": error.id, "run_id": error.run_id, "run_status": error.status}
        case RunNotOpen():
            facts = {"id": error.id, "run_status": error.status}
        case RunNotWaiting():
            facts = {} if error.id is None else {"id": error.id, "run_status": error.status}
        case DeliveryBlocked():
            facts = {"pending_id": error.id}
        case AlreadyConsumed():
            facts = {"id": error.id, "fate": error.fate}
        case ThreadBusy():
            facts = {"active_run_id": error.active_run_id}
        case StaleVersion():
            facts = {"version": error.version}
        case HasChildThreads():
            facts = {"id": error.id, "child_thread_id": error.child}
        case LineageCycle() | RunNotFinished() | NotDeadLetter():
            facts = {"id": error.id}
        case DispatchNotQueued() | DispatchEnded():
            facts = {"id": error.id, "dispatch_status": error.dispatch_status}
        case _:
            pass
    return Problem(error.code, str(error), facts=facts) if error.code != "thread_busy" else _later(error, facts)


def _later(error: Any, facts: Mapping[str, Any] | None = None) -> Problem:
    """Worth trying again after a while."""
    after_s = _RETRY_AFTER_S[error.code]
    return Problem(
        error.code,
        str(error),
        facts={**(facts or {}), "retry_after_s": after_s},
        headers={"Retry-After": str(after_s)},
    )


def _unsupported(error: Any) -> Problem:
    return Problem("not_supported", str(error), facts={"capability": error.capability})


def _cursor_expired(error: Any) -> Problem:
    return Problem("cursor_expired", str(error), facts={"oldest_cursor": error.oldest})


def _wrong_loop(error: Any) -> Problem:
    _log.error("a request came on another event loop: %s", error)
    return Problem("wrong_loop", str(error))


def _ticket_expired(error: Any) -> Problem:
    return Problem("ticket_expired", str(error), facts={"id": error.id})


def _store(error: Any) -> Problem:
    if isinstance(error, DataIntegrity):
        _log.error("a stored record is damaged", exc_info=error)
        return Problem("data_integrity", str(error))
    return _later(error)


_TABLE: Final[dict[type[Any], Callable[[Any], Problem]]] = {
    Problem: _itself,
    ValidationError: _validation,
    Unauthorized: _unauthorized,
    Forbidden: _forbidden,
    NotFound: _not_found,
    Conflict: _conflict,
    QueueFull: _later,
    Unsupported: _unsupported,
    CursorExpired: _cursor_expired,
    TicketExpired: _ticket_expired,
    Unavailable: _later,
    StoreError: _store,
    WrongLoop: _wrong_loop,
}
"""By class, the nearest in the exception's own order of inheritance. What is missing here is a bug."""
