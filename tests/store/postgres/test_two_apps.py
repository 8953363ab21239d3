"""Two apps on one database, as two processes are: one accepts or dies, the other one goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from awaken import Awaken
from awaken.domain.dispatch import DispatchStatus
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.postgres.driver import connect
from awaken.store.postgres.opening import place_of
from awaken.testing.audit import check_sound
from awaken.testing.behaviour import behaviour
from awaken.wiring import PromisedRun

FAST = MailboxSettings(poll_interval_s=600.0)
"""So that what is not heard of is not found in a test."""


async def echo(ctx: Context) -> str:
    return f"You said: {await ctx.input()}"


def app_on(url: str, settings: MailboxSettings = FAST) -> Awaken:
    app = Awaken(url, settings=settings)
    app.agent("echo", echo)
    return app


@behaviour("SG-002")
async def test_what_one_process_accepts_wakes_another_that_can_run_it(postgres_url: str) -> None:
    api = Awaken(postgres_url, settings=FAST)
    api.agent("echo", echo)
    await api.drain()
    async with asyncio.timeout(30), app_on(postgres_url) as worker, api:
        run = await api.run("thread-1", "hello", agent="echo")

        assert run.output == "You said: hello"
        assert (await worker.get_run(run.run_id)).status == "done"
        await check_sound(worker.store)


@behaviour("MB-033", "MBX-056")
async def test_what_many_ask_of_two_processes_is_executed_once_each_and_in_order(postgres_url: str) -> None:
    executed: list[str] = []

    async def noting(ctx: Context) -> str:
        said = await ctx.input()
        executed.append(said)
        return said

    async with asyncio.timeout(60), app_on(postgres_url) as one, app_on(postgres_url) as other:
        for app in (one, other):
            app.agent("noting", noting)
        asked = [f"{thread} {number}" for number in range(5) for thread in "abcd"]
        runs = [
            (one if place % 2 else other).run(said.partition(" ")[0], said, agent="noting")
            for place, said in enumerate(asked)
        ]
        ended = await asyncio.gather(*runs)

        assert sorted(run.output or "" for run in ended) == sorted(asked)
        assert sorted(executed) == sorted(asked)
        counts = await one.store.count_dispatches()
        assert (counts[DispatchStatus.ACKED], counts[DispatchStatus.QUEUED]) == (20, 0)
        await check_sound(other.store)


async def test_errands_of_one_sender_to_one_thread_keep_their_order_whoever_delivers_them(postgres_url: str) -> None:
    """Both deliver all of them, side by side; each of the four threads has its own in the order of their commits."""
    async with asyncio.timeout(60), app_on(postgres_url) as one, app_on(postgres_url) as other:
        connection = await connect(place_of(postgres_url).dsn)
        asked: list[PromisedRun] = []
        for number in range(12):
            async with connection.transaction():
                for thread in "abcd":
                    run = await one.submit(thread, f"{thread} {number}", agent="echo", connection=connection)
                    assert isinstance(run, PromisedRun)
                    asked.append(run)
        await connection.close()
        await asyncio.gather(*[run.result() for run in asked])

        for thread in "abcd":
            said = [message.text async for message in other.messages(thread, order="asc") if message.role == "user"]
            assert said == [f"{thread} {number}" for number in range(12)]
        await check_sound(other.store)


@behaviour("RT-017")
async def test_two_processes_execute_no_more_of_an_agent_at_once_than_the_lower_limit_allows(postgres_url: str) -> None:
    """Also where one of them names none, and however much each of them has room for."""
    executing, most = 0, 0

    async def counted(ctx: Context) -> str:
        nonlocal executing, most
        executing += 1
        most = max(most, executing)
        await ctx.step("a commit in between", lambda: 1)
        executing -= 1
        return "done"

    settings = MailboxSettings(poll_interval_s=600.0)
    async with asyncio.timeout(60):
        limited = Awaken(postgres_url, settings=settings)
        limited.agent("counted", counted, max_concurrent_total=2)
        unlimited = Awaken(postgres_url, settings=settings)
        unlimited.agent("counted", counted)
        async with limited, unlimited:
            apps = [limited, unlimited]
            runs = await asyncio.gather(
                *[apps[n % 2].run(f"thread-{n // 2}", f"{n}", agent="counted") for n in range(30)]
            )

        assert [run.output for run in runs] == ["done"] * 30
        assert most == 2


MORTAL = """
import asyncio, sys
from awaken import Awaken

async def slow(ctx):
    yield "half a sentence"
    await asyncio.Event().wait()

async def main():
    app = Awaken(sys.argv[1])
    app.agent("slow", slow)
    async with app:
        await asyncio.Event().wait()

asyncio.run(main())
"""


@behaviour("SRV-021")
async def test_a_stream_goes_on_in_another_process_when_the_one_that_executed_it_is_killed(postgres_url: str) -> None:
    """Who reads it elsewhere is told that it begins anew, and gets the rest, without a gap."""

    async def slow(ctx: Context) -> AsyncIterator[str]:
        yield f"the whole answer to {await ctx.input()}"

    async with asyncio.timeout(60), app_on(postgres_url, MailboxSettings()) as app:
        app.agent("slow", slow)
        await app.drain()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", MORTAL, postgres_url)
        kinds: list[str] = []
        seqs: list[int] = []
        try:
            run = await app.submit("thread-1", "go", agent="slow")
            async for event in run.events():
                kinds.append(event.kind)
                seqs.append(event.seq)
                if event.kind == "TextDeltaObserved" and process.returncode is None:
                    process.kill()
                    await process.wait()
                    await app.undrain()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

        assert seqs == [event.seq async for event in run.events()], "in parts as at once"
        assert [kind for kind in kinds if kind in ("StreamReset", "RunResumed", "RunFinished")] == [
            "StreamReset",
            "RunResumed",
            "RunFinished",
        ]
        assert (await app.get_run(run.run_id)).output == "the whole answer to go"
        await check_sound(app.store)
