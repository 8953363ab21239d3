"""How a command fails: one sentence with what to do, and an exit code a script can rely on.

Above: `main` prints the sentence and exits. Below: the errors of the domain and of the client.
Holds: whoever uses a command sees a traceback only for a bug.

Source: `docs/reference/cli.md` (exit codes).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn

from awaken.domain.errors import (
    AwakenError,
    Conflict,
    NotFound,
    QueueFull,
    StoreUnreachable,
    Unauthorized,
    Unavailable,
    UnknownAgent,
    ValidationError,
)


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    """Not as things stand."""
    UNREACHABLE = 5
    """Nobody answers, or nobody yet or any more: a server that starts or stops, a database that is away. The same can
    be asked again."""
    WAITS = 6
    """The run waits for somebody, and goes on when that has been decided."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it."""


class Failure(Exception):
    """Ends the command with a sentence on the standard error."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


def usage(message: str) -> NoReturn:
    """End the command because of how it was called."""
    raise Failure(message, Exit.USAGE)


def check_seconds(option: str, seconds: float, *, most_s: float) -> None:
    """End the command where an option is no length of time, or a longer one than is meant by anybody."""
    if not 0 <= seconds <= most_s:  # a NaN is not
        usage(f"{option} is 0 to {most_s:g} seconds, not {seconds:g}")


def failure_of(error: AwakenError) -> Failure:
    """What an error means for a command."""
    match error:
        case NotFound() | UnknownAgent(agent_id=str()):
            code = Exit.NOT_FOUND
        case Conflict() | QueueFull():
            code = Exit.CONFLICT
        case ValidationError():
            code = Exit.USAGE
        case Unavailable() | StoreUnreachable():
            code = Exit.UNREACHABLE
        case _:
            code = Exit.UNREACHABLE if error.code == "unreachable" else Exit.FAILED
    notes: list[str] = getattr(error, "__notes__", [])
    sentence = str(error) + "".join(f" ({note})" for note in notes)
    if code is Exit.UNREACHABLE and error.code == "unreachable":
        sentence += ". Start a server with `awaken serve`, or name another one with --url"
    if isinstance(error, Unauthorized):
        sentence += '. Give it with --header "Authorization: Bearer …", or in AWAKEN_HEADERS'
    return Failure(sentence, code)
