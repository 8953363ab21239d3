"""The back-off table."""

from __future__ import annotations

import math
from typing import Any

import pytest

from awaken.domain.errors import ValidationError
from awaken.domain.retry import RetryPolicy
from awaken.testing.behaviour import behaviour


@behaviour("MBX-006", "D-014")
def test_each_failure_doubles_the_wait() -> None:
    policy = RetryPolicy()

    assert [policy.delay_ms(failures) for failures in range(1, 8)] == [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000]


@behaviour("MBX-007")
def test_the_wait_is_capped() -> None:
    assert RetryPolicy(base_delay_ms=1_000, max_delay_ms=5_000).delay_ms(4) == 5_000


@behaviour("MBX-008")
def test_no_failure_counts_as_the_first() -> None:
    assert RetryPolicy().delay_ms(0) == 250
    assert RetryPolicy().delay_ms(-3) == 250


@behaviour("MBX-009")
def test_the_wait_stops_growing_after_six_doublings() -> None:
    assert RetryPolicy().delay_ms(100) == 16_000
    assert RetryPolicy(max_delay_ms=10_000).delay_ms(100) == 10_000


@behaviour("D-014")
def test_a_providers_own_wish_lengthens_the_wait_and_never_shortens_it() -> None:
    policy = RetryPolicy()

    assert policy.delay_ms(1, retry_after_ms=100) == 250
    assert policy.delay_ms(1, retry_after_ms=3_000) == 3_000
    assert policy.delay_ms(1, retry_after_ms=600_000) == 600_000


@behaviour("RJ-001")
def test_a_jitter_shortens_each_wait_by_chance_and_within_its_bounds() -> None:
    policy = RetryPolicy(base_delay_ms=1_000, max_delay_ms=1_000, jitter=0.4)
    waits = [policy.delay_ms(1, seed=f"token-{n}") for n in range(2_000)]

    assert 600 <= min(waits) < 610 and 990 < max(waits) <= 1_000
    assert 780 < sum(waits) / len(waits) < 820, "spread evenly"
    assert [policy.delay_ms(1, seed=f"token-{n}") for n in range(2_000)] == waits, "the same for the same claim"
    assert policy.delay_ms(1, retry_after_ms=5_000, seed="token-1") == 5_000
    assert RetryPolicy(base_delay_ms=1_000).delay_ms(1, seed="token-1") == 1_000
    assert 0 <= min([RetryPolicy(jitter=1).delay_ms(1, seed=str(n)) for n in range(500)]) < 10


@behaviour("RJ-001")
@pytest.mark.parametrize("jitter", [-0.1, 1.1, math.nan, math.inf, True, "0.5", None])
def test_a_jitter_is_a_number_from_0_to_1(jitter: Any) -> None:
    with pytest.raises(ValidationError, match="the jitter of a retry policy"):
        RetryPolicy(jitter=jitter).check()
