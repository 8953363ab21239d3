"""Settings to live objects: the one module that names concrete classes.

Above: users (`Awaken`), the command line. Below: a store, the agents, the mailbox, and the HTTP application over them.
Holds: importing this module imports no agent framework and no web framework; `asgi` does the latter when it is called.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast
from urllib.parse import unquote

import msgspec

from awaken.domain.checking import shown
from awaken.domain.clock import Clock, Instant, SystemClock
from awaken.domain.delivery import Delivery, delay_ms
from awaken.domain.dispatch import DEFAULT_PRIORITY
from awaken.domain.errors import Unavailable, Unsupported, ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, Ids, RunId, Scope, ThreadId, checked_id, system_chance
from awaken.domain.log import EventRow
from awaken.domain.message import Message, messages_of
from awaken.domain.run import Run
from awaken.domain.thread import Thread
from awaken.executors.registry import Agents
from awaken.mailbox.reader import Reader
from awaken.mailbox.service import Cancellation, Interruption, Mailbox, RunSubmission
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import MAX_PAGE, MessageQuery, Store
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.inspection import Inspection, inspect
from awaken.store.sqlite.opening import Durability
from awaken.telemetry.prometheus import PrometheusObserver

if TYPE_CHECKING:
    from awaken.http.app import HttpApp
    from awaken.http.settings import HttpSettings

DEFAULT_URL = "sqlite:///awaken.db"
_SQLITE_URL: Final = re.compile(
    r"sqlite:///(?P<path>(?:[^%?#]|%[0-9a-f]{2})+)(?:\?durability=(?P<durability>full|process))?", re.IGNORECASE
)
AgentT = TypeVar("AgentT")


class ThreadEvent(msgspec.Struct, frozen=True):
    """One entry of a thread's log, as a program sees it. `seq` is where to resume after."""

    seq: int
    kind: str
    thread_id: ThreadId
    run_id: RunId | None
    created_at: Instant
    payload: dict[str, Any]


class RunHandle:
    """An accepted run. What it knows is durable; `refresh` brings it up to date."""

    def __init__(self, app: Awaken, run: Run, *, replayed: bool = False) -> None:
        self._app = app
        self.record = run
        self.replayed = replayed
        """The same request had been accepted before."""

    @property
    def run_id(self) -> RunId:
        return self.record.run_id

    @property
    def thread_id(self) -> ThreadId:
        return self.record.thread_id

    async def events(self, *, after: int = 0) -> AsyncIterator[ThreadEvent]:
        """Everything the run says, from its start or after a seq, until its end. May be read any number of times.

        Raises Unavailable when the app stops before the run has ended.
        """
        async with self._app.mailbox.read_run(self._app.scope, self.record, after=after) as reader:
            async for event in _events(reader):
                yield event

    async def result(self, *, timeout_s: float | None = None) -> Run:
        """The run once it is done, or as it is after `timeout_s` seconds."""
        self.record = await self._app.mailbox.wait(self._app.scope, self.run_id, timeout_s=timeout_s, known=self.record)
        return self.record

    async def refresh(self) -> Run:
        self.record = await self._app.mailbox.get_run(self._app.scope, self.run_id)
        return self.record

    async def cancel(self, *, wait_s: float = 0.0) -> Cancellation:
        """Ask the run to stop. Raises RunNotOpen when it has ended otherwise."""
        return await self._app.mailbox.cancel(self._app.scope, self.run_id, wait_s=wait_s)


class Awaken:
    """A durable run server as an object: `async with app:` runs it, `app.asgi()` serves it over HTTP."""

    def __init__(
        self,
        url: str | None = None,
        *,
        store: Store | None = None,
        settings: MailboxSettings | None = None,
        http: HttpSettings | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        scope: Scope = DEFAULT_SCOPE,
    ) -> None:
        """Over the store at `url` (`sqlite:///file`, `memory://`), or over a given store. Nothing is opened yet.

        `http` is how it is served: by `awaken serve`, and by `asgi()` where that is given nothing else.

        Raises:
            ValidationError: The URL is not one of these, or a setting is out of range.
            Unsupported: The URL names a database that this version cannot use.
        """
        if url is not None and store is not None:
            raise ValidationError("give either a url or a store, not both")
        clock = clock or SystemClock()
        self.scope = Scope(checked_id(scope, what="scope"))
        self.http_settings = http
        """How it is served; None: as `HttpSettings()` says."""
        self.agents = Agents(clock)
        self.store: Store = open_store(DEFAULT_URL if url is None else url, clock=clock) if store is None else store
        self.observer = PrometheusObserver(self.store, clock)
        self.mailbox = Mailbox(
            self.store,
            self.agents,
            settings=settings,
            clock=clock,
            ids=ids or Ids(clock, system_chance()),
            observer=self.observer,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, take over what dead processes left, and run what waits. `async with app:` calls this, and
        `stop` at its end. May be called again, by many tasks at once, and after `stop`.

        Raises:
            StoreError: The store could not be opened; nothing is left open.
            Unavailable: It was stopped while it started.
        """
        await self.mailbox.start()

    async def stop(self) -> None:
        """Let agents end or hand over, and close everything. How long that may take, `MailboxSettings` bounds."""
        await self.mailbox.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def agent(
        self,
        name: str,
        agent: AgentT,
        *,
        description: str | None = None,
        max_concurrent: int | None = None,
        expose_tool_errors: bool = False,
    ) -> AgentT:
        """Make an agent known under a name, and return it.

        An async function or generator, a Pydantic AI agent, an `AgentDriver`, or `"module:attribute"`, which is
        imported at its first run. `max_concurrent`: how many of its runs this process executes at once, besides the
        bound for all agents. One that could not be loaded may be registered again; its runs have waited.
        `expose_tool_errors`: its model, and the readers of its streams, get the text of whatever it and its tools
        raise, and not the class alone.

        Raises:
            ValidationError: The name is not an id, nothing here can run the object, or the limit is not at least 1.
            AlreadyExists: The name is taken.
        """
        self.agents.add(
            name,
            agent,
            description=description,
            max_concurrent=max_concurrent,
            expose_tool_errors=expose_tool_errors,
        )
        return agent

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        thread_id: str | None,
        message: str | Message | Sequence[Message],
        *,
        agent: str | None = None,
        run_id: str | None = None,
        dedupe_key: str | None = None,
        delay_s: float = 0.0,
        priority: int = DEFAULT_PRIORITY,
        max_attempts: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> RunHandle:
        """Accept a run. It is stored when this returns, and survives the process from then on.

        `thread_id` None makes a new thread. Without `agent`: the thread's last agent, else the only one there is.

        Raises:
            ValidationError: An id, the message or a number is unacceptable, or the agent unknown; nothing is stored.
            AlreadyExists: `run_id` was used for something else.
            QueueFull: Too many runs wait on the thread.
            Unavailable: Outside `async with app:`.
        """
        submission = await self.mailbox.submit(
            self._request(
                thread_id,
                message,
                agent,
                run_id=run_id,
                delivery=Delivery(
                    priority=priority, max_attempts=max_attempts, dedupe_key=dedupe_key, delay_ms=delay_ms(delay_s)
                ),
                metadata=metadata,
            )
        )
        return RunHandle(self, submission.run, replayed=submission.replayed)

    def _request(
        self,
        thread_id: str | None,
        message: str | Message | Sequence[Message],
        agent: str | None,
        *,
        run_id: str | None = None,
        delivery: Delivery | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> RunSubmission:
        """Raises ValidationError for an id that is none."""
        for value, what in ((thread_id, "thread_id"), (run_id, "run_id")):
            if value is not None:
                checked_id(value, what=what)
        return RunSubmission(
            scope=self.scope,
            thread_id=thread_id or "",
            messages=messages_of(message),
            agent_id=agent,
            run_id=run_id,
            delivery=delivery or Delivery(),
            metadata={} if metadata is None else metadata,
        )

    async def run(
        self,
        thread_id: str | None,
        message: str | Message | Sequence[Message],
        *,
        agent: str | None = None,
        timeout_s: float | None = None,
    ) -> Run:
        """Submit and wait for the end, or at most `timeout_s` seconds; the run goes on whether or not anybody waits.

        Raises as `submit`; Unavailable, too, when this object is stopped before the run has ended.
        """
        submission = await self.mailbox.submit(self._request(thread_id, message, agent), waits=True)
        run, end = submission.run, submission.end
        return await self.mailbox.wait(self.scope, run.run_id, timeout_s=timeout_s, known=run, end=end)

    async def get_run(self, run_id: str) -> RunHandle:
        """Raises RunNotFound."""
        return RunHandle(self, await self.mailbox.get_run(self.scope, RunId(run_id)))

    async def cancel(self, run_id: str, *, wait_s: float = 0.0) -> Cancellation:
        """Stop one run. Raises RunNotFound; RunNotOpen when it has ended otherwise."""
        return await self.mailbox.cancel(self.scope, RunId(run_id), wait_s=wait_s)

    async def interrupt(self, thread_id: str, *, wait_s: float = 0.0) -> Interruption:
        """Clear a thread: supersede what waits, stop what runs. Raises ThreadNotFound."""
        return await self.mailbox.interrupt(self.scope, ThreadId(thread_id), wait_s=wait_s)

    # --- threads ------------------------------------------------------------------------------------------------------

    async def get_thread(self, thread_id: str) -> Thread:
        """Raises ThreadNotFound."""
        return await self.mailbox.get_thread(self.scope, ThreadId(thread_id))

    async def messages(self, thread_id: str) -> list[Message]:
        """The conversation, oldest first. Raises ThreadNotFound."""
        await self.get_thread(thread_id)
        found: list[Message] = []
        after = 0
        while True:
            query = MessageQuery(after=after, limit=MAX_PAGE)
            page = await self.store.list_messages(self.scope, ThreadId(thread_id), query)
            found += [stored.message for stored in page]
            if len(page) < MAX_PAGE:
                return found
            after = cast(int, page[-1].seq)

    async def events(self, thread_id: str, *, after: int = 0) -> AsyncIterator[ThreadEvent]:
        """Everything that happens on a thread after a seq, without end.

        Raises:
            ThreadNotFound: There is no such thread.
            Unavailable: The app stops.
        """
        await self.get_thread(thread_id)
        async with self.mailbox.read_thread(self.scope, ThreadId(thread_id), after=after) as reader:
            async for event in _events(reader):
                yield event

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def asgi(self, *, allowed_hosts: Sequence[str] | None = None, settings: HttpSettings | None = None) -> HttpApp:
        """The HTTP application over this object, for `awaken serve` or for mounting in another application.

        It does not start or stop this object: enter `async with app:` in the lifespan of whatever serves it. Until
        then it answers 503 `starting`. `settings` replaces those of this object, `allowed_hosts` the names in them that
        `Host` may carry.
        """
        from awaken.http.app import build_app
        from awaken.http.settings import HttpSettings
        from awaken.http.table import OPERATIONS

        settings = settings or self.http_settings or HttpSettings()
        if allowed_hosts is not None:
            settings = msgspec.structs.replace(settings, allowed_hosts=tuple(allowed_hosts))
        return build_app(
            self.mailbox,
            self.store,
            OPERATIONS,
            settings=settings,
            metrics=self.observer.scrape,
            observer=self.observer.http,
        )


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """The store a URL names, not yet opened.

    `sqlite:///relative.db`, `sqlite:////absolute.db`, with `?durability=process` to survive a killed process but not
    power loss; `memory://` for a store that ends with the process.

    Raises:
        ValidationError: The URL is not understood.
        Unsupported: It names a database that this version cannot use.
    """
    scheme = url.partition(":")[0].lower() if isinstance(url, str) else ""  # pyright: ignore[reportUnnecessaryIsInstance]
    match scheme:
        case "memory":
            if url[len(scheme) :] != "://":
                raise ValidationError(f"{shown(url)} is not the URL of a store in memory, which is memory:// alone")
            return MemoryStore(clock)
        case "sqlite":
            path, durability = _sqlite_place(url)
            return SqliteStore(path, clock=clock, durability=durability)
        case "postgres" | "postgresql":
            raise Unsupported("PostgreSQL", "this version stores in SQLite; write sqlite:///file.db")
        case _:
            raise ValidationError(f"{shown(url)} names no store; write sqlite:///file.db or memory://")


def _sqlite_place(url: str) -> tuple[str, Durability]:
    """The path and the durability in a URL, of which every character counts.

    Raises:
        ValidationError: It is not in the form, or has an option that there is not.
    """
    found = _SQLITE_URL.fullmatch(url)
    try:
        path = unquote(found["path"], errors="strict") if found else ""
    except UnicodeDecodeError:
        path = ""
    if found is None or not path or not path.isprintable():
        raise ValidationError(
            f"{shown(url)} is not a SQLite URL; write sqlite:///file.db, or sqlite:////folder/file.db, with"
            " ?durability=full or ?durability=process at the end where wanted. In the name of a file, write %23 for #,"
            " %3F for ? and %25 for %; it has no control characters"
        )
    return path, cast("Durability", found["durability"] or "full")


def inspect_file(path: Path, *, run_retention_ms: int, event_retention_ms: int) -> Inspection:
    """How large an SQLite file is, and what such a retention would remove; it may be served meanwhile.

    Raises:
        StoreUnavailable, DataIntegrity: It is not there, cannot be read, or is not a database of this version.
    """
    now = SystemClock().now()
    return inspect(path, now, run_retention_ms=run_retention_ms, event_retention_ms=event_retention_ms)


async def _events(reader: Reader) -> AsyncIterator[ThreadEvent]:
    async for row in reader:
        for event in _opened(row):
            yield event
    if reader.is_cut and not reader.ended:
        raise Unavailable("awaken is stopping; the log goes on, read it again after the last seq", code="stopping")


def _opened(row: EventRow) -> list[ThreadEvent]:
    return [
        ThreadEvent(
            row.first_seq + index,
            event.kind,
            row.thread_id,
            row.run_id,
            row.created_at,
            msgspec.json.decode(event.payload),
        )
        for index, event in enumerate(row.events)
    ]
