"""What every test of this project has at hand."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import engine

from tests.behaviour.ledger import LEDGER

pytest_plugins = ["awaken.testing.plugin", "tests.browser.fixtures", "tests.postgres", "tests.watchdog"]

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
engine.MAX_SHRINKING_SECONDS = 30  # made small enough or not, a failure is told before the test counts as hanging

# What tests write lies in memory where there is room: no test cuts the power, and waiting for a disk shows nothing.
_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2 << 30:
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None

# A shell that starts this in the background has Ctrl-C ignored, and so has every process that is started from here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests and all modules are garbage to nobody: they are not looked through, now or later. A test is
    over soon and leaves little, and looking for cycles as often as Python does takes a twentieth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(LEDGER.counts())
