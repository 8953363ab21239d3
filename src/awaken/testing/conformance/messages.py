"""Messages: what is appended is read back whole, in order, once."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from awaken.domain.ids import ClaimToken, ConsumerId, DispatchId, InstanceId, RunId, Scope, ThreadId
from awaken.domain.message import (
    Audio,
    Base64Source,
    Document,
    Image,
    Json,
    Message,
    MessageMetadata,
    MessageState,
    Native,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolStatus,
    UrlSource,
    Video,
    Visibility,
    assistant_message,
)
from awaken.store.contract import MessageQuery, Store
from awaken.store.transitions import Committed, Offer, Submitted
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_SCOPE,
    ROUTES,
    SCOPE,
    THREAD,
    answered,
    apply,
    asked,
    calling,
    claimed,
    committed,
    committing,
    delta,
    events_of,
    finished,
    log_of,
    message_id,
    message_ids,
    names,
    result_of,
    run_id,
    run_of,
    said,
    settled,
    submitted,
    thread_of,
    threads_in,
    together,
    want,
)


@behaviour("TR-040", "TR-042", "TR-058")
async def test_every_kind_of_message_is_read_back_as_it_was_written(store: Store, clock: ManualClock) -> None:
    written = [
        Message(
            id=message_id("media"),
            role=Role.USER,
            content=(
                Text("look:"),
                Image(Base64Source("image/png", "aGVsbG8="), title="a picture"),
                Audio(UrlSource("https://example.org/a.ogg")),
                Video(UrlSource("https://example.org/v", "video/mp4")),
                Document(Base64Source("application/pdf", "eA==")),
                Json({"deep": [{"er": [None, 1.5, "ü€😀"]}]}),
                Opaque("hologram", {"type": "hologram", "beams": [1, 2]}),
            ),
        ),
        Message(
            id=message_id("turn"),
            role=Role.ASSISTANT,
            content=(Thinking("hm", "signature", "provider"), Text("a moment")),
            tool_calls=(ToolCall("call-1", "look_up", {"q": "x"}), ToolCall("call-2", "count", None)),
            metadata=MessageMetadata(run_id=run_id("d1"), step_index=2, sender_agent_id="agent-1"),
            native=Native("framework", 3, "group", {"e": 1}, ({"p": 1}, None)),
        ),
        result_of("call-2"),
        Message(
            id=message_id("result-call-1"),
            role=Role.TOOL,
            content=(Text("x" * 300_000),),
            tool_call_id="call-1",
            tool_status=ToolStatus.ERROR,
            visibility=Visibility.INTERNAL,
        ),
        assistant_message(message_id("cut"), "I was ab", state=MessageState.INTERRUPTED),
        Message(id=message_id("rules"), role=Role.SYSTEM, visibility=Visibility.INTERNAL),
    ]
    owner = await claimed(store, "d1", messages=[said("hello")])
    clock.tick(1)
    await committed(store, owner, *written)

    stored = await log_of(store)
    assert [each.message for each in stored] == [said("hello"), *written]
    assert [each.created_at for each in stored] == [clock.now() - 1_000] + [clock.now()] * len(written)
    for each in stored:
        assert await store.load_message(SCOPE, THREAD, each.message.id) == each


async def test_the_event_that_says_a_message_holds_all_of_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    done = await committed(store, owner, calling("turn", "call-1"))

    [appended] = done.appended
    row = appended.row()
    payload = msgspec.json.decode(row.events[0].payload)
    assert (payload["message_id"], payload["message_seq"], payload["role"]) == ("turn", 2, "assistant")
    assert payload["tool_calls"] == [{"id": "call-1", "name": "look_up", "arguments": {"key": "call-1"}}]
    assert payload["content_blocks"] == [{"type": "text", "text": "a moment"}]


@behaviour("TR-045")
async def test_concurrent_writers_of_many_threads_each_get_contiguous_seqs(store: Store, clock: ManualClock) -> None:
    owners = [await claimed(store, f"d{n}", thread=ThreadId(f"thread-{n}")) for n in range(8)]
    writes = [committing(owner, answered(f"turn-{n}")) for n in range(8) for owner in owners]

    await together(store, writes)

    for owner in owners:
        log = await log_of(store, owner.dispatch.thread_id)
        assert [each.seq for each in log] == list(range(1, 10))
        assert sorted(each.message.id for each in log[1:]) == [f"turn-{n}" for n in range(8)]


@behaviour("TR-107", "EV-024")
async def test_concurrent_writers_of_one_thread_each_append_once(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    writes = [committing(owner, answered(f"turn-{n}"), delta("x")) for n in range(64)]
    outcomes = [want(Committed, outcome) for outcome in await together(store, writes)]

    assert sorted(outcome.last_message_seq for outcome in outcomes) == list(range(2, 66))
    assert [each.seq for each in await log_of(store)] == list(range(1, 66))
    rows = await events_of(store)
    assert [row.first_seq for row in rows] == [1, *range(5, 133, 2)]
    assert sorted(row.first_seq for outcome in outcomes for row in outcome.appended) == list(range(5, 133, 2))


@behaviour("TR-052")
async def test_valid_messages_are_appended_at_the_tail(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1")
    owner = await claimed(store, "d2")

    await settled(store, owner, DONE, answered("reply"))

    assert [(each.seq, each.message.id) for each in await log_of(store)] == [(1, "msg-d1"), (2, "msg-d2"), (3, "reply")]
    assert (await thread_of(store)).message_count == 3


@behaviour("TR-053")
async def test_a_window_of_the_log_holds_what_was_asked_for(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", messages=[said("m1")])
    owner = await claimed(store, "d2", messages=[said("m2")])
    hidden = Message(id=message_id("m3"), role=Role.SYSTEM, visibility=Visibility.INTERNAL)
    await settled(store, owner, DONE, hidden, answered("m4"), answered("m5"))

    async def window(**query: Any) -> list[str]:
        return await message_ids(store, **query)

    assert await window() == ["m1", "m2", "m3", "m4", "m5"]
    assert await window(after=1, descending=True, visibility=Visibility.ALL) == ["m5", "m4", "m2"]
    assert await window(visibility=Visibility.INTERNAL) == ["m3"]
    assert await window(run_id=run_id("d1")) == ["m1"]
    assert await window(run_id=run_id("d2"), limit=2) == ["m2", "m3"]
    assert await window(limit=2, descending=True) == ["m5", "m4"]
    assert await window(after=5) == []
    assert await window(after=99) == []


@behaviour("TR-056")
async def test_a_range_of_the_log_keeps_its_seqs(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, *[answered(f"turn-{n}") for n in range(4)])

    assert [each.seq for each in await log_of(store, after=1, before=4)] == [2, 3]
    assert [each.seq for each in await log_of(store, after=1, before=4, descending=True)] == [3, 2]
    assert await log_of(store, after=3, before=3) == []
    assert [each.seq for each in await log_of(store, before=99)] == [1, 2, 3, 4, 5]


@behaviour("TR-054")
async def test_a_page_of_no_messages_is_empty(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")

    assert await log_of(store, limit=0) == []


@behaviour("TR-055")
async def test_a_place_in_the_log_means_the_same_under_every_filter(store: Store, clock: ManualClock) -> None:
    """A page goes on after a seq, which belongs to the log and not to the filter it was found with."""
    owner = await claimed(store, "d1")
    hidden = Message(id=message_id("hidden"), role=Role.SYSTEM, visibility=Visibility.INTERNAL)
    await committed(store, owner, hidden, answered("seen"))

    [first] = await log_of(store, limit=1, visibility=Visibility.ALL)

    assert first.seq == 1
    assert await message_ids(store, after=1, visibility=Visibility.INTERNAL) == ["hidden"]
    assert await message_ids(store, after=1) == ["hidden", "seen"]


async def test_a_message_is_read_in_its_own_thread_and_scope(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")

    assert await store.load_message(OTHER_SCOPE, THREAD, message_id("msg-d1")) is None
    assert await store.load_message(SCOPE, ThreadId("thread-2"), message_id("msg-d1")) is None
    assert await log_of(store, scope=OTHER_SCOPE) == []


@behaviour("MB-172")
async def test_no_id_is_taken_for_another(store: Store, clock: ManualClock) -> None:
    odd = [
        "a",
        "A",
        "a:b",
        "a::b",
        "a/b",
        "a.b",
        "a..b",
        "a b",
        "a ",
        "a*",
        "a%",
        "a_",
        "a>",
        "a\\b",
        "a'b",
        'a"b',
        "ä",
        "0190b6c4-8a5e-7d11-9c3f-2f1a6b7c8d9e",
        "0190B6C4-8A5E-7D11-9C3F-2F1A6B7C8D9E",
        "0190b6c48a5e7d119c3f2f1a6b7c8d9e",
        "{0190b6c4-8a5e-7d11-9c3f-2f1a6b7c8d9e}",
        "0190b6c4-8a5e-7d11-9c3f-2f1a6b7c8d9g",
        "0190b6c4-8a5e-7d11-9c3f2-f1a6b7c8d9e",
        "0123456789abcdef",
    ]
    for n, thread in enumerate(odd):
        await submitted(store, thread, thread=ThreadId(thread), metadata={"n": n})
    await submitted(store, "b:c", thread=ThreadId("b:c"), scope=Scope("a"))
    await submitted(store, "c", thread=ThreadId("c"), scope=Scope("a:b"))

    for n, thread in enumerate(odd):
        assert (await run_of(store, thread)).metadata == {"n": n}
        assert await names(store, thread=ThreadId(thread)) == [thread]
        assert thread in [found.thread_id for found in await threads_in(store, id_prefix=thread)]
    assert len(await threads_in(store)) == len(odd)
    assert [thread.thread_id for thread in await threads_in(store, Scope("a"))] == ["b:c"]
    assert await store.load_thread(Scope("a:b"), ThreadId("b:c")) is None


@behaviour("ST-038")
async def test_ids_that_are_uuids_come_back_as_they_were(store: Store, clock: ManualClock) -> None:
    """However a store keeps them: of threads, runs, dispatches, messages, claims, executions and workers."""

    def uuid(n: int) -> str:
        return f"0190b6c4-8a5e-7d11-9c3f-{n:012x}"

    room = Offer(ConsumerId(uuid(1)), ClaimToken(uuid(2)), InstanceId(uuid(3)), ROUTES)
    thread = ThreadId(uuid(4))
    asking = asked("d1", thread=thread, dispatch=DispatchId(uuid(5)), messages=[said(uuid(6))], offered=room)
    asking = replace(asking, run_id=RunId(uuid(7)))

    outcome = want(Submitted, await apply(store, asking))

    assert outcome.claimed is not None
    assert outcome.claimed.token == uuid(2)
    stored = await store.load_dispatch(SCOPE, DispatchId(uuid(5)))
    assert stored is not None
    assert stored == outcome.dispatch
    assert (stored.claim_token, stored.instance_id, stored.claimed_by) == (uuid(2), uuid(3), uuid(1))
    assert (stored.thread_id, stored.run_id, stored.tried_by) == (thread, uuid(7), uuid(1))
    assert await store.load_run(SCOPE, RunId(uuid(7))) == outcome.run
    assert (await thread_of(store, thread)).latest_run_id == uuid(7)
    assert [(each.message.id, each.run_id) for each in await log_of(store, thread)] == [(uuid(6), uuid(7))]
    assert {(row.thread_id, row.run_id, row.dispatch_id) for row in await events_of(store, thread)} == {
        (thread, uuid(7), uuid(5))
    }
    assert [held.dispatch for held in await store.list_claims(ConsumerId(uuid(1)))] == [stored]
    assert await store.load_run(SCOPE, RunId(uuid(7).upper())) is None


async def test_pages_of_a_log_lead_through_all_of_it(store: Store, clock: ManualClock) -> None:
    """In both directions and with a filter, and the last one says that it is."""
    mine = await claimed(store, "d1")
    await committed(store, mine, answered("m2"), answered("m3"))
    for query in (
        MessageQuery(limit=2),
        MessageQuery(limit=2, descending=True),
        MessageQuery(limit=1, visibility=Visibility.ALL),
        MessageQuery(limit=1, run_id=mine.run.run_id, descending=True),
    ):
        seqs: list[int | None] = []
        place = query
        while True:
            page = await store.page_messages(SCOPE, THREAD, place)
            seqs += [stored.seq for stored in page.items]
            assert (len(page.items) <= query.limit, page.unreadable) == (True, ())
            if page.next is None:
                break
            place = replace(query, before=page.next) if query.descending else replace(query, after=page.next)
        assert seqs == ([3, 2, 1] if query.descending else [1, 2, 3])
    assert (await store.page_messages(OTHER_SCOPE, THREAD, MessageQuery())).items == ()
