"""What the clients of this folder talk to."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.client.live import LiveServer


@pytest.fixture(scope="package")
def server() -> Generator[str]:
    """The address of a server."""
    with LiveServer() as url:
        yield url
