"""Failures as they are caught and raised. Nothing here is executed: the type checker is the test, as in `programs`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from awaken import Awaken, AwakenError, Context
from awaken.client import ApiError, AsyncClient, Unreachable
from awaken.domain.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    PermanentFailure,
    QueueFull,
    RunNotFound,
    RunNotOpen,
    StoreError,
    StoreUnavailable,
    TransientFailure,
    UnknownAgent,
    ValidationError,
)


async def a_caller(app: Awaken) -> str:
    try:
        await app.submit("thread", "hello")
    except UnknownAgent as error:
        assert_type(error.known, tuple[str, ...])
        assert_type(error.code, str)
    except ValidationError as error:
        assert_type(error.loc, tuple[str | int, ...])
    except QueueFull as error:
        assert_type(error.limit, int)
    except AlreadyExists as error:
        assert_type((error.what, error.id), tuple[str, str])
    try:
        await app.cancel("run")
    except (RunNotFound, RunNotOpen) as error:
        return str(error)
    except StoreUnavailable:
        return "later"
    return "done"


def families(not_open: RunNotOpen, missing: RunNotFound, store: StoreUnavailable) -> tuple[AwakenError, ...]:
    conflict: Conflict = not_open
    absent: NotFound = missing
    down: StoreError = store
    wrong: StoreError = missing  # pyright: ignore[reportAssignmentType]
    return conflict, absent, down, wrong


async def an_agent(context: Context) -> str:
    if not await context.input():
        raise PermanentFailure("nothing was asked")
    raise TransientFailure("busy", retry_after_s=30)


def a_failure_names_its_wait() -> None:
    assert_type(TransientFailure("busy").retry_after_s, float | None)
    TransientFailure("busy", 30)  # pyright: ignore[reportCallIssue]
    PermanentFailure("no", retry_after_s=30)  # pyright: ignore[reportCallIssue]


async def over_http(client: AsyncClient) -> str:
    try:
        await client.get_run("r1")
    except RunNotFound as error:
        return error.id
    except ApiError as error:
        assert_type(error.status, int)
        return error.code
    except Unreachable as error:
        return str(error)
    return ""
