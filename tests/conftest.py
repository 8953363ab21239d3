"""What every test of this project has at hand."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import engine

from tests.behaviour.ledger import LEDGER

pytest_plugins = ["awaken.testing.plugin", "tests.browser.fixtures", "tests.watchdog"]

# Every day the same examples, so that a red test means a change and not a new piece of luck. Looking for luck is
# `make luck`; what it finds is printed with a blob that replays it.
_slow_is_fine = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
settings.register_profile(
    "daily", derandomize=True, max_examples=50, deadline=None, print_blob=True, suppress_health_check=_slow_is_fine
)
settings.register_profile(
    "hard", max_examples=3_000, deadline=None, print_blob=True, database=None, suppress_health_check=_slow_is_fine
)
settings.load_profile("daily")
engine.MAX_SHRINKING_SECONDS = (
    30  # a failure is made small while there is time, and told before the test counts as hanging
)


# A shell that starts this in the background has Ctrl-C ignored, and so has every process that is started from here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(LEDGER.counts())
