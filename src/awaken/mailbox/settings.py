"""Every duration and bound of the mailbox, with its reason.

Source: docs/reference/settings.md; ADR 0013 for what belongs to leases.
"""

from __future__ import annotations

from typing import Final

import msgspec

from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS
from awaken.domain.errors import ValidationError
from awaken.domain.retry import RetryPolicy

WRITE_BUFFER_EVENTS: Final = 256
"""Unwritten events of one run at which `emit` waits: the executor may run ahead of the disk, but not for ever."""
WRITE_BUFFER_BYTES: Final = 256 * 1024
READER_BUFFER_EVENTS: Final = 256
"""Events a live reader may lag behind before it falls back to paging the log."""
READER_BUFFER_BYTES: Final = 1024 * 1024
READER_PAGE_EVENTS: Final = 512


class MailboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations end in their unit."""

    max_concurrent_runs: int = 100
    """Per process. A run in progress costs memory and, with most agents, somebody's rate limit."""
    lease_ms: int = 12_000
    """Dead workers on other machines are noticed after this long; the takeover promise is 15 s."""
    renew_interval_s: float = 4.0
    """A third of the lease: one renewal may fail and the next still arrives in time."""
    renew_retry_s: float = 1.0
    """After a renewal that the store could not answer."""
    stop_margin_s: float = 2.0
    """A run that cannot confirm its lease is stopped this long before the lease could end."""
    poll_interval_s: float = 30.0
    """Behind every wake-up and timer, in case one was lost."""
    purge_interval_s: float = 60.0
    run_retention_s: float = 30 * 86_400.0
    """A run that has ended is kept this long, with its dispatches and journal. Dead letters are kept for ever."""
    event_retention_s: float = 7 * 86_400.0
    """Events are kept this long, and those of unfinished runs for as long as these last."""
    retry: RetryPolicy = RetryPolicy()
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    max_queued_per_thread: int = 1_000
    drain_s: float = 10.0
    """At shutdown running agents may finish for this long, then their dispatches are handed back."""
    handover_s: float = 5.0
    """So long an agent may take to close the step it is in, where it is handed over without repeating anything; then
    its task is cancelled."""
    tidy_s: float = 3.0
    """So long an agent that was cancelled at shutdown may tidy up; then it is abandoned. Together with `drain_s` and
    what a server takes besides, this stays within the 30 s that most supervisors of processes grant."""
    store_retry_s: float = 1.0
    """Between tries to claim and to sweep while the store cannot answer."""
    settle_retry_s: float = 0.25
    """Between tries to settle while the store cannot write; the lease bounds them."""

    @property
    def leave_s(self) -> float:
        """The longest that agents can keep a mailbox that is left."""
        return self.drain_s + self.handover_s + self.tidy_s

    def check(self) -> None:
        """Raises ValidationError naming the setting and its bound."""
        bounds = {
            "max_concurrent_runs": self.max_concurrent_runs >= 1,
            "lease_ms": self.lease_ms >= 1,
            "renew_interval_s": 0 < self.renew_interval_s * 1000 < self.lease_ms,
            "renew_retry_s": self.renew_retry_s > 0,
            "store_retry_s": self.store_retry_s > 0,
            "settle_retry_s": self.settle_retry_s > 0,
            "stop_margin_s": 0 <= self.stop_margin_s * 1000 < self.lease_ms,
            "poll_interval_s": self.poll_interval_s > 0,
            "purge_interval_s": self.purge_interval_s > 0,
            "run_retention_s": self.run_retention_s >= 0,
            "event_retention_s": self.event_retention_s >= 0,
            "drain_s": self.drain_s >= 0,
            "max_attempts": self.max_attempts >= 1,
            "max_queued_per_thread": self.max_queued_per_thread >= 1,
        }
        for name, holds in bounds.items():
            if not holds:
                raise ValidationError(f"setting {name} = {getattr(self, name)!r} is out of range")
