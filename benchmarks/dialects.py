"""What does it cost to show a run in another protocol?

In one process, without sockets: an agent streams text while 100 readers watch its run, in this API and in each other
protocol, in turns; what is said is how many events a second reach all of them together. And the time that each
protocol's encoder takes for an event, of a run that thinks, calls tools and answers.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from awaken.domain.run import Adapter
from awaken.executors.function import Context
from awaken.http.app import HttpApp, build_app
from awaken.http.operation import Call, Operation
from awaken.http.table import OPERATIONS
from awaken.protocols.ag_ui.encoder import AgUiEncoder
from awaken.protocols.ai_sdk.encoder import AiSdkEncoder
from awaken.protocols.contract import events_of
from awaken.protocols.gateway import Gateway
from awaken.protocols.langgraph.encoder import encoder_of as langgraph
from awaken.protocols.open_responses.encoder import OpenResponsesEncoder
from awaken.protocols.projection import Making
from awaken.testing.agents import memory_app
from awaken.testing.protocols import SeenRun, approve_all, seen_run
from awaken.testing.scripted import add_scripted
from benchmarks.process import alone
from benchmarks.table import Findings

ENCODERS: Final[dict[str, Making]] = {
    "ag_ui": AgUiEncoder,
    "ai_sdk": AiSdkEncoder,
    "langgraph": langgraph(frozenset(("messages-tuple", "values"))),
    "open_responses": OpenResponsesEncoder,
}
"""As a stock client gets them."""
READERS: Final = 100
_BURST: Final = 5
_PIECE: Final = "hello world, some tokens"
_PATIENCE_S: Final = 200.0
_SHAPES: Final = ("reasoning", "parallel", "mixed", "progress", "state", "long")


class Costs(msgspec.Struct):
    """Of each protocol, `native` among them: events a second to all readers, in rounds. Of the others: how long their
    encoder takes for an event.
    """

    events_s: dict[str, list[float]]
    encoding_us: dict[str, float]


def answer(*, quick: bool) -> Findings:
    costs = alone(Costs, "benchmarks.dialects:measure", events=300 if quick else 5_000, rounds=1 if quick else 3)
    findings = Findings(f"dialects: one run, {READERS} readers, in other protocols")
    native = costs.events_s["native"]
    for name in ENCODERS:
        ratios = [100 * own / other for own, other in zip(costs.events_s[name], native, strict=True)]
        findings.gate(f"{name}: events/s of this API's stream", statistics.median(ratios), "at least", 60, "%")
        findings.gate(f"{name}: encoding an event, median", costs.encoding_us[name], "at most", 15, "us")
    for name, found in costs.events_s.items():
        findings.row(f"{name}: events to {READERS} readers", statistics.median(found), "/s")
    return findings


# --- in a process of its own ------------------------------------------------------------------------------------------


async def measure(*, events: int, rounds: int) -> Costs:
    costs = Costs({"native": []}, {})
    async with asyncio.timeout(_PATIENCE_S):
        for _ in range(rounds):
            costs.events_s["native"].append(await _watched(None, events))
            for name, make in ENCODERS.items():
                costs.events_s.setdefault(name, []).append(await _watched(make, events))
        async with memory_app() as app:
            add_scripted(app)
            runs = [await seen_run(app, shape, answer=approve_all) for shape in _SHAPES]
        for name, make in ENCODERS.items():
            costs.encoding_us[name] = _encoding_us(make, runs)
    return costs


async def _watched(make: Making | None, events: int) -> float:
    """Events a second, all readers together."""
    gate = asyncio.Event()

    async def talker(context: Context) -> None:
        await gate.wait()
        for number in range(events):
            await context.emit(_PIECE)
            if number % _BURST == _BURST - 1:
                await asyncio.sleep(0)

    async def watch(call: Call) -> Any:
        gateway = Gateway(call, Adapter.HTTP)
        assert make is not None
        [turn] = await gateway.turns_of(await call.mailbox.get_run(call.scope, call.run_id))
        return await gateway.watch(turn, make)

    operation = Operation(
        method="GET",
        path="/dialect/{run_id}",
        id="watch_dialect",
        summary="Watch",
        handler=watch,
        answers={200: "text/event-stream"},
    )
    async with memory_app(talker=talker) as app:
        served = build_app(app.mailbox, app.store, (*OPERATIONS, operation), scope=app.scope)
        run = await app.submit("thread", "go", agent="talker")
        path = f"/v1/runs/{run.run_id}/stream" if make is None else f"/dialect/{run.run_id}"
        attached = [asyncio.get_running_loop().create_future() for _ in range(READERS)]
        async with asyncio.TaskGroup() as group:
            for each in attached:
                group.create_task(_read(served, path, each.set_result))
            await asyncio.gather(*attached)
            started_s = time.perf_counter()
            gate.set()
        return READERS * events / (time.perf_counter() - started_s)


async def _read(served: HttpApp, path: str, attached: Callable[[None], None]) -> None:
    """One reader, whose socket takes everything at once."""
    is_new = True

    async def send(message: Any) -> None:
        nonlocal is_new
        if is_new and message["type"] == "http.response.body":
            is_new = False
            attached(None)

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    await served(scope, receive, send)


def _encoding_us(make: Making, runs: list[SeenRun]) -> float:
    """Microseconds for an event: the median over events, each fed three times in a row of encoders."""
    took: list[float] = []
    for seen in runs:
        for _ in range(3):
            encoder = make(seen.opened)
            for row in seen.rows:
                for seq, event in events_of(row):
                    started_s = time.perf_counter()
                    encoder.feed(seq, event, row)
                    took.append(time.perf_counter() - started_s)
    return 1e6 * statistics.median(took)
