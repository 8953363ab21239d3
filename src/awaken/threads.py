"""Threads of the package's own, for calls that block.

Above: the SQLite store opens, closes, writes and copies its log in such threads; the registry of agents imports in one.
Below: `threading` and asyncio.
Holds: nothing here goes through asyncio's default executor, the one behind `asyncio.to_thread`. That is a handful of
threads shared by everything in the process (6 on a machine with two processors): agents that hang in all of them would
otherwise keep the store from opening, closing or being read, and agents from being imported.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


def in_thread(call: Callable[[], _T], *, name: str) -> Future[_T]:
    """Start a call in a thread that is made for it and ends with it.

    The call runs to its end, whoever waits for it, and whether or not the event loop still runs then. The thread does
    not keep the process alive.
    """
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # whoever waits for the outcome gets it
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome


async def ended(work: Future[Any]) -> None:
    """Wait until the call has ended, well or not. Cancelling the wait leaves the call alone."""
    if not work.done():
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        work.add_done_callback(lambda _: post(loop, _resolve, waiting))
        await waiting


async def result_of(work: Future[_T]) -> _T:
    """Wait for what the call returns. Raises what it raises; cancelling the wait leaves the call alone."""
    await ended(work)
    return work.result()


async def finished(work: Future[_T]) -> _T:
    """As `result_of`, but waits to the end however often the waiting task is cancelled, and only then lets that pass.

    A failure of the call wins over the cancellation.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await ended(work)
        except asyncio.CancelledError as error:
            cancelled = error
    result = work.result()
    if cancelled is not None:
        raise cancelled
    return result


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> None:
    """From any thread: have the event loop call back soon. A loop that is closed is left alone: nobody waits in it."""
    with suppress(RuntimeError):  # asking `is_closed` first would leave a moment in which it can be closed
        loop.call_soon_threadsafe(callback, *args)


def _resolve(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
