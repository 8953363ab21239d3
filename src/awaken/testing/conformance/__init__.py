"""What every store must do, as plain functions: each takes an empty store and the clock that store was given.

Above: `awaken.testing.plugin` hands them to pytest; a store of your own is held to them with ten lines, shown there.
Below: only the contract in `awaken.store`; a case knows nothing about the store it is given.
Holds: every public `test_*` function of this package is a case, so a new one reaches every store without an edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterator

from awaken.store.contract import Store
from awaken.testing.clock import ManualClock

Case = Callable[[Store, ManualClock], Awaitable[None]]


def cases() -> Iterator[tuple[str, Case]]:
    """Each case with its name, `module.sentence`, by module and then in the order of the file."""
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{__name__}.{found.name}")
        for name, value in vars(module).items():
            if name.startswith("test_"):
                yield f"{found.name}.{name.removeprefix('test_')}", value
