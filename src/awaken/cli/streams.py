"""The standard streams of a command, as they are found: closed, full, or not in UTF-8.

Above: `main` prepares them before a command, and explains what became of the output; `run` reads its text here.
Below: the operating system.
Holds: what cannot be printed or read is explained in one sentence. No file that is opened later gets the number of a
standard stream, or what is printed would be written into it.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import threading
from contextlib import suppress
from typing import Final, NoReturn

from awaken.cli.failure import Failure, usage

_REFUSED: Final = {errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT}
"""What writing to a stream fails with."""
_MODES: Final = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)
"""Of what stands in for a stream that is closed: writing to such an output fails, complaints go nowhere."""


def prepare() -> None:
    """Before anything is opened or printed."""
    for number, mode in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # it gets the lowest number that is free: this one
    # Python leaves None where a stream is closed, and everything would have to ask for it. Open until the process ends.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def give_up_output() -> None:
    """Print nothing more, not even what waits in the buffer until the process ends."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def end_with_reader() -> None:
    """End the process when whoever reads the output has left: what waits for long would notice only with what it prints
    next. Where the output is no pipe, nobody can leave.
    """
    try:
        out = sys.stdout.fileno()
    except (OSError, ValueError):  # it is one that Python holds
        return
    if hasattr(select, "poll") and stat.S_ISFIFO(os.fstat(out).st_mode):
        threading.Thread(target=_end_with_reader, args=(out,), daemon=True).start()


def _end_with_reader(out: int) -> None:
    poll = select.poll()
    poll.register(out, 0)  # an error is told without being asked for
    poll.poll()
    os._exit(0)


def output_failure(error: OSError) -> Failure | None:
    """What it means if it comes from printing; None where it is something else."""
    if error.filename is not None or error.errno not in _REFUSED:
        return None
    why = "it is closed" if error.errno == errno.EBADF else error.strerror
    return Failure(f"the standard output does not take what was to be printed: {why}")


def given_text(text: str, what: str = "the text") -> str:
    """A text from the command line; `-` stands for the standard input, whose last line need not end.

    Raises:
        Failure: It is not UTF-8, or there is no standard input.
    """
    if text != "-":
        return utf8(text, what)
    try:
        return utf8(_input(), "the standard input")
    except UnicodeDecodeError:
        _not_utf8("the standard input")


def utf8(text: str, what: str) -> str:
    """The text itself. Raises Failure where something in it is half a character, as what is not UTF-8 becomes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _not_utf8(what)
    return text


def _not_utf8(what: str) -> NoReturn:
    usage(f"{what} is not in UTF-8; convert it first, with iconv")


def _input() -> str:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]: it is None where it was closed
        usage("the standard input is closed; give the text instead of -")
    try:
        return sys.stdin.read().removesuffix("\n")
    except OSError as error:
        raise Failure(f"the standard input cannot be read: {error.strerror or error}") from error
