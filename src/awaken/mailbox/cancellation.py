"""Await something to its end, however often whoever waits for it is cancelled.

Above: what must not be cut in half, such as a commit or a shutdown. Below: asyncio.
Holds: the work itself is never cancelled from here. A cancellation that came meanwhile is raised after the work has
ended, unless the work failed: then that failure is raised, because it says more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(awaitable: Awaitable[T]) -> T:
    """The result of the work. It bounds nothing: whatever is awaited must end by itself.

    Raises:
        CancelledError: The caller was cancelled meanwhile; the work is done.
    """
    work = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await _end_of(work)
        except asyncio.CancelledError as error:
            cancelled = error
    result = work.result()
    if cancelled is not None:
        raise cancelled
    return result


def _end_of(work: asyncio.Future[Any]) -> asyncio.Future[None]:
    """Resolved when the work is done; cancelling it leaves the work alone.

    `asyncio.wait` would do the same. Each step of a run waits here, and a step then costs a sixteenth more (measured).
    """
    end: asyncio.Future[None] = work.get_loop().create_future()
    work.add_done_callback(lambda _: end.done() or end.set_result(None))
    return end
