"""Show a run until it has ended or waits, and ask whoever sits at the terminal what it waits for.

Above: `run`, `watch` and `chat`. Below: a stream of the client, which comes back by itself.
"""

from __future__ import annotations

from typing import Final

from awaken.cli.asking import ask_about, somebody_is_there
from awaken.cli.failure import Exit, Failure
from awaken.cli.terminal import AnswerPrinter, print_json, summary
from awaken.client import Client, Run, Stream

Channels = tuple[str, ...] | None
"""None: all but those for who debugs."""
_EXITS: Final = {"completed": Exit.OK, "stopped": Exit.OK} | dict.fromkeys(
    ("waiting", "needs_decision", "needs_input"), Exit.WAITS
)
"""By the phase of the run; any other one is a failure."""


def follow(client: Client, printer: AnswerPrinter, stream: Stream) -> Run:
    """Show everything of a run until its stream ends; Ctrl-C says how to go on following, and ends the command."""
    with stream:
        try:
            for item in stream:
                printer.show(item)
        except KeyboardInterrupt:
            printer.note(f"the run goes on; follow it with: awaken watch {stream.progress.run_id}")
            raise
        if stream.progress.run_id is None:
            raise Failure("the server ended the stream without naming a run")
        return client.get_run(stream.progress.run_id)


def to_the_end(
    client: Client, printer: AnswerPrinter, stream: Stream, *, as_json: bool, channels: Channels = None
) -> int:
    """Show a run, ask what it waits for where somebody is there, and say what it came to. The exit code.

    `channels`: those of the stream, which what the run does with a decision is read from as well.
    """
    ended = follow(client, printer, stream)
    while not as_json and somebody_is_there() and _ask_about(client, printer, ended):
        ended = go_on(client, printer, ended, channels)
    if as_json:
        print_json(ended)
    else:
        print_end(printer, ended)
    return _EXITS.get(ended.phase or "", Exit.FAILED)


def go_on(client: Client, printer: AnswerPrinter, run: Run, channels: Channels = None) -> Run:
    """Show what the run does with a decision, until it has ended or waits again."""
    stream = client.run_events(run.run_id, after=run.cursor, channels=channels, on_reconnect=printer.reconnecting)
    return follow(client, printer, stream)


def print_end(printer: AnswerPrinter, run: Run) -> None:
    """What a run returned that was not streamed, and a line about it."""
    print_value(printer, run)
    printer.note(summary(run))


def print_value(printer: AnswerPrinter, run: Run) -> None:
    """What a structured agent returned, of which nothing was streamed, because it is no text."""
    if run.output is not None and not isinstance(run.output, str):
        printer.end_line()
        print_json(run.output)


def _ask_about(client: Client, printer: AnswerPrinter, run: Run) -> bool:
    try:
        return ask_about(client, printer, run)
    except KeyboardInterrupt:
        printer.note(
            f"the question stays open; answer it with: awaken decide, see: awaken tickets --thread {run.thread_id}"
        )
        raise
