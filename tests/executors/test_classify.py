"""What an exception means for the run: the table, and that nothing but the kind of failure decides."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai import exceptions as ai

from awaken.domain.errors import (
    AgentNotFound,
    DataIntegrity,
    PermanentFailure,
    StoreRefused,
    StoreUnavailable,
    ThreadBusy,
    TransientFailure,
    Unsupported,
    ValidationError,
)
from awaken.executors.classify import Verdict, asked_wait_s, classify, verdict_on
from awaken.testing.behaviour import behaviour


class Response:
    """A provider's HTTP response, as its client attaches it."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.status_code = status
        self.headers = headers or {}


class ProviderError(Exception):
    """A raw client error: known by its attributes only."""

    def __init__(self, message: str = "", **attributes: Any) -> None:
        super().__init__(message)
        self.__dict__.update(attributes)


def http(status: int, category: Any = None, **options: Any) -> Exception:
    if category is None:
        return ai.ModelHTTPError(status, "model", **options)
    return ai.ModelHTTPError.for_category(category, status_code=status, model_name="model", **options)


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def raised_while(error: Exception, context: BaseException, *, hidden: bool = False) -> Exception:
    error.__context__ = context
    error.__suppress_context__ = hidden
    return error


MODEL_ERRORS: list[tuple[str, Callable[[str], Exception], Verdict]] = [
    # the eleven kinds of inference failure of the specification, then more of the same rule
    ("provider error", lambda text: http(500, ai.ModelServerError, body=text), "transient"),
    ("rate limited", lambda text: http(429, ai.ModelRateLimitError, body=text), "transient"),
    ("overloaded", lambda text: http(529, ai.ModelOverloadedError, body=text), "transient"),
    ("timeout", lambda text: ai.ModelTimeoutError("model", text), "transient"),
    ("context overflow", lambda text: http(400, ai.ModelContextWindowExceededError, body=text), "permanent"),
    ("invalid request", lambda text: http(400, ai.ModelRequestRejectedError, body=text), "permanent"),
    ("unauthorized", lambda text: http(401, ai.ModelAuthenticationError, body=text), "permanent"),
    ("model not found", lambda text: http(404, ai.ModelNotFoundError, body=text), "permanent"),
    ("content filtered", lambda text: ai.ContentFilterError(text), "permanent"),
    (
        "all models unavailable",
        lambda text: ai.FallbackExceptionGroup(text or "-", [http(401), http(404)]),
        "permanent",
    ),
    ("quota used up", lambda text: http(429, ai.ModelQuotaExceededError, body=text), "permanent"),
    ("cancelled", lambda text: ai.RunCancelled(text), "permanent"),
    ("stream interrupted", lambda text: ai.ModelConnectionError("model", text), "transient"),
    ("one model may recover", lambda text: ai.FallbackExceptionGroup(text or "-", [http(401), http(503)]), "transient"),
]

OTHER_ERRORS: list[tuple[BaseException, Verdict]] = [
    (ai.UnexpectedModelBehavior("too many retries"), "permanent"),
    (ai.UserError("wrong use"), "permanent"),
    (http(408), "transient"),
    (http(409), "transient"),
    (http(425), "transient"),
    (http(413), "permanent"),
    (ProviderError(status_code=503), "transient"),
    (ProviderError(response=Response(502)), "transient"),
    (ProviderError(response=Response(403)), "permanent"),
    (ProviderError(status_code=429, code="insufficient_quota"), "permanent"),
    (ProviderError(status_code=429, body={"error": {"type": "insufficient_quota"}}), "permanent"),
    (ProviderError(status_code=429, body={"error": {"type": "rate_limit_error"}}), "transient"),
    (ConnectionResetError(), "transient"),
    (TimeoutError(), "transient"),
    (TypeError(), "permanent"),
    (ValueError(), "permanent"),
    (KeyError(), "permanent"),
    (ModuleNotFoundError(), "permanent"),
    (IndexError(), "permanent"),
    (AttributeError(), "permanent"),
    (NameError(), "permanent"),
    (asyncio.CancelledError(), "permanent"),
    (UnboundLocalError(), "permanent"),
    (SyntaxError(), "permanent"),
    (AssertionError(), "permanent"),
    (NotImplementedError(), "permanent"),
    (RecursionError(), "permanent"),
    (ZeroDivisionError(), "transient"),
    (Exception(), "transient"),
    (Unsupported("this"), "permanent"),
    (DataIntegrity("broken"), "permanent"),
    (caused(RuntimeError("wrapped"), ConnectionError()), "transient"),
    (caused(ValueError("wrapped"), http(503)), "transient"),
    (caused(RuntimeError("wrapped"), PermanentFailure("no")), "permanent"),
    (raised_while(ValueError(), http(429)), "transient"),
    (raised_while(ValueError(), http(429), hidden=True), "permanent"),
    (ExceptionGroup("tasks", [TimeoutError(), TypeError()]), "permanent"),
    (ExceptionGroup("tasks", [TimeoutError(), http(503)]), "transient"),
]


@behaviour("MBX-096")
@pytest.mark.parametrize(("make", "verdict"), [row[1:] for row in MODEL_ERRORS], ids=[row[0] for row in MODEL_ERRORS])
def test_every_kind_of_model_failure_has_its_verdict(make: Callable[[str], Exception], verdict: Verdict) -> None:
    assert verdict_on(make("text")) == verdict


@behaviour("MBX-099")
@given(st.sampled_from(MODEL_ERRORS), st.text(), st.one_of(st.none(), st.floats(0, 1e6)))
def test_neither_the_text_nor_the_asked_wait_changes_the_verdict(
    row: tuple[str, Callable[[str], Exception], Verdict], text: str, retry_after_s: float | None
) -> None:
    error = row[1](text)
    error.__dict__["retry_after"] = retry_after_s

    failure = classify(error)

    assert verdict_on(error) == row[2] != "completed"
    if isinstance(failure, TransientFailure) and not isinstance(error, ExceptionGroup):
        assert failure.retry_after_s == retry_after_s


@behaviour("MBX-085")
def test_an_execution_that_returned_is_completed() -> None:
    assert verdict_on(None) == "completed"


@behaviour("MBX-086")
def test_a_thread_that_is_already_running_is_permanent() -> None:
    assert verdict_on(ThreadBusy("thread", "run")) == "permanent"


@behaviour("MBX-087")
def test_an_agent_that_is_not_there_is_permanent() -> None:
    assert verdict_on(AgentNotFound("agent")) == "permanent"


@behaviour("MBX-089")
def test_a_failing_store_is_transient() -> None:
    assert verdict_on(StoreUnavailable("disk full")) == "transient"
    assert verdict_on(StoreRefused("a grant is missing")) == "permanent"


@behaviour("MBX-090")
def test_a_failure_nobody_knows_is_transient() -> None:
    assert verdict_on(RuntimeError("something broke in a tool")) == "transient"


@behaviour("MBX-091")
def test_what_was_never_valid_is_permanent() -> None:
    assert verdict_on(ValidationError("bad")) == "permanent"


@behaviour("MBX-092", "MBX-093", "MBX-094")
@pytest.mark.parametrize("name", ["unauthorized", "context overflow", "model not found"])
def test_what_the_provider_will_never_accept_is_permanent(name: str) -> None:
    [make] = [make for known, make, _ in MODEL_ERRORS if known == name]
    assert verdict_on(make("")) == "permanent"


@behaviour("MBX-095")
@pytest.mark.parametrize("name", ["rate limited", "provider error"])
def test_what_the_provider_may_accept_later_is_transient(name: str) -> None:
    [make] = [make for known, make, _ in MODEL_ERRORS if known == name]
    assert verdict_on(make("")) == "transient"


@pytest.mark.parametrize(("error", "verdict"), OTHER_ERRORS, ids=lambda value: str(value)[:40])
def test_other_failures_are_judged_by_code_status_cause_and_type(error: BaseException, verdict: Verdict) -> None:
    assert verdict_on(error) == verdict


def test_a_failure_of_our_own_is_what_it_is() -> None:
    failure = TransientFailure("later", retry_after_s=3.0)
    assert classify(failure) is failure
    assert classify(caused(RuntimeError(), failure)) is failure


def test_a_failure_names_and_keeps_its_cause() -> None:
    error = KeyError("x")
    failure = classify(error)
    assert (str(failure), failure.__cause__) == ("KeyError", error)


def test_the_text_of_an_error_is_part_of_its_failure_only_where_everybody_may_read_it() -> None:
    error = RuntimeError("password=hunter2")
    assert str(classify(error)) == "RuntimeError"
    assert str(classify(error, exposed=True)) == "RuntimeError: password=hunter2"


def test_code_that_ends_the_process_does_so_every_time_and_a_key_press_does_not() -> None:
    assert verdict_on(SystemExit(2)) == "permanent"
    assert verdict_on(caused(RuntimeError(), SystemExit(2))) == "permanent"
    assert verdict_on(KeyboardInterrupt()) == "transient"


AT_FIRST = "Wed, 21 Oct 2026 07:27:30 GMT"
NOW = round(datetime(2026, 10, 21, 7, 28, tzinfo=UTC).timestamp() * 1000)
LATER_ON = "Wed, 21 Oct 2026 07:28:10 GMT"


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (http(429, ai.ModelRateLimitError, headers={"retry-after": "7"}), 7.0),
        (ProviderError(status_code=429, response=Response(429, {"retry-after": "2.5"})), 2.5),
        (ProviderError(status_code=429, response=Response(429, {"retry-after": "Wed, 21 Oct"})), None),
        # A date counts from when the answer was made, by the clock of whoever made it; or else from now.
        (ProviderError(status_code=503, response=Response(503, {"retry-after": LATER_ON, "date": AT_FIRST})), 40.0),
        (ProviderError(status_code=503, response=Response(503, {"retry-after": AT_FIRST, "date": LATER_ON})), 0.0),
        (ProviderError(status_code=503, response=Response(503, {"retry-after": LATER_ON})), 10.0),
        (ProviderError(status_code=503, retry_after=LATER_ON), 10.0),
        (ProviderError(status_code=503, retry_after=datetime(2026, 10, 21, 7, 28, 10, tzinfo=UTC)), 10.0),
        (ProviderError(status_code=503, retry_after=datetime(2026, 10, 21, 7, 28, 10)), 10.0),
        (ProviderError(status_code=503, retry_after="Wed, 21 Oct 99999 07:28:00 GMT"), None),
        (ExceptionGroup("tasks", [ProviderError(status_code=503, retry_after=LATER_ON)]), 10.0),
        (ProviderError(status_code=429, retry_after=-1), None),
        (ProviderError(status_code=429), None),
    ],
)
def test_the_wait_a_provider_asks_for_is_kept(error: Exception, wait_s: float | None) -> None:
    failure = classify(error, now=NOW)
    assert isinstance(failure, TransientFailure)
    assert failure.retry_after_s == wait_s


def test_a_date_is_no_wait_where_nobody_knows_the_time() -> None:
    failure = classify(ProviderError(status_code=503, retry_after=LATER_ON))
    assert isinstance(failure, TransientFailure)
    assert failure.retry_after_s is None


LIMITED = http(429, ai.ModelRateLimitError, headers={"retry-after": "30"})
LATER = http(429, ai.ModelRateLimitError, headers={"retry-after": "90"})


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (ai.FallbackExceptionGroup("all failed", [LIMITED, LATER]), 30.0),
        (ai.FallbackExceptionGroup("all failed", [LIMITED, http(401)]), 30.0),  # the other one will never answer
        (ai.FallbackExceptionGroup("all failed", [LIMITED, http(503)]), None),  # the other one may be asked at once
        (ExceptionGroup("tasks", [LIMITED, LATER]), 90.0),
        (ExceptionGroup("tasks", [LIMITED, http(503)]), 30.0),
        (ExceptionGroup("tasks", [TransientFailure("busy", retry_after_s=30)]), 30.0),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [LATER]), LIMITED]), 90.0),
        (ExceptionGroup("tasks", [ai.FallbackExceptionGroup("all", [LIMITED, LATER]), http(503)]), 30.0),
        (caused(RuntimeError("the agent failed"), ExceptionGroup("tasks", [LIMITED])), 30.0),
    ],
)
def test_a_group_of_failures_asks_for_the_wait_of_its_members(error: Exception, wait_s: float | None) -> None:
    """Of models one after the other the first that may be asked again is enough; side by side all have to be."""
    failure = classify(error)
    assert isinstance(failure, TransientFailure)
    assert failure.retry_after_s == wait_s


def test_side_by_side_one_permanent_failure_is_enough() -> None:
    assert verdict_on(ExceptionGroup("tasks", [LIMITED, http(401)])) == "permanent"
    assert verdict_on(ExceptionGroup("tasks", [ExceptionGroup("inner", [KeyError("x")]), LIMITED])) == "permanent"


def test_the_text_of_a_group_names_its_members() -> None:
    inner = ExceptionGroup("inner", [ValueError("too small")])
    text = str(classify(ExceptionGroup("tasks", [TransientFailure("busy"), inner]), exposed=True))
    assert text == "ExceptionGroup (TransientFailure: busy; ExceptionGroup (ValueError: too small))"


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [
        (3, 3.0),
        ("2.5", 2.5),
        ("inf", math.inf),
        (10**400, math.inf),
        (0, 0.0),
        (-1, None),
        (math.nan, None),
        ("nan", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        (None, None),
        (object(), None),
        (b"\xff", None),
    ],
)
def test_a_wait_is_read_whatever_was_written(asked: Any, wait_s: float | None) -> None:
    assert asked_wait_s(asked) == wait_s


@pytest.mark.parametrize(
    "mistake", [AttributeError, NameError, TypeError, KeyError, IndexError, ValueError, ImportError]
)
def test_a_mistake_of_the_program_is_permanent(mistake: type[Exception]) -> None:
    assert verdict_on(mistake("x")) == "permanent"


def test_a_chain_of_causes_that_loops_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert verdict_on(first) == "transient"


class OfOnesOwn(PermanentFailure):
    """What an agent raises where it knows what has failed."""


@behaviour("DL-007")
@pytest.mark.parametrize(
    ("error", "named"),
    [
        (KeyError("k"), "KeyError"),
        (ProviderError("KeyError: k"), "ProviderError"),
        (PermanentFailure("Timeout: 3 s"), "PermanentFailure"),
        (OfOnesOwn("no answer"), "OfOnesOwn"),
        (caused(RuntimeError(), OfOnesOwn("no answer")), "OfOnesOwn"),
        (caused(RuntimeError(), http(429, ai.ModelRateLimitError)), "ModelRateLimitError"),
        (caused(RuntimeError(), KeyError("k")), "RuntimeError"),
        (classify(caused(RuntimeError(), TimeoutError())), "TimeoutError"),
        (ExceptionGroup("two", [TimeoutError(), caused(RuntimeError(), TimeoutError())]), "TimeoutError"),
        (ExceptionGroup("two", [TimeoutError(), KeyError()]), "ExceptionGroup"),
        (ai.FallbackExceptionGroup("-", [http(401), http(404)]), "ModelHTTPError"),
        (type("X" * 1000, (Exception,), {})(), "X" * 100),
    ],
)
def test_a_failure_is_of_the_class_of_what_decided(error: BaseException, named: str) -> None:
    """Never of a word in a text."""
    assert classify(error).error_class == named
