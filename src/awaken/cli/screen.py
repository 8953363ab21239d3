"""What `awaken top` shows of a server: lines for a terminal of some size, from what the server said last.

Above: `top`. Below: what wants attention, and the last hour, as the API has them.
Holds: never more lines than the terminal has, nor wider ones. What waits for people comes first, and each part that has
anything has a line at least. Ages go on by the clock of the server, whatever the one here says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from awaken.cli.palette import ATTENTION, BAD, OK, QUIET
from awaken.cli.tables import Column, Line, cells_of, fitted, laid_out
from awaken.cli.terminal import age, one_line, span
from awaken.cli.tickets import question
from awaken.client import DeadLetterGroup, Run, Ticket
from awaken.domain.clock import Instant, from_rfc3339
from awaken.domain.shown import Attention, RunSummary, Stats

STALE_S: Final = 10.0
"""Data of this age is old enough to say so in another colour."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_HEAD_LINES: Final = 1
_FOOT_LINES: Final = 3


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is known. `age_s`: how long ago the server said it; `problem`: why it says nothing now."""

    url: str
    attention: Attention
    summary: RunSummary
    stats: Stats
    age_s: float = 0.0
    problem: str | None = None


class _Part(msgspec.Struct, frozen=True):
    heading: str
    style: str
    columns: tuple[Column, ...]
    rows: list[tuple[str, ...]]
    has_more: bool

    def fitted(self, width: int) -> list[Line]:
        """The lines of each row: more than one where the terminal is narrow."""
        cells = cells_of(self.columns, self.rows)
        whole = [max([row[at].cell_len for row in cells]) for at in range(len(self.columns))]
        return fitted(self.columns, whole, width)


def screen(view: View, width: int, height: int | None) -> RenderableType:
    """The lines, for a terminal so wide and high; without a height, all of them."""
    parts = _parts(view.attention, Instant(from_rfc3339(view.attention.at) + round(view.age_s * 1000)))
    wanted = [len(part.rows) for part in parts]
    forms = [part.fitted(width) if part.rows else [] for part in parts]
    room = None if height is None else height - _HEAD_LINES - _FOOT_LINES
    shares = wanted if room is None else shared(wanted, [len(form) for form in forms], room)
    lines: list[RenderableType] = [_head(view, width)]
    for part, form, share in zip(parts, forms, shares, strict=True):
        if share is not None:
            lines += _lines(part, form, share, width)
    used = len(lines)
    filler = [] if height is None else [Text("")] * (height - used - _FOOT_LINES)
    return Group(*lines, *filler, *_foot(view, width))


def shared(wanted: Sequence[int], lines: Sequence[int], room: int) -> list[int | None]:
    """How many rows each part gets, of so many lines each, whose heading takes one line more; None: not even that.

    A part without rows has its heading alone. Every part with rows gets one as long as there is room, the first before
    the last; what is left goes round.
    """
    given: list[int | None] = [None] * len(wanted)
    for at in sorted(range(len(wanted)), key=lambda at: (wanted[at] == 0, at)):
        least = 1 + min(wanted[at], 1) * lines[at]
        if least <= room:
            given[at] = min(wanted[at], 1)
            room -= least
    growing = True
    while room > 0 and growing:
        growing = False
        for at, rows in enumerate(given):
            if rows is not None and rows < wanted[at] and room >= lines[at]:
                given[at], room, growing = rows + 1, room - lines[at], True
    return given


def _parts(attention: Attention, now: Instant) -> list[_Part]:
    def since(instant: str | None) -> str:
        return "" if not instant else age(instant, now)

    tickets, stuck, running = attention.tickets, attention.stuck, attention.running
    found = [
        _Part(
            "waits for somebody",
            ATTENTION,
            _TICKETS,
            [_ticket(each, since, now) for each in tickets.items],
            tickets.has_more,
        ),
        _Part("does not go on", BAD, _STUCK, [_stuck(each, since) for each in stuck.items], stuck.has_more),
        _Part(
            "nobody serves",
            BAD,
            _UNSERVED,
            [
                (each.route, each.code.replace("_", " "), f"{each.waiting:,} wait", since(each.oldest_at))
                for each in attention.unserved.items
            ],
            attention.unserved.has_more,
        ),
        _Part(
            "given up, by kind",
            BAD,
            _LETTERS,
            [_letters(each, since) for each in attention.dead_letters.items],
            attention.dead_letters.has_more,
        ),
        _Part("runs", OK, _RUNNING, [_running(each, since) for each in running.items], running.has_more),
    ]
    return [part for part in found if part.rows or part.columns in (_TICKETS, _RUNNING)]


_TICKETS: Final = (
    Column(name="TICKET"),
    Column(name="AGENT", least=8, leaves=1),
    Column(name="ASKS", least=12),
    Column(name="AGE", is_number=True),
    Column(name="EXPIRES", leaves=0),
)
_STUCK: Final = (
    Column(name="RUN"),
    Column(name="AGENT", least=8, leaves=0),
    Column(name="PHASE", is_status=True, leaves=1),
    Column(name="WHY", least=20),
)
_RUNNING: Final = (
    Column(name="RUN"),
    Column(name="AGENT", least=8, leaves=1),
    Column(name="LAST", least=16),
    Column(name="TOKENS", is_number=True, leaves=0),
    Column(name="SIGN", is_number=True),
)
_UNSERVED: Final = (
    Column(name="ROUTE"),
    Column(name="WHY", leaves=0),
    Column(name="WAIT", is_number=True),
    Column(name="OLDEST", is_number=True),
)
_LETTERS: Final = (
    Column(name="AGENT"),
    Column(name="CLASS"),
    Column(name="COUNT", is_number=True),
    Column(name="LAST", is_number=True),
)


def _ticket(ticket: Ticket, since: Callable[[str | None], str], now: Instant) -> tuple[str, ...]:
    expires = ""
    if ticket.expires_at is not None:
        left_s = (from_rfc3339(ticket.expires_at) - now) / 1000
        expires = f"expires in {span(left_s)}" if left_s > 0 else "expires"
    return (ticket.ticket_id, ticket.agent_id, question(ticket), since(ticket.created_at), expires)


def _stuck(run: Run, since: Callable[[str | None], str]) -> tuple[str, ...]:
    why = "" if run.why is None else run.why.summary
    return (run.run_id, run.agent_id, run.phase or run.status, why)


def _running(run: Run, since: Callable[[str | None], str]) -> tuple[str, ...]:
    tokens = run.usage.input_tokens + run.usage.output_tokens
    last = "" if run.last_event is None else run.last_event.summary
    sign = f"{since(run.last_sign_of_life)} ago" if run.last_sign_of_life else ""
    return (run.run_id, run.agent_id, last, f"{tokens:,} tokens" if tokens else "", sign)


def _letters(group: DeadLetterGroup, since: Callable[[str | None], str]) -> tuple[str, ...]:
    return (
        group.agent_id,
        group.error_class,
        f"{group.count:,} dead {'letter' if group.count == 1 else 'letters'}",
        f"last {since(group.last_at)} ago",
    )


def _lines(part: _Part, form: Sequence[Line], share: int, width: int) -> list[RenderableType]:
    count = f"{len(part.rows)}{' or more' if part.has_more else ''}" if part.rows else "nothing"
    heading = Text.assemble((f"{part.heading}: {count}", f"bold {part.style}" if part.rows else QUIET))
    if len(part.rows) > share:
        heading.append(f", {share} shown", style=QUIET)
    heading.truncate(width, overflow="ellipsis")
    lines = laid_out(part.columns, cells_of(part.columns, part.rows[:share]), form)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return [heading, *lines]


def _head(view: View, width: int) -> Text:
    said = view.attention
    kind = "" if said.store == "memory" else f", durability {said.durability}"
    line = Text.assemble((f"awaken {said.version}", "bold"), (f"  {one_line(view.url)}  {said.store}{kind}", QUIET))
    if said.drained:
        line.append("  drained", style=ATTENTION)
    line.truncate(width, overflow="ellipsis")
    return line


def _foot(view: View, width: int) -> list[Text]:
    """Three lines: the last hour, the queue, and how old all that is."""
    minutes = view.stats.minutes
    begun, failed = [each.started for each in minutes], sum([each.failed for each in minutes])
    label = "last hour "
    bars = strip(begun, min(60, max(width - len(label) - 12, 1)))
    hour = Text.assemble((label, QUIET), bars, (f" {sum(begun):,} begun", QUIET))
    waiting = sum([each.count for each in view.summary.counts if each.phase in ("queued", "retrying")])
    oldest_s = view.summary.oldest_queued_s
    first = "" if oldest_s is None else f", the first for {span(oldest_s)}"
    queue = Text.assemble((f"queue     {waiting:,} wait{first}", QUIET))
    if failed:
        queue.append(f"; {failed:,} given up in this hour", style=BAD)
    if view.problem is not None:
        last = Text(f"{span(view.age_s)} old; trying again: {one_line(view.problem)}", style=BAD)
    else:
        last = Text(f"{span(view.age_s)} old", style=ATTENTION if view.age_s >= STALE_S else QUIET)
    last = Text.assemble(("q quits   ", QUIET), last)
    for line in (hour, queue, last):
        line.truncate(width, overflow="ellipsis")
    return [hour, queue, last]


def strip(counts: Sequence[int], width: int) -> str:
    """One character for each of the last so many minutes, as high as its count beside the others."""
    shown = [0] * (width - len(counts)) + list(counts)[-width:]
    most = max(shown, default=0)
    return "".join([_BARS[-(-count * (len(_BARS) - 1) // most) if most else 0] for count in shown])
