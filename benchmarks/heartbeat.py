"""How late the event loop is, by a task that wants to run every 2 ms: what every stream and every request feels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

_BEAT_S: Final = 0.002


@asynccontextmanager
async def heartbeat() -> AsyncGenerator[list[float]]:
    """While entered, each beat adds by how many milliseconds it came late."""
    late_ms: list[float] = []

    async def beat() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(_BEAT_S)
            late_ms.append((time.perf_counter() - asked - _BEAT_S) * 1000)

    beating = asyncio.create_task(beat())
    try:
        yield late_ms
    finally:
        beating.cancel()
