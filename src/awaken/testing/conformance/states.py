"""The state of a thread: what changes it, in which order, and what does not."""

from __future__ import annotations

from typing import Any

from awaken.domain.event import opened
from awaken.domain.ids import ThreadId
from awaken.domain.run import CANCELLED, RunOptions
from awaken.domain.state import MAX_STATE_BYTES, NO_STATE, ThreadState
from awaken.domain.ticket import TicketRequest
from awaken.store.contract import Store
from awaken.store.transitions import (
    Ack,
    Committed,
    Conflict,
    DeadLetter,
    LeaseLost,
    Missing,
    Outcome,
    Oversize,
    PatchState,
    Release,
    Retry,
    Stale,
    StatePatched,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    apply,
    cancelled,
    claim,
    claimed,
    committing,
    events_of,
    finished,
    interrupt,
    kinds,
    offer,
    run_id,
    said,
    settled,
    settling,
    snapshot,
    submitted,
    suspended,
    want,
)

_LARGE = "x" * (MAX_STATE_BYTES // 2)


async def _patch(
    store: Store, patch: dict[str, Any], *, if_version: int | None = None, thread: ThreadId = THREAD
) -> Outcome:
    return await apply(store, PatchState(scope=SCOPE, thread_id=thread, patch=patch, if_version=if_version))


async def _patched(store: Store, patch: dict[str, Any], *, if_version: int | None = None) -> ThreadState:
    return want(StatePatched, await _patch(store, patch, if_version=if_version)).state


async def _state(store: Store, thread: ThreadId = THREAD) -> ThreadState:
    return await store.load_state(SCOPE, thread)


async def _changes(store: Store) -> list[tuple[int, list[dict[str, Any]]]]:
    """The changes of the state that the log reports."""
    found: list[tuple[int, list[dict[str, Any]]]] = []
    for row in await events_of(store):
        for event in row.events:
            if event.kind == "StateDeltaObserved":
                payload = opened(event)
                found.append((payload.version, list(payload.patch)))
    return found


@behaviour("TR-027", "TS-001")
async def test_a_patch_makes_a_version_and_reports_what_changed(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    assert await _state(store) == NO_STATE

    first = await _patched(store, {"a": {"b": 1}, "gone": None})
    second = await _patched(store, {"a": {"c": [2]}, "d": "x"})

    assert (first, second) == (
        ThreadState({"a": {"b": 1}}, 1),
        ThreadState({"a": {"b": 1, "c": [2]}, "d": "x"}, 2),
    )
    assert await _state(store) == second
    assert await _changes(store) == [
        (1, [{"op": "add", "path": "/a", "value": {"b": 1}}]),
        (2, [{"op": "add", "path": "/a/c", "value": [2]}, {"op": "add", "path": "/d", "value": "x"}]),
    ]


@behaviour("TR-027", "TS-001")
async def test_a_patch_that_changes_nothing_makes_no_version(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await _patched(store, {"a": 1})
    before = await snapshot(store)

    assert (await _patched(store, {"a": 1, "b": None})).version == 1

    assert await snapshot(store) == before


@behaviour("TS-002")
async def test_a_patch_of_another_version_is_refused(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await _patched(store, {"a": 1}, if_version=0)
    before = await snapshot(store)

    assert await _patch(store, {"a": 2}, if_version=0) == Stale(1)
    assert await _patch(store, {"a": 2}, if_version=2) == Stale(1)

    assert await snapshot(store) == before


@behaviour("TS-002")
async def test_a_patch_that_is_asked_again_answers_as_before(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await _patched(store, {"a": 1})
    first = await _patched(store, {"a": 2}, if_version=1)
    before = await snapshot(store)

    assert await _patched(store, {"a": 2}, if_version=1) == first

    assert await snapshot(store) == before


@behaviour("TS-007")
async def test_a_state_has_a_bound(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await _patched(store, {"a": _LARGE})
    before = await snapshot(store)

    refused = want(Oversize, await _patch(store, {"b": _LARGE}))

    assert refused.size > MAX_STATE_BYTES
    assert await snapshot(store) == before
    assert (await _patched(store, {"a": None, "b": _LARGE})).values == {"b": _LARGE}


async def test_a_state_belongs_to_a_thread_of_its_scope(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await _patched(store, {"a": 1})

    assert await _patch(store, {"a": 2}, thread=ThreadId("nowhere")) == Missing("thread", "nowhere")
    elsewhere = PatchState(scope=OTHER_SCOPE, thread_id=THREAD, patch={"a": 2})
    assert await apply(store, elsewhere) == Missing("thread", THREAD)
    assert await store.load_state(OTHER_SCOPE, THREAD) == NO_STATE
    assert await _state(store, ThreadId("nowhere")) == NO_STATE


@behaviour("TR-027", "TS-003")
async def test_what_a_submit_brings_is_there_when_its_messages_are_taken(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", options=RunOptions(state={"n": 1, "first": True}))
    assert await _state(store) == ThreadState({"n": 1, "first": True}, 1)
    await submitted(store, "d2", options=RunOptions(state={"n": 2}))
    await submitted(store, "d3", options=RunOptions(state={"n": 3}))
    assert (await _state(store)).version == 1

    done = await settled(store, owner, offered=offer())

    assert done.claimed is not None
    assert await _state(store) == ThreadState({"n": 2, "first": True}, 2)
    await settled(store, done.claimed, Retry("once more"))
    clock.tick(60)
    again = await claim(store)
    assert again is not None and again.resumed
    assert (await _state(store)).version == 2
    await settled(store, again)
    assert await claim(store) is not None
    assert await _state(store) == ThreadState({"n": 3, "first": True}, 3)
    order = [kind for kind in await kinds(store) if kind in ("StateDeltaObserved", "RunStarted", "MessageCommitted")]
    assert order == ["MessageCommitted", "StateDeltaObserved", "RunStarted"] * 3


@behaviour("TR-027", "TS-004")
async def test_a_commit_changes_the_state_once(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    asking = committing(owner, state=[{"a": 1}, {"a": {"b": 2}}, {"a": {"c": 3}}])
    want(Committed, await apply(store, asking))
    before = await snapshot(store)

    assert want(Committed, await apply(store, asking)).repeated

    assert await snapshot(store) == before
    assert await _state(store) == ThreadState({"a": {"b": 2, "c": 3}}, 3)


@behaviour("TR-027", "TS-004")
async def test_the_settlement_that_ends_a_run_changes_the_state(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    asking = settling(owner, DONE, state=[{"a": 1}])
    await apply(store, asking)
    before = await snapshot(store)

    await apply(store, asking)

    assert await snapshot(store) == before
    assert await _state(store) == ThreadState({"a": 1}, 1)
    assert (await kinds(store))[-2:] == ["StateDeltaObserved", "RunFinished"]


@behaviour("TR-027", "TS-005")
async def test_a_settlement_that_does_not_end_its_run_by_itself_changes_no_state(
    store: Store, clock: ManualClock
) -> None:
    for name, ending in (("d1", suspended()), ("d2", Retry("x")), ("d3", DeadLetter("x")), ("d4", Release("x"))):
        owner = await claimed(store, name, thread=ThreadId(name))
        await settled(store, owner, ending, state=[{"a": 1}])
        assert await _state(store, ThreadId(name)) == NO_STATE
    owner = await claimed(store, "d5")
    await interrupt(store)
    await settled(store, owner, Ack(CANCELLED), state=[{"a": 1}])
    assert await _state(store) == NO_STATE


@behaviour("TS-006")
async def test_rolling_a_run_back_leaves_the_state(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", options=RunOptions(state={"a": 1}))
    await cancelled(store, "d1", hide=True)

    await settled(store, owner, Ack(CANCELLED))

    assert await _state(store) == ThreadState({"a": 1}, 1)


@behaviour("TS-007")
async def test_a_change_that_comes_with_something_else_and_is_too_large_is_recorded(
    store: Store, clock: ManualClock
) -> None:
    await finished(store, "d1", options=RunOptions(state={"a": _LARGE}))
    owner = await claimed(store, "d2", options=RunOptions(state={"b": _LARGE}))

    await settled(store, owner, state=[{"b": _LARGE}, {"c": 1}])

    assert await _state(store) == ThreadState({"a": _LARGE, "c": 1}, 2)
    assert (await kinds(store)).count("ErrorRecorded") == 2


@behaviour("TS-008")
async def test_a_snapshot_shows_a_thread_at_one_moment(store: Store, clock: ManualClock) -> None:
    assert await store.load_snapshot(SCOPE, THREAD) is None
    await settled(
        store,
        await claimed(store, "d1"),
        suspended(TicketRequest(key="name#1", kind="input", allowed_actions=("answer",))),
    )
    await submitted(store, "d2", metadata={"own": True})
    await _patched(store, {"a": 1})

    found = await store.load_snapshot(SCOPE, THREAD)

    assert found is not None
    assert found.thread == await store.load_thread(SCOPE, THREAD)
    assert (found.state, found.queue) == (ThreadState({"a": 1}, 1), (run_id("d2"),))
    assert [ticket.run_id for ticket in found.tickets] == [run_id("d1")]
    assert found.pending == ()


@behaviour("CC-014")
async def test_a_commit_that_is_refused_leaves_the_state_alone(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    before = await snapshot(store)

    taken = await apply(store, committing(owner, said("msg-d1"), state=[{"a": 1}]))
    foreign = await apply(store, committing(owner, state=[{"a": 1}], token="another"))

    assert (type(taken), type(foreign)) == (Conflict, LeaseLost)
    assert await snapshot(store) == before
