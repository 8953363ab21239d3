"""Reads of SQLite without its threads, for tests that read everything again and again.

Above: the random tests. Below: the pool that the readers of SQLite make for themselves.
Holds: what is read is the same; only that reads go on beside everything else is left to other tests.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

import pytest

P = ParamSpec("P")
T = TypeVar("T")


class _AtOnce(Executor):
    """Does what it is given when it is given it: handing over to a thread takes longer than most reads."""

    def __init__(self, size: int, *options: Any, **others: Any) -> None: ...

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


def read_at_once(patch: pytest.MonkeyPatch) -> None:
    """For stores that are opened from now on."""
    patch.setattr("awaken.store.sqlite.readers.ThreadPoolExecutor", _AtOnce)
