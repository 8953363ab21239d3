"""Giving up what nobody can run.

Above: `apply_to_many`, for `GiveUp`. Below: `claim`, which closes what may not run.
Holds: only the head of a free thread is given up, and what was behind it is looked at next; so it costs nobody his
turn. How long it has been due is judged by the store's clock, from rows alone, so that a restart forgets nothing of it.

Source: ADR 0043.
"""

from __future__ import annotations

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import UNSERVED
from awaken.domain.dispatch import Dispatch
from awaken.domain.log import Appended
from awaken.store.rules.asks import Due, Load, Rule, Suspects, Write, ask
from awaken.store.rules.claim import bury, close_unfit, may_run, ready_behind
from awaken.store.rules.facts import Changes, Facts, ThreadKey
from awaken.store.rules.needs import of_claim
from awaken.store.rules.writing import Log, touch
from awaken.store.transitions import MAX_ROWS, Closed, GaveUp, GiveUp


def give_up_some(t: GiveUp, changes: Changes, now: Instant) -> Rule[GaveUp]:
    """The rule of `GiveUp`."""
    keys = yield from ask(Suspects(t.routes, now, MAX_ROWS))
    due = yield from ask(Due(t.routes, now, MAX_ROWS, by_age=True))
    round_ = _Round(t, now)
    found = list(dict.fromkeys([*keys, *due]))
    yield from _visit(found[:MAX_ROWS], round_, changes)
    more = bool(round_.closed) and len(found) >= MAX_ROWS
    return GaveUp(tuple(round_.closed), more, round_.next_in_ms, tuple(round_.appended))


def _visit(keys: list[ThreadKey], round_: _Round, changes: Changes) -> Rule[None]:
    """Close what is overdue of each thread, one after another; what cannot be written costs no other thread."""
    while keys:
        found = yield from ask(Load(tuple([of_claim(key) for key in keys]), round_.now))
        sound = [(key, each) for key, each in zip(keys, found, strict=True) if isinstance(each, Facts)]
        before = round_.taken()
        keys = [key for key, facts in sound if round_.visit(facts, changes)]
        about = [key for key, _ in sound]
        refused = yield from ask(Write(changes, tuple(about)))
        if refused is not None:
            round_.give_back(before)
            for key in about if len(about) > 1 else ():
                yield from _visit([key], round_, changes)
            return


class _Round:
    """What one `GiveUp` has closed so far."""

    def __init__(self, t: GiveUp, now: Instant) -> None:
        self.t = t
        self.now = now
        self.closed: list[Closed] = []
        self.appended: list[Appended] = []
        self.next_in_ms: int | None = None

    def taken(self) -> tuple[int, int]:
        """How far it is."""
        return len(self.closed), len(self.appended)

    def give_back(self, taken: tuple[int, int]) -> None:
        """Be as far again as it was then: what it closed since could not be written."""
        closed, appended = taken
        del self.closed[closed:], self.appended[appended:]

    def visit(self, facts: Facts, changes: Changes) -> bool:
        """Close the head of the thread, where it is overdue; True when the thread has to be looked at again."""
        thread, entry = facts.thread, facts.next
        if thread is None or entry is None or facts.claimed is not None or entry.dispatch.route not in self.t.routes:
            return False
        if not may_run(entry, thread):
            touch(thread, changes, self.now, active=False)
            closed, rows = close_unfit(entry, facts, thread, changes, self.now)
        elif self._is_overdue(entry.dispatch):
            touch(thread, changes, self.now, active=False)
            log = Log(thread, entry.dispatch.run_id, entry.dispatch.dispatch_id, self.now)
            closed = bury(entry, thread, facts, changes, log, self._why(entry.dispatch), UNSERVED)
            rows = log.write(changes)
        else:
            return False
        self.closed.append(closed)
        self.appended += rows
        thread.ready = ready_behind(facts, self.now)
        return True

    def _is_overdue(self, dispatch: Dispatch) -> bool:
        in_ms = dispatch.due_since + self.t.after_ms - self.now
        if in_ms > 0:
            self.next_in_ms = in_ms if self.next_in_ms is None else min(in_ms, self.next_in_ms)
        return in_ms <= 0

    def _why(self, dispatch: Dispatch) -> str:
        return f"nobody could run agent {dispatch.route!r} for {(self.now - dispatch.due_since) / 1000:g} s"
