"""Decide what an exception means for the run it ended: try again, or give up.

Above: the mailbox classifies whatever a driver let through; drivers classify what their framework raised.
Below: the classes of `domain.errors`. No framework or provider is imported: their errors are known by class name,
by status code and by the wait they ask for.
Holds: the answer never depends on message text.

Source: `docs/concepts/executors.md` (errors).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, cast

from awaken.domain.clock import Instant
from awaken.domain.errors import (
    AwakenError,
    ExecutorError,
    PermanentFailure,
    StoreRefused,
    StoreUnavailable,
    TransientFailure,
    Unavailable,
)
from awaken.executors.wording import described

Verdict = Literal["completed", "transient", "permanent"]
"""What became of an execution. A result is `completed`, whatever its termination."""

MAX_LINKS: Final = 16
"""How far a chain of causes is followed."""
GIVE_UP_CODES: Final = frozenset(
    {
        "insufficient_quota", "billing_hard_limit_reached", "credit_balance_exhausted", "context_length_exceeded",
        "content_filter", "model_not_found", "invalid_api_key",
    }
)  # fmt: skip
"""Codes in a provider's error that no waiting cures, also where the status is that of a rate limit."""
PASSING_STATUSES: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may pass; every other one below 500 will not."""
KNOWN_CLASSES: Final[dict[str, bool]] = {
    # name of the class, with its package: whether trying again may help. The first match along the MRO counts.
    "pydantic_ai.ModelQuotaExceededError": False,
    "pydantic_ai.ModelRequestRejectedError": False,
    "pydantic_ai.ModelRateLimitError": True,
    "pydantic_ai.ModelUnavailableError": True,
    "pydantic_ai.ModelServerError": True,
    "pydantic_ai.ModelConnectionError": True,
    "pydantic_ai.ModelRequestTimeout": True,
    "pydantic_ai.ConcurrencyLimitExceeded": True,
    "pydantic_ai.UnexpectedModelBehavior": False,
    "pydantic_ai.UsageLimitExceeded": False,
    "pydantic_ai.UserError": False,
    "pydantic_ai.RunCancelled": False,
    "pydantic_ai.RunTimedOut": True,
    "openai.APIConnectionError": True,
    "anthropic.APIConnectionError": True,
    "httpx.TransportError": True,
}
MISTAKES: Final = (
    TypeError, ValueError, LookupError, ImportError, AttributeError, NameError, SyntaxError, AssertionError,
    NotImplementedError, RecursionError, asyncio.CancelledError,
)  # fmt: skip
"""What a program's own mistakes raise, cancelling what it waits for included: the same again on every attempt."""
_ONE_AFTER_THE_OTHER: Final = "FallbackExceptionGroup"
"""The group of models that were tried until one would answer; the members of every other group ran side by side."""


def classify(
    error: BaseException, *, exposed: bool = False, now: Instant | None = None
) -> TransientFailure | PermanentFailure:
    """The failure this exception amounts to; itself when it is one, otherwise a new one caused by it. `exposed`: its
    text may be read by everybody, else only its class. `now`: what a date until which to wait is compared with, where
    the answer that asks for it does not say when it was made.

    Its `error_class` is that of what decided: of a group whose members agree, theirs.

    Looks for something definite along the chain of causes, nearest first: this package's own errors, a known class, a
    code, a status, a broken connection. Failing that, a program's own mistake is permanent and everything unknown is
    transient: attempts are bounded, so a wrong guess costs a few of them.
    """
    for link in _chain(error):
        if isinstance(link, (TransientFailure, PermanentFailure)):
            return link
        if isinstance(link, BaseExceptionGroup):
            return _of_group(error, cast("BaseExceptionGroup[BaseException]", link), exposed, now)
        verdict = _definite(link)
        if verdict is not None:
            return _failure(error, exposed, type(link), transient=verdict, retry_after_s=_retry_after_s(link, now))
    return _failure(error, exposed, type(error), transient=not isinstance(error, MISTAKES))


def verdict_on(error: BaseException | None) -> Verdict:
    """The same in one word. None stands for an execution that returned."""
    if error is None:
        return "completed"
    return "transient" if isinstance(classify(error), TransientFailure) else "permanent"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from, as a traceback would show them; ends where the chain loops."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen and len(seen) < MAX_LINKS:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _definite(error: BaseException) -> bool | None:
    """Whether trying again may help, where this one exception shows it; None where it does not."""
    if isinstance(error, AwakenError) and not isinstance(error, ExecutorError):
        return isinstance(error, (StoreUnavailable, Unavailable)) and not isinstance(error, StoreRefused)
    if isinstance(error, SystemExit):
        return False  # code that ends the process does so every time
    if GIVE_UP_CODES.intersection(_codes(error)):
        return False
    known = _known_class(error)
    if known is not None:
        return known
    status = _status(error)
    if status is not None:
        return status >= 500 or status in PASSING_STATUSES
    return True if isinstance(error, (ConnectionError, TimeoutError)) else None


def _of_group(
    error: BaseException, group: BaseExceptionGroup[BaseException], exposed: bool, now: Instant | None
) -> TransientFailure | PermanentFailure:
    """Models tried one after the other fail for good only together, and the first that may be asked again is enough;
    tasks run side by side all have to succeed, and all have to be waited for.
    """
    failures = [classify(member, now=now) for member in _members(group)]
    waits = [asked_wait_s(each.retry_after_s) or 0.0 for each in failures if isinstance(each, TransientFailure)]
    if type(group).__name__ == _ONE_AFTER_THE_OTHER:
        is_transient, wait_s = bool(waits), min(waits, default=0.0)
    else:
        is_transient, wait_s = len(waits) == len(failures), max(waits, default=0.0)
    classes: set[type[BaseException]] = {each.stands_for or type(each) for each in failures}
    decided_by = classes.pop() if len(classes) == 1 else cast("type[BaseException]", type(group))
    return _failure(error, exposed, decided_by, transient=is_transient, retry_after_s=wait_s or None)


def _members(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions of a group, and those of plain groups inside it in their place: a task group in a task group is
    still side by side.
    """
    found: list[BaseException] = []
    waiting: list[BaseException] = [*reversed(group.exceptions)]
    while waiting:
        member = waiting.pop()
        if isinstance(member, BaseExceptionGroup) and type(cast(Any, member)).__name__ != _ONE_AFTER_THE_OTHER:
            waiting += [*reversed(cast("BaseExceptionGroup[BaseException]", member).exceptions)]
        else:
            found.append(cast(BaseException, member))
    return found


def _known_class(error: BaseException) -> bool | None:
    for cls in type(error).__mro__:
        known = KNOWN_CLASSES.get(f"{cls.__module__.partition('.')[0]}.{cls.__name__}")
        if known is not None:
            return known
    return None


def _codes(error: BaseException) -> Iterator[str]:
    """The codes a provider's error carries: on itself, or in the body it came with."""
    body: Any = getattr(error, "body", None)
    nested: Any = _get(body, "error")
    for holder in (_attributes(error), body, nested):
        for name in ("code", "type"):
            code = _get(holder, name)
            if isinstance(code, str):
                yield code


def _attributes(error: BaseException) -> dict[str, Any]:
    return {"code": getattr(error, "code", None), "type": getattr(error, "type", None)}


def _status(error: BaseException) -> int | None:
    for holder in (error, _response(error)):
        status = getattr(holder, "status_code", None) or getattr(holder, "status", None)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return None


def _retry_after_s(error: BaseException, now: Instant | None) -> float | None:
    """The wait the other side asks for: in seconds, or as the date at which it ends."""
    headers = getattr(_response(error), "headers", None)
    asked: Any = getattr(error, "retry_after", None)
    if asked is None:
        asked = _get(headers, "retry-after")
    wait_s = asked_wait_s(asked)
    return _wait_until_s(asked, _get(headers, "date"), now) if wait_s is None else wait_s


def _wait_until_s(asked: Any, said_at: Any, now: Instant | None) -> float | None:
    """How long it is until a date, by the clock of whoever names it, whose answer says when it was made: ours may
    differ by more than the wait. None for what is no date; nothing for what is over.
    """
    ends_s = _date_s(asked)
    begins_s = _date_s(said_at)
    if begins_s is None and now is not None:
        begins_s = now / 1000
    return None if ends_s is None or begins_s is None else max(ends_s - begins_s, 0.0)


def _date_s(value: Any) -> float | None:
    """Seconds since the epoch of a date as HTTP writes it, or of a `datetime`; None for what is neither."""
    try:
        date = value if isinstance(value, datetime) else parsedate_to_datetime(value)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None


def asked_wait_s(asked: object) -> float | None:
    """A wait in seconds that somebody else asks for, whatever he wrote; None where that is no wait.

    An endless one is a wait, too, which its caller bounds; what is less than nothing, or no number, is none.
    """
    try:
        wait_s = float(cast(Any, asked))
    except (TypeError, ValueError):
        return None
    except OverflowError:
        return math.inf
    return wait_s if wait_s >= 0 else None


def _response(error: BaseException) -> Any:
    try:
        return getattr(error, "response", None)
    except Exception:  # a property of somebody else's class
        return None


def _get(holder: Any, key: str) -> Any:
    return cast("Mapping[str, Any]", holder).get(key) if isinstance(holder, Mapping) else None


def _failure(
    error: BaseException,
    exposed: bool,
    decided_by: type[BaseException],
    *,
    transient: bool,
    retry_after_s: float | None = None,
) -> TransientFailure | PermanentFailure:
    message = described(error, exposed=exposed)
    failure = TransientFailure(message, retry_after_s=retry_after_s) if transient else PermanentFailure(message)
    failure.__cause__ = error
    failure.stands_for = decided_by
    return failure
