"""Owns the connection that writes: one batch at a time, in the order handed over.

Above: `PostgresStore.apply`. Below: `batch.Transactor`, which decides what a batch changes.
Holds: a batch is committed once. Where the answer to a COMMIT is lost, the mark of the batch is written again over a
new connection, which waits for the first transaction to be over: if the mark is there, that was committed, and the
answers are made anew from the rows; if not, it never happened, and the batch is applied now. A `Claim` that was
committed is not asked again, as it would take other threads with the same tokens: what it took is released as a claim
that nobody carries.

Source: ADR 0026, ADR 0041.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from awaken.domain.clock import Clock
from awaken.domain.errors import StoreError, StoreUnavailable
from awaken.domain.ids import Ids
from awaken.store.postgres.batch import Transactor
from awaken.store.postgres.driver import errors
from awaken.store.postgres.facts import named
from awaken.store.postgres.faults import AGAIN, LOST, reason, translated
from awaken.store.postgres.opening import Place, connect, disconnect
from awaken.store.postgres.session import Session
from awaken.store.transitions import Claim, ClaimedSome, Outcome, Transition

TRIES: Final = 5
"""Of a batch that other transactions are in the way of."""
UNKNOWN_S: Final = 30.0
"""For so long it is tried to find out what became of a commit."""
_PAUSE_S: Final = 0.25
_UNHEARD: Final = ClaimedSome((), (), due_left=0, next_due_in_ms=0)
"""Of a `Claim` whose answer was lost: its caller has nothing, and may claim again at once."""

_T = TypeVar("_T")
_log = logging.getLogger("awaken.store")


class Writer:
    """Of one open store. Used by one task at a time."""

    def __init__(self, place: Place, clock: Clock | None, ids: Ids) -> None:
        self._place = place
        self._ids = ids
        self._transactor = Transactor(clock)
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def open(self, connection: Any) -> None:
        self._connection = connection

    async def close(self) -> None:
        """Once the batch that is being applied is."""
        async with self._turn:
            connection, self._connection = self._connection, None
            await disconnect(connection)

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        async with self._turn:
            batch_id = self._ids.mint()
            tries = 0
            while True:
                tries += 1
                try:
                    outcomes = await self._decide(batch, batch_id, careful=False)
                except AGAIN as error:
                    if tries < TRIES:
                        continue
                    raise translated(error, self._place.shown) from error
                except LOST as error:
                    if tries == 1:
                        continue  # it may have been lost long ago, unnoticed: nothing was committed
                    raise translated(error, self._place.shown) from error
                except errors.PostgresError as error:
                    raise translated(error, self._place.shown) from error
                try:
                    await self._connection.execute("COMMIT")
                except (errors.PostgresError, *LOST) as error:
                    return await self._find_out(batch, batch_id, error)
                return outcomes

    async def _decide(self, batch: Sequence[Transition], batch_id: str, *, careful: bool) -> list[Outcome]:
        """Everything but the commit."""
        session = await self._session()
        try:
            return await self._transactor.apply(session, batch, batch_id, careful=careful)
        except LOST:
            await self._drop()
            raise
        except BaseException:
            await self._roll_back()
            raise

    async def _find_out(self, batch: Sequence[Transition], batch_id: str, error: BaseException) -> list[Outcome]:
        _log.warning(
            "%s: the answer to a commit was lost (%s); looking for what became of it", self._place.shown, reason(error)
        )
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + UNKNOWN_S
        await self._drop()
        asked, committed = batch, False
        while True:
            try:
                outcomes = await self._decide(asked, batch_id, careful=committed)
                await self._connection.execute("COMMIT")
            except errors.UniqueViolationError:  # its mark is there
                batch_id, committed = self._ids.mint(), True
                asked = [each for each in batch if not isinstance(each, Claim)]
            except (errors.PostgresError, *LOST, StoreError) as again:
                await self._drop()
                if loop.time() >= give_up_s:
                    raise StoreUnavailable(
                        f"{self._place.shown}: it is not known whether a commit happened: {reason(again)}"
                    ) from again
                await asyncio.sleep(_PAUSE_S)
            else:
                if not committed:
                    return outcomes
                answers = iter(outcomes)
                return [_UNHEARD if isinstance(each, Claim) else next(answers) for each in batch]

    async def check(self) -> None:
        """Whether something can be written. Raises StoreUnavailable."""

        async def try_to_write(session: Session) -> None:
            await session.run("BEGIN")
            await session.row("start_batch", {"batch_id": self._ids.mint(), **named([])})
            await session.run("ROLLBACK")

        await self.use(try_to_write)

    async def use(self, what: Callable[[Session], Awaitable[_T]]) -> _T:
        """Have something done that may be done twice, between two batches. A connection that was lost unnoticed is made
        again, once.

        Raises:
            StoreUnavailable: It could not be done.
        """
        async with self._turn:
            for last in (False, True):
                try:
                    return await what(await self._session())
                except (errors.PostgresError, *LOST) as error:
                    await self._drop()
                    if last or not isinstance(error, LOST):
                        raise translated(error, self._place.shown) from error
            raise AssertionError("the last try returns or raises")

    async def _session(self) -> Session:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._place)
        return Session(self._connection)

    async def _roll_back(self) -> None:
        try:
            await self._connection.execute("ROLLBACK")
        except (errors.PostgresError, *LOST):
            await self._drop()

    async def _drop(self) -> None:
        """Use the connection no more; the server gives up what it was doing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
