from __future__ import annotations

from collections.abc import Generator

import pytest
from playwright.sync_api import Page

from awaken.http.settings import HttpSettings
from tests.browser.site import Site
from tests.console.viewer import Viewer


@pytest.fixture
def site() -> Generator[Site]:
    """A server of its own for each test: lists begin empty."""
    with Site(http=HttpSettings(console=True)) as site:
        yield site


@pytest.fixture
def viewer(page: Page, site: Site) -> Generator[Viewer]:
    """The console in a browser. What it complains of, or asks of anybody else, fails the test."""
    viewer = Viewer(page, site.url)
    yield viewer
    viewer.check()
