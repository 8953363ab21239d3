"""Applies a batch in one transaction: load, decide, write; and if that meets a surprise, item by item.

Above: `writer`, which owns the connection. Below: `facts`, the rules, `writing`; `asks` for many threads.
Holds: all of a batch is committed or none of it is. A thread that another process holds is not waited for: its item is
answered `Deferred` and nothing of it is written. One item's surprise (a taken id, a damaged row, a bug) costs the
others only time: the batch is rolled back and each item is replayed in a savepoint of its own, looking carefully.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast, get_args

from awaken.domain.clock import Clock, Instant
from awaken.domain.errors import DataIntegrity
from awaken.store import rules
from awaken.store.batches import REFUSALS, Overtaken, check_ids, check_lineage
from awaken.store.postgres.asks import Answers
from awaken.store.postgres.facts import Busy, Held, held_at_start, hold, load, named
from awaken.store.postgres.faults import OF_DATABASE
from awaken.store.postgres.session import Session
from awaken.store.postgres.writing import write
from awaken.store.rules.facts import Changes, Facts, Numbers, ThreadKey
from awaken.store.rules.needs import needs
from awaken.store.transitions import (
    Conflict,
    Deferred,
    Failed,
    Outcome,
    Purge,
    SetTransition,
    ThreadTransition,
    Transition,
)

_SETS: Final = get_args(SetTransition)
_BLOCK: Final = 65_536
"""Arrival numbers that a transaction is given, as the sequence says."""


class Transactor:
    """Decides batches. Keeps nothing of one for the next."""

    def __init__(self, clock: Clock | None) -> None:
        """`clock`: instead of the database's own."""
        self._clock = clock
        self._answers = Answers(self._write_some)
        self._numbers = Numbers()
        self._last_number = 0

    async def apply(self, db: Session, batch: Sequence[Transition], batch_id: str, *, careful: bool) -> list[Outcome]:
        """One outcome per item, ready to be committed.

        Raises:
            errors.PostgresError, OSError: The database could not do it. The transaction is to be given up.
        """
        if not careful:
            try:
                return await self._together(db, batch, batch_id)
            except Exception as error:  # whatever it was, the replay finds whose it is
                if isinstance(error, OF_DATABASE):
                    raise
            await db.run("ROLLBACK")
        now, _ = await self._begin(db, batch_id, [])
        return [await self._alone(db, t, now) for t in batch]

    async def _begin(self, db: Session, batch_id: str, keys: Sequence[ThreadKey]) -> tuple[Instant, Held]:
        """The instant at which everything is decided, and the threads. Numbers come from the batch's own block."""
        await db.run("BEGIN")
        rows = await db.rows("start_batch", {"batch_id": batch_id, **named(keys)})
        now, self._numbers.last = rows[0][:2]
        self._last_number = self._numbers.last + _BLOCK - 1
        held = held_at_start([row[2:] for row in rows])
        return now if self._clock is None else self._clock.now(), held

    async def _together(self, db: Session, batch: Sequence[Transition], batch_id: str) -> list[Outcome]:
        count = len(batch)
        while count and isinstance(batch[count - 1], _SETS):
            count -= 1  # those over many threads come last
        singles = cast("Sequence[ThreadTransition]", batch[:count])
        now, held = await self._begin(db, batch_id, [(t.scope, t.thread_id) for t in singles])
        check_ids(singles)
        check_lineage(singles)
        outcomes = await self._decide_all(db, singles, held, now, careful=False)
        for t in batch[count:]:
            outcomes.append(await self._over_many(db, cast("SetTransition", t), now, careful=False))
        return outcomes

    async def _alone(self, db: Session, t: Transition, now: Instant) -> Outcome:
        await db.run("SAVEPOINT item")
        last = self._numbers.last
        try:
            if isinstance(t, _SETS):
                outcome = await self._over_many(db, cast("SetTransition", t), now, careful=True)
            else:
                one = cast("ThreadTransition", t)
                held = await hold(db, [(one.scope, one.thread_id)])
                [outcome] = await self._decide_all(db, [one], held, now, careful=True)
        except Exception as error:  # the item's own failure: its caller is answered with it, its neighbours are not
            if isinstance(error, OF_DATABASE):
                raise
            await db.run("ROLLBACK TO item")
            self._numbers.last = last
            outcome = Failed(_explained(error))
        await db.run("RELEASE item")
        return outcome

    async def _over_many(self, db: Session, t: SetTransition, now: Instant, *, careful: bool) -> Outcome:
        rule = rules.apply_to_many(t, Changes(numbers=self._numbers), now)
        try:
            question = next(rule)
            while True:
                question = rule.send(await self._answers.answer(db, question, careful=careful))
        except StopIteration as end:
            outcome: Outcome = end.value
        if isinstance(t, Purge):
            await db.rows("forget_batches")
        return outcome

    async def _decide_all(
        self, db: Session, items: Sequence[ThreadTransition], held: Held, now: Instant, *, careful: bool
    ) -> list[Outcome]:
        changes = Changes(numbers=self._numbers)
        found = await load(db, [needs(t, careful=careful) for t in items], held, now)
        outcomes: list[Any] = []
        for t, facts in zip(items, found, strict=True):
            if isinstance(facts, Busy):
                outcomes.append(Deferred())
                continue
            if isinstance(facts, DataIntegrity):
                raise facts
            outcome = rules.apply(t, facts, changes, now)
            if _needs_another_look(outcome, facts, careful=careful):
                # Nothing of it meets a constraint, which would have shown that it had been accepted before.
                anew = await hold(db, [(t.scope, t.thread_id)])
                [again] = await load(db, [needs(t)], anew, now)
                if isinstance(again, DataIntegrity):
                    raise again
                outcome = Deferred() if isinstance(again, Busy) else rules.apply(t, again, changes, now)
            outcomes.append(outcome)
        await self._write(db, changes)
        return outcomes

    async def _write_some(self, db: Session, changes: Changes, careful: bool) -> DataIntegrity | None:
        """For a rule over many threads: in a replay, what cannot be written is an answer instead of an error."""
        if not careful:
            await self._write(db, changes)
            return None
        await db.run("SAVEPOINT part")
        refused: DataIntegrity | None = None
        try:
            await self._write(db, changes)
        except Overtaken as error:
            await db.run("ROLLBACK TO part")
            changes.clear()
            refused = DataIntegrity(f"its rows contradict each other: {error}")
        await db.run("RELEASE part")
        return refused

    async def _write(self, db: Session, changes: Changes) -> None:
        if self._numbers.last > self._last_number:
            raise RuntimeError(f"a batch needs more than {_BLOCK} arrival numbers")
        await write(db, changes)
        changes.clear()


def _needs_another_look(outcome: Outcome, facts: Facts, *, careful: bool) -> bool:
    """Whether it may be the answer to a repetition that was not seen to be one. Of a thread that was not there nothing
    is held: another process may have made it, with what is repeated, between two statements. At the next look it is
    there.
    """
    if facts.thread is None:
        return type(outcome) is Conflict
    return not careful and type(outcome) in REFUSALS


def _explained(error: Exception) -> Exception:
    """A write that is refused although every fact was looked at means that rows contradict each other; unless it was
    refused for what it would have written.
    """
    if not isinstance(error, Overtaken):
        return error
    return DataIntegrity(f"the stored rows contradict each other: {error}")
