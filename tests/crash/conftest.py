"""Interpreters that bear the processes of the crash tests, started once for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.nursery import Nursery


@pytest.fixture(scope="package")
def nurseries() -> Iterator[list[Nursery]]:
    """As many as a small machine has processors."""
    with Nursery() as one, Nursery() as two:
        yield [one, two]
