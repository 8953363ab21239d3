"""A served mailbox for tests: a world in which time stands still, the application over it, and a client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from awaken.executors.function import Context
from awaken.http.app import HttpApp, build_app
from awaken.http.observer import Refusal, Return, StreamScope
from awaken.http.operation import Operation
from awaken.http.settings import HttpSettings
from awaken.http.table import OPERATIONS
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.telemetry.stats import Stats
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import World
from tests.http.asgi import Answer, Client
from tests.http.notes import NOTE_OPERATIONS

WORDS = ("The ", "order ", "left ", "today.")
SERVED: Final[tuple[Operation, ...]] = (*OPERATIONS, *NOTE_OPERATIONS)
"""What a site offers: all methods, and operations of somebody else beside the API's own."""


async def talk(context: Context) -> AsyncIterator[str]:
    """Says a sentence, word by word."""
    for word in WORDS:
        yield word


class Counts:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self.in_flight = 0
        self.open_streams = 0
        self.frames = 0
        self.bytes = 0
        self.lags_s: list[float] = []
        self.returns: list[Return] = []
        self.turned: list[Refusal] = []
        self.caught_up = 0
        self.stalled = 0

    def request_started(self) -> None:
        self.in_flight += 1

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        self.in_flight -= 1
        self.requests.append((method, route, status))

    def stream_opened(self, scope: StreamScope, dialect: str) -> None:
        self.open_streams += 1

    def stream_closed(self, scope: StreamScope, dialect: str, *, caught_up: int, stalled: bool) -> None:
        self.open_streams -= 1
        self.caught_up += caught_up
        self.stalled += stalled

    def frames_sent(self, dialect: str, count: int, size: int, lag_s: float | None) -> None:
        self.frames += count
        self.bytes += size
        if lag_s is not None:
            self.lags_s.append(lag_s)

    def came_back(self, dialect: str, found: Return) -> None:
        self.returns.append(found)

    def turned_away(self, reason: Refusal) -> None:
        self.turned.append(reason)


class Site:
    """The world, and the way in over HTTP."""

    def __init__(self, world: World, settings: HttpSettings | None, operations: Sequence[Operation] = SERVED) -> None:
        self.world = world
        self.counts = Counts()
        self.app: HttpApp = build_app(
            world.mailbox,
            world.store,
            operations,
            settings=settings,
            metrics=lambda: b"awaken_up 1\n",
            stats=Stats(world.clock),
            observer=self.counts,
        )
        self.http = Client(self.app)

    @property
    def clock(self) -> ManualClock:
        return self.world.clock

    async def submit(self, agent_id: str = "talk", thread_id: str | None = None, **fields: Any) -> Any:
        """A new background run, as the API shows it."""
        body = {"agent_id": agent_id, "input": "Where is my order?", "if_not_exists": "create", **fields}
        answer = await self.http.post("/v1/runs", body if thread_id is None else {**body, "thread_id": thread_id})
        assert answer.status in (200, 202), answer
        return answer.json()

    async def finished(self, run: Any) -> Any:
        """The result of a run, once it is done."""
        answer = await self.http.get(f"/v1/runs/{run['run_id']}/wait?timeout_s=300")
        assert answer.status == 200, answer
        return answer.json()

    async def stored(self) -> tuple[int, int]:
        """How many threads and runs there are."""
        threads: Answer = await self.http.get("/v1/threads?limit=200")
        runs: Answer = await self.http.get("/v1/runs?limit=200")
        return len(threads.json()["items"]), len(runs.json()["items"])


@asynccontextmanager
async def served(
    store: Store,
    clock: ManualClock,
    *,
    agents: dict[str, Any] | None = None,
    settings: HttpSettings | None = None,
    mailbox: MailboxSettings | None = None,
    executes: bool = True,
    operations: Sequence[Operation] = SERVED,
) -> AsyncGenerator[Site]:
    """The site, entered. Agents: `gated`, which waits for the test, `talk`, and the given ones."""
    world = World(
        store, clock, agents={"talk": talk, **(agents or {})}, settings=mailbox, executes=executes, patience_s=30
    )
    async with world:
        yield Site(world, settings, operations)
