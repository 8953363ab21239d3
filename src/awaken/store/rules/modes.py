"""What a submit does, by its mode and by what its thread is doing.

Of the columns the first that holds counts: a run executes, something is queued, a run waits, the thread is idle. A
submit that names a run is about that run, in whichever column its thread is.

| mode        | executes                    | queued             | waits                       | idle     |
|-------------|-----------------------------|--------------------|-----------------------------|----------|
| `queue`     | behind it                   | behind it          | goes on with the input      | starts   |
| `reject`    | refused                     | refused            | refused                     | starts   |
| `interrupt` | asked to stop, then starts  | cleared, starts    | ended, starts               | starts   |
| `steer`     | taken at its next step      | behind it          | goes on with the input *    | starts   |
| `follow_up` | taken where it would end    | behind it          | a run of its own            | starts   |
| `resume`    | refused                     | refused            | goes on with the input      | refused  |

(*) Where it waits for a person to approve something, or for something outside, the message is for its next dispatch and
withdraws nothing.

`rollback` does what `interrupt` does; besides, the messages of the run that executes, or else waits, are hidden.

A run that was asked to stop takes nothing any more: what is for it is queued behind it.

Above: `accept`. Below: nothing.

Source: ADR 0033.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, assert_never

import msgspec

from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch
from awaken.domain.pending import Boundary
from awaken.domain.run import DONE, WAITING, Run
from awaken.store.rules.facts import Facts, Waiting
from awaken.store.transitions import Blocked, Busy, Missing, NotOpen, NotWaiting, Submit

Refusal = Missing | Busy | NotOpen | NotWaiting | Blocked


_ASKS_FOR_INPUT: Final = frozenset({"user_input", "background_tasks"})
"""What a run waits for that goes on with whatever is said to it."""


class Stages(msgspec.Struct, frozen=True, gc=False):
    """The messages wait for this run."""

    run: Run
    dispatch: Dispatch
    boundary: Boundary


class Way(Enum):
    OPENS = "it opens a run of its own"
    CLEARS = "it clears the thread, and then opens a run of its own"


def way_of(t: Submit, facts: Facts) -> Way | Waiting | Stages | Refusal:
    """What the submit does; a `Waiting` is what it goes on with. For a thread that exists."""
    mode, target = t.delivery.mode, facts.target
    if t.delivery.target_run_id is not None:
        refusal = _refused(t, target)
        if refusal is not None:
            return refusal
    match mode:
        case "queue":
            if target is not None and _may_go_on(target):
                return target
            return Way.OPENS if t.delivery.target_run_id is not None else _continued(t, facts)
        case "reject":
            return _busy(facts) or Way.OPENS
        case "interrupt" | "rollback":
            return _cleared(t, facts)
        case "steer":
            return _for_a_run(t, facts, "next_step")
        case "follow_up":
            return Way.OPENS if t.delivery.is_delayed else _for_a_run(t, facts, "on_natural_end")
        case "resume":
            waits = target if t.delivery.target_run_id is not None else _waiting(t, facts)
            if waits is None or waits.run.status is not WAITING:
                return NotWaiting(None if waits is None else waits.run)
            return waits if _may_go_on(waits) else Stages(waits.run, waits.dispatch, "resume_input")
        case _:
            assert_never(mode)


def without_thread(t: Submit) -> Way | Refusal:
    """As `way_of`, where there is no thread yet."""
    if t.delivery.target_run_id is not None:
        return Missing("run", t.delivery.target_run_id)
    if t.delivery.mode == "resume":
        return NotWaiting(None)
    if t.delivery.mode == "steer" and not t.delivery.fallback_to_new_run:
        return NotOpen(None)
    return Way.OPENS


def _refused(t: Submit, target: Waiting | None) -> Refusal | None:
    if target is None or target.run.thread_id != t.thread_id:
        return Missing("run", t.delivery.target_run_id or "")
    return NotOpen(target.run) if target.run.status is DONE and t.delivery.mode != "queue" else None


def _continued(t: Submit, facts: Facts) -> Way | Waiting:
    """The run that suspended last, in a thread where nothing else is to be done, and for what may be its input."""
    waits = _waiting(t, facts)
    return Way.OPENS if waits is None or t.is_own_run else waits


def _waiting(t: Submit, facts: Facts) -> Waiting | None:
    thread = facts.thread
    if facts.claimed is not None or thread is None or thread.queued or not facts.waiting:
        return None
    waits, intent = facts.waiting[0], t.request.intent
    if waits.run.agent_id != intent.agent_id or (t.names_version and waits.run.agent_version != intent.version):
        return None
    return waits


def _may_go_on(waits: Waiting) -> bool:
    """It waits, and no dispatch of it is queued already."""
    return waits.run.status is WAITING and waits.dispatch.status is not QUEUED


def _busy(facts: Facts) -> Busy | None:
    thread = facts.thread
    if facts.claimed is not None:
        return Busy(facts.claimed.run_id)
    if thread is not None and thread.queued:
        return Busy(None if facts.next is None else facts.next.dispatch.run_id)
    return Busy(facts.waiting[0].run.run_id) if facts.waiting else None


def _cleared(t: Submit, facts: Facts) -> Way | Refusal:
    thread, asked = facts.thread, t.delivery.interrupt_id
    if thread is not None and asked is not None and asked == thread.interrupt_id:
        return Way.OPENS
    barrier = next((entry for entry in facts.pending if entry.barrier), None)
    return Way.CLEARS if barrier is None else Blocked(barrier.message_id)


def _for_a_run(t: Submit, facts: Facts, boundary: Boundary) -> Way | Waiting | Stages | Refusal:
    """The messages are for a run that is under way, or wait for what it waits for."""
    target = facts.target
    if t.delivery.target_run_id is None:
        if facts.claimed is not None and facts.active is not None:
            return _staged(t, facts, facts.active, facts.claimed, boundary)
        waits = None if boundary == "on_natural_end" else _waiting(t, facts)
        if waits is not None and not t.is_own_run:
            return _input(waits)
        return Way.OPENS if t.delivery.fallback_to_new_run else NotOpen(None)
    assert target is not None, "a target that is unknown is refused"
    if target.run.status is not WAITING:
        return _staged(t, facts, target.run, target.dispatch, boundary)
    if boundary == "on_natural_end":
        return Way.OPENS
    return _input(target)


def _input(waits: Waiting) -> Waiting | Stages:
    """What steers a waiting run comes with its next dispatch; where it waits for just that, it is what it waits for."""
    run = waits.run
    asks_for_input = run.waiting is None or not run.open_tickets or run.waiting.reason in _ASKS_FOR_INPUT
    return waits if asks_for_input and _may_go_on(waits) else Stages(run, waits.dispatch, "resume_input")


def _staged(t: Submit, facts: Facts, run: Run, dispatch: Dispatch, boundary: Boundary) -> Way | Stages | Refusal:
    thread = facts.thread
    is_open = run.cancel_requested_at is None and dispatch.status in (CLAIMED, QUEUED)
    if is_open and (thread is None or dispatch.epoch >= thread.epoch):
        return Stages(run, dispatch, boundary)
    return Way.OPENS if t.delivery.fallback_to_new_run else NotOpen(run)
