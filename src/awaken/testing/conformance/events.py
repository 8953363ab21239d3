"""The event log of a thread: gap-free, the same for every reader, and resumed exactly."""

from __future__ import annotations

from msgspec import Raw, json
from msgspec.structs import replace

from awaken.domain.ids import RunId
from awaken.domain.log import Appended, EventRow, LoggedEvent
from awaken.domain.message import Message, Role, Text, Visibility
from awaken.store.contract import MAX_TAIL, Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_SCOPE,
    SCOPE,
    THREAD,
    answered,
    claimed,
    committed,
    delta,
    events_of,
    interrupt,
    message_id,
    offer,
    reclaim,
    run_id,
    settled,
    submitted,
    thread_of,
)


async def page(store: Store, after: int, limit: int, run: RunId | None = None) -> list[tuple[int, str]]:
    """A page as pairs of seq and kind."""
    rows = await store.list_events(SCOPE, THREAD, after=after, limit=limit, run_id=run)
    return [(row.first_seq + n, event.kind) for row in rows for n, event in enumerate(row.events)]


@behaviour("EV-007")
async def test_outcomes_and_reads_hold_the_same_rows(store: Store, clock: ManualClock) -> None:
    """A live reader is fed from outcomes, a paging one from the store; both must get the same bytes."""
    appended: list[Appended] = []
    outcome = await submitted(store, "d1", offered=offer())
    assert outcome.claimed is not None
    appended += outcome.appended
    appended += (await committed(store, outcome.claimed, delta("ü"), answered("turn", "Grüße"))).appended
    appended += (await submitted(store, "d2")).appended
    clock.tick(1)
    appended += (await settled(store, outcome.claimed, DONE, offered=offer())).appended
    appended += (await interrupt(store)).appended
    clock.tick(60)
    appended += (await reclaim(store)).appended

    read = await events_of(store)

    live = [each.row() for each in appended]
    assert [_bytes(row) for row in read] == [_bytes(row) for row in live]
    assert read == live
    assert [(row.first_seq, row.last_seq) for row in read] == [(each.first_seq, each.last_seq) for each in appended]


@behaviour("EV-025", "EV-024")
async def test_seqs_count_every_event_without_a_gap(store: Store, clock: ManualClock) -> None:
    for n in range(5):
        owner = await claimed(store, f"d{n}")
        await committed(store, owner, *[delta("x")] * n)
        await settled(store, owner)

    every = await page(store, 0, 1_000)

    assert [seq for seq, _ in every] == list(range(1, len(every) + 1))
    assert (await thread_of(store)).event_count == len(every) == 35
    assert await store.event_bounds(SCOPE, THREAD) == (1, 35)


@behaviour("EV-010")
async def test_a_page_starts_strictly_after_its_seq(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, *[delta(str(n)) for n in range(10)])
    every = await page(store, 0, 1_000)

    for after in range(16):
        assert await page(store, after, 1_000) == every[after:]


async def test_pages_joined_are_the_log(store: Store, clock: ManualClock) -> None:
    for n in range(4):
        owner = await claimed(store, f"d{n}")
        await committed(store, owner, *[delta("x")] * 7)
        await settled(store, owner)
    every = await page(store, 0, 1_000)

    for limit in (1, 3, 5, 100):
        joined: list[tuple[int, str]] = []
        while found := await page(store, joined[-1][0] if joined else 0, limit):
            assert len(found) >= min(limit, len(every) - len(joined))
            joined += found
        assert joined == every


async def test_a_row_is_never_cut_at_its_end(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, *[delta(str(n)) for n in range(10)])

    rows = await store.list_events(SCOPE, THREAD, after=6, limit=1)

    assert [(row.first_seq, row.last_seq) for row in rows] == [(7, 14)]


@behaviour("EV-011")
async def test_after_the_end_there_is_nothing(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")

    assert await page(store, 1, 10) == []
    assert await page(store, 99, 10) == []


@behaviour("EV-008")
async def test_a_runs_events_are_those_of_its_thread_that_name_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")
    await committed(store, owner, delta("x"))
    await settled(store, owner, offered=offer())

    every = await events_of(store)
    for name in ("d1", "d2"):
        own = await events_of(store, run=run_id(name))
        assert own == [row for row in every if row.run_id == run_id(name)]
    assert [row.first_seq for row in await events_of(store, run=run_id("d1"), after=4)] == [6, 7]


async def test_an_event_carries_the_instant_and_run_of_its_step(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(1)

    [row] = (await committed(store, owner, delta("x"))).appended

    assert (row.scope, row.thread_id, row.run_id, row.created_at) == (SCOPE, THREAD, run_id("d1"), clock.now())


async def test_an_event_of_a_kind_nobody_knows_is_kept_as_it_is(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    strange = LoggedEvent("FutureKind", Raw(b'{"event_type": "future",  "n": 1e3, "keep": "\\u00fc"}'))

    await committed(store, owner, strange)

    [row] = await store.list_events(SCOPE, THREAD, after=4, limit=10)
    assert row.events[0].kind == "FutureKind"
    assert bytes(row.events[0].payload) == bytes(strange.payload)


@behaviour("EV-022")
async def test_logs_of_equal_names_in_two_scopes_are_two_logs(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d1", scope=OTHER_SCOPE)
    await submitted(store, "d2")

    assert [seq for seq, _ in await page(store, 0, 10)] == [1, 2]
    assert len(await events_of(store, scope=OTHER_SCOPE)) == 1


@behaviour("ST-036")
async def test_the_event_of_a_message_is_completed_for_whoever_reads_it(store: Store, clock: ManualClock) -> None:
    """With the message as it stands in the conversation, and with who may see it."""
    owner = await claimed(store, "d1")
    hidden = Message(id=message_id("m"), role=Role.SYSTEM, content=(Text("quiet"),), visibility=Visibility.INTERNAL)

    [appended] = (await committed(store, owner, delta("x"), hidden, answered("turn"))).appended

    [row] = await store.list_events(SCOPE, THREAD, after=4, limit=10)
    assert appended.row() == row
    assert [event.visibility for event in row.events] == [Visibility.ALL, Visibility.INTERNAL, Visibility.ALL]
    payloads = [json.decode(event.payload) for event in row.events[1:]]
    assert [(each["message_id"], each["message_seq"], each["role"]) for each in payloads] == [
        ("m", 2, "system"),
        ("turn", 3, "assistant"),
    ]
    assert payloads[0]["content_blocks"] == [{"type": "text", "text": "quiet"}]
    assert b"quiet" not in appended.body, "its body stands once, with the message"


def _bytes(row: EventRow) -> list[tuple[str, bytes]]:
    return [(event.kind, bytes(event.payload)) for event in row.events]


async def test_pages_of_events_lead_through_all_of_them(store: Store, clock: ManualClock) -> None:
    """Of a thread, and of one run of it; the last one says that it is."""
    for dispatch in ("d1", "d2"):
        mine = await claimed(store, dispatch)
        await committed(store, mine, delta("a"), answered(f"turn-{dispatch}"))
        await settled(store, mine, DONE)
    for run in (None, run_id("d1"), run_id("d2")):
        whole = await store.list_events(SCOPE, THREAD, after=0, limit=1_000, run_id=run)
        found: list[EventRow] = []
        after: int | None = 0
        while after is not None:
            page = await store.page_events(SCOPE, THREAD, after=after, limit=2, run_id=run)
            found += page.items
            assert page.unreadable == ()
            assert page.next in (None, found[-1].last_seq)
            after = page.next
        assert found == whole


async def test_the_newest_event_of_each_run_is_read_in_one_go(store: Store, clock: ManualClock) -> None:
    """Whatever others have added to the log behind it; of a run that is not there, nothing."""
    first = await claimed(store, "d1")
    await settled(store, first)
    second = await claimed(store, "d2")
    waits = (await submitted(store, "d3")).run
    clock.tick(1)
    await committed(store, second, delta("x"), answered("turn", "Grüße"))
    for number in range(5):
        await submitted(store, f"later-{number}")
    done, executing = [await store.load_run(SCOPE, run_id(name)) for name in ("d1", "d2")]
    assert done is not None and executing is not None
    gone = replace(waits, run_id=RunId("gone"))

    found = await store.last_events(SCOPE, [done, executing, waits, gone])

    assert {name: [event.kind for event in row.events] for name, row in found.items()} == {
        run_id("d1"): ["RunFinished"],
        run_id("d2"): ["MessageCommitted"],
        run_id("d3"): ["RunQueued"],
    }
    whole = {row.last_seq: row for row in await events_of(store)}
    for row in found.values():
        assert row == whole[row.last_seq].starting_after(row.last_seq - 1)
    assert json.decode(found[run_id("d2")].events[0].payload)["content_blocks"][0]["text"] == "Grüße"
    assert await store.last_events(OTHER_SCOPE, [done]) == {}
    assert await store.last_events(SCOPE, []) == {}


async def test_a_run_behind_which_much_has_happened_has_its_newest_event(store: Store, clock: ManualClock) -> None:
    """One that is under way, and whose thread has gone on for longer than is looked through."""
    owner = await claimed(store, "d1")
    await committed(store, owner, delta("x"), answered("turn"))
    for start in range(0, MAX_TAIL + 1, 100):
        for number in range(start, start + 100):
            await submitted(store, f"later-{number}", max_queued=5_000)
    run = await store.load_run(SCOPE, run_id("d1"))
    assert run is not None

    found = await store.last_events(SCOPE, [run])

    assert found[run.run_id].last_seq == run.updated_seq
