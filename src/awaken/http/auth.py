"""Who asks: one place that turns a request into a scope, or refuses it.

Above: `app` calls it for every operation but those that must always answer. Below: the user's own function.
Holds: without it every request has the scope of the application. With it a handler sees no other scope than the one it
returned, so what belongs to others is not there: lists leave it out, everything else answers 404.

Source: docs/howto/mount-in-fastapi.md; ADR 0020, ADR 0032.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request

from awaken.domain.errors import Unauthorized, ValidationError
from awaken.domain.ids import Scope, checked_id


class Caller(msgspec.Struct, frozen=True):
    """Whose data a request sees, and who asks, which agents see as `caller`."""

    scope: Scope
    id: str | None = None


class UnusableAnswer(Exception):
    """The function's own mistake, which whoever asked can do nothing about: the log has it, and the answer is a 500."""


Answer = Caller | str | None
"""A text is a scope; None refuses with 401."""
Authorize = Callable[[Request], Answer | Awaitable[Answer]]
"""Gets the request without its body. Refuses by None or Unauthorized (401), or by Forbidden (403)."""


async def caller_of(scope: Any, authorize: Authorize) -> Caller:
    """Who asks.

    Raises:
        Unauthorized, Forbidden: As the function decided.
        UnusableAnswer: What it returned cannot be a scope.
    """
    answer = authorize(Request(scope))
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is None:
        raise Unauthorized("this server needs to know who asks")
    caller = answer if isinstance(answer, Caller) else Caller(Scope(answer), answer)
    try:
        checked_id(caller.scope, what="scope")
    except ValidationError as error:
        raise UnusableAnswer(f"authorize returned what cannot be used: {error}") from error
    return caller
