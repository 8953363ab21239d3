"""Two stores that outlive the processes that serve them, and number alike what arrives.

Above: the random sequences on a store that several processes share. Below: the stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from awaken.store.contract import Store
from awaken.store.transitions import Outcome, Transition
from awaken.testing.forwarding import ForwardingStore

BLOCK: Final = 65_536
"""Arrival numbers that the database gives to a transaction: what it gives is a multiple of this."""


class Staying(ForwardingStore):
    """A memory store that is opened once and never closed, as a database stays what it is when a process ends."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._is_open = False

    async def __aenter__(self) -> Self:
        if not self._is_open:
            await self._store.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Count:
    """Arrival numbers without the gaps that blocks leave: they go on behind the last batch that was committed."""

    def __init__(self) -> None:
        self._last = 0
        self._committed = 0

    @property
    def last(self) -> int:
        return self._last

    @last.setter
    def last(self, given: int) -> None:
        self._last = given if given % BLOCK else self._committed

    def next(self) -> int:
        self._last += 1
        return self._last

    def commit(self) -> None:
        self._committed = self._last


class Counted(ForwardingStore):
    """A store on Postgres whose transactions count so."""

    def __init__(self, store: Store, count: Count) -> None:
        super().__init__(store)
        self._count = count

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        outcomes = await self._store.apply(batch)
        self._count.commit()
        return outcomes
