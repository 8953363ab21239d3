"""One process per database file, held to by a lock on `<file>.lock`.

Above: `SqliteStore` takes the lock before it opens the database and gives it back last. Below: the operating system.
Holds: the lock ends with the process that took it, however that ends; a second store on the same file is refused, in
the same process, in a forked child and in any other one. The database file itself is never locked here, because
closing another handle on it would drop SQLite's own locks.
"""

from __future__ import annotations

import os
import socket
import sys
import weakref
from pathlib import Path
from typing import Final

import msgspec

from awaken.domain.clock import Clock, to_rfc3339
from awaken.domain.errors import StoreUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HELD: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


class Holder(msgspec.Struct, frozen=True):
    """What a lock file says about the process that holds it."""

    pid: int
    host: str
    started_at: str


class FileLock:
    """Taken by `take`, given back by `release`; both are safe to repeat."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = Path(f"{os.path.realpath(database)}.lock")
        self._fd: int | None = None

    def take(self, clock: Clock) -> None:
        """Become the one owner of the database.

        Raises:
            StoreUnavailable: Somebody else is, or the lock file cannot be made.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"database {self._database}: its lock file {self._path} cannot be made ({error.strerror}). Check that"
                " the folder exists and is writable for this user"
            ) from error
        if not _try_lock(fd):
            holder = _read_holder(fd)
            os.close(fd)
            raise StoreUnavailable(_refusal(self._database, holder))
        self._fd = fd
        _HELD.add(self)
        _write_holder(fd, Holder(os.getpid(), socket.gethostname(), to_rfc3339(clock.now())))

    def release(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            _unlock(fd)
            os.close(fd)

    def forget(self) -> None:
        """In a forked child: let go of the inherited handle, without giving the parent's lock back."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()


if hasattr(os, "register_at_fork"):
    # A child that kept the handle would keep the lock when its parent is killed, and the next server could not start.
    os.register_at_fork(after_in_child=_forget_all)


def _refusal(database: Path, holder: Holder | None) -> str:
    who = "another process"
    if holder is not None:
        who = f"process {holder.pid} on {holder.host} (since {holder.started_at})"
    return (
        f"database {database} is already served by {who}. An SQLite file has one owner: talk to that server over HTTP"
        " (awaken.client, or --url of the commands), or stop it first"
    )


def _write_holder(fd: int, holder: Holder) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, msgspec.json.encode(holder) + b"\n")


def _read_holder(fd: int) -> Holder | None:
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        return msgspec.json.decode(os.read(fd, 4096), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None  # its owner is just writing it


if sys.platform == "win32":
    _FAR_BYTE: Final = 1 << 30  # beyond the text, which must stay readable

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _FAR_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, _FAR_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
