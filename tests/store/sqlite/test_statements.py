"""Each statement uses the index that its comment names, and reads nothing whole without saying so."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from typing import Any, Final

import pytest

from awaken.store.sqlite.migrate import migrate
from awaken.store.sqlite.queries import SQL

PRIMARY: Final = "primary key"
ENTRIES: Final = "thread_entries"
"""The index of what belongs to a thread, which is that table's primary key."""
TEXT: Final = files("awaken.store.sqlite").joinpath("queries.sql").read_text(encoding="utf-8")
TABLES: Final = ("threads", "thread_entries", "messages", "runs", "dispatches", "events", "journal")
BOUNDED: Final = ("count_queued", "count_claimed", "count_acked")
"""These walk along an index, or along the table, and stop at a limit."""


def _comments() -> dict[str, str]:
    """What stands between the name of each statement and the statement; with the heading, for a whole section."""
    found: dict[str, str] = {}
    section, name = "", ""
    for line in TEXT.splitlines():
        if line.startswith("-- name:"):
            name = line.removeprefix("-- name:").strip()
            found[name] = section
        elif line.startswith(("-- ===", "-- part:")):
            name = ""
        elif line.startswith("-- ") and not name:
            section = line
        elif line.startswith("-- "):
            found[name] += line.removeprefix("--")
    return found


COMMENTS: Final = _comments()


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


def indexes(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")}


def named(db: sqlite3.Connection, name: str) -> set[str]:
    """The indexes that the comment of a statement names."""
    promised = COMMENTS[name].partition("Index: ")[2]
    return {index for index in (*indexes(db), ENTRIES, PRIMARY) if re.search(rf"\b{index}(s\b|\b)", promised)}


def used(name: str, steps: list[str]) -> set[str]:
    """The indexes that the steps of a statement use."""
    found: set[str] = set()
    for step in steps:
        match = re.match(r"(?:SEARCH|SCAN) (\w+) USING (?:COVERING )?(INDEX (\w+)|(?:INTEGER )?PRIMARY KEY)", step)
        if match is not None:
            place = _table(name, match[1])
            found.add(match[3] or (ENTRIES if place == ENTRIES else PRIMARY))
        elif re.match(r"SEARCH \w+$", step):
            found.add(PRIMARY)  # the highest rowid
    return found


def _table(name: str, alias: str) -> str:
    """The table that a statement calls so."""
    match = re.search(rf"\b({'|'.join(TABLES)}) {alias}\b", SQL[name])
    return alias if match is None else match[1]


def test_every_statement_is_one_that_sqlite_accepts(db: sqlite3.Connection) -> None:
    assert list(COMMENTS) == list(SQL)
    for name in SQL:
        plan(db, name)


def test_every_index_serves_some_statement(db: sqlite3.Connection) -> None:
    assert indexes(db) == set().union(*[used(name, plan(db, name)) for name in SQL]) - {PRIMARY, ENTRIES}


@pytest.mark.parametrize("name", SQL)
def test_a_statement_finds_its_rows_by_the_index_it_names(db: sqlite3.Connection, name: str) -> None:
    found, promised = used(name, plan(db, name)), named(db, name)
    if "Index: " in COMMENTS[name]:
        assert promised, "an index is named that does not exist"
        assert found - {PRIMARY} == promised - {PRIMARY}
        assert PRIMARY in found or PRIMARY not in promised
    elif "reads whole tables" not in COMMENTS[name] and name not in BOUNDED:
        assert not SQL[name].startswith("SELECT"), "a statement that looks for rows says how it finds them"


@pytest.mark.parametrize("name", SQL)
def test_nothing_is_read_whole_or_sorted_unless_the_statement_says_so(db: sqlite3.Connection, name: str) -> None:
    says_so = re.search(r"reads? (\w+ )?whole", COMMENTS[name]) is not None
    scans = [
        step for step in plan(db, name) if (match := re.match(r"SCAN (\w+)", step)) and _table(name, match[1]) in TABLES
    ]
    sorts = [step for step in plan(db, name) if "TEMP B-TREE" in step]
    assert says_so or not sorts
    assert says_so or not scans or (name in BOUNDED and "LIMIT :limit" in SQL[name])
