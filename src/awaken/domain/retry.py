"""How long a failed dispatch waits before it is tried again.

Source: ADR 0011; MBX-072.
"""

from __future__ import annotations

from typing import Final

import msgspec

from awaken.domain.errors import ValidationError
from awaken.domain.explaining import shown

MAX_RETRY_DELAY_MS: Final = 86_400_000
"""A day."""
_MAX_DOUBLINGS: Final = 6


class RetryPolicy(msgspec.Struct, frozen=True):
    """Exponential back-off without jitter: 250, 500, 1 000 … milliseconds by default, at most `max_delay_ms`."""

    base_delay_ms: int = 250
    max_delay_ms: int = 30_000

    def check(self) -> None:
        """Raises ValidationError for delays that are not whole, or not in the order 0, base, maximum, a day."""
        whole = type(self.base_delay_ms) is int and type(self.max_delay_ms) is int
        if not whole or not 0 <= self.base_delay_ms <= self.max_delay_ms <= MAX_RETRY_DELAY_MS:
            raise ValidationError(
                "a retry policy has whole milliseconds with 0 <= base_delay_ms <= max_delay_ms <="
                f" {MAX_RETRY_DELAY_MS}, not {shown(self.base_delay_ms)} and {shown(self.max_delay_ms)}"
            )

    def delay_ms(self, attempt_count: int, retry_after_ms: int = 0) -> int:
        """The wait after failure number `attempt_count` (counting this one; 0 is read as 1).

        A provider's `retry_after_ms` lengthens the wait, also beyond the cap; it never shortens it.
        """
        doublings = min(max(attempt_count - 1, 0), _MAX_DOUBLINGS)
        backoff_ms = min(self.base_delay_ms * 2**doublings, self.max_delay_ms)
        return max(backoff_ms, retry_after_ms)
