"""Tells other processes what was committed, and hears it from them.

Above: `PostgresStore`. Below: LISTEN and NOTIFY, over a connection of its own.
Holds: what is told are hints: a notification may be lost, and then a poll finds what there is. What is committed while
one is being sent goes together with the next. Notifications are sent after the commit and never within it, because a
commit that notifies waits for every other one that does. A connection that is lost is made again, and then everybody
looks. As it is always open, it is what notices that the database goes away: the log says that once, and once that it is
back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec

from awaken.domain.clock import lasting
from awaken.domain.errors import StoreError
from awaken.domain.ids import Scope, ThreadId
from awaken.store.contract import Signal
from awaken.store.postgres.driver import errors
from awaken.store.postgres.faults import LOST, reason
from awaken.store.postgres.opening import Place, connect, disconnect

MAX_PAYLOAD_BYTES: Final = 7_000
"""Postgres takes less than 8 000."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 5.0

_NOTIFY: Final = "SELECT pg_notify($1, $2)"
_Threads = frozenset[tuple[Scope, ThreadId]]
_log = logging.getLogger("awaken.store")


class _Note(msgspec.Struct, array_like=True):
    """What a notification says. `threads` None: too many to be named. `errands`: an outbox has grown as well."""

    sender: str
    threads: list[tuple[Scope, ThreadId]] | None
    errands: bool = False


_decoder: Final = msgspec.json.Decoder(_Note)
ERRAND: Final = msgspec.json.encode(_Note("", [], errands=True)).decode()
"""What a transaction notifies of in which a caller has submitted something: everybody hears it, its own process too."""


class Signals:
    """Of one open store."""

    def __init__(self, place: Place, me: str, heard: Callable[[Signal], None]) -> None:
        """`heard` is called with what others than `me` have committed."""
        self._place = place
        self._heard = heard
        self._me = me
        self._untold: set[tuple[Scope, ThreadId]] = set()
        self._wake = asyncio.Event()
        self._connection: Any = None
        self._away_since_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """From here on everything is heard."""
        await self._connect()
        self._task = asyncio.create_task(self._run(), name="awaken signals")

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await disconnect(self._connection)
        self._connection = None

    def tell(self, threads: Iterable[tuple[Scope, ThreadId]]) -> None:
        """Have others told, soon."""
        self._untold.update(threads)
        if self._untold:
            self._wake.set()

    async def _connect(self) -> Any:
        self._connection = connection = await connect(self._place)
        await connection.add_listener(self._place.channel, self._hear)
        connection.add_termination_listener(self._lost)
        return connection

    def _lost(self, _: object) -> None:
        self._wake.set()

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        try:
            note = _decoder.decode(payload)
        except msgspec.MsgspecError:
            self._heard(Signal(None))
            return
        if note.sender != self._me:
            self._heard(Signal(None if note.threads is None else frozenset(note.threads), note.errands))

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                connection = self._connection
                if connection is None or connection.is_closed():
                    connection = await self._connected_again()
                    self._heard(Signal(None))  # whatever was told meanwhile
                await self._wake.wait()
                self._wake.clear()
                if self._untold and not connection.is_closed():
                    threads, self._untold = frozenset(self._untold), set()
                    await connection.execute(_NOTIFY, self._place.channel, self._payload(threads))
                pause_s = FIRST_PAUSE_S
            except (errors.PostgresError, *LOST, StoreError):
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _connected_again(self) -> Any:
        seconds = asyncio.get_running_loop().time
        try:
            connection = await self._connect()
        except (errors.PostgresError, *LOST, StoreError) as error:
            if self._away_since_s is None:
                self._away_since_s = seconds()
                _log.warning("the database is away: %s", _named(self._place.shown, error))
            raise
        if self._away_since_s is not None:
            lasted = lasting(seconds() - self._away_since_s)
            self._away_since_s = None
            _log.warning("the database is back after %s: %s", lasted, self._place.shown)
        return connection

    def _payload(self, threads: _Threads) -> str:
        named = msgspec.json.encode(_Note(self._me, sorted(threads)))
        if len(named) > MAX_PAYLOAD_BYTES:
            named = msgspec.json.encode(_Note(self._me, None))
        return named.decode()


def _named(where: str, error: BaseException) -> str:
    """What was said; with the place, where it is not said with it already."""
    return str(error) if isinstance(error, StoreError) else f"{where}: {reason(error)}"
