"""`awaken threads`: which conversations there are; write one down, or delete it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from cyclopts import App

from awaken.cli.confirming import Yes, confirm
from awaken.cli.failure import Exit, Failure, usage
from awaken.cli.options import URL, AsJson, Flag, Headers, Url
from awaken.cli.progress import Show, progress
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import age, note, print_json
from awaken.client import Client, Thread
from awaken.domain.clock import Instant, SystemClock
from awaken.domain.explaining import shown
from awaken.domain.shown import ChildStrategy

MAX_LIMIT: Final = 100_000
"""They are read into memory before they are printed."""

threads = App(name="threads", help_format="markdown")


@threads.default
def list_threads(
    *,
    status: Literal["idle", "queued", "busy", "waiting", "error"] | None = None,
    title: str | None = None,
    resource: str | None = None,
    limit: int = 20,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """List threads, the most recently active first; write one down, or delete it.

    `awaken show THREAD` shows one, with the end of its conversation.

    Example: awaken threads --status waiting

    Parameters
    ----------
    status
        Those in this state.
    title
        Those whose title holds this, in capitals or not.
    resource
        Those that belong to this.
    limit
        At most so many, up to 100000.
    """
    if not 1 <= limit <= MAX_LIMIT:
        usage(f"--limit is 1 to {MAX_LIMIT}, not {shown(limit)}")
    with connected(url, header) as client:
        found = list(client.list_threads(status=status, q=title, resource_id=resource, limit=limit))
    if as_json:
        print_json({"items": found})
    elif found:
        _print_table(found, SystemClock().now())
    else:
        chosen = any(given is not None for given in (status, title, resource))
        note("no such threads" if chosen else "no threads yet; `awaken run AGENT TEXT` makes one")
    return Exit.OK


@threads.command
def export(
    thread: str,
    file: Path | None = None,
    /,
    *,
    messages_only: Flag = False,
    url: Url = URL,
    header: Headers = (),
) -> int:
    """Write a thread down as JSON lines: the thread, its messages, also hidden ones, and its events.

    Each line is an object with one key that says what it is: `thread`, `message` or `event`. A file appears under its
    name when it is whole.

    Example: awaken threads export order-7 order-7.jsonl

    Parameters
    ----------
    thread
        Its id.
    file
        A name that is free; the standard output when absent.
    messages_only
        Leave the events out.
    """
    with connected(url, header) as client, progress("messages") as bar:
        lost: list[str] = []
        lines = _lines(client, thread, messages_only, bar, lost)
        first = next(lines)  # a thread that is not there leaves no file
        with _written(file) as write:
            write(first)
            for line in lines:
                write(line)
    if lost:
        raise Failure(f"damaged in the store, and left out or written in part: {', '.join(lost[:5])}")
    return Exit.OK


@threads.command
def delete(
    thread: str,
    /,
    *,
    children: ChildStrategy = "reject",
    force: Flag = False,
    yes: Yes = False,
    url: Url = URL,
    header: Headers = (),
) -> int:
    """Delete a thread with everything in it. Nobody reads it any more.

    Example: awaken threads delete order-7 --force

    Parameters
    ----------
    thread
        Its id.
    children
        What becomes of threads whose parent it is: they refuse it, lose their parent, or go with it.
    force
        Stop what is not done in it first.
    """
    with connected(url, header) as client:
        found = client.get_thread(thread)
        confirm(f"delete thread {found.thread_id} with {found.message_count} messages", yes)
        client.delete_thread(thread, child_strategy=children, force=force)
    print(f"thread {found.thread_id} is deleted")
    return Exit.OK


_COLUMNS: Final = (
    Column(name="THREAD"),
    Column(name="STATUS", is_status=True),
    Column(name="AGE", is_number=True),
    Column(name="MESSAGES", is_number=True, leaves=2),
    Column(name="QUEUED", is_number=True, leaves=3),
    Column(name="BELONGS TO", least=8, leaves=0),
    Column(name="TITLE", least=16, leaves=1),
)


def _print_table(found: list[Thread], now: Instant) -> None:
    rows = [
        (
            each.thread_id,
            each.status,
            age(each.updated_at or each.created_at, now),
            str(each.message_count),
            str(each.queued_count or ""),
            each.resource_id or "",
            each.title or "",
        )
        for each in found
    ]
    print_table(_COLUMNS, rows)


def _lines(client: Client, thread_id: str, messages_only: bool, bar: Show, lost: list[str]) -> Iterator[bytes]:
    """The lines of an export, without their ends. What is damaged is named in `lost`."""
    thread = client.get_thread(thread_id)
    lost += thread.unreadable
    yield _line("thread", thread)
    messages = client.messages(thread_id, view="log", visibility="all")
    for count, message in enumerate(messages, 1):
        bar("messages", count)
        yield _line("message", message)
    lost += messages.unreadable
    if messages_only:
        return
    events = client.list_events(thread_id)
    for event in events:
        bar("events", event.seq)
        yield _line("event", event)
    lost += events.unreadable


def _line(kind: str, value: Any) -> bytes:
    return msgspec.json.encode({kind: value})


@contextlib.contextmanager
def _written(file: Path | None) -> Generator[Callable[[bytes], object]]:
    """Where lines go: a file, which has its name when it is whole, or the standard output."""
    if file is None:
        yield lambda line: print(line.decode())
        return
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        if os.path.lexists(file):
            raise Failure(f"{str(file)!r} is there already; choose a name that is free", Exit.CONFLICT)
        with part.open("xb") as out:
            yield lambda line: out.write(line + b"\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(part, file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(f"{shown(str(file))} cannot be written: {reason or error}") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            part.unlink(missing_ok=True)
