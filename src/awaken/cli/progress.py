"""A bar on whatever lasts: on the standard error, on a terminal only, and gone when it is over."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from awaken.cli.palette import console_on


class Show(Protocol):
    """Called as often as something has been done. `total` None: nobody knows how much there is."""

    def __call__(self, doing: str, done: float = 0, total: float | None = None) -> None: ...


@contextmanager
def progress(doing: str) -> Generator[Show]:
    """A bar that moves, and that shows how far it is once a total is known."""
    console = console_on(sys.stderr)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, *times, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None)

        def show(doing: str, done: float = 0, total: float | None = None) -> None:
            bar.update(task, description=doing, completed=done, total=total)

        yield show
