"""Work on behalf of a client that may leave.

Above: handlers that wait for a run. Below: the ASGI channel, which reports that the client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from awaken.http.body import ClientGone, Receive

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns.

    Raises:
        ClientGone: The client left first; the work has been cancelled.
    """
    async with asyncio.TaskGroup() as group:
        working = group.create_task(_outcome(work))
        leaving = group.create_task(_until_gone(receive))
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        leaving.cancel()
    if working.cancelled():
        raise ClientGone
    outcome = working.result()
    if isinstance(outcome, _Failed):
        raise outcome.error
    return outcome


class _Failed:
    """An error as a value, so that it does not arrive wrapped in a group."""

    def __init__(self, error: Exception) -> None:
        self.error = error


async def _outcome(work: Coroutine[Any, Any, T]) -> T | _Failed:
    try:
        return await work
    except Exception as error:
        return _Failed(error)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
