"""Runs that bring messages of the conversation by reference: to do again what failed, or to answer anew."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.run import Reference, SeqRange
from awaken.store.contract import MessageQuery, Store
from awaken.store.transitions import (
    Claimed,
    DeadLetter,
    Missing,
    Release,
    Replayed,
    Submit,
    Submitted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    SCOPE,
    THREAD,
    answered,
    apply,
    asked,
    calling,
    claim,
    claimed,
    committed,
    finished,
    kinds,
    message_ids,
    offer,
    run_id,
    run_of,
    settled,
    snapshot,
    submitted,
    suspended,
    want,
)


def refers(name: str, *messages: str, hides: bool = False, of: str | None = None, **details: Any) -> Submit:
    """A submit that brings messages of the conversation."""
    ids = tuple([MessageId(each) for each in messages])
    reference = Reference(message_ids=ids, hides=hides, retry_of_run_id=None if of is None else run_id(of))
    plain = asked(name, messages=(), **details)
    mode = "interrupt" if hides else "queue"
    request = replace(plain.request, input_message_ids=ids, reference=reference)
    return replace(plain, request=request, delivery=replace(plain.delivery, mode=mode))


async def started(store: Store, submit: Submit) -> Claimed:
    outcome = want(Submitted, await apply(store, replace(submit, offer=offer())))
    assert outcome.claimed is not None
    return outcome.claimed


async def read(store: Store) -> list[str]:
    query = MessageQuery(limit=200, view="effective")
    return [stored.message.id for stored in await store.list_messages(SCOPE, THREAD, query)]


async def ranges(store: Store) -> list[tuple[int, int, str]]:
    return [(span.first_seq, span.last_seq, span.why) for span in await store.list_spans(SCOPE, THREAD)]


@behaviour("MBX-228", "VA-001")
async def test_a_retry_brings_what_is_there_and_appends_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, DeadLetter("no"), answered("half"))
    await finished(store, "d2")

    again = await started(store, refers("d3", "msg-d1", of="d1"))

    assert [message.id for message in again.messages] == ["msg-d1"]
    assert await message_ids(store) == await read(store) == ["msg-d1", "half", "msg-d2"], "it hides nothing"
    run = await run_of(store, "d3")
    assert run.request.reference is not None and run.request.reference.retry_of_run_id == run_id("d1")
    assert run.input == SeqRange(1, 3), "from what it was given to the end of the log as it began"
    assert [each for each in await kinds(store, run=run_id("d3")) if each == "MessageCommitted"] == []


@behaviour("VA-001")
async def test_calls_that_a_run_left_open_are_answered_before_it_is_done_again(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, DeadLetter("no"), calling("turn", "c1"))
    queued = want(Submitted, await apply(store, refers("d2", "msg-d1")))
    assert queued.claimed is None

    taken = await claim(store)

    assert taken is not None and taken.run.run_id == run_id("d2")
    assert (await message_ids(store))[:2] == ["msg-d1", "turn"] and len(await message_ids(store)) == 3
    assert taken.run.input == SeqRange(1, 3)


@behaviour("MBX-228", "VA-002")
async def test_a_reference_names_messages_of_the_conversation(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2")
    await finished(store, "elsewhere", thread=ThreadId("elsewhere"))
    before = await snapshot(store)
    for unknown in ("msg-d2", "msg-elsewhere", "nothing"):
        missing = want(Missing, await apply(store, refers("d3", "msg-d1", unknown)))
        assert (missing.what, missing.id) == ("message", unknown)
    assert await snapshot(store) == before


@behaviour("VA-003")
async def test_what_brings_by_reference_is_recognised_by_its_run_and_not_by_messages(
    store: Store, clock: ManualClock
) -> None:
    await finished(store, "d1")
    first = want(Submitted, await apply(store, refers("d2", "msg-d1")))
    before = await snapshot(store)

    again = want(Replayed, await apply(store, refers("d2", "msg-d1")))

    assert again.run.run_id == first.run.run_id and await snapshot(store) == before
    other = want(Submitted, await apply(store, refers("d3", "msg-d1")))
    assert other.run.run_id == run_id("d3"), "the same messages are no repetition"


@behaviour("VA-003")
async def test_a_run_that_waits_does_not_go_on_with_what_is_brought_by_reference(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, suspended())
    assert want(Submitted, await apply(store, refers("d2", "msg-d1"))).run.run_id == run_id("d2")


@behaviour("VA-004")
async def test_a_run_that_answers_anew_hides_what_was_answered_when_it_starts(store: Store, clock: ManualClock) -> None:
    await finished(store, "d0")
    owner = await claimed(store, "d1")
    await settled(store, owner, suspended(), calling("turn", "c1"))
    assert await read(store) == ["msg-d0", "msg-d1", "turn"]

    anew = want(Submitted, await apply(store, replace(refers("d2", "msg-d1", hides=True), offer=offer())))

    assert anew.interrupted is not None and [run.run_id for run in anew.interrupted.ended] == [run_id("d1")]
    taken = anew.claimed or await claim(store)
    assert taken is not None and taken.run.run_id == run_id("d2")
    assert await read(store) == ["msg-d0", "msg-d1"]
    assert await ranges(store) == [(3, 4, "regenerated")], "with the answer that closed the open call"
    assert taken.run.input == SeqRange(2, 4) and taken.spans == 1
    assert "MessagesHidden" in await kinds(store, run=run_id("d2"))
    await settled(store, taken, Release("handed over"), answered("new"))
    later = await claim(store)
    assert later is not None and await ranges(store) == [(3, 4, "regenerated")], "only when it starts"
    assert await read(store) == ["msg-d0", "msg-d1", "new"]


@behaviour("VA-004")
async def test_what_a_stopped_run_still_says_is_hidden_too(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, answered("first"))
    anew = want(Submitted, await apply(store, refers("d2", "msg-d1", hides=True)))
    assert anew.claimed is None and await ranges(store) == [], "its owner has not let go"

    done = await settled(store, owner, DeadLetter("stopped"), answered("last words"), offered=offer())

    assert done.claimed is not None and done.claimed.run.run_id == run_id("d2")
    assert await ranges(store) == [(2, 3, "regenerated")]
    assert await read(store) == ["msg-d1"]


@behaviour("VA-004")
async def test_nothing_is_hidden_where_nothing_was_answered(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, DeadLetter("no"))
    await started(store, refers("d2", "msg-d1", hides=True))
    assert (await ranges(store), await read(store)) == ([], ["msg-d1"])
