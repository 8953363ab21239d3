"""`awaken run`: give an agent a text, or a value, and stream its answer to the terminal."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from awaken.cli import streams
from awaken.cli.asking import somebody_is_there
from awaken.cli.chat import Chat
from awaken.cli.failure import Exit, usage
from awaken.cli.following import to_the_end
from awaken.cli.options import URL, EndAsJson, Flag, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.terminal import AnswerPrinter, note, print_json
from awaken.client import Json, Run


def run(
    agent: str,
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    thread: str | None = None,
    background: Flag = False,
    url: Url = URL,
    header: Headers = (),
    as_json: EndAsJson = False,
) -> int:
    """Give an agent a text and stream its answer; without a text, talk to it.

    The run goes on when this command ends, whatever ends it; and a server that is started again continues it here. When
    it waits for a person, you are asked; with an empty answer it waits on, for `awaken decide`.

    Example: awaken run assistant "Where is my order?" --thread order-7

    Parameters
    ----------
    agent
        The agent's name.
    text
        Its input; - reads the standard input; absent, at a terminal: a conversation.
    data
        Its input as JSON, for an agent that takes a value; - reads the standard input.
    thread
        The conversation to continue; a new one when absent, or when it does not exist.
    background
        Return when the run is accepted, and say which one it is; with --json print it as it is then.
    """
    if text is None and data is None and not (as_json or background) and somebody_is_there():
        with connected(url, header) as client:
            return Chat(client, agent, thread).talk()
    given = _given(text, data)
    with connected(url, header) as client:
        if background:
            return _accepted(client.submit(thread, given, agent=agent).refresh(), as_json)
        printer = AnswerPrinter(quiet=as_json)
        stream = client.stream(thread, given, agent=agent, on_reconnect=printer.reconnecting)
        return to_the_end(client, printer, stream, as_json=as_json)


def _accepted(run: Run, as_json: bool) -> int:
    if as_json:
        print_json(run)
    else:
        print(f"run {run.run_id} is accepted, thread {run.thread_id}")
        note(f"· see what it says with: awaken watch {run.run_id}")
    return Exit.OK


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
