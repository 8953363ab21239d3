"""Statement files: blocks headed by a name, comments for people only."""

from __future__ import annotations

import pytest

from awaken.store.statements import load_statements, parse_statements

TEXT = """
-- Everything before the first name is a comment.

-- name: first
-- What it guarantees.
SELECT 1
  FROM somewhere;

-- name: second
DELETE FROM somewhere
 WHERE id = :id;
"""


def test_a_file_is_read_into_statements_by_name() -> None:
    assert parse_statements(TEXT, "a.sql") == {
        "first": "SELECT 1 FROM somewhere",
        "second": "DELETE FROM somewhere WHERE id = :id",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "'a' appears twice"),
        ("-- name: a\n-- only words\n", "'a' is empty"),
    ],
)
def test_a_file_that_names_badly_stops_the_import(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_statements(text, "a.sql")


def test_the_statements_of_a_store_are_found_in_its_package() -> None:
    assert load_statements("awaken.store.sqlite")["data_version"] == "PRAGMA data_version"
