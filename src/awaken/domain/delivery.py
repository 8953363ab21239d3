"""How a message wants to be taken: one value, handed unchanged from HTTP and Python to the `Submit` transition.

Above: whoever submits fills it in once. Below: `store.rules.accept` reads it; nothing between the two looks inside.
Holds: a new wish of a caller is a field here, and no new parameter anywhere else.

Source: ADR 0002.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from awaken.domain.clock import Instant, from_rfc3339
from awaken.domain.dispatch import DEFAULT_PRIORITY
from awaken.domain.errors import ValidationError

LAST_PRIORITY: Final = 255
MAX_DELAY_MS: Final = 10 * 366 * 86_400_000
"""Ten years."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """When and how often what is submitted may run."""

    priority: int = DEFAULT_PRIORITY
    """0 (first) to 255 (last), inside the thread and among threads."""
    max_attempts: int | None = None
    """Failures after which it is given up; None is the mailbox's own setting."""
    dedupe_key: str | None = None
    """An unfinished run of the thread with this key is the answer, instead of a new one."""
    delay_ms: int = 0
    available_at: Instant | None = None
    """A caller's explicit instant; wins over `delay_ms`."""

    @property
    def is_delayed(self) -> bool:
        return self.delay_ms > 0 or self.available_at is not None

    def check(self) -> None:
        """Raises ValidationError for a quantity that is out of range."""
        if not 0 <= self.priority <= LAST_PRIORITY:
            raise ValidationError(f"priority is 0 (first) to {LAST_PRIORITY} (last)", loc=("body", "priority"))
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValidationError("max_attempts must be at least 1", loc=("body", "max_attempts"))
        if not 0 <= self.delay_ms <= MAX_DELAY_MS:
            raise _out_of_range()


def delay_ms(delay_s: float) -> int:
    """A delay in seconds, as a `Delivery` holds it. Raises ValidationError when it is out of range, or no number."""
    if not 0 <= delay_s * 1000 <= MAX_DELAY_MS:
        raise _out_of_range()
    return round(delay_s * 1000)


def due_at(at: datetime | str | None, *, delay_s: float = 0.0) -> Instant | None:
    """The instant before which a run does not start, from a `datetime` with a time zone or an RFC 3339 text.

    Raises:
        ValidationError: It is neither, or a delay is given too.
    """
    if at is None:
        return None
    if delay_s:
        raise ValidationError("give either a delay or an instant, not both", loc=("body", "available_at"))
    try:
        return from_rfc3339(at.isoformat() if isinstance(at, datetime) else at)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValidationError(
            f"{at!r} is not an instant: give a datetime with a time zone, or a text as 2026-01-31T08:00:00Z",
            loc=("body", "available_at"),
        ) from error


def _out_of_range() -> ValidationError:
    return ValidationError(f"a delay is 0 to {MAX_DELAY_MS // 1000} seconds", loc=("body", "after_seconds"))
