"""What the writer remembers of the threads it wrote last, so that a run's next transition need not read them again.

Above: `facts` looks here first, `writing` keeps it current. Below: nothing.
Holds: an entry equals the rows, because this process is the only one that writes them; whoever cannot be sure of that
(a rollback, a foreign commit) clears everything. An entry knows the thread's row, which rules change in place, and its
claimed dispatch, or that there is none; the run of that dispatch may have to be read, and so may what is queued.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from awaken.domain.dispatch import CLAIMED, Dispatch
from awaken.domain.run import DONE, Run
from awaken.store.rules.facts import Changes, ThreadKey, ThreadRow

MAX_THREADS: Final = 4_096
"""Bounds the memory; the oldest entries go first. More than run at once, so that a settlement finds its run."""


class Held:
    """One thread, its claimed dispatch, and that dispatch's run if it has been seen."""

    __slots__ = ("_waiter", "claimed", "run", "thread")

    def __init__(self, thread: ThreadRow, claimed: Dispatch | None) -> None:
        self.thread = thread
        self.claimed = claimed
        self.run: Run | None = None
        self._waiter: tuple[Dispatch, Run | None] | None = None

    @property
    def only_queued(self) -> tuple[Dispatch, Run | None] | None:
        """The queue, if it is a single dispatch and that has been seen, with its run if that has been."""
        return self._waiter if self.thread.queued == 1 else None

    def follow(self, dispatch: Dispatch) -> None:
        """One of its dispatches has been written."""
        if self._waiter is not None and self._waiter[0].dispatch_id == dispatch.dispatch_id:
            self._waiter = None
        claimed = self.claimed
        if dispatch.status is CLAIMED:
            if claimed is None or claimed.run_id != dispatch.run_id:
                self.run = None
            self.claimed = dispatch
            return
        if claimed is not None and claimed.dispatch_id == dispatch.dispatch_id:
            self.claimed = self.run = None
        if dispatch.completed_at is None and self.thread.queued == 1:
            self._waiter = (dispatch, None)

    def follow_run(self, run: Run) -> None:
        """One of its runs has been written."""
        if self.claimed is not None and self.claimed.run_id == run.run_id:
            self.run = run
        elif self._waiter is not None and self._waiter[0].run_id == run.run_id:
            self._waiter = (self._waiter[0], run)


class ThreadCache(dict[ThreadKey, Held]):
    """Belongs to the writer's thread."""

    def trim(self) -> None:
        """Forget the longest kept beyond the bound."""
        excess = len(self) - MAX_THREADS
        if excess > 0:
            for key in [*islice(self, excess)]:
                del self[key]

    def follow(self, changes: Changes) -> None:
        """Make the entries equal to what has been written."""
        for thread in changes.new_threads:
            self[thread.scope, thread.thread_id] = Held(thread, None)
        for thread, dispatch in changes.new_dispatches:
            self[thread.scope, thread.thread_id].follow(dispatch)
        for thread, _, dispatch in changes.dispatches:
            self[thread.scope, thread.thread_id].follow(dispatch)
        for runs in (changes.new_runs, changes.runs):
            for thread, run in runs:
                if run.status is not DONE:  # the dispatch of one that is done is claimed no more
                    self[thread.scope, thread.thread_id].follow_run(run)
        for scope, _, dispatch in changes.leases:
            entry = self.get((scope, dispatch.thread_id))
            if entry is not None:
                entry.follow(dispatch)
        for key, *_ in (*changes.purged_events, *changes.purged_runs):
            self.pop(key, None)
        for removed in changes.removed:
            self.pop(removed.key, None)
