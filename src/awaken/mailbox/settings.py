"""Every duration and bound of the mailbox, with its reason.

Source: docs/reference/settings.md; ADR 0013 for what belongs to leases.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec.structs import replace

from awaken.domain.checking import Age, Interval, Patience, check_settings
from awaken.domain.delivery import MAX_ATTEMPTS
from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS
from awaken.domain.errors import ValidationError
from awaken.domain.retry import RetryPolicy

WRITE_BUFFER_EVENTS: Final = 256
"""Unwritten events of one run at which `emit` waits: the executor may run ahead of the disk, but not for ever."""
WRITE_BUFFER_BYTES: Final = 256 * 1024
WRITE_BUFFER_WAIT_S: Final = 0.05
"""So long what a run emits, and nobody waits for, may gather once a commit of its execution has landed: some pieces of
text then share what a commit costs, and no reader sees text stutter."""
READER_BUFFER_EVENTS: Final = 256
"""Events a live reader may lag behind before it falls back to paging the log."""
READER_BUFFER_BYTES: Final = 1024 * 1024
READER_PAGE_EVENTS: Final = 512
EXCLUSIVE_POLL_S: Final = 30.0
SHARED_POLL_S: Final = 1.0
"""A signal between processes may be lost with its connection; then work is found, and a reader goes on, within this."""

_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
_Lease = Annotated[int, msgspec.Meta(ge=1, le=30 * 86_400_000)]


class MailboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations end in their unit. Checked whole when they are made.

    Raises:
        ValidationError: A setting has another type, lies outside its bounds, or contradicts another one.
    """

    max_concurrent_runs: _Count = 100
    """Per process. A run in progress costs memory and, with most agents, somebody's rate limit."""
    lease_ms: _Lease = 12_000
    """Dead workers on other machines are noticed after this long; the takeover promise is 15 s."""
    renew_interval_s: Interval = 4.0
    """A third of the lease: one renewal may fail and the next still arrives in time."""
    renew_retry_s: Interval = 1.0
    """After a renewal that the store could not answer."""
    stop_margin_s: Patience = 2.0
    """A run that cannot confirm its lease is stopped this long before the lease could end."""
    poll_interval_s: Interval | None = None
    """Behind every wake-up and timer, in case one was lost. None: `EXCLUSIVE_POLL_S`; on a store that several
    processes use, whose wake-ups come over a network, `SHARED_POLL_S`."""
    beat_interval_s: Interval = 5.0
    """Between two times at which this process tells the others, on a store that several use, that it lives."""
    neighbour_check_s: Interval = 1.0
    """Between two looks at whether another process of this machine has died: what it held is taken back then."""
    purge_interval_s: Interval = 60.0
    audit_interval_s: Interval = 30.0
    """Between two slices of the rows that are looked through for breaches of invariants, after the first round."""
    run_retention_s: Age = 30 * 86_400.0
    """A run that has ended is kept this long, with its dispatches and journal. Dead letters are kept for ever."""
    unserved_after_s: Interval | None = None
    """A run that has been due for this long, and that nobody can execute, is given up: it becomes a dead letter.
    None: it waits until somebody can. Where several processes share a store: that none of those that live can."""
    event_retention_s: Age = 7 * 86_400.0
    """Events are kept this long, and those of unfinished runs for as long as these last."""
    retry: RetryPolicy = RetryPolicy()
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS)] = DEFAULT_MAX_ATTEMPTS
    max_retry_after_s: Patience = 86_400.0
    """The longest wait that a provider, or an agent, may ask for before the next attempt: what it writes may be an
    instant, or nonsense."""
    max_queued_per_thread: _Count = 1_000
    max_pending_per_thread: _Count = 1_000
    """Messages that wait for runs of a thread to take them."""
    max_steps: _Count = 10_000
    """What a run closes at most where its submit sets no `limits.max_steps`: a model that never stops does come to an
    end."""
    max_result_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**40)] = 8 * 1024 * 1024
    """What a step or a tool returns, as JSON. It is as much as a batch of commits may hold; what is larger belongs into
    a file, and its name into the result."""
    drain_s: Patience = 10.0
    """At shutdown running agents may finish for this long, then their dispatches are handed back."""
    handover_s: Patience = 5.0
    """So long an agent may take to close the step it is in, where it is handed over without repeating anything; then
    its task is cancelled."""
    tidy_s: Interval = 3.0
    """So long an agent that was cancelled at shutdown may tidy up; then it is abandoned. Together with `drain_s` and
    what a server takes besides, this stays within the 30 s that most supervisors of processes grant."""
    store_retry_s: Interval = 1.0
    """Between tries to claim and to sweep while the store cannot answer."""
    startup_retry_s: Patience = 0.0
    """How long a start tries again while the store is not available: it comes up after this process, or the process
    that owns the file has yet to end. 0: a start fails at once, and says why."""
    settle_retry_s: Interval = 0.25
    """Between tries to settle while the store cannot write; the lease bounds them."""

    def on_store(self, *, exclusive: bool) -> MailboxSettings:
        """With what the kind of store decides: whether this process has it to itself."""
        if self.poll_interval_s is not None:
            return self
        return replace(self, poll_interval_s=EXCLUSIVE_POLL_S if exclusive else SHARED_POLL_S)

    @property
    def poll_s(self) -> float:
        """The `poll_interval_s` that holds; without a word about the store, as on one that nobody else uses."""
        return EXCLUSIVE_POLL_S if self.poll_interval_s is None else self.poll_interval_s

    @property
    def leave_s(self) -> float:
        """The longest that agents, and rounds of a user's own, can keep a mailbox that is left."""
        return self.drain_s + self.handover_s + self.tidy_s

    def __post_init__(self) -> None:
        check_settings(self, "of MailboxSettings")
        self.retry.check()
        # Else every run would be stopped, as one whose lease cannot be confirmed, before its first renewal is due.
        longest_s = self.lease_ms / 1000 - self.stop_margin_s
        if self.renew_interval_s >= longest_s:
            raise ValidationError(
                f"setting renew_interval_s = {self.renew_interval_s!r} of MailboxSettings has to be less than"
                f" {longest_s:g}: lease_ms without stop_margin_s"
            )
