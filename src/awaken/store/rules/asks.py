"""What a rule over many threads asks of a store while it runs.

Such a rule cannot be given everything it touches beforehand: which threads it visits depends on what it finds. It is
therefore a generator that yields asks and is sent their answers, so that the same rule runs over a dictionary, over
SQLite inside its writer's thread, and over a database that answers across a network. `run` drives one.

Above: `claim_some`, `reclaim_some`, `renew_some`, `purge_some`. Below: one answer per ask in each store.
Holds: an ask only reads, except `Write`. Asks for many threads are answered for all of them at once.

Source: ADR 0003.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import ConsumerId, Route, Scope
from awaken.domain.outbox import OutboxRow
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.store.rules.facts import Changes, Facts, Removed, ThreadKey
from awaken.store.rules.needs import Needs
from awaken.store.transitions import LeaseRef, Total

AnswerT = TypeVar("AnswerT")
OutcomeT = TypeVar("OutcomeT")


class Ask(msgspec.Struct, Generic[AnswerT], frozen=True):
    """A question to the store whose answer is an `AnswerT`."""


Rule = Generator[Ask[Any], Any, OutcomeT]
"""A rule over many threads: it yields asks, is sent answers, and returns its outcome."""


class Load(Ask[list[Facts | DataIntegrity]], frozen=True):
    """The facts that each of the needs names, or why they cannot be read."""

    needs: tuple[Needs, ...]
    now: Instant


class Write(Ask[DataIntegrity | None], frozen=True):
    """Write what has been decided so far about these threads, so that they can be loaded again. Empties the changes.

    The answer is None, or why rows that are stored already do not let it be written: then nothing of it was. A rule
    goes on thread by thread then, so that a damaged one costs no other.
    """

    changes: Changes
    about: tuple[ThreadKey, ...] = ()


class Due(Ask[list[ThreadKey]], frozen=True):
    """Free threads with something due on one of the routes, in the order of `Claim`: by priority, then age, or by age
    alone; at most `limit`. Of those that were delayed, the `MAX_ROWS` that fell due first are looked at.
    """

    routes: tuple[Route, ...]
    now: Instant
    limit: int
    by_age: bool


class Suspects(Ask[list[ThreadKey]], frozen=True):
    """Free threads whose head is a due suspect of one of the routes; those that arrived first, at most `limit`."""

    routes: tuple[Route, ...]
    now: Instant
    limit: int


class DueLeft(Ask[int], frozen=True):
    """How many free threads have something due on one of the routes of scheduling keys, counted up to `limit`."""

    routes: tuple[str, ...]
    now: Instant
    limit: int


class TakenOf(Ask[dict[Route, int | None]], frozen=True):
    """How many claimed dispatches count in each total; None where another transaction is claiming of it. Of the others
    nobody else claims until this one is committed.
    """

    totals: Mapping[Route, Total]


class NextDue(Ask[Instant | None], frozen=True):
    """The first instant after `now` at which something of these routes or a schedule falls due, a ticket expires, or
    the end of a lease has passed.
    """

    routes: frozenset[Route]
    now: Instant


class Expired(Ask[list[tuple[ThreadKey, ConsumerId]]], frozen=True):
    """Threads whose claim's lease ended before `now`, or all with a claim, or those whose claim this consumer holds:
    suspects first, then by lease end, then by arrival; at most `limit`; each with who holds it.
    """

    now: Instant
    abandoned: bool
    limit: int
    consumer: ConsumerId | None = None


class SuspectsHeld(Ask[dict[ConsumerId, int]], frozen=True):
    """How many suspects each of the consumers holds."""

    consumers: tuple[ConsumerId, ...]


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A claim as a renewal sees it."""

    dispatch: Dispatch
    epoch: int
    """That of its thread now."""
    stop: bool
    """Its run was asked to stop."""


class Leases(Ask[list[Lease | None]], frozen=True):
    """The dispatches named, in that order; None for one that does not exist."""

    refs: tuple[LeaseRef, ...]


class Errands(Ask[list[OutboxRow]], frozen=True):
    """The rows of the outbox with these numbers that are still there, in that order."""

    numbers: tuple[int, ...]


class SchedulesOf(Ask[list[Schedule]], frozen=True):
    """The schedules of a scope, in the order in which they were made; only the one of that name, where one is given."""

    scope: Scope
    name: str | None = None


class DueSchedules(Ask[list[tuple[Scope, Schedule]]], frozen=True):
    """Schedules that are due, longest due first."""

    now: Instant
    limit: int


class NextTick(Ask[Instant | None], frozen=True):
    """The first instant after one at which a schedule falls due."""

    after: Instant


class OldRuns(Ask[list[tuple[ThreadKey, int, Run]]], frozen=True):
    """Runs that ended before an instant, longest ended first, each with its thread's number. Left out are dead letters,
    runs whose last calls nobody answered yet: the next claim in their thread does that, and needs them; and runs with
    errands that are not delivered.
    """

    before: Instant
    limit: int


class OldEvents(msgspec.Struct, frozen=True, gc=False):
    """A row of events that is older than the retention."""

    key: ThreadKey
    thread_no: int
    row: int
    first_seq: int
    last_seq: int
    first_kept: int
    """The first event that the thread has kept so far."""
    floor: int | None
    """The first event of the thread's oldest unfinished run."""


class EventRowsBefore(Ask[list[OldEvents]], frozen=True):
    """Rows of events appended before an instant, oldest first, from behind the row `after`."""

    before: Instant
    after: int
    limit: int


class DueDeletions(Ask[list[ThreadKey]], frozen=True):
    """Threads that were to go by themselves by now, longest due first, at most `limit`."""

    now: Instant
    limit: int


class RowsOfDeleted(Ask[list[Removed]], frozen=True):
    """Rows of deleted threads that nobody executes any more, at most `limit` of them."""

    limit: int


def ask(question: Ask[AnswerT]) -> Generator[Ask[Any], Any, AnswerT]:
    """Put a question to whoever drives the rule: `answer = yield from ask(...)`."""
    answer: AnswerT = yield question
    return answer


def run(rule: Rule[OutcomeT], answer: Callable[[Ask[Any]], Any]) -> OutcomeT:
    """Drive a rule to its end with a store that answers at once."""
    try:
        question = next(rule)
        while True:
            question = rule.send(answer(question))
    except StopIteration as end:
        return end.value
