"""Asked again, because the answer was lost: a commit or a settlement is known by its number and its token."""

from __future__ import annotations

from msgspec import Raw

from awaken.domain.ids import ThreadId
from awaken.store.contract import Store
from awaken.store.transitions import Committed, Conflict, JournalEntry, LeaseLost, Release, Settled, StepClosed
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    OTHER_WORKER,
    answered,
    apply,
    cancelled,
    claim,
    claimed,
    commit,
    committed,
    committing,
    delta,
    every_ending,
    interrupt,
    message_ids,
    offer,
    reclaim,
    said,
    settling,
    snapshot,
    submitted,
    want,
)


@behaviour("NC-001")
async def test_a_commit_that_is_asked_again_writes_nothing_and_answers_as_before(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    asking = committing(
        owner, delta("x"), answered("turn"), journal=[JournalEntry("a#1", Raw(b"1"))], closes=StepClosed(1)
    )
    first = want(Committed, await apply(store, asking))
    clock.tick(1)
    before = await snapshot(store)

    again = want(Committed, await apply(store, asking))

    assert (first.repeated, again.repeated, again.appended) == (False, True, ())
    assert (again.cancel_requested, again.last_message_seq) == (first.cancel_requested, first.last_message_seq)
    assert await snapshot(store) == before
    await committed(store, owner, answered("next"))
    assert await message_ids(store) == ["msg-d1", "turn", "next"]


@behaviour("NC-001")
async def test_a_repeated_commit_still_hears_that_its_run_is_to_stop(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    asking = committing(owner, delta("x"))
    await apply(store, asking)
    await cancelled(store, "d1")

    again = want(Committed, await apply(store, asking))

    assert (again.cancel_requested, again.repeated) == (True, True)


@behaviour("NC-001", "NC-005")
async def test_a_settlement_that_is_asked_again_answers_as_before_whatever_its_ending(
    store: Store, clock: ManualClock
) -> None:
    for number, ending in enumerate((*every_ending(), Release("draining"))):
        owner = await claimed(store, f"d{number}", thread=ThreadId(f"thread-{number}"))
        asking = settling(owner, ending, answered("reply"))
        first = want(Settled, await apply(store, asking))
        before = await snapshot(store)

        again = want(Settled, await apply(store, asking))

        assert (again.run, again.dispatch, again.ready_in_ms) == (first.run, first.dispatch, first.ready_in_ms)
        assert (first.repeated, again.repeated, again.appended) == (False, True, ())
        assert await snapshot(store) == before


@behaviour("NC-003")
async def test_a_repeated_settlement_answers_with_the_claim_that_its_offer_won(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2", messages=[said("one"), said("two")])
    asking = settling(owner, offered=offer(OTHER_WORKER))
    first = want(Settled, await apply(store, asking))
    assert first.claimed is not None
    before = await snapshot(store)

    again = want(Settled, await apply(store, asking))

    assert (again.claimed, again.ready_in_ms, again.repeated) == (first.claimed, None, True)
    assert await snapshot(store) == before
    await committed(store, first.claimed, answered("turn"))
    assert await apply(store, asking) == LeaseLost("not_claimed"), "its thread has moved on"


@behaviour("NC-003")
async def test_a_claim_that_was_lost_again_is_not_answered_with(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")
    asking = settling(owner, offered=offer(lease_ms=1_000))
    assert want(Settled, await apply(store, asking)).claimed is not None
    clock.tick(2)
    await reclaim(store)
    await claim(store, consumer=OTHER_WORKER)

    again = want(Settled, await apply(store, asking))

    assert (again.claimed, again.repeated) == (None, True)


@behaviour("NC-002")
async def test_a_repetition_is_known_by_its_number_and_its_token(store: Store, clock: ManualClock) -> None:
    """Everything else goes on to the claim, which somebody else may have by now."""
    owner = await claimed(store, "d1", lease_ms=1_000)
    await committed(store, owner, answered("one"), number=1)
    last = committing(owner, answered("two"), number=2)
    await apply(store, last)
    clock.tick(2)
    await reclaim(store)
    successor = await claim(store, consumer=OTHER_WORKER)
    assert successor is not None
    assert successor.commit_no == 2

    assert want(Committed, await apply(store, last)).repeated is True
    assert await commit(store, owner, answered("two"), number=1) == LeaseLost("other_owner")
    assert await commit(store, owner, answered("two"), number=3) == LeaseLost("other_owner")
    assert want(Conflict, await commit(store, successor, answered("two"), number=2)).id == "two"
    await committed(store, successor, answered("three"), number=3)
    assert await apply(store, last) == LeaseLost("other_owner")
    assert await message_ids(store) == ["msg-d1", "one", "two", "three"]


@behaviour("ST-027")
async def test_a_repetition_is_known_before_the_claim_is_looked_at(store: Store, clock: ManualClock) -> None:
    """Also when the thread was interrupted meanwhile: what was committed before that is committed."""
    owner = await claimed(store, "d1")
    asking = committing(owner, delta("x"))
    first = want(Committed, await apply(store, asking))
    await interrupt(store)

    again = want(Committed, await apply(store, asking))

    assert (again.repeated, again.cancel_requested, first.cancel_requested) == (True, True, False)
    assert await commit(store, owner, delta("y")) == LeaseLost("interrupted")


@behaviour("EV-013", "EV-014")
async def test_a_repetition_with_other_content_writes_nothing_of_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    first = await committed(store, owner, answered("turn"), number=1)
    before = await snapshot(store)

    again = await committed(store, owner, delta("x"), answered("another"), number=1)

    assert (again.repeated, again.last_message_seq) == (True, first.last_message_seq)
    assert await snapshot(store) == before


@behaviour("ST-028")
async def test_a_refused_commit_is_no_commit(store: Store, clock: ManualClock) -> None:
    """The number that it would have had is still free."""
    owner = await claimed(store, "d1")
    refused = committing(owner, answered("msg-d1"), number=1)
    assert await apply(store, refused) == Conflict("message", "msg-d1")
    assert await apply(store, refused) == Conflict("message", "msg-d1")

    done = await committed(store, owner, answered("turn"), number=1)

    assert (done.repeated, done.last_message_seq) == (False, 2)
