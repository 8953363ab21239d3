"""Settings to live objects: the one module that names concrete classes.

Above: users (`Awaken`), the command line. Below: a store, the agents, the mailbox, and the HTTP application over them.
Holds: importing this module imports no agent framework and no web framework; `asgi` does the latter when it is called.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, cast, get_args
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from awaken.domain import checking, shown
from awaken.domain.checking import HOUR_S, checked_window
from awaken.domain.clock import Clock, SystemClock, to_rfc3339
from awaken.domain.cursor import cursor_prefix, event_cursor, event_seq
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery, letters_of
from awaken.domain.delivery import Delivery, Mode, Strategy, delay_ms, due_at, mode_of
from awaken.domain.dispatch import DEFAULT_PRIORITY, Dispatch
from awaken.domain.errors import (
    CursorExpired,
    RunNotFound,
    Unavailable,
    Unsupported,
    ValidationError,
)
from awaken.domain.given import Given, messages_of, one_message_of
from awaken.domain.ids import (
    DEFAULT_SCOPE,
    AgentId,
    DispatchId,
    Ids,
    MessageId,
    RunId,
    Scope,
    ThreadId,
    checked_id,
    system_chance,
)
from awaken.domain.listing import Listing
from awaken.domain.log import ALL, EventRow
from awaken.domain.pending import Granularity, WaitsAt
from awaken.domain.phase import Phase
from awaken.domain.queue import QueueFilter, place_of, queue_filter
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import (
    DONE,
    GOES_WITH_A_NEW_THREAD,
    NO_LIMITS,
    ClientTool,
    Limits,
    OnCompletion,
    Origin,
    Run,
    RunOptions,
    RunStatus,
    TerminationType,
    Trace,
)
from awaken.domain.schedule import Missed, Overlap, Schedule, ScheduleSpec
from awaken.domain.selection import Selection, included, selection_of
from awaken.domain.shown import (
    CancelledStatus,
    ChildStrategy,
    IfExists,
    MessageView,
    MessageVisibility,
    Order,
    StopAction,
    ended_well,
)
from awaken.domain.thread import Thread, ThreadInfo, ThreadPatch, ThreadStatus
from awaken.domain.ticket import Action, Ticket, TicketKind, TicketState, checked_each, verdict_of, verdicts_of
from awaken.domain.watching import On, check_watched, scopes_of
from awaken.domain.worker import ProcessRole
from awaken.executors.registry import Agents, Fallback, Skill
from awaken.executors.schema import Schema
from awaken.http.attention_wire import AttentionResource
from awaken.http.audit_wire import FindingResource, findings
from awaken.http.dead_letter_wire import DeadLetterResource, GroupResource, HandledResource
from awaken.http.message_wire import PendingMessages, PendingResource, ReceiptResource, SentResource
from awaken.http.schedule_wire import ScheduleResource
from awaken.http.stats_wire import AgentStatsResource, StatsResource
from awaken.http.ticket_wire import DecidedTickets, TicketResource
from awaken.http.timeline_wire import TimelineResource
from awaken.http.why_wire import ExplanationResource
from awaken.http.wire import (
    VISIBILITIES,
    AgentResource,
    DispatchResource,
    MessageResource,
    RunResource,
    SummaryResource,
    ThreadResource,
    shown_hiding,
    shown_state,
)
from awaken.mailbox.bulk import cancel_many
from awaken.mailbox.children import children_of
from awaken.mailbox.decisions import Verdicts
from awaken.mailbox.engine import Draining
from awaken.mailbox.maintenance import Rounds
from awaken.mailbox.reader import Reader
from awaken.mailbox.seen import SeenRun
from awaken.mailbox.service import Cancellation, Mailbox
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Promised, RunSubmission
from awaken.mailbox.timeline import newest_seq
from awaken.store.contract import MAX_PAGE, MessageQuery, RunQuery, Store, ThreadQuery, TicketQuery
from awaken.store.inspection import Migrated
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice, Breach
from awaken.store.memory import MemoryStore
from awaken.store.moving import Moved, move, would_move
from awaken.store.moving import Progress as MoveProgress
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.backup import Backup, Progress, back_up
from awaken.store.sqlite.inspection import Inspection, audit, check_file, check_openable, inspect
from awaken.store.sqlite.leaving import Leaving
from awaken.store.sqlite.opening import Durability
from awaken.store.transitions import MAX_ROWS, Failed, Mend, MendedSome
from awaken.telemetry.prometheus import PrometheusObserver
from awaken.telemetry.stats import Stats

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from awaken.http.app import HttpApp
    from awaken.http.auth import Authorize
    from awaken.http.operation import Operation
    from awaken.http.settings import HttpSettings
    from awaken.store.postgres.inspection import DatabaseInspection

DEFAULT_URL = "sqlite:///awaken.db"
_SQLITE_URL: Final = re.compile(
    r"sqlite:///(?P<path>(?:[^%?#]|%[0-9a-f]{2})+)(?:\?durability=(?P<durability>full|process))?", re.IGNORECASE
)
_POSTGRES: Final = ("postgres", "postgresql")
EVENT_PAGE: Final = 256
AgentT = TypeVar("AgentT")
ShownT = TypeVar("ShownT")


class RunHandle:
    """An accepted run. What it knows is durable; `refresh` brings it up to date."""

    def __init__(self, app: Awaken, run: Run, dispatch: Dispatch | None, *, replayed: bool = False) -> None:
        self._app = app
        self._run = run
        self._dispatch = dispatch
        self._tickets: tuple[Ticket, ...] = ()
        self.replayed = replayed
        """The same request had been accepted before."""

    @property
    def run_id(self) -> str:
        return self._run.run_id

    @property
    def thread_id(self) -> str:
        return self._run.thread_id

    @property
    def record(self) -> shown.Run:
        """The run as last read."""
        return _shown_run(self._app, self._run, self._dispatch, self._tickets)

    def events(
        self, *, after: str | None = None, channels: Iterable[str] | None = None, include_deltas: bool = True
    ) -> AsyncIterator[shown.Event]:
        """Everything the run publishes, from its start or after a cursor, until its end; as often as you like.

        Raises Unavailable when the app stops before the run has ended.
        """
        return self._app.run_events(self.run_id, after=after, channels=channels, include_deltas=include_deltas)

    async def result(self, *, timeout_s: float | None = None) -> shown.Run:
        """The run once it is done, or as it is after `timeout_s` seconds."""
        self._run = await self._app.mailbox.wait(
            self._app.scope, self._run.run_id, timeout_s=timeout_s, known=self._run
        )
        self._dispatch = await _dispatch_of(self._app, self._run)
        self._tickets = await _tickets_of(self._app, self._run)
        return self.record

    async def refresh(self) -> shown.Run:
        """The run as it is now."""
        self._run = await self._app.mailbox.get_run(self._app.scope, self._run.run_id)
        self._dispatch = await _read_dispatch(self._app, self._run)
        self._tickets = await _tickets_of(self._app, self._run)
        return self.record

    async def steer(
        self,
        message: Given,
        *,
        mode: Mode = "steer",
        granularity: Granularity = "batch",
        barrier: bool = False,
        fallback_to_new_run: bool = True,
    ) -> shown.Sent:
        """Send a message to the run. Raises RunNotOpen when it has ended."""
        return await self._app.steer(
            self.thread_id,
            message,
            run_id=self.run_id,
            mode=mode,
            granularity=granularity,
            barrier=barrier,
            fallback_to_new_run=fallback_to_new_run,
        )

    async def cancel(self, *, action: StopAction = "cancel", wait_s: float = 0.0) -> shown.Cancellation:
        """Ask the run to stop. Raises RunNotOpen when it has ended otherwise."""
        return await self._app.cancel(self.run_id, action=action, wait_s=wait_s)


class PromisedRun(RunHandle):
    """A run that was submitted in a transaction of yours: it is there once that is committed, and delivered. Until then
    there is no record of it, and nothing to be stopped.
    """

    def __init__(self, app: Awaken, promised: Promised) -> None:
        self._app = app
        self._promised = promised
        self._found = False
        self._dispatch = None
        self._tickets = ()
        self.replayed = False

    @property
    def run_id(self) -> str:
        return self._promised.run_id

    @property
    def thread_id(self) -> str:
        return self._promised.thread_id

    @property
    def record(self) -> shown.Run:
        """The run as last read. Raises RunNotFound before it was."""
        if not self._found:
            raise RunNotFound(self.run_id)
        return super().record

    async def events(
        self, *, after: str | None = None, channels: Iterable[str] | None = None, include_deltas: bool = True
    ) -> AsyncIterator[shown.Event]:
        """As of any run; waits until it is there.

        Raises RunNeverBegun where it never will be; AlreadyExists where another run has its id.
        """
        await self._appeared(None)
        async for event in super().events(after=after, channels=channels, include_deltas=include_deltas):
            yield event

    async def result(self, *, timeout_s: float | None = None) -> shown.Run:
        """As of any run; waits until it is there, so await it after the commit.

        Raises:
            RunNeverBegun: It never will be there: the transaction was rolled back, or it was refused.
            AlreadyExists: Another run has its id.
            RunNotFound: It is not there after `timeout_s` seconds.
        """
        clock = self._app.mailbox.clock
        begun_s = clock.monotonic()
        await self._appeared(timeout_s)
        left_s = None if timeout_s is None else max(timeout_s - (clock.monotonic() - begun_s), 0.0)
        return await super().result(timeout_s=left_s)

    async def refresh(self) -> shown.Run:
        """The run as it is now. Raises RunNotFound where it is not there, or not yet."""
        await self._appeared(0.0)
        return await super().refresh()

    async def _appeared(self, timeout_s: float | None) -> None:
        if self._found:
            return
        run = await self._app.mailbox.appeared(self._promised, timeout_s=timeout_s)
        if run is None:
            raise RunNotFound(self.run_id)
        self._run, self._found = run, True


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
        maintenance: Rounds | None = None,
        tracer_provider: TracerProvider | None = None,
        role: ProcessRole = "all",
    ) -> None:
        """Over the store at `url` (`sqlite:///file`, `postgresql://…`, `memory://`), or over a given store. Nothing is
        opened yet.

        `maintenance`: an async function without arguments, called every `MailboxSettings.purge_interval_s` seconds
        while this is running. What it raises is logged; when this stops it is cancelled.

        `http` is how it is served: by `awaken serve`, and by `asgi()` where that is given nothing else.
        `tracer_provider`: where spans go; None: to that of this process, if it has set one before `start`.
        `role`: on a store that several processes use, what this one does, as in `act_as`.

        Raises:
            ValidationError: The URL is not one of these, or a setting is out of range.
            Unsupported: What it takes to use such a database is not installed.
        """
        if url is not None and store is not None:
            raise ValidationError("give either a url or a store, not both")
        _check_part(store, "capabilities", "store= takes a store object (an address goes first, without a name)")
        _check_part(clock, "monotonic", "clock= takes a Clock")
        _check_part(ids, "mint_some", "ids= takes Ids(…)")
        if maintenance is not None and not callable(maintenance):  # pyright: ignore[reportUnnecessaryComparison]
            raise ValidationError(f"maintenance= takes an async function, and not {checking.shown(maintenance)}")
        _check_part(http, "allowed_hosts", "http= takes HttpSettings(…)")
        clock = SystemClock() if clock is None else clock
        self.scope = Scope(checked_id(scope, what="scope"))
        self.http_settings = http
        """How it is served; None: as `HttpSettings()` says."""
        self._entered = 0
        """How often `async with` was begun and has not ended."""
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
            maintenance=maintenance,
        )
        self._stats = Stats(clock)
        self.mailbox.observers.add(self._stats)
        self.mailbox.schedules.declared[self.scope] = ()
        self._tracer_provider = tracer_provider
        self.act_as(role)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, take over what dead processes left, and run what waits. `async with app:` calls this, and
        `stop` at its end; of several, one inside the other or side by side, the last one to end does. May be called
        again, by many tasks at once, and after `stop`.

        Raises:
            StoreError: The store could not be opened; nothing is left open.
            Unavailable: It was stopped while it started.
        """
        self._trace()
        await self.mailbox.start()

    def _trace(self) -> None:
        """Have spans made, where somebody takes them: whoever does so has imported OpenTelemetry already."""
        provider, observers = self._tracer_provider, self.mailbox.observers
        if observers.tracer is not None or (provider is None and "opentelemetry.trace" not in sys.modules):
            return
        from awaken.telemetry.otel import Traces, global_provider

        provider = global_provider() if provider is None else provider
        if provider is not None:
            observers.tracer = traces = Traces(provider, self.mailbox.clock)
            observers.add(traces)

    async def stop(self) -> None:
        """Let agents end or hand over, and close everything. How long that may take, `MailboxSettings` bounds."""
        await self.mailbox.stop()

    async def __aenter__(self) -> Self:
        self._entered += 1
        try:
            await self.start()
        except BaseException:
            await self._left()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._left()

    async def _left(self) -> None:
        self._entered -= 1
        if not self._entered:
            await self.stop()

    @property
    def role(self) -> ProcessRole:
        """What this process does."""
        return self.mailbox.role

    def act_as(self, role: ProcessRole, *, agents: Collection[str] | None = None) -> None:
        """Say before the start what this process does: `all`; `api`, where runs are submitted, watched, steered and
        stopped, and none is executed; or `worker`, where they are executed, and `asgi()` serves health and metrics
        only. `agents`: it executes runs of these alone; others are accepted here, and left to other processes.

        Raises:
            ValidationError: There is no such role; or the store belongs to one process, which does everything.
            AgentNotFound: There is no agent of one of the names.
            Unavailable: It has started.
        """
        checking.checked_choice(role, get_args(ProcessRole), what="role")
        if self.store.capabilities.exclusive and (role != "all" or agents is not None):
            raise ValidationError(
                f"a store of the kind {self.store.capabilities.kind!r} belongs to one process, which serves and"
                " executes everything: give it the role 'all', or use a store for several, postgresql://host/database"
            )
        self.mailbox.act_as(role)
        if agents is not None:
            self.agents.serve_only(agents)

    def agent(
        self,
        name: str,
        agent: AgentT,
        *,
        version: str | None = None,
        fallback: Fallback | None = None,
        title: str | None = None,
        description: str | None = None,
        input_schema: Schema | None = None,
        output_schema: Schema | None = None,
        skills: Sequence[Skill | Mapping[str, Any]] = (),
        max_concurrent: int | None = None,
        max_concurrent_total: int | None = None,
        retry: RetryPolicy | None = None,
        expose_tool_errors: bool = False,
    ) -> AgentT:
        """Make an agent known under a name, and return it.

        An async function or generator, a Pydantic AI agent, an `AgentDriver`, or `"module:attribute"`, which is
        imported at its first run. One that could not be loaded may be registered again; its runs have waited.

        With a `version` an agent may be there several times under one name. What is submitted for the name gets the
        newest version, which is the one that was registered last; `name@version` asks for another. A run stays with the
        version that it began with, however often it waits or is retried; where that is not registered, it waits for it.
        `fallback="latest"`: the newest version executes runs of older ones too, where those are not registered.

        `title`, `description`, `skills` and the schemas are shown to whoever lists the agents. A schema is a JSON
        schema or a Pydantic model; an input that does not fit `input_schema` is refused when it is submitted, a run
        that ends with something else than `output_schema` says, text or value, fails at once and for good.
        `max_concurrent`: how many of its runs this process executes at once, besides the bound for all agents;
        `max_concurrent_total`: how many all processes together, where the lowest number that one of them names holds
        for all; such a run starts a moment later, since who executes it is asked of the database first. `retry`:
        how long its failed runs wait, in place of `MailboxSettings.retry`. `expose_tool_errors`: its model, and the
        readers of its streams, get the text of whatever it and its tools raise, and not the class alone.

        Raises:
            ValidationError: The name is not an id, or the version; nothing here can run the object, or an option is
                unacceptable.
            AlreadyExists: The name is taken, in this version.
        """
        self.agents.add(
            name,
            agent,
            version=version,
            fallback=fallback,
            title=title,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            skills=skills,
            max_concurrent=max_concurrent,
            max_concurrent_total=max_concurrent_total,
            retry=retry,
            expose_tool_errors=expose_tool_errors,
        )
        return agent

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        thread_id: str | None,
        message: Given,
        *,
        agent: str | None = None,
        delay_s: float = 0.0,
        at: datetime | str | None = None,
        run_id: str | None = None,
        dedupe_key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        max_attempts: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        context: str | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        client_tools: Sequence[ClientTool] = (),
        overrides: Mapping[str, Any] | None = None,
        multitask_strategy: Strategy = "enqueue",
        release_wait_s: float | None = None,
        create_thread: bool = True,
        decisions: Sequence[Mapping[str, Any]] = (),
        on_completion: OnCompletion = "keep",
        connection: object = None,
    ) -> RunHandle:
        """Accept a run. It is stored when this returns, and survives the process from then on.

        `thread_id` None makes a new thread. Without `agent`: the thread's last agent, else the only one there is. `at`:
        a `datetime` with a time zone, or an RFC 3339 text, before which it does not start.
        `multitask_strategy`: what is done where the thread is not idle: `enqueue`; `reject`, which is a ThreadBusy;
        `interrupt`, which clears the thread first; `rollback`, which also hides what the run that is stopped was given
        and has said. With these two `release_wait_s` gives up with ThreadBusy when that run has not let go in time; the
        new one ends cancelled then. `decisions`: about what a run of the thread waits for, as in `decide_thread`; they
        are made together with the submit, or neither is. `on_completion="delete"`: a new thread goes some time after
        its run.

        `connection`: of asyncpg, psycopg or SQLAlchemy, to the database of this store, with a transaction open: the run
        is stored in that, and goes on once it is committed. A `PromisedRun` is returned.

        Raises:
            ValidationError: An id, the message or a number is unacceptable, or the agent unknown; nothing is stored.
            Unsupported: A `connection` is given, and the store is not on Postgres.
            DecisionConflict, TicketExpired, TicketNotFound, TicketWithdrawn: A decision cannot be made.
            ThreadNotFound: `create_thread` is False and there is no such thread.
            AlreadyExists: `run_id` was used for something else.
            QueueFull: Too many runs wait on the thread.
            Unavailable: Outside `async with app:`.
        """
        checking.checked_choice(on_completion, get_args(OnCompletion), what="on_completion")
        if on_completion == "delete" and thread_id is not None:
            raise ValidationError(GOES_WITH_A_NEW_THREAD, loc=("on_completion",))
        request = self._request(
            thread_id,
            message,
            agent=agent,
            run_id=run_id,
            delivery=Delivery(
                priority=priority,
                max_attempts=max_attempts,
                dedupe_key=dedupe_key,
                delay_ms=delay_ms(delay_s),
                available_at=due_at(at, delay_s=delay_s),
                mode=mode_of(multitask_strategy),
            ),
            metadata=metadata,
            limits=limits,
            context=context,
            state=state,
            client_tools=client_tools,
            overrides=overrides,
            release_wait_s=release_wait_s,
            create_thread=create_thread,
            decisions=decisions,
            on_completion=on_completion,
        )
        if connection is not None:
            return PromisedRun(self, await self.mailbox.post(request, connection))
        submission = await self.mailbox.submit(request)
        return RunHandle(self, submission.run, submission.dispatch, replayed=submission.replayed)

    def _request(
        self,
        thread_id: str | None,
        message: Given,
        *,
        agent: str | None,
        run_id: str | None,
        delivery: Delivery,
        metadata: Mapping[str, Any] | None,
        limits: Limits | None,
        context: str | Mapping[str, Any] | None,
        state: Mapping[str, Any] | None,
        client_tools: Sequence[ClientTool],
        overrides: Mapping[str, Any] | None,
        create_thread: bool,
        release_wait_s: float | None = None,
        decisions: Sequence[Mapping[str, Any]] = (),
        on_completion: OnCompletion = "keep",
    ) -> RunSubmission:
        """Raises ValidationError for an id that is none, and for what cannot be the input of a run."""
        for value, what in ((thread_id, "thread_id"), (run_id, "run_id")):
            if value is not None:
                checked_id(value, what=what)
        return RunSubmission(
            scope=self.scope,
            thread_id=thread_id or "",
            messages=messages_of(message),
            agent_id=agent,
            run_id=run_id,
            delivery=delivery,
            metadata=cast(dict[str, Any], {} if metadata is None else metadata),
            context=cast(Any, context),
            options=RunOptions(
                overrides=overrides,
                limits=NO_LIMITS if limits is None else limits,
                state=cast(Any, state),
                client_tools=cast(Any, client_tools),
                on_completion=on_completion,
            ),
            decisions=tuple(verdicts_of(decisions)),
            release_wait_s=release_wait_s,
            create_thread=create_thread,
        )

    async def run(
        self,
        thread_id: str | None,
        message: Given,
        *,
        timeout_s: float | None = None,
        agent: str | None = None,
        run_id: str | None = None,
        dedupe_key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        max_attempts: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        context: str | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        client_tools: Sequence[ClientTool] = (),
        overrides: Mapping[str, Any] | None = None,
        multitask_strategy: Strategy = "enqueue",
        release_wait_s: float | None = None,
        create_thread: bool = True,
    ) -> shown.Run:
        """Submit and wait for the end; the run goes on whether or not anybody waits.

        `timeout_s` is the caller's patience; `limits` bound the run itself.

        Raises as `submit`, and:
            RunFailed: The run ended in an error, or was given up.
            TimeoutError: It has not ended within `timeout_s` seconds (`RunTimeout`).
            Unavailable: This object was stopped before the run has ended.
        """
        if timeout_s is not None:
            checking.checked_seconds(timeout_s, what="timeout_s")
        submission = await self.mailbox.submit(
            self._request(
                thread_id,
                message,
                agent=agent,
                run_id=run_id,
                delivery=Delivery(
                    priority=priority,
                    max_attempts=max_attempts,
                    dedupe_key=dedupe_key,
                    mode=mode_of(multitask_strategy),
                ),
                metadata=metadata,
                limits=limits,
                context=context,
                state=state,
                client_tools=client_tools,
                overrides=overrides,
                release_wait_s=release_wait_s,
                create_thread=create_thread,
            ),
            waits=True,
        )
        known, end = submission.run, submission.end
        run = await self.mailbox.wait(self.scope, known.run_id, timeout_s=timeout_s, known=known, end=end)
        return ended_well(_shown_run(self, run, await _dispatch_of(self, run)), timeout_s)

    async def stream(
        self,
        thread_id: str | None,
        message: Given,
        *,
        agent: str | None = None,
        run_id: str | None = None,
        dedupe_key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        max_attempts: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        context: str | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        client_tools: Sequence[ClientTool] = (),
        overrides: Mapping[str, Any] | None = None,
        multitask_strategy: Strategy = "enqueue",
        release_wait_s: float | None = None,
        create_thread: bool = True,
    ) -> AsyncGenerator[shown.Event]:
        """Submit and watch, until the end. The run is accepted when the first event has come. Raises as `submit`."""
        handle = await self.submit(
            thread_id,
            message,
            agent=agent,
            run_id=run_id,
            dedupe_key=dedupe_key,
            priority=priority,
            max_attempts=max_attempts,
            metadata=metadata,
            limits=limits,
            context=context,
            state=state,
            client_tools=client_tools,
            overrides=overrides,
            multitask_strategy=multitask_strategy,
            release_wait_s=release_wait_s,
            create_thread=create_thread,
        )
        async for event in handle.events():
            yield event

    async def steer(
        self,
        thread_id: str | None,
        message: Given,
        *,
        run_id: str | None = None,
        mode: Mode = "steer",
        agent: str | None = None,
        granularity: Granularity = "batch",
        barrier: bool = False,
        fallback_to_new_run: bool = True,
        priority: int = DEFAULT_PRIORITY,
        metadata: Mapping[str, Any] | None = None,
    ) -> shown.Sent:
        """Send a message to the run that is under way, or to the run `run_id`, in whose thread `thread_id` may be None.

        `mode`: `steer` is taken between two of its steps, `follow_up` where it would end; `resume` goes on with one
        that waits; the others are those of a submit. What the run does not take opens a run of its own, for `agent`, or
        is retracted where `fallback_to_new_run` is False. `granularity` `one`: each message is taken by itself;
        `barrier`: nothing behind it is taken before it.

        Raises:
            ValidationError: Something given is unacceptable; nothing is stored.
            ThreadNotFound, RunNotFound: There is none.
            RunNotOpen: The run that it is for has ended, or there is none and it may open none.
            RunNotWaiting: `resume`, and nothing waits.
            ThreadBusy, DeliveryBlocked: `reject` on a busy thread; an interrupt that a pending barrier holds up.
            QueueFull: Too much is pending, or queued.
            AlreadyExists: An id of a message was used for something else.
        """
        named = self._request(
            thread_id,
            message,
            agent=agent,
            run_id=run_id,
            delivery=Delivery(
                priority=priority,
                mode=mode,
                target_run_id=None if run_id is None else RunId(run_id),
                granularity=granularity,
                barrier=barrier,
                fallback_to_new_run=fallback_to_new_run,
            ),
            metadata=metadata,
            limits=None,
            context=None,
            state=None,
            client_tools=(),
            overrides=None,
            create_thread=False,
        )
        if thread_id is None and run_id is None:
            raise ValidationError("name a thread, or a run with run_id", loc=("thread_id",))
        sent = await self.mailbox.messages.send(replace(named, run_id=None))
        return as_shown(SentResource.of(sent), shown.Sent)

    async def receipt(self, message_id: str, *, thread_id: str | None = None, wait_s: float = 0.0) -> shown.Receipt:
        """What has become of a message; with `wait_s`, once that is final, or after so many seconds.

        Raises:
            MessageNotFound: No thread has accepted it.
            Conflict: Several threads have a message with this id: name one.
        """
        found = await self.mailbox.messages.receipt(self.scope, message_id, thread_id=thread_id, wait_s=wait_s)
        return as_shown(ReceiptResource.of(found), shown.Receipt)

    async def pending(self, thread_id: str) -> shown.PendingList:
        """What waits for runs of the thread, in order. Raises ThreadNotFound."""
        found = await self.mailbox.messages.pending(self.scope, thread_id)
        return as_shown(PendingMessages.of(thread_id, found), shown.PendingList)

    async def edit(
        self,
        thread_id: str,
        message_id: str,
        message: Given | None = None,
        *,
        boundary: WaitsAt | None = None,
        barrier: bool | None = None,
        if_version: int | None = None,
    ) -> shown.PendingMessage:
        """Change a message that nobody has taken yet; of one that belongs to a queued run, only the content.

        `if_version`: only if it still has this revision.

        Raises:
            MessageNotFound: The thread has accepted none with this id.
            AlreadyConsumed: What has become of it is final.
            StaleVersion: It has another revision by now.
            ValidationError: What it is to be is unacceptable.
        """
        changed = await self.mailbox.messages.edit(
            self.scope,
            thread_id,
            message_id,
            if_version=if_version,
            message=None if message is None else one_message_of(message),
            boundary=boundary,
            barrier=barrier,
        )
        return as_shown(PendingResource.of_changed(changed), shown.PendingMessage)

    async def retract(self, thread_id: str, message_id: str, *, if_version: int | None = None) -> None:
        """Take back a message that nobody has taken yet; with the last one of a queued run, that run is cancelled.

        Raises as `edit`.
        """
        await self.mailbox.messages.retract(self.scope, thread_id, message_id, if_version=if_version)

    async def reorder(
        self, thread_id: str, message_ids: Sequence[str], *, if_version: str | None = None
    ) -> shown.PendingList:
        """Put everything that is pending in the thread into this order.

        `if_version`: only if the list still has this revision. Raises as `edit`, and ThreadNotFound.
        """
        await self.mailbox.messages.reorder(self.scope, thread_id, message_ids, if_version=if_version)
        return await self.pending(thread_id)

    async def send(
        self,
        agent: str,
        message: Given,
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> RunHandle:
        """Send an agent a message that is from no user: it opens a run of its own, also on a thread whose run waits for
        somebody. Inside an agent `ctx.send` does so in the name of its run.

        Raises as `submit`.
        """
        request = self._request(
            thread_id,
            message,
            agent=agent,
            run_id=run_id,
            delivery=Delivery(),
            metadata=metadata,
            limits=None,
            context=None,
            state=None,
            client_tools=(),
            overrides=None,
            create_thread=True,
        )
        submission = await self.mailbox.submit(replace(request, trace=Trace(origin=Origin.INTERNAL)))
        return RunHandle(self, submission.run, submission.dispatch, replayed=submission.replayed)

    async def get_run(self, run_id: str, *, include: Sequence[shown.Include] = ()) -> shown.Run:
        """`include`: what is said beside it, `why` and its `last_event`. Raises RunNotFound."""
        beside = included(include)
        run = await self.mailbox.get_run(self.scope, RunId(run_id))
        dispatch, tickets = await _read_dispatch(self, run), await _tickets_of(self, run)
        known = {} if dispatch is None else {dispatch.dispatch_id: dispatch}
        [seen] = await _seen(self, [run], known, beside)
        return _shown_run(self, run, dispatch, tickets, reads_dispatch=True, seen=seen)

    async def attention(self, *, limit: int = 20) -> shown.Attention:
        """What wants somebody's attention now, at most `limit` of each kind, 1 to 20."""
        found = await self.mailbox.attention(self.scope, limit)
        resource = AttentionResource.of(self.scope, found, self.store.capabilities, self.mailbox.role, self.agents)
        return as_shown(resource, shown.Attention)

    async def timeline(self, run_id: str) -> shown.Timeline:
        """How a run went: its attempts, steps, model calls, tools, waits and children, as spans. Raises RunNotFound."""
        run = await self.mailbox.get_run(self.scope, RunId(run_id))
        seq = await newest_seq(self.store, self.scope, run)
        drawn = await self.mailbox.timeline(self.scope, run)
        return as_shown(TimelineResource.of(self.scope, run, seq, drawn), shown.Timeline)

    async def explain(self, run_id: str) -> shown.Explanation:
        """Why a run is where it is: behind whom, since when, what comes next, and what a person can do. Raises
        RunNotFound.
        """
        found = await self.mailbox.explain(self.scope, RunId(run_id))
        return as_shown(ExplanationResource.of(found), shown.Explanation)

    async def wait(self, run_id: str, *, timeout_s: float | None = None) -> shown.Run:
        """The run once it is done, however it ended, or as it is after `timeout_s` seconds. Raises RunNotFound."""
        run = await self.mailbox.wait(self.scope, RunId(run_id), timeout_s=timeout_s)
        return _shown_run(self, run, await _dispatch_of(self, run), await _tickets_of(self, run))

    def list_runs(
        self,
        *,
        thread_id: str | None = None,
        agent: str | None = None,
        status: str | None = None,
        phase: str | None = None,
        termination: str | None = None,
        failed: bool = False,
        id_prefix: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Order = "desc",
        include: Sequence[shown.Include] = (),
        limit: int | None = None,
    ) -> Listing[shown.Run]:
        """Runs, newest first unless `order` is `asc`: iterate them, or await a list of them. At most `limit`.

        `include`: what is said beside each, `why` and its `last_event`.

        Raises:
            ValidationError: There is no such status, or an id is none.
        """
        query = RunQuery(
            limit=_page_size(limit),
            descending=_descends(order),
            thread_id=None if thread_id is None else ThreadId(checked_id(thread_id, what="thread_id")),
            status=None if status is None else RunStatus(checking.checked_choice(status, RunStatus, what="status")),
            agent_id=None if agent is None else AgentId(checked_id(agent, what="agent")),
            phase=None if phase is None else cast(Any, checking.checked_choice(phase, get_args(Phase), what="phase")),
            termination=(
                None
                if termination is None
                else cast(Any, checking.checked_choice(termination, get_args(TerminationType), what="termination"))
            ),
            failed=checking.checked_flag(failed, what="failed"),
            id_prefix="" if id_prefix is None else checking.checked(id_prefix, str, what="id_prefix"),
            created_after=due_at(created_after, delay_s=0.0),
            created_before=due_at(created_before, delay_s=0.0),
            metadata=_metadata_filter(metadata),
        )
        beside = included(include)
        return Listing(lambda lost: self._runs(query, beside, lost), limit)

    async def _runs(self, query: RunQuery, beside: frozenset[str], lost: list[str]) -> AsyncGenerator[shown.Run]:
        self.mailbox.check_loop()
        if query.thread_id is not None:
            await self.mailbox.get_thread(self.scope, query.thread_id)
        while True:
            page = await self.store.list_runs(self.scope, query)
            dispatches = await self.store.load_dispatches(self.scope, [run.dispatch_id for run in page.items])
            seen = await _seen(self, page.items, dispatches, beside)
            items = [_shown_run(self, each.run, each.dispatch, reads_dispatch=True, seen=each) for each in seen]
            lost += [*page.unreadable, *[name for run in items for name in run.unreadable]]
            for run in items:
                yield run
            if page.next is None:
                return
            query = replace(query, after=page.next)

    def list_children(self, run_id: str, *, limit: int | None = None) -> Listing[shown.Run]:
        """The runs that a run has started, in that order. Raises RunNotFound."""
        return Listing(lambda lost: self._children(run_id, _page_size(limit), lost), limit)

    async def _children(self, run_id: str, page_size: int, lost: list[str]) -> AsyncGenerator[shown.Run]:
        run = await self.mailbox.get_run(self.scope, RunId(run_id))
        after: int | None = None
        while True:
            page = await children_of(self.store, self.scope, run, after=after, limit=page_size)
            lost += page.unreadable
            dispatches = await self.store.load_dispatches(self.scope, [child.dispatch_id for child in page.items])
            for child in page.items:
                yield _shown_run(self, child, dispatches.get(child.dispatch_id))
            if page.next is None:
                return
            after = page.next

    def list_dispatches(
        self,
        run_id: str | None = None,
        *,
        thread_id: str | None = None,
        status: str | None = None,
        agent: str | None = None,
        claimed_by: str | None = None,
        older_than_s: float | None = None,
        stale: bool = False,
        limit: int | None = None,
    ) -> Listing[shown.Dispatch]:
        """Queue entries, oldest first: those that served a run; or of every run the one that it has now, as the other
        filters choose; those of a thread are all of its own. `stale`: claimed, and the lease has ended.
        """
        chosen = queue_filter(
            run_id=run_id,
            thread_id=thread_id,
            status=status,
            agent=agent,
            claimed_by=claimed_by,
            older_than_s=older_than_s,
            stale=stale,
        )
        return Listing(lambda lost: self._dispatches(chosen, _page_size(limit), lost), limit)

    async def _dispatches(self, chosen: QueueFilter, page_size: int, lost: list[str]) -> AsyncGenerator[shown.Dispatch]:
        self.mailbox.check_loop()
        if chosen.run_id is not None:
            run = await self.mailbox.get_run(self.scope, chosen.run_id)
            chosen = replace(chosen, thread_id=run.thread_id)
        after: int | None = None
        while True:
            page, now = await self.mailbox.dispatches.page(self.scope, chosen, after=after, limit=page_size)
            lost += page.unreadable
            for dispatch in page.items:
                yield as_shown(DispatchResource.of(dispatch, now), shown.Dispatch)
            if page.next is None:
                return
            after = page.next

    async def get_dispatch(self, dispatch_id: str) -> shown.Dispatch:
        """A queue entry, with its run. Raises DispatchNotFound."""
        return await self._shown_dispatch(*await self.mailbox.dispatches.get(self.scope, dispatch_id))

    async def edit_dispatch(
        self,
        dispatch_id: str,
        *,
        priority: int | None = None,
        delay_s: float | None = None,
        available_at: datetime | str | None = None,
    ) -> shown.Dispatch:
        """Give what is queued another place: a priority, or when it is due; `delay_s` 0: at once.

        Raises:
            DispatchNotFound: There is none.
            DispatchNotQueued: It is executed, or has ended.
            ValidationError: Nothing is to change, or what is asked for is out of range.
        """
        place = place_of(priority=priority, delay_s=delay_s, available_at=available_at)
        return await self._shown_dispatch(*await self.mailbox.dispatches.place(self.scope, dispatch_id, place))

    async def _shown_dispatch(self, dispatch: Dispatch, run: Run) -> shown.Dispatch:
        told = as_shown(DispatchResource.of(dispatch, await self.store.now()), shown.Dispatch)
        return replace(told, run=_shown_run(self, run, await _dispatch_of(self, run), await _tickets_of(self, run)))

    async def cancel_dispatch(self, dispatch_id: str, *, wait_s: float = 0.0) -> shown.Cancellation:
        """Stop the run that is queued or executed with it, as `cancel` does.

        Raises:
            DispatchNotFound: There is none.
            DispatchEnded: It has ended; its run may go on with another one.
        """
        return await self._cancellation(await self.mailbox.cancel_dispatch(self.scope, dispatch_id, wait_s=wait_s))

    async def cancel_runs(
        self,
        *,
        run_ids: Sequence[str] | None = None,
        thread_id: str | None = None,
        status: CancelledStatus | None = None,
    ) -> list[shown.CancelledRun]:
        """Stop the runs that are named, or those of a thread, of a status, or both; what became of each.

        Raises ThreadNotFound; ValidationError when nothing says which runs, or there are more than 1 000.
        """
        done = await cancel_many(self.mailbox, self.scope, run_ids=run_ids, thread_id=thread_id, status=status)
        return [shown.CancelledRun(run_id=each.run_id, state=each.state) for each in done]

    async def hide_run(self, run_id: str) -> None:
        """Leave a run that has ended out of lists; its messages stay. Raises RunNotFound, RunNotFinished."""
        await self.mailbox.threads.hide_run(self.scope, await self.mailbox.get_run(self.scope, RunId(run_id)))

    async def retry_run(
        self, run_id: str, *, agent: str | None = None, max_attempts: int | None = None, delay_s: float = 0.0
    ) -> RunHandle:
        """Do again what a run that has ended was asked for, with its own input; what it has said stays part of the
        conversation. Asked again it is the same new run. `agent`: in the place of its own.

        Raises RunNotFound; RunNotFinished; ValidationError when nothing is left of its input; QueueFull.
        """
        submission = await self.mailbox.again.retry(
            self.scope, run_id, agent_id=agent, max_attempts=max_attempts, delay_ms=delay_ms(delay_s)
        )
        return RunHandle(self, submission.run, submission.dispatch, replayed=submission.replayed)

    async def regenerate(
        self, thread_id: str, *, message_id: str | None = None, run_id: str | None = None, agent: str | None = None
    ) -> RunHandle:
        """Answer anew what this message has answered, or the last one. The thread is interrupted for it; what stands
        behind the question is hidden when the new run starts. With `run_id`, asked again it is the same run.

        Raises ThreadNotFound; MessageNotFound where no such message is read; ValidationError where it is no answer.
        """
        submission = await self.mailbox.again.regenerate(
            self.scope, thread_id, message_id=message_id, run_id=run_id, agent_id=agent
        )
        return RunHandle(self, submission.run, submission.dispatch, replayed=submission.replayed)

    def list_dead_letters(
        self,
        *,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
        limit: int | None = None,
    ) -> Listing[shown.DeadLetter]:
        """Runs that were given up and that nobody has seen to, newest run first. `since`: given up then or later."""
        query = letters_of(agent=agent, error_class=error_class, since=since, thread_id=thread_id)
        query = replace(query, limit=_page_size(limit))
        return Listing(lambda lost: self._dead_letters(query, lost), limit)

    async def _dead_letters(self, query: DeadLetterQuery, lost: list[str]) -> AsyncGenerator[shown.DeadLetter]:
        self.mailbox.check_loop()
        while True:
            page = await self.store.list_dead_letters(self.scope, query)
            lost += page.unreadable
            for letter in page.items:
                yield _shown_letter(self, letter)
            if page.next is None:
                return
            query = replace(query, after=page.next)

    async def group_dead_letters(
        self,
        *,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
    ) -> list[shown.DeadLetterGroup]:
        """The same by agent and class of error, the largest group first; of the newest 10 000."""
        self.mailbox.check_loop()
        query = letters_of(agent=agent, error_class=error_class, since=since, thread_id=thread_id)
        groups = await self.mailbox.dead_letters.group(self.scope, query)
        return [as_shown(GroupResource.of(self.scope, group), shown.DeadLetterGroup) for group in groups]

    async def get_dead_letter(self, dispatch_id: str) -> shown.DeadLetter:
        """Also one that was seen to. Raises DispatchNotFound, DeadLetterNotFound."""
        self.mailbox.check_loop()
        return _shown_letter(self, await self.mailbox.dead_letters.get(self.scope, dispatch_id))

    async def retry_dead_letter(
        self, dispatch_id: str, *, agent: str | None = None, max_attempts: int | None = None, delay_s: float = 0.0
    ) -> RunHandle:
        """Do its run again, as by `retry_run`. Asked again it is the same new run.

        Raises as `retry_run`; DispatchNotFound; NotDeadLetter, also for one that was discarded.
        """
        submission = await self.mailbox.dead_letters.retry(
            self.scope, dispatch_id, agent_id=agent, max_attempts=max_attempts, delay_ms=delay_ms(delay_s)
        )
        return RunHandle(self, submission.run, submission.dispatch, replayed=submission.replayed)

    async def discard_dead_letter(self, dispatch_id: str, *, reason: str) -> shown.DeadLetter:
        """Leave it out of the list, with a reason; it stays readable. Raises DispatchNotFound, NotDeadLetter."""
        return _shown_letter(self, await self.mailbox.dead_letters.discard(self.scope, dispatch_id, reason))

    async def retry_dead_letters(
        self,
        *,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
        limit: int = 100,
        dry_run: bool = False,
    ) -> shown.HandledLetters:
        """Retry those that the filter finds, at most `limit`, up to 1 000, newest run first. What cannot be done again
        is skipped. `dry_run`: only count them. Raises ValidationError for a filter that is empty.
        """
        query = letters_of(agent=agent, error_class=error_class, since=since, thread_id=thread_id)
        dry_run = checking.checked_flag(dry_run, what="dry_run")
        done = await self.mailbox.dead_letters.retry_many(self.scope, query, limit=limit, dry_run=dry_run)
        return as_shown(HandledResource.of(done, retried=done.done), shown.HandledLetters)

    async def discard_dead_letters(
        self,
        *,
        reason: str,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
        limit: int = 100,
        dry_run: bool = False,
    ) -> shown.HandledLetters:
        """Discard those that the filter finds, in the same way."""
        query = letters_of(agent=agent, error_class=error_class, since=since, thread_id=thread_id)
        dry_run = checking.checked_flag(dry_run, what="dry_run")
        done = await self.mailbox.dead_letters.discard_many(self.scope, query, reason, limit=limit, dry_run=dry_run)
        return as_shown(HandledResource.of(done, discarded=done.done), shown.HandledLetters)

    async def run_summary(self) -> shown.RunSummary:
        """The runs that are not done, counted by agent and phase."""
        self.mailbox.check_loop()
        summary = await self.store.summarize_runs(self.scope)
        return as_shown(SummaryResource.of(summary, await self.store.now()), shown.RunSummary)

    async def stats(self) -> shown.Stats:
        """What this process has done in the last hour, minute by minute, for every scope."""
        return as_shown(StatsResource.of(self._stats), shown.Stats)

    async def agent_stats(self, agent_id: str, *, window_s: float = HOUR_S) -> shown.AgentStats:
        """What this process has done for an agent in the last so many seconds, 60 to 3600. Raises AgentNotFound."""
        window_s = checked_window(window_s)
        known = self.agents.name(checked_id(agent_id, what="agent_id"))
        return as_shown(AgentStatsResource.of(self._stats.of_agent(known, window_s)), shown.AgentStats)

    def audit(self, *, limit: int | None = None) -> Listing[shown.Finding]:
        """What contradicts itself in the stored rows, looked for in parts as this is read."""
        _page_size(limit)
        return Listing(lambda lost: self._findings(repairs=False), limit)

    def repair(self, *, limit: int | None = None) -> Listing[shown.Finding]:
        """As `audit`, and mend it: what was found, and what became of it."""
        _page_size(limit)
        return Listing(lambda lost: self._findings(repairs=True), limit)

    async def _findings(self, *, repairs: bool) -> AsyncGenerator[shown.Finding]:
        place: AuditPlace | None = FIRST_PLACE
        while place is not None:
            looked = await self.mailbox.auditor.look(place, repairs=repairs)
            for each in findings(looked):
                yield as_shown(each, shown.Finding)
            place = looked.next

    async def cancel(self, run_id: str, *, action: StopAction = "cancel", wait_s: float = 0.0) -> shown.Cancellation:
        """Stop one run. Raises RunNotFound; RunNotOpen when it has ended otherwise.

        `action="rollback"`: when it has ended, what belongs to it is read no more.
        """
        rollback = checking.checked_choice(action, get_args(StopAction), what="action") == "rollback"
        done = await self.mailbox.cancel(self.scope, RunId(run_id), rollback=rollback, wait_s=wait_s)
        return await self._cancellation(done)

    async def run_events(
        self,
        run_id: str,
        *,
        after: str | None = None,
        channels: Iterable[str] | None = None,
        include_deltas: bool = True,
    ) -> AsyncGenerator[shown.Event]:
        """A run's events from its start, or after a cursor, as they come, until its end.

        Raises:
            RunNotFound: There is no such run.
            ValidationError: The cursor is none, or there is no such channel.
            CursorExpired: The log does not hold the place any more, or not yet.
            Unavailable: The app stops before the run has ended.
        """
        selection = selection_of(channels, None, include_deltas)
        run = await self.mailbox.get_run(self.scope, RunId(run_id))
        seq = await self._place(run.thread_id, after)
        async with self.mailbox.read_run(self.scope, run, after=seq) as reader:
            async for event in _events(reader, selection):
                yield event

    def list_run_events(
        self,
        run_id: str,
        *,
        after: str | None = None,
        channels: Iterable[str] | None = None,
        kinds: Iterable[str] | None = None,
        include_deltas: bool = True,
        limit: int | None = None,
    ) -> Listing[shown.Event]:
        """The run's log so far, oldest first. Raises RunNotFound."""
        checking.checked_limit(limit)
        selection = selection_of(channels, kinds, include_deltas)
        return Listing(lambda lost: self._run_log(run_id, after, selection, lost), limit)

    async def _run_log(
        self, run_id: str, after: str | None, selection: Selection, lost: list[str]
    ) -> AsyncGenerator[shown.Event]:
        run = await self.mailbox.get_run(self.scope, RunId(run_id))
        async for event in self._log(run.thread_id, after, selection, run, lost):
            yield event

    # --- what runs wait for -------------------------------------------------------------------------------------------

    def list_tickets(
        self,
        *,
        state: TicketState | None = None,
        kind: TicketKind | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        tool_name: str | None = None,
        action: Action | None = None,
        expires_before: datetime | str | None = None,
        order: Order = "desc",
        limit: int | None = None,
    ) -> Listing[shown.Ticket]:
        """What runs wait for, across threads, newest first unless `order` is `asc`. At most `limit`.

        Raises:
            ValidationError: There is no such state or kind, an id is none, or the instant.
        """
        for value, what in ((agent, "agent"), (thread_id, "thread_id"), (run_id, "run_id")):
            if value is not None:
                checked_id(value, what=what)
        if state is not None:
            checking.checked_choice(state, get_args(TicketState), what="state")
        if kind is not None:
            checking.checked_choice(kind, get_args(TicketKind), what="kind")
        if tool_name is not None:
            checking.checked(tool_name, str, what="tool_name")
        if action is not None:
            checking.checked_choice(action, get_args(Action), what="action")
        query = TicketQuery(
            limit=_page_size(limit),
            descending=_descends(order),
            state=state,
            kind=kind,
            agent_id=None if agent is None else AgentId(agent),
            thread_id=None if thread_id is None else ThreadId(thread_id),
            run_id=None if run_id is None else RunId(run_id),
            tool_name=tool_name,
            action=action,
            expires_before=due_at(expires_before),
        )
        return Listing(lambda lost: self._tickets(query, lost), limit)

    async def _tickets(self, query: TicketQuery, lost: list[str]) -> AsyncGenerator[shown.Ticket]:
        while True:
            page = await self.mailbox.decisions.list_tickets(self.scope, query)
            lost += page.unreadable
            for ticket in page.items:
                yield _shown_ticket(ticket)
            if page.next is None:
                return
            query = replace(query, after=page.next)

    async def get_ticket(self, ticket_id: str) -> shown.Ticket:
        """Raises TicketNotFound."""
        return _shown_ticket(await self.mailbox.decisions.get_ticket(self.scope, ticket_id))

    async def decide(
        self,
        ticket_id: str,
        action: str,
        *,
        result: Any = None,
        arguments: Mapping[str, Any] | None = None,
        reason: str | None = None,
        decision_id: str | None = None,
    ) -> shown.Decided:
        """Decide a ticket: `approve`, `deny`, `edit` with `arguments`, `answer` with a `result`, or `fail`. It is
        stored when this returns, wherever the run is; the same again changes nothing.

        Raises:
            TicketNotFound: There is no such ticket.
            ValidationError: The ticket does not allow it; nothing was decided.
            DecisionConflict: It was decided otherwise before.
            TicketExpired: Its time was over.
            TicketWithdrawn: Its run has ended, or gone on without it.
        """
        said = {
            "action": action,
            "result": result,
            "arguments": arguments,
            "reason": reason,
            "decision_id": decision_id,
        }
        made = await self.mailbox.decisions.decide_ticket(self.scope, ticket_id, verdict_of(said))
        [ticket], [duplicate] = made.tickets, made.duplicates
        return shown.Decided(ticket=_shown_ticket(ticket), run=await self._decided_run(made), duplicate=duplicate)

    async def decide_tickets(self, decisions: Sequence[Mapping[str, Any]]) -> shown.DecidedTickets:
        """Decide tickets of any runs, at most 256, each by itself: one that cannot be decided costs the others nothing,
        and the same again is decided. Each decision names its `ticket_id`.

        Raises:
            ValidationError: One is no decision, or there are none, or too many.
        """
        made = await self.mailbox.decisions.decide_each(self.scope, checked_each(decisions))
        return as_shown(DecidedTickets.of(made), shown.DecidedTickets)

    async def decide_run(self, run_id: str, decisions: Sequence[Mapping[str, Any]]) -> shown.DecidedRun:
        """Decide tickets of a run, all of them or none. Each decision names its `ticket_id`, or its `tool_call_id`.

        Raises as `decide`, and RunNotFound, UnknownToolCall.
        """
        verdicts = verdicts_of(decisions)
        return await self._decided(await self.mailbox.decisions.decide(self.scope, RunId(run_id), verdicts))

    async def decide_thread(self, thread_id: str, decisions: Sequence[Mapping[str, Any]]) -> shown.DecidedRun:
        """The same for the run of a thread that the first of them is about. Raises as `decide_run`; ThreadNotFound."""
        verdicts = verdicts_of(decisions)
        return await self._decided(
            await self.mailbox.decisions.decide_thread(self.scope, ThreadId(thread_id), verdicts)
        )

    async def _decided(self, made: Verdicts) -> shown.DecidedRun:
        tickets = tuple([_shown_ticket(ticket) for ticket in made.tickets])
        return shown.DecidedRun(tickets=tickets, duplicates=made.duplicates, run=await self._decided_run(made))

    async def _decided_run(self, made: Verdicts) -> shown.Run:
        dispatch = made.dispatch or await self.store.load_dispatch(self.scope, made.run.dispatch_id)
        return _shown_run(self, made.run, dispatch)

    # --- threads ------------------------------------------------------------------------------------------------------

    async def create_thread(
        self,
        thread_id: str | None = None,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        resource_id: str | None = None,
        parent_thread_id: str | None = None,
        messages: Given = (),
        if_exists: IfExists = "raise",
    ) -> shown.Thread:
        """Make a thread. `messages` are part of the conversation from its start; no run answers them.

        Raises:
            ValidationError: An id, the metadata or a message is unacceptable.
            ThreadNotFound: There is no such parent.
            AlreadyExists: The thread is there already, unless `if_exists` is `do_nothing`.
        """
        for value, what in (
            (thread_id, "thread_id"), (resource_id, "resource_id"), (parent_thread_id, "parent_thread_id"),
        ):  # fmt: skip
            if value is not None:
                checked_id(value, what=what)
        parent = None if parent_thread_id is None else ThreadId(parent_thread_id)
        if parent is not None:
            await self.mailbox.get_thread(self.scope, parent)
        checking.checked_choice(if_exists, get_args(IfExists), what="if_exists")
        thread, _ = await self.mailbox.save_thread(
            self.scope,
            thread_id or "",
            ThreadInfo(title, cast(dict[str, Any], {} if metadata is None else metadata), resource_id, parent),
            messages=messages_of(messages),
            if_exists="keep" if if_exists == "do_nothing" else "raise",
        )
        return self._shown_thread(thread)

    async def get_thread(self, thread_id: str) -> shown.Thread:
        """Raises ThreadNotFound."""
        return self._shown_thread(await self.mailbox.get_thread(self.scope, ThreadId(thread_id)))

    def list_threads(
        self,
        *,
        resource_id: str | None = None,
        id_prefix: str | None = None,
        parent_thread_id: str | None = None,
        root: bool = False,
        status: str | None = None,
        q: str | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Order = "desc",
        limit: int | None = None,
    ) -> Listing[shown.Thread]:
        """Threads, most recently active first unless `order` is `asc`."""
        query = ThreadQuery(
            limit=_page_size(limit),
            ascending=not _descends(order),
            resource_id=None if resource_id is None else checked_id(resource_id, what="resource_id"),
            id_prefix="" if id_prefix is None else checking.checked(id_prefix, str, what="id_prefix"),
            parent_thread_id=(
                None if parent_thread_id is None else ThreadId(checked_id(parent_thread_id, what="parent_thread_id"))
            ),
            is_root=checking.checked_flag(root, what="root"),
            status=(
                None if status is None else ThreadStatus(checking.checked_choice(status, ThreadStatus, what="status"))
            ),
            title="" if q is None else checking.checked(q, str, what="q"),
            metadata=_metadata_filter(metadata),
        )
        return Listing(lambda lost: self._threads(query, lost), limit)

    async def _threads(self, query: ThreadQuery, lost: list[str]) -> AsyncGenerator[shown.Thread]:
        self.mailbox.check_loop()
        while True:
            page = await self.store.list_threads(self.scope, query)
            lost += [*page.unreadable, *[name for thread in page.items for name in thread.unreadable]]
            for thread in page.items:
                yield self._shown_thread(thread)
            if page.next is None:
                return
            query = replace(query, after=page.next)

    def messages(
        self,
        thread_id: str,
        *,
        run_id: str | None = None,
        visibility: MessageVisibility = "external",
        view: MessageView = "effective",
        order: Order = "asc",
        limit: int | None = None,
    ) -> Listing[shown.Message]:
        """The conversation as it is read, oldest first: iterate it, or await a list of it. Raises ThreadNotFound.

        `view="log"`: also what is hidden of it.
        """
        query = MessageQuery(
            limit=_page_size(limit),
            descending=_descends(order),
            visibility=VISIBILITIES[cast(Any, checking.checked_choice(visibility, VISIBILITIES, what="visibility"))],
            run_id=None if run_id is None else RunId(checked_id(run_id, what="run_id")),
            view=cast(Any, checking.checked_choice(view, get_args(MessageView), what="view")),
        )
        return Listing(lambda lost: self._messages(ThreadId(thread_id), query, lost), limit)

    async def _messages(
        self, thread_id: ThreadId, query: MessageQuery, lost: list[str]
    ) -> AsyncGenerator[shown.Message]:
        thread_id = (await self.mailbox.get_thread(self.scope, thread_id)).thread_id
        while True:
            page = await self.store.page_messages(self.scope, thread_id, query)
            lost += page.unreadable
            for stored in page.items:
                yield as_shown(MessageResource.of(thread_id, stored), shown.Message)
            if page.next is None:
                return
            query = replace(query, before=page.next) if query.descending else replace(query, after=page.next)

    async def edit_thread(
        self,
        thread_id: str,
        *,
        title: str | UnsetType | None = UNSET,
        metadata: Mapping[str, Any] | UnsetType = UNSET,
        resource_id: str | UnsetType | None = UNSET,
        parent_thread_id: str | UnsetType | None = UNSET,
        if_version: int | None = None,
    ) -> shown.Thread:
        """Change what is said about a thread. What is not given stays, None takes it away; `metadata` is merged.

        Raises:
            ThreadNotFound: There is no such thread, or no such parent.
            LineageCycle: It would be its own ancestor.
            StaleVersion: What is said about it has another version than `if_version` by now.
            ValidationError: Something given is unacceptable.
        """
        patch = ThreadPatch(
            title=title,
            metadata=cast(Any, metadata),
            resource_id=resource_id,
            parent_thread_id=cast(Any, parent_thread_id),
        )
        thread = await self.mailbox.threads.edit(self.scope, ThreadId(thread_id), patch, if_version=if_version)
        return self._shown_thread(thread)

    async def delete_thread(
        self, thread_id: str, *, child_strategy: ChildStrategy = "reject", force: bool = False
    ) -> None:
        """Delete a thread: nobody reads it any more when this returns. Again is no error.

        `child_strategy`: what becomes of the threads whose parent it is: they refuse it, lose their parent (`detach`),
        or go with it (`cascade`). `force`: runs that are not done are stopped as by an interrupt.

        Raises:
            ThreadNotFound: There never was such a thread.
            ThreadBusy: A run is not done, and it is not forced.
            HasChildThreads: There are children, and nothing was said about them.
        """
        await self.mailbox.threads.delete(self.scope, ThreadId(thread_id), child_strategy=child_strategy, force=force)

    async def fork_thread(
        self,
        thread_id: str,
        *,
        at_seq: int | None = None,
        at_message_id: str | None = None,
        new_thread_id: str | None = None,
        title: str | None = None,
    ) -> shown.Thread:
        """A new thread with what is read of this one, up to and including a message, or all of it.

        Raises:
            ThreadNotFound, MessageNotFound: There is none.
            ValidationError: No message is read at that place, or the copy would be larger than 8 MiB.
            AlreadyExists: The new thread is there already.
        """
        thread = await self.mailbox.threads.fork(
            self.scope,
            ThreadId(thread_id),
            at_seq=at_seq,
            at_message_id=at_message_id,
            new_thread_id=new_thread_id or "",
            title=title,
        )
        return self._shown_thread(thread)

    async def hide_message(self, thread_id: str, message_id: str) -> shown.Hiding:
        """Have a message of the conversation read no more; a call and its answers go together.

        Raises ThreadNotFound, MessageNotFound; ThreadBusy for calls that an executing or a waiting run has open.
        """
        spans = await self.mailbox.threads.hide(self.scope, ThreadId(thread_id), MessageId(message_id))
        return as_shown(shown_hiding(spans), shown.Hiding)

    async def get_state(self, thread_id: str) -> shown.ThreadState:
        """The thread's state, and from which event on to follow it. Raises ThreadNotFound."""
        snapshot = await self.mailbox.threads.snapshot(self.scope, ThreadId(thread_id))
        return as_shown(shown_state(self.scope, snapshot), shown.ThreadState)

    async def patch_state(
        self, thread_id: str, values: Mapping[str, Any], *, if_version: int | None = None
    ) -> shown.ThreadState:
        """Change the thread's state by a merge patch: None removes a key, an object is merged, anything else replaces.

        `if_version`: only if the state still has this version; StaleVersion otherwise.

        Raises:
            ThreadNotFound: There is no such thread.
            StaleVersion: It has another version by now.
            ValidationError: The values are no JSON object, or the state would be too large (StateTooLarge).
        """
        await self.mailbox.threads.patch_state(self.scope, ThreadId(thread_id), values, if_version=if_version)
        return await self.get_state(thread_id)

    async def cancel_thread(self, thread_id: str, *, wait_s: float = 0.0) -> shown.Cancellation:
        """Stop the thread's active run; its queue goes on. Raises ThreadNotFound."""
        return await self._cancellation(
            await self.mailbox.cancel_thread(self.scope, ThreadId(thread_id), wait_s=wait_s)
        )

    async def interrupt(self, thread_id: str, *, wait_s: float = 0.0) -> shown.Interruption:
        """Clear a thread: supersede what waits, stop what runs. Raises ThreadNotFound."""
        done = await self.mailbox.interrupt(self.scope, ThreadId(thread_id), wait_s=wait_s)
        return shown.Interruption(
            epoch=done.epoch, active_run_id=done.active_run_id, superseded=done.superseded, cancel=done.cancel
        )

    async def events(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        since: Literal["start", "now"] = "start",
        channels: Iterable[str] | None = None,
        include_deltas: bool = True,
    ) -> AsyncGenerator[shown.Event]:
        """What happens on a thread, without end: from its start, after a cursor, or from now on.

        Raises as `run_events`, and ThreadNotFound.
        """
        checking.checked_choice(since, ("start", "now"), what="since")
        selection = selection_of(channels, None, include_deltas)
        thread = await self.mailbox.get_thread(self.scope, ThreadId(thread_id))
        seq = await self._place(thread.thread_id, after)
        if after is None and since == "now":
            seq = thread.event_count
        async with self.mailbox.read_thread(self.scope, thread.thread_id, after=seq) as reader:
            async for event in _events(reader, selection):
                yield event

    async def watch(
        self,
        on: On = (),
        *,
        hints: bool = False,
        channels: Iterable[str] | None = None,
        include_deltas: bool = True,
    ) -> AsyncGenerator[shown.WatchedEvent | shown.Hint]:
        """Several threads and runs read as one, at most 20: by their ids, or by ids with the cursors after which they
        are followed. Without a cursor a run is followed from its start, a thread from now on. `thread:` or `run:`
        before an id says what it is, where there are both.

        `hints`: also where else something happens, in short and as far as is known. Without them this is over when all
        it follows are runs that have ended.

        Raises:
            WatchedNotFound: There is neither a thread nor a run with that id.
            ValidationError, CursorExpired, Unavailable: As `run_events`.
        """
        selection = selection_of(channels, None, include_deltas)
        scopes = scopes_of(on)
        hints = check_watched(scopes, hints)
        places: dict[str, tuple[Run | Thread, int]] = {}
        for name, cursor in scopes.items():
            watched = await self.mailbox.get_watched(self.scope, name)
            seq = await self._place(watched.thread_id, cursor)
            if cursor is None and isinstance(watched, Thread):
                seq = watched.event_count
            places[name] = (watched, seq)
        async with self.mailbox.watch(self.scope, places, hints=hints) as watch:
            while not (watch.ended or watch.is_cut):
                for row in await watch.next_rows():
                    for event in _opened(row, selection):
                        yield shown.WatchedEvent(on=watch.turn, **msgspec.structs.asdict(event))
                for hint in watch.take_hints():
                    yield as_shown(hint, shown.Hint)
            if not watch.ended:
                raise _stopping()

    def list_events(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        channels: Iterable[str] | None = None,
        kinds: Iterable[str] | None = None,
        include_deltas: bool = True,
        limit: int | None = None,
    ) -> Listing[shown.Event]:
        """The thread's log so far, oldest first. Raises ThreadNotFound."""
        checking.checked_limit(limit)
        selection = selection_of(channels, kinds, include_deltas)
        return Listing(lambda lost: self._thread_log(thread_id, after, selection, lost), limit)

    async def _thread_log(
        self, thread_id: str, after: str | None, selection: Selection, lost: list[str]
    ) -> AsyncGenerator[shown.Event]:
        thread = await self.mailbox.get_thread(self.scope, ThreadId(thread_id))
        async for event in self._log(thread.thread_id, after, selection, None, lost):
            yield event

    async def _log(
        self, thread_id: ThreadId, after: str | None, selection: Selection, run: Run | None, lost: list[str]
    ) -> AsyncGenerator[shown.Event]:
        seq = max(await self._place(thread_id, after), 0 if run is None else run.first_event_seq - 1)
        run_id = None if run is None else run.run_id
        while True:
            page = await self.store.page_events(self.scope, thread_id, after=seq, limit=EVENT_PAGE, run_id=run_id)
            lost += page.unreadable
            for row in page.items:
                for event in _opened(row, selection):
                    yield event
            if page.next is None:
                return
            seq = page.next

    async def _place(self, thread_id: ThreadId, after: str | None) -> int:
        """The seq that a cursor names. Raises ValidationError, and CursorExpired where the log does not hold it."""
        if after is None:
            return 0
        seq = event_seq(after, self.scope, thread_id, "after")
        first, last = await self.store.event_bounds(self.scope, thread_id)
        if not first - 1 <= seq <= last:
            raise CursorExpired(after, event_cursor(self.scope, thread_id, first - 1))
        return seq

    # --- schedules ----------------------------------------------------------------------------------------------------

    def schedule(
        self,
        name: str,
        message: Given,
        *,
        agent: str | None = None,
        cron: str | None = None,
        every_s: int | None = None,
        zone: str = "UTC",
        overlap: Overlap = "skip",
        missed: Missed = "one",
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare that an agent is to run again and again with a message: by `cron`, five fields in the time of `zone`,
        or every `every_s` seconds. Say so before this object is started.

        The schedule is stored at the start, changed where it was declared otherwise before, and paused at the first
        start of a program that declares it no more. `overlap`: what happens at an instant while an earlier run of it is
        not done. `missed`: what is made up for after nobody was there to serve.

        Raises:
            ValidationError: It is no schedule, it is declared already, or this object runs; then `create_schedule`
                makes one.
        """
        if self.mailbox.state not in ("new", "stopped"):
            raise ValidationError("declare a schedule before the app is started; create_schedule makes one meanwhile")
        spec = _schedule_spec(
            name,
            message=message,
            agent=agent,
            cron=cron,
            every_s=every_s,
            zone=zone,
            overlap=overlap,
            missed=missed,
            thread_id=thread_id,
            metadata=metadata,
        )
        spec.check()
        declared = self.mailbox.schedules.declared[self.scope]
        if any(each.name == name for each in declared):
            raise ValidationError(f"schedule {name!r} is declared already; choose another name")
        self.mailbox.schedules.declared[self.scope] = (*declared, spec)

    async def create_schedule(
        self,
        name: str,
        message: Given,
        *,
        agent: str | None = None,
        cron: str | None = None,
        every_s: int | None = None,
        zone: str = "UTC",
        overlap: Overlap = "skip",
        missed: Missed = "one",
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> shown.Schedule:
        """Have an agent run again and again, with a message: by a cron expression, or every so many seconds.

        One that is there already and says the same is the answer. Raises as `schedule`, and:
            AlreadyExists: There is another one of that name.
            TooManySchedules: There are as many as there may be.
        """
        spec = _schedule_spec(
            name,
            message=message,
            agent=agent,
            cron=cron,
            every_s=every_s,
            zone=zone,
            overlap=overlap,
            missed=missed,
            thread_id=thread_id,
            metadata=metadata,
        )
        schedule, _ = await self.mailbox.schedules.make(self.scope, spec)
        return _shown_schedule(schedule)

    async def get_schedule(self, name: str) -> shown.Schedule:
        """Raises ScheduleNotFound."""
        self.mailbox.check_loop()
        return _shown_schedule(await self.mailbox.schedules.get(self.scope, name))

    def list_schedules(self, *, limit: int | None = None) -> Listing[shown.Schedule]:
        """The schedules, in the order in which they were made."""
        page_size = _page_size(limit)
        return Listing(lambda lost: self._schedules(page_size, lost), limit)

    async def _schedules(self, page_size: int, lost: list[str]) -> AsyncGenerator[shown.Schedule]:
        self.mailbox.check_loop()
        after: int | None = None
        while True:
            page = await self.mailbox.schedules.page(self.scope, after=after, limit=page_size)
            lost += page.unreadable
            for schedule in page.items:
                yield _shown_schedule(schedule)
            if page.next is None:
                return
            after = page.next

    async def update_schedule(
        self,
        name: str,
        *,
        message: Given | None = None,
        agent: str | None = None,
        cron: str | None = None,
        every_s: int | None = None,
        zone: str | None = None,
        overlap: Overlap | None = None,
        missed: Missed | None = None,
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> shown.Schedule:
        """Change what is given. `cron` takes the place of `every_s`, and the reverse.

        Raises:
            ScheduleNotFound, ScheduleDeclared: There is none; or the program declares it, and only there it is changed.
            ValidationError: It would be no schedule.
        """
        changes = _schedule_changes(
            message=message,
            agent=agent,
            cron=cron,
            every_s=every_s,
            zone=zone,
            overlap=overlap,
            missed=missed,
            thread_id=thread_id,
            metadata=metadata,
        )
        return _shown_schedule(await self.mailbox.schedules.change(self.scope, name, changes))

    async def pause_schedule(self, name: str) -> shown.Schedule:
        """Have it begin nothing until it is resumed. Raises ScheduleNotFound."""
        return _shown_schedule(await self.mailbox.schedules.pause(self.scope, name))

    async def resume_schedule(self, name: str) -> shown.Schedule:
        """Have it go on with its next instant; what fell due meanwhile is not made up for. Raises ScheduleNotFound."""
        return _shown_schedule(await self.mailbox.schedules.resume(self.scope, name))

    async def delete_schedule(self, name: str) -> None:
        """Delete it; the runs that it has begun go on. Raises ScheduleNotFound, ScheduleDeclared."""
        await self.mailbox.schedules.remove(self.scope, name)

    # --- agents -------------------------------------------------------------------------------------------------------

    def list_agents(self) -> Listing[shown.Agent]:
        """The agents, in the order they were added; of one with versions the newest."""

        async def described(lost: list[str]) -> AsyncGenerator[shown.Agent]:
            for info in self.agents.describe():
                yield as_shown(AgentResource.of(info), shown.Agent)

        return Listing(described)

    async def get_agent(self, agent_id: str) -> shown.Agent:
        """An agent: the newest of its versions, or, as `name@version`, that one. Raises AgentNotFound."""
        info = self.agents.described(checked_id(agent_id, what="agent_id"))
        return as_shown(AgentResource.of(info), shown.Agent)

    async def pause_agent(self, agent_id: str) -> shown.Agent:
        """Begin no run of an agent in this process until it is resumed, or the process starts anew. Its runs are
        accepted, and wait; what executes goes on. A name means all its versions, `name@version` that one. Raises
        AgentNotFound.
        """
        self.agents.pause(checked_id(agent_id, what="agent_id"))
        return await self.get_agent(agent_id)

    async def resume_agent(self, agent_id: str) -> shown.Agent:
        """Begin runs of a paused agent again. Raises AgentNotFound."""
        self.agents.resume(checked_id(agent_id, what="agent_id"))
        return await self.get_agent(agent_id)

    async def drain(self) -> shown.Draining:
        """Begin no run in this process until it is undrained, or ends: what is submitted is accepted, and waits; what
        executes goes on. It may be asked before the start, and a stop and a start change nothing of it.
        """
        return _shown_draining(self.mailbox.drain())

    async def undrain(self) -> shown.Draining:
        """Begin runs in this process again: what is due begins at once."""
        return _shown_draining(self.mailbox.undrain())

    async def system(self) -> shown.System:
        """What this process is, and the limits within which it is served."""
        from awaken.http.settings import HttpSettings
        from awaken.http.system_wire import SystemResource
        from awaken.protocols.mounting import chosen_of

        mailbox, settings = self.mailbox, self.http_settings or HttpSettings()
        adapters = chosen_of(settings.protocols)
        resource = SystemResource.of(
            mailbox.worker(), mailbox.uptime_s, self.store.capabilities, mailbox.settings, settings, adapters, None
        )
        return as_shown(resource, shown.System)

    def list_settings(self) -> Listing[shown.Setting]:
        """Every setting in force, and who chose it. Secrets are not shown."""

        async def described(lost: list[str]) -> AsyncGenerator[shown.Setting]:
            from awaken.http.settings import HttpSettings
            from awaken.http.system_wire import settings_of

            exclusive = self.store.capabilities.exclusive
            for setting in settings_of(self.mailbox.settings, self.http_settings or HttpSettings(), exclusive):
                yield as_shown(setting, shown.Setting)

        return Listing(described)

    def list_workers(self) -> Listing[shown.Worker]:
        """The processes that work on the store: this one, on a store that it has for itself."""

        async def described(lost: list[str]) -> AsyncGenerator[shown.Worker]:
            from awaken.http.system_wire import WorkerResource

            found, now = await self.mailbox.workers(), await self.store.now()
            for worker in found:
                yield as_shown(WorkerResource.of(worker, now), shown.Worker)

        return Listing(described)

    async def sweep(self) -> shown.Swept:
        """Look at once for what falls due: claims that nobody carries, tickets whose time is over, schedules. This is
        done every `poll_interval_s`, and when something is known to fall due, without being asked.
        """
        return as_shown(await self.mailbox.sweep(), shown.Swept)

    async def purge(self) -> shown.Purged:
        """Remove now what retention no longer keeps, at most ten thousand runs and as many rows of events. This is done
        every `purge_interval_s` without being asked.
        """
        return as_shown(await self.mailbox.purge(), shown.Purged)

    # --- as it is shown -----------------------------------------------------------------------------------------------

    def _shown_thread(self, thread: Thread) -> shown.Thread:
        return as_shown(ThreadResource.of(self.scope, thread), shown.Thread)

    async def _cancellation(self, done: Cancellation) -> shown.Cancellation:
        run = done.run
        if run is None:
            return shown.Cancellation(state=done.state)
        dispatch = await _read_dispatch(self, run)
        return shown.Cancellation(state=done.state, run=_shown_run(self, run, dispatch))

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def check(self, *, settings: HttpSettings | None = None) -> None:
        """Find out whether it could be started and served: agents are imported, the store is looked at, and the HTTP
        application is made. Nothing is started, taken or written.

        Raises:
            AgentNotLoadable: An agent cannot be imported.
            StoreError: The store could not be opened.
            ValidationError: A setting is out of range.
        """
        await self.agents.load_all()
        self.asgi(settings=settings)
        if isinstance(self.store, SqliteStore):
            check_openable(self.store.path)
        if self.store.capabilities.kind == "postgres":
            await _check_database(self.store)

    def asgi(
        self,
        *,
        authorize: Authorize | None = None,
        allowed_hosts: Sequence[str] | None = None,
        settings: HttpSettings | None = None,
        protocols: Sequence[str] | None = None,
        operations: Sequence[Operation] = (),
    ) -> HttpApp:
        """The HTTP application over this object, for `awaken serve` or for mounting in another application.

        It does not start or stop this object: enter `async with app:` in the lifespan of whatever serves it. Until
        then it answers 503 `starting`. `settings` replaces those of this object, `allowed_hosts` the names in them that
        `Host` may carry, and `authorize` the function that finds who asks, so that everybody has their own threads. One
        that this object has (`HttpSettings.authorize`) holds wherever no other one is given. `operations` are served
        besides: those of a protocol of your own (docs/howto/write-a-protocol-adapter.md). A worker serves nothing but
        its health and metrics.
        """
        from awaken.console.app import CONSOLE_OPERATIONS
        from awaken.http.app import build_app
        from awaken.http.settings import HttpSettings
        from awaken.http.table import OPERATIONS, WORKER_OPERATIONS
        from awaken.protocols.mounting import chosen_of, operations_of

        own = self.http_settings or HttpSettings()
        settings = settings or own
        settings = msgspec.structs.replace(settings, authorize=authorize or settings.authorize or own.authorize)
        if allowed_hosts is not None:
            settings = msgspec.structs.replace(settings, allowed_hosts=tuple(allowed_hosts))
        if protocols is not None:
            settings = msgspec.structs.replace(settings, protocols=tuple(protocols))
        if self.role == "worker":
            settings = msgspec.structs.replace(settings, protocols=())
            served = WORKER_OPERATIONS
        else:
            console = CONSOLE_OPERATIONS if settings.console else ()
            served = (*OPERATIONS, *console, *operations_of(settings.protocols), *operations)
        app = build_app(
            self.mailbox,
            self.store,
            served,
            settings=settings,
            metrics=self.observer.scrape,
            stats=self._stats,
            observer=self.observer.http,
            scope=self.scope,
        )
        app.service.adapters = chosen_of(settings.protocols)
        return app


def _check_part(part: object, has: str, takes: str) -> None:
    """Raises ValidationError for what cannot be such a part, because it lacks what each of them has."""
    if part is not None and not hasattr(part, has):
        raise ValidationError(f"{takes}, and not {checking.shown(part)}")


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """The store a URL names, not yet opened.

    `sqlite:///relative.db`, `sqlite:////absolute.db`, with `?durability=process` to survive a killed process but not
    power loss; `postgresql://user:password@host:5432/database`, with `?schema=`, `pool_size=` and `durability=` where
    wanted; `memory://` for a store that ends with the process.

    Raises:
        ValidationError: The URL is not understood.
        Unsupported: What it takes to use such a database is not installed.
    """
    scheme = _scheme(url)
    match scheme:
        case "memory":
            if url[len(scheme) :] != "://":
                raise ValidationError(
                    f"{checking.shown(url)} is not the URL of a store in memory, which is memory:// alone"
                )
            return MemoryStore(clock)
        case "sqlite":
            path, durability = _sqlite_place(url)
            return SqliteStore(path, clock=clock, durability=durability)
        case scheme if scheme in _POSTGRES:
            return _postgres_store(url, clock)
        case _:
            raise _unknown(url, "names no store; write sqlite:///file.db, postgresql://host/database or memory://")


def _postgres_store(url: str, clock: Clock | None) -> Store:
    """It is given no clock but one that a test moves: leases are judged by the database's own."""
    with _needing_postgres():
        from awaken.store.postgres import PostgresStore
    return PostgresStore(url, clock=None if isinstance(clock, SystemClock) else clock)


@contextmanager
def _needing_postgres() -> Generator[None]:
    """Around an import of what is on Postgres."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Unsupported("PostgreSQL", "it needs asyncpg; in a clone, pip install '.[postgres]'") from error


def _scheme(url: object) -> str:
    return url.partition(":")[0].lower() if isinstance(url, str) else ""


def _unknown(url: object, why: str) -> ValidationError:
    base, plus, driver = _scheme(url).partition("+")
    if plus and base in _POSTGRES:  # as SQLAlchemy writes it
        return ValidationError(f"{checking.shown_url(url)} names a driver; leave out +{driver}, and write {base}://")
    return ValidationError(f"{checking.shown_url(url)} {why}")


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
            f"{checking.shown(url)} is not a SQLite URL; write sqlite:///file.db, or sqlite:////folder/file.db, with"
            " ?durability=full or ?durability=process at the end where wanted. In the name of a file, write %23 for #,"
            " %3F for ? and %25 for %; it has no control characters"
        )
    return path, cast("Durability", found["durability"] or "full")


def audit_file(where: str | Path, progress: Callable[[float], None]) -> list[shown.Finding]:
    """What contradicts itself in an SQLite file, which may be served meanwhile. `progress` is told how much of it has
    been looked at, from 0 to 1.

    Raises:
        ValidationError: It is the URL of something else.
        StoreUnavailable, DataIntegrity: It is not there, cannot be read, or is not a database of this version.
    """
    found: list[shown.Finding] = []
    for part in audit(file_at(where), SystemClock().now()):
        found += _findings(part)
        progress(part.share)
    return found


async def audit_database(url: str, progress: Callable[[float], None]) -> list[shown.Finding]:
    """As `audit_file`, of a store on Postgres."""
    with _needing_postgres():
        from awaken.store.postgres.inspection import audit as audit_postgres
    found: list[shown.Finding] = []
    async for part in audit_postgres(url):
        found += _findings(part)
        progress(part.share)
    return found


def _findings(part: AuditSlice) -> list[shown.Finding]:
    return [as_shown(FindingResource.of(breach), shown.Finding) for breach in part.breaches]


async def repair_stored(where: str | Path, progress: Callable[[float], None]) -> list[shown.Finding]:
    """As `audit_file` or `audit_database`, and mend it. What is claimed in a file belongs to nobody then, and is queued
    again, as at every opening.

    Raises:
        ValidationError, StoreUnavailable, DataIntegrity: As those; or a file is served.
    """
    if is_postgres(where):
        opened = open_store(str(where))
    else:
        check_file(file_at(where))
        opened = SqliteStore(file_at(where))
    found: list[shown.Finding] = []
    async with opened as store:
        place: AuditPlace | None = FIRST_PLACE
        while place is not None:
            part = await store.find_breaches(place)
            for start in range(0, len(part.breaches), MAX_ROWS):
                found += await _mended(store, part.breaches[start : start + MAX_ROWS])
            progress(part.share)
            place = part.next
    return found


async def _mended(store: Store, breaches: tuple[Breach, ...]) -> list[shown.Finding]:
    [outcome] = await store.apply([Mend(breaches=breaches)])
    if isinstance(outcome, Failed):
        raise outcome.error
    assert isinstance(outcome, MendedSome), "a repair answers with what became of each breach"
    return [
        as_shown(FindingResource.of(each.breach, each.result, each.note), shown.Finding) for each in outcome.mendings
    ]


def is_postgres(where: object) -> bool:
    """Whether this is the URL of a Postgres store."""
    return _scheme(where) in _POSTGRES


def file_at(where: str | Path) -> Path:
    """The SQLite file that a path, or a URL, names.

    Raises:
        ValidationError: It is a URL of something else.
    """
    if isinstance(where, Path) or "://" not in where:
        return Path(where)
    if _scheme(where) != "sqlite":
        raise _unknown(where, "names no database; write a path, sqlite:///file.db or postgresql://host/database")
    return Path(_sqlite_place(where)[0])


async def _check_database(store: Store) -> None:
    from awaken.store.postgres import PostgresStore
    from awaken.store.postgres.inspection import check_openable

    if isinstance(store, PostgresStore):
        await check_openable(store.place)


async def migrate_store(url: str, *, contract: bool = False) -> Migrated:
    """Bring what is stored at a URL to the schema of this version, as every opening does. `contract`: take away,
    besides, what only processes of older versions read.

    Raises:
        ValidationError: The URL is not understood, names a store that nothing is kept of, or has nothing for older
            versions, as a file.
        StoreError: It could not be opened.
    """
    if _scheme(url) == "memory":
        raise ValidationError("a store in memory has no schema that stays; name sqlite:///file.db or postgresql://…")
    opened = open_store(url)
    if isinstance(opened, SqliteStore):
        if contract:
            raise ValidationError("a file has nothing for processes of older versions; a store on Postgres may")
        was_made = not (opened.path.exists() and opened.path.stat().st_size)
        async with opened:
            return Migrated(f"database {opened.path}", was_made)
    from awaken.store.postgres import PostgresStore
    from awaken.store.postgres.contracting import contract_place

    assert isinstance(opened, PostgresStore), "there are no others that stay"
    async with opened:
        oldest = await contract_place(opened.place) if contract else None
        return Migrated(opened.place.shown, opened.was_made, oldest)


async def inspect_database(url: str, *, run_retention_ms: int, event_retention_ms: int) -> DatabaseInspection:
    """How large a store on Postgres is, and what such a retention would remove; it may be served meanwhile.

    Raises:
        ValidationError, StoreUnavailable: The URL is not understood, or what is there is no store of this version.
    """
    with _needing_postgres():
        from awaken.store.postgres.inspection import inspect as inspect_postgres
    return await inspect_postgres(url, run_retention_ms=run_retention_ms, event_retention_ms=event_retention_ms)


def inspect_file(path: Path, *, run_retention_ms: int, event_retention_ms: int) -> Inspection:
    """How large an SQLite file is, and what such a retention would remove; it may be served meanwhile.

    Raises:
        StoreUnavailable, DataIntegrity: It is not there, cannot be read, or is not a database of this version.
    """
    now = SystemClock().now()
    return inspect(path, now, run_retention_ms=run_retention_ms, event_retention_ms=event_retention_ms)


def back_up_file(path: Path, target: Path, progress: Progress) -> Backup:
    """Copy an SQLite file to a name that is free; it may be served meanwhile. `progress` is given pages copied and all.

    Raises:
        AlreadyExists: The name is taken.
        StoreUnavailable, DataIntegrity: The file cannot be read, the copy not be written, or the file is damaged.
    """
    return back_up(path, target, progress)


async def move_data(source: str, target: str, progress: MoveProgress, *, dry_run: bool = False) -> Moved:
    """Move what an SQLite file holds, which nobody serves, to Postgres. Broken off, it goes on when it is begun again.

    Raises:
        ValidationError: A URL is not understood.
        Unsupported: What it takes to use Postgres is not installed.
        Conflict: The target is in use, or holds something else.
        StoreUnavailable, DataIntegrity: The file is served, has moved already, or one of both cannot be used.
    """
    goes = "is not what a move takes there; it goes from sqlite:///file.db to postgresql://host/database"
    if _scheme(source) != "sqlite":
        raise _unknown(source, goes)
    if not is_postgres(target):
        raise _unknown(target, goes)
    clock = SystemClock()
    path, _ = _sqlite_place(source)
    with _needing_postgres():
        from awaken.store.postgres.arriving import Arriving
    leaving, arriving = Leaving(path, clock, looks_only=dry_run), Arriving(target, looks_only=dry_run)
    async with AsyncExitStack() as opened:
        await asyncio.to_thread(leaving.__enter__)
        opened.push_async_callback(asyncio.to_thread, leaving.__exit__, None, None, None)
        await opened.enter_async_context(arriving)
        if dry_run:
            return await would_move(leaving, arriving)
        move_id = Ids(clock, system_chance()).mint()
        return await move(leaving, arriving, move_id=move_id, now=clock.now, told=progress)


def _shown_draining(draining: Draining) -> shown.Draining:
    return shown.Draining(drained=draining.drained, executing=draining.executing)


async def _seen(
    app: Awaken, runs: Sequence[Run], dispatches: Mapping[DispatchId, Dispatch], beside: frozenset[str]
) -> list[SeenRun]:
    """With what is asked for beside them."""
    why, last_event = "why" in beside, "last_event" in beside
    return await app.mailbox.see(app.scope, runs, dispatches, why=why, last_event=last_event)


def _shown_run(
    app: Awaken,
    run: Run,
    dispatch: Dispatch | None,
    tickets: Sequence[Ticket] = (),
    *,
    reads_dispatch: bool = False,
    seen: SeenRun | None = None,
) -> shown.Run:
    """A stored run as its callers see it. `reads_dispatch`: its dispatch is damaged when it is None."""
    resource = RunResource.of(
        app.scope, run, dispatch, agents=app.agents, reads_dispatch=reads_dispatch, tickets=tickets
    )
    return as_shown(resource if seen is None else resource.beside(seen), shown.Run)


def _shown_letter(app: Awaken, letter: DeadLetter) -> shown.DeadLetter:
    return as_shown(DeadLetterResource.of(app.scope, letter), shown.DeadLetter)


def _shown_ticket(ticket: Ticket) -> shown.Ticket:
    return as_shown(TicketResource.of(ticket), shown.Ticket)


async def _tickets_of(app: Awaken, run: Run) -> tuple[Ticket, ...]:
    """What the run waits for, in full."""
    if not run.is_parked or not run.open_tickets:
        return ()
    query = TicketQuery(run_id=run.run_id, state="open", limit=MAX_PAGE)
    return (await app.mailbox.decisions.list_tickets(app.scope, query)).items


def _schedule_spec(name: str, *, message: Given, agent: str | None, **given: Any) -> ScheduleSpec:
    """Raises ValidationError for what is no field of a schedule."""
    fields = _schedule_changes(message=message, agent=agent or "", **given)
    return checking.checked(ScheduleSpec(name=name, **fields), ScheduleSpec, what="the schedule")


def _schedule_changes(*, message: Given | None, agent: str | None, **given: Any) -> dict[str, Any]:
    """The fields that are given, as a spec holds them."""
    fields = {name: value for name, value in given.items() if value is not None}
    if len(fields.keys() & {"cron", "every_s"}) == 1:
        fields = {"cron": None, "every_s": None} | fields
    if message is not None:
        fields["messages"] = messages_of(message)
    if agent is not None:
        fields["agent_id"] = agent
    return fields


def _shown_schedule(schedule: Schedule) -> shown.Schedule:
    return as_shown(ScheduleResource.of(schedule), shown.Schedule)


async def _dispatch_of(app: Awaken, run: Run) -> Dispatch | None:
    """The run's newest dispatch, where its phase depends on it: not when the run simply ended."""
    termination = run.termination
    if run.status is DONE and termination is not None and termination.type not in ("cancelled", "error"):
        return None
    return await _read_dispatch(app, run)


async def _read_dispatch(app: Awaken, run: Run) -> Dispatch | None:
    """The run's newest dispatch; None where it cannot be read."""
    return (await app.store.load_dispatches(app.scope, [run.dispatch_id])).get(run.dispatch_id)


def as_shown(resource: object, type: type[ShownT]) -> ShownT:
    """What a server would send, as its client would read it, so that a program is given the same."""
    return msgspec.convert(msgspec.to_builtins(resource), type)


def _metadata_filter(metadata: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Raises ValidationError for what is no mapping of texts to texts."""
    if metadata is None:
        return ()
    return tuple(checking.checked(cast("dict[str, str]", metadata), dict[str, str], what="metadata").items())


def _page_size(limit: int | None) -> int:
    """Raises ValidationError for a limit that is none."""
    checking.checked_limit(limit)
    return MAX_PAGE if limit is None else min(max(limit, 1), MAX_PAGE)


def _descends(order: Order) -> bool:
    return checking.checked_choice(order, get_args(Order), what="order") == "desc"


async def _events(reader: Reader, selection: Selection) -> AsyncGenerator[shown.Event]:
    async for row in reader:
        for event in _opened(row, selection):
            yield event
    if reader.is_cut and not reader.ended:
        raise _stopping()


def _stopping() -> Unavailable:
    return Unavailable("awaken is stopping; the log goes on, read it again after the last cursor", code="stopping")


def _opened(row: EventRow, selection: Selection) -> list[shown.Event]:
    prefix, created_at = cursor_prefix(row.scope, row.thread_id), to_rfc3339(row.created_at)
    return [
        shown.Event(
            cursor=f"{prefix}{seq}",
            kind=event.kind,
            thread_id=row.thread_id,
            run_id=row.run_id,
            dispatch_id=row.dispatch_id,
            created_at=created_at,
            payload=msgspec.json.decode(event.payload),
        )
        for seq, event in enumerate(row.events, row.first_seq)
        if selection.wants(event.kind) and event.visibility is ALL
    ]
