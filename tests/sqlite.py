"""A new SQLite file for whoever wants one: made once in each process, and copied.

Above: fixtures whose tests begin with a store that was never written, thousands of them. Below: what opens a database.
Holds: the file is what opening a store at a place without one leaves there. That it is made so, and brought up to date,
is looked at in `tests/store/sqlite/`, over files that do not exist.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from awaken.store.sqlite.opening import open_writer


def new_file(path: Path) -> Path:
    """Lay one there: in a tenth of the time that making it takes."""
    path.write_bytes(_made())
    return path


@cache
def _made() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        open_writer(path, "process").close()
        return path.read_bytes()
