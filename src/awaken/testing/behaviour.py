"""Marks a test with the entries of the ledger it shows, so that the ledger and the tests can be compared both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import pytest

_Test = TypeVar("_Test", bound=Callable[..., Any])


def behaviour(*ids: str) -> Callable[[_Test], _Test]:
    """This test shows these entries of the ledger, for example `@behaviour("MB-120")`."""

    def mark(test: _Test) -> _Test:
        return pytest.mark.behaviour(*ids)(test)

    return mark


def on_stores(*, exclusive: bool) -> Callable[[_Test], _Test]:
    """This conformance case is about stores that only one process may own, or about those that several share. On others
    it is skipped, which is shown.
    """

    def mark(test: _Test) -> _Test:
        _EXCLUSIVE[test] = exclusive
        return test

    return mark


def is_about(test: Callable[..., Any], *, exclusive: bool) -> bool:
    """Whether a conformance case is about such stores."""
    return _EXCLUSIVE.get(test, exclusive) is exclusive


_EXCLUSIVE: Final[dict[Callable[..., Any], bool]] = {}
