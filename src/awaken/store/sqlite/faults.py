"""What SQLite's own errors mean here, in words that name the file and the way out.

Above: whoever runs a statement translates at its edge. Below: nothing.
Holds: `StoreUnavailable` means that nothing changed and trying again may help; `DataIntegrity`, that it will not.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from awaken.domain.errors import DataIntegrity, StoreError, StoreUnavailable

_UNAVAILABLE: Final[dict[int, str]] = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing was written. Free some space: work continues by itself",
    sqlite3.SQLITE_READONLY: "it cannot be written. Make the file and its folder writable for this user",
    sqlite3.SQLITE_PERM: "it cannot be opened. Make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that its folder exists and is writable for this user",
    sqlite3.SQLITE_BUSY: "another program holds its lock. Close that program",
    sqlite3.SQLITE_LOCKED: "another program holds its lock. Close that program",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; nothing was written. Check the disk",
    sqlite3.SQLITE_NOMEM: "there is no memory left; nothing was written",
}
_DAMAGED: Final[dict[int, str]] = {
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database. Choose another path",
    sqlite3.SQLITE_CORRUPT: "it is corrupt. Restore a backup, or rescue what is left with `sqlite3 FILE .recover`",
}


def translated(error: sqlite3.Error, path: Path) -> StoreError:
    """The package's error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _DAMAGED:
        return DataIntegrity(f"database {path}: {_DAMAGED[code]} ({error})")
    return StoreUnavailable(f"database {path}: {_UNAVAILABLE.get(code, 'SQLite refused')} ({error})")
