"""What a server says about itself: what it is made of, how it is set, and what its maintenance did.

Above: the handlers of the system, and `Awaken`, which shows the same. Below: the settings of the layers beneath.
Holds: no function and no text that could be a secret is shown, only that there is one.

Source: docs/reference/http.md; SRV-043.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec

from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.guard import Guard, guard_of
from awaken.domain.version import version
from awaken.domain.watching import MAX_WATCHED
from awaken.domain.worker import ProcessRole, WorkerRecord
from awaken.http import settings as http
from awaken.http.settings import HttpSettings, Source
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.sweeper import Removed, Swept
from awaken.store.contract import Capabilities

HIDDEN: Final = "set, and not shown"
_SECRET: Final = re.compile("authorize|key|password|secret|token(?!s)")


class SystemResource(msgspec.Struct, frozen=True, kw_only=True):
    """A server. `role`: `all`; `api` where it executes nothing; `worker` where it executes runs and accepts none."""

    version: str
    role: ProcessRole
    started_at: str | None
    uptime_s: float
    store: str
    durability: str
    exclusive: bool
    """Nobody else may use the store meanwhile."""
    guard: Guard | None
    """What keeps strangers from it: `authorize`, which is asked who sends each request; `loopback`, where only its own
    machine reaches it; or `nobody`. Null: a program of its own serves it, and has not said where it listens."""
    adapters: tuple[str, ...]
    """Other protocols that it speaks."""
    limits: dict[str, int | float]

    @classmethod
    def of(
        cls,
        worker: WorkerRecord,
        uptime_s: float,
        capabilities: Capabilities,
        mailbox: MailboxSettings,
        settings: HttpSettings,
        adapters: tuple[str, ...],
        on_loopback: bool | None,
    ) -> SystemResource:
        return cls(
            version=version(),
            role=worker.role,
            started_at=None if worker.started_at is None else to_rfc3339(worker.started_at),
            uptime_s=round(uptime_s, 3),
            store=capabilities.kind,
            durability=capabilities.durability,
            exclusive=capabilities.exclusive,
            guard=guard_of(authorizes=settings.authorize is not None, on_loopback=on_loopback),
            adapters=adapters,
            limits=_limits(mailbox, settings),
        )


class SettingResource(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: as in the object that holds it, `MailboxSettings` or `HttpSettings`, behind `mailbox.` or `http.`.

    `source`: `default`, or who chose it: the `program`, a `flag` of the command that serves it, its `environment`, or
    the `command` itself, by the address that it serves.
    """

    name: str
    value: Any
    source: Source


class SettingList(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[SettingResource, ...]
    has_more: bool = False
    next_cursor: str | None = None


class WorkerStatsResource(msgspec.Struct, frozen=True, kw_only=True):
    """`slots`: how many runs it executes at once, at most; `begun`: how many executions it has begun, `lost`: and how
    many of them were taken from it.
    """

    slots: int
    begun: int
    lost: int


class WorkerResource(msgspec.Struct, frozen=True, kw_only=True):
    """A process that works on the store. `routes`: of which it executes runs; `executing`: how many it holds.
    `seen_at`: when it was last known to live, `seen_ago_s` seconds ago. `max_concurrent_total`: how many runs of an
    agent all processes together may execute at once, as it says.
    """

    consumer_id: str
    host: str
    pid: int
    version: str
    role: ProcessRole
    routes: tuple[str, ...]
    drained: bool
    executing: int
    started_at: str | None
    seen_at: str
    seen_ago_s: float
    max_concurrent_total: dict[str, int]
    stats: WorkerStatsResource

    @classmethod
    def of(cls, worker: WorkerRecord, now: Instant) -> WorkerResource:
        stats = worker.stats
        return cls(
            consumer_id=worker.consumer_id,
            host=worker.host,
            pid=worker.pid,
            version=worker.version,
            role=worker.role,
            routes=worker.routes,
            drained=worker.is_drained,
            executing=worker.executing,
            started_at=None if worker.started_at is None else to_rfc3339(worker.started_at),
            seen_at=to_rfc3339(worker.seen_at),
            seen_ago_s=max(now - worker.seen_at, 0) / 1000,
            max_concurrent_total={str(route): limit for route, limit in worker.totals.items()},
            stats=WorkerStatsResource(slots=stats.slots, begun=stats.begun, lost=stats.lost),
        )


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[WorkerResource, ...]
    has_more: bool = False
    next_cursor: str | None = None


class SweptResource(msgspec.Struct, frozen=True, kw_only=True):
    """`taken_back`: claims that nobody carried, queued again; `expired`: tickets whose time was over; `begun`: runs of
    schedules that were due.
    """

    taken_back: int
    expired: int
    begun: int

    @classmethod
    def of(cls, swept: Swept) -> SweptResource:
        return cls(taken_back=swept.taken_back, expired=swept.expired, begun=swept.begun)


class PurgedResource(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed; `rows` are those of deleted threads. `more` is left: ask again, or leave it to the server."""

    runs: int
    events: int
    rows: int
    more: bool

    @classmethod
    def of(cls, removed: Removed) -> PurgedResource:
        return cls(runs=removed.runs, events=removed.events, rows=removed.rows, more=removed.more)


_NOBODY: Final[Mapping[str, Source]] = {}


def settings_of(
    mailbox: MailboxSettings, settings: HttpSettings, exclusive: bool, sources: Mapping[str, Source] = _NOBODY
) -> tuple[SettingResource, ...]:
    """Every setting in force, in the order of their documentation. `exclusive`: of the
    store, which decides some defaults; `sources`: by name, of what a command has chosen.
    """
    defaults = MailboxSettings().on_store(exclusive=exclusive)
    return (*_settings("mailbox", mailbox, defaults, sources), *_settings("http", settings, HttpSettings(), sources))


def _settings(
    prefix: str, held: msgspec.Struct, defaults: msgspec.Struct, sources: Mapping[str, Source]
) -> Iterator[SettingResource]:
    for name in held.__struct_fields__:
        value, default = getattr(held, name), getattr(defaults, name)
        if isinstance(value, msgspec.Struct):
            yield from _settings(f"{prefix}.{name}", value, default, sources)
        else:
            source = sources.get(f"{prefix}.{name}", "default" if value == default else "program")
            yield SettingResource(name=f"{prefix}.{name}", value=_shown(name, value), source=source)


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET.search(name):
        return HIDDEN
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return [_shown(name, each) for each in cast("tuple[Any, ...]", value)]
    return HIDDEN


def _limits(mailbox: MailboxSettings, settings: HttpSettings) -> dict[str, int | float]:
    """What a client meets when it asks for too much."""
    return {
        "max_body_bytes": settings.max_body_bytes,
        "max_run_body_bytes": settings.max_run_body_bytes,
        "max_header_bytes": settings.max_header_bytes,
        "max_uri_bytes": settings.max_uri_bytes,
        "max_json_depth": settings.max_json_depth,
        "max_requests": settings.max_requests,
        "max_streams": settings.max_streams,
        "max_messages": http.MAX_MESSAGES,
        "max_blocks": http.MAX_BLOCKS,
        "max_text_chars": http.MAX_TEXT_CHARS,
        "max_attachments": http.MAX_ATTACHMENTS,
        "max_attachment_bytes": http.MAX_ATTACHMENT_BYTES,
        "max_metadata_bytes": http.MAX_METADATA_BYTES,
        "max_batch_runs": http.MAX_BATCH_RUNS,
        "max_cancelled_runs": http.MAX_CANCELLED_RUNS,
        "max_limit": http.MAX_LIMIT,
        "max_wait_s": http.MAX_WAIT_S,
        "max_watched": MAX_WATCHED,
        "max_concurrent_runs": mailbox.max_concurrent_runs,
        "max_queued_per_thread": mailbox.max_queued_per_thread,
        "max_pending_per_thread": mailbox.max_pending_per_thread,
        "max_result_bytes": mailbox.max_result_bytes,
    }
