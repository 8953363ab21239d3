"""Parameters and bodies of other protocols, which pass over what they do not know."""

from __future__ import annotations

from typing import ClassVar

import pytest

from awaken.http.body import parse_object
from awaken.http.problems import Problem
from awaken.http.query import Query, parse_query


class Strict(Query, frozen=True, kw_only=True):
    limit: int = 10
    mode: str | None = None


class Lenient(Strict, frozen=True, kw_only=True):
    passes_over: ClassVar[bool] = True


def test_a_query_that_passes_over_takes_what_it_knows_and_joins_what_is_repeated() -> None:
    found = parse_query(b"limit=3&unknown=1&mode=a&mode=b&mode=", Lenient)
    assert (found.limit, found.mode) == (3, "a,b")
    for refused in (b"unknown=1", b"mode=a&mode=b"):
        with pytest.raises(Problem):
            parse_query(refused, Strict)
    with pytest.raises(Problem):
        parse_query(b"limit=many", Lenient)


def test_an_array_is_a_body_only_where_a_field_stands_for_it() -> None:
    assert parse_object(b"[1, 2]", max_depth=8, list_field="runs") == {"runs": [1, 2]}
    with pytest.raises(Problem, match="must be a JSON object"):
        parse_object(b"[1, 2]", max_depth=8)
    with pytest.raises(Problem, match="must be a JSON object"):
        parse_object(b'"text"', max_depth=8, list_field="runs")
