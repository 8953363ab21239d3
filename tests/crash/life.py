"""One process of the crash test: it opens the store, asks for what was not accepted yet, and watches until the end.

Above: `nursery` starts it. Below: the public API over a `CrashingStore`.
Holds: what a caller outside would know stands in files: `accepted` (what it asked for and was told of), `calls` (calls
that began), `frames.RUN` (what the stream of a run delivered). The next process goes on from these as a client would:
it does not ask again for what was accepted, asks at once for what it got no answer to, and resumes each stream after
the last frame it got.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from awaken.domain.clock import sleep
from awaken.domain.ids import RunId
from awaken.domain.log import EventRow
from awaken.domain.retry import RetryPolicy
from awaken.domain.selection import CHANNEL_NAMES, select
from awaken.http.encoder import event_objects
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.store.postgres import PostgresStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.crash import CrashingStore, CrashPoint
from awaken.wiring import Awaken
from tests.crash.scenarios import SCENARIOS, Ask, Notebook, Scenario, Stage, Stop
from tests.crash.stories import STORIES, Story
from tests.crash.stories import Stage as StoryStage

T = TypeVar("T")

EVERYTHING: Final = select(frozenset(CHANNEL_NAMES))
SETTINGS: Final = MailboxSettings(retry=RetryPolicy(base_delay_ms=1), neighbour_check_s=0.05)


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


def url_file(folder: Path) -> Path:
    """Names the store of the series, where that is on Postgres."""
    return folder / "url"


def store_of(folder: Path) -> Store:
    named = url_file(folder)
    return PostgresStore(named.read_text()) if named.exists() else SqliteStore(database(folder))


def entries(path: Path, type: type[T]) -> list[T]:
    """What a notebook holds."""
    return [msgspec.json.decode(line, type=type) for line in path.read_bytes().splitlines()] if path.exists() else []


def live(folder: Path, scenario: str, life: int) -> None:
    """Be the process number `life` of a scenario, or of a story, in `folder`. Returns when every run of it is done."""
    if scenario in STORIES:
        asyncio.run(_tell(folder, STORIES[scenario], life))
    else:
        asyncio.run(_live(folder, SCENARIOS[scenario], life))


class Diary:
    """What is known outside of a process that tells a story, in files."""

    def __init__(self, folder: Path, life: int) -> None:
        self._life = life
        self._asked, self._accepted, self._calls = (Notebook(folder / name) for name in ("asked", "accepted", "calls"))

    def asked(self, step: str) -> None:
        self._asked.add(step)

    def accepted(self, step: str) -> None:
        self._accepted.add(step)

    def called(self, name: str) -> None:
        self._calls.add(Call(self._life, name))


async def _tell(folder: Path, story: Story, life: int) -> None:
    store = CrashingStore(store_of(folder), at=CrashPoint.from_environment())
    app = Awaken(store=store, settings=SETTINGS)
    asked, accepted = entries(folder / "asked", str), entries(folder / "accepted", str)
    stage = StoryStage(Diary(folder, life), asked, accepted)
    story.register(app, stage)
    async with app:
        await stage.tell(app, story)
        while await store.list_outbox() or [run for run in await app.list_runs() if run.status != "done"]:
            await sleep(
                app.mailbox.clock, 0.005
            )  # what is left is under way, and nothing says when the last of it is there


async def _live(folder: Path, scenario: Scenario, life: int) -> None:
    store = CrashingStore(store_of(folder), at=CrashPoint.from_environment())
    app = Awaken(store=store, settings=SETTINGS)
    calls = Notebook(folder / "calls")
    caller = _Caller(folder, scenario)

    def note(name: str) -> None:
        calls.add(Call(life, name))

    scenario.register(app, Stage(note, caller.hold, folder))
    async with app, asyncio.TaskGroup() as watching:
        for step in scenario.plan:
            await caller.send(step, app)
            if isinstance(step, Ask):
                watching.create_task(_watch(app, step.run_id, folder))


class _Caller:
    """Asks for each step once, or again where no process has lived to hear the answer."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self._was_asked = frozenset(entries(folder / "asked", str))
        self._was_accepted = frozenset(entries(folder / "accepted", str))
        self._asked = Notebook(folder / "asked")
        self._accepted = Notebook(folder / "accepted")
        self._will_stop = any(stop.name not in self._was_accepted for stop in scenario.stops)
        self._held = asyncio.Event()

    async def hold(self) -> None:
        """For agents: see `Stage`."""
        if self._will_stop:
            self._held.set()
            await asyncio.Event().wait()

    async def send(self, step: Ask | Stop, app: Awaken) -> None:
        if step.name in self._was_accepted:
            return
        if isinstance(step, Stop) and step.name not in self._was_asked:
            await self._held.wait()
        self._asked.add(step.name)
        await step.send(app)
        self._accepted.add(step.name)


async def _watch(app: Awaken, run_id: str, folder: Path) -> None:
    """Read the stream of a run to its end, after the last frame that an earlier process received."""
    received = folder / f"frames.{run_id}"
    seen = entries(received, Frame)
    notebook = Notebook(received)
    run = await app.mailbox.get_run(app.scope, RunId(run_id))
    async with app.mailbox.read_run(app.scope, run, after=seen[-1].id if seen else 0) as reader:
        async for row in reader:
            for frame in frames(row):
                notebook.add(frame)
