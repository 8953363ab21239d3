"""`awaken run AGENT` at a terminal: a conversation, for as long as somebody wants to talk.

Above: `run`, where no text is given. Below: `following`, `asking`, and a stream that comes back by itself.
Holds: what was said is stored before it is answered, so nothing is lost by leaving, at whatever moment, and the same
thread can be gone on with later. Ctrl-C while an answer comes stops nothing by itself: it asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, Literal

from awaken.cli.asking import ask_about, typed
from awaken.cli.failure import Exit
from awaken.cli.following import print_value
from awaken.cli.terminal import AnswerPrinter, end_of, printable, summary, written
from awaken.client import Client, Event, Run, Stream, StreamItem
from awaken.domain.errors import AwakenError, NotFound

PROMPT: Final = "> "
HELP: Final = "/tools shows tool calls whole; Ctrl-C while it answers asks; Ctrl-D leaves"
_SHOWN: Final = 6
"""So many messages of a conversation that is gone on with are shown again."""

Choice = Literal["stop", "leave", "interrupt", "watch"]


class Left(Exception):
    """Whoever sits there goes, and the run goes on: because that was answered, or by Ctrl-C."""

    def __init__(self, code: Exit) -> None:
        super().__init__()
        self.code = code


class Chat:
    """One conversation, with one agent."""

    def __init__(self, client: Client, agent: str, thread_id: str | None) -> None:
        self._client = client
        self._agent = agent
        self._thread_id = thread_id
        self._printer = AnswerPrinter()
        self._tools: list[tuple[str, Any]] = []
        """What was called since the last thing said, and what came of it, whole."""

    def talk(self) -> int:
        """Return when whoever sits there leaves. The exit code."""
        code = Exit.OK
        try:
            self._begin()
            while True:
                said = self._said()
                if said is None:
                    break
                self._answer(said)
        except Left as left:
            code = left.code
        if self._thread_id is not None:
            self._printer.note(f"go on with: awaken run {self._agent} --thread {self._thread_id}")
        return code

    def _begin(self) -> None:
        """Show where the conversation is, and what it is about to say."""
        self._printer.note(HELP)
        if self._thread_id is None:
            return
        try:
            going_on = self._client.get_state(self._thread_id).next
        except NotFound:  # it is made by the first thing that is said
            return
        last = list(self._client.messages(self._thread_id, order="desc", limit=_SHOWN))
        for message in reversed(last):
            if message.text:
                print(f"{PROMPT if message.role == 'user' else ''}{printable(message.text)}")
        for run_id in going_on:
            self._watch(run_id, self._client.run_events(run_id, on_reconnect=self._printer.reconnecting))

    def _said(self) -> str | None:
        """The next thing that is said; None when nothing more is."""
        while True:
            self._printer.end_line()
            try:
                line = input(PROMPT)
            except EOFError:
                print()
                return None
            except KeyboardInterrupt:
                print()
                raise Left(Exit.INTERRUPTED) from None
            match line.strip():
                case "":
                    continue
                case "/tools":
                    self._show_tools()
                case "/help":
                    self._printer.note(HELP)
                case said if said.startswith("/") and said[1:].isalpha():
                    self._printer.note(f"there is no {said}; {HELP}")
                case said:
                    return said

    def _answer(self, said: str) -> None:
        self._tools.clear()
        stream = self._client.stream(self._thread_id, said, agent=self._agent, on_reconnect=self._printer.reconnecting)
        run_id = stream.progress.run_id
        assert run_id is not None, "the client has chosen it"
        try:
            self._watch(run_id, stream)
        except NotFound:
            self._printer.note("nothing is known of it; awaken runs shows whether it was sent after all")
        except AwakenError as error:
            self._printer.note(str(error))

    def _watch(self, run_id: str, stream: Stream) -> None:
        """Show a run until it has ended, or waits for what nobody here decides."""
        while True:
            run = self._to_its_end(run_id, stream)
            self._thread_id = run.thread_id
            if not self._decided(run):
                print_value(self._printer, run)
                self._printer.note(end_of(run) if run.phase == "completed" else summary(run))
                return
            stream = self._client.run_events(run_id, after=run.cursor, on_reconnect=self._printer.reconnecting)

    def _to_its_end(self, run_id: str, stream: Stream) -> Run:
        """The run when its stream has ended; over interruptions of whoever wants to go on watching."""
        seen = stream.progress.last_cursor
        while True:
            try:
                with stream:
                    for item in stream:
                        self._show(item)
                        seen = item.cursor
                return self._client.get_run(run_id)
            except KeyboardInterrupt:
                self._interrupted(run_id)
            stream = self._client.run_events(run_id, after=seen, on_reconnect=self._printer.reconnecting)

    def _show(self, item: StreamItem) -> None:
        self._printer.show(item)
        if isinstance(item, Event) and item.kind == "ToolCallReady":
            self._tools.append((str(item.payload.get("name", "tool")), item.payload.get("arguments")))
        if isinstance(item, Event) and item.kind == "ToolCallDone":
            self._tools.append(("  came to", item.payload.get("result", item.payload.get("error_text"))))

    def _interrupted(self, run_id: str) -> None:
        """Ask what is to become of the run. Return when it is to be watched further, to its end if it is stopped.

        Raises:
            Left: It is to go on alone.
        """
        self._printer.end_line()
        chosen = _chosen()
        if chosen in ("leave", "interrupt"):
            with contextlib.suppress(AwakenError):
                self._thread_id = self._client.get_run(run_id).thread_id
            self._printer.note(f"the run goes on; watch it with: awaken watch {run_id}")
            raise Left(Exit.OK if chosen == "leave" else Exit.INTERRUPTED)
        if chosen == "stop":
            self._stop(run_id)

    def _stop(self, run_id: str) -> None:
        try:
            self._client.cancel(run_id)
        except AwakenError as error:  # it has ended meanwhile
            self._printer.note(str(error))

    def _decided(self, run: Run) -> bool:
        """Whether something that the run waits for was decided here."""
        try:
            return ask_about(self._client, self._printer, run)
        except KeyboardInterrupt:
            self._printer.note("the question stays open; awaken tickets lists it")
            raise Left(Exit.INTERRUPTED) from None

    def _show_tools(self) -> None:
        if not self._tools:
            self._printer.note("no tools were called")
        for name, value in self._tools:
            self._printer.note(f"{name} {value if isinstance(value, str) else written(value)}")


def _chosen(ask: Callable[[str], str] = typed) -> Choice:
    """What whoever has pressed Ctrl-C wants; pressed again it means to leave."""
    try:
        said = ask("? s stops it, l leaves it running, Enter goes on watching: ")
    except KeyboardInterrupt:
        print()
        return "interrupt"
    return "stop" if said.lower() in ("s", "stop") else "leave" if said.lower() in ("l", "leave") else "watch"
