"""A database file's content, kept and put back while stores have it open: what a restored backup looks like to them.

Above: tests of what a store makes of a file that somebody else has written. Below: SQLite's own copying.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def copy_content(of: Path, into: Path) -> None:
    """Make the second database hold what the first holds. Either may be open elsewhere; neither may be written now."""
    with closing(sqlite3.connect(of)) as source, closing(sqlite3.connect(into)) as target:
        source.backup(target)
