"""Programs that use a server over HTTP. Nothing here is executed: the type checker is the test, as in `programs`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from awaken.client import (
    Agent,
    AsyncClient,
    Cancellation,
    Client,
    Dispatch,
    Event,
    Health,
    Interruption,
    Message,
    Reconnect,
    ResumeSettings,
    Resync,
    Run,
    RunResult,
    StreamItem,
    Termination,
    Thread,
    Transcript,
)


async def an_async_program() -> None:
    async with AsyncClient("http://127.0.0.1:8000", resume=ResumeSettings()) as client:
        assert_type(client, AsyncClient)
        run = await client.submit("hello", agent_id="echo", thread_id="t", create_thread=False)
        assert_type(run, Run)
        assert_type(run.termination, Termination | None)
        assert_type(await client.run("hello", timeout_s=5), RunResult)
        async with client.stream("hello", agent_id="echo") as stream:
            async for item in stream:
                shown(item)
        async with client.watch_run(run.run_id, on_reconnect=reconnected) as stream:
            async for item in stream:
                assert_type(item, StreamItem)
        async for each in client.list_runs(thread_id="t", status="done"):
            assert_type(each, Run)
        async for message in client.messages("t"):
            assert_type(message, Message)
        assert_type(await client.cancel(run.run_id, wait=True), Cancellation)
        assert_type(await client.interrupt("t"), Interruption)
        assert_type(await client.create_thread(thread_id="t", title="An order"), Thread)
        assert_type(await client.get_agent("echo"), Agent)
        assert_type(await client.health(), Health)

        _run: Run = client.submit("hello")  # pyright: ignore[reportAssignmentType]
        await client.submit("hello", agent="echo")  # pyright: ignore[reportCallIssue]
        await client.submit("hello", priority="high")  # pyright: ignore[reportArgumentType]
        await client.create_thread(name="t")  # pyright: ignore[reportCallIssue]


def a_program_without_a_loop() -> None:
    with Client("http://127.0.0.1:8000") as client:
        run = client.submit([{"role": "user", "content": "hello"}], agent_id="echo")
        assert_type(run, Run)
        assert_type(client.wait(run.run_id).output, str | None)
        with client.watch_thread("t", after="cursor") as stream:
            for item in stream:
                shown(item)
        for dispatch in client.list_dispatches(run.run_id):
            assert_type(dispatch, Dispatch)
        for thread in client.list_threads():
            assert_type(thread, Thread)
        run.status = "done"  # pyright: ignore[reportAttributeAccessIssue]
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
