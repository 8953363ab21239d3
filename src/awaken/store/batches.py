"""What may be decided together in one batch, for every store that loads the facts of a whole batch first.

Above: the `batch` of each SQL store. Below: the transitions.
Holds: what only shows when one item sees what another one of its batch did is raised before anything is written; the
store then replays the batch item by item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from awaken.domain.ids import ThreadId
from awaken.store.transitions import (
    Blocked,
    Busy,
    DeleteThread,
    EditThread,
    Full,
    NotOpen,
    NotWaiting,
    SaveThread,
    Submit,
    ThreadTransition,
)

REFUSALS: Final = frozenset({Full, Busy, NotOpen, NotWaiting, Blocked})
"""What a submit can be answered with because of what its thread does."""


class Overtaken(Exception):
    """A row was not in the state the decision was made from, an id is taken, or a value cannot be stored."""


def check_ids(items: Sequence[ThreadTransition]) -> None:
    """Raises Overtaken when two submits of one batch bring the same id: the second must see what the first did."""
    brought = [t for t in items if type(t) is Submit and not t.fresh_ids]
    if len(brought) > 1:
        runs = {(t.scope, t.run_id) for t in brought}
        dispatches = {(t.scope, t.dispatch_id) for t in brought}
        if len(runs) < len(brought) or len(dispatches) < len(brought):
            raise Overtaken("an id appears twice in the batch")


def check_lineage(items: Sequence[ThreadTransition]) -> None:
    """Raises Overtaken when a batch that gives a thread a parent, or deletes one, deals with a thread and with its
    parent: the second must see what the first did. Who merely makes a thread asks nothing of its parent.
    """
    if any(type(t) in (EditThread, DeleteThread) for t in items):
        parents = {(t.scope, _parent_in(t)) for t in items}
        if any((t.scope, t.thread_id) in parents for t in items):
            raise Overtaken("a thread and its parent are in the batch")


def _parent_in(t: ThreadTransition) -> ThreadId | None:
    match t:
        case EditThread():
            parent = t.patch.parent_thread_id
            return None if parent is UNSET else parent
        case SaveThread() | Submit():
            return None if t.info is None else t.info.parent_thread_id
        case _:
            return None
