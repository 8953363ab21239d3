"""How long a failed dispatch waits before it is tried again.

Source: ADR 0011; MBX-072.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from awaken.domain.errors import ValidationError
from awaken.domain.explaining import shown

MAX_RETRY_DELAY_MS: Final = 86_400_000
"""A day."""
_MAX_DOUBLINGS: Final = 6


class RetryPolicy(msgspec.Struct, frozen=True):
    """Exponential back-off: 250, 500, 1 000 … milliseconds by default, at most `max_delay_ms`."""

    base_delay_ms: int = 250
    max_delay_ms: int = 30_000
    jitter: float = 0.0
    """By how much of itself a wait may be shorter, from 0 to 1: so that what failed together does not come back
    together."""

    def check(self) -> None:
        """Raises ValidationError for delays that are not whole, or not in the order 0, base, maximum, a day; and for a
        jitter that is not from 0 to 1.
        """
        whole = type(self.base_delay_ms) is int and type(self.max_delay_ms) is int
        if not whole or not 0 <= self.base_delay_ms <= self.max_delay_ms <= MAX_RETRY_DELAY_MS:
            raise ValidationError(
                "a retry policy has whole milliseconds with 0 <= base_delay_ms <= max_delay_ms <="
                f" {MAX_RETRY_DELAY_MS}, not {shown(self.base_delay_ms)} and {shown(self.max_delay_ms)}"
            )

        if type(self.jitter) not in (int, float) or not 0 <= self.jitter <= 1:
            raise ValidationError(f"the jitter of a retry policy is a number from 0 to 1, not {shown(self.jitter)}")

    def delay_ms(self, attempt_count: int, retry_after_ms: int = 0, *, seed: str = "") -> int:
        """The wait after failure number `attempt_count` (counting this one; 0 is read as 1).

        A provider's `retry_after_ms` lengthens the wait, also beyond the cap; it never shortens it. What
        a jitter makes of it is the same for the same `seed`, the token of the claim that failed.
        """
        doublings = min(max(attempt_count - 1, 0), _MAX_DOUBLINGS)
        backoff_ms = min(self.base_delay_ms * 2**doublings, self.max_delay_ms)
        if self.jitter:
            backoff_ms -= round(backoff_ms * self.jitter * _fraction(seed))
        return max(backoff_ms, retry_after_ms)


def _fraction(seed: str) -> float:
    """Anything from 0 up to 1. Tokens are minted with the chance of their process, and a settlement that is asked again
    carries the same one, so its answer is the same.
    """
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48
