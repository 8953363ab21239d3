"""What the commands print: answers as they come, events as lines, runs as a table.

Above: the commands that talk to a server. Below: rich.
Holds: the standard output carries what was asked for and nothing else, so that it can be piped: there, only text that
stands is written, and everything about it goes to the standard error. Text of an agent cannot move the cursor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from awaken.client import Event, Reconnect, Resync, Run, StreamItem, Transcript
from awaken.domain.clock import Instant, from_rfc3339, lasting

_CONTROL: Final = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_ARGUMENT_CHARS: Final = 72
_PHASE_STYLES: Final = {
    "completed": "green",
    "running": "cyan",
    "starting": "cyan",
    "retrying": "yellow",
    "waiting": "yellow",
    "needs_decision": "yellow",
    "needs_input": "yellow",
    "failed": "red",
    "dead_letter": "red",
    "cancelled": "magenta",
    "superseded": "magenta",
}


def printable(text: str) -> str:
    """The text without the characters that steer a terminal."""
    return text.translate(_CONTROL)


def print_json(value: Any) -> None:
    """One document, indented, in the form the server sends."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_facts(facts: dict[str, object]) -> None:
    """A line for each fact that there is."""
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            print(f"{name:<{width}}  {printable(str(value))}")


class AnswerPrinter:
    """Shows one run as it goes on: text live, tool calls as short lines, what was void marked as void."""

    def __init__(self, *, quiet: bool = False, aside: Console | None = None) -> None:
        """`quiet` prints nothing and only keeps the transcript. `aside` is where notes go instead."""
        self._live = sys.stdout.isatty()
        self._quiet = quiet
        self._aside = aside or Console(file=sys.stdout if self._live else sys.stderr, highlight=False, soft_wrap=True)
        self._at_line_start = True
        self._is_cut_off = False
        self.transcript = Transcript()

    def show(self, item: StreamItem) -> None:
        self._is_cut_off = False
        change = self.transcript.feed(item)
        if self._quiet:
            return
        match change.what:
            case "appended" if self._live:
                self._write(change.text)
            case "dropped" if self._live and change.text:
                self.note("the unfinished text above is void; it comes again")
            case "committed":
                if not (self._live and change.was_open):
                    self._write(change.text)
                self.end_line()
            case _:
                pass
        if isinstance(item, Event):
            self._show_other(item)

    def reconnecting(self, reconnect: Reconnect) -> None:
        """Print once that the stream broke."""
        if not self._is_cut_off and not self._quiet:
            self.note(f"connection lost; trying again ({reconnect.cause})")
        self._is_cut_off = True

    def note(self, text: str) -> None:
        """A line beside the answer."""
        self.end_line()
        self._aside.print(f"· {escape(printable(text))}", style="dim")

    def _show_other(self, event: Event) -> None:
        payload = event.payload
        match event.kind:
            case "ToolCallReady":
                arguments = shortened(payload.get("arguments", payload.get("raw", "")))
                self.note(f"{payload.get('name', 'tool')}({arguments})")
            case "ToolCallDone":
                self.note(_ended(payload))
            case "RunRescheduled":
                self.note(_rescheduled(payload))
            case "RunResumed":
                self.note("goes on where it was")
            case _:
                return

    def _write(self, text: str) -> None:
        if text:
            shown = printable(text)
            sys.stdout.write(shown)
            sys.stdout.flush()
            self._at_line_start = shown.endswith("\n") if shown else self._at_line_start

    def end_line(self) -> None:
        """What is printed next starts on a line of its own."""
        if not self._at_line_start:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._at_line_start = True


def _ended(payload: dict[str, Any]) -> str:
    status = str(payload.get("status", "ended")).replace("_", " ")
    shown = payload.get("result", payload.get("error_text"))
    return f"  {status}" if shown is None else f"  {status}: {shortened(shown)}"


def _rescheduled(payload: dict[str, Any]) -> str:
    if payload.get("reason") == "expired_lease_reclaimed":
        return "its worker is gone; another one takes it over"
    if payload.get("reason") == "place_changed":
        return "it has another place in the queue"
    return f"will be tried again: {payload.get('error') or payload.get('reason') or 'no reason given'}"


def summary(run: Run) -> str:
    """A run's end in one line."""
    parts = [f"run {run.run_id} {run.phase or run.status}"]
    took_s = _seconds_between(run.started_at, run.finished_at)
    if took_s is not None:
        parts.append(lasting(took_s))
    if run.usage.model_calls:
        parts.append(f"{run.usage.model_calls} model calls")
    tokens = run.usage.input_tokens + run.usage.output_tokens
    if tokens:
        parts.append(f"{tokens} tokens")
    if run.error is not None:
        parts.append(run.error.message)
    return ", ".join([*parts, f"thread {run.thread_id}"])


def event_line(item: StreamItem) -> str:
    """An event in one line of rich markup."""
    if isinstance(item, Resync):
        return "[yellow]resync[/] the log no longer holds the place asked for; it goes on from here"
    time = item.created_at[11:23]
    facts = {name: value for name, value in item.payload.items() if name not in _KNOWN and value not in (None, [], "")}
    return f"[dim]{time}[/] [bold]{item.kind}[/] [dim]{escape(shortened(facts, 160))}[/]"


_KNOWN: Final = frozenset(
    {"event_type", "thread_id", "run_id", "created_at", "updated_at", "available_at", "dispatch_id", "dispatch_epoch"}
)


def print_runs(runs: list[Run], now: Instant) -> None:
    """A table as wide as the terminal. A pipe has no width and gets everything, and so does `--json`."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    cells = {column: [column.cell(run, now) for run in runs] for column in _COLUMNS}
    widths = _fitted(
        {column: max(len(column.name), *[cell.cell_len for cell in cells[column]]) for column in _COLUMNS},
        console.width,
    )
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for column, width in widths.items():
        table.add_column(column.name, justify=column.justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in zip(*[cells[column] for column in widths], strict=True):
        table.add_row(*row)
    console.print(table)


class _Column(msgspec.Struct, frozen=True):
    """`least`: it may be cut to so many characters. None: it is shown whole or not at all."""

    name: str
    cell: Callable[[Run, Instant], Text]
    least: int | None = None
    justify: Literal["left", "right"] = "left"


def _fitted(widths: dict[_Column, int], room: int) -> dict[_Column, int]:
    """The columns that fit, each with its width, given how wide they would be.

    As many columns as fit when each is cut as far as it may be; what is left of the room goes to the first ones. The
    run's id is cut only where nothing but it, the phase and the age is left.
    """
    shown = {column: width if column.least is None else min(width, column.least) for column, width in widths.items()}
    for column in _LEAVING:
        if _taken(shown) > room:
            del shown[column]
    shown[_RUN] = max(shown[_RUN] - max(_taken(shown) - room, 0), 1)
    for column, width in shown.items():
        if column.least is not None:
            shown[column] = min(widths[column], width + room - _taken(shown))
    return shown


def _taken(widths: dict[_Column, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _phase(run: Run, now: Instant) -> Text:
    phase = run.phase or run.status
    return Text(printable(phase), style=_PHASE_STYLES.get(phase, "default"))


def _took(run: Run, now: Instant) -> Text:
    took_s = _seconds_between(run.started_at, run.finished_at)
    return Text("" if took_s is None else f"{took_s:.1f} s")


def _output(run: Run, now: Instant) -> Text:
    return Text(shortened(run.error.message if run.error is not None else run.final_output or ""))


PIPE_WIDTH: Final = 240
_GAP: Final = 2
_RUN: Final = _Column("RUN", lambda run, now: Text(run.run_id))
_THREAD: Final = _Column("THREAD", lambda run, now: Text(run.thread_id))
_AGENT: Final = _Column("AGENT", lambda run, now: Text(run.agent_id), least=8)
_TOOK: Final = _Column("TOOK", _took, justify="right")
_OUTPUT: Final = _Column("OUTPUT", _output, least=16)
_COLUMNS: Final = (
    _RUN,
    _THREAD,
    _AGENT,
    _Column("PHASE", _phase),
    _Column("AGE", lambda run, now: Text(_age(run.created_at, now)), justify="right"),
    _TOOK,
    _OUTPUT,
)
_LEAVING: Final = (_THREAD, _OUTPUT, _TOOK, _AGENT)
"""What is left out on narrow terminals, in this order."""


def shortened(value: Any, chars: int = _ARGUMENT_CHARS) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = printable(text).replace("\n", " ")
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def _seconds_between(start: str | None, end: str | None) -> float | None:
    return None if not start or not end else (from_rfc3339(end) - from_rfc3339(start)) / 1000


def _age(created_at: str, now: Instant) -> str:
    seconds = max((now - from_rfc3339(created_at)) // 1000, 0) if created_at else 0
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
