"""How a message wants to be taken: what may be asked for, and what is out of range."""

from __future__ import annotations

import pytest

from awaken.domain.delivery import LAST_PRIORITY, MAX_DELAY_MS, Delivery, delay_ms
from awaken.domain.errors import ValidationError


@pytest.mark.parametrize(
    "sound",
    [
        Delivery(),
        Delivery(priority=0),
        Delivery(priority=LAST_PRIORITY, max_attempts=1, delay_ms=MAX_DELAY_MS),
        Delivery(available_at=0),
    ],
)
def test_what_is_in_range_passes(sound: Delivery) -> None:
    sound.check()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Delivery(priority=-1), "priority"),
        (Delivery(priority=LAST_PRIORITY + 1), "priority"),
        (Delivery(max_attempts=0), "max_attempts"),
        (Delivery(delay_ms=-1), "after_seconds"),
        (Delivery(delay_ms=MAX_DELAY_MS + 1), "after_seconds"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(wrong: Delivery, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        wrong.check()
    assert refused.value.loc == ("body", field)


def test_a_delay_or_an_instant_of_its_own_delays() -> None:
    assert [each.is_delayed for each in (Delivery(), Delivery(delay_ms=1), Delivery(available_at=0))] == [
        False,
        True,
        True,
    ]


def test_a_delay_in_seconds_is_held_in_milliseconds() -> None:
    assert delay_ms(1.5) == 1_500
    for wrong in (-0.1, MAX_DELAY_MS, float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            delay_ms(wrong)
