"""What asks the process to end stays inside the run whose code asks for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from awaken.executors.classify import verdict_on
from awaken.executors.containment import Exited, contain, contained, kept
from awaken.executors.wording import described


async def leaves() -> None:
    sys.exit(3)


async def leaves_later() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


async def in_thread() -> None:
    await asyncio.to_thread(sys.exit, 4)


def _close_in_thread() -> None:
    raise GeneratorExit


@pytest.fixture(autouse=True)
async def loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.get_running_loop()
    contain(loop)
    return loop


@pytest.mark.parametrize(("work", "asked"), [(leaves, SystemExit), (leaves_later, KeyboardInterrupt)])
async def test_a_task_of_an_agent_that_ends_the_process_fails_for_whoever_waits_for_it(
    work: Any, asked: type[BaseException]
) -> None:
    with contained():
        task = asyncio.create_task(work())
    with pytest.raises(Exited) as exited:
        await task
    assert isinstance(exited.value.__cause__, asked)
    assert described(exited.value) == asked.__name__


async def test_a_generator_exit_that_is_waited_for_closes_nobody() -> None:
    """Whoever waits goes on: asyncio throws it into his coroutine, which would otherwise be closed by it."""

    async def close() -> None:
        raise GeneratorExit

    async def waits(work: Any) -> BaseException | None:
        try:
            await work
        except Exited as exited:
            await asyncio.sleep(0)
            return exited.__cause__
        return None

    loop = asyncio.get_running_loop()
    with contained():
        for start in (lambda: loop.create_task(close()), lambda: asyncio.to_thread(_close_in_thread)):
            assert isinstance(await loop.create_task(waits(start())), GeneratorExit)
    future = loop.create_future()
    task = loop.create_task(kept(waits(future)))
    loop.call_soon(future.set_exception, GeneratorExit())
    assert isinstance(await task, GeneratorExit)


async def test_a_contained_task_that_is_thrown_away_is_closed() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    work = kept(waits())
    work.send(None)
    work.close()
    assert ended == ["closed"]


async def test_tasks_that_such_a_task_starts_are_contained_too() -> None:
    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(leaves())

    with contained():
        task = asyncio.create_task(outer())
    with pytest.raises(ExceptionGroup) as failed:
        await task
    assert described(failed.value) == "ExceptionGroup (SystemExit)"
    assert verdict_on(failed.value) == "permanent"


async def test_the_groups_of_anyio_gather_and_threads_are_contained() -> None:
    async def group() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leaves_later)

    with contained():
        for work in (group(), asyncio.gather(leaves()), in_thread()):
            with pytest.raises((Exited, ExceptionGroup)):
                await asyncio.ensure_future(work)


async def test_a_task_that_is_cancelled_before_it_began_leaves_no_complaint() -> None:
    with contained():
        task = asyncio.create_task(leaves())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_shows_the_coroutine_of_the_agent() -> None:
    with contained():
        task = asyncio.create_task(leaves_later())
    assert "leaves_later" in repr(task)
    await asyncio.wait((task,))
    assert isinstance(task.exception(), Exited)


async def test_results_and_steps_of_generators_pass_through() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    with contained():
        assert await asyncio.create_task(asyncio.sleep(0, 7)) == 7
        assert await asyncio.create_task(anext(items())) == 1  # pyright: ignore[reportUnknownArgumentType, reportArgumentType]


async def test_tasks_of_no_agent_are_made_as_before(loop: asyncio.AbstractEventLoop) -> None:
    work = asyncio.sleep(0)
    task = asyncio.create_task(work)
    assert task.get_coro() is work
    await task


async def test_a_factory_that_the_loop_had_is_used_and_nothing_is_put_around_twice() -> None:
    loop, made = asyncio.get_running_loop(), list[Any]()

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(work)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(factory)
    contain(loop)
    ours = loop.get_task_factory()
    contain(loop)
    assert loop.get_task_factory() is ours

    with contained(), pytest.raises(Exited):
        await asyncio.create_task(leaves())
    assert len(made) == 1
