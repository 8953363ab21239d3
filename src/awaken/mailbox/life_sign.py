"""Signs of life between the processes of one machine: each holds a file locked, and the lock ends with the process.

Above: the mailbox shows one and asks after those of its neighbours. Below: the operating system.
Holds: a process is found dead only where its lock is free, on the same boot of the same machine, in a file that this
process may open; in every other case nothing is known, and its leases decide. The lock is a POSIX one: a forked child
does not have it, so a child that outlives its parent does not keep that alive.

A POSIX lock belongs to a process, which loses it by closing any handle of the file; so a process never opens the file
of its own sign a second time, and takes no sign of its own for a dead one.

Source: ADR 0040.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from awaken.domain.ids import ConsumerId
from awaken.domain.worker import LifeSign

if sys.platform != "win32":
    import fcntl

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SUFFIX: Final = ".life"
_SHOWN: Final[set[str]] = set()
"""The paths of the signs that this process shows."""


class LifeSigns(Protocol):
    """How a process is seen to live by its neighbours."""

    def show(self, consumer_id: ConsumerId) -> LifeSign | None:
        """From now on until `hide`, or the end of the process. None where it cannot be done here."""
        ...

    def hide(self) -> None:
        """Show it no more. Harmless when none is shown."""
        ...

    def is_dead(self, sign: LifeSign) -> bool:
        """Whether the process of this sign has certainly ended."""
        ...

    def bury(self, sign: LifeSign) -> None:
        """Remove what a dead process left of its sign."""
        ...


class FileSigns:
    """Locked files in a folder of the user's, among the temporary files of the machine."""

    def __init__(self, folder: Path | None = None, *, boot_id: str | None = None) -> None:
        """`boot_id`: of this machine since it was started, where it is not to be looked up."""
        self._folder = Path(tempfile.gettempdir()) / f"awaken-{_user()}" if folder is None else folder
        self._boot_id = boot_id
        self._handle: int | None = None
        self._path = ""

    def show(self, consumer_id: ConsumerId) -> LifeSign | None:
        boot_id = self._boot()
        if boot_id is None or sys.platform == "win32":
            return None
        self.hide()
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if not self._is_own():
                return None
            path = str(self._folder / f"{consumer_id}{_SUFFIX}")
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        self._handle, self._path = handle, path
        _SHOWN.add(path)
        return LifeSign(boot_id, path)

    def hide(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with suppress(OSError):
                os.unlink(self._path)
            os.close(handle)
            _SHOWN.discard(self._path)

    def is_dead(self, sign: LifeSign) -> bool:
        if sign.boot_id != self._boot() or sign.path in _SHOWN or sys.platform == "win32" or not self._may_touch(sign):
            return False
        try:
            handle = os.open(sign.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(handle)

    def bury(self, sign: LifeSign) -> None:
        if self._may_touch(sign):
            with suppress(OSError):
                os.unlink(sign.path)

    def _may_touch(self, sign: LifeSign) -> bool:
        """Whether it lies where signs lie: its path comes out of the store, which others write."""
        path = Path(sign.path)
        return path.suffix == _SUFFIX and path.parent == self._folder

    def _is_own(self) -> bool:
        """Whether nobody else can put files into the folder."""
        found = os.lstat(self._folder)
        return stat.S_ISDIR(found.st_mode) and found.st_uid == _user() and not found.st_mode & 0o022

    def _boot(self) -> str | None:
        if self._boot_id is None:
            with suppress(OSError):
                self._boot_id = _BOOT_ID.read_text().strip()
        return self._boot_id


def _user() -> int:
    return 0 if sys.platform == "win32" else os.getuid()
