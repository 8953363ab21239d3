"""Both clients against the real application, over real connections; some of them cut on purpose."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from awaken.client import Event, Run, Unreachable, calls
from awaken.domain.errors import (
    AgentNotFound,
    AlreadyExists,
    RunNotFound,
    RunNotOpen,
    ThreadNotFound,
    Unsupported,
    ValidationError,
)
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
    run = do(lambda c: c.submit("hello", agent_id="talk", thread_id=thread_id, metadata={"a": 1}, priority=3))
    assert isinstance(run, Run)
    result = do(lambda c: c.wait(run.run_id))
    assert result.run.is_done
    assert result.run.phase == "completed"
    assert result.output == "".join(f"hello {number} " for number in range(WORDS))
    assert [message.text for message in result.messages] == [result.output]

    read = do(lambda c: c.get_run(run.run_id))
    assert (read.thread_id, read.agent_id, read.metadata) == (thread_id, "talk", {"a": 1})
    assert read.termination is not None
    assert read.termination.type == "natural_end"
    [dispatch] = do(lambda c: c.list_dispatches(run.run_id))
    assert (dispatch.status, dispatch.priority) == ("acked", 3)
    texts = [(message.role, message.text) for message in do(lambda c: c.messages(thread_id))]
    assert texts == [("user", "hello"), ("assistant", result.output)]
    events = do(lambda c: c.run_events(run.run_id, limit=7))
    assert [event.kind for event in events][-1] == "RunFinished"
    assert do(lambda c: c.thread_events(thread_id, limit=200))[-1] == events[-1]


def test_submitting_and_waiting_are_one_call(do: Do, thread_id: str) -> None:
    result = do(lambda c: c.run([{"role": "user", "content": "hi"}], agent_id="talk", thread_id=thread_id))
    assert result.run.is_done
    assert result.output.startswith("hi 0 ")


def test_a_wait_that_is_over_before_the_run_says_so(do: Do, thread_id: str) -> None:
    result = do(lambda c: c.run("hi", agent_id="stuck", thread_id=thread_id, timeout_s=0.01))
    assert not result.run.is_done
    assert not do(lambda c: c.wait(result.run.run_id, timeout_s=0.01)).run.is_done
    stopped = do(lambda c: c.cancel(result.run.run_id, wait=True))
    assert stopped.state == "stopped"
    assert stopped.run.phase == "cancelled"
    assert do(lambda c: c.wait(result.run.run_id)).run.phase == "cancelled"


def test_threads_are_created_listed_and_cleared(do: Do, thread_id: str) -> None:
    made = do(
        lambda c: c.create_thread(
            thread_id=thread_id, title="Orders", metadata={"k": "v"}, messages=[{"role": "user", "content": "before"}]
        )
    )
    assert (made.thread_id, made.title, made.message_count) == (thread_id, "Orders", 1)
    assert do(lambda c: c.create_thread(thread_id=thread_id, if_exists="do_nothing")).title == "Orders"
    assert do(lambda c: c.get_thread(thread_id)).metadata == {"k": "v"}
    assert thread_id in [thread.thread_id for thread in do(lambda c: c.list_threads(limit=2))]

    assert do(lambda c: c.cancel_thread(thread_id)).run is None
    first = do(lambda c: c.submit("one", agent_id="stuck", thread_id=thread_id))
    second = do(lambda c: c.submit("two", agent_id="stuck", thread_id=thread_id))
    cleared = do(lambda c: c.interrupt(thread_id, wait=True))
    assert (cleared.active_run_id, cleared.superseded, cleared.cancel) == (first.run_id, (second.run_id,), "stopped")
    assert do(lambda c: c.get_run(second.run_id)).phase == "superseded"
    third = do(lambda c: c.submit("three", agent_id="stuck", thread_id=thread_id))
    assert do(lambda c: c.cancel_thread(thread_id, wait=True)).run.run_id == third.run_id


def test_lists_go_over_all_pages(do: Do, thread_id: str) -> None:
    runs = [do(lambda c: c.submit("x", agent_id="talk", thread_id=thread_id)) for _ in range(5)]
    listed = do(lambda c: c.list_runs(thread_id=thread_id, limit=2))
    assert [run.run_id for run in listed] == [run.run_id for run in reversed(runs)]
    done = do(lambda c: c.list_runs(status="done", agent_id="talk", order="asc", limit=200))
    assert all(run.is_done for run in done)


def test_the_server_tells_about_itself(do: Do) -> None:
    assert [agent.agent_id for agent in do(lambda c: c.list_agents())] == ["talk", "stuck", "clerk", "broken"]
    assert do(lambda c: c.get_agent("talk")).description == "Says what it was told, many times."
    health = do(lambda c: c.health())
    assert (health.status, health.durability, health.components["store"].state) == ("ready", "volatile", "ok")


def test_refusals_are_the_errors_of_the_domain(do: Do, thread_id: str) -> None:
    def refused(use: Callable[[Any], Any], kind: type[Exception]) -> Any:
        with pytest.raises(kind) as caught:
            do(use)
        return caught.value

    assert refused(lambda c: c.get_run("nobody"), RunNotFound).id == "nobody"
    assert refused(lambda c: c.get_thread("nowhere"), ThreadNotFound).id == "nowhere"
    assert refused(lambda c: c.get_agent("none"), AgentNotFound).id == "none"
    refused(lambda c: c.submit("x", agent_id="talk", thread_id="nowhere", create_thread=False), ThreadNotFound)
    assert refused(lambda c: c.submit("x", agent_id="none"), ValidationError).code == "unknown_agent"
    assert refused(lambda c: c.submit([], agent_id="talk"), ValidationError).code == "invalid_request"
    assert refused(lambda c: c.list_runs(colour="red"), ValidationError).code == "unknown_parameter"
    assert refused(lambda c: c.get_run("a b"), ValidationError).code == "invalid_id"

    done = do(lambda c: c.run("x", agent_id="talk", thread_id=thread_id)).run
    assert refused(lambda c: c.cancel(done.run_id), RunNotOpen).status == "done"
    again = refused(lambda c: c.submit("other", agent_id="talk", run_id=done.run_id), AlreadyExists)
    assert again.id == done.run_id
    with pytest.raises(Unsupported):
        do(lambda c: c.send(_with_strategy(thread_id)))


def _with_strategy(thread_id: str) -> Any:
    body = b'{"input": "x", "agent_id": "talk", "multitask_strategy": "rollback"}'
    return calls.Call(method="POST", path="/v1/runs", body=body, decode=lambda answer: answer)


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
        lambda c, notify: c.stream("hi", agent_id="talk", thread_id=thread_id, on_reconnect=notify),
        url=server,
    )
    assert outcome.error is None
    assert len(outcome.reconnects) == len(cuts)
    uncut = collect(kind, None, lambda c, notify: c.watch_run(outcome.progress.run_id), url=server)
    assert outcome.items == uncut.items
    kinds = [item.kind for item in outcome.items if isinstance(item, Event)]
    assert kinds.count("TextDeltaObserved") == WORDS
    assert (outcome.progress.end_reason, outcome.progress.thread_id) == ("done", thread_id)


def test_a_run_whose_acceptance_was_not_heard_is_not_made_twice(
    do: Do, kind: Kind, server: str, thread_id: str
) -> None:
    transport = Unreliable(kind, None, None)
    outcome = collect(
        kind, transport, lambda c, notify: c.stream("hi", agent_id="talk", thread_id=thread_id), url=server
    )
    assert outcome.error is None
    assert transport.methods == ["POST", "POST", "POST"]
    [run] = do(lambda c: c.list_runs(thread_id=thread_id))
    assert {item.run_id for item in outcome.items if isinstance(item, Event)} == {run.run_id}


def test_a_run_without_a_thread_is_not_made_twice_either(do: Do, kind: Kind, server: str) -> None:
    outcome = collect(kind, Unreliable(kind, None), lambda c, notify: c.stream("hi", agent_id="talk"), url=server)
    assert outcome.error is None
    thread_id = outcome.progress.thread_id
    assert [run.run_id for run in do(lambda c: c.list_runs(thread_id=thread_id))] == [outcome.progress.run_id]


def test_a_thread_is_watched_from_its_start(do: Do, kind: Kind, server: str, thread_id: str) -> None:
    run = do(lambda c: c.run("hi", agent_id="talk", thread_id=thread_id)).run
    recorded = do(lambda c: c.thread_events(thread_id, limit=200, channels=_ALL))
    transport = Unreliable(kind, 6_000)
    items: list[Any] = []

    def watched(client: Any, notify: Any) -> Any:
        return _Until(client.watch_thread(thread_id, since="start", channels=_ALL), items, run.run_id)

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
