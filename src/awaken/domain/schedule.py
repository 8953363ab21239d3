"""Schedules: when an agent is to be run again and again, and at which instants it falls due.

Above: whoever declares one fills in a `ScheduleSpec`; the `Tick` transition moves a `Schedule` on. Below: `cronsim`,
which reads cron expressions as Debian's cron does.
Holds: an instant is computed from the one before and the zone, never from how long something took, so a schedule does
not drift. What a server slept through is known from the next instant that is stored.

Source: ADR 0036; docs/howto/schedule-a-run.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from awaken.domain.checking import checked_choice, shown
from awaken.domain.clock import Instant
from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId, RunId, ThreadId, checked_id, derived_id
from awaken.domain.message import Message

Overlap = Literal["skip", "queue"]
Missed = Literal["one", "all", "none"]
PausedBy = Literal["caller", "undeclared"]

MAX_NAME_CHARS: Final = 80
"""So that the id of a run, which holds the name and an instant, is an id."""
MIN_EVERY_S: Final = 1
MAX_EVERY_S: Final = 366 * 86_400
MAX_CRON_CHARS: Final = 200
MAX_CAUGHT_UP: Final = 100
"""Of what was missed, the last so many instants are made up for with `missed="all"`."""
LATE_MS: Final = 60_000
"""An instant that is not served within this time was missed."""
_CRON_FIELDS: Final = 5
_TOO_LARGE: Final = re.compile(r"\d{3,}|[6-9]\d")
_CRON_HINT: Final = "a range goes upwards, as FRI-SUN,MON, and a day is one that a month of it has"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAME_CHARS: Final = re.compile(r"[A-Za-z0-9._-]+")


class ScheduleSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be done, and when: either `cron`, five fields in the time of `zone`, or `every_s` seconds."""

    name: str
    agent_id: AgentId
    messages: tuple[Message, ...]
    """Without ids: each run gets messages of its own."""
    cron: str | None = None
    every_s: int | None = None
    zone: str = "UTC"
    overlap: Overlap = "skip"
    """What happens at an instant while an earlier run of the schedule is not done."""
    missed: Missed = "one"
    """What is made up for after nobody was there to serve: the last instant, all, or none."""
    thread_id: ThreadId | None = None
    """Where the runs happen; None: on the schedule's own thread."""
    metadata: dict[str, Any] = {}

    @property
    def thread(self) -> ThreadId:
        return ThreadId(f"schedule:{self.name}") if self.thread_id is None else self.thread_id

    @property
    def timing(self) -> tuple[str | None, int | None, str]:
        """What its instants depend on."""
        return self.cron, self.every_s, self.zone

    def run_id(self, at: Instant) -> RunId:
        """The run of an instant: an instant has one, however often it is asked for."""
        return RunId(f"schedule:{self.name}:{instant_text(at)}")

    def check(self) -> None:
        """Raises ValidationError for what is no schedule, or one that never falls due."""
        check_schedule_name(self.name)
        if (self.cron is None) == (self.every_s is None):
            raise _refused("give either cron or every_s", "cron")
        if self.every_s is not None and not MIN_EVERY_S <= self.every_s <= MAX_EVERY_S:
            raise _refused(
                f"every_s is a whole number of seconds, {MIN_EVERY_S} to {MAX_EVERY_S}, not {shown(self.every_s)}",
                "every_s",
            )
        checked_choice(self.overlap, get_args(Overlap), what="overlap")
        checked_choice(self.missed, get_args(Missed), what="missed")
        if self.thread_id is not None:
            checked_id(self.thread_id, what="thread_id", loc=("body", "thread_id"))
        if not self.messages:
            raise _refused("at least one message is required", "messages")
        if any(message.id for message in self.messages):
            raise _refused("a message of a schedule has no id: each run gets messages of its own", "messages")
        _zone(self.zone)
        if self.cron is not None:
            _check_cron(self.cron)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as stored. `next_at` None: it is paused."""

    no: int
    spec: ScheduleSpec
    created_at: Instant
    updated_at: Instant
    anchor_at: Instant
    """What `every_s` counts from."""
    next_at: Instant | None
    declared: bool = False
    """The program declares it, each time it starts; only there it can be changed."""
    paused_by: PausedBy | None = None
    """`undeclared`: the program declares it no more."""
    last_at: Instant | None = None
    """The instant that it served last."""
    last_run_id: RunId | None = None
    """The run that it started last."""
    skipped: int = 0
    """At how many instants nothing was started, because an earlier run was not done."""
    last_error: str | None = None
    """Why the last run could not be started; None since one was."""

    def next_after(self, now: Instant) -> Instant | None:
        """The first instant after `now`."""
        return next_instant(self.spec, self.anchor_at, now)

    def due(self, now: Instant) -> list[Instant]:
        """The instants to serve now, oldest first: those since `next_at`, as far as `missed` says."""
        if self.next_at is None or self.next_at > now:
            return []
        missed = self.spec.missed
        newest = islice(_backwards(self.spec, self.anchor_at, now), MAX_CAUGHT_UP if missed == "all" else 1)
        since = max(self.next_at, now - LATE_MS) if missed == "none" else self.next_at
        return [*takewhile(lambda at: at >= since, newest)][::-1]


def instant_text(at: Instant) -> str:
    """An instant of a schedule, which is a whole second, inside an id."""
    return (_EPOCH + timedelta(milliseconds=at)).strftime("%Y-%m-%dT%H:%M:%SZ")


def message_ids(run_id: RunId, count: int) -> list[str]:
    """The ids of the messages of a run that was derived from something: the same each time it is derived."""
    return [derived_id(run_id, "message", str(index)) for index in range(count)]


def check_schedule_name(name: object) -> str:
    """Raises ValidationError for what cannot be part of the id of a run."""
    if not isinstance(name, str) or len(name) > MAX_NAME_CHARS or _NAME_CHARS.fullmatch(name) is None:
        raise ValidationError(
            f"the name of a schedule is 1 to {MAX_NAME_CHARS} characters of A-Z a-z 0-9 . _ -, not {shown(name)}",
            code="invalid_id",
            loc=("body", "name"),
        )
    return name


def next_instant(spec: ScheduleSpec, anchor_at: Instant, now: Instant) -> Instant | None:
    """The first instant of the schedule after `now`; None when there is none in the next 50 years."""
    if spec.every_s is not None:
        every_ms = spec.every_s * 1000
        return anchor_at + ((now - anchor_at) // every_ms + 1) * every_ms
    assert spec.cron is not None, "a schedule has either"
    for at in _cron(spec.cron, spec.zone, now // 1000 * 1000):
        if at > now:
            return at
    return None


def _backwards(spec: ScheduleSpec, anchor_at: Instant, now: Instant) -> Iterator[Instant]:
    """The instants up to `now`, newest first."""
    if spec.every_s is not None:
        every_ms = spec.every_s * 1000
        newest = anchor_at + (now - anchor_at) // every_ms * every_ms
        yield from range(newest, anchor_at, -every_ms)
        return
    assert spec.cron is not None, "a schedule has either"
    yield from _cron(spec.cron, spec.zone, (now // 1000 + 1) * 1000, backwards=True)


def _cron(cron: str, zone: str, start: Instant, *, backwards: bool = False) -> Iterator[Instant]:
    """The instants of a cron expression after, or before, one: for 50 years."""
    for at in CronSim(cron, (_EPOCH + timedelta(milliseconds=start)).astimezone(_zone(zone)), reverse=backwards):
        yield round(at.timestamp()) * 1000


def _check_cron(cron: str) -> None:
    try:
        if len(cron) > MAX_CRON_CHARS or len(cron.split()) != _CRON_FIELDS:
            raise CronSimError("it has five fields: minute, hour, day, month, weekday")
        if _TOO_LARGE.search(cron):
            raise CronSimError("no number in it is larger than 59")
        next(CronSim(cron, _EPOCH))
    except StopIteration:
        raise _refused(f"cron {shown(cron)} never falls due", "cron") from None
    except CronSimError as error:
        raise _refused(f"cron {shown(cron)} cannot be read: {error}; {_CRON_HINT}", "cron") from None


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise _refused(
            f"zone {shown(name)} is not known here; write one as Europe/Paris, and install tzdata where the system has"
            " no time zones",
            "zone",
        ) from None


def _refused(text: str, field: str) -> ValidationError:
    return ValidationError(text, loc=("body", field))
