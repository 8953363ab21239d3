"""A program that runs agents in itself, as a caller writes it. Nothing here is executed: the type checker is the test.

A line that has to be an error says so, and the checker complains when it is none.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from awaken import Awaken, Event, MailboxSettings, Message, Run, RunHandle, Thread
from awaken.domain import shown
from awaken.domain.shown import Cancellation, Interruption
from awaken.http.app import HttpApp


def a_server_is_made() -> None:
    assert_type(Awaken(), Awaken)
    Awaken("sqlite:///awaken.db", settings=MailboxSettings(max_concurrent_runs=10))
    Awaken(5)  # pyright: ignore[reportArgumentType]
    Awaken("sqlite:///awaken.db", MailboxSettings())  # pyright: ignore[reportCallIssue]
    MailboxSettings(max_concurrent_runs="many")  # pyright: ignore[reportArgumentType]
    MailboxSettings(no_such_setting=1)  # pyright: ignore[reportCallIssue]


async def a_run_is_submitted_and_awaited(app: Awaken, message: Message) -> None:
    async with app as entered:
        assert_type(entered, Awaken)
        handle = await app.submit("thread", "hello", agent="echo", delay_s=1.5, metadata={"order": 4711})
        assert_type(handle, RunHandle)
        await app.submit(None, message)
        await app.submit("thread", [message, message], run_id="r1", dedupe_key="k", priority=1, max_attempts=3)
        run = await app.run("thread", "hello", timeout_s=5)
        assert_type(run, Run)
        assert_type(run.final_output, str | None)

    await app.submit("thread")  # pyright: ignore[reportCallIssue]
    await app.submit("thread", 5)  # pyright: ignore[reportArgumentType]
    await app.submit("thread", "hello", "echo")  # pyright: ignore[reportCallIssue]
    await app.submit("thread", "hello", agnet="echo")  # pyright: ignore[reportCallIssue]
    _run: Run = app.run("thread", "hello")  # pyright: ignore[reportAssignmentType]
    _handle: RunHandle = app.submit("thread", "hello")  # pyright: ignore[reportAssignmentType]
    with app:  # pyright: ignore[reportGeneralTypeIssues]
        pass


async def a_run_is_followed(handle: RunHandle) -> None:
    assert_type(handle.run_id, str)
    assert_type(handle.thread_id, str)
    assert_type(handle.replayed, bool)
    async for event in handle.events(after="cursor"):
        assert_type(event, Event)
        assert_type(event.seq, int)
        assert_type(event.run_id, str | None)
        assert_type(event.created_at, str)
        assert_type(event.payload, dict[str, Any])
        event.seq = 5  # pyright: ignore[reportAttributeAccessIssue]
    assert_type(await handle.result(timeout_s=5), Run)
    assert_type(await handle.refresh(), Run)
    assert_type(await handle.cancel(wait_s=1), Cancellation)
    handle.run_id = handle.run_id  # pyright: ignore[reportAttributeAccessIssue]
    _events: list[Event] = handle.events()  # pyright: ignore[reportAssignmentType]


async def a_thread_is_read_and_cleared(app: Awaken) -> None:
    assert_type(await app.get_run("r1"), Run)
    assert_type(await app.get_thread("thread"), Thread)
    assert_type(await app.messages("thread"), list[shown.Message])
    async for event in app.events("thread"):
        assert_type(event, Event)
    assert_type(await app.cancel("r1"), Cancellation)
    assert_type((await app.cancel("r1")).run, Run | None)
    assert_type(await app.interrupt("thread", wait_s=1), Interruption)
    assert_type((await app.interrupt("thread")).superseded, tuple[str, ...])
    await app.interrupt(None)  # pyright: ignore[reportArgumentType]


def the_server_is_mounted(app: Awaken) -> None:
    assert_type(app.asgi(allowed_hosts=["shop.test"]), HttpApp)
    app.asgi(["shop.test"])  # pyright: ignore[reportCallIssue]
