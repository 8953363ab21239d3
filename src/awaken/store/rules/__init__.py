"""The rules of the queue: what each transition does, given the rows it touches.

Above: every store loads the facts that `needs` names, calls `apply`, and writes the changes; for a transition over many
threads it drives the rule that `apply_to_many` returns and answers its asks. A store decides nothing itself, so memory,
SQLite and Postgres cannot disagree. Below: the tables of `domain`.
Holds: a rule does no I/O and waits for nothing. It changes the thread row of its facts in place and records every other
write in `Changes`; a refusal records nothing.

Source: ADR 0003.
"""

from __future__ import annotations

from typing import Any, Final, assert_never

from awaken.domain.clock import Instant
from awaken.store.rules.accept import save_thread, submit
from awaken.store.rules.asks import Rule
from awaken.store.rules.change import edit, reorder, retract
from awaken.store.rules.child import note_child
from awaken.store.rules.claim import claim_some
from awaken.store.rules.dead_letter import discard
from awaken.store.rules.decide import decide
from awaken.store.rules.facts import Changes, Facts
from awaken.store.rules.lease import reclaim_some, renew_some
from awaken.store.rules.manage import delete_thread, edit_thread, hide_run
from awaken.store.rules.mend import mend_some
from awaken.store.rules.outbox import deliver_some
from awaken.store.rules.owner import commit, settle
from awaken.store.rules.place import edit_dispatch
from awaken.store.rules.purge import purge_some
from awaken.store.rules.schedule import edit_schedules, tick_some
from awaken.store.rules.span import hide_message
from awaken.store.rules.state import patch_state
from awaken.store.rules.stop import cancel, interrupt
from awaken.store.rules.unserved import give_up_some
from awaken.store.transitions import (
    Cancel,
    Claim,
    Commit,
    Decide,
    DeleteThread,
    Delivered,
    Discard,
    Edit,
    EditDispatch,
    EditSchedules,
    EditThread,
    GiveUp,
    Gone,
    Hide,
    HideRun,
    Interrupt,
    Mend,
    NoteChild,
    Outcome,
    PatchState,
    Purge,
    Reclaim,
    Renew,
    Reorder,
    Retract,
    SaveThread,
    Settle,
    SetTransition,
    Submit,
    ThreadTransition,
    Tick,
)

__all__ = ["apply", "apply_to_many"]

_OF_DELETED: Final = frozenset({Commit, Settle, DeleteThread})


def apply(t: ThreadTransition, facts: Facts, changes: Changes, now: Instant) -> Outcome:
    """What a transition of one thread does, by the rule for its kind. A deleted thread accepts nothing more; what its
    last owner still writes goes with the rest.
    """
    thread = facts.thread
    if thread is not None and thread.deleted_at is not None and type(t) not in _OF_DELETED:
        return Gone(t.thread_id)
    match t:
        case Submit():
            return submit(t, facts, changes, now)
        case Settle():
            return settle(t, facts, changes, now)
        case Commit():
            return commit(t, facts, changes, now)
        case SaveThread():
            return save_thread(t, facts, changes, now)
        case Decide():
            return decide(t, facts, changes, now)
        case Cancel():
            return cancel(t, facts, changes, now)
        case EditDispatch():
            return edit_dispatch(t, facts, changes, now)
        case Interrupt():
            return interrupt(t, facts, changes, now)
        case PatchState():
            return patch_state(t, facts, changes, now)
        case Hide():
            return hide_message(t, facts, changes, now)
        case Edit():
            return edit(t, facts, changes, now)
        case Retract():
            return retract(t, facts, changes, now)
        case Reorder():
            return reorder(t, facts, changes, now)
        case EditThread():
            return edit_thread(t, facts, changes, now)
        case DeleteThread():
            return delete_thread(t, facts, changes, now)
        case HideRun():
            return hide_run(t, facts, changes, now)
        case Discard():
            return discard(t, facts, changes, now)
        case NoteChild():
            return note_child(t, facts, changes, now)
        case _:
            assert_never(t)


def apply_to_many(t: SetTransition, changes: Changes, now: Instant) -> Rule[Any]:
    """The rule that does what a transition over many threads asks."""
    match t:
        case Claim():
            return claim_some(t, changes, now)
        case Renew():
            return renew_some(t, changes, now)
        case Reclaim():
            return reclaim_some(t, changes, now)
        case GiveUp():
            return give_up_some(t, changes, now)
        case Delivered():
            return deliver_some(t, changes, now)
        case EditSchedules():
            return edit_schedules(t, changes, now)
        case Tick():
            return tick_some(t, changes, now)
        case Purge():
            return purge_some(t, changes, now)
        case Mend():
            return mend_some(t, changes, now)
        case _:
            assert_never(t)
