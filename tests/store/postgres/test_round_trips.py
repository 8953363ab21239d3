"""How often the database is asked, and what is asked together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.postgres import PostgresStore, driver
from awaken.store.postgres.facts import held_at_start
from awaken.store.postgres.opening import connect, place_of
from awaken.store.postgres.session import Put, apart, as_array
from awaken.store.transitions import Submitted
from awaken.testing.conformance.steps import asked, finished, offer, settled
from awaken.wiring import Awaken

_CALLERS = 64
_RUNS_EACH = 5


class Counted:
    """What is asked: all of it, and over connections that write batches, in order."""

    def __init__(self) -> None:
        self._texts: list[list[str]] = []

    async def attach(self, connection: Any) -> None:
        texts: list[str] = []

        def note(asked: Any) -> None:
            texts.append(asked.query)

        self._texts.append(texts)
        connection.add_query_logger(note)

    def begin(self) -> None:
        for each in self._texts:
            each.clear()

    @property
    def all(self) -> list[str]:
        return [text for each in self._texts for text in each]

    @property
    def of_batches(self) -> list[str]:
        return [text for each in self._texts if any("INTO batches" in text for text in each) for text in each]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Every statement of every connection that is made from now on."""
    counted = Counted()
    make, make_pool = driver.connect, driver.create_pool

    async def connected(*args: Any, **options: Any) -> Any:
        connection = await make(*args, **options)
        await counted.attach(connection)
        return connection

    def pooled(*args: Any, init: Any, **options: Any) -> Any:
        async def both(connection: Any) -> None:
            await init(connection)
            await counted.attach(connection)

        return make_pool(*args, init=both, **options)

    monkeypatch.setattr(driver, "connect", connected)
    monkeypatch.setattr(driver, "create_pool", pooled)
    return counted


async def test_a_background_run_costs_less_than_a_statement_with_64_callers(
    postgres_url: str, counted: Counted
) -> None:
    """Reads of whoever waits for the result included; three are allowed. A batch is about four round trips."""

    async def nothing(context: Context) -> None:
        pass

    app = Awaken(postgres_url, settings=MailboxSettings(max_concurrent_runs=1_000))
    app.agent("noop", nothing)

    async def call(caller: int, count: int) -> None:
        for _ in range(count):
            handle = await app.submit(f"thread-{caller}", "now", agent="noop")
            await handle.result()

    async with app:
        await asyncio.gather(*[call(caller, 1) for caller in range(_CALLERS)])
        counted.begin()
        await asyncio.gather(*[call(caller, _RUNS_EACH) for caller in range(_CALLERS)])
        statements, commits = len(counted.all), counted.of_batches.count("COMMIT")

    assert statements <= 3 * _CALLERS * _RUNS_EACH
    assert commits * 5 <= _CALLERS * _RUNS_EACH


async def test_a_step_of_a_run_takes_four_round_trips(postgres_url: str, counted: Counted) -> None:
    """A submit that is claimed at once, and the settlement of that run."""
    async with PostgresStore(postgres_url) as store:
        await finished(store, "before")
        counted.begin()
        submit = replace(asked("now", offered=offer()), fresh_ids=True)
        [accepted] = await store.apply([submit])
        assert isinstance(accepted, Submitted) and accepted.claimed is not None
        await settled(store, accepted.claimed)
        steps = counted.of_batches

    assert [text.split()[0] for text in steps] == 2 * ["BEGIN", "WITH", "WITH", "COMMIT"], steps


def test_a_row_that_two_writes_change_is_changed_by_two_statements() -> None:
    """The parts of one statement do not see what the others have written."""
    first = Put("delete_errand", [(1,), (2,)])
    others = [Put("delete_schedule", [(2,)]), Put("insert_span", [])]
    again = Put("delete_errand", [(2,)])

    assert apart([first, *others, again]) == [[first, others[0]], [again]]


async def test_every_text_arrives_as_it_was_given(postgres_url: str) -> None:
    texts = [
        "",
        "NULL",
        "null",
        'a "quoted" \\ word',
        "{a,b}",
        "a, b",
        "line\nbreak\ttab",
        "\x01\x1f\x7f",
        "ü → 𝄞",
        "'",
    ]
    connection = await connect(place_of(postgres_url))
    try:
        for given in ([*texts, None], [None, None], [texts[1]]):
            [[kept]] = [tuple(row) for row in await connection.fetch("SELECT $1::text::text[]", as_array(given))]
            assert kept == given
        numbers = [0, None, -1, 2**62]
        [[kept]] = [tuple(row) for row in await connection.fetch("SELECT $1::text::bigint[]", as_array(numbers))]
        assert kept == numbers
    finally:
        await connection.close()


def test_what_was_read_of_a_claim_before_its_thread_was_held_counts_only_where_the_row_is_the_same() -> None:
    """Another process may have committed between the two."""
    columns: list[Any] = [None] * (28 + 26 + 22)

    changed = held_at_start([(1, 7, False, *columns)])
    same = held_at_start([(1, 7, True, *columns)])

    assert changed.known == {}
    assert same.known == {("claimed_with_run", (7,)): []}
