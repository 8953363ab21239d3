"""Schedules: each instant is served once, what was missed is made up for as asked, and nothing runs while paused."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.ids import AgentId, MessageId, RunId, Scope, ThreadId
from awaken.domain.message import user_message
from awaken.domain.outbox import Begin, OutboxRow
from awaken.domain.run import Origin, RunStatus
from awaken.domain.schedule import MAX_CAUGHT_UP, Schedule, ScheduleSpec, instant_text
from awaken.store.contract import Store
from awaken.store.rules.schedule import MAX_SCHEDULES
from awaken.store.transitions import (
    ChangeSchedule,
    DeclareSchedules,
    Delivered,
    DeliveredSome,
    EditSchedules,
    Full,
    Handled,
    MakeSchedule,
    PauseSchedule,
    RemoveSchedule,
    Replayed,
    ResumeSchedule,
    ScheduleEdit,
    SchedulesEdited,
    Submit,
    Submitted,
    Tick,
    Ticked,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.outbox import delivering
from awaken.testing.conformance.steps import AGENT, OTHER_SCOPE, ROUTES, SCOPE, apply, claim_some, want

MINUTE = 60


def spec(name: str = "tidy", **details: Any) -> ScheduleSpec:
    """Every minute, unless it says otherwise."""
    if "cron" not in details:
        details.setdefault("every_s", MINUTE)
    return ScheduleSpec(name=name, agent_id=AGENT, messages=(user_message(MessageId(""), "tidy up"),), **details)


async def edit(store: Store, what: ScheduleEdit, scope: Scope = SCOPE) -> SchedulesEdited:
    return want(SchedulesEdited, await apply(store, EditSchedules(scope=scope, edit=what)))


async def made(store: Store, name: str = "tidy", **details: Any) -> Schedule:
    edited = await edit(store, MakeSchedule(spec(name, **details)))
    assert edited.schedule is not None and edited.refused is None
    return edited.schedule


async def schedule_of(store: Store, name: str = "tidy") -> Schedule:
    found = await store.load_schedule(SCOPE, name)
    assert found is not None, f"schedule {name} is not stored"
    return found


async def tick(store: Store, **details: Any) -> Ticked:
    return want(Ticked, await apply(store, Tick(max_attempts=5, **details)))


async def served(store: Store, **details: Any) -> list[str]:
    """The runs of the instants that a tick serves."""
    return [row.errand.run_id for row in (await tick(store, **details)).posted]


def run_at(at: Instant, name: str = "tidy") -> RunId:
    return RunId(f"schedule:{name}:{instant_text(at)}")


async def handled(store: Store, row: OutboxRow, **what: Any) -> None:
    want(DeliveredSome, await apply(store, Delivered(rows=(Handled(row.no, **what),))))


@behaviour("SH-002")
async def test_a_schedule_falls_due_an_interval_after_it_was_made(store: Store, clock: ManualClock) -> None:
    begun = clock.now()
    schedule = await made(store)

    assert schedule.next_at == begun + 60_000
    assert await store.next_due_in_ms(ROUTES) == 60_000
    assert (await claim_some(store)).next_due_in_ms == 60_000
    assert await served(store) == []
    clock.tick(MINUTE)
    assert await store.next_due_in_ms(ROUTES) == 0
    assert await served(store) == [run_at(begun + 60_000)]
    assert (await schedule_of(store)).next_at == begun + 120_000
    assert await store.next_due_in_ms(ROUTES) == 60_000


@behaviour("SH-001")
async def test_an_instant_is_served_by_one_errand(store: Store, clock: ManualClock) -> None:
    schedule = await made(store, thread_id=ThreadId("desk"), metadata={"team": "night"})
    clock.tick(MINUTE + 5)

    ticked = await tick(store)
    assert (await tick(store)).posted == ()

    [row] = ticked.posted
    assert [row] == await store.list_outbox()
    assert (row.sender, row.run_id, row.thread_id) == ("schedule:tidy", None, "desk")
    begin = row.errand
    assert isinstance(begin, Begin) and schedule.next_at is not None
    assert begin.request.trace.origin is Origin.SCHEDULE
    assert begin.request.intent.agent_id == AGENT
    assert [message.text for message in begin.messages] == ["tidy up"]
    assert begin.metadata == {"team": "night", "schedule": "tidy", "scheduled_at": instant_text(schedule.next_at)}
    assert ticked.next_due_in_ms == 55_000, "it does not drift"


async def test_a_schedule_has_a_thread_of_its_own_unless_it_names_one(store: Store, clock: ManualClock) -> None:
    await made(store)
    clock.tick(MINUTE)
    [row] = (await tick(store)).posted

    accepted = want(Submitted, await apply(store, delivering(row)))
    assert accepted.run.thread_id == "schedule:tidy"


@behaviour("SH-003")
async def test_with_skip_an_instant_passes_while_an_earlier_run_is_not_done(store: Store, clock: ManualClock) -> None:
    await made(store, overlap="skip")
    clock.tick(MINUTE)
    [first] = (await tick(store)).posted
    begun = want(Submitted, await apply(store, delivering(first)))
    await handled(store, first)
    clock.tick(MINUTE)
    [second] = (await tick(store)).posted

    answer = want(Replayed, await apply(store, delivering(second)))
    assert (answer.run.run_id, answer.run.status) == (begun.run.run_id, RunStatus.CREATED)
    await handled(store, second, skipped=True)

    noted = await schedule_of(store)
    assert (noted.last_run_id, noted.skipped, noted.last_error) == (begun.run.run_id, 1, None)


@behaviour("SH-003")
async def test_with_queue_every_instant_gets_its_run(store: Store, clock: ManualClock) -> None:
    await made(store, overlap="queue")
    for _ in range(2):
        clock.tick(MINUTE)
        [row] = (await tick(store)).posted
        want(Submitted, await apply(store, delivering(row)))
    clock.tick(MINUTE)
    [row] = (await tick(store)).posted
    full = want(Full, await apply(store, replace(want(Submit, delivering(row)), max_queued=2)))
    await handled(store, row, refused=f"{full.limit} wait")

    assert (await schedule_of(store)).last_error == "2 wait"


@behaviour("SH-004")
async def test_of_what_was_missed_the_last_one_is_made_up_for(store: Store, clock: ManualClock) -> None:
    begun = clock.now()
    await made(store, missed="one")
    clock.tick(10 * MINUTE + 30)

    assert await served(store) == [run_at(begun + 600_000)]
    assert (await schedule_of(store)).next_at == begun + 660_000


@behaviour("SH-004")
async def test_all_of_what_was_missed_is_made_up_for_where_that_is_asked(store: Store, clock: ManualClock) -> None:
    begun = clock.now()
    await made(store, missed="all")
    clock.tick(3 * MINUTE)

    assert await served(store) == [run_at(begun + minutes * 60_000) for minutes in (1, 2, 3)]
    clock.tick(1_000 * MINUTE)
    late = await served(store)
    assert (len(late), late[-1]) == (MAX_CAUGHT_UP, run_at(begun + 1_003 * 60_000))


@behaviour("SH-004")
async def test_nothing_of_what_was_missed_is_made_up_for_where_that_is_asked(store: Store, clock: ManualClock) -> None:
    begun = clock.now()
    await made(store, missed="none", every_s=3600)
    clock.tick(3 * 3600 + 61)
    assert await served(store) == []

    clock.tick(3600 - 31)
    assert await served(store) == [run_at(begun + 4 * 3_600_000)], "half a minute late is not missed"


@behaviour("SH-002")
async def test_a_cron_schedule_follows_the_clocks_of_its_zone(store: Store, clock: ManualClock) -> None:
    """Half past two does not exist in Paris on 28 March 2027: it is served when the clocks have moved on, once."""
    clock.set(1_805_995_800_000)  # 2027-03-25T20:30Z
    await made(store, cron="30 2 * * *", zone="Europe/Paris")
    found: list[str] = []
    for _ in range(5):
        clock.set((await schedule_of(store)).next_at or 0)
        found += await served(store)

    assert [run.removeprefix("schedule:tidy:") for run in found] == [
        "2027-03-26T01:30:00Z",
        "2027-03-27T01:30:00Z",
        "2027-03-28T01:00:00Z",
        "2027-03-29T00:30:00Z",
        "2027-03-30T00:30:00Z",
    ]


@behaviour("SH-005")
async def test_a_paused_schedule_begins_nothing_and_makes_up_for_nothing(store: Store, clock: ManualClock) -> None:
    begun = clock.now()
    await made(store, missed="all")
    paused = await edit(store, PauseSchedule("tidy"))
    assert paused.schedule is not None and paused.schedule.paused_by == "caller"
    assert (await edit(store, PauseSchedule("tidy"))).schedule == paused.schedule
    assert await store.next_due_in_ms(ROUTES) is None
    clock.tick(5 * MINUTE)
    assert await served(store) == []

    resumed = await edit(store, ResumeSchedule("tidy"))
    assert resumed.schedule is not None and resumed.schedule.next_at == begun + 6 * 60_000
    assert resumed.next_due_in_ms == 60_000
    clock.tick(MINUTE)
    assert await served(store) == [run_at(begun + 6 * 60_000)]


async def test_a_schedule_that_is_made_again_is_the_same_one_or_refused(store: Store, clock: ManualClock) -> None:
    first = await made(store)
    clock.tick(1)
    assert await made(store) == first

    other = await edit(store, MakeSchedule(spec(every_s=61)))
    assert (other.schedule, other.refused) == (first, "exists")
    assert (await edit(store, MakeSchedule(spec()), OTHER_SCOPE)).refused is None, "another scope has its own"


@behaviour("SH-007")
async def test_a_change_holds_only_for_what_was_looked_at(store: Store, clock: ManualClock) -> None:
    begun = clock.now()
    await made(store)
    clock.tick(30)

    quiet = await edit(store, ChangeSchedule(spec(overlap="queue"), spec()))
    assert quiet.schedule is not None and quiet.schedule.next_at == begun + 60_000, "its timing is the same"
    assert (await edit(store, ChangeSchedule(spec(every_s=90), spec()))).refused == "changed"
    again = await edit(store, ChangeSchedule(spec(overlap="queue"), spec()))
    assert (again.schedule, again.refused) == (quiet.schedule, None), "asked again, it is done already"

    slower = await edit(store, ChangeSchedule(spec(every_s=90), spec(overlap="queue")))
    assert slower.schedule is not None and slower.schedule.next_at == begun + 120_000, "it begins anew"
    assert (await edit(store, ChangeSchedule(spec("none"), spec("none")))).refused == "missing"


@behaviour("SH-005")
async def test_a_paused_schedule_stays_paused_when_it_is_changed(store: Store, clock: ManualClock) -> None:
    await made(store)
    await edit(store, PauseSchedule("tidy"))

    changed = await edit(store, ChangeSchedule(spec(every_s=90), spec()))
    assert changed.schedule is not None and changed.schedule.next_at is None


async def test_a_removed_schedule_is_gone_and_what_it_began_goes_on(store: Store, clock: ManualClock) -> None:
    await made(store)
    clock.tick(MINUTE)
    [row] = (await tick(store)).posted

    gone = await edit(store, RemoveSchedule("tidy"))
    assert gone.schedule is not None and gone.schedule.spec == spec()
    assert await store.load_schedule(SCOPE, "tidy") is None
    assert await store.list_outbox() == [row]
    await handled(store, row)
    for missing in (RemoveSchedule("tidy"), PauseSchedule("tidy"), ResumeSchedule("tidy")):
        assert (await edit(store, missing)).refused == "missing"


@behaviour("SH-006")
async def test_what_a_program_declares_is_made_changed_paused_and_resumed(store: Store, clock: ManualClock) -> None:
    begun = clock.now()
    await edit(store, DeclareSchedules((spec("one"), spec("two"))))
    clock.tick(10)
    await edit(store, DeclareSchedules((spec("two", every_s=90), spec("three"))))

    one, two, three = (await store.list_schedules(SCOPE)).items
    assert (one.paused_by, one.next_at, one.declared) == ("undeclared", None, True)
    assert (two.next_at, three.next_at) == (begun + 100_000, begun + 70_000)

    await edit(store, DeclareSchedules((spec("one"), spec("two", every_s=90), spec("three"))))
    assert (await schedule_of(store, "one")).next_at == begun + 60_000, "it goes on as before"
    assert await schedule_of(store, "two") == two, "and nothing else is touched"


@behaviour("SH-006")
async def test_what_a_program_declares_only_the_program_changes(store: Store, clock: ManualClock) -> None:
    await edit(store, DeclareSchedules((spec(),)))

    assert (await edit(store, ChangeSchedule(spec(every_s=90), spec()))).refused == "declared"
    assert (await edit(store, RemoveSchedule("tidy"))).refused == "declared"
    assert (await edit(store, MakeSchedule(spec()))).refused == "exists"
    await edit(store, PauseSchedule("tidy"))
    await edit(store, DeclareSchedules((spec(),)))
    assert (await schedule_of(store)).paused_by == "caller", "a start does not undo what a person has paused"

    await edit(store, ResumeSchedule("tidy"))
    await edit(store, DeclareSchedules(()))
    assert (await edit(store, RemoveSchedule("tidy"))).refused is None, "one that it declares no more may go"


async def test_a_program_takes_over_a_schedule_that_was_made_before(store: Store, clock: ManualClock) -> None:
    before = await made(store)
    await edit(store, DeclareSchedules((spec(overlap="queue"),)))

    after = await schedule_of(store)
    assert (after.declared, after.spec.overlap, after.next_at) == (True, "queue", before.next_at)


@behaviour("SH-008")
async def test_a_scope_has_so_many_schedules(store: Store, clock: ManualClock) -> None:
    await edit(store, DeclareSchedules(tuple([spec(f"s{no}") for no in range(MAX_SCHEDULES)])))

    assert (await edit(store, MakeSchedule(spec()))).refused == "too_many"
    clock.tick(MINUTE)
    ticked = await tick(store)
    assert (len(ticked.posted), ticked.more) == (200, True)
    count = len(ticked.posted)
    while ticked.more:
        ticked = await tick(store)
        count += len(ticked.posted)
    assert count == MAX_SCHEDULES


@behaviour("SH-008")
async def test_schedules_are_listed_as_they_were_made_in_pages(store: Store, clock: ManualClock) -> None:
    for name in ("c", "a", "b"):
        await made(store, name)
    await edit(store, MakeSchedule(spec("z")), OTHER_SCOPE)

    page = await store.list_schedules(SCOPE, limit=2)
    assert [each.spec.name for each in page.items] == ["c", "a"]
    rest = await store.list_schedules(SCOPE, after=page.next, limit=2)
    assert ([each.spec.name for each in rest.items], rest.next) == (["b"], None)


async def test_the_agent_of_a_schedule_is_that_of_its_runs(store: Store, clock: ManualClock) -> None:
    edited = await edit(store, MakeSchedule(replace(spec(), agent_id=AgentId("agent-2"))))
    assert edited.refused is None
    clock.tick(MINUTE)
    [row] = (await tick(store)).posted
    assert want(Submitted, await apply(store, delivering(row))).run.agent_id == "agent-2"
