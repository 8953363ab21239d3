"""Events: their kinds, their channels, and rows that start where a reader left off."""

from __future__ import annotations

from typing import cast, get_args

import msgspec

from awaken.domain import event as events
from awaken.domain import server_event as say
from awaken.domain.event import (
    CHANNELS,
    DELTA_KINDS,
    FINISHED_KINDS,
    KINDS,
    TERMINAL_KINDS,
    RunFinish,
    TextDelta,
    logged,
)
from awaken.domain.ids import MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.message import Message, Role, Visibility, user_message
from awaken.domain.run import NATURAL_END, RunStatus, Termination, TerminationType
from awaken.domain.thread import ThreadInfo
from awaken.testing.behaviour import behaviour
from tests.domain.test_dispatch import queued
from tests.domain.test_run import made


def row(count: int = 3, first_seq: int = 5) -> EventRow:
    some = tuple(logged(TextDelta(str(n))) for n in range(count))
    return EventRow(Scope("s"), ThreadId("t"), RunId("r"), first_seq, 1, some)


def test_every_executor_event_has_a_kind_and_every_kind_a_channel() -> None:
    assert set(KINDS) == set(get_args(events.Event))
    assert len(set(KINDS.values())) == len(KINDS)
    said = {*KINDS.values(), *FINISHED_KINDS.values(), *TERMINAL_KINDS}
    assert said <= set(CHANNELS)
    assert set(CHANNELS) >= DELTA_KINDS


def test_every_termination_has_a_kind() -> None:
    assert set(FINISHED_KINDS) == set(get_args(TerminationType))


def test_a_finish_is_named_for_how_it_ended() -> None:
    for kind, name in FINISHED_KINDS.items():
        termination = Termination(cast("TerminationType", kind))
        assert logged(RunFinish(ThreadId("t"), RunId("r"), termination)).kind == name


def test_a_row_knows_its_seqs_and_its_size() -> None:
    assert (row().first_seq, row().last_seq) == (5, 7)
    assert row().payload_bytes == sum(len(bytes(each.payload)) for each in row().events)


@behaviour("EV-010")
def test_a_row_starts_after_what_a_reader_has_seen() -> None:
    whole = row()

    assert whole.starting_after(0) is whole
    assert whole.starting_after(4) is whole
    assert (whole.starting_after(5).first_seq, whole.starting_after(5).events) == (6, whole.events[1:])
    assert (whole.starting_after(6).first_seq, whole.starting_after(6).last_seq) == (7, 7)
    assert whole.starting_after(7).events == ()


def test_the_queues_own_events_have_channels() -> None:
    run = made(status=RunStatus.RUNNING)
    dispatch = queued()
    message = user_message(MessageId("m"), "hello")
    said = [
        say.queued(dispatch), say.submitted(dispatch), say.started(run, resumed=False), say.started(run, resumed=True),
        say.stream_reset("x"), say.rescheduled(dispatch, "x"), say.dead_lettered(dispatch), say.cancelled(dispatch),
        say.superseded(dispatch), say.interrupted(dispatch), say.cancel_requested(dispatch),
        say.finished(run, NATURAL_END), say.message_committed(message, run.thread_id, run.run_id, 1),
        say.thread_saved(run.thread_id, ThreadInfo(), created=True),
        say.thread_saved(run.thread_id, ThreadInfo(), created=False),
    ]  # fmt: skip

    assert [each.kind for each in said if each.kind not in CHANNELS] == []
    assert [each for each in said if not isinstance(msgspec.json.decode(each.logged().payload), dict)] == []


def test_every_role_and_visibility_has_a_kind_of_message() -> None:
    for role in Role:
        for visibility in Visibility:
            message = Message(id=MessageId("m"), role=role, visibility=visibility)
            payload = msgspec.json.decode(say.message_committed(message, ThreadId("t"), None, 1).logged().payload)
            assert payload["message_kind"]
