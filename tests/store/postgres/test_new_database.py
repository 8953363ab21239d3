"""What Postgres does for the statements of a transaction in a database that is new: nothing is known of its tables."""

from __future__ import annotations

import re

from awaken.store.postgres.opening import connect, migrate, place_of
from awaken.store.postgres.queries import SQL, written_together

_NAMED = {
    "claimed_with_run": {"dispatches_claimed", "runs_id", "threads_pkey"},
    "run": {"runs_id", "threads_pkey"},
    "dispatch": {"dispatches_id", "threads_pkey"},
    "lease": {"dispatches_id", "runs_id", "threads_pkey"},
    "message": {"messages_id"},
    "ticket": {"tickets_id", "runs_pkey", "threads_pkey"},
    "update_thread": {"threads_pkey"},
    "update_run": {"runs_pkey"},
    "update_dispatch": {"dispatches_pkey"},
    "update_ticket": {"tickets_pkey"},
    "append_message": {"messages_id"},
    "take_message": {"messages_id"},
    "move_pending": {"messages_id"},
    "edit_message": {"messages_id"},
    "requeue_message": {"messages_id"},
    "mark_fate": {"messages_id"},
}


async def test_rows_are_found_by_their_own_index_before_anything_is_known_of_the_tables(postgres_url: str) -> None:
    """To a planner without statistics any index seems as good, also one that every row of a tenant has in common; what
    it chooses is kept until the tables are analysed.
    """
    place = place_of(postgres_url)
    connection = await connect(place)
    found: dict[str, set[str]] = {}
    try:
        await migrate(connection, place)
        for name in _NAMED:
            text = SQL[name].each() if name in SQL else written_together((name,))
            values = len(set(re.findall(r"\$(\d+)", text)))
            await connection.execute(f"PREPARE plan AS {text}")
            lines = await connection.fetch(f"EXPLAIN EXECUTE plan ({', '.join(['NULL'] * values)})")
            plan = "\n".join(line for (line,) in lines)
            found[name] = set(re.findall(r"using (\w+)", plan))
            assert "Seq Scan" not in plan and plan.count("Index Cond") == len(found[name]), plan
            await connection.execute("DEALLOCATE plan")
    finally:
        await connection.close()
    assert found == _NAMED
