"""Schedules: what is made, changed and paused, and what falls due.

Above: the stores, for `EditSchedules` and `Tick`. Below: `domain.schedule`, which knows the instants.
Holds: an instant is served by one errand, written by the transition that moves its schedule on; so it is begun once,
whatever dies in between. Whether it overlaps with an earlier run, the thread that it is for decides.

Source: ADR 0036.
"""

from __future__ import annotations

from typing import Final, assert_never

from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.delivery import Delivery
from awaken.domain.ids import DispatchId, MessageId, Scope, derived_id
from awaken.domain.outbox import Begin, OutboxRow
from awaken.domain.run import Origin, RunMode, RunRequest, Trace, intent_of
from awaken.domain.schedule import Schedule, ScheduleSpec, instant_text, message_ids
from awaken.store.rules.asks import DueSchedules, NextTick, Rule, SchedulesOf, Write, ask
from awaken.store.rules.facts import Changes
from awaken.store.transitions import (
    ChangeSchedule,
    DeclareSchedules,
    EditSchedules,
    MakeSchedule,
    PauseSchedule,
    RemoveSchedule,
    ResumeSchedule,
    SchedulesEdited,
    Tick,
    Ticked,
)

MAX_SCHEDULES: Final = 1_000
"""Of a scope."""


def tick_some(t: Tick, changes: Changes, now: Instant) -> Rule[Ticked]:
    """The rule of `Tick`."""
    due = yield from ask(DueSchedules(now, t.limit))
    for scope, schedule in due:
        instants = schedule.due(now)
        for at in instants:
            changes.outbox.append(_errand(scope, schedule.spec, at, t.max_attempts, changes, now))
        served = instants[-1] if instants else schedule.last_at
        moved = replace(schedule, next_at=schedule.next_after(now), last_at=served, updated_at=now)
        changes.schedules.append((scope, moved))
    posted = tuple(changes.outbox)
    yield from ask(Write(changes))
    return Ticked(posted, len(due) == t.limit, (yield from _next_due_in_ms(now)))


def _errand(
    scope: Scope, spec: ScheduleSpec, at: Instant, max_attempts: int, changes: Changes, now: Instant
) -> OutboxRow:
    """What begins the run of an instant. With `skip` its runs share a key that only one unfinished run of a thread may
    hold, so the thread that it is for decides whether there is one.
    """
    run_id = spec.run_id(at)
    ids = message_ids(run_id, len(spec.messages))
    messages = tuple([replace(each, id=MessageId(id)) for each, id in zip(spec.messages, ids, strict=True)])
    key = f"schedule:{spec.name}" if spec.overlap == "skip" else None
    begin = Begin(
        run_id=run_id,
        dispatch_id=DispatchId(derived_id(run_id, "dispatch")),
        request=RunRequest(
            intent=intent_of(spec.agent_id),
            input_message_ids=tuple([message.id for message in messages]),
            trace=Trace(origin=Origin.SCHEDULE, mode=RunMode.SCHEDULED),
        ),
        messages=messages,
        metadata={**spec.metadata, "schedule": spec.name, "scheduled_at": instant_text(at)},
        delivery=Delivery(max_attempts=max_attempts, dedupe_key=key),
        schedule=spec.name,
    )
    return OutboxRow(
        no=changes.numbers.next(),
        scope=scope,
        sender=f"schedule:{spec.name}",
        run_id=None,
        thread_id=spec.thread,
        errand=begin,
        created_at=now,
    )


def _next_due_in_ms(now: Instant) -> Rule[int | None]:
    next_at = yield from ask(NextTick(now))
    return None if next_at is None else max(next_at - now, 0)


# --- edits ------------------------------------------------------------------------------------------------------------


def edit_schedules(t: EditSchedules, changes: Changes, now: Instant) -> Rule[SchedulesEdited]:
    """The rule of `EditSchedules`."""
    edit, scope = t.edit, t.scope
    match edit:
        case MakeSchedule(spec=spec):
            edited = _make(spec, (yield from ask(SchedulesOf(scope))), scope, changes, now)
        case ChangeSchedule(spec=spec, was=was):
            edited = _change(spec, was, (yield from ask(SchedulesOf(scope, was.name))), scope, changes, now)
        case PauseSchedule(name=name):
            edited = _pause((yield from ask(SchedulesOf(scope, name))), scope, changes, now)
        case ResumeSchedule(name=name):
            edited = _resume((yield from ask(SchedulesOf(scope, name))), scope, changes, now)
        case RemoveSchedule(name=name):
            edited = _remove((yield from ask(SchedulesOf(scope, name))), scope, changes)
        case DeclareSchedules(specs=specs):
            edited = _declare(specs, (yield from ask(SchedulesOf(scope))), scope, changes, now)
        case _:
            assert_never(edit)
    yield from ask(Write(changes))
    return replace(edited, next_due_in_ms=(yield from _next_due_in_ms(now)))


def _make(spec: ScheduleSpec, known: list[Schedule], scope: Scope, changes: Changes, now: Instant) -> SchedulesEdited:
    for each in known:
        if each.spec.name == spec.name:
            same = each.spec == spec and not each.declared
            return SchedulesEdited(each, None if same else "exists")
    if len(known) >= MAX_SCHEDULES:
        return SchedulesEdited(None, "too_many")
    made = _new(spec, changes, now, declared=False)
    changes.new_schedules.append((scope, made))
    return SchedulesEdited(made, made=True)


def _new(spec: ScheduleSpec, changes: Changes, now: Instant, *, declared: bool) -> Schedule:
    made = Schedule(
        no=changes.numbers.next(),
        spec=spec,
        created_at=now,
        updated_at=now,
        anchor_at=now // 1000 * 1000,
        next_at=None,
        declared=declared,
    )
    return replace(made, next_at=made.next_after(now))


def _change(
    spec: ScheduleSpec, was: ScheduleSpec, found: list[Schedule], scope: Scope, changes: Changes, now: Instant
) -> SchedulesEdited:
    if not found:
        return SchedulesEdited(None, "missing")
    [schedule] = found
    if schedule.declared:
        return SchedulesEdited(schedule, "declared")
    if schedule.spec != was:
        return SchedulesEdited(schedule, None if schedule.spec == spec else "changed")
    changed = _changed(schedule, spec, now)
    changes.schedules.append((scope, changed))
    return SchedulesEdited(changed)


def _changed(schedule: Schedule, spec: ScheduleSpec, now: Instant) -> Schedule:
    """With another spec. Its place in time stays where the timing does."""
    changed = replace(schedule, spec=spec, updated_at=now)
    if schedule.spec.timing == spec.timing:
        return changed
    changed = replace(changed, anchor_at=now // 1000 * 1000)
    return changed if schedule.paused_by is not None else replace(changed, next_at=changed.next_after(now))


def _pause(found: list[Schedule], scope: Scope, changes: Changes, now: Instant) -> SchedulesEdited:
    if not found:
        return SchedulesEdited(None, "missing")
    [schedule] = found
    if schedule.paused_by is None:
        schedule = replace(schedule, paused_by="caller", next_at=None, updated_at=now)
        changes.schedules.append((scope, schedule))
    return SchedulesEdited(schedule)


def _resume(found: list[Schedule], scope: Scope, changes: Changes, now: Instant) -> SchedulesEdited:
    if not found:
        return SchedulesEdited(None, "missing")
    [schedule] = found
    if schedule.paused_by is not None:
        schedule = replace(schedule, paused_by=None, next_at=schedule.next_after(now), updated_at=now)
        changes.schedules.append((scope, schedule))
    return SchedulesEdited(schedule)


def _remove(found: list[Schedule], scope: Scope, changes: Changes) -> SchedulesEdited:
    if not found:
        return SchedulesEdited(None, "missing")
    [schedule] = found
    if schedule.declared and schedule.paused_by != "undeclared":
        return SchedulesEdited(schedule, "declared")
    changes.removed_schedules.append((scope, schedule))
    return SchedulesEdited(schedule)


def _declare(
    specs: tuple[ScheduleSpec, ...], known: list[Schedule], scope: Scope, changes: Changes, now: Instant
) -> SchedulesEdited:
    declared = {spec.name: spec for spec in specs}
    for before in known:
        spec = declared.pop(before.spec.name, None)
        after = before
        if spec is not None:
            after = replace(before, declared=True)
            if before.paused_by == "undeclared":
                after = replace(after, paused_by=None, next_at=after.next_after(now))
            after = after if after.spec == spec else _changed(after, spec, now)
        elif before.declared and before.paused_by is None:
            after = replace(before, paused_by="undeclared", next_at=None)
        if after != before:
            changes.schedules.append((scope, replace(after, updated_at=now)))
    for spec in declared.values():
        changes.new_schedules.append((scope, _new(spec, changes, now, declared=True)))
    return SchedulesEdited(None)
