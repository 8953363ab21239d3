"""`awaken dead`: the runs that were given up; do them again, or discard them.

Source: docs/howto/see-to-dead-letters.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cyclopts import App, Parameter

from awaken.cli.confirming import Yes, confirm
from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL, AsJson, Flag, Headers, Url
from awaken.cli.progress import progress
from awaken.cli.remote import connected, dispatch_of
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import note, print_facts, print_json, printable
from awaken.client import DeadLetter, DeadLetterGroup, HandledLetters

dead = App(name="dead", help_format="markdown")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Which:  # no Struct: the parser of options knows dataclasses
    """Options that say which of them; all of them count."""

    agent: str | None = None
    """Those of this agent."""
    error: str | None = None
    """Those whose error is of this class."""
    since: str | None = None
    """Those that were given up then or later, as 2026-01-31T08:00:00Z."""
    thread: str | None = None
    """Those of this thread."""

    @property
    def asked(self) -> dict[str, Any]:
        """As the client takes it."""
        return {"agent": self.agent, "error_class": self.error, "since": self.since, "thread_id": self.thread}


EVERY = Which()


@dead.default
def list_dead(
    *,
    which: Which = EVERY,
    group: Flag = False,
    limit: int = 20,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """List runs that were given up and that nobody has seen to, newest first; retry or discard them.

    Example: awaken dead --group

    Parameters
    ----------
    group
        Count them by agent and class of error.
    limit
        At most so many.
    """
    letters: list[DeadLetter] = []
    groups: list[DeadLetterGroup] = []
    with connected(url, header) as client:
        if group:
            groups = client.group_dead_letters(**which.asked)
        else:
            letters = list(client.list_dead_letters(**which.asked, limit=limit))
    if as_json:
        print_json({"items": groups if group else letters})
    elif groups:
        _print_groups(groups)
    elif letters:
        _print_letters(letters)
    else:
        note("no dead letters")
    return Exit.OK


@dead.command
def show(dispatch_or_run: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Show one, also one that was seen to.

    Example: awaken dead show DISPATCH

    Parameters
    ----------
    dispatch_or_run
        The id of its dispatch, as `awaken dead` lists it, or that of its run.
    """
    with connected(url, header) as client:
        return _shown(client.get_dead_letter(dispatch_of(client, dispatch_or_run)), as_json)


@dead.command
def retry(
    dispatch_or_run: str | None = None,
    /,
    *,
    which: Which = EVERY,
    limit: int = 100,
    dry_run: Flag = False,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Do again the run of one, or the runs of those that a filter finds.

    Example: awaken dead retry --error TimeoutError --dry-run

    Parameters
    ----------
    dispatch_or_run
        The id of its dispatch, or that of its run; without one, the options say which.
    limit
        At most so many, up to 1000.
    dry_run
        Only count them.
    """
    _check_chosen(dispatch_or_run, which, dry_run=dry_run)
    with connected(url, header) as client:
        if dispatch_or_run is None:
            with progress("retrying"):
                handled = client.retry_dead_letters(**which.asked, limit=limit, dry_run=dry_run)
            return _handled(handled, "found" if dry_run else f"found, {handled.retried} retried", as_json)
        made = client.retry_dead_letter(dispatch_of(client, dispatch_or_run))
        run = client.get_run(made.run_id)
    print_json(run) if as_json else print(f"run {run.run_id} does run {run.retry_of_run_id} again")
    return Exit.OK


@dead.command
def discard(
    dispatch_or_run: str | None = None,
    /,
    *,
    reason: str,
    which: Which = EVERY,
    limit: int = 100,
    dry_run: Flag = False,
    yes: Yes = False,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Leave one out of the list, or those that a filter finds; their runs stay readable.

    Example: awaken dead discard DISPATCH --reason "the order was withdrawn"

    Parameters
    ----------
    dispatch_or_run
        The id of its dispatch, or that of its run; without one, the options say which.
    reason
        Why; it is kept with the run.
    limit
        At most so many, up to 1000.
    dry_run
        Only count them.
    """
    _check_chosen(dispatch_or_run, which, dry_run=dry_run)
    with connected(url, header) as client:
        if dispatch_or_run is not None:
            dispatch = dispatch_of(client, dispatch_or_run)
            return _shown(client.discard_dead_letter(dispatch, reason=reason), as_json)
        if not dry_run:
            confirm(f"discard up to {limit} dead letters", yes)
        with progress("discarding"):
            handled = client.discard_dead_letters(reason=reason, **which.asked, limit=limit, dry_run=dry_run)
    return _handled(handled, "found" if dry_run else f"found, {handled.discarded} discarded", as_json)


def _check_chosen(dispatch: str | None, which: Which, *, dry_run: bool) -> None:
    """Either one is named, or some are chosen."""
    if dispatch is None and which == EVERY:
        usage("name a dispatch or a run, or say which with --agent, --error, --since or --thread")
    if dispatch is not None and (which != EVERY or dry_run):
        usage("name a dispatch or a run, or say which with options; not both")


def _handled(handled: HandledLetters, said: str, as_json: bool) -> int:
    if as_json:
        print_json(handled)
        return Exit.OK
    print(f"{handled.matched} {said}{', and there are more' if handled.more else ''}")
    for each in handled.skipped:
        print(f"skipped {each.dispatch_id}: {printable(each.reason)}")
    return Exit.OK


def _shown(letter: DeadLetter, as_json: bool) -> int:
    if as_json:
        print_json(letter)
    else:
        print_facts(
            {
                "dispatch": letter.dispatch_id,
                "run": letter.run_id,
                "thread": letter.thread_id,
                "agent": letter.agent_id,
                "state": letter.state,
                "class": letter.error_class,
                "error": letter.last_error,
                "attempts": letter.attempts,
                "first failed": letter.first_failed_at,
                "given up": letter.last_failed_at,
                "retried as": letter.retried_as,
                "reason": letter.reason,
                "seen to": letter.seen_to_at,
                "by": letter.seen_to_by,
            }
        )
    return Exit.OK


_LETTERS: Final = (
    Column(name="DISPATCH"),
    Column(name="RUN", leaves=1),
    Column(name="AGENT", least=8, leaves=2),
    Column(name="GIVEN UP", leaves=0),
    Column(name="ERROR", least=16),
)
_GROUPS: Final = (
    Column(name="COUNT", is_number=True),
    Column(name="AGENT"),
    Column(name="CLASS"),
    Column(name="LAST", leaves=0),
    Column(name="FOR EXAMPLE", leaves=1),
)


def _print_letters(letters: list[DeadLetter]) -> None:
    rows = [
        (each.dispatch_id, each.run_id, each.agent_id, each.last_failed_at or "", each.last_error or "")
        for each in letters
    ]
    print_table(_LETTERS, rows)


def _print_groups(groups: list[DeadLetterGroup]) -> None:
    rows = [
        (
            str(each.count),
            each.agent_id,
            each.error_class,
            each.last_at,
            "" if each.latest is None else each.latest.dispatch_id,
        )
        for each in groups
    ]
    print_table(_GROUPS, rows)
