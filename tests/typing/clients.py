"""Programs that use a server over HTTP. Nothing here is executed: the type checker is the test, as in `programs`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type

from awaken.client import (
    Agent,
    AsyncClient,
    AsyncRunHandle,
    Cancellation,
    Client,
    Dispatch,
    Event,
    Health,
    Interruption,
    Json,
    Limits,
    Message,
    Reconnect,
    ResumeSettings,
    Resync,
    Run,
    RunHandle,
    StreamItem,
    Termination,
    Thread,
    Transcript,
)


async def an_async_program() -> None:
    async with AsyncClient("http://127.0.0.1:8000", resume=ResumeSettings()) as client:
        assert_type(client, AsyncClient)
        run = await client.submit("t", "hello", agent="echo", create_thread=False)
        assert_type(run, AsyncRunHandle)
        assert_type(run.record.termination, Termination | None)
        assert_type(await client.run("t", "hello", timeout_s=5), Run)
        await client.submit(None, Json({"order": 7}), at=datetime.now(UTC), limits=Limits(timeout_s=60))
        async with client.stream(None, "hello", agent="echo") as stream:
            async for item in stream:
                shown(item)
        async with client.run_events(run.run_id, on_reconnect=reconnected) as stream:
            async for item in stream:
                assert_type(item, StreamItem)
        async for each in client.list_runs(thread_id="t", status="done"):
            assert_type(each, Run)
        async for message in client.messages("t"):
            assert_type(message, Message)
        assert_type(await client.messages("t"), list[Message])
        assert_type(await client.cancel(run.run_id, wait_s=5), Cancellation)
        assert_type(await client.interrupt("t"), Interruption)
        assert_type(await client.create_thread(thread_id="t", title="An order"), Thread)
        assert_type(await client.get_agent("echo"), Agent)
        assert_type(await client.health(), Health)

        _run: AsyncRunHandle = client.submit("t", "hello")  # pyright: ignore[reportAssignmentType]
        await client.submit("hello")  # pyright: ignore[reportCallIssue]
        await client.submit("t", "hello", agent_id="echo")  # pyright: ignore[reportCallIssue]
        await client.submit("t", "hello", priority="high")  # pyright: ignore[reportArgumentType]
        await client.create_thread(name="t")  # pyright: ignore[reportCallIssue]


def a_program_without_a_loop() -> None:
    with Client("http://127.0.0.1:8000") as client:
        run = client.submit(None, [{"role": "user", "content": "hello"}], agent="echo")
        assert_type(run, RunHandle)
        assert_type(client.wait(run.run_id).final_output, str | None)
        with client.events("t", after="cursor") as stream:
            for item in stream:
                shown(item)
        for dispatch in client.list_dispatches(run.run_id):
            assert_type(dispatch, Dispatch)
        for thread in client.list_threads():
            assert_type(thread, Thread)
        run.record.status = "done"  # pyright: ignore[reportAttributeAccessIssue]
        client.wait(run)  # pyright: ignore[reportArgumentType]


def shown(item: StreamItem) -> str:
    transcript = Transcript()
    transcript.feed(item)
    if isinstance(item, Event):
        assert_type(item.payload, dict[str, Any])
    else:
        assert_type(item, Resync)
        _event: Event = item  # pyright: ignore[reportAssignmentType]
    return transcript.text


def reconnected(what: Reconnect) -> None:
    assert_type(what.delay_s, float)
