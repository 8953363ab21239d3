"""`awaken schedules`: what runs again and again, and when; make, pause, resume or delete one."""

from __future__ import annotations

from typing import Final, Literal

from cyclopts import App

from awaken.cli.confirming import Yes, confirm
from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import note, print_facts, print_json
from awaken.client import Schedule

schedules = App(name="schedules", help_format="markdown")


@schedules.default
def list_schedules(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """List schedules, in the order in which they were made; make, pause, resume or delete one.

    Example: awaken schedules
    """
    with connected(url, header) as client:
        found = list(client.list_schedules())
    if as_json:
        print_json({"items": found})
    elif found:
        _print_table(found)
    else:
        note("no schedules yet; `awaken schedules add` makes one")
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
    as_json: AsJson = False,
) -> int:
    """Have an agent run again and again with a text.

    Example: awaken schedules add digest "News?" --agent echo --cron "0 8 * * *"

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
def show(name: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Show one schedule.

    Example: awaken schedules show digest

    Parameters
    ----------
    name
        What it is called.
    """
    with connected(url, header) as client:
        return _shown(client.get_schedule(name), as_json)


@schedules.command
def pause(name: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Have a schedule begin nothing until it is resumed.

    Example: awaken schedules pause digest

    Parameters
    ----------
    name
        What it is called.
    """
    with connected(url, header) as client:
        return _shown(client.pause_schedule(name), as_json)


@schedules.command
def resume(name: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Have a paused schedule go on with its next instant.

    Example: awaken schedules resume digest

    Parameters
    ----------
    name
        What it is called.
    """
    with connected(url, header) as client:
        return _shown(client.resume_schedule(name), as_json)


@schedules.command
def delete(name: str, /, *, yes: Yes = False, url: Url = URL, header: Headers = ()) -> int:
    """Delete a schedule; the runs that it has begun go on.

    Example: awaken schedules delete digest

    Parameters
    ----------
    name
        What it is called.
    """
    with connected(url, header) as client:
        client.get_schedule(name)
        confirm(f"delete schedule {name}", yes)
        client.delete_schedule(name)
    print(f"schedule {name} is deleted")
    return Exit.OK


_COLUMNS: Final = (
    Column(name="NAME"),
    Column(name="WHEN", least=14),
    Column(name="AGENT", least=8, leaves=2),
    Column(name="NEXT", is_status=True),
    Column(name="LAST RUN", leaves=1),
    Column(name="NOTE", least=12, leaves=0),
)


def _print_table(found: list[Schedule]) -> None:
    rows = [(each.name, _when(each), each.agent_id, _next(each), each.last_run_id or "", _note(each)) for each in found]
    print_table(_COLUMNS, rows)


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
