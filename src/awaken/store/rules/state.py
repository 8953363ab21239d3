"""A thread's state: changed by merge patches, in the order of transitions.

Above: `apply` for `PatchState`; claims, for what a submit brings; commits and settlements, for what an agent changed.
Below: the patches of `domain.state`.
Holds: every change makes one version and one `StateDelta`; what changes nothing makes neither. A change that would make
the state too large is refused where somebody can be told, and otherwise recorded as an error beside what it came with.

Source: ADR 0037.
"""

from __future__ import annotations

from collections.abc import Sequence

from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.run import Run
from awaken.domain.state import MAX_STATE_BYTES, StateTooLarge, ThreadState, Values, merged, operations, state_bytes
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.writing import Log, touch
from awaken.store.transitions import Missing, Oversize, PatchState, Stale, StatePatched


def patch_state(
    t: PatchState, facts: Facts, changes: Changes, now: Instant
) -> StatePatched | Stale | Oversize | Missing:
    thread, before = facts.thread, facts.state
    if thread is None:
        return Missing("thread", t.thread_id)
    after = merged(before.values, t.patch)
    if t.if_version is not None and t.if_version != before.version:
        is_repeated = t.if_version == before.version - 1 and after == before.values
        return StatePatched(before) if is_repeated else Stale(before.version)
    size = state_bytes(after)
    if size > MAX_STATE_BYTES:
        return Oversize(size)
    log = Log(thread, None, None, now)
    if _change(after, thread, facts, changes, log):
        touch(thread, changes, now)
    return StatePatched(facts.state, log.write(changes))


def bring_state(run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> None:
    """What a run was submitted with changes the state when its first messages are taken."""
    patch = run.request.options.state
    if patch is not None and run.started_at is None:
        apply_patches((patch,), thread, facts, changes, log)


def apply_patches(patches: Sequence[Values], thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> None:
    """Change the state by what comes with something else, which is not refused because of it."""
    for patch in patches:
        after = merged(facts.state.values, patch)
        size = state_bytes(after)
        if size > MAX_STATE_BYTES:
            error = StateTooLarge(size)
            log.add(server_event.error_recorded(str(error), error.code))
        else:
            _change(after, thread, facts, changes, log)


def _change(after: Values, thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> bool:
    before = facts.state
    patch = operations(before.values, after)
    if not patch:
        return False
    facts.state = ThreadState(after, before.version + 1)
    changes.states.append((thread, facts.state, log.now))
    log.add(server_event.state_changed(patch, facts.state.version))
    return True
