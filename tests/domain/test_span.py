"""What is read of a log with hidden spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.errors import DataIntegrity
from awaken.domain.span import Span, View, effective, stretches
from awaken.testing.behaviour import behaviour

LENGTH = 12


def _span(first: int, last: int, replacement: int | None = None, *, made: int = 0) -> Span:
    return Span(
        first, last, "hidden" if replacement is None else "compacted", made or (replacement or last), replacement
    )


def _read(*spans: Span, length: int = LENGTH) -> list[int]:
    return effective(range(1, length + 1), spans)


@st.composite
def _histories(draw: st.DrawFn) -> tuple[int, list[Span]]:
    """A log as it grows: between its messages spans are made of what is there, some of them with a replacement."""
    length, spans = 0, list[Span]()
    for event_seq in range(1, draw(st.integers(1, 14))):
        if length and draw(st.booleans()):
            first = draw(st.integers(1, length))
            last = draw(st.integers(first, length))
            replacement = None
            if draw(st.booleans()):
                length += 1
                replacement = length
            spans.append(Span(first, last, "hidden", event_seq, replacement))
        else:
            length += 1
    return length, spans


@behaviour("TR-061")
def test_without_spans_the_view_is_the_log() -> None:
    assert _read() == [*range(1, LENGTH + 1)]


@behaviour("TR-060", "TR-064")
def test_what_a_span_covers_is_not_read() -> None:
    assert _read(_span(3, 5)) == [1, 2, 6, 7, 8, 9, 10, 11, 12]
    assert _read(_span(9, 12)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert _read(_span(1, 12)) == []


@behaviour("TR-062", "TR-063")
def test_replacements_are_read_where_their_spans_begin() -> None:
    assert _read(_span(2, 4, 11), _span(6, 9, 12)) == [1, 11, 5, 12, 10]
    assert _read(_span(2, 4, 11), _span(5, 9, 12)) == [1, 11, 12, 10]


@behaviour("TR-065")
def test_of_spans_inside_each_other_the_outermost_is_read() -> None:
    assert _read(_span(2, 4, 10), _span(1, 9, 11)) == [11, 12]
    assert _read(_span(1, 4, 5), _span(1, 6, 7), _span(1, 10, 11)) == [11, 12]
    assert _read(_span(3, 4, 11), _span(1, 10)) == [12]
    assert _read(_span(1, 4, 11), _span(1, 4, 12)) == [12, 5, 6, 7, 8, 9, 10]


def test_spans_that_overlap_both_hide() -> None:
    assert _read(_span(1, 5, 11), _span(4, 8, 12)) == [11, 12, 9, 10]


def test_a_span_whose_replacement_is_hidden_counts_no_more() -> None:
    """Taking back the run that summarised something brings that back."""
    assert _read(_span(1, 4, 6), _span(6, 7, made=20)) == [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]


def test_a_replacement_is_read_at_its_place_or_not_at_all() -> None:
    assert _read(_span(1, 4, 9), _span(1, 6, 10)) == [10, 7, 8, 11, 12]


@given(_histories())
def test_a_view_reads_each_message_once_and_hides_what_is_covered(history: tuple[int, list[Span]]) -> None:
    length, spans = history
    view = View(spans)

    read = effective(range(1, length + 1), spans)

    assert len(read) == len({*read})
    assert {seq for seq in range(1, length + 1) if view.reads(seq)} == {*read}
    replacements = {span.replacement_seq for span in spans}
    for seq in range(1, length + 1):
        if seq not in replacements:
            assert (seq in read) == (not _is_covered(seq, spans))


def _is_covered(seq: int, spans: list[Span]) -> bool:
    """By the words of the rule: a span is in force unless one that was made later, and is in force, hides what stands
    for it.
    """

    def in_force(span: Span) -> bool:
        return span.replacement_seq is None or not any(
            other.event_seq > span.event_seq
            and other.first_seq <= span.replacement_seq <= other.last_seq
            and in_force(other)
            for other in spans
        )

    return any(span.first_seq <= seq <= span.last_seq and in_force(span) for span in spans)


@given(_histories(), st.integers(1, 14), st.integers(1, 14), st.booleans())
def test_a_part_of_a_view_is_what_the_whole_has_there(
    history: tuple[int, list[Span]], first: int, last: int, descending: bool
) -> None:
    _, spans = history
    view = View(spans)

    def places(low: int, high: int) -> list[tuple[int, int]]:
        parts = view.parts(low, high)
        return [(part.first + at, part.seq + at) for part in parts for at in range(part.last - part.first + 1)]

    wanted = [(place, seq) for place, seq in places(1, 14) if first <= place <= last]
    assert places(first, last) == wanted
    assert view.parts(first, last, descending=descending) == sorted(
        view.parts(first, last), key=lambda part: part.first, reverse=descending
    )


def test_neighbouring_places_are_one_stretch() -> None:
    assert stretches([]) == []
    assert stretches([5, 1, 2, 3, 7, 8]) == [(1, 3), (5, 5), (7, 8)]


@behaviour("TR-051")
def test_a_span_lies_before_what_replaces_it() -> None:
    for span in (Span(0, 3, "hidden", 1), Span(4, 3, "hidden", 1), Span(1, 4, "compacted", 1, 4)):
        with pytest.raises(DataIntegrity):
            span.check()
    Span(1, 4, "compacted", 1, 5).check()
