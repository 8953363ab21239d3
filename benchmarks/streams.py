"""How soon does each of many clients have what its own run streams, and what does a piece of text cost on disk?

The everyday load: each client submits a run and streams it, and its agent speaks as a model does, 50 pieces of text a
second. Every piece carries the time at which it was made; the clients, one process of their own, look at the clock of
the same machine when they have it. What is written is counted by the kernel over the whole life of the server.
"""

from __future__ import annotations

import asyncio
import re
import resource
import statistics
import time
from typing import Any, Final, cast

import msgspec

from benchmarks.clients import a_run, request
from benchmarks.machine import percentile
from benchmarks.process import alone, scratch
from benchmarks.serving import awaken_served
from benchmarks.table import Findings

PER_SECOND: Final = 50
_BLOCK_BYTES: Final = 512
_KB: Final = 1024


class Load(msgspec.Struct, frozen=True):
    streams: int
    seconds: int
    begin_s: float = 1.0
    """The streams begin within this time, each at a moment of its own."""


FULL: Final = (Load(streams=100, seconds=20), Load(streams=400, seconds=15))
QUICK: Final = (Load(streams=5, seconds=1, begin_s=0.1), Load(streams=10, seconds=1, begin_s=0.1))


class Paced(msgspec.Struct):
    """What the clients saw, and what their server wrote."""

    pieces: int
    pieces_s: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    written_bytes: int = 0


def answer(*, quick: bool) -> Findings:
    findings = Findings(f"streams: many runs at once, each streamed at {PER_SECOND} pieces of text a second")
    some, many = [_paced(load) for load in (QUICK if quick else FULL)]
    some_name, many_name = [f"{load.streams} streams" for load in (QUICK if quick else FULL)]
    if some.written_bytes:
        written = some.written_bytes / some.pieces / _KB
        findings.gate(f"{some_name}: written for a piece", written, "at most", 4, "KB")
    else:
        findings.skipped(f"{some_name}: written for a piece", "not counted here, or the folder is not on a disk")
    findings.gate(f"{many_name}: a reader's delay, p99", many.p99_ms, "at most", 100, "ms")
    for name, paced in ((some_name, some), (many_name, many)):
        findings.row(
            f"{name}: delay p50", paced.p50_ms, "ms", f"p99 {paced.p99_ms:.1f}, longest {paced.most_ms:.0f} ms"
        )
        findings.row(f"{name}: streamed", paced.pieces_s, "/s", f"{paced.pieces:,} pieces, none missing")
        findings.row(f"{name}: written for a piece", paced.written_bytes / paced.pieces / _KB, "KB")
    return findings


def _paced(load: Load) -> Paced:
    before = _written_by_ended_children()
    with scratch() as folder:
        with awaken_served(
            folder, "benchmarks.apps:app", store=folder / "streams.db", slots=load.streams + 1
        ) as server:
            paced = alone(Paced, "benchmarks.streams:pace", port=server.port, load=load)
        paced.written_bytes = _written_by_ended_children() - before
    return paced


def _written_by_ended_children() -> int:
    """Bytes that the kernel counts for processes started here and over: the last checkpoint is among them."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock * _BLOCK_BYTES


# --- in a process of its own ------------------------------------------------------------------------------------------

_PIECE: Final = re.compile(rb'"delta":"@(\d+)@')
_END: Final = b"event: RunFinished"
_READ_BYTES: Final = 1 << 16
_PATIENCE_S: Final = 120.0


class Listener(asyncio.BufferedProtocol):
    """Submits a run, streams it, and notes the delay of each piece."""

    def __init__(self, ask: bytes) -> None:
        self._ask = ask
        self._buffer = bytearray(_READ_BYTES)
        self._rest = b""
        self.made_us: list[int] = []
        self.delays_us: list[int] = []
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._ask)  # uvloop has its own class

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        now_us = time.monotonic_ns() // 1000
        seen = self._rest + bytes(memoryview(self._buffer)[:nbytes])
        whole, _, self._rest = seen.rpartition(b"\n")
        made_us = [int(made) for made in _PIECE.findall(whole)]
        self.made_us += made_us
        self.delays_us += [now_us - made for made in made_us]
        if made_us and not self.begun.done():
            self.begun.set_result(None)
        if _END in whole and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_exception(ConnectionError("the server closed the stream"))


async def pace(*, port: int, load: dict[str, Any]) -> Paced:
    """Have every piece of every stream. What was made before all had begun is not judged."""
    asked = msgspec.convert(load, Load)
    each = PER_SECOND * asked.seconds
    loop = asyncio.get_running_loop()
    listeners: list[Listener] = []
    async with asyncio.timeout(_PATIENCE_S):
        for number in range(asked.streams):
            ask = request("POST", "/v1/runs/stream", a_run("pacer", f"stream-{number}", f"{PER_SECOND} {each}"))
            _, listener = await loop.create_connection(lambda ask=ask: Listener(ask), "127.0.0.1", port)
            listeners.append(listener)
            await asyncio.sleep(asked.begin_s / asked.streams)
        await asyncio.gather(*[listener.begun for listener in listeners])
        all_begun_us = time.monotonic_ns() // 1000
        await asyncio.gather(*[listener.ended for listener in listeners])
    pieces = sum(len(listener.made_us) for listener in listeners)
    if pieces != asked.streams * each:
        raise RuntimeError(f"{pieces} of {asked.streams * each} pieces arrived")
    return _paced_by(listeners, pieces, all_begun_us)


def _paced_by(listeners: list[Listener], pieces: int, all_begun_us: int) -> Paced:
    made_us = [made for listener in listeners for made in listener.made_us]
    delays_ms = [
        delay / 1000
        for listener in listeners
        for made, delay in zip(listener.made_us, listener.delays_us, strict=True)
        if made >= all_begun_us
    ]
    took_s = (max(made_us) - min(made_us)) / 1e6
    return Paced(pieces, pieces / took_s, statistics.median(delays_ms), percentile(delays_ms, 99), max(delays_ms))
