"""The bar on what lasts: seen on a terminal, gone afterwards, and nowhere else."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from awaken.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> str:
    with redirect_stderr(stream), progress("opening") as show:
        show("copying", 1, 4)
        show("copying", 4, 4)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_shows_how_far_it_is_and_nothing_afterwards() -> None:
    text = shown(Terminal())
    assert "copying" in text and "100%" in text
    assert text.endswith("\x1b[2K"), "the line is cleared"


def test_a_pipe_is_not_shown_anything() -> None:
    assert shown(io.StringIO()) == ""
