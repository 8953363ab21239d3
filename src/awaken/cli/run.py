"""`awaken run`: give an agent a text, or a value, and stream its answer to the terminal."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from awaken.cli import streams
from awaken.cli.asking import ask_about, somebody_is_there
from awaken.cli.failure import Exit, Failure, usage
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.terminal import AnswerPrinter, print_json, summary
from awaken.client import Client, Json, Run

_EXITS: Final = {"completed": Exit.OK, "stopped": Exit.OK} | dict.fromkeys(
    ("waiting", "needs_decision", "needs_input"), Exit.WAITS
)
"""By the phase of the run; any other one is a failure."""


def run(
    agent: str,
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    thread: str | None = None,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Give an agent a text, or a value, and stream its answer to the terminal.

    The run goes on when this command ends, whatever ends it; and a server that is started again continues it here. When
    it waits for a person, you are asked; with an empty answer it waits on, for `awaken decide`.

    Parameters
    ----------
    agent
        The agent's name.
    text
        Its input; - reads the standard input.
    data
        Its input as JSON, for an agent that takes a value; - reads the standard input.
    thread
        The conversation to continue; a new one when absent, or when it does not exist.
    as_json
        Print the run as one JSON document when it has ended, and nothing before.
    """
    given = _given(text, data)
    with connected(url, header) as client:
        printer = AnswerPrinter(quiet=as_json)
        ended = _follow(client, printer, agent, given, thread)
        while not as_json and somebody_is_there() and _ask_about(client, printer, ended):
            ended = _go_on(client, printer, ended)
        if as_json:
            print_json(ended)
        else:
            _print_value(printer, ended)
            printer.note(summary(ended))
    return _EXITS.get(ended.phase or "", Exit.FAILED)


def _given(text: str | None, data: str | None) -> str | Json:
    """What the agent is given: one of the two."""
    if data is not None:
        if text is not None:
            usage("give either a text or --data, not both")
        try:
            return Json(msgspec.json.decode(streams.given_text(data, "--data")))
        except (msgspec.DecodeError, RecursionError) as error:
            usage(f"--data is not JSON: {error}")
    found = "" if text is None else streams.given_text(text)
    if not found:
        usage(
            "the text is empty; write what the agent is to answer, or - to read it from the standard input, or"
            " --data with a value as JSON"
        )
    return found


def _ask_about(client: Client, printer: AnswerPrinter, run: Run) -> bool:
    try:
        return ask_about(client, printer, run)
    except KeyboardInterrupt:
        printer.note(
            f"the question stays open; answer it with: awaken decide, see: awaken tickets --thread {run.thread_id}"
        )
        raise


def _go_on(client: Client, printer: AnswerPrinter, run: Run) -> Run:
    """Show what the run does with the decision, until it has ended or waits again."""
    with client.run_events(run.run_id, after=run.cursor, on_reconnect=printer.reconnecting) as stream:
        for item in stream:
            printer.show(item)
    return client.get_run(run.run_id)


def _print_value(printer: AnswerPrinter, run: Run) -> None:
    """What a structured agent returned is no text, so nothing of it was streamed."""
    if run.output is not None and not isinstance(run.output, str):
        printer.end_line()
        print_json(run.output)


def _follow(client: Client, printer: AnswerPrinter, agent: str, given: str | Json, thread: str | None) -> Run:
    """Submit, and show everything until the run has ended."""
    with client.stream(thread, given, agent=agent, on_reconnect=printer.reconnecting) as stream:
        try:
            for item in stream:
                printer.show(item)
        except KeyboardInterrupt:
            printer.note(f"the run goes on; follow it with: awaken tail {stream.progress.run_id}")
            raise
        if stream.progress.run_id is None:
            raise Failure("the server ended the stream without naming a run")
        return client.get_run(stream.progress.run_id)
