"""`awaken run` where somebody sits: on a real terminal it asks what its run waits for."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from awaken.cli.failure import Exit
from awaken.client import Client
from tests.cli.terminal import Terminal, at_a_terminal
from tests.cli.test_server_process import APP, Process

_threads = (f"terminal-{number}" for number in itertools.count())


@pytest.fixture
def thread() -> str:
    return next(_threads)


def test_whoever_sits_there_is_asked_and_the_answer_goes_on(server: str, thread: str) -> None:
    with at_a_terminal("run", "asking", "a table", "--thread", thread, "--url", server) as terminal:
        terminal.until("? which name?")
        terminal.type("Ann")
        assert terminal.to_the_end() == 0
        assert "for Ann" in terminal.shown


def test_an_empty_line_leaves_the_question_open(server: str, thread: str) -> None:
    with at_a_terminal("run", "asking", "a table", "--thread", thread, "--url", server) as terminal:
        terminal.until("? which name?")
        terminal.type("")
        assert terminal.to_the_end() == Exit.WAITS
    with Client(server) as client:
        [ticket] = client.list_tickets(thread_id=thread)
        assert ticket.state == "open"
        client.decide(ticket.ticket_id, "answer", result="Bob")
        assert client.wait(ticket.run_id).output == "for Bob"


def test_an_approval_is_yes_or_no_with_the_reason_behind_it(server: str, thread: str) -> None:
    for typed, wanted in (("y", "approved: None"), ("n too dear", "denied: too dear")):
        with at_a_terminal("run", "approving", "a table", "--thread", thread, "--url", server) as terminal:
            terminal.until("[y/n, or n and why]")
            terminal.type(typed)
            assert terminal.to_the_end() == 0
            assert wanted in terminal.shown


def test_what_is_neither_yes_nor_no_decides_nothing(server: str, thread: str) -> None:
    """A slip of a finger is no final decision, and a yes with something behind it no plain yes."""
    with at_a_terminal("run", "approving", "a table", "--thread", thread, "--url", server) as terminal:
        for typed in ("maybe", "approve", "y but cheaper", "nope"):
            terminal.until("[y/n, or n and why]")
            terminal.type(typed)
            terminal.until("nothing is decided")
        terminal.until("[y/n, or n and why]")
        terminal.type("")
        assert terminal.to_the_end() == Exit.WAITS


def test_ctrl_c_at_the_question_ends_the_command_and_not_the_run(server: str, thread: str) -> None:
    with at_a_terminal("run", "asking", "a table", "--thread", thread, "--url", server) as terminal:
        terminal.until("? which name?")
        terminal.interrupt_until("the question stays open")
        assert terminal.to_the_end() == 130
    with Client(server) as client:
        [ticket] = client.list_tickets(thread_id=thread)
        assert ticket.state == "open"


def test_arguments_that_fit_no_line_are_shown_whole_before_they_are_approved_and_can_be_changed(
    server: str, thread: str
) -> None:
    with at_a_terminal("run", "shopping", "a lamp", "--thread", thread, "--url", server) as terminal:
        terminal.until("or e to edit]")
        assert f'"note": "{"x" * 80}"' in terminal.shown
        terminal.type("e")
        terminal.until("as JSON: ")
        terminal.until('x"}')  # what stands there
        terminal.type("nonsense")
        terminal.until("that is no JSON object")
        terminal.until("as JSON: ")
        terminal.until("nonsense")
        terminal.type('\x15{"item": "two lamps"}')  # Ctrl-U clears what stands there
        assert terminal.to_the_end() == 0
        assert "bought {'item': 'two lamps'}" in terminal.shown


# --- a conversation ---------------------------------------------------------------------------------------------------


def leave(terminal: Terminal) -> None:
    """Press Ctrl-D, at the prompt: before it is there, the terminal would take it for something else."""
    terminal.until("> ")
    terminal.press("\x04")


def test_without_a_text_it_is_a_conversation_that_can_be_gone_on_with(server: str, thread: str) -> None:
    with at_a_terminal("run", "clerk", "--thread", thread, "--url", server) as terminal:
        terminal.until("> ")
        terminal.type("where is it?")
        terminal.until("It left today.")
        terminal.until("completed")
        assert '· look_up({"order":7})' in terminal.shown
        terminal.until("> ")
        terminal.type("/tools")
        terminal.until('look_up {\r\n  "order": 7\r\n}')
        terminal.until("> ")
        terminal.type("/nonsense")
        terminal.until("there is no /nonsense")
        terminal.until("> ")
        terminal.type("and the other?")
        terminal.until("completed")
        leave(terminal)
        assert terminal.to_the_end() == 0
        assert f"go on with: awaken run clerk --thread {thread}" in terminal.shown
    with Client(server) as client:
        assert [each.text for each in client.messages(thread) if each.role == "user"] == [
            "where is it?",
            "and the other?",
        ]
    with at_a_terminal("run", "clerk", "--thread", thread, "--url", server) as terminal:
        terminal.until("> where is it?\r\nIt left today.")
        terminal.until("> and the other?\r\n")
        leave(terminal)
        assert terminal.to_the_end() == 0


def test_a_conversation_without_a_thread_says_which_one_it_made(server: str) -> None:
    with at_a_terminal("run", "talk", "--url", server) as terminal:
        terminal.until("> ")
        terminal.type("hi")
        terminal.until("completed")
        leave(terminal)
        assert terminal.to_the_end() == 0
        thread = terminal.shown.rpartition("--thread ")[2].strip()
    with Client(server) as client:
        assert client.get_thread(thread).message_count == 2


def test_ctrl_c_in_an_answer_asks_and_can_stop_it(server: str, thread: str) -> None:
    with at_a_terminal("run", "pondering", "--thread", thread, "--url", server) as terminal:
        terminal.until("> ")
        terminal.type("hi")
        terminal.until("Let me think.")
        terminal.interrupt_until("s stops it, l leaves it running")
        terminal.type("s")
        terminal.until("cancelled")
        terminal.until("> ")
        terminal.interrupt_until("go on with:")
        assert terminal.to_the_end() == Exit.INTERRUPTED


def test_ctrl_c_in_an_answer_can_leave_it_running_and_the_next_one_goes_on_with_it(server: str, thread: str) -> None:
    with at_a_terminal("run", "pondering", "--thread", thread, "--url", server) as terminal:
        terminal.until("> ")
        terminal.type("hi")
        terminal.until("Let me think.")
        terminal.interrupt_until("s stops it, l leaves it running")
        terminal.type("l")
        assert terminal.to_the_end() == 0
        assert "the run goes on; watch it with: awaken watch" in terminal.shown
    with Client(server) as client:
        [run] = client.list_runs(thread_id=thread)
        assert run.phase == "running"
        with at_a_terminal("run", "pondering", "--thread", thread, "--url", server) as terminal:
            terminal.until("Let me think.")
            client.cancel(run.run_id)
            terminal.until("cancelled")
            leave(terminal)
            assert terminal.to_the_end() == 0


def test_a_conversation_goes_on_when_its_server_is_killed_and_started_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(APP.format(drain_s=0))
    with (
        Process(tmp_path, "mine:app") as first,
        at_a_terminal("run", "once", "--thread", "t", "--url", first.url) as terminal,
    ):
        terminal.until("> ")
        terminal.type("hi")
        terminal.until("one ")
        first.process.kill()
        terminal.until("connection lost; trying again")
        with Process(tmp_path, "mine:app", port=first.port):
            terminal.until("one two")
            terminal.until("completed")
            leave(terminal)
            assert terminal.to_the_end() == 0


def test_a_conversation_asks_what_its_runs_wait_for(server: str, thread: str) -> None:
    with at_a_terminal("run", "approving", "--thread", thread, "--url", server) as terminal:
        terminal.until("> ")
        terminal.type("a table")
        terminal.until("[y/n, ")
        terminal.type("n too dear")
        terminal.until("denied: too dear")
        terminal.until("completed")
        leave(terminal)
        assert terminal.to_the_end() == 0


def test_a_deletion_is_asked_about(server: str, thread: str) -> None:
    with Client(server) as client:
        client.create_thread(thread)
        with at_a_terminal("threads", "delete", thread, "--url", server) as terminal:
            terminal.until("? [y/N] ")
            terminal.type("")
            assert terminal.to_the_end() == Exit.FAILED
            assert "left as it is" in terminal.shown
        assert client.get_thread(thread).thread_id == thread
        with at_a_terminal("threads", "delete", thread, "--url", server) as terminal:
            terminal.until("? [y/N] ")
            terminal.type("y")
            assert terminal.to_the_end() == 0
        assert thread not in [each.thread_id for each in client.list_threads()]
