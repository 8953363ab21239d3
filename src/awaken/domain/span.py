"""Spans: ranges of a thread's log that its readers do not see, or see replaced; and the view that is left.

The log is never changed. What is hidden is said beside it, by spans, so that the view can be computed for any moment
and everything can still be looked at.

Above: rules make spans; agents, lists of messages and forks read the view. Below: nothing.
Holds: the view is a function of the log and its spans alone. A message is hidden when a span covers it. Of spans inside
each other the outermost is read: its replacement, if it has one, stands where it begins. A span whose own replacement
is hidden by a later span counts no more, so that taking back what summarised something brings that back.

Source: ADR 0037.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

import msgspec

from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import MessageId

Why = Literal["rolled_back", "regenerated", "compacted", "hidden"]
"""Its run was rolled back, its answer is made anew, a summary stands for it, or somebody hid it."""

T = TypeVar("T")


class Span(msgspec.Struct, frozen=True, gc=False):
    """Messages `first_seq` to `last_seq` of a log, both included.

    `event_seq`: of the `MessagesHidden` that reports it, which no other span of the thread has. `replacement_seq`: the
    place in the log of the message that is read instead; it was appended when the span was made, so it lies behind.
    """

    first_seq: int
    last_seq: int
    why: Why
    event_seq: int
    replacement_seq: int | None = None
    replacement_id: MessageId | None = None

    def check(self) -> None:
        """Raises DataIntegrity for a span that cannot have been made."""
        replaced_inside = self.replacement_seq is not None and self.replacement_seq <= self.last_seq
        if not 1 <= self.first_seq <= self.last_seq or replaced_inside:
            raise DataIntegrity(f"span {self.first_seq} to {self.last_seq} of a log contradicts itself")


class Part(msgspec.Struct, frozen=True, gc=False):
    """A part of a view: the messages with seqs from `seq` on, read at the places `first` to `last`.

    Where `seq` is not `first` it is a replacement, alone at its place.
    """

    first: int
    last: int
    seq: int


class View:
    """What is read of a log with these spans, whatever the log's length.

    A place is where a message is read: its own seq, or, for a replacement, the first seq of its span.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        spans = [*spans]
        outermost = _outermost(_in_force(spans))
        covered = [(span.first_seq, span.last_seq) for span in outermost]
        # A replacement is read at its place or not at all.
        moved = [(seq, seq) for seq in (span.replacement_seq for span in spans) if seq is not None]
        self._hidden = joined(covered + moved)
        self._firsts = [first for first, _ in self._hidden]
        self._stands_at = {
            span.first_seq: span.replacement_seq for span in outermost if span.replacement_seq is not None
        }
        """The seqs of replacements, by the place where they are read."""
        self._replacements = frozenset(self._stands_at.values())

    def reads(self, seq: int) -> bool:
        """Whether the message is read, at its own place or as a replacement."""
        return self._shows(seq) or seq in self._replacements

    def parts(self, first: int, last: int, *, descending: bool = False) -> list[Part]:
        """What is read at the places from `first` to `last`, in order."""
        found = [Part(place, place, seq) for place, seq in self._stands_at.items() if first <= place <= last]
        start = first
        for hidden_first, hidden_last in self._hidden[max(bisect_right(self._firsts, first) - 1, 0) :]:
            if hidden_first > last:
                break
            if start < hidden_first:
                found.append(Part(start, hidden_first - 1, start))
            start = max(start, hidden_last + 1)
        if start <= last:
            found.append(Part(start, last, start))
        return sorted(found, key=lambda part: part.first, reverse=descending)

    def _shows(self, seq: int) -> bool:
        at = bisect_right(self._firsts, seq) - 1
        return at < 0 or seq > self._hidden[at][1]


def effective(log: Sequence[T], spans: Sequence[Span]) -> list[T]:
    """A whole log, given in order, as it is read."""
    if not spans:
        return [*log]
    found: list[T] = []
    for part in View(spans).parts(1, len(log)):
        found += log[part.seq - 1 : part.seq + part.last - part.first]
    return found


def stretches(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Places in a log as ranges, in order: neighbours are one."""
    return joined([(seq, seq) for seq in seqs])


def _in_force(spans: Iterable[Span]) -> list[Span]:
    """Those whose replacement is not hidden by one that was made later and is itself in force."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda each: each.event_seq, reverse=True):
        seq = span.replacement_seq
        if seq is None or not any(later.first_seq <= seq <= later.last_seq for later in found):
            found.append(span)
    return found


def _outermost(spans: Iterable[Span]) -> list[Span]:
    """Those that lie in no other, in the order of their beginnings; of two equal ones the later."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.first_seq, -each.last_seq, -each.event_seq)):
        if not found or span.last_seq > found[-1].last_seq:
            found.append(span)
    return found


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that meet or overlap as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found
