"""Each hot statement uses the index that it names."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest

from awaken.store.sqlite.migrate import migrate
from awaken.store.sqlite.queries import SQL

PRIMARY = "PRIMARY KEY"
MESSAGE_ID = "sqlite_autoindex_messages_1"
PLANS: Final[dict[str, list[str]]] = {
    "threads": [PRIMARY],
    "claimed_of_threads": ["dispatches_claimed"],
    "run": [PRIMARY],
    "dispatch": [PRIMARY],
    "message": [MESSAGE_ID],
    "holder_of_dedupe_key": ["dispatches_dedupe"],
    "next_due": ["dispatches_queue"],
    "best_due": ["dispatches_due"],
    "queue": ["dispatches_queue"],
    "log_tail": ["messages_log"],
    "update_thread": [PRIMARY],
    "append_message": [MESSAGE_ID],
    "update_run": [PRIMARY],
    "update_dispatch": [PRIMARY],
    "ready_priorities": ["threads_ready", "threads_ready"],
    "due_threads": ["threads_ready"],
    "first_ready_at": ["threads_ready"],
    "first_lease_end": ["dispatches_claimed"],
    "purgeable": ["dispatches_finished"],
    "thread": [PRIMARY],
    "active_of_thread": ["dispatches_claimed"],
    "head_of_queue": ["dispatches_queue"],
    "latest_run": [PRIMARY, PRIMARY],
    "runs_oldest_first": ["runs_created"],
    "log_forward": ["messages_log"],
    "log_backward": ["messages_log"],
    "events_from": ["sqlite_autoindex_events_1", "sqlite_autoindex_events_1"],
    "events_of_run": [PRIMARY, "sqlite_autoindex_events_1", "sqlite_autoindex_events_1"],
    "journal": [PRIMARY],
}
"""The indexes each finds its rows by, and nothing but them: no table is scanned, nothing is sorted."""


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, 0)
        yield connection


def plan(db: sqlite3.Connection, name: str) -> list[str]:
    """What SQLite says it will do, a line per step."""
    names = set(re.findall(r":(\w+)", SQL[name]))
    values: Any = dict.fromkeys(names) if names else (None,) * SQL[name].count("?")
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", values)]


@pytest.mark.parametrize("name", PLANS)
def test_a_hot_statement_finds_its_rows_by_its_index_alone(db: sqlite3.Connection, name: str) -> None:
    steps = [step for step in plan(db, name) if not step.startswith(("SCAN wanted", "SCAN each"))]
    used = [re.search(r"USING (?:COVERING )?(?:INDEX )?(PRIMARY KEY|\w+)", step) for step in steps]
    assert [found.group(1) for found in used if found is not None] == PLANS[name]
    whole = [step for step in steps if "TEMP B-TREE" in step or (step.startswith("SCAN") and "INDEX" not in step)]
    assert [step for step in whole if not step.startswith(("SCAN CONSTANT", "SCAN 1"))] == []


def test_every_statement_is_one_that_sqlite_accepts(db: sqlite3.Connection) -> None:
    for name in SQL:
        plan(db, name)
