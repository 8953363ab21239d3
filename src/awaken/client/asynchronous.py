"""The client for programs with an event loop.

Above: users. Below: `calls.py` (what to send, how to read it), `resume.py` (what to do next), httpx.
Holds: a method returns the server's answer or raises what it stands for; a stream comes back by itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from awaken.client import calls, wire
from awaken.client.calls import Call, Input, RunOptions, Waited
from awaken.client.connection import DEFAULT_TIMEOUT_S, DEFAULT_URL, OnReconnect, Reconnect, Setup, check_stream
from awaken.client.resume import ResumeSettings, Resumption
from awaken.domain.clock import Clock, sleep
from awaken.domain.ids import Chance

ResultT = TypeVar("ResultT")


class AsyncClient:
    """Talks to one server. Enter it, or call `close`, so that its connections are closed.

    Raises, from every method:
        Unreachable: There was no answer.
        AwakenError: What the answer stands for: NotFound, Conflict, ValidationError, Unavailable …, else ApiError.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        resume: ResumeSettings | None = None,
        headers: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._setup = Setup(url, timeout_s=timeout_s, resume=resume, headers=headers, clock=clock, chance=chance)
        self._http = httpx.AsyncClient(transport=transport, **self._setup.httpx_arguments())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[ResultT]) -> ResultT:
        """Send a call made by `awaken.client.calls`, and read the answer."""
        try:
            response = await self._http.request(**self._setup.request_arguments(call))
        except httpx.TransportError as error:
            raise self._setup.unreachable(error) from error
        return calls.read(call, response.status_code, response.content)

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def submit(self, content: Input, **options: Unpack[RunOptions]) -> wire.Run:
        """Have a run accepted. It is durable when this returns, and goes on whoever watches."""
        return await self.send(calls.create_run(calls.run_request(self._setup.ids, content, **options)))

    async def run(self, content: Input, *, timeout_s: float = 300.0, **options: Unpack[RunOptions]) -> wire.RunResult:
        """Submit and wait for the end, at most `timeout_s` seconds; then see `result.run.is_done`."""
        request = calls.run_request(self._setup.ids, content, **options)
        ends_s = self._setup.clock.monotonic() + timeout_s
        waited = await self.send(calls.create_run_and_wait(request, timeout_s=min(timeout_s, calls.MAX_WAIT_S)))
        return await self._until(ends_s, waited)

    def stream(
        self, content: Input, *, on_reconnect: OnReconnect | None = None, **options: Unpack[RunOptions]
    ) -> AsyncStream:
        """Submit and watch. The run is accepted when the first item, or the end, has come."""
        request = calls.run_request(self._setup.ids, content, **options)
        return self._stream(calls.watch_run(request.run_id, {}), on_reconnect, calls.create_run_and_stream(request, {}))

    async def get_run(self, run_id: str) -> wire.Run:
        return await self.send(calls.get_run(run_id))

    async def wait(self, run_id: str, *, timeout_s: float = 300.0) -> wire.RunResult:
        """The run when it is done or waiting, or as it is after `timeout_s` seconds."""
        ends_s = self._setup.clock.monotonic() + timeout_s
        waited = await self.send(calls.wait_run(run_id, timeout_s=min(timeout_s, calls.MAX_WAIT_S)))
        return await self._until(ends_s, waited)

    def watch_run(
        self, run_id: str, *, after: str | None = None, on_reconnect: OnReconnect | None = None, **filters: Any
    ) -> AsyncStream:
        """A run's events from its start, or after a cursor, until its end. Filters: `channels`, `include_deltas` …"""
        return self._stream(calls.watch_run(run_id, calls.filters(filters)), on_reconnect, after=after)

    async def cancel(self, run_id: str, *, wait: bool = False) -> wire.Cancellation:
        return await self.send(calls.cancel_run(run_id, wait=wait))

    def list_runs(self, *, thread_id: str | None = None, **filters: Any) -> AsyncIterator[wire.Run]:
        """Newest first. Filters: `status`, `agent_id`, `order`, and `limit`, the size of a page."""
        return self._items(calls.list_runs(thread_id=thread_id, **filters))

    def list_dispatches(self, run_id: str) -> AsyncIterator[wire.Dispatch]:
        return self._items(calls.list_dispatches(run_id))

    def run_events(self, run_id: str, **filters: Any) -> AsyncIterator[wire.Event]:
        """The run's log so far, oldest first, page by page."""
        return self._items(calls.list_run_events(run_id, **filters))

    # --- threads ------------------------------------------------------------------------------------------------------

    async def create_thread(self, **members: Unpack[calls.ThreadOptions]) -> wire.Thread:
        return await self.send(calls.create_thread(**members))

    async def get_thread(self, thread_id: str) -> wire.Thread:
        return await self.send(calls.get_thread(thread_id))

    def list_threads(self, **filters: Any) -> AsyncIterator[wire.Thread]:
        """Most recently active first."""
        return self._items(calls.list_threads(**filters))

    def messages(self, thread_id: str, **filters: Any) -> AsyncIterator[wire.Message]:
        """The conversation, oldest first."""
        return self._items(calls.list_messages(thread_id, **filters))

    async def cancel_thread(self, thread_id: str, *, wait: bool = False) -> wire.Cancellation:
        """Stop the thread's active run; its queue goes on."""
        return await self.send(calls.cancel_thread(thread_id, wait=wait))

    async def interrupt(self, thread_id: str, *, wait: bool = False) -> wire.Interruption:
        """Stop the thread's active run and supersede everything queued."""
        return await self.send(calls.interrupt(thread_id, wait=wait))

    def thread_events(self, thread_id: str, **filters: Any) -> AsyncIterator[wire.Event]:
        """The thread's log so far, oldest first, page by page."""
        return self._items(calls.list_thread_events(thread_id, **filters))

    def watch_thread(
        self, thread_id: str, *, after: str | None = None, on_reconnect: OnReconnect | None = None, **filters: Any
    ) -> AsyncStream:
        """A thread's events from now on (`since="start"`: all of them), or after a cursor, without end."""
        return self._stream(calls.watch_thread(thread_id, calls.filters(filters)), on_reconnect, after=after)

    # --- the server ---------------------------------------------------------------------------------------------------

    def list_agents(self) -> AsyncIterator[wire.Agent]:
        return self._items(calls.list_agents())

    async def get_agent(self, agent_id: str) -> wire.Agent:
        return await self.send(calls.get_agent(agent_id))

    async def health(self) -> wire.Health:
        """How the server is, also when it is not ready."""
        return await self.send(calls.health())

    # --- how they work ------------------------------------------------------------------------------------------------

    async def _until(self, ends_s: float, waited: Waited) -> wire.RunResult:
        while waited.result is None:
            left_s = ends_s - self._setup.clock.monotonic()
            if left_s <= 0:
                return wire.RunResult(run=waited.run)
            waited = await self.send(calls.wait_run(waited.run.run_id, timeout_s=min(left_s, calls.MAX_WAIT_S)))
        return waited.result

    async def _items(self, call: Call[wire.Page[ResultT]]) -> AsyncIterator[ResultT]:
        """Every item of every page, each page asked for when it is needed."""
        following: Call[wire.Page[ResultT]] | None = call
        while following is not None:
            page = await self.send(following)
            for item in page.items:
                yield item
            following = calls.following(following, page)

    def _stream(
        self,
        watch: Call[None],
        on_reconnect: OnReconnect | None,
        create: Call[None] | None = None,
        *,
        after: str | None = None,
    ) -> AsyncStream:
        machine = Resumption(self._setup.resume, self._setup.chance, watch=watch, create=create, after=after)
        return AsyncStream(self._http, self._setup, machine, on_reconnect)


class AsyncStream:
    """Events as they become durable, across any number of connections. Use `async with`, then `async for`."""

    def __init__(
        self, http: httpx.AsyncClient, setup: Setup, machine: Resumption, on_reconnect: OnReconnect | None
    ) -> None:
        self._http = http
        self._setup = setup
        self._on_reconnect = on_reconnect
        self.progress = machine
        """What is known of the stream: `run_id`, `thread_id`, `last_cursor`, `end_reason`, `reconnects`."""
        self._iterator = self._items()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._iterator.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> wire.StreamItem:
        return await anext(self._iterator)

    async def _items(self) -> AsyncGenerator[wire.StreamItem, None]:
        machine, setup = self.progress, self._setup
        while not machine.ended:
            try:
                async with self._http.stream(**setup.request_arguments(machine.next_call(), streams=True)) as response:
                    if response.status_code == 204:
                        machine.nothing_left()
                        return
                    if response.status_code != 200:
                        body, after = await response.aread(), response.headers.get("retry-after")
                        cause, delay_s = machine.refused(response.status_code, body, after, setup.clock.monotonic())
                    else:
                        check_stream(response)
                        machine.accepted()
                        async for chunk in response.aiter_raw():
                            for item in machine.received(chunk):
                                yield item
                            if machine.ended:
                                return
                        cause, delay_s = machine.broken(setup.cut(), setup.clock.monotonic())
            except httpx.TransportError as error:
                cause, delay_s = machine.broken(setup.unreachable(error), setup.clock.monotonic())
            if self._on_reconnect is not None:
                self._on_reconnect(Reconnect(cause, delay_s))
            await sleep(setup.clock, delay_s)
