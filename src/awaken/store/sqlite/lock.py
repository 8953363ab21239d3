"""One process per database file, whatever names that file has.

Above: `writer` takes the lock before it opens the database and gives it back last. Below: the operating system.
Holds: the lock ends with the process that took it, however that ends; a second store on the same file is refused, in
the same process, in a forked child and in any other one, also when the lock file was removed or the file has another
name. Closing other handles on the file, anywhere in this process, disarms nothing.

How it works. There are two kinds of locks. POSIX locks, which SQLite uses, belong to a process, and *all* of those that
a process holds on a file are dropped when it closes *any* handle on that file: a backup that only reads it is enough.
The others belong to an open handle and end with that. Only these are used here:

- `<file>.lock` is locked as a whole, on every platform. It names the holder for whoever is refused.
- On Linux the database file itself, which has one inode however it is named, is locked too (`F_OFD_SETLK`), on a byte
  that SQLite never locks. A lock file can be removed, and another name for the database has another lock file.
- On Linux the locks by which SQLite shows other programs that a database is in use are held a second time, on these
  handles (`guard`). Without them the next program that opens and closes the database takes its log for abandoned, and
  removes it.

Handles on a file that SQLite has open are closed only after all its connections, because of the first kind.

Source: ADR 0009, ADR 0030.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
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
_book = threading.Lock()
"""Held while a file is taken or given back: another thread must not find a handle that is just being closed, whose
number the next file may have already.
"""


class Holder(msgspec.Struct, frozen=True):
    """What a lock file says about the process that holds it."""

    pid: int
    host: str
    started_at: str
    moves: bool = False
    """It moves the file to another database, and does not serve it."""


def check_free(database: Path) -> None:
    """Raises StoreUnavailable where a process owns the database. Nothing is made or taken."""
    file = os.path.realpath(database)
    try:
        handle = os.open(f"{file}.lock", os.O_RDWR)
    except OSError:
        return  # nobody has served it, or opening it will say what is wrong
    try:
        if not _try_lock(handle):
            raise StoreUnavailable(_refusal(database, _read_holder(handle)))
        _unlock(handle)
    finally:
        os.close(handle)


class FileLock:
    """Taken by `take`, given back by `release`; both are safe to repeat."""

    def __init__(self, database: Path) -> None:
        """`database`: an absolute path."""
        self._database = database
        self.file = str(database)
        """The database file, from `take` on without links."""
        self._fd: int | None = None
        self._handle: int | None = None
        self._index_handle: int | None = None
        self._is_guarded = False

    @property
    def path(self) -> str:
        return f"{self.file}.lock"

    @property
    def handle(self) -> int:
        """The database file, open for reading and writing, from `take` to `release`."""
        assert self._handle is not None, "taken"
        return self._handle

    @property
    def fd(self) -> int:
        """The lock file."""
        assert self._fd is not None, "taken"
        return self._fd

    def take(self, clock: Clock, *, moves: bool = False) -> None:
        """Become the one owner of the database, which is made, empty, if it does not exist. `moves`: see `Holder`.

        Raises:
            StoreUnavailable: Somebody else is, or the lock file or the database cannot be made.
        """
        with _book:
            self._take(clock, moves)

    def _take(self, clock: Clock, moves: bool) -> None:
        self.file = os.path.realpath(self._database)
        self._refuse_if_held_here()
        self._fd = self._open(self.path, "its lock file cannot be made")
        try:
            if not _try_lock(self._fd):
                raise StoreUnavailable(_refusal(self._database, _read_holder(self._fd)))
            self._handle = self._open(self.file, "it cannot be opened")
            if not _lock_bytes(self._handle, _WRITE, _OWNER_BYTE, 1):
                raise StoreUnavailable(_refusal(self._database, None))
        except BaseException:
            self.forget()
            raise
        _HELD.add(self)
        _write_holder(self._fd, Holder(os.getpid(), socket.gethostname(), to_rfc3339(clock.now()), moves))

    def guard(self) -> None:
        """Hold SQLite's own locks on the opened database a second time, where no handle but ours can drop them."""
        if not _CAN_LOCK_BYTES:
            return
        self._index_handle = self._open(f"{self.file}-shm", "its companion cannot be opened")
        _lock_bytes(self._index_handle, _READ, _SQLITE_INDEX_IN_USE, 1)
        self._is_guarded = _lock_bytes(self.handle, _READ, _SQLITE_SHARED, _SQLITE_SHARED_COUNT)

    def unguard(self) -> None:
        """SQLite may empty the log and remove it: the last connection is about to be closed."""
        if self._is_guarded:
            self._is_guarded = False
            _lock_bytes(self.handle, _UNLOCK, _SQLITE_SHARED, _SQLITE_SHARED_COUNT)

    def release(self) -> None:
        """All connections are closed."""
        with _book:
            if self._handle is not None:
                _lock_bytes(self._handle, _UNLOCK, _OWNER_BYTE, 1)
            if self._fd is not None:
                _unlock(self._fd)
            self.forget()

    def forget(self) -> None:
        """Close the handles. In a forked child this lets go of what was inherited, without giving the parent's lock
        back.
        """
        handles = (self._index_handle, self._handle, self._fd)
        self._index_handle = self._handle = self._fd = None
        for handle in handles:
            if handle is not None:
                os.close(handle)

    def _refuse_if_held_here(self) -> None:
        """Before anything is opened: closing it again would drop the locks of the SQLite that has it open here."""
        try:
            found = os.stat(self.file)
        except OSError:
            return
        for other in list(_HELD):
            if other._handle is not None and os.path.samestat(os.fstat(other._handle), found):
                raise StoreUnavailable(_refusal(self._database, _read_holder(other.fd)))

    def _open(self, path: str, what: str) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"database {self._database}: {what}: {path} ({error.strerror}). Check that the folder exists and is"
                " writable for this user"
            ) from error


def _forget_all() -> None:
    global _book
    _book = threading.Lock()  # a thread of the parent may have held the other one
    for lock in list(_HELD):
        lock.forget()


if hasattr(os, "register_at_fork"):
    # A child that kept the handle would keep the lock when its parent is killed, and the next server could not start.
    os.register_at_fork(after_in_child=_forget_all)


def _refusal(database: Path, holder: Holder | None) -> str:
    who = "another process"
    if holder is not None:
        who = f"process {holder.pid} on {holder.host} (since {holder.started_at})"
        if holder.moves:
            return (
                f"database {database} is being moved to another one by {who}. Let that end; or stop it, and begin the"
                " move again: it goes on where it was"
            )
    return (
        f"database {database} is already served by {who}. An SQLite file has one owner: talk to that server over HTTP"
        " (awaken.client, or --url of the commands), or stop it first; many servers share a database of Postgres"
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


_OWNER_BYTE: Final = 1 << 62
"""No database reaches this far, and SQLite locks nothing there."""
_SQLITE_SHARED: Final = (1 << 30) + 2
_SQLITE_SHARED_COUNT: Final = 510
"""Of the database file: held shared by every connection, and exclusively by one that removes the log."""
_SQLITE_INDEX_IN_USE: Final = 128
"""Of the `-shm` file: while it is held shared, nobody takes the index of the log for abandoned."""

_CAN_LOCK_BYTES: Final = sys.platform == "linux" and sys.maxsize > 2**32
"""Elsewhere a lock of a handle is one of the whole file, and would collide with those of SQLite."""

if sys.platform == "linux":
    _READ, _WRITE, _UNLOCK = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK

    def _lock_bytes(fd: int, kind: int, start: int, count: int) -> bool:
        """Lock part of a file for this handle. False when somebody else has it; a file system that cannot do it is no
        reason to refuse, because there is the lock file.
        """
        if not _CAN_LOCK_BYTES:
            return True
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, count, 0))
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

else:
    _READ, _WRITE, _UNLOCK = 0, 1, 2

    def _lock_bytes(fd: int, kind: int, start: int, count: int) -> bool:
        return True


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
