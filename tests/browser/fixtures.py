"""A page in a real browser, for tests without an event loop of their own (its driver has one)."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import chromium

Found = TypeVar("Found")
PATIENCE_MS = 60_000
"""Far more than anything takes; a test that hangs ends."""


@pytest.fixture(scope="session")
def chromium_found() -> chromium.Chromium:
    """Fails with what to do where there is none: what only a browser shows is not left out in silence."""
    return _or_failed(chromium.find)


@pytest.fixture(scope="module")
def browser(chromium_found: chromium.Chromium) -> Generator[Browser]:
    """Ended with the module: while its driver is there, no test of this process can have a loop."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as driver:
        launched = driver.chromium.launch(
            executable_path=chromium_found.path,
            # Names of examples are this machine, where a server or proxy of the test listens.
            args=[*chromium.ARGUMENTS, "--host-resolver-rules=MAP *.example 127.0.0.1"],
            env={**os.environ, **chromium_found.environment},
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Generator[Page]:
    """A new page in a profile of its own. Whatever it complains about fails the test."""
    # Without a locale Chromium calls its language `en-US@posix` on a machine that has none, which no library expects.
    context = browser.new_context(viewport={"width": 900, "height": 700}, locale="en-US")
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def typescript() -> Path:
    """The compiler, to be run by `tests.node.NODE`. It comes with the browser."""
    return _or_failed(chromium.installed) / "node_modules" / "typescript" / "bin" / "tsc"


def _or_failed(find: Callable[[], Found]) -> Found:
    reason = ""
    try:
        return find()
    except chromium.Missing as missing:
        reason = str(missing)
    pytest.fail(reason, pytrace=False)
