"""The rules of the queue: what each transition of one thread does, given the rows it touches.

Above: every store loads the facts a transition names, calls its rule, and writes the changes; a store decides nothing
itself, so memory, SQLite and Postgres cannot disagree. Below: the tables of `domain`.
Holds: a rule reads nothing and waits for nothing. It changes the facts' thread row in place and records every other
write in `Changes`; a refusal records nothing.

Source: spec/stores.md 2; the design decisions named in `transitions`.
"""

from __future__ import annotations

from typing import assert_never

from awaken.domain.clock import Instant
from awaken.store.rules.accept import save_thread, submit
from awaken.store.rules.claim import claim_next
from awaken.store.rules.facts import Changes, Facts, MessageWrite, Queued, ThreadRow, ready_key
from awaken.store.rules.lease import reclaim, renew
from awaken.store.rules.owner import commit, settle
from awaken.store.rules.stop import cancel, interrupt
from awaken.store.transitions import Cancel, Commit, Interrupt, Outcome, SaveThread, Settle, Submit, ThreadTransition

__all__ = [
    "Changes",
    "Facts",
    "MessageWrite",
    "Queued",
    "ThreadRow",
    "cancel",
    "claim_next",
    "commit",
    "decide",
    "interrupt",
    "ready_key",
    "reclaim",
    "renew",
    "save_thread",
    "settle",
    "submit",
]


def decide(t: ThreadTransition, facts: Facts, changes: Changes, now: Instant) -> Outcome:
    """What the transition does, by the rule for its kind."""
    if type(t) is Submit:  # the three that come for every run, told apart in a third of the time
        return submit(t, facts, changes, now)
    if type(t) is Settle:
        return settle(t, facts, changes, now)
    if type(t) is Commit:
        return commit(t, facts, changes, now)
    match t:
        case SaveThread():
            return save_thread(t, facts, changes, now)
        case Cancel():
            return cancel(t, facts, changes, now)
        case Interrupt():
            return interrupt(t, facts, changes, now)
        case _:
            assert_never(t)
