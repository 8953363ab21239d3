"""Looking through the stored rows over HTTP."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from awaken.http.cursors import list_cursor
from awaken.store.sqlite import SqliteStore
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


def by_hand(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement).rowcount > 0


async def whole(site: Site, method: str) -> list[Any]:
    """Everything that is found, page by page."""
    items: list[Any] = []
    cursor = ""
    while True:
        answer = await getattr(site.http, method)(f"/v1/system/audit{cursor}")
        assert answer.status == 200, answer
        page = answer.json()
        items += page["items"]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if page["next_cursor"] is None:
            return items
        cursor = f"?cursor={page['next_cursor']}"


async def test_a_get_names_what_contradicts_itself_and_a_post_mends_it(path: Path, clock: ManualClock) -> None:
    async with served(SqliteStore(path, clock=clock), clock) as site:
        await site.finished(await site.submit("talk", "t"))
        assert await whole(site, "get") == []
        by_hand(path, "UPDATE threads SET waiting = 3")

        [found] = await whole(site, "get")
        assert found == {
            "invariant": "counters_agree",
            "sentence": found["sentence"],
            "thread_id": "t",
            "subject": "",
            "result": "found",
            "note": "they are counted anew",
        }
        assert await whole(site, "get") == [found], "asking changes nothing"
        [mended] = await whole(site, "post")
        assert mended == {**found, "result": "mended"}
        assert await whole(site, "get") == []


@pytest.mark.parametrize("method", ["get", "post"])
async def test_a_cursor_of_another_list_is_refused_and_one_beyond_the_end_finds_nothing(
    path: Path, clock: ManualClock, method: str
) -> None:
    async with served(SqliteStore(path, clock=clock), clock) as site:
        ask = getattr(site.http, method)
        assert (await ask("/v1/system/audit?cursor=abc")).status == 422
        assert (await ask("/v1/system/audit?repair=true")).status == 422
        beyond = list_cursor("audit", (), (2**40, 2**40))
        answer = (await ask(f"/v1/system/audit?cursor={beyond}")).json()
        assert answer == {"items": [], "has_more": False, "next_cursor": None}


async def test_health_says_how_far_it_is_and_what_cannot_be_repaired(path: Path, clock: ManualClock) -> None:
    async with served(SqliteStore(path, clock=clock), clock) as site:
        await site.finished(await site.submit("talk", "t"))
        assert (await site.http.get("/health")).json()["components"]["audit"] == {"state": "ok", "detail": None}
        by_hand(path, "DELETE FROM events WHERE first_seq = 1")
        site.world.audits = False

        await site.world.advance(30 * 40)

        health = await site.http.get("/health")
        component = health.json()["components"]["audit"]
        assert (health.status, component["state"]) == (200, "degraded"), "everything else is served"
        assert "1 cannot be repaired: events_have_no_hole: thread 't', '1'" in component["detail"]
