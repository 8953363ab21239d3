"""Every statement of the Postgres store, as the server reads it."""

from __future__ import annotations

import pytest

from awaken.store.postgres.invariants import SQL as OF_AUDITS
from awaken.store.postgres.opening import connect, migrate, place_of
from awaken.store.postgres.queries import SQL, WRITES, statement, written_together


async def test_the_server_understands_every_statement(postgres_url: str) -> None:
    """For one value of each name and for many; a column that is not there, or a type that does not fit, fails."""
    place = place_of(postgres_url)
    connection = await connect(place)
    refused: list[str] = []
    try:
        await migrate(connection, place)
        texts = {name: found.text for name, found in (*SQL.items(), *OF_AUDITS.items())}
        texts |= {name: written_together((name,)) for name in WRITES}
        texts["everything at once"] = written_together(tuple(WRITES))
        texts |= {
            f"{name}, for many": found.each()
            for name, found in SQL.items()
            if found.values
            and found.text.startswith("SELECT")
            and "[]" not in found.text
            and "FOR UPDATE" not in found.text
        }
        for name, text in texts.items():
            try:
                await connection.prepare(text)
            except Exception as error:
                refused.append(f"{name}: {error}")
    finally:
        await connection.close()
    assert not refused, "\n".join(refused)


def test_a_value_without_a_type_stops_the_import() -> None:
    with pytest.raises(ValueError, match="no type is known of the value 'colour'"):
        statement("SELECT :colour")
