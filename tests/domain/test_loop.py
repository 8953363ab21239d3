"""A call from another event loop is refused, and says where it belongs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from awaken.domain.errors import WrongLoop
from awaken.domain.loop import check_loop


async def test_its_own_loop_is_allowed() -> None:
    check_loop(asyncio.get_running_loop(), "it")


async def test_another_loop_is_named_with_the_thread_in_which_it_runs() -> None:
    home = asyncio.get_running_loop()

    def refused() -> str:
        with pytest.raises(WrongLoop) as error:
            check_loop(home, "this object")
        return str(error.value)

    without_loop = await asyncio.to_thread(refused)

    async def on_another_loop() -> str:
        return refused()

    from_another = await asyncio.to_thread(lambda: asyncio.run(on_another_loop()))
    for said in (without_loop, from_another):
        assert said.startswith(f"this object belongs to the event loop {home!r}")
        assert f"in thread {threading.current_thread().name!r}" in said
        assert "run_coroutine_threadsafe" in said


async def test_a_loop_that_is_closed_says_what_should_have_been_done() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    with pytest.raises(WrongLoop, match="closed before it was stopped") as error:
        check_loop(closed, "this object")
    assert "async with" in str(error.value)
