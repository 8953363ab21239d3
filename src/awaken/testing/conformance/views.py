"""What is hidden of a log: a run that is rolled back, a message that somebody hides; and the pages of what is left."""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.message import Native, Visibility
from awaken.domain.run import CANCELLED, NATURAL_END, RunStatus
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import MessageQuery, Store
from awaken.store.transitions import (
    Ack,
    Busy,
    Hidden,
    Hide,
    Missing,
    Outcome,
    Release,
    Retry,
    SaveThread,
    StepClosed,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steering import staged
from awaken.testing.conformance.steps import (
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    answered,
    apply,
    calling,
    cancelled,
    claim,
    claimed,
    committed,
    finished,
    interrupt,
    kinds,
    message_ids,
    offer,
    purge,
    reclaim,
    result_of,
    run_id,
    run_of,
    said,
    settled,
    snapshot,
    submitted,
    suspended,
    want,
)

EFFECTIVE = MessageQuery(limit=200, view="effective")


async def _read(store: Store) -> list[str]:
    return [stored.message.id for stored in await store.list_messages(SCOPE, THREAD, EFFECTIVE)]


async def _hide(store: Store, name: str, thread: ThreadId = THREAD) -> Outcome:
    return await apply(store, Hide(scope=SCOPE, thread_id=thread, message_id=MessageId(name)))


async def _hidden(store: Store, name: str) -> list[tuple[int, int]]:
    return [(span.first_seq, span.last_seq) for span in want(Hidden, await _hide(store, name)).spans]


async def _ranges(store: Store) -> list[tuple[int, int, str]]:
    return [(span.first_seq, span.last_seq, span.why) for span in await store.list_spans(SCOPE, THREAD)]


# --- rolling back -----------------------------------------------------------------------------------------------------


@behaviour("VW-001")
async def test_a_run_that_is_rolled_back_takes_all_that_is_its_own_out_of_the_view(
    store: Store, clock: ManualClock
) -> None:
    await finished(store, "d1")
    owner = await claimed(store, "d2")
    await committed(store, owner, calling("turn", "c1", "c2"), result_of("c1"))

    asked = await cancelled(store, "d2", hide=True)
    assert (asked.state, asked.run.hide_requested_at) == ("requested", clock.now())
    assert await _read(store) == ["msg-d1", "msg-d2", "turn", "result-c1"]
    done = await settled(store, owner, Ack(CANCELLED), answered("partial"))

    assert done.run.open_turn is None
    assert await _read(store) == ["msg-d1"]
    assert await message_ids(store) == ["msg-d1", "msg-d2", "turn", "result-c1", "partial"]
    assert await _ranges(store) == [(2, 5, "rolled_back")]
    assert (await kinds(store))[-2:] == ["MessagesHidden", "RunCancelled"]
    assert (await kinds(store, run=run_id("d2")))[-2:] == ["MessagesHidden", "RunCancelled"]
    await claimed(store, "d3")
    assert await _read(store) == ["msg-d1", "msg-d3"]


@behaviour("VW-002")
async def test_what_is_hidden_of_a_run_that_waited_are_its_stretches(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, suspended(), answered("so far"))
    await submitted(store, "d2", metadata={"own": True})
    other = await claim(store)
    assert other is not None
    await settled(store, other, Ack(NATURAL_END), answered("in between"))
    more = await submitted(store, "d3", offered=offer())
    assert more.claimed is not None and more.claimed.run.run_id == run_id("d1")
    await committed(store, more.claimed, answered("and on"))

    await cancelled(store, "d1", hide=True)
    await settled(store, more.claimed, Ack(CANCELLED))

    assert await message_ids(store) == ["msg-d1", "so far", "msg-d2", "in between", "msg-d3", "and on"]
    assert await _ranges(store) == [(1, 2, "rolled_back"), (5, 6, "rolled_back")]
    assert await _read(store) == ["msg-d2", "in between"]


async def test_the_next_run_of_the_thread_starts_behind_the_rollback(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")
    await cancelled(store, "d1", hide=True)

    done = await settled(store, owner, Ack(CANCELLED), offered=offer())

    assert done.claimed is not None and done.claimed.spans == 1
    order = [kind for kind in await kinds(store) if kind in ("MessagesHidden", "RunCancelled", "RunStarted")]
    assert order == ["RunStarted", "MessagesHidden", "RunCancelled", "RunStarted"]


@behaviour("VW-001")
async def test_a_rollback_holds_however_the_run_ends(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await cancelled(store, "d1")
    assert (await cancelled(store, "d1", hide=True)).run.hide_requested_at is not None
    await settled(store, owner, Ack(NATURAL_END), answered("done anyway"))
    assert await _read(store) == []

    await claimed(store, "d2", lease_ms=1_000)
    await cancelled(store, "d2", hide=True)
    clock.tick(2)
    await reclaim(store)
    assert await _read(store) == []

    owner = await claimed(store, "d3")
    await cancelled(store, "d3", hide=True)
    await interrupt(store)
    await settled(store, owner, Ack(CANCELLED))
    assert await _read(store) == []

    owner = await claimed(store, "d4")
    await cancelled(store, "d4", hide=True)
    await settled(store, owner, Release("draining"))
    assert (await run_of(store, "d4")).termination == CANCELLED
    assert await _read(store) == []


async def test_a_waiting_run_and_one_in_back_off_are_rolled_back_at_once(store: Store, clock: ManualClock) -> None:
    await settled(store, await claimed(store, "d1"), suspended(), calling("turn", "c1"))

    answer = await cancelled(store, "d1", hide=True)

    assert (answer.state, answer.run.status, answer.run.open_turn) == ("stopped", RunStatus.DONE, None)
    assert await _read(store) == []

    await settled(store, await claimed(store, "d2"), Retry("later"))
    assert (await cancelled(store, "d2", hide=True)).state == "stopped"
    assert await _read(store) == []
    await claimed(store, "d3")
    assert await _read(store) == ["msg-d3"]
    assert await message_ids(store) == ["msg-d1", "turn", "msg-d2", "msg-d3"]


async def test_a_queued_run_leaves_nothing_to_hide(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")

    assert (await cancelled(store, "d1", hide=True)).state == "stopped"

    assert await _ranges(store) == []


@behaviour("VW-002")
async def test_a_run_that_is_done_is_not_rolled_back(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    before = await snapshot(store)

    answer = await cancelled(store, "d1", hide=True)

    assert (answer.state, answer.run.hide_requested_at) == ("stopped", None)
    assert await snapshot(store) == before


@behaviour("VW-002")
async def test_a_rollback_that_is_asked_again_adds_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    first = await cancelled(store, "d1", hide=True)
    clock.tick(1)
    before = await snapshot(store)

    assert await cancelled(store, "d1", hide=True) == replace(first, appended=())

    assert await snapshot(store) == before
    await settled(store, owner, Ack(CANCELLED))
    before = await snapshot(store)
    assert (await cancelled(store, "d1", hide=True)).run.hide_requested_at is not None
    assert await snapshot(store) == before


# --- hiding a message -------------------------------------------------------------------------------------------------


@behaviour("VW-003")
async def test_a_message_is_hidden_and_the_log_keeps_it(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await finished(store, "d2")

    assert await _hidden(store, "msg-d1") == [(1, 1)]

    assert await _read(store) == ["msg-d2"]
    assert await message_ids(store) == ["msg-d1", "msg-d2"]
    assert (await kinds(store))[-1] == "MessagesHidden"


async def test_hiding_what_is_not_read_changes_nothing(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    await _hidden(store, "msg-d1")
    before = await snapshot(store)

    assert await _hidden(store, "msg-d1") == []

    assert await snapshot(store) == before


@behaviour("TR-066")
async def test_no_message_is_taken_for_what_stands_for_others(store: Store, clock: ManualClock) -> None:
    """Whatever it carries; only a span says so."""
    marks = {"compaction": {"first_seq": 1, "last_seq": 2}, "summary": True, "replaces": ["m1", "m2"]}
    summary = replace(answered("summary"), visibility=Visibility.INTERNAL, native=Native("other", 1, envelope=marks))
    messages = (said("m1"), said("m2"), summary, said("m3"))

    await apply(store, SaveThread(scope=SCOPE, thread_id=THREAD, info=ThreadInfo(), messages=messages))

    assert await _read(store) == ["m1", "m2", "summary", "m3"]
    assert await store.list_spans(SCOPE, THREAD) == []


@behaviour("PM-039")
async def test_hiding_does_not_touch_what_waits_for_a_run(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    owner = await claimed(store, "d2")
    await staged(store, "d3")
    await staged(store, "d4", "follow_up")
    waiting = await store.list_pending(SCOPE, THREAD)

    assert await _hidden(store, "msg-d1") == [(1, 1)]
    assert await store.list_pending(SCOPE, THREAD) == waiting
    await cancelled(store, "d2", hide=True)
    assert await store.list_pending(SCOPE, THREAD) == waiting
    await settled(store, owner, Ack(CANCELLED))

    assert await _read(store) == []
    next_run = await claim(store)
    assert next_run is not None
    assert [message.id for message in next_run.messages] == ["msg-d3", "msg-d4"], "what waited is said all the same"
    assert await _read(store) == ["msg-d3", "msg-d4"]


async def test_only_a_message_of_the_log_is_hidden(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2")

    assert await _hide(store, "msg-d2") == Missing("message", "msg-d2")
    assert await _hide(store, "unknown") == Missing("message", "unknown")
    assert await _hide(store, "msg-d1", ThreadId("nowhere")) == Missing("thread", "nowhere")
    elsewhere = Hide(scope=OTHER_SCOPE, thread_id=THREAD, message_id=MessageId("msg-d1"))
    assert await apply(store, elsewhere) == Missing("thread", THREAD)


@behaviour("VW-003")
async def test_a_call_and_its_answers_are_hidden_together(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, calling("t1", "c1", "c2"), result_of("c1"), result_of("c2"))
    await committed(store, owner, calling("t2", "c3"), result_of("c3"), closes=StepClosed(1, turn=MessageId("t2")))
    await settled(store, owner, Ack(NATURAL_END), answered("end"))

    assert await _hidden(store, "result-c2") == [(2, 4)]
    assert await _hidden(store, "t2") == [(5, 6)]

    assert await _read(store) == ["msg-d1", "end"]


@behaviour("VW-004")
async def test_the_open_turn_of_a_run_that_fails_is_hidden_as_a_whole(store: Store, clock: ManualClock) -> None:
    """The model would be asked to go on from what it cannot read, again and again."""
    owner = await claimed(store, "d1")
    await committed(store, owner, calling("turn", "c1", "c2"), result_of("c1"))
    assert await _hide(store, "result-c1") == Busy(run_id("d1"))
    await settled(store, owner, Retry("too large"))

    assert await _hidden(store, "result-c1") == [(2, 3)]

    assert (await run_of(store, "d1")).open_turn is None
    assert await _read(store) == ["msg-d1"]
    clock.tick(60)
    again = await claim(store)
    assert again is not None
    await settled(store, again)
    await finished(store, "d2")
    assert await _read(store) == ["msg-d1", "msg-d2"]


async def test_a_turn_that_was_left_open_is_hidden_and_needs_no_answers_any_more(
    store: Store, clock: ManualClock
) -> None:
    await settled(store, await claimed(store, "d1"), Ack(NATURAL_END), calling("turn", "c1"))

    assert await _hidden(store, "turn") == [(2, 2)]

    await finished(store, "d2")
    assert await message_ids(store) == ["msg-d1", "turn", "msg-d2"]
    assert (await purge(store, runs_ms=0)).runs == 0
    clock.tick(1)
    assert (await purge(store, runs_ms=0)).runs == 2


@behaviour("VW-004")
async def test_the_open_turn_of_a_waiting_run_stays(store: Store, clock: ManualClock) -> None:
    await settled(store, await claimed(store, "d1"), suspended(), calling("turn", "c1"))
    before = await snapshot(store)

    assert await _hide(store, "turn") == Busy(run_id("d1"))

    assert await snapshot(store) == before


# --- pages ------------------------------------------------------------------------------------------------------------


@behaviour("VW-005")
async def test_pages_of_the_view_neither_overlap_nor_leave_out(store: Store, clock: ManualClock) -> None:
    messages = tuple([said(f"m{number}") for number in range(1, 13)])
    await apply(store, SaveThread(scope=SCOPE, thread_id=THREAD, info=ThreadInfo(), messages=messages))
    for name in ("m1", "m2", "m5", "m7", "m8", "m12"):
        await _hidden(store, name)
    wanted = ["m3", "m4", "m6", "m9", "m10", "m11"]

    for limit in range(1, 8):
        for descending in (False, True):
            query = MessageQuery(limit=limit, descending=descending, view="effective")
            read: list[str] = []
            while True:
                page = await store.page_messages(SCOPE, THREAD, query)
                assert len(page.items) <= limit
                read += [stored.message.id for stored in page.items]
                if page.next is None:
                    break
                query = replace(query, **({"before": page.next} if descending else {"after": page.next}))
            assert read == (wanted[::-1] if descending else wanted)


@behaviour("VW-005")
async def test_a_page_of_the_view_may_be_filtered_and_bounded(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    owner = await claimed(store, "d2")
    secret = replace(answered("secret"), visibility=Visibility.INTERNAL)
    await settled(store, owner, Ack(NATURAL_END), answered("a1"), secret, answered("a2"))
    await _hidden(store, "a1")

    async def ids(**query: object) -> list[str]:
        found = await store.list_messages(SCOPE, THREAD, replace(EFFECTIVE, **query))
        return [stored.message.id for stored in found]

    assert await ids() == ["msg-d1", "msg-d2", "secret", "a2"]
    assert await ids(visibility=Visibility.ALL) == ["msg-d1", "msg-d2", "a2"]
    assert await ids(run_id=run_id("d2")) == ["msg-d2", "secret", "a2"]
    assert await ids(after=1, before=5) == ["msg-d2", "secret"]
    assert await ids(limit=0) == []
