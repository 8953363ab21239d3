"""The model test, in a file whose data moves to a server in the middle: everything goes on as if nothing had been.

Above: nobody. Below: `test_model`, whose machine asks and compares; here the first end of the process is the move.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

from awaken.domain.clock import Instant
from awaken.store.moving import move
from awaken.store.postgres.arriving import Arriving
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.leaving import Leaving
from tests.store.test_model import InFile, OnServer, TwoStores


class ModelThatMoves(TwoStores):
    """Each time when the process ends a file is left, and a server is used from then on."""

    def _reopen(self) -> None:
        if isinstance(self.other, InFile):
            self._close()
            self._move_to_server(self.other)
            self._open()
            self.view = self._look()
        else:
            super()._reopen()

    def _move_to_server(self, left: InFile) -> None:
        arrived = OnServer(self.clock)
        assert isinstance(left.store, SqliteStore)
        with Leaving(left.store.path, self.clock) as source:
            self._do(_moved(source, Arriving(arrived.url), self.clock.now))
        left.remove()
        self.other, self.store = arrived, arrived.store

    def teardown(self) -> None:
        if isinstance(self.other, InFile):
            self._reopen()
        super().teardown()


async def _moved(source: Leaving, target: Arriving, now: Callable[[], Instant]) -> None:
    async with target:
        await move(source, target, move_id="move", now=now, told=_quiet, slice_rows=7)


def _quiet(doing: str, done: int, total: int) -> None:
    """Tells nobody."""


@pytest.fixture(scope="module")
def _server(postgres_server: str) -> None:
    OnServer.server = postgres_server


@pytest.mark.usefixtures("_server")
class TestItGoesOnElsewhere(ModelThatMoves.TestCase):
    settings = settings(max_examples=max(settings().max_examples // 12, 1), stateful_step_count=30)
