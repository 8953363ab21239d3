"""`awaken schedules`: what runs again and again, and when; make, pause, resume or delete one."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from awaken.cli.failure import Exit, usage
from awaken.cli.remote import URL, Headers, Url, connected
from awaken.cli.terminal import PIPE_WIDTH, print_facts, print_json, printable
from awaken.client import Schedule

schedules = App(name="schedules", help="List schedules; make, pause, resume or delete one.", help_format="plaintext")

Json = Annotated[bool, Parameter(name="--json", negative=())]


@schedules.default
def list_schedules(*, url: Url = URL, header: Headers = (), as_json: Json = False) -> int:
    """List schedules, in the order in which they were made.

    Parameters
    ----------
    as_json
        Print one JSON document.
    """
    with connected(url, header) as client:
        found = list(client.list_schedules())
    if as_json:
        print_json({"items": found})
    elif found:
        _print_table(found)
    else:
        Console(stderr=True).print("no schedules yet; `awaken schedules add` makes one", style="dim")
    return Exit.OK


@schedules.command
def add(
    name: str,
    text: str,
    /,
    *,
    agent: str | None = None,
    cron: str | None = None,
    every: int | None = None,
    zone: str = "UTC",
    overlap: Literal["skip", "queue"] = "skip",
    missed: Literal["one", "all", "none"] = "one",
    thread: str | None = None,
    url: Url = URL,
    header: Headers = (),
    as_json: Json = False,
) -> int:
    """Have an agent run again and again with a text.

    Parameters
    ----------
    name
        What it is called.
    text
        What the agent is told each time.
    agent
        Which agent; the only one there is when absent.
    cron
        When: minute, hour, day, month, weekday.
    every
        Or every so many seconds.
    zone
        The time zone of --cron.
    overlap
        While an earlier run is not done: skip or queue.
    missed
        What is made up for after nobody was there to serve: one, all or none.
    thread
        Where the runs happen; a thread of its own when absent.
    as_json
        Print one JSON document.
    """
    if (cron is None) == (every is None):
        usage('give either --cron "0 8 * * *" or --every 3600')
    with connected(url, header) as client:
        made = client.create_schedule(
            name,
            text,
            agent=agent,
            cron=cron,
            every_s=every,
            zone=zone,
            overlap=overlap,
            missed=missed,
            thread_id=thread,
        )
    return _shown(made, as_json)


@schedules.command
def show(name: str, /, *, url: Url = URL, header: Headers = (), as_json: Json = False) -> int:
    """Show one schedule.

    Parameters
    ----------
    name
        What it is called.
    as_json
        Print one JSON document.
    """
    with connected(url, header) as client:
        return _shown(client.get_schedule(name), as_json)


@schedules.command
def pause(name: str, /, *, url: Url = URL, header: Headers = (), as_json: Json = False) -> int:
    """Have a schedule begin nothing until it is resumed.

    Parameters
    ----------
    name
        What it is called.
    as_json
        Print one JSON document.
    """
    with connected(url, header) as client:
        return _shown(client.pause_schedule(name), as_json)


@schedules.command
def resume(name: str, /, *, url: Url = URL, header: Headers = (), as_json: Json = False) -> int:
    """Have a paused schedule go on with its next instant.

    Parameters
    ----------
    name
        What it is called.
    as_json
        Print one JSON document.
    """
    with connected(url, header) as client:
        return _shown(client.resume_schedule(name), as_json)


@schedules.command
def delete(name: str, /, *, url: Url = URL, header: Headers = ()) -> int:
    """Delete a schedule; the runs that it has begun go on.

    Parameters
    ----------
    name
        What it is called.
    """
    with connected(url, header) as client:
        client.delete_schedule(name)
    print(f"schedule {name} is deleted")
    return Exit.OK


def _print_table(found: list[Schedule]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("NAME", "WHEN", "AGENT", "NEXT", "LAST RUN", "NOTE"):
        table.add_column(name, overflow="fold")
    for each in found:
        cells = (each.name, _when(each), each.agent_id, _next(each), each.last_run_id or "", _note(each))
        table.add_row(*[escape(printable(cell)) for cell in cells])
    console.print(table)


def _shown(schedule: Schedule, as_json: bool) -> int:
    if as_json:
        print_json(schedule)
        return Exit.OK
    print_facts(
        {
            "schedule": schedule.name,
            "agent": schedule.agent_id,
            "when": _when(schedule),
            "next": _next(schedule),
            "last": schedule.last_at,
            "last run": schedule.last_run_id,
            "thread": schedule.thread_id,
            "overlap": schedule.overlap,
            "missed": schedule.missed,
            "skipped": schedule.skipped or None,
            "note": _note(schedule) or None,
        }
    )
    return Exit.OK


def _when(schedule: Schedule) -> str:
    return f"every {schedule.every_s} s" if schedule.cron is None else f"{schedule.cron} ({schedule.zone})"


def _next(schedule: Schedule) -> str:
    return "paused" if schedule.next_at is None else schedule.next_at


def _note(schedule: Schedule) -> str:
    if schedule.paused_by == "undeclared":
        return "the program declares it no more"
    return schedule.last_error or ("declared by the program" if schedule.declared else "")
