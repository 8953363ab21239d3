"""Entered by several: one opening, one closing, and what becomes of those whose task ends in between."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from awaken.domain.errors import StoreUnavailable
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.readers import Readers
from awaken.store.sqlite.shared import Shared
from awaken.testing.clock import settle
from awaken.testing.conformance.steps import SCOPE, THREAD, finished, submitted

_PATIENCE_S = 10


class Place:
    """Something that opens and closes, and waits inside both until the test lets it go on."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails = False
        self.shared = Shared(self._open, self._close, name="place")
        self._loop = asyncio.get_running_loop()
        self._alone = threading.Lock()
        self._may_go_on = threading.Semaphore(0)
        self._arrived = asyncio.Semaphore(0)

    def _open(self) -> None:
        self._pass("open")
        if self.fails:
            raise OSError("no such place")

    def _close(self) -> None:
        self._pass("close")

    def _pass(self, what: str) -> None:
        assert self._alone.acquire(blocking=False), "opening and closing never run side by side"
        try:
            self._loop.call_soon_threadsafe(self._arrived.release)
            assert self._may_go_on.acquire(timeout=_PATIENCE_S)
            self.log.append(what)
        finally:
            self._alone.release()

    async def arrived(self) -> None:
        """Wait until a thread is inside the opening or the closing."""
        async with asyncio.timeout(_PATIENCE_S):
            await self._arrived.acquire()

    def let_go(self, times: int = 1) -> None:
        self._may_go_on.release(times)


@pytest.fixture
async def place() -> Place:
    return Place()


async def entered(place: Place) -> None:
    place.let_go()
    await place.shared.enter()
    await place.arrived()


async def test_the_first_opens_and_the_last_closes(place: Place) -> None:
    place.let_go(2)
    await place.shared.enter()
    await place.shared.enter()
    await place.shared.leave()
    assert (place.log, place.shared.is_open) == (["open"], True)
    await place.shared.leave()
    assert (place.log, place.shared.is_open) == (["open", "close"], False)


async def test_all_who_come_while_it_opens_share_that_opening(place: Place) -> None:
    several = [asyncio.create_task(place.shared.enter()) for _ in range(3)]
    await place.arrived()
    await settle()
    assert not any(one.done() for one in several)
    place.let_go()
    await asyncio.gather(*several)
    assert place.log == ["open"]


async def test_all_who_share_an_opening_get_its_error_and_the_next_tries_again(place: Place) -> None:
    place.fails = True
    several = [asyncio.create_task(place.shared.enter()) for _ in range(2)]
    await place.arrived()
    await settle()
    place.let_go()
    errors = await asyncio.gather(*several, return_exceptions=True)
    assert [str(error) for error in errors] == ["no such place"] * 2
    place.fails = False
    await entered(place)
    assert place.log == ["open", "open"], "what did not open is not closed"


async def test_who_tries_again_after_a_failure_does_not_get_the_same_failure_while_others_still_do(
    place: Place,
) -> None:
    async def try_twice() -> None:
        with pytest.raises(OSError, match="no such place"):
            await place.shared.enter()
        place.fails = False
        await place.shared.enter()

    place.fails = True
    stubborn, other = asyncio.create_task(try_twice()), asyncio.create_task(place.shared.enter())
    await place.arrived()
    await settle()
    place.let_go(2)
    await stubborn
    with pytest.raises(OSError, match="no such place"):
        await other
    assert place.shared.is_open


async def test_who_is_cancelled_while_it_opens_leaves_it_to_the_others(place: Place) -> None:
    first, second = [asyncio.create_task(place.shared.enter()) for _ in range(2)]
    await place.arrived()
    first.cancel()
    await asyncio.wait([first])
    place.let_go()
    await second
    assert (first.cancelled(), place.log, place.shared.is_open) == (True, ["open"], True)


async def test_what_was_opened_for_somebody_who_has_gone_is_closed_again(place: Place) -> None:
    alone = asyncio.create_task(place.shared.enter())
    await place.arrived()
    for _ in range(2):
        alone.cancel()
        await settle()
    assert not alone.done(), "it waits until everything is closed"
    place.let_go(2)
    with pytest.raises(asyncio.CancelledError):
        await alone
    assert place.log == ["open", "close"]


async def test_who_comes_while_it_closes_waits_and_opens_it_again(place: Place) -> None:
    await entered(place)
    leaving = asyncio.create_task(place.shared.leave())
    await place.arrived()
    coming = asyncio.create_task(place.shared.enter())
    await settle()
    assert not place.shared.is_open
    place.let_go(2)
    await asyncio.gather(leaving, coming)
    assert (place.log, place.shared.is_open) == (["open", "close", "open"], True)


async def test_leaving_closes_however_often_it_is_cancelled(place: Place) -> None:
    await entered(place)
    leaving = asyncio.create_task(place.shared.leave())
    await place.arrived()
    for _ in range(3):
        leaving.cancel()
        await settle()
    assert not leaving.done()
    place.let_go()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert place.log == ["open", "close"]


# --- the store --------------------------------------------------------------------------------------------------------


async def test_a_store_entered_twice_is_open_until_both_have_left(path: Path) -> None:
    store = SqliteStore(path)
    async with store:
        async with store:
            await submitted(store, "d1")
        await submitted(store, "d2")
        assert await store.load_thread(SCOPE, THREAD) is not None
    with pytest.raises(StoreUnavailable, match="is not open"):
        await submitted(store, "d3")
    with pytest.raises(StoreUnavailable, match="is not open"):
        await store.load_thread(SCOPE, THREAD)
    async with SqliteStore(path):
        pass


async def test_a_store_that_is_entered_by_two_at_once_is_opened_once(path: Path) -> None:
    store = SqliteStore(path)
    await asyncio.gather(store.__aenter__(), store.__aenter__())  # a second opening would be refused by the lock
    await finished(store, "d1")
    await store.__aexit__(None, None, None)
    await finished(store, "d2")
    await store.__aexit__(None, None, None)


async def test_leaving_a_store_frees_its_file_however_often_it_is_cancelled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held while its readers close, cancelled there twice, and never waited for again by its own task."""
    close, arrived, let_go = Readers.close, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def held(self: Readers) -> None:
        loop.call_soon_threadsafe(arrived.set)
        assert let_go.wait(_PATIENCE_S)
        close(self)

    async def live() -> None:
        async with SqliteStore(path) as store:
            await submitted(store, "d1")
            monkeypatch.setattr(Readers, "close", held)

    async with asyncio.timeout(_PATIENCE_S):
        living = asyncio.create_task(live())
        await arrived.wait()
        for _ in range(2):
            living.cancel()
            await settle()
        let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await living
    monkeypatch.setattr(Readers, "close", close)
    async with SqliteStore(path) as store:
        assert await store.load_thread(SCOPE, THREAD) is not None


async def test_a_task_that_is_cancelled_while_a_store_opens_leaves_the_file_free(path: Path) -> None:
    opening = asyncio.create_task(SqliteStore(path).__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with SqliteStore(path):
        pass


async def test_a_store_whose_readers_cannot_open_gives_the_file_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise StoreUnavailable("no more files can be opened")

    with monkeypatch.context() as patched:
        patched.setattr("awaken.store.sqlite.readers.open_reader", refuse)
        with pytest.raises(StoreUnavailable, match="no more files"):
            async with SqliteStore(path):
                pass
    async with SqliteStore(path):
        pass
