"""Runs that were given up: what lists them, and how they leave the list."""

from __future__ import annotations

from typing import Any

from awaken.domain.dead_letter import PROCESS_DIED, DeadLetterQuery
from awaken.domain.ids import AgentId, ThreadId
from awaken.domain.retry import RetryPolicy
from awaken.store.contract import Store
from awaken.store.transitions import (
    DeadLetter,
    DeleteThread,
    Discard,
    Discarded,
    Gone,
    Missing,
    NotDead,
    Outcome,
    Release,
    Replayed,
    Retry,
    Submitted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.again import refers
from awaken.testing.conformance.steps import (
    LEASE_MS,
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    apply,
    claim,
    claim_some,
    claimed,
    finished,
    purge,
    reclaim,
    run_id,
    run_of,
    settled,
    snapshot,
    want,
)


async def letters(store: Store, **filters: Any) -> list[str]:
    """The runs in the list, page by page."""
    found: list[str] = []
    after: int | None = None
    while True:
        page = await store.list_dead_letters(SCOPE, DeadLetterQuery(limit=2, after=after, **filters))
        found += [letter.run.run_id for letter in page.items]
        if page.next is None:
            return found
        after = page.next


async def given_up(store: Store, name: str, error_class: str = "ValueError", **where: Any) -> None:
    await settled(store, await claimed(store, name, **where), DeadLetter("no", error_class))


async def discarded(store: Store, name: str, reason: str = "old", by: str | None = None) -> Outcome:
    return await apply(store, Discard(scope=SCOPE, thread_id=THREAD, run_id=run_id(name), reason=reason, by=by))


def ids(*names: str) -> list[str]:
    return [run_id(name) for name in names]


@behaviour("DL-001")
async def test_what_was_given_up_is_listed_by_what_it_is_about(store: Store, clock: ManualClock) -> None:
    other = ThreadId("thread-2")
    await given_up(store, "d1")
    clock.tick(1)
    since = clock.now()
    await given_up(store, "d2", PROCESS_DIED)
    await given_up(store, "d3", "TimeoutError", thread=other)
    await finished(store, "well")
    await claimed(store, "busy")

    assert await letters(store) == ids("d3", "d2", "d1"), "newest run first"
    assert await letters(store, since=since) == ids("d3", "d2")
    assert await letters(store, since=since + 1) == []
    assert await letters(store, thread_id=THREAD) == ids("d2", "d1")
    assert await letters(store, thread_id=ThreadId("unknown")) == []
    assert await letters(store, error_class="ValueError") == ids("d1")
    assert await letters(store, error_class="ProcessDied") == ids("d2")
    assert await letters(store, agent_id=AgentId("agent-1")) == ids("d3", "d2", "d1")
    assert await letters(store, agent_id=AgentId("unknown")) == []
    assert (await store.list_dead_letters(OTHER_SCOPE, DeadLetterQuery())).items == ()
    [letter] = (await store.list_dead_letters(SCOPE, DeadLetterQuery(error_class="TimeoutError"))).items
    assert (letter.state, letter.dispatch.last_error, letter.dispatch.run_id) == ("open", "no", run_id("d3"))


@behaviour("DL-001")
async def test_a_dead_letter_says_when_its_run_failed_first(store: Store, clock: ManualClock) -> None:
    first = clock.now()
    owner = await claimed(store, "d1", max_attempts=2)
    await settled(store, owner, Retry("no", RetryPolicy(1_000, 1_000), error_class="KeyError"))
    assert (await run_of(store, "d1")).error_class == "KeyError"
    clock.tick(5)
    again = await claim(store)
    assert again is not None
    await settled(store, again, Retry("no", RetryPolicy(1_000, 1_000), error_class="TimeoutError"))

    [letter] = (await store.list_dead_letters(SCOPE, DeadLetterQuery())).items
    assert (letter.run.failed_at, letter.run.finished_at) == (first, clock.now())
    assert letter.error_class == "TimeoutError", "what it failed with last"


async def test_a_run_that_was_handed_back_has_not_failed(store: Store, clock: ManualClock) -> None:
    await settled(store, await claimed(store, "d1"), Release("the server stops"))
    run = await run_of(store, "d1")
    assert (run.failed_at, run.error_class) == (None, None)


async def test_a_run_whose_process_died_is_of_the_class_of_that(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", max_attempts=2)
    await settled(store, owner, Retry("no", RetryPolicy(0, 0), error_class="KeyError"))
    for _ in range(4):
        await claim_some(store)
        clock.tick(LEASE_MS / 1000 + 1)
        await reclaim(store)
    [letter] = (await store.list_dead_letters(SCOPE, DeadLetterQuery())).items
    assert letter.error_class == PROCESS_DIED


@behaviour("DL-002")
async def test_a_letter_is_discarded_once_with_its_reason(store: Store, clock: ManualClock) -> None:
    await given_up(store, "d1")
    at = clock.now()

    done = want(Discarded, await discarded(store, "d1", "known bug", "ann"))

    assert (done.repeated, done.run.dead_lettered) == (False, False)
    seen = (await run_of(store, "d1")).seen_to
    assert seen is not None
    assert (seen.at, seen.reason, seen.by, seen.retried_as) == (at, "known bug", "ann", None)
    assert await letters(store) == []
    before = await snapshot(store)
    clock.tick(1)
    again = want(Discarded, await discarded(store, "d1", "another reason"))
    assert (again.repeated, again.run.seen_to) == (True, seen)
    assert await snapshot(store) == before


@behaviour("DL-002")
async def test_only_what_was_given_up_is_discarded(store: Store, clock: ManualClock) -> None:
    await finished(store, "well")
    await given_up(store, "elsewhere", thread=ThreadId("thread-2"))
    await claimed(store, "busy")
    before = await snapshot(store)
    assert isinstance(await discarded(store, "well"), NotDead)
    assert isinstance(await discarded(store, "busy"), NotDead)
    assert await discarded(store, "unknown") == Missing("run", run_id("unknown"))
    assert await discarded(store, "elsewhere") == Missing("run", run_id("elsewhere"))
    assert await snapshot(store) == before


@behaviour("DL-003")
async def test_a_retry_that_is_accepted_takes_the_letter_out_of_the_list(store: Store, clock: ManualClock) -> None:
    await given_up(store, "d1")
    retry = refers("d2", "msg-d1", of="d1")

    want(Submitted, await apply(store, retry))

    assert await letters(store) == []
    seen = (await run_of(store, "d1")).seen_to
    assert seen is not None
    assert (seen.retried_as, seen.at) == (run_id("d2"), clock.now())
    assert isinstance(await discarded(store, "d1"), NotDead), "it was seen to otherwise"
    before = await snapshot(store)
    assert isinstance(await apply(store, retry), Replayed)
    assert await snapshot(store) == before


@behaviour("DL-003")
async def test_a_retry_that_is_refused_leaves_the_letter_where_it_is(store: Store, clock: ManualClock) -> None:
    await given_up(store, "d1")
    await finished(store, "taken")
    assert isinstance(await apply(store, refers("d2", "nothing", of="d1")), Missing)
    assert isinstance(await apply(store, refers("taken", "msg-d1", of="d1")), Replayed), "of another run"
    assert await letters(store) == ids("d1")


@behaviour("DL-004")
async def test_what_was_seen_to_goes_with_the_retention_of_runs(store: Store, clock: ManualClock) -> None:
    for name in ("open", "discarded", "retried"):
        await given_up(store, name)
    await discarded(store, "discarded")
    want(Submitted, await apply(store, refers("again", "msg-retried", of="retried")))
    clock.tick(2)

    assert (await purge(store, runs_ms=1_000)).runs == 2

    assert await store.load_run(SCOPE, run_id("open")) is not None
    assert await store.load_run(SCOPE, run_id("discarded")) is None
    assert await store.load_run(SCOPE, run_id("retried")) is None


@behaviour("DL-005")
async def test_a_deleted_thread_has_no_dead_letters(store: Store, clock: ManualClock) -> None:
    await given_up(store, "d1")
    await apply(store, DeleteThread(scope=SCOPE, thread_id=THREAD))

    assert await letters(store) == await letters(store, thread_id=THREAD) == []
    assert await discarded(store, "d1") == Gone(THREAD)
    assert await apply(store, refers("d2", "msg-d1", of="d1")) == Gone(THREAD)
