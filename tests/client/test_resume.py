"""A stream, over as many connections as it takes, is the uncut stream."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.client import AsyncClient, Client, Event, Hint, ResumeSettings, Resync, Unreachable, WatchedEvent
from awaken.client.calls import Call
from awaken.client.errors import ApiError
from awaken.client.resume import Resumption
from awaken.domain.errors import AlreadyExists, RemoteProtocolError, RunNotFound, StoreUnavailable, Unavailable
from awaken.domain.ids import seeded_chance
from awaken.testing.behaviour import behaviour
from tests.client.scripted import (
    END,
    KINDS,
    Answer,
    Kind,
    RushingClock,
    Script,
    collect,
    control,
    delta,
    document,
    event,
    opened,
    problem,
    stream,
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def watch(client: Any, on_reconnect: Any) -> Any:
    return client.run_events("r1", on_reconnect=on_reconnect)


def create(client: Any, on_reconnect: Any) -> Any:
    return client.stream(None, "hi", agent="echo", run_id="r1", on_reconnect=on_reconnect)


def seqs(items: list[Any]) -> list[str]:
    return [item.cursor for item in items]


def test_a_stream_ends_with_stream_end_only(kind: Kind) -> None:
    script = Script(stream(opened(), delta(1)), stream(opened(), delta(2), END))
    outcome = collect(kind, script, watch)
    assert (seqs(outcome.items), outcome.error) == (["1", "2"], None)
    assert script.sent() == [("GET", "/v1/runs/r1/stream", None), ("GET", "/v1/runs/r1/stream", "1")]
    progress = outcome.progress
    assert (progress.end_reason, progress.thread_id, progress.run_id, progress.reconnects) == ("done", "t1", "r1", 1)


def test_an_answer_without_content_stands_for_an_end_that_was_lost(kind: Kind) -> None:
    outcome = collect(kind, Script(stream(opened(), delta(1)), Answer(204)), watch)
    assert (seqs(outcome.items), outcome.error, outcome.progress.end_reason) == (["1"], None, "done")


def test_a_broken_connection_goes_on_after_the_last_whole_event(kind: Kind) -> None:
    half = delta(2)[:40]
    script = Script(stream(opened(), delta(1), half, end="cut"), stream(delta(2), delta(3), END))
    outcome = collect(kind, script, watch)
    assert seqs(outcome.items) == ["1", "2", "3"]
    assert script.sent()[1][2] == "1"
    assert isinstance(outcome.reconnects[0].cause, Unreachable)


def test_a_server_that_is_away_for_a_while_is_waited_for(kind: Kind) -> None:
    away = (Answer(end="refused"), problem(503, "starting"), problem(502, "bad"), problem(504, "late"), Answer(503))
    script, clock = Script(stream(delta(1)), *away, stream(delta(2), END)), RushingClock()
    outcome = collect(kind, script, watch, clock=clock)
    assert seqs(outcome.items) == ["1", "2"]
    assert [request[2] for request in script.sent()] == [None, *["1"] * 6]
    causes = [type(reconnect.cause) for reconnect in outcome.reconnects]
    assert causes == [Unreachable, Unreachable, Unavailable, ApiError, ApiError, ApiError]
    assert clock.waits == sorted(clock.waits)


def test_a_run_is_created_again_under_the_same_id_until_it_is_accepted(kind: Kind) -> None:
    script = Script(
        Answer(end="refused"),
        problem(503, "stopping"),
        stream(end="cut"),
        stream(opened(), delta(1), END),
    )
    outcome = collect(kind, script, create)
    assert seqs(outcome.items) == ["1"]
    sent = script.sent()
    assert [method for method, _, _ in sent] == ["POST", "POST", "POST", "GET"]
    assert sent[3] == ("GET", "/v1/runs/r1/stream", None)
    assert script.bodies()[0] == script.bodies()[2]


def test_an_id_is_chosen_when_none_is_given(kind: Kind) -> None:
    script = Script(Answer(end="refused"), stream(opened(), END))
    collect(kind, script, lambda client, notify: client.stream(None, "hi", on_reconnect=notify))
    first, second = script.bodies()
    assert first["run_id"] == second["run_id"] != ""


def test_what_retrying_cannot_mend_fails_at_once(kind: Kind) -> None:
    for answer, error in (
        (problem(404, "run_not_found", id="r1"), RunNotFound),
        (problem(409, "already_exists", id="r1"), AlreadyExists),
        (problem(500, "internal"), ApiError),
        (document({"ok": True}), RemoteProtocolError),
        (stream(b"event: stream.open\ndata: nonsense\n\n"), RemoteProtocolError),
        (stream(b"id: 1\nevent: RunStarted\ndata: []\n\n"), RemoteProtocolError),
    ):
        outcome = collect(kind, Script(answer), create)
        assert isinstance(outcome.error, error), answer


def test_a_stream_that_fails_at_the_server_fails_here_or_goes_on(kind: Kind) -> None:
    broken = control("stream.error", {"status": 500, "code": "data_integrity", "detail": "damaged"})
    outcome = collect(kind, Script(stream(delta(1), broken)), watch)
    assert str(outcome.error) == "damaged"

    full = control("stream.error", {"status": 503, "code": "store_unavailable", "detail": "the disk is full"})
    outcome = collect(kind, Script(stream(delta(1), full), stream(delta(2), END)), watch)
    assert (seqs(outcome.items), outcome.error) == (["1", "2"], None)
    assert isinstance(outcome.reconnects[0].cause, StoreUnavailable)


def test_a_resync_is_handed_out_in_its_place_and_reading_goes_on_from_it(kind: Kind) -> None:
    resync = control("stream.resync", {"run": {"run_id": "r1", "phase": "running"}, "cursor": "7"})
    script = Script(stream(delta(9)), stream(opened(), resync), stream(delta(8), END))
    outcome = collect(kind, script, watch)
    first, second, third = outcome.items
    assert isinstance(first, Event)
    assert isinstance(third, Event)
    assert isinstance(second, Resync)
    assert second == Resync(cursor="7", state={"run": {"run_id": "r1", "phase": "running"}})
    assert script.sent()[2][2] == "7"


def test_the_query_stays_the_same_and_the_place_is_in_the_header_which_wins(kind: Kind) -> None:
    script = Script(stream(delta(4)), stream(delta(5)), stream(END))
    collect(kind, script, lambda c, n: c.events("t1", since="start", include_deltas=False, on_reconnect=n))
    path = "/v1/threads/t1/events/stream?since=start&include_deltas=false"
    assert script.sent() == [("GET", path, None), ("GET", path, "4"), ("GET", path, "5")]


def test_a_thread_watched_from_now_misses_nothing_when_it_breaks_before_its_first_event(kind: Kind) -> None:
    script = Script(stream(control("stream.open", {"cursor": "41"})), stream(delta(42), END))
    collect(kind, script, lambda client, notify: client.events("t1", since="now", on_reconnect=notify))
    assert script.sent()[1][2] == "41"


def test_a_stream_begins_after_a_given_cursor(kind: Kind) -> None:
    script = Script(stream(END))
    collect(kind, script, lambda client, notify: client.run_events("r1", after="12", on_reconnect=notify))
    assert script.sent()[0][2] == "12"


def test_frames_of_a_newer_server_are_passed_over(kind: Kind) -> None:
    new = control("stream.snapshot", {"text": "so far"})
    outcome = collect(kind, Script(stream(new, event(1, "SomethingNew", {"a": 1}), END)), watch)
    assert [item.kind for item in outcome.items if isinstance(item, Event)] == ["SomethingNew"]


def test_a_stream_that_was_saying_something_is_tried_soon_and_then_as_the_server_asks(kind: Kind) -> None:
    away = [Answer(end="refused") for _ in range(8)]
    script, clock = Script(stream(b"retry: 2000\n\n", opened(), delta(1)), *away, stream(END)), RushingClock()
    collect(kind, script, watch, clock=clock, resume=ResumeSettings(max_delay_s=10))
    soon, later = clock.waits[:4], clock.waits[4:]
    for wait_s, about_s in zip(soon, (0.15, 0.3, 0.6, 1.2), strict=True):
        assert 0.5 * about_s <= wait_s <= 1.5 * about_s
    for wait_s, least_s in zip(later, (2, 4, 8, 10, 10), strict=True):
        assert least_s <= wait_s <= least_s * 1.25


def test_a_stream_that_had_said_nothing_comes_back_as_the_server_asks(kind: Kind) -> None:
    silent = stream(b"retry: 2000\n\n", opened())
    script, clock = Script(silent, silent, Answer(end="refused"), stream(END)), RushingClock()
    collect(kind, script, watch, clock=clock)
    for wait_s, least_s in zip(clock.waits, (2, 2, 4), strict=True):
        assert least_s <= wait_s <= least_s * 1.25


def test_a_server_that_refuses_is_asked_again_when_it_wishes(kind: Kind) -> None:
    busy = Answer(503, problem(503, "stopping").chunks, {"retry-after": "1"})
    script, clock = Script(stream(b"retry: 2000\n\n", delta(1)), busy, busy, stream(END)), RushingClock()
    collect(kind, script, watch, clock=clock)
    first, second, third = clock.waits
    assert first <= 0.25
    assert 2 <= second <= 2.5
    assert 4 <= third <= 5


def test_streams_cut_together_come_back_spread(kind: Kind) -> None:
    """A server that is started again does not meet all of them at once."""
    clock = RushingClock()
    for _ in range(50):
        collect(kind, Script(stream(delta(1)), stream(END)), watch, clock=clock)
    assert max(clock.waits) - min(clock.waits) > 0.1
    assert all(0.05 <= wait_s <= 0.25 for wait_s in clock.waits)


def test_a_refusal_that_says_when_to_come_back_is_heeded(kind: Kind) -> None:
    busy = problem(429, "too_many_streams")
    script, clock = Script(Answer(429, busy.chunks, {"retry-after": "30"}), stream(END)), RushingClock()
    collect(kind, script, watch, clock=clock)
    assert clock.waits == [30]


def test_progress_starts_the_delays_again(kind: Kind) -> None:
    script, clock = (
        Script(stream(delta(1)), Answer(end="refused"), stream(delta(2)), stream(END)),
        RushingClock(),
    )
    collect(kind, script, watch, clock=clock, resume=ResumeSettings(first_delay_s=1, retry_delay_s=4))
    first, second, third = clock.waits
    assert first <= 1.5
    assert 1 <= second <= 3
    assert third <= 1.5


def test_a_server_that_stays_away_is_given_up(kind: Kind) -> None:
    script, clock = Script(stream(delta(1)), *[Answer(end="refused")] * 50), RushingClock()
    outcome = collect(kind, script, watch, clock=clock, resume=ResumeSettings(give_up_after_s=60))
    assert isinstance(outcome.error, Unreachable)
    assert 60 <= sum(clock.waits) < 75
    assert seqs(outcome.items) == ["1"]


def test_resuming_can_be_left_out(kind: Kind) -> None:
    outcome = collect(kind, Script(stream(delta(1))), watch, resume=ResumeSettings(give_up_after_s=0))
    assert isinstance(outcome.error, Unreachable)


async def test_leaving_a_stream_early_leaves_nothing_open() -> None:
    async with (
        AsyncClient("http://server", transport=Script(stream(delta(1), delta(2)))) as client,
        client.run_events("r1") as one,
    ):
        assert (await anext(one)).cursor == "1"
    with (
        Client("http://server", transport=Script(stream(delta(1), delta(2)))) as blocking,
        blocking.run_events("r1") as other,
    ):
        assert next(other).cursor == "1"


@given(st.lists(st.integers(0, 600), max_size=6), st.booleans())
def test_cut_anywhere_the_items_are_those_of_the_uncut_stream(cuts: list[int], creates: bool) -> None:
    """The server of this test sends what lies after the id it is given, and cuts each connection at some byte."""
    frames = [delta(seq, f"text {seq}") for seq in range(1, 8)]
    watch_call = Call[None](method="GET", path="/watch", decode=lambda body, status: None)
    create_call = Call[None](method="POST", path="/create", decode=lambda body, status: None)
    machine = Resumption(ResumeSettings(), seeded_chance(1), watch=watch_call, create=create_call if creates else None)
    left, items = list(cuts), list[Any]()
    while not machine.ended:
        sent = machine.next_call()
        machine.accepted()
        seen = int(sent.headers.get("Last-Event-ID", "0"))
        body = b": connected\n\n" + opened() + b"".join(frames[seen:]) + END
        items += machine.received(body[: left.pop(0)] if left else body)
        if not machine.ended:
            machine.broken(httpx.ReadError("cut"), 0.0)
    assert seqs(items) == [str(seq) for seq in range(1, 8)]


@behaviour("WAT-002")
def test_a_watch_comes_back_where_each_of_its_scopes_was(kind: Kind) -> None:
    here, there, later = "1.t.0123abcd.4", "1.t.89abcdef.7", "1.t.0123abcd.5"
    open_ = control("stream.open", {"scopes": [{"on": "t1", "cursor": here}, {"on": "r2", "cursor": there}]})
    said = control("RunStarted", {"on": "t1", "cursor": later, "kind": "RunStarted"})
    hint = control("stream.hint", {"thread_id": "t9", "run_id": None, "kind": "RunQueued"})
    lost = control("stream.resync", {"on": "r2", "run": {"phase": "running"}, "cursor": "1.t.89abcdef.2"})
    script = Script(stream(open_, said, hint), stream(open_, lost, end="cut"), stream(END))

    outcome = collect(kind, script, lambda client, notify: client.watch(["t1", "r2"], hints=True, on_reconnect=notify))

    assert outcome.error is None
    assert outcome.items == [
        WatchedEvent(on="t1", cursor=later, kind="RunStarted"),
        Hint(thread_id="t9", kind="RunQueued"),
        Resync(on="r2", cursor="1.t.89abcdef.2", state={"run": {"phase": "running"}}),
    ]
    asked = [dict(request.url.params) for request in script.requests]
    assert [each["on"] for each in asked] == ["t1@,r2@", f"t1@{later},r2@{there}", f"t1@{later},r2@1.t.89abcdef.2"]
    assert {each["hints"] for each in asked} == {"true"}
    assert outcome.progress.end_reason == "done"


@pytest.mark.parametrize("data", [b"nonsense", b'{"scopes":5}', b'{"scopes":[{"on":"t1"}]}'])
def test_a_watch_that_opens_with_something_else_fails(kind: Kind, data: bytes) -> None:
    script = Script(stream(b"event: stream.open\ndata: " + data + b"\n\n"))
    outcome = collect(kind, script, lambda client, notify: client.watch("t1", on_reconnect=notify))
    assert isinstance(outcome.error, RemoteProtocolError)
