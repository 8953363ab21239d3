"""Whatever is asked of an app, in whatever order, and whenever its process dies, what is promised holds.

Above: nobody; the widest net over `Awaken` as a whole, as `store/test_model.py` is under the stores. Below: everything.
Holds: both stores live through the same, and everything that is stored is compared, byte for byte, after every step:
memory and SQLite as stores of one process, memory and Postgres as stores that several share. A
process dies where nothing is under way, or at an operation that never comes or never answers. At the end everything
that waits is answered and time passes, and then no run may be left.

A failure prints the actions and a blob that replays them; `make luck` looks for new ones.

Source: `docs/concepts/durability.md`.
"""

from __future__ import annotations

import functools
import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, note, settings
from msgspec.structs import replace

from awaken.domain.run import RunStatus
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.postgres import PostgresStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.mailboxes import PretendedSigns
from tests.postgres import Kept
from tests.sequences.asking import SCHEDULES, Ask, Asking, Submission, actions, decision, firsts, pick
from tests.sequences.process import Life, Operation, Refused, SharedClock
from tests.sequences.promises import Promises, check_reading
from tests.sequences.sharing import Count, Counted, Staying
from tests.store.at_once import read_at_once

ROUNDS: Final = 60
"""So many rounds of answers and time, at most, until everything has ended."""
SETTINGS: Final = MailboxSettings(
    drain_s=0, handover_s=0, max_queued_per_thread=6, max_pending_per_thread=4, purge_interval_s=10
)


class Sequences:
    """The same asked of two lives, and what is promised checked after each step."""

    def __init__(self, model: Life, other: Life, keeps_s: float | None) -> None:
        self.model = model
        self.other = other
        self.lives = (self.model, self.other)
        self.seen = self.model.look()
        self._promises = Promises(keeps_s)
        self._asking = Asking()

    def act(self, ask: Ask) -> None:
        note(f"{ask}")
        match ask.kind:
            case "advance":
                self._pass(ask.amount)
            case "crash":
                for life in self.lives:
                    life.crash()
            case "restart":
                for life in self.lives:
                    life.restart()
            case "doom":
                for life in self.lives:
                    life.process.store.doom = ask.doom
            case _:
                operation = self._asking.operation(ask, self.seen)
                if operation is not None:
                    self._ask(ask, operation)
        self._check(may_delete=ask.kind == "delete")

    def _pass(self, seconds: float) -> None:
        for life in self.lives:
            life.process.advance(seconds)

    def _ask(self, ask: Ask, operation: Operation) -> None:
        if ask.kind == "hide":
            for life in self.lives:
                life.effects.edited.add(ask.thread)
        if ask.kind in SCHEDULES and ask.kind != "make":
            self._promises.disturbed(f"s{ask.which % 2}")
        answer = self._answer(operation)
        if isinstance(operation, Submission) and not isinstance(answer, Refused):
            self._promises.accepted(operation.thread_id, operation.message.id)

    def _answer(self, operation: Operation) -> object:
        expected, got = [life.ask(operation) for life in self.lives]
        note(f"    -> {expected!r}")
        assert got == expected, f"over {self.other.store.capabilities.kind} it was answered with {got!r}"
        return expected

    def _check(self, *, may_delete: bool = False) -> None:
        for life in self.lives:
            assert not life.effects.faults, life.effects.faults
            if life.process.store.is_dead:
                life.crash()
        before, self.seen = self.seen, self.model.look()
        assert self.other.look() == self.seen
        self._promises.check(before, self.seen, self.model.process.clock.now(), may_delete=may_delete)
        for life in self.lives:
            life.check_sound()

    def finish(self) -> None:
        """Answer whatever waits for somebody, and let time pass, until everything has ended."""
        for life in self.lives:
            life.process.store.doom = None
        self._answer(lambda app: app.undrain())
        for _, schedule in self.seen.schedules:
            self._promises.disturbed(schedule.spec.name)
            self._answer(lambda app, name=schedule.spec.name: app.pause_schedule(name))
        for _ in range(ROUNDS):
            if all(run.status is RunStatus.DONE for run in self.seen.all_runs) and not self.seen.outbox:
                break
            for _, ticket in self.seen.tickets:
                if ticket.is_open and ticket.asked.kind != "child":
                    self._answer(decision(ticket, 1))
            self._pass(10.0)
            self._check()
        self._promises.check_end(self.seen, self.model.effects)
        for each in self.seen.threads:
            if each.events:
                self._answer(lambda app, name=each.thread_id: check_reading(app, name))


def options(keeps_s: float | None) -> MailboxSettings:
    """`keeps_s`: how long what has ended is kept; None: as usual, which is longer than a sequence goes."""
    if keeps_s is None:
        return SETTINGS
    return replace(SETTINGS, run_retention_s=keeps_s, event_retention_s=keeps_s)


def live_through(first: Ask, asked: list[Ask], keeps_s: float | None, model: Life, other: Life) -> None:
    sequences = Sequences(model, other, keeps_s)
    try:
        for ask in (first, *asked):
            sequences.act(ask)
        sequences.finish()
    finally:
        for life in sequences.lives:
            life.end()
        gc.collect()


# What the coroutines of a dead process say when they are thrown away, nobody hears.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=max(settings().max_examples // 3, 1))  # each of them takes as long as many of other tests
@given(firsts, actions, pick((None, None, 15.0)))
def test_whatever_is_asked_and_whenever_the_process_dies_promises_hold_and_both_stores_agree(
    first: Ask, asked: list[Ask], keeps_s: float | None
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        read_at_once(patch)
        memory = Life(one(MemoryStore), options(keeps_s))
        path = Path(folder) / "awaken.db"
        sqlite = Life(one(lambda time: SqliteStore(path, clock=time, durability="process")), options(keeps_s))
        live_through(first, asked, keeps_s, memory, sqlite)


def one(make: Callable[[SharedClock], Store]) -> Callable[[SharedClock], Store]:
    """The same store for each process."""
    return functools.cache(make)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=max(settings().max_examples // 16, 1))
@given(firsts, actions, pick((None, None, 15.0)))
def test_on_postgres_too_promises_hold_and_a_memory_store_agrees_that_several_processes_share(
    kept_postgres: Kept, first: Ask, asked: list[Ask], keeps_s: float | None
) -> None:
    """A process that dies says nothing: what it held is taken back when its leases have ended."""
    kept_postgres.empty()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("awaken.mailbox.service.FileSigns", PretendedSigns)
        count = Count()
        patch.setattr("awaken.store.postgres.batch.Numbers", lambda: count)
        memory = Life(one(lambda time: Staying(MemoryStore(time))), options(keeps_s), exclusive=False)
        postgres = Life(
            lambda time: Counted(PostgresStore(kept_postgres.url, clock=time), count), options(keeps_s), exclusive=False
        )
        live_through(first, asked, keeps_s, memory, postgres)
