"""Answers that several callers share, where each says that it can wait."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from starlette.responses import Response

from awaken.domain.errors import StoreUnavailable
from awaken.http.sharing import MAX_PATIENCE_S, SHARE, SharedAnswers, patience_of
from awaken.store.contract import Store
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import settle
from tests.http.site import served

PATIENT: Final = {"prefer": "wait=10"}


class Shelf:
    """Something that takes `takes_s` to read, and changes."""

    def __init__(self, clock: ManualClock, takes_s: float) -> None:
        self.clock = clock
        self.takes_s = takes_s
        self.now = 0
        self.reads: list[float] = []
        self.refuses = False

    async def read(self) -> Response:
        self.reads.append(self.clock.monotonic())
        seen = self.now
        await asyncio.sleep(0)
        self.clock.tick(self.takes_s)
        if self.refuses:
            raise StoreUnavailable("gone")
        return Response(str(seen), headers={"x-seen": str(seen)})


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=3", 3),
        ("respond-async, wait=4", 4),
        ('handling=lenient; WAIT = "5" ', 5),
        ("wait=99999", MAX_PATIENCE_S),
        ("wait=0", 0),
        ("await=3", 0),
        ("wait=-1", 0),
        ("wait=soon", 0),
        ("wait=" + "9" * 40, 0),
        ("", 0),
    ],
)
def test_what_a_client_says_it_can_wait(prefer: str, seconds: int) -> None:
    assert patience_of({b"prefer": prefer.encode()}) == seconds
    assert patience_of({}) == 0


async def test_whoever_looks_at_one_thing_costs_a_share_of_the_time_together(clock: ManualClock) -> None:
    """And nobody gets what was read before he asked."""
    shelf, shared = Shelf(clock, 0.02), SharedAnswers(clock)
    began_s = clock.monotonic()

    async def look_on() -> None:
        while clock.monotonic() - began_s < 30:
            asked = shelf.now
            answer = await shared.answer("shelf", 5.0, shelf.read)
            assert int(bytes(answer.body)) >= asked and answer.headers["x-seen"] == bytes(answer.body).decode()
            shelf.now += 1
            await asyncio.sleep(0)

    looking = asyncio.gather(*[look_on() for _ in range(20)])
    while not looking.done():
        await clock.advance(0.1, settle)
    await looking
    assert 30 * SHARE / 0.02 * 0.8 <= len(shelf.reads) <= 30 * SHARE / 0.02 * 1.1


async def test_nobody_waits_longer_than_he_said(clock: ManualClock) -> None:
    shelf, shared = Shelf(clock, 10.0), SharedAnswers(clock)
    await shared.answer("shelf", 2.0, shelf.read)
    ended_s = clock.monotonic()
    second = asyncio.create_task(shared.answer("shelf", 2.0, shelf.read))
    await clock.advance(1.9, settle)
    assert len(shelf.reads) == 1
    await clock.advance(0.2, settle)
    await second
    assert shelf.reads[1] == pytest.approx(ended_s + 2.0)


async def test_one_who_leaves_takes_nothing_from_the_others(clock: ManualClock) -> None:
    shelf, shared = Shelf(clock, 1.0), SharedAnswers(clock)
    await shared.answer("shelf", 2.0, shelf.read)
    first, second = [asyncio.create_task(shared.answer("shelf", 2.0, shelf.read)) for _ in range(2)]
    await settle()
    first.cancel()
    await clock.advance(2.1, settle)
    assert (await second).body == b"0"
    assert first.cancelled() and len(shelf.reads) == 2


async def test_a_failure_is_told_to_all_who_waited_and_is_over_then(clock: ManualClock) -> None:
    shelf, shared = Shelf(clock, 0.0), SharedAnswers(clock)
    shelf.refuses = True
    failed = await asyncio.gather(*[shared.answer("shelf", 1.0, shelf.read) for _ in range(3)], return_exceptions=True)
    assert [type(each) for each in failed] == [StoreUnavailable] * 3 and len(shelf.reads) == 1
    shelf.refuses = False
    assert (await shared.answer("shelf", 1.0, shelf.read)).body == b"0"


async def test_different_questions_do_not_wait_for_one_another(clock: ManualClock) -> None:
    shelf, shared = Shelf(clock, 10.0), SharedAnswers(clock)
    for number in range(1_000):
        await shared.answer(number, 5.0, shelf.read)
    assert len(shelf.reads) == 1_000


async def test_over_http_each_answer_is_complete_and_has_an_id_of_its_own(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("gated")
        await site.world.quiet()
        paths = ("/v1/attention", "/v1/runs?limit=1", "/v1/runs?limit=2", f"/v1/runs/{run['run_id']}")
        for path in paths:
            alone = await site.http.get(path)
            both = [await each for each in [asyncio.create_task(site.http.get(path, headers=PATIENT)) for _ in (1, 2)]]
            assert [each.json() for each in both] == [alone.json()] * 2, path
            assert all(each.headers.get("content-type") == alone.headers.get("content-type") for each in both)
            assert len({each.headers["x-request-id"] for each in (alone, *both)}) == 3
        gone = await site.http.get("/v1/runs/gone", headers=PATIENT)
        assert (gone.status, gone.json()["code"]) == (404, "run_not_found")
        etag = {"if-none-match": '"x"', **PATIENT}
        assert (await site.http.get(f"/v1/runs/{run['run_id']}", headers=etag)).status == 200
