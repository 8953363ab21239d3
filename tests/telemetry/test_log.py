"""Log records as lines: JSON away from a terminal, text on one."""

from __future__ import annotations

import importlib
import io
import json
import logging
from collections.abc import Generator

import pytest

from awaken.telemetry.log import configure_logging


@pytest.fixture(autouse=True)
def restored() -> Generator[None]:
    """Logging as it was, when the test is over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_away_from_a_terminal_a_record_is_a_line_of_json() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("awaken.test").exception("it %s", "failed", extra={"run_id": "r1"})

    [line] = out.getvalue().splitlines()
    record = json.loads(line)
    assert record["event"] == "it failed"
    assert (record["level"], record["logger"], record["run_id"]) == ("error", "awaken.test", "r1")
    assert record["timestamp"].endswith("Z")
    assert "ValueError: two\nlines" in record["exception"]


def test_on_a_terminal_a_record_is_text() -> None:
    out = Terminal()
    configure_logging(stream=out)
    logging.getLogger("awaken.test").warning("careful")
    assert "careful" in out.getvalue()
    assert "{" not in out.getvalue()


def test_the_format_and_the_level_can_be_chosen_and_the_last_choice_holds() -> None:
    first, second = io.StringIO(), Terminal()
    configure_logging("console", stream=first)
    configure_logging("json", "warning", stream=second)
    logging.getLogger("awaken.test").info("too quiet")
    logging.getLogger("awaken.test").error("loud")
    assert first.getvalue() == ""
    assert [json.loads(line)["event"] for line in second.getvalue().splitlines()] == ["loud"]


def test_importing_the_package_configures_nothing() -> None:
    importlib.import_module("awaken")
    assert logging.getLogger("awaken").handlers == []
