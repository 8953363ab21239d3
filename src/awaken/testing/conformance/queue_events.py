"""What the queue writes into the log of a thread: each event whole, and in its place.

A case reads the log as a client does, so a payload here is what goes over the wire. What an execution itself writes
is not the queue's, and left out.

Source: docs/reference/events.md.
"""

from __future__ import annotations

from typing import Any

from msgspec import json

from awaken.domain.log import EventRow
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import NATURAL_END
from awaken.store.contract import Store
from awaken.store.transitions import Ack, Cancel, DeadLetter, Retry, StepClosed
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    OTHER_WORKER,
    SCOPE,
    THREAD,
    WORKER,
    answered,
    apply,
    cancelled,
    claim,
    claimed,
    dispatch_of,
    events_of,
    interrupt,
    message_id,
    reclaim,
    run_id,
    settled,
    submitted,
)

Told = tuple[str, str, dict[str, Any]]
"""An event: its run by name, its kind, its payload."""


def told_in(row: EventRow) -> list[Told]:
    """The events of a row, after making sure that the row names the dispatch of its run."""
    assert row.run_id is not None
    name = row.run_id.removeprefix("run-")
    assert row.dispatch_id == name
    return [(name, event.kind, json.decode(event.payload)) for event in row.events]


async def told(store: Store, *, after: int = 0) -> list[Told]:
    return [each for row in await events_of(store, after=after) for each in told_in(row)]


def queued(name: str, at: int) -> Told:
    """What is told about a run that was asked for at that instant."""
    return (
        name,
        "RunQueued",
        {
            "dispatch_id": name,
            "agent_id": "agent-1",
            "route": "agent-1",
            "why": "start",
            "message_ids": [f"msg-{name}"],
            "origin": "user",
            "adapter": "internal",
            "available_at": at,
        },
    )


def taken(name: str, seq: int) -> list[Told]:
    """What is told about a run that is claimed for the first time, whose message becomes that of the log's seq."""
    brought = {
        "message_id": f"msg-{name}",
        "message_seq": seq,
        "role": "user",
        "message_kind": "user_input",
        "content_blocks": [{"type": "text", "text": f"the text of msg-{name}"}],
    }
    begun = {"dispatch_id": name, "agent_id": "agent-1", "attempt": 1, "why": "start", "worker": WORKER}
    return [
        (name, "MessageCommitted", brought),
        (name, "RunSubmitted", {"dispatch_id": name, "attempt": 1}),
        (name, "RunStarted", begun),
    ]


@behaviour("MBX-166")
async def test_a_run_is_told_from_its_queueing_to_its_end(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    asked_at = clock.now()
    clock.tick(1)
    turn = message_id("turn")
    done = Ack(NATURAL_END, "hello", output_message_ids=(turn,))
    await settled(store, owner, done, answered("turn", "hello"), closes=StepClosed(1, turn=turn))

    queue, *start, answer, end = await told(store)

    assert [queue, *start] == [queued("d1", asked_at), *taken("d1", 1)]
    assert (answer[1], answer[2]["message_seq"], answer[2]["message_kind"]) == (
        "MessageCommitted", 2, "assistant_output",
    )  # fmt: skip
    assert end == (
        "d1",
        "RunFinished",
        {"termination": {"type": "natural_end"}, "output_message_ids": ["turn"], "steps": 1},
    )


@behaviour("MBX-170")
async def test_a_failure_is_told_with_when_the_run_is_due_again(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(1)
    await settled(store, owner, Retry("no answer", RetryPolicy(base_delay_ms=3_000)))

    [back] = await told(store, after=4)

    stored = await dispatch_of(store, "d1")
    assert stored.available_at == clock.now() + 3_000
    assert back == (
        "d1",
        "RunRescheduled",
        {
            "dispatch_id": "d1",
            "attempt_count": 1,
            "available_at": stored.available_at,
            "reason": "retry_backoff",
            "error": "no answer",
        },
    )


@behaviour("MBX-171")
async def test_a_takeover_is_told_with_whom_the_run_was_taken_from(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000)
    clock.tick(2)
    await reclaim(store)
    [back] = await told(store, after=4)
    assert back == (
        "d1",
        "RunRescheduled",
        {
            "dispatch_id": "d1",
            "attempt_count": 0,
            "crash_count": 1,
            "available_at": clock.now(),
            "reason": "expired_lease_reclaimed",
        },
    )

    assert await claim(store, consumer=OTHER_WORKER) is not None

    again, resumed = await told(store, after=5)
    assert again == ("d1", "RunSubmitted", {"dispatch_id": "d1", "attempt": 1})
    assert resumed == (
        "d1",
        "RunResumed",
        {
            "dispatch_id": "d1",
            "agent_id": "agent-1",
            "attempt": 1,
            "why": "takeover",
            "worker": OTHER_WORKER,
            "previous_worker": WORKER,
        },
    )


@behaviour("MBX-169")
async def test_an_interrupt_is_told_of_what_runs_and_of_what_is_cleared(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2")

    await interrupt(store)

    cancelled = {"termination": {"type": "cancelled"}, "cause": "interrupted"}
    about = {"dispatch_id": "d1", "attempt_count": 0}
    assert await told(store, after=5) == [
        ("d2", "RunSuperseded", cancelled),
        ("d1", "RunInterrupted", about),
        ("d1", "CancelRequested", about),
    ]


@behaviour("MBX-165")
async def test_a_failure_for_good_is_told_to_the_end(store: Store, clock: ManualClock) -> None:
    """A reader needs no other source to know that nothing follows, and why."""
    asked_at = clock.now()
    await settled(store, await claimed(store, "d1"), DeadLetter("unauthorized"))

    assert await told(store) == [
        queued("d1", asked_at),
        *taken("d1", 1),
        (
            "d1",
            "RunDeadLettered",
            {"dispatch_id": "d1", "attempt_count": 0, "error": "unauthorized", "error_class": "other"},
        ),
        ("d1", "RunErrored", {"termination": {"type": "error", "detail": "unauthorized"}, "cause": "dead_letter"}),
    ]


@behaviour("MBX-100")
async def test_a_cancelled_run_that_never_started_is_told_by_its_end(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await cancelled(store, "d1")

    assert (await told(store))[1:] == [
        ("d1", "RunCancelled", {"termination": {"type": "cancelled"}}),
    ]


@behaviour("MBX-106")
async def test_a_caller_who_gives_up_is_told_with_whom_he_waited_for(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2")

    await apply(
        store,
        Cancel(
            scope=SCOPE,
            thread_id=THREAD,
            run_id=run_id("d2"),
            cause="not_released_in_time",
            gave_up_after_ms=2_000,
        ),
    )

    assert await told(store, after=5) == [
        ("d2", "MailboxTimeout", {"timeout_ms": 2_000, "active_run_id": "run-d1"}),
        ("d2", "RunCancelled", {"termination": {"type": "cancelled"}, "cause": "not_released_in_time"}),
    ]
