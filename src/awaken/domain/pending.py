"""Messages that are accepted for a run and wait until it takes them.

Such a message has no place in the conversation, no fate and no dispatch of its own. It is for one run, which is open,
and waits for one of that run's boundaries; each of these also takes what waits for an earlier one. `selected` says what
a boundary takes, and nothing else does.

Above: `rules.pending` decides with it, `mailbox.messages` lists it. Below: nothing.

Source: ADR 0033; docs/howto/steer-a-running-agent.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from awaken.domain.checking import shown
from awaken.domain.clock import Instant
from awaken.domain.errors import ValidationError
from awaken.domain.ids import DispatchId, MessageId, RunId
from awaken.domain.run import RunRequest

MAX_TAKEN: Final = 100
"""The most messages that a run takes at once."""
MAX_TAKEN_BYTES: Final = 1024 * 1024
"""The same, as JSON; a single message may be larger."""

Granularity = Literal["batch", "one"]
WaitsAt = Literal["next_step", "on_natural_end"]
"""The boundaries for which a caller may have a message wait."""
Boundary = Literal["interrupt", "next_step", "on_natural_end", "resume_input", "new_run"]
"""Where a message may be taken.

`next_step`: between two steps of its run. `on_natural_end`: where its run would end. `resume_input`: with the next
dispatch of its run, which waits. At `interrupt` and at `new_run` nothing waits; these order what is left by a run that
has ended.
"""
_RANK: Final[dict[Boundary, int]] = {"interrupt": 0, "next_step": 1, "on_natural_end": 2, "new_run": 4}


NOTHING_TO_CHANGE: Final = "give a message, a boundary or a barrier: something that is to change"
KEEPS_ITS_ID: Final = "an edit keeps the id of its message"


def checked_revision(revision: int | None) -> int | None:
    """The revision of a message that a caller has seen, or None. Raises ValidationError for what can be none."""
    if revision is not None and (type(revision) is not int or revision < 1):
        raise ValidationError(f"if_version is a whole number from 1, and not {shown(revision)}", loc=("if_version",))
    return revision


class Opens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The run that a message opens where the run that it is for has not taken it; with the ids that it gets then."""

    run_id: RunId
    dispatch_id: DispatchId
    request: RunRequest
    metadata: dict[str, Any] = {}
    priority: int
    max_attempts: int

    def is_like(self, other: Opens) -> bool:
        """Whether the two would be one run: they ask the same agent, in the same way."""
        mine, others = self.request, other.request
        return (
            (mine.intent, mine.options, mine.trace.origin) == (others.intent, others.options, others.trace.origin)
            and (self.metadata, self.priority) == (other.metadata, other.priority)
            and self.max_attempts == other.max_attempts
        )


class Pending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message that waits, without its body."""

    message_id: MessageId
    run_id: RunId
    """The run that it is for."""
    position: int
    """Its place among what is pending in its thread, and the place of the run that it would open."""
    boundary: Boundary = "next_step"
    granularity: Granularity = "batch"
    barrier: bool = False
    fallback_to_new_run: bool = True
    target_run_id: RunId | None = None
    """The run that its sender named."""
    revision: int = 1
    created_at: Instant
    opens: Opens


def selected(entries: Sequence[Pending], boundary: Boundary, run_id: RunId | None) -> list[int]:
    """Which of the entries, which are in order, a boundary takes: their indexes. `run_id`: the run that takes them.

    In order means that whatever cannot be taken yet holds up what is behind it. Two things are passed: at a boundary of
    a run, what is to open a run; where a run is opened, what may not. A barrier is taken last, and never past one of
    those; nothing passes one that has to stay.
    """
    chosen: list[int] = []
    has_passed = False
    for index, entry in enumerate(entries):
        if not _is_eligible(entry, boundary, run_id):
            if entry.barrier or not _may_be_passed(entry, boundary):
                break
            has_passed = True
            continue
        if (entry.barrier and has_passed) or (entry.granularity == "one" and chosen):
            break
        chosen.append(index)
        if entry.barrier or entry.granularity == "one":
            break
    return chosen


def _is_eligible(entry: Pending, boundary: Boundary, run_id: RunId | None) -> bool:
    if entry.target_run_id is not None:
        aimed = entry.fallback_to_new_run if boundary == "new_run" else entry.target_run_id == run_id
        if not aimed:
            return False
    if "resume_input" in (entry.boundary, boundary):
        return entry.boundary == boundary
    return _RANK[entry.boundary] <= _RANK[boundary]


def _may_be_passed(entry: Pending, boundary: Boundary) -> bool:
    if boundary == "new_run":
        return entry.boundary != "new_run" and not entry.fallback_to_new_run
    return entry.boundary == "new_run"


def queue_revision(entries: Iterable[Pending]) -> str:
    """A name for what is pending, in its order, as it is: another one after every change (FNV-1a, 64 bits)."""
    found = 0xCBF29CE484222325
    for place, entry in enumerate(entries, 1):
        words = (entry.message_id.encode(), place.to_bytes(8, "little"), entry.revision.to_bytes(8, "little"))
        for byte in b"".join(words):
            found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{found:016x}"
