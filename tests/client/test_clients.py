"""Both clients against the real application, over real connections; some of them cut on purpose."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from awaken.client import Event, Json, Limits, ResumeSettings, Run, RunFailed, RunTimeout, Unreachable, calls
from awaken.domain.errors import (
    AgentNotFound,
    AlreadyExists,
    DispatchEnded,
    DispatchNotQueued,
    NotDeadLetter,
    NotFound,
    RunNotFound,
    RunNotOpen,
    ScheduleNotFound,
    ThreadNotFound,
    TicketNotFound,
    UnknownAgent,
    Unsupported,
    ValidationError,
)
from awaken.testing.behaviour import behaviour
from tests.client.live import WORDS
from tests.client.scripted import KINDS, Do, Kind, call, collect

_names = (f"thread-{number}" for number in itertools.count())


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def do(kind: Kind, server: str) -> Do:
    """Calls one method of one of the clients."""

    def called(use: Callable[[Any], Any]) -> Any:
        return call(kind, None, use, url=server)

    return called


@pytest.fixture
def thread_id() -> str:
    return next(_names)


def test_a_run_is_submitted_watched_and_read_back(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.submit(thread_id, "hello", agent="talk", metadata={"a": 1}, priority=3))
    assert isinstance(run.record, Run)
    result = do(lambda c: c.wait(run.run_id))
    assert result.is_done
    assert result.phase == "completed"
    assert result.output == result.final_output == "".join(f"hello {number} " for number in range(WORDS))

    read = do(lambda c: c.get_run(run.run_id))
    assert (read.thread_id, read.agent_id, read.metadata) == (thread_id, "talk", {"a": 1})
    assert read.termination is not None
    assert read.termination.type == "natural_end"
    [dispatch] = do(lambda c: c.list_dispatches(run.run_id))
    assert (dispatch.status, dispatch.priority) == ("acked", 3)
    texts = [(message.role, message.text) for message in do(lambda c: c.messages(thread_id))]
    assert texts == [("user", "hello"), ("assistant", result.output)]
    events = do(lambda c: c.list_run_events(run.run_id))
    assert [event.kind for event in events][-1] == "RunFinished"
    assert do(lambda c: c.list_events(thread_id))[-1] == events[-1]


def test_submitting_and_waiting_are_one_call(do: Do, thread_id: str) -> None:
    result = do(lambda c: c.run(thread_id, [{"role": "user", "content": "hi"}], agent="talk"))
    assert result.is_done
    assert result.output.startswith("hi 0 ")


def test_why_a_run_is_where_it_is(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.submit(thread_id, "hi", agent="talk", delay_s=60))
    found = do(lambda c: c.explain(run.run_id))
    assert (found.code, found.blocked_by, found.facts["run_id"]) == ("delayed", (), run.run_id)
    assert found.next_at == run.record.available_at
    with pytest.raises(RunNotFound):
        do(lambda c: c.explain("nothing"))


def test_how_a_run_went(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.run(thread_id, "hi", agent="talk"))
    drawn = do(lambda c: c.timeline(run.run_id))
    kinds = [span.kind for span in drawn.spans if span.parent is None]
    assert (kinds[0], kinds[-1], drawn.has_more) == ("queued", "end", False)
    assert all(span.ended_at for span in drawn.spans)
    with pytest.raises(RunNotFound):
        do(lambda c: c.timeline("nothing"))


def test_what_wants_attention_and_what_is_said_beside_runs(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.submit(thread_id, "hi", agent="talk", delay_s=60))
    shown = do(lambda c: c.get_run(run.run_id, include=["why", "last_event", "usage"]))
    assert shown.why is not None
    assert shown.why.code == do(lambda c: c.explain(run.run_id)).code == "delayed"
    assert shown.why.repair is not None and shown.why.repair.method == "PATCH"
    assert shown.last_event is not None and shown.last_event.summary == "Queued for agent talk"
    [listed] = do(lambda c: c.list_runs(thread_id=thread_id, include=["why", "last_event"]))
    assert (listed.why is not None, listed.last_event) == (True, shown.last_event)
    assert do(lambda c: c.get_run(run.run_id)).why is None
    found = do(lambda c: c.attention(limit=5))
    assert found.version and found.store and len(found.stuck.items) <= 5
    for wrong in (0, 21):
        with pytest.raises(ValidationError):
            do(lambda c, wrong=wrong: c.attention(limit=wrong))
    with pytest.raises(ValidationError):
        do(lambda c: c.get_run(run.run_id, include=["colour"]))  # pyright: ignore[reportArgumentType]


def test_a_run_is_done_again_and_its_answer_made_anew(do: Do, thread_id: str) -> None:
    first = do(lambda c: c.run(thread_id, "hi", agent="talk"))
    again = do(lambda c: c.retry_run(first.run_id))
    assert do(lambda c: c.wait(again.run_id)).retry_of_run_id == first.run_id
    assert do(lambda c: c.retry_run(first.run_id, max_attempts=3)).replayed
    anew = do(lambda c: c.regenerate(thread_id))
    assert do(lambda c: c.wait(anew.run_id)).is_done
    assert [message.role for message in do(lambda c: c.messages(thread_id))] == ["user", "assistant"]
    with pytest.raises(RunNotFound):
        do(lambda c: c.retry_run("nothing"))
    with pytest.raises(ValidationError):
        do(lambda c: c.retry_run(first.run_id, max_attempts=0))


@behaviour("DL-010")
def test_what_was_given_up_is_seen_to(do: Do, thread_id: str) -> None:
    runs = [_broken(do, thread_id) for _ in range(3)]
    listed = do(lambda c: c.list_dead_letters(thread_id=thread_id, agent="broken", limit=2))
    assert [each.run_id for each in listed] == [runs[2].run_id, runs[1].run_id]
    assert listed[0].run == do(lambda c: c.get_run(runs[2].run_id))
    [group] = do(lambda c: c.group_dead_letters(thread_id=thread_id))
    assert (group.agent_id, group.count, group.latest) == ("broken", 3, listed[0])

    again = do(lambda c: c.retry_dead_letter(listed[0].dispatch_id))
    assert do(lambda c: c.retry_dead_letter(listed[0].dispatch_id)).replayed
    assert do(lambda c: c.get_dead_letter(listed[0].dispatch_id)).retried_as == again.run_id
    gone = do(lambda c: c.discard_dead_letter(listed[1].dispatch_id, reason="known"))
    assert (gone.state, gone.reason) == ("discarded", "known")
    with pytest.raises(NotDeadLetter):
        do(lambda c: c.retry_dead_letter(listed[1].dispatch_id))
    do(lambda c: c.wait(again.run_id))

    found = do(lambda c: c.retry_dead_letters(thread_id=thread_id, dry_run=True))
    assert (found.matched, found.retried, found.more) == (2, 0, False)
    assert do(lambda c: c.discard_dead_letters(reason="old", thread_id=thread_id, limit=1)).discarded == 1
    assert do(lambda c: c.retry_dead_letters(thread_id=thread_id)).retried == 1


def _broken(do: Do, thread_id: str) -> Run:
    run = do(lambda c: c.submit(thread_id, "hi", agent="broken"))
    return do(lambda c: c.wait(run.run_id))


@behaviour("AP-003")
def test_an_agent_is_paused_and_resumed(do: Do, thread_id: str) -> None:
    assert do(lambda c: c.pause_agent("talk")).paused
    try:
        run = do(lambda c: c.submit(thread_id, "hi", agent="talk"))
        assert do(lambda c: c.wait(run.run_id, timeout_s=0.05)).waiting.reason == "agent_paused"
        assert [each.paused for each in do(lambda c: c.list_agents()) if each.agent_id == "talk"] == [True]
    finally:
        assert not do(lambda c: c.resume_agent("talk")).paused
    assert do(lambda c: c.wait(run.run_id)).phase == "completed"
    with pytest.raises(AgentNotFound):
        do(lambda c: c.pause_agent("nobody"))


@behaviour("OPS-014")
def test_what_is_queued_is_listed_placed_and_cancelled(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.submit(thread_id, "hi", agent="talk", delay_s=3_600))
    [queued] = do(lambda c: c.list_dispatches(thread_id=thread_id, status="queued"))
    assert (queued.run_id, queued.run) == (run.run_id, None)
    assert run.run_id in [each.run_id for each in do(lambda c: c.list_dispatches(status="queued", agent="talk"))]
    placed = do(lambda c: c.edit_dispatch(queued.dispatch_id, priority=7, available_at="2100-01-01T00:00:00Z"))
    assert (placed.priority, placed.available_at) == (7, "2100-01-01T00:00:00.000Z")
    read = do(lambda c: c.get_dispatch(queued.dispatch_id))
    assert read.run is not None and (read.run.run_id, read.run.phase) == (run.run_id, "queued")
    do(lambda c: c.edit_dispatch(queued.dispatch_id, delay_s=0))
    assert do(lambda c: c.wait(run.run_id)).phase == "completed"
    with pytest.raises(DispatchNotQueued) as refused:
        do(lambda c: c.edit_dispatch(queued.dispatch_id, priority=7))
    assert refused.value.dispatch_status == "acked"
    with pytest.raises(DispatchEnded):
        do(lambda c: c.cancel_dispatch(queued.dispatch_id))
    other = do(lambda c: c.submit(thread_id, "hi", agent="talk", delay_s=3_600))
    dispatch_id = do(lambda c: c.get_run(other.run_id)).dispatch_id
    assert do(lambda c: c.cancel_dispatch(dispatch_id)).state == "stopped"


@behaviour("OPS-004")
def test_a_process_is_drained_and_undrained(do: Do, thread_id: str) -> None:
    assert do(lambda c: c.drain()).drained
    try:
        run = do(lambda c: c.submit(thread_id, "hi", agent="talk"))
        assert do(lambda c: c.wait(run.run_id, timeout_s=0.05)).phase == "queued"
        assert do(lambda c: c.health()).components["mailbox"].state == "drained"
    finally:
        assert not do(lambda c: c.undrain()).drained
    assert do(lambda c: c.wait(run.run_id)).phase == "completed"


def test_a_wait_that_is_over_before_the_run_gives_the_run_as_it_is(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.submit(thread_id, "hi", agent="stuck"))
    assert not do(lambda c: c.wait(run.run_id, timeout_s=0.01)).is_done
    stopped = do(lambda c: c.cancel(run.run_id, wait_s=30))
    assert stopped.state == "stopped"
    assert stopped.run.phase == "cancelled"
    assert do(lambda c: c.wait(run.run_id)).phase == "cancelled"


def test_whoever_runs_an_agent_hears_that_it_failed_or_takes_too_long(do: Do, thread_id: str) -> None:
    with pytest.raises(RunFailed, match="the model is gone") as failed:
        do(lambda c: c.run(thread_id, "hi", agent="broken"))
    assert failed.value.run.phase == "dead_letter"
    with pytest.raises(TimeoutError, match="goes on") as late:
        do(lambda c: c.run(thread_id, "hi", agent="stuck", timeout_s=0.01))
    assert isinstance(late.value, RunTimeout)
    run = late.value.run
    assert do(lambda c: c.get_run(run.run_id)).status == "running"
    do(lambda c: c.cancel(run.run_id, wait_s=30))


def test_structured_output_is_a_value(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.run(thread_id, Json({"order": 7}), agent="structured"))
    assert run.output == {"given": {"order": 7}}
    assert run.final_output == '{"given":{"order":7}}'


def test_what_waits_for_its_time_says_when(do: Do, thread_id: str) -> None:
    at = datetime(2126, 1, 31, 8, tzinfo=UTC)
    run = do(lambda c: c.submit(thread_id, "later", agent="talk", at=at, limits=Limits(timeout_s=5)))
    assert run.record.available_at == "2126-01-31T08:00:00.000Z"
    assert run.record.phase == "queued"
    with pytest.raises(ValidationError, match="either a delay or an instant"):
        do(lambda c: c.submit(thread_id, "later", agent="talk", at=at, delay_s=1))
    with pytest.raises(ValidationError, match="time zone"):
        do(lambda c: c.submit(thread_id, "later", agent="talk", at=datetime(2126, 1, 31, 8)))
    do(lambda c: c.cancel(run.run_id))


def test_an_option_that_does_not_exist_is_a_type_error(kind: Kind, server: str) -> None:
    uses: tuple[Callable[[Any], Any], ...] = (
        lambda c: c.submit(None, "x", agnet="talk"),
        lambda c: c.run(None, "x", priorty=1),
        lambda c: c.stream(None, "x", agent_id="talk"),
        lambda c: c.list_runs(colour="red"),
        lambda c: c.create_thread(name="t"),
    )
    for use in uses:
        with pytest.raises(TypeError, match="unexpected keyword"):
            call(kind, None, use, url=server)


def test_threads_are_created_listed_and_cleared(do: Do, thread_id: str) -> None:
    made = do(
        lambda c: c.create_thread(
            thread_id=thread_id, title="Orders", metadata={"k": "v"}, messages=[{"role": "user", "content": "before"}]
        )
    )
    assert (made.thread_id, made.title, made.message_count) == (thread_id, "Orders", 1)
    assert do(lambda c: c.create_thread(thread_id=thread_id, if_exists="do_nothing")).title == "Orders"
    assert do(lambda c: c.get_thread(thread_id)).metadata == {"k": "v"}
    assert thread_id in [thread.thread_id for thread in do(lambda c: c.list_threads(limit=200))]

    assert do(lambda c: c.cancel_thread(thread_id)).run is None
    first = do(lambda c: c.submit(thread_id, "one", agent="stuck"))
    second = do(lambda c: c.submit(thread_id, "two", agent="stuck"))
    cleared = do(lambda c: c.interrupt(thread_id, wait_s=30))
    assert (cleared.active_run_id, cleared.superseded, cleared.cancel) == (first.run_id, (second.run_id,), "stopped")
    assert do(lambda c: c.get_run(second.run_id)).phase == "superseded"
    third = do(lambda c: c.submit(thread_id, "three", agent="stuck"))
    assert do(lambda c: c.cancel_thread(thread_id, wait_s=30)).run.run_id == third.run_id


def test_lists_go_over_all_pages_and_end_at_their_limit(do: Do, thread_id: str) -> None:
    runs = [do(lambda c: c.run(thread_id, "x", agent="talk")) for _ in range(6)]
    listed = do(lambda c: c.list_runs(thread_id=thread_id, limit=4))
    assert [run.run_id for run in listed] == [run.run_id for run in reversed(runs[2:])]
    done = do(lambda c: c.list_runs(thread_id=thread_id, status="done", agent="talk", order="asc"))
    assert [run.run_id for run in done] == [run.run_id for run in runs]
    assert do(lambda c: c.list_runs(thread_id=thread_id, limit=0)) == []
    events = do(lambda c: c.list_events(thread_id))
    assert len(events) > calls.PAGE
    seqs = [event.seq for event in events]
    assert seqs == sorted(set(seqs))  # with gaps: what is only for debugging is left out
    assert do(lambda c: c.list_events(thread_id, after=events[199].cursor, limit=3)) == events[200:203]


def test_schedules_are_made_changed_and_deleted(do: Do, thread_id: str) -> None:
    name = thread_id
    made = do(lambda c: c.create_schedule(name, "tidy up", agent="talk", every_s=3600, metadata={"a": 1}))
    assert (made.every_s, made.thread_id, made.metadata, made.paused) == (3600, f"schedule:{name}", {"a": 1}, False)
    assert do(lambda c: c.create_schedule(name, "tidy up", agent="talk", every_s=3600, metadata={"a": 1})) == made
    with pytest.raises(AlreadyExists):
        do(lambda c: c.create_schedule(name, "tidy up", agent="talk", every_s=60))

    assert name in [each.name for each in do(lambda c: c.list_schedules())]
    changed = do(lambda c: c.update_schedule(name, cron="0 8 * * *", zone="Europe/Paris", overlap="queue"))
    assert (changed.cron, changed.every_s, changed.zone, changed.overlap) == (
        "0 8 * * *",
        None,
        "Europe/Paris",
        "queue",
    )
    assert do(lambda c: c.pause_schedule(name)).paused_by == "caller"
    assert do(lambda c: c.resume_schedule(name)).next_at is not None
    assert do(lambda c: c.get_schedule(name)).name == name

    do(lambda c: c.delete_schedule(name))
    with pytest.raises(ScheduleNotFound):
        do(lambda c: c.get_schedule(name))
    with pytest.raises(ValidationError):
        do(lambda c: c.create_schedule("a b", "x", agent="talk", every_s=60))


@behaviour("WAT-001", "WAT-003")
def test_several_are_watched_as_one(do: Do, thread_id: str) -> None:
    run = do(lambda c: c.run(thread_id, "x", agent="talk"))
    after = do(lambda c: c.get_thread(thread_id)).cursor
    found = do(lambda c: _watched(c, {run.run_id: None}))
    assert [(item.on, item.run_id) for item in found] == [(run.run_id, run.run_id)] * len(found)
    assert [item.cursor for item in found] == [event.cursor for event in do(lambda c: c.list_run_events(run.run_id))]
    assert do(lambda c: _watched(c, {run.run_id: after})) == []

    with pytest.raises(NotFound, match="no thread and no run has the id 'nowhere'"):
        do(lambda c: _watched(c, ["nowhere"]))
    for wrong in ((), ["a b"], ["a", "a"], {"a": "b"}, 5):
        with pytest.raises(ValidationError):
            do(lambda c, on=wrong: _watched(c, on))


def _watched(api: Any, on: Any) -> Any:
    """All items of a stream over runs that have ended."""
    stream = api.watch(on)
    return _all_of(stream) if hasattr(stream, "__aiter__") else [*stream]


async def _all_of(stream: Any) -> list[Any]:
    return [item async for item in stream]


@behaviour("RT-010", "RT-015")
def test_versions_of_an_agent_are_named_and_described(do: Do) -> None:
    run = do(lambda c: c.run(None, "hi", agent="carrier"))
    older = do(lambda c: c.run(None, "hi", agent="carrier@1"))
    assert (run.agent_id, run.agent_version, run.output) == ("carrier", "2", "carried by 2")
    assert (older.agent_version, older.output) == ("1", "carried by 1")
    newest, other = do(lambda c: c.get_agent("carrier")), do(lambda c: c.get_agent("carrier@1"))
    assert (newest.agent_id, newest.version, newest.fallback) == ("carrier", "2", "latest")
    assert [each.version for each in newest.versions] == ["1", "2"]
    assert (other.agent_id, other.version, other.fallback) == ("carrier", "1", None)
    with pytest.raises(UnknownAgent) as refused:
        do(lambda c: c.run(None, "hi", agent="carrier@3"))
    assert refused.value.known == ("carrier@1", "carrier@2")


def test_the_server_tells_about_itself(do: Do) -> None:
    assert [agent.agent_id for agent in do(lambda c: c.list_agents())] == [
        "talk",
        "stuck",
        "clerk",
        "broken",
        "structured",
        "asking",
        "approving",
        "shopping",
        "pondering",
        "lost",
        "carrier",
    ]
    assert do(lambda c: c.get_agent("talk")).description == "Says what it was told, many times."
    health = do(lambda c: c.health())
    assert (health.status, health.durability, health.components["store"].state) == ("ready", "volatile", "ok")
    system = do(lambda c: c.system())
    assert (system.role, system.store, system.exclusive) == ("all", "memory", True)
    assert "http.max_streams" in [setting.name for setting in do(lambda c: c.list_settings())]
    [worker] = do(lambda c: c.list_workers())
    assert (worker.drained, worker.version) == (False, system.version)
    assert do(lambda c: c.sweep()).taken_back == 0
    assert not do(lambda c: c.purge()).more


def test_refusals_are_the_errors_of_the_domain(do: Do, thread_id: str) -> None:
    def refused(use: Callable[[Any], Any], kind: type[Exception]) -> Any:
        with pytest.raises(kind) as caught:
            do(use)
        return caught.value

    assert refused(lambda c: c.get_run("nobody"), RunNotFound).id == "nobody"
    assert refused(lambda c: c.get_thread("nowhere"), ThreadNotFound).id == "nowhere"
    assert refused(lambda c: c.get_agent("none"), AgentNotFound).id == "none"
    refused(lambda c: c.submit("nowhere", "x", agent="talk", create_thread=False), ThreadNotFound)
    assert refused(lambda c: c.submit(None, "x", agent="none"), ValidationError).code == "unknown_agent"
    assert refused(lambda c: c.submit(None, [], agent="talk"), ValidationError).code == "invalid_request"
    assert refused(lambda c: c.list_runs(status="red"), ValidationError).code == "invalid_request"
    assert refused(lambda c: c.list_events(thread_id, channels=["red"]), NotFound).id == thread_id
    assert refused(lambda c: c.get_run("a b"), ValidationError).code == "invalid_id"

    done = do(lambda c: c.run(thread_id, "x", agent="talk"))
    assert refused(lambda c: c.cancel(done.run_id), RunNotOpen).status == "done"
    again = refused(lambda c: c.submit(None, "other", agent="talk", run_id=done.run_id), AlreadyExists)
    assert again.id == done.run_id
    with pytest.raises(Unsupported):
        do(lambda c: c.send(_with_a_webhook(thread_id)))


def _with_a_webhook(thread_id: str) -> Any:
    body = b'{"input": "x", "agent_id": "talk", "webhook": "https://example.org"}'
    return calls.Call(method="POST", path="/v1/runs", body=body, decode=lambda answer, status: answer)


def test_nothing_listening_is_unreachable(kind: Kind) -> None:
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9"):
        call(kind, None, lambda c: c.health(), url="http://127.0.0.1:9")


def test_only_a_servers_address_is_accepted(kind: Kind) -> None:
    for url in ("127.0.0.1:8000", "ftp://here", "http://"):
        with pytest.raises(ValidationError):
            call(kind, None, lambda c: c.health(), url=url)


# --- streams ----------------------------------------------------------------------------------------------------------


class _Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks after some bytes."""

    def __init__(self, body: Any, after_bytes: int) -> None:
        self._body = body
        self._left = after_bytes

    def _part(self, chunk: bytes) -> bytes:
        part = chunk[: self._left]
        self._left -= len(part)
        return part

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            yield self._part(chunk)
            if not self._left:
                raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield self._part(chunk)
            if not self._left:
                raise httpx.ReadError("cut")

    def close(self) -> None:
        self._body.close()

    async def aclose(self) -> None:
        await self._body.aclose()


class Unreliable(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Real connections, each of which breaks: before its answer (None), or after so many bytes of it."""

    def __init__(self, kind: Kind, *cuts: int | None) -> None:
        self._sync = httpx.HTTPTransport() if kind == "sync" else None
        self._async = httpx.AsyncHTTPTransport() if kind == "async" else None
        self._cuts = list(cuts)
        self.methods: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert self._sync is not None
        return self._broken(request, self._sync.handle_request(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self._async is not None
        response = await self._async.handle_async_request(request)
        try:
            return self._broken(request, response)
        except httpx.ReadError:
            await response.aclose()
            raise

    def _broken(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        self.methods.append(request.method)
        if not self._cuts:
            return response
        cut = self._cuts.pop(0)
        if cut is None:
            if self._sync is not None:
                response.close()
            raise httpx.ReadError("cut before the answer")
        response.stream = _Cut(response.stream, cut)
        return response

    def close(self) -> None:
        if self._sync is not None:
            self._sync.close()

    async def aclose(self) -> None:
        if self._async is not None:
            await self._async.aclose()


@pytest.mark.parametrize("cuts", [(), (50,), (1_000, 2_000), (3_000, 10, 400), (4_001, 3_002, 2_003)])
def test_a_stream_cut_and_resumed_is_the_uncut_stream(
    do: Do, kind: Kind, server: str, thread_id: str, cuts: tuple[int, ...]
) -> None:
    transport = Unreliable(kind, *cuts)
    outcome = collect(
        kind,
        transport,
        lambda c, notify: c.stream(thread_id, "hi", agent="talk", on_reconnect=notify),
        url=server,
    )
    assert outcome.error is None
    assert len(outcome.reconnects) == len(cuts)
    uncut = collect(kind, None, lambda c, notify: c.run_events(outcome.progress.run_id), url=server)
    assert outcome.items == uncut.items
    kinds = [item.kind for item in outcome.items if isinstance(item, Event)]
    assert kinds.count("TextDeltaObserved") == WORDS
    assert (outcome.progress.end_reason, outcome.progress.thread_id) == ("done", thread_id)


def test_a_run_whose_acceptance_was_not_heard_is_not_made_twice(
    do: Do, kind: Kind, server: str, thread_id: str
) -> None:
    transport = Unreliable(kind, None, None)
    outcome = collect(kind, transport, lambda c, notify: c.stream(thread_id, "hi", agent="talk"), url=server)
    assert outcome.error is None
    assert transport.methods == ["POST", "POST", "POST"]
    [run] = do(lambda c: c.list_runs(thread_id=thread_id))
    assert {item.run_id for item in outcome.items if isinstance(item, Event)} == {run.run_id}


def test_a_run_without_a_thread_is_not_made_twice_either(do: Do, kind: Kind, server: str) -> None:
    outcome = collect(kind, Unreliable(kind, None), lambda c, notify: c.stream(None, "hi", agent="talk"), url=server)
    assert outcome.error is None
    thread_id = outcome.progress.thread_id
    assert [run.run_id for run in do(lambda c: c.list_runs(thread_id=thread_id))] == [outcome.progress.run_id]


@behaviour("OS-011")
def test_a_client_that_gave_up_goes_on_in_the_conversation_that_it_had_begun(do: Do, kind: Kind, server: str) -> None:
    def begin(run_id: str | None = None) -> Callable[[Any, Any], Any]:
        return lambda client, notify: client.stream(None, "hi", agent="talk", run_id=run_id)

    at_once = ResumeSettings(give_up_after_s=0)
    given_up = collect(kind, Unreliable(kind, None), begin(), url=server, resume=at_once)
    assert isinstance(given_up.error, Unreachable)
    run_id = given_up.progress.run_id
    assert run_id, "the caller can say which run it was"

    again = collect(kind, None, begin(run_id), url=server)

    assert (again.error, again.progress.run_id) == (None, run_id)
    assert [run.run_id for run in do(lambda c: c.list_runs(thread_id=again.progress.thread_id))] == [run_id]
    assert again.items == collect(kind, None, lambda c, notify: c.run_events(run_id), url=server).items


def test_a_thread_is_watched_from_its_start(do: Do, kind: Kind, server: str, thread_id: str) -> None:
    run = do(lambda c: c.run(thread_id, "hi", agent="talk"))
    recorded = do(lambda c: c.list_events(thread_id, channels=_ALL))
    transport = Unreliable(kind, 6_000)
    items: list[Any] = []

    def watched(client: Any, notify: Any) -> Any:
        return _Until(client.events(thread_id, since="start", channels=_ALL), items, run.run_id)

    collect(kind, transport, watched, url=server)
    assert items == recorded
    assert transport.methods == ["GET", "GET"]


_ALL = ("lifecycle", "messages", "tools", "mailbox", "state", "activity", "usage", "debug", "other")


class _Until:
    """A stream that has no end of its own, until a run has ended in it."""

    def __init__(self, stream: Any, items: list[Any], run_id: str) -> None:
        self._stream = stream
        self._items = items
        self._run_id = run_id
        self.progress = stream.progress

    def __enter__(self) -> Any:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._stream.__exit__(*error)

    async def __aenter__(self) -> Any:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)

    def __iter__(self) -> Iterator[Any]:
        for item in self._stream:
            self._items.append(item)
            if item.kind == "RunFinished":
                return
            yield item

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in self._stream:
            self._items.append(item)
            if item.kind == "RunFinished":
                return
            yield item


def test_a_submit_brings_decisions_and_a_new_thread_may_go_with_its_run(do: Do, thread_id: str) -> None:
    asked = do(lambda c: c.submit(thread_id, "hello", agent="approving"))
    looks = (do(lambda c: c.list_tickets(run_id=asked.run_id, state="open")) for _ in range(1_000))
    [ticket] = next(found for found in looks if found)
    decision = {"ticket_id": ticket.ticket_id, "action": "approve"}

    said = do(lambda c: c.submit(thread_id, "hello", agent="clerk", decisions=[decision]))

    assert do(lambda c: c.wait(asked.run_id)).phase == "completed"
    assert do(lambda c: c.wait(said.run_id)).phase == "completed"
    with pytest.raises(TicketNotFound):
        do(lambda c: c.submit(thread_id, "hello", agent="clerk", decisions=[{**decision, "ticket_id": "elsewhere"}]))

    gone = do(lambda c: c.submit(None, "hello", agent="clerk", on_completion="delete"))
    assert do(lambda c: c.wait(gone.run_id)).is_done
