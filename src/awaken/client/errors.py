"""What a call can raise: an error of the domain where the server's answer names one, else `ApiError` or `Unreachable`.

Above: every client method. Below: problem documents (RFC 9457) as the server writes them.
Holds: `code` decides, never the text; a code this version does not know becomes an `ApiError` that carries everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from awaken.domain.errors import (
    AgentNotFound,
    AlreadyAccepted,
    AlreadyConsumed,
    AlreadyExists,
    AwakenError,
    Conflict,
    CursorExpired,
    DataIntegrity,
    DeadLetterNotFound,
    DecisionConflict,
    DeliveryBlocked,
    DispatchEnded,
    DispatchNotFound,
    DispatchNotQueued,
    Forbidden,
    HasChildThreads,
    LineageCycle,
    MessageNotFound,
    NotDeadLetter,
    NotFound,
    QueueFull,
    RunNotFinished,
    RunNotFound,
    RunNotOpen,
    RunNotWaiting,
    ScheduleDeclared,
    ScheduleNotFound,
    StaleVersion,
    StoreUnreachable,
    ThreadBusy,
    ThreadGone,
    ThreadNotFound,
    TicketExpired,
    TicketNotFound,
    TicketWithdrawn,
    TooManySchedules,
    Unauthorized,
    Unavailable,
    UnknownAgent,
    UnknownToolCall,
    Unsupported,
    ValidationError,
    WatchedNotFound,
)
from awaken.domain.state import StateTooLarge

RETRYABLE: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may well succeed later."""


class ApiError(AwakenError):
    """The server refused, for a reason that has no class of its own. `problem` is its document, `{}` without one."""

    def __init__(self, status: int, code: str, detail: str, *, request_id: str | None, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {code}: {detail}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.problem = problem


class Unreachable(AwakenError):
    """No answer: nothing listens there, or the connection broke before the answer was complete."""

    code = "unreachable"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} was not reached: {reason}")
        self.url = url
        self.reason = reason


def error_of(status: int, body: bytes) -> AwakenError:
    """The exception that an answer of status 400 or more stands for."""
    problem = _document(body)
    code = problem.get("code")
    detail = _text(problem, "detail") or _text(problem, "message") or f"the server answered {status}"
    if not isinstance(code, str):
        return ApiError(status, "unknown", detail, request_id=_text(problem, "request_id"), problem=problem)
    make = _BY_CODE.get(code)
    error = None
    if make is not None:
        error = make(problem, detail)
    elif status == 422:
        error = ValidationError(detail, code=code, loc=_location(problem))
    elif status == 409:
        error = Conflict(detail)
        error.code = code
    if error is None:
        return ApiError(status, code, detail, request_id=_text(problem, "request_id"), problem=problem)
    request_id = _text(problem, "request_id")
    if request_id:
        error.add_note(f"request {request_id}")
    return error


def _document(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _text(problem: dict[str, Any], member: str) -> str | None:
    value = problem.get(member)
    return value if isinstance(value, str) and value else None


def _location(problem: dict[str, Any]) -> tuple[str | int, ...]:
    try:
        errors = msgspec.convert(problem.get("errors", []), list[dict[str, Any]])
        return msgspec.convert(errors[0]["loc"], tuple[str | int, ...]) if errors else ()
    except (msgspec.ValidationError, KeyError):
        return ()


_Make = Callable[[dict[str, Any], str], AwakenError | None]


def _not_found(kind: type[NotFound]) -> _Make:
    def make(problem: dict[str, Any], detail: str) -> AwakenError | None:
        id = _text(problem, "id")
        return None if id is None else kind(id)

    return make


def _made(make: Callable[[dict[str, Any]], AwakenError]) -> _Make:
    """From the document, with the server's own words: it knows more than the class does."""

    def made(problem: dict[str, Any], detail: str) -> AwakenError:
        error = make(problem)
        error.args = (detail,)
        return error

    return made


def _number(problem: dict[str, Any], member: str) -> int:
    value = problem.get(member)
    return value if isinstance(value, int) else 0


def _names(problem: dict[str, Any], member: str) -> tuple[str, ...]:
    try:
        return msgspec.convert(problem.get(member, ()), tuple[str, ...])
    except msgspec.ValidationError:
        return ()


def _fact(problem: dict[str, Any], member: str) -> str:
    return _text(problem, member) or ""


_BY_CODE: Final[dict[str, _Make]] = {
    "thread_not_found": _not_found(ThreadNotFound),
    "run_not_found": _not_found(RunNotFound),
    "watched_not_found": _not_found(WatchedNotFound),
    "dispatch_not_found": _not_found(DispatchNotFound),
    "dead_letter_not_found": _made(lambda problem: DeadLetterNotFound(_fact(problem, "id"), "")),
    "thread_deleted": _not_found(ThreadGone),
    "has_children": _made(lambda problem: HasChildThreads(_fact(problem, "id"), _fact(problem, "child_thread_id"))),
    "lineage_cycle": _made(lambda problem: LineageCycle(_fact(problem, "id"))),
    "run_not_finished": _made(lambda problem: RunNotFinished(_fact(problem, "id"))),
    "dispatch_not_queued": _made(
        lambda problem: DispatchNotQueued(_fact(problem, "id"), _fact(problem, "dispatch_status"))
    ),
    "dispatch_ended": _made(lambda problem: DispatchEnded(_fact(problem, "id"), _fact(problem, "dispatch_status"))),
    "not_dead_letter": _made(lambda problem: NotDeadLetter(_fact(problem, "id"), "")),
    "ticket_not_found": _not_found(TicketNotFound),
    "unknown_tool_call": _not_found(UnknownToolCall),
    "ticket_expired": _made(lambda problem: TicketExpired(_fact(problem, "id"), "")),
    "ticket_withdrawn": _made(
        lambda problem: TicketWithdrawn(_fact(problem, "run_id"), _fact(problem, "run_status"), _fact(problem, "id"))
    ),
    "decision_conflict": _made(
        lambda problem: DecisionConflict(
            _fact(problem, "id"),
            _fact(problem, "decision_id"),
            _fact(problem, "action"),
            _text(problem, "decided_by"),
            _fact(problem, "decided_at"),
        )
    ),
    "message_not_found": _not_found(MessageNotFound),
    "agent_not_found": _not_found(AgentNotFound),
    "schedule_not_found": _not_found(ScheduleNotFound),
    "schedule_declared": _made(lambda problem: ScheduleDeclared(_fact(problem, "id"))),
    "too_many_schedules": _made(lambda problem: TooManySchedules(0)),
    "precondition_failed": _made(
        lambda problem: StaleVersion("", _text(problem, "version") or _number(problem, "version"))
    ),
    "state_too_large": _made(lambda problem: StateTooLarge(0)),
    "run_not_open": _made(lambda problem: RunNotOpen(_fact(problem, "id"), _fact(problem, "run_status"))),
    "already_accepted": _made(lambda problem: AlreadyAccepted(_fact(problem, "id"), _text(problem, "run_id"))),
    "already_consumed": _made(lambda problem: AlreadyConsumed(_fact(problem, "id"), _fact(problem, "fate"))),
    "delivery_blocked": _made(lambda problem: DeliveryBlocked(_fact(problem, "pending_id"))),
    "run_not_waiting": _made(lambda problem: RunNotWaiting("", _text(problem, "id"), _text(problem, "run_status"))),
    "already_exists": _made(lambda problem: AlreadyExists("object", _fact(problem, "id"))),
    "thread_busy": _made(lambda problem: ThreadBusy(_fact(problem, "id"), _text(problem, "active_run_id"))),
    "queue_full": _made(lambda problem: QueueFull(_fact(problem, "id"), 0)),
    "not_supported": _made(lambda problem: Unsupported(_fact(problem, "capability"))),
    "cursor_expired": _made(lambda problem: CursorExpired(_fact(problem, "cursor"), _fact(problem, "oldest_cursor"))),
    "unknown_agent": _made(lambda problem: UnknownAgent(_text(problem, "agent_id"), _names(problem, "known"))),
    "unauthorized": lambda problem, detail: Unauthorized(detail),
    "forbidden": lambda problem, detail: Forbidden(detail),
    "starting": lambda problem, detail: Unavailable(detail, code="starting"),
    "stopping": lambda problem, detail: Unavailable(detail, code="stopping"),
    "store_unavailable": lambda problem, detail: StoreUnreachable(detail),
    "data_integrity": lambda problem, detail: DataIntegrity(detail),
}
