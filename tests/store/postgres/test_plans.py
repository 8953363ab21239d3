"""What is asked often finds its rows by the index that it names, in a store that holds very many of them."""

from __future__ import annotations

from typing import Final

from awaken.store.postgres.opening import connect, place_of
from tests.store.postgres.plans import faults, fill, names_in, work

ROWS: Final = 60_000
"""`python -m tests.store.postgres.plans` looks at a million."""
OFTEN: Final = {
    "due", "due_by_age", "expired", "next_due_at", "due_schedules", "old_runs", "claims_of_consumer",
    "listed_threads", "listed_threads_down", "runs_up", "runs_down", "open_runs_up", "runs_of_thread_down",
    "tickets_up", "open_tickets_down", "dispatches_of_thread", "newest_dispatches", "events_from", "count_dispatches",
    "update_thread", "update_dispatch", "update_run",
}  # fmt: skip


async def test_what_is_asked_often_finds_its_rows_by_the_index_it_names(postgres_url: str) -> None:
    await fill(postgres_url, ROWS)
    asked = await work(postgres_url)

    complaints, looked_at = await faults(postgres_url, asked)

    assert complaints == []
    assert looked_at >= OFTEN
    connection = await connect(place_of(postgres_url))
    await connection.execute("DROP INDEX tickets_scope")
    await connection.close()
    told = [each for each in asked if names_in(each.text) == ("tickets_up",)]
    assert (await faults(postgres_url, told))[0] == ["tickets_up says tickets_scope and uses none"]
