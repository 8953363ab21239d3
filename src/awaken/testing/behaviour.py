"""Marks a test with the entries of the ledger it shows, so that the ledger and the tests can be compared both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

_Test = TypeVar("_Test", bound=Callable[..., Any])


def behaviour(*ids: str) -> Callable[[_Test], _Test]:
    """This test shows these entries of the ledger, for example `@behaviour("MB-120")`."""

    def mark(test: _Test) -> _Test:
        return pytest.mark.behaviour(*ids)(test)

    return mark
