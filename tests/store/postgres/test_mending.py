"""Each invariant is broken by hand on Postgres too: the same damage as on SQLite, named, and mended or refused.

What the schema itself rules out is left out: a row that is there is found through its thread by what it says itself.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from awaken.domain.ids import ThreadId
from awaken.store.invariants import BY_NAME
from awaken.store.postgres import PostgresStore
from awaken.testing.audit import breaches_of, check_sound, mend_all
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.store.test_mending import ALONE, MENDED, REFUSED, Damage, fill, mend

TABLES: Final = ("messages", "runs", "dispatches", "events", "tickets", "spans")


@pytest.fixture
async def store(emptied_postgres_url: str, clock: ManualClock) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(emptied_postgres_url, clock=clock) as opened:
        await fill(opened)
        yield opened


def in_postgres(sql: str) -> str:
    """The same damage in its words."""
    sql = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", sql)
    sql = sql.replace("CAST('1' AS BLOB)", "'1'::bytea")
    sql = sql.replace("CAST(replace(CAST(body AS TEXT)", "convert_to(replace(convert_from(body, 'UTF8')")
    sql = sql.replace("'SomethingElse') AS BLOB)", "'SomethingElse'), 'UTF8')")
    return sql.replace(
        "CAST(json_remove(CAST(state AS TEXT), '$.waiting') AS BLOB)",
        "convert_to((convert_from(state, 'UTF8')::jsonb - 'waiting')::text, 'UTF8')",
    )


def possible(damages: tuple[Damage, ...]) -> list[Damage]:
    return [each for each in damages if "thread_entries" not in each.sql and each.invariant != "entry_leads_to_row"]


async def others(hand: Any, *threads: ThreadId | None) -> dict[str, list[Any]]:
    """Every row that belongs to none of the threads."""
    mine = "(SELECT no FROM threads WHERE thread_id = ANY ($1))"
    named = [each for each in threads if each is not None]
    found = {
        each: await hand.fetch(f"SELECT * FROM {each} WHERE thread NOT IN {mine} ORDER BY 1, 2, 3", named)
        for each in TABLES
    }
    found["threads"] = await hand.fetch(f"SELECT * FROM threads WHERE no NOT IN {mine} ORDER BY no", named)
    return found


@pytest.mark.parametrize("damage", possible(MENDED), ids=lambda each: f"{each.invariant}: {each.sql}"[:90])
async def test_a_breach_is_named_and_mended_and_nothing_else_is_touched(
    store: PostgresStore, hand: Any, damage: Damage
) -> None:
    touched = (damage.thread, *damage.touches)
    healthy = await others(hand, *touched)
    await hand.execute(in_postgres(damage.sql))

    found = await breaches_of(store)

    assert damage.breach() in found
    assert {each.thread_id for each in found} <= {damage.thread, *damage.touches, None}
    mended = await mend_all(store)
    assert [each for each in mended if each.result == "refused"] == []
    assert "mended" in [each.result for each in mended]
    await check_sound(store)
    assert await others(hand, *touched) == healthy

    now_is = await others(hand)
    assert "mended" not in [each.result for each in await mend(store, *found)]
    assert await others(hand) == now_is, "mending again changes nothing"


@pytest.mark.parametrize("damage", possible(REFUSED), ids=lambda each: f"{each.invariant}: {each.sql}"[:90])
@behaviour("MBX-176", "MBX-177")
async def test_what_cannot_be_known_any_more_is_refused_with_the_reason_and_found_again(
    store: PostgresStore, hand: Any, damage: Damage
) -> None:
    untouched = damage.thread or ALONE
    healthy = await others(hand, untouched)
    await hand.execute(in_postgres(damage.sql))

    mended = await mend_all(store)

    about = [each for each in mended if each.breach.invariant == damage.invariant]
    assert about, "it is named"
    assert {(each.result, each.note) for each in about} == {("refused", BY_NAME[damage.invariant].refused)}
    if damage.subject:
        assert damage.subject in [each.breach.subject for each in about]
    assert damage.invariant in [each.invariant for each in await breaches_of(store)], "it stays to be mended"
    if damage.thread is not None:
        assert await others(hand, untouched) == healthy
