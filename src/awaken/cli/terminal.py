"""What the commands print: answers as they come, events as lines, facts, documents, notes beside them.

Above: the commands; lists are in `tables`. Below: rich.
Holds: the standard output carries what was asked for and nothing else, so that it can be piped: there, only text that
stands is written, and everything about it goes to the standard error. Text of an agent cannot move the cursor.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from awaken.cli.palette import ATTENTION, QUIET, console_on, style_of
from awaken.client import Event, Reconnect, Resync, Run, StreamItem, Transcript
from awaken.domain.clock import Instant, from_rfc3339, lasting
from awaken.domain.dispatch import RECLAIMED
from awaken.domain.telling import counted

_CONTROL: Final = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_TURNING: Final = (0x061C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)
"""What shows the text behind it in the other direction, so that it reads as something else, or cannot be seen."""
_SHOWN: Final = _CONTROL | {code: f"⟨{code:04x}⟩" for code in _TURNING}
_ARGUMENT_CHARS: Final = 72
_FACTS_CHARS: Final = 160
_LEAST_CHARS: Final = 13
_GAP: Final = 2
_MOVED: Final = frozenset({"takeover", "handover"})
"""Why a run goes on in another process."""


def printable(text: str) -> str:
    """The text without the characters that steer a terminal; those that deceive whoever reads it are shown as codes."""
    return text.translate(_SHOWN)


def escaped(written: str) -> str:
    """JSON that means the same and can be seen whole: what deceives is written as JSON escapes it."""
    return written.translate({code: f"\\u{code:04x}" for code in _TURNING})


def print_json(value: Any) -> None:
    """One document, indented, in the form the server sends."""
    print(written(value))


def written(value: Any) -> str:
    """As JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def one_line(text: str) -> str:
    """What is printable of a text, without its line ends."""
    return " ".join(printable(text).split("\n")).replace("\t", " ")


def note(text: str) -> None:
    """A line beside what was asked for."""
    console_on(sys.stderr, soft_wrap=True).print(Text(printable(text), style=QUIET))


def print_facts(facts: dict[str, object]) -> None:
    """A line for each fact that there is; on a terminal as many as a long one takes, below each other. One that is a
    single word, as an id is, is not broken: where it does not fit beside its name it is below it.
    """
    shown = {name: printable(str(value)) for name, value in facts.items() if value is not None}
    width = max(map(len, facts))
    console = console_on()
    if not console.is_terminal:
        for name, value in shown.items():
            print(f"{name:<{width}}  {value}")
        return
    room = max(console.width - width - _GAP, 1)
    for name, value in shown.items():
        text = Text(value, style=style_of(value) if name in _STATES else "")
        if text.cell_len > room and len(value.split()) == 1:
            console.print(Text(name, style=QUIET))
            console.print(text, soft_wrap=True)
            continue
        for at, line in enumerate(text.wrap(console, room, overflow="fold")):
            beside = "" if at else name
            console.print(Text.assemble((f"{beside:<{width + _GAP}}", QUIET), line), soft_wrap=True)


_STATES: Final = frozenset({"phase", "status", "state"})


class AnswerPrinter:
    """Shows one run as it goes on: text live, tool calls as short lines, what was void marked as void."""

    def __init__(self, *, quiet: bool = False, aside: Console | None = None) -> None:
        """`quiet` prints nothing and only keeps the transcript. `aside` is where notes go instead."""
        self._live = sys.stdout.isatty()
        self._quiet = quiet
        self._aside = aside or console_on(sys.stdout if self._live else sys.stderr, soft_wrap=True)
        self._at_line_start = True
        self._is_cut_off = False
        self._process = ""
        """What executes the run, as far as that was told."""
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
        self._aside.print(f"· {escape(printable(text))}", style=QUIET)

    def _show_other(self, event: Event) -> None:
        payload = event.payload
        match event.kind:
            case "ToolCallReady":
                arguments = shortened(payload.get("arguments", payload.get("raw", "")))
                self._fold(f"{payload.get('name', 'tool')}({arguments})")
            case "ToolCallDone":
                self._fold(_ended(payload))
            case "StepStarted" | "StepEnded" if payload.get("name"):
                self._fold(f"step {payload['name']}")
            case "RunRescheduled":
                self.note(_rescheduled(payload, self._process))
            case "RunResumed":
                self._process = _process_of(payload)
                where = f", in {self._process}" if self._process and payload.get("why") in _MOVED else ""
                self.note(f"goes on where it was{where}")
            case "RunStarted":
                self._process = _process_of(payload)
            case _:
                return

    def _fold(self, text: str) -> None:
        """A note that takes one line of a terminal, whatever its width."""
        self.note(shortened(text, max(self._aside.width - 2, _LEAST_CHARS)) if self._live else text)

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


def _process_of(payload: dict[str, Any]) -> str:
    """Who executes the run; empty in a log of an earlier version."""
    process: dict[str, Any] | None = payload.get("process")
    return f"process {process['pid']} on {process['host']}" if process else ""


def _rescheduled(payload: dict[str, Any], process: str) -> str:
    if payload.get("reason") == RECLAIMED:
        return f"its worker{f', {process},' if process else ''} is gone; another one takes it over"
    if payload.get("reason") == "place_changed":
        return "it has another place in the queue"
    return f"will be tried again: {payload.get('error') or payload.get('reason') or 'no reason given'}"


def summary(run: Run) -> str:
    """A run's end in one line, with where to find it."""
    return f"run {run.run_id} {end_of(run)}, thread {run.thread_id}"


def end_of(run: Run) -> str:
    """How a run ended, and what it took."""
    parts = [run.phase or run.status]
    took_s = seconds_between(run.started_at, run.finished_at)
    if took_s is not None:
        parts.append(lasting(took_s))
    if run.usage.model_calls:
        parts.append(counted(run.usage.model_calls, "model call"))
    tokens = run.usage.input_tokens + run.usage.output_tokens
    if tokens:
        parts.append(f"{tokens} tokens")
    if run.error is not None:
        parts.append(run.error.message)
    return ", ".join(parts)


def event_line(item: StreamItem, width: int | None = None) -> str:
    """An event in one line of rich markup, which fits so many columns where that is possible."""
    if isinstance(item, Resync):
        return f"[{ATTENTION}]resync[/] the log no longer holds the place asked for; it goes on from here"
    time = item.created_at[11:23]
    facts = {name: value for name, value in item.payload.items() if name not in _KNOWN and value not in (None, [], "")}
    room = _FACTS_CHARS if width is None else max(width - len(time) - len(item.kind) - 2, _LEAST_CHARS)
    return f"[{QUIET}]{time}[/] [bold]{item.kind}[/] [{QUIET}]{escape(shortened(facts, room))}[/]"


_KNOWN: Final = frozenset(
    {"event_type", "thread_id", "run_id", "created_at", "updated_at", "available_at", "dispatch_id", "dispatch_epoch"}
)


def shortened(value: Any, chars: int = _ARGUMENT_CHARS) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = one_line(text)
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def seconds_between(start: str | None, end: str | None) -> float | None:
    return None if not start or not end else (from_rfc3339(end) - from_rfc3339(start)) / 1000


def age(created_at: str, now: Instant) -> str:
    """How long ago that was, in one unit."""
    return span(max((now - from_rfc3339(created_at)) / 1000, 0.0) if created_at else 0.0)


def span(seconds: float) -> str:
    """A length of time, in one unit."""
    seconds = int(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
