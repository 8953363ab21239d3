"""Runs the conformance cases under pytest, against any store.

Put this in a test module to hold a store of your own to the contract:

    from awaken.testing.plugin import Case, StoreMaker, conformance

    @pytest.fixture
    def make_store(tmp_path: Path) -> StoreMaker:
        return lambda clock: MyStore(tmp_path / "data", clock=clock)

    @conformance
    async def test_my_store_does_what_every_store_does(case: Case, make_store: StoreMaker) -> None:
        await run_case(case, make_store)

Above: `tests/store/test_conformance.py`, and whoever writes a store. Below: `awaken.testing.conformance`.
Holds: a case's behaviour ids become marks of the test that runs it, so the ledger sees them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest

from awaken.store.contract import Store
from awaken.testing.audit import check_sound
from awaken.testing.behaviour import is_about
from awaken.testing.clock import ManualClock

Case = Callable[[Store, ManualClock], Awaitable[None]]
StoreMaker = Callable[[ManualClock], Store]
"""Makes an empty store, not yet entered, that takes its time from the clock it is given."""

_CASES: Final = "awaken.testing.conformance"
pytest.register_assert_rewrite(_CASES)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "behaviour(*ids): the cases of the specification that the test shows")


def cases() -> Iterator[tuple[str, Case]]:
    """Each case with its name, `module.sentence`, by module and then in the order of the file."""
    package = importlib.import_module(_CASES)
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{_CASES}.{found.name}")
        for name, value in vars(module).items():
            if name.startswith("test_"):
                yield f"{found.name}.{name.removeprefix('test_')}", value


def _params() -> list[Any]:
    return [pytest.param(case, id=name, marks=getattr(case, "pytestmark", ())) for name, case in cases()]


conformance: Final[pytest.MarkDecorator] = pytest.mark.parametrize("case", _params())
"""Runs the decorated test once per case, handed in as `case`."""


async def run_case(case: Case, make_store: StoreMaker) -> None:
    """Open an empty store, hold it to the case, audit what is in it then, close it."""
    clock = ManualClock()
    store = make_store(clock)
    if not is_about(case, exclusive=store.capabilities.exclusive):
        pytest.skip("this case is about the other kind of stores: those of one process, or those that several share")
    async with store:
        await case(store, clock)
        await check_sound(store)
