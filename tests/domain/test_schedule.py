"""When schedules fall due: each instant once, at the times of their zone, however often the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId, MessageId, ThreadId, checked_id
from awaken.domain.message import user_message
from awaken.domain.schedule import MAX_CAUGHT_UP, MAX_NAME_CHARS, Schedule, ScheduleSpec, next_instant

MESSAGES = (user_message(MessageId(""), "tidy up"),)


def spec(**details: Any) -> ScheduleSpec:
    fields: dict[str, Any] = {"name": "tidy", "agent_id": AgentId("a"), "messages": MESSAGES, **details}
    return ScheduleSpec(**fields)


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1000


def from_then_on(timing: ScheduleSpec, start: int, count: int) -> list[str]:
    found: list[str] = []
    now = start
    for _ in range(count):
        following = next_instant(timing, start, now)
        assert following is not None
        now = following
        found.append(datetime.fromtimestamp(now / 1000, UTC).strftime("%m-%d %H:%M"))
    return found


def due(timing: ScheduleSpec, first: int, now: int) -> list[int]:
    schedule = Schedule(no=1, spec=timing, created_at=0, updated_at=0, anchor_at=0, next_at=first)
    return schedule.due(now)


@pytest.mark.parametrize(
    ("cron", "start", "instants"),
    [
        ("30 2 * * *", "2027-03-27T00:00Z", ["03-27 01:30", "03-28 01:00", "03-29 00:30"]),
        ("30 2 * * *", "2027-10-30T00:00Z", ["10-30 00:30", "10-31 00:30", "11-01 01:30"]),
        ("*/30 * * * *", "2027-10-31T00:10Z", ["10-31 00:30", "10-31 01:00", "10-31 01:30", "10-31 02:00"]),
        ("0 9 * * MON-FRI", "2027-01-01T10:00Z", ["01-04 08:00", "01-05 08:00"]),
        ("0 0 L * *", "2027-02-01T00:00Z", ["02-27 23:00", "03-30 22:00"]),
    ],
)
def test_a_cron_expression_is_read_in_its_zone(cron: str, start: str, instants: list[str]) -> None:
    """An hour that the clocks skip is served when they have moved on; one that they repeat is served once."""
    assert from_then_on(spec(cron=cron, zone="Europe/Paris"), at(start), len(instants)) == instants


def test_an_interval_is_counted_from_where_it_began() -> None:
    every = spec(every_s=90)
    assert next_instant(every, 1_000, 1_000) == 91_000
    assert next_instant(every, 1_000, 90_999) == 91_000
    assert next_instant(every, 1_000, 91_000) == 181_000


@given(
    cron=st.sampled_from(
        ["30 2 * * *", "0 3 * * *", "*/20 * * * *", "0 */6 * * *", "15 2 28 3 *", "0 0 * * SUN", "0 12 1 */3 *"]
    ),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    start=st.integers(min_value=at("2026-01-01T00:00Z") // 1000, max_value=at("2028-01-01T00:00Z") // 1000),
    span_s=st.integers(min_value=0, max_value=40 * 86_400),
)
def test_what_fell_due_is_what_would_have_been_served_one_by_one(cron: str, zone: str, start: int, span_s: int) -> None:
    timing = spec(cron=cron, zone=zone, missed="all")
    begun, now = start * 1000, (start + span_s) * 1000
    first = next_instant(timing, 0, begun)
    assert first is not None
    one_by_one: list[int] = []
    following: int | None = first
    while following is not None and following <= now:
        one_by_one.append(following)
        following = next_instant(timing, 0, following)

    assert due(timing, first, now) == one_by_one[-MAX_CAUGHT_UP:]
    assert due(replace(timing, missed="one"), first, now) == one_by_one[-1:]
    late = [each for each in one_by_one[-1:] if now - each <= 60_000]
    assert due(replace(timing, missed="none"), first, now) == late


@given(every_s=st.integers(1, 100_000), waited_s=st.integers(0, 1_000_000))
def test_an_interval_is_made_up_for_in_the_same_way(every_s: int, waited_s: int) -> None:
    every, now = spec(every_s=every_s, missed="all"), waited_s * 1000
    expected = [every_s * 1000 * n for n in range(1, waited_s // every_s + 1)]
    assert due(every, every_s * 1000, now) == expected[-MAX_CAUGHT_UP:]


def test_the_id_of_a_run_is_an_id_whatever_the_name() -> None:
    longest = spec(name="x" * MAX_NAME_CHARS, every_s=1)
    longest.check()
    assert checked_id(longest.run_id(at("2027-01-01T00:00Z")), what="run_id").endswith("2027-01-01T00:00:00Z")
    assert checked_id(longest.thread, what="thread_id")


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({}, "either cron or every_s"),
        ({"cron": "* * * * *", "every_s": 5}, "either cron or every_s"),
        ({"every_s": 0}, "whole number of seconds"),
        ({"cron": "* * * *"}, "five fields"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "61 * * * *"}, "cannot be read"),
        ({"cron": "*/99999999999999999999 * * * *"}, "no number in it is larger than 59"),
        ({"cron": "0 0 * * FRI-MON"}, "FRI-SUN,MON"),
        ({"cron": "0 0 30 2 *"}, "cannot be read"),
        ({"cron": "x" * 1000}, "five fields"),
        ({"every_s": 5, "zone": "Europe/Atlantis"}, "is not known"),
        ({"every_s": 5, "zone": "../../etc/passwd"}, "is not known"),
        ({"every_s": 5, "zone": ""}, "is not known"),
        ({"every_s": 5, "name": "a:b"}, "the name of a schedule"),
        ({"every_s": 5, "name": ""}, "the name of a schedule"),
        ({"every_s": 5, "name": "x" * 81}, "the name of a schedule"),
        ({"every_s": 5, "overlap": "often"}, "overlap is one of"),
        ({"every_s": 5, "missed": "some"}, "missed is one of"),
        ({"every_s": 5, "thread_id": ThreadId("a b")}, "thread_id"),
        ({"every_s": 5, "messages": ()}, "at least one message"),
        ({"every_s": 5, "messages": (user_message(MessageId("m"), "x"),)}, "has no id"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(details: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        spec(**details).check()


def test_a_cron_expression_that_almost_never_falls_due_is_found_quickly() -> None:
    started = at("2027-01-01T00:00Z")
    following = next_instant(spec(cron="0 0 29 2 *"), 0, started)
    assert following is not None and following - started > 365 * 86_400_000
