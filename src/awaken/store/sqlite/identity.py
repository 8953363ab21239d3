"""Whether the files that were opened are still those that have their names.

Above: `writer` looks before each batch. Below: the operating system.
Holds: a file is known by device and inode. What was moved, replaced or removed is found before the next batch is
written, the database always, its companions within `LOOK_INTERVAL_S`: a commit that goes into a file without a name
would be answered, and be gone with the next start. What is put back is taken up again.

Source: ADR 0030.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from awaken.domain.errors import StoreUnavailable

LOOK_INTERVAL_S: Final = 1.0
"""Between looks at all files. Looking at one takes two microseconds, and a batch a few hundred."""

_Key = tuple[int, int]


class OpenedFiles:
    """Of one open database. `remember` first; everything in the writing thread."""

    def __init__(self, path: Path, seconds: Callable[[], float]) -> None:
        """`path` is for messages; `seconds` a clock that only moves forward."""
        self._path = path
        self._seconds = seconds
        self._opened: list[tuple[str, _Key]] = []
        """Each file's path, with what it was when it was opened. The database comes first."""
        self._looked_s = 0.0

    def remember(self, database: str, handle: int, lock: str, lock_fd: int) -> None:
        """What is open now is what is meant by these names.

        Raises:
            StoreUnavailable: They have been moved or replaced while they were opened.
        """
        log, index = f"{database}-wal", f"{database}-shm"
        companions = [(path, _key(os.stat(path))) for path in (log, index) if os.path.exists(path)]
        self._opened = [
            (database, _key(os.fstat(handle))),
            *companions,
            (lock, _key(os.fstat(lock_fd))),
        ]
        self.look()

    def look_before_batch(self) -> None:
        """As `look`; most of the time only at the database itself."""
        if self._seconds() - self._looked_s >= LOOK_INTERVAL_S:
            self.look()
        else:
            self._check(*self._opened[0])

    def look(self) -> None:
        """Look at all of them.

        Raises:
            StoreUnavailable: One of them is not what was opened. Whoever asks again is answered anew.
        """
        self._looked_s = float("-inf")  # after a refusal the next look is a whole one, too
        for path, opened in self._opened:
            self._check(path, opened)
        self._looked_s = self._seconds()

    def _check(self, path: str, opened: _Key) -> None:
        try:
            if _key(os.stat(path)) == opened:
                return
            fate = "replaced"
        except FileNotFoundError:
            fate = "moved or removed"
        except OSError as error:
            fate = f"made unreachable ({error.strerror})"
        raise StoreUnavailable(
            f"database {self._path}: {path} was {fate} while it was served; nothing was written. Put the file that was"
            " opened back in its place, or stop the server with SIGTERM (not with kill -9) and start it again"
        )


def _key(found: os.stat_result) -> _Key:
    return found.st_dev, found.st_ino
