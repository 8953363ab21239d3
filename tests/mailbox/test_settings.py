"""The mailbox's durations and bounds, and the back-off they lead to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace

from awaken.domain.errors import ValidationError
from awaken.domain.retry import RetryPolicy
from awaken.executors.registry import Agents
from awaken.mailbox.service import Mailbox
from awaken.mailbox.settings import MailboxSettings
from awaken.store.memory import MemoryStore
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore


@behaviour("MBX-001")
def test_the_defaults_are_those_of_the_specification_and_the_lease_is_short_enough_for_the_takeover_promise() -> None:
    settings = MailboxSettings()

    assert (settings.lease_ms, settings.renew_interval_s) == (12_000, 4.0)
    assert (settings.poll_s, settings.purge_interval_s) == (30.0, 60.0)
    assert (settings.run_retention_s, settings.event_retention_s) == (30 * 86_400.0, 7 * 86_400.0)
    assert (settings.max_attempts, settings.retry) == (5, RetryPolicy(base_delay_ms=250, max_delay_ms=30_000))
    assert settings.max_concurrent_runs == 100


def test_a_store_for_several_processes_is_looked_at_more_often_unless_something_else_is_said(
    clock: ManualClock,
) -> None:
    def polled(settings: MailboxSettings | None, *, exclusive: bool) -> float | None:
        store = WatchedStore(MemoryStore(clock), exclusive=exclusive)
        return Mailbox(store, Agents(), settings=settings).settings.poll_interval_s

    assert (polled(None, exclusive=True), polled(None, exclusive=False)) == (30.0, 1.0)
    assert polled(MailboxSettings(poll_interval_s=7), exclusive=False) == 7


@behaviour("MBX-002")
def test_settings_that_were_given_are_kept() -> None:
    given = {
        "max_concurrent_runs": 7,
        "lease_ms": 9_000,
        "renew_interval_s": 2.0,
        "stop_margin_s": 1.0,
        "poll_interval_s": 3.0,
        "purge_interval_s": 4.0,
        "run_retention_s": 5.0,
        "event_retention_s": 4.5,
        "retry": RetryPolicy(base_delay_ms=1, max_delay_ms=2),
        "max_attempts": 2,
        "drain_s": 6.0,
    }

    settings = MailboxSettings(**given)  # pyright: ignore[reportArgumentType]

    assert {name: getattr(settings, name) for name in given} == given


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("max_concurrent_runs", "lease_ms", "max_attempts") for value in (0, 1.5, True)],
        ("max_queued_per_thread", 0),
        *[
            (name, value)
            for name in ("renew_interval_s", "renew_retry_s", "poll_interval_s", "purge_interval_s", "tidy_s")
            for value in (0, -1, math.nan, math.inf, "1")
        ],
        ("store_retry_s", 0),
        ("settle_retry_s", 0),
        *[
            (name, value)
            for name in ("stop_margin_s", "run_retention_s", "event_retention_s", "drain_s", "handover_s")
            for value in (-1, math.nan, math.inf, None)
        ],
        ("renew_interval_s", 12.0),
        ("renew_interval_s", 10.0),
        ("lease_ms", 12_000.5),
        ("drain_s", 1e9),
        ("run_retention_s", 1e15),
        ("max_retry_after_s", 86_401),
        ("max_attempts", 101),
        ("poll_interval_s", 1e-9),
        ("retry", 5),
        ("retry", RetryPolicy(base_delay_ms=0.5)),  # pyright: ignore[reportArgumentType]
        ("retry", RetryPolicy(base_delay_ms=-1)),
        ("retry", RetryPolicy(base_delay_ms=2, max_delay_ms=1)),
        ("retry", RetryPolicy(max_delay_ms=86_400_001)),
    ],
)
def test_a_setting_out_of_range_is_refused_when_it_is_given(name: str, value: Any) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ValidationError, match="retry policy" if isinstance(value, RetryPolicy) else name):
        MailboxSettings(**given)


def test_settings_that_contradict_each_other_are_refused() -> None:
    """Every run would be stopped, as one whose lease cannot be confirmed, before its first renewal is due."""
    with pytest.raises(ValidationError, match=r"renew_interval_s = .* has to be less than 4:"):
        MailboxSettings(stop_margin_s=8.0)


def test_settings_are_checked_again_when_one_is_replaced() -> None:
    with pytest.raises(ValidationError, match="poll_interval_s"):
        replace(MailboxSettings(), poll_interval_s=0)


def test_what_is_no_settings_is_refused_when_the_mailbox_is_made() -> None:
    settings: Any = {"drain_s": 1}
    with pytest.raises(ValidationError, match="MailboxSettings"):
        Mailbox(MemoryStore(ManualClock()), Agents(), settings=settings)


@behaviour("MBX-006")
def test_the_wait_doubles_with_each_failure() -> None:
    policy = RetryPolicy()

    assert [policy.delay_ms(attempt) for attempt in range(1, 8)] == [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000]


@behaviour("MBX-007")
def test_the_wait_is_capped() -> None:
    assert RetryPolicy(base_delay_ms=1_000, max_delay_ms=5_000).delay_ms(4) == 5_000


@behaviour("MBX-008")
def test_a_count_of_zero_waits_the_base_delay() -> None:
    assert RetryPolicy().delay_ms(0) == 250


@behaviour("MBX-009")
def test_many_failures_wait_no_longer_than_six_doublings() -> None:
    assert RetryPolicy().delay_ms(100) == 16_000
    assert RetryPolicy(max_delay_ms=10_000).delay_ms(100) == 10_000


def test_a_wait_that_the_provider_asks_for_lengthens_and_never_shortens() -> None:
    assert RetryPolicy().delay_ms(1, retry_after_ms=60_000) == 60_000
    assert RetryPolicy().delay_ms(3, retry_after_ms=10) == 1_000
