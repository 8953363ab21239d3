"""Tables at every width, on terminals and pipes, with and without colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.cli.palette import ATTENTION, BAD, OK, PLAIN, QUIET, style_of
from awaken.cli.runs import print_runs
from awaken.cli.tables import Column, fitted, print_table
from awaken.cli.terminal import escaped, note, print_facts
from awaken.client import Run
from awaken.domain.clock import from_rfc3339

LISTED = Run(
    run_id="01a3185c-5000-7082-a46d-d6122265b1f5",
    thread_id="01a3185c-5000-7082-a46d-d6122265b1f4",
    agent_id="support",
    phase="dead_letter",
    created_at="2027-01-15T08:00:00.000Z",
    started_at="2027-01-15T08:00:00.000Z",
    finished_at="2027-01-15T08:00:02.000Z",
    final_output="It left the house today [and] comes tomorrow. Is there anything else that I can do for you?",
)
NOW = from_rfc3339("2027-01-15T08:01:00.000Z")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def show(self, print_it: Callable[..., None], *given: Any) -> None:
        with redirect_stdout(self):
            print_it(*given)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """What a terminal of 80 columns with colours is shown."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def shown(screen: Terminal) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()]


@pytest.mark.parametrize(
    ("columns", "head", "row"),
    [
        (20, ["RUN", "PHASE AGE"], [LISTED.run_id, "dead_letter 1m"]),
        (40, ["RUN", "AGENT PHASE AGE TOOK"], [LISTED.run_id, "support dead_letter 1m 2.0 s"]),
        (60, ["RUN PHASE AGE"], [f"{LISTED.run_id} dead_letter 1m"]),
        (80, ["RUN AGENT PHASE AGE TOOK"], [f"{LISTED.run_id} support dead_letter 1m 2.0 s"]),
        (
            100,
            ["RUN AGENT PHASE AGE TOOK OUTPUT"],
            [f"{LISTED.run_id} support dead_letter 1m 2.0 s It left the house today [an…"],
        ),
        (
            140,
            ["RUN THREAD AGENT PHASE AGE TOOK OUTPUT"],
            [f"{LISTED.run_id} {LISTED.thread_id} support dead_letter 1m 2.0 s It left the house today [and]…"],
        ),
    ],
)
def test_a_table_shows_ids_whole_or_not_at_all_and_no_column_squeezed_to_nothing(
    screen: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int, head: list[str], row: list[str]
) -> None:
    """Where a line cannot hold what has to be there, the id has one of its own."""
    monkeypatch.setenv("COLUMNS", str(columns))
    screen.show(print_runs, [LISTED], NOW)
    assert [" ".join(line.split()) for line in shown(screen)] == [*head, *row]
    assert max([len(line) for line in shown(screen) if line != LISTED.run_id]) <= columns


def test_a_long_name_of_an_agent_gives_way_to_the_rest(screen: Terminal) -> None:
    run = msgspec.structs.replace(LISTED, agent_id="an-agent-with-a-rather-long-name-for-it")
    screen.show(print_runs, [run], NOW)
    assert shown(screen)[1].split() == [run.run_id, "an-agent-with-a-…", "dead_letter", "1m", "2.0", "s"]


COLUMNS = st.lists(
    st.builds(
        Column,
        name=st.text("ABC", min_size=1, max_size=9),
        least=st.none() | st.integers(1, 20),
        leaves=st.none() | st.integers(0, 5),
    ),
    min_size=1,
    max_size=7,
)


@given(COLUMNS, st.data(), st.integers(10, 250))
def test_a_table_is_as_wide_as_its_terminal_at_most_and_leaves_out_only_what_may_be(
    columns: list[Column], data: st.DataObject, room: int
) -> None:
    columns[0] = msgspec.structs.replace(columns[0], leaves=None)
    whole = [data.draw(st.integers(len(column.name), 80)) for column in columns]
    lines = fitted(columns, whole, room)
    shown = [at for line in lines for at in line]
    assert shown == sorted({*shown})
    assert all([at in shown or column.leaves is not None for at, column in enumerate(columns)])
    for number, line in enumerate(lines):
        for at, width in line.items():
            assert min(whole[at], columns[at].least or 80, room - 2) <= width <= whole[at]
            assert width == whole[at] or columns[at].least is not None
        if [columns[at].least for at in line] != [None]:
            assert sum(line.values()) + 2 * (len(line) - 1) <= room - (2 if number else 0)
    least = [min(whole[at], columns[at].least or 80) for at, column in enumerate(columns) if column.leaves is None]
    if sum(least) + 2 * (len(least) - 1) <= room:
        assert len(lines) == 1


def test_a_pipe_gets_everything_in_one_line_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_table([Column(name="ID"), Column(name="SAID", least=4)], [("x" * 300, "a [b]\nc\t\x1b[2J" * 50)])
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["ID", "SAID"]
    assert row.rstrip() == "x" * 300 + "  " + "a [b] c [2J" * 50


def test_a_colour_says_what_the_word_says(screen: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"completed": OK, "needs_decision": ATTENTION, "dead_letter": BAD, "cancelled": QUIET, "running": PLAIN}
    assert {word: style_of(word) for word in said} == said
    screen.show(print_table, [Column(name="PHASE", is_status=True)], [(word,) for word in said])
    codes = {"completed": "32", "needs_decision": "33", "dead_letter": "31", "cancelled": "2"}
    for word, code in codes.items():
        assert f"\x1b[{code}m{word}" in screen.getvalue()
    before = len(screen.getvalue())
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as plain:
            plain.setenv(name, value)
            screen.show(print_table, [Column(name="PHASE", is_status=True)], [(word,) for word in said])
            screen.show(print_facts, {"phase": "failed"})
    assert "\x1b" not in screen.getvalue()[before:], "not even weights"


def test_a_pipe_has_no_colours_whatever_wants_to_force_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TERM", "xterm-256color"), ("FORCE_COLOR", "1"), ("COLUMNS", "20")):
        monkeypatch.setenv(name, value)
    print_runs([LISTED], NOW)
    print_facts({"phase": "failed"})
    note("beside")
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert LISTED.thread_id in shown.out.splitlines()[1]


def test_facts_fold_below_each_other_on_a_terminal(screen: Terminal) -> None:
    screen.show(print_facts, {"run": "r1", "phase": "failed", "error": "word " * 30, "none": None})
    lines = shown(screen)
    assert lines[0] == "run    r1"
    assert "\x1b[31mfailed" in screen.getvalue()
    assert len(lines) == 5 and all([len(line) <= 80 for line in lines])
    assert lines[4].startswith(" " * 7 + "word")


def test_a_fact_that_is_an_id_is_never_broken(screen: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    screen.show(print_facts, {"run": LISTED.run_id, "claimed by": "someone", "retried as": None, "thread": "t"})
    assert shown(screen) == ["run", LISTED.run_id, "claimed by  someone", "thread      t"]


def test_text_that_would_be_read_in_another_direction_is_not(screen: Terminal) -> None:
    screen.show(print_facts, {"asks": "pay \u202e001\u202c to \u2066me\u2069"})
    assert shown(screen) == ["asks  pay ⟨202e⟩001⟨202c⟩ to ⟨2066⟩me⟨2069⟩"]
    assert escaped('{"to": "\u202emoc"}') == r'{"to": "\u202emoc"}'
