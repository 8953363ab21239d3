"""Cursors as text: of an event, and of a frame of one."""

from __future__ import annotations

import re

import pytest

from awaken.domain.cursor import EVENT_CURSOR_PATTERN, cursor_prefix, event_cursor, event_place, event_seq
from awaken.domain.errors import ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, ThreadId

THREAD = ThreadId("t")
PREFIX = cursor_prefix(DEFAULT_SCOPE, THREAD)


@pytest.mark.parametrize(
    ("text", "place"),
    [("0", (0, 0)), ("17", (17, 0)), ("17.2", (16, 2)), ("1.1", (0, 1)), ("0.3", (0, 3))],
)
def test_a_frame_before_the_last_of_its_event_stands_for_the_event_before(text: str, place: tuple[int, int]) -> None:
    named = PREFIX + text
    assert re.match(EVENT_CURSOR_PATTERN, named)
    assert event_place(named, DEFAULT_SCOPE, THREAD) == place
    assert event_seq(named, DEFAULT_SCOPE, THREAD) == place[0]


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert event_place(event_cursor(DEFAULT_SCOPE, THREAD, 5), DEFAULT_SCOPE, THREAD) == (5, 0)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1.x", "1.2.3", "01", "1.", "1.1234567", "12345678901234567"])
def test_what_was_never_written_is_no_cursor(text: str) -> None:
    assert re.match(EVENT_CURSOR_PATTERN, PREFIX + text) is None
    with pytest.raises(ValidationError, match="not a cursor"):
        event_place(PREFIX + text, DEFAULT_SCOPE, THREAD)


def test_a_cursor_of_another_thread_is_told_from_none() -> None:
    with pytest.raises(ValidationError, match="another thread"):
        event_place(event_cursor(DEFAULT_SCOPE, ThreadId("u"), 5), DEFAULT_SCOPE, THREAD)
