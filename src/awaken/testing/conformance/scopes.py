"""Scopes: each is alone in the store, however its ids and those of others are written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from msgspec.structs import replace

from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.store.contract import DispatchQuery, MessageQuery, Page, RunQuery, Store, ThreadQuery
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import OTHER_SCOPE, SCOPE, THREAD, claim_some, settled, submitted

QueryT = TypeVar("QueryT", RunQuery, ThreadQuery, DispatchQuery)
RecordT = TypeVar("RecordT")
MANY: Final = 7
LOOKALIKES: Final = (("a", "b:c"), ("a:b", "c"), ("a.b", "c"), ("a", "b.c"), ("a@b", "c"), ("a", "b"), ("ab", "c"))
"""Scope and thread: written one behind the other, some of them are the same text."""


async def paged(read: Callable[[QueryT], Awaitable[Page[RecordT]]], query: QueryT) -> list[RecordT]:
    """Every item of every page."""
    items: list[RecordT] = []
    while True:
        page = await read(query)
        items += page.items
        if page.next is None:
            return items
        query = replace(query, after=page.next)


@behaviour("SC-003")
async def test_a_list_holds_everything_of_its_scope_and_nothing_of_another(store: Store, clock: ManualClock) -> None:
    """Rows of both lie between each other, in one thread and in several, under the same ids."""
    for number in range(MANY):
        for scope in (SCOPE, OTHER_SCOPE):
            await submitted(store, f"d{number}", scope=scope)
            await submitted(store, f"e{number}", thread=ThreadId(f"thread-e{number}"), scope=scope)
    for claim in (await claim_some(store, limit=4 * MANY)).claims:
        await settled(store, claim)

    for scope in (SCOPE, OTHER_SCOPE):
        runs = await paged(partial(store.list_runs, scope), RunQuery(limit=3))
        expected = [f"run-{kind}{number}" for number in range(MANY) for kind in "de"]
        assert [run.run_id for run in runs] == expected
        of_thread = RunQuery(limit=3, thread_id=THREAD)
        mine = await paged(partial(store.list_runs, scope), of_thread)
        assert [run.run_id for run in mine] == [f"run-d{number}" for number in range(MANY)]
        threads = await paged(partial(store.list_threads, scope), ThreadQuery(limit=3))
        assert sorted(thread.thread_id for thread in threads) == sorted(
            [THREAD, *[f"thread-e{number}" for number in range(MANY)]]
        )
        dispatches = await paged(partial(store.list_dispatches, scope), DispatchQuery(thread_id=THREAD, limit=3))
        assert [each.dispatch_id for each in dispatches] == [f"d{number}" for number in range(MANY)]
        found = await store.list_messages(scope, THREAD, MessageQuery())
        assert [each.message.id for each in found] == ["msg-d0"], "the others wait behind it"
        assert sum([each.count for each in await store.count_open_runs(scope)]) == MANY - 1


@behaviour("SC-004")
async def test_no_id_can_be_written_so_that_it_names_something_of_another_scope(
    store: Store, clock: ManualClock
) -> None:
    for number, (scope, thread) in enumerate(LOOKALIKES):
        await submitted(store, f"d{number}", thread=ThreadId(thread), scope=Scope(scope))

    for number, (scope, thread) in enumerate(LOOKALIKES):
        found = await store.list_runs(Scope(scope), RunQuery(thread_id=ThreadId(thread)))
        assert [(run.thread_id, run.run_id) for run in found.items] == [(thread, f"run-d{number}")]
        for other in {other for other, _ in LOOKALIKES} - {scope}:
            assert await store.load_run(Scope(other), RunId(f"run-d{number}")) is None
    for scope in {scope for scope, _ in LOOKALIKES}:
        mine = {thread for owner, thread in LOOKALIKES if owner == scope}
        foreign = {thread for _, thread in LOOKALIKES} - mine
        listed = await store.list_threads(Scope(scope), ThreadQuery())
        assert {thread.thread_id for thread in listed.items} == mine
        for thread in foreign:
            assert await store.load_thread(Scope(scope), ThreadId(thread)) is None
            assert await store.event_bounds(Scope(scope), ThreadId(thread)) == (1, 0)
