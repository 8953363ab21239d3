"""What becomes of errands that were delivered, or refused for good.

Above: the stores, for `Delivered`. Below: nothing.
Holds: a row goes only after what it asks for was done, or can never be. A refusal is written down where its sender's
owner looks: in the log of the thread it came from, or with the schedule; of what came from a transaction, in the log of
the thread that it was for.

Source: ADR 0035, 0036.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.ids import ThreadId
from awaken.domain.log import Appended
from awaken.domain.outbox import OF_TRANSACTIONS, Begin, OutboxRow
from awaken.store.rules.asks import Errands, Load, Rule, SchedulesOf, Write, ask
from awaken.store.rules.facts import Changes, Facts
from awaken.store.rules.needs import Needs
from awaken.store.rules.writing import Log, touch
from awaken.store.transitions import MAX_ROWS, Delivered, DeliveredSome, Handled


def deliver_some(t: Delivered, changes: Changes, now: Instant) -> Rule[DeliveredSome]:
    """The rule of `Delivered`."""
    handled = {each.no: each for each in t.rows[:MAX_ROWS]}
    rows = yield from ask(Errands(tuple(handled)))
    changes.delivered += rows
    yield from ask(Write(changes))
    appended: list[Appended] = []
    for row in rows:
        errand, what = row.errand, handled[row.no]
        if isinstance(errand, Begin) and errand.schedule is not None:
            yield from _remember(row, errand.schedule, what, changes, now)
        elif what.refused is not None:
            appended += yield from _report(row, what.refused, changes, now)
    return DeliveredSome(len(rows), tuple(appended))


def _remember(row: OutboxRow, name: str, what: Handled, changes: Changes, now: Instant) -> Rule[None]:
    """Note with the schedule what became of its instant, if it is still there."""
    assert isinstance(row.errand, Begin), "a schedule begins runs"
    for schedule in (yield from ask(SchedulesOf(row.scope, name))):
        if what.skipped:
            noted = replace(schedule, skipped=schedule.skipped + 1, updated_at=now)
        elif what.refused is not None:
            noted = replace(schedule, last_error=what.refused, updated_at=now)
        else:
            noted = replace(schedule, last_run_id=row.errand.run_id, last_error=None, updated_at=now)
        changes.schedules.append((row.scope, noted))
    yield from ask(Write(changes))


def _report(row: OutboxRow, why: str, changes: Changes, now: Instant) -> Rule[tuple[Appended, ...]]:
    """Log it in the thread that the errand came from, or else in that which it was for. One that is damaged, or gone,
    does not hold up the others.
    """
    key = row.scope, row.thread_id if row.sender == OF_TRANSACTIONS else ThreadId(row.sender)
    [facts] = yield from ask(Load((Needs(scope=key[0], thread_id=key[1]),), now))
    if not isinstance(facts, Facts) or facts.thread is None or facts.thread.deleted_at is not None:
        return ()
    touch(facts.thread, changes, now, active=False)
    log = Log(facts.thread, row.run_id, None, now)
    log.add(server_event.refused(row.thread_id, row.errand, why))
    appended = log.write(changes)
    refused = yield from ask(Write(changes, (key,)))
    return appended if refused is None else ()
