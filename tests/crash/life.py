"""One process of the crash test: it opens the file, asks for what was not accepted yet, and watches until the end.

Above: `nursery` starts it. Below: the public API over a `CrashingStore`.
Holds: what a caller outside would know stands in files: `accepted` (submits that returned), `calls` (calls that
began), `frames.RUN` (what the stream of a run delivered). The next process goes on from these as a client would: it
does not submit again what was accepted, and resumes each stream after the last frame it got.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from awaken.domain.event import EventRow
from awaken.domain.ids import RunId, ThreadId
from awaken.domain.retry import RetryPolicy
from awaken.http.encoder import event_objects, select
from awaken.http.query import CHANNEL_NAMES
from awaken.mailbox.settings import MailboxSettings
from awaken.store.sqlite import SqliteStore
from awaken.testing.crash import CrashingStore, CrashPoint
from awaken.wiring import Awaken
from tests.crash.scenarios import SCENARIOS, Ask, Notebook, Scenario

T = TypeVar("T")

THREAD: Final = ThreadId("t1")
EVERYTHING: Final = select(frozenset(CHANNEL_NAMES))
SETTINGS: Final = MailboxSettings(retry=RetryPolicy(base_delay_ms=1))


class Frame(msgspec.Struct, frozen=True):
    """An event as a stream over HTTP delivers it: `id` is the seq its cursor ends in, `data` the bytes on the wire."""

    id: int
    event: str
    run_id: RunId | None
    data: msgspec.Raw

    @property
    def payload(self) -> dict[str, Any]:
        return msgspec.json.decode(self.data)["payload"]


class Call(msgspec.Struct, frozen=True):
    """A call that began, and in which process of the series, counting from 1."""

    life: int
    name: str


def frames(row: EventRow) -> list[Frame]:
    return [Frame(seq, kind, row.run_id, msgspec.Raw(data)) for seq, kind, data in event_objects(row, EVERYTHING)]


def database(folder: Path) -> Path:
    return folder / "runs.db"


def entries(path: Path, type: type[T]) -> list[T]:
    """What a notebook holds."""
    return [msgspec.json.decode(line, type=type) for line in path.read_bytes().splitlines()] if path.exists() else []


def live(folder: Path, scenario: str, life: int) -> None:
    """Be the process number `life` of a scenario in `folder`. Returns when every run of it is done."""
    asyncio.run(_live(folder, SCENARIOS[scenario], life))


async def _live(folder: Path, scenario: Scenario, life: int) -> None:
    store = CrashingStore(SqliteStore(database(folder)), at=CrashPoint.from_environment())
    app = Awaken(store=store, settings=SETTINGS)
    calls = Notebook(folder / "calls")
    scenario.register(app, lambda name: calls.add(Call(life, name)), folder)
    async with app, asyncio.TaskGroup() as watching:
        accepted = set(entries(folder / "accepted", str))
        for ask in scenario.asks:
            if ask.run_id not in accepted:
                await _submit(app, ask, Notebook(folder / "accepted"))
            watching.create_task(_watch(app, ask.run_id, folder))


async def _submit(app: Awaken, ask: Ask, accepted: Notebook) -> None:
    await app.submit(THREAD, ask.text, agent=ask.agent, run_id=ask.run_id)
    accepted.add(ask.run_id)


async def _watch(app: Awaken, run_id: str, folder: Path) -> None:
    """Read the stream of a run to its end, after the last frame that an earlier process received."""
    received = folder / f"frames.{run_id}"
    seen = entries(received, Frame)
    notebook = Notebook(received)
    run = (await app.get_run(run_id)).record
    async with app.mailbox.read_run(app.scope, run, after=seen[-1].id if seen else 0) as reader:
        async for row in reader:
            for frame in frames(row):
                notebook.add(frame)
