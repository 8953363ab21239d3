"""A process that works on a store, as the others know it.

Above: the stores keep a record of each, the mailbox renews its own. Below: ids and instants.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.ids import ConsumerId, Route

ProcessRole = Literal["all", "api", "worker"]
"""What a process does: `api` answers requests and executes nothing, `worker` executes runs and answers none but those
for its health, `all` does both."""
FORGOTTEN_MS: Final = 60_000
"""A record that was not renewed for so long is dropped: the process has ended, or will make a new one."""


class ProcessName(msgspec.Struct, frozen=True, gc=False):
    """What a person finds a process by, also when it has ended long ago."""

    host: str
    pid: int
    role: ProcessRole

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class LifeSign(msgspec.Struct, frozen=True):
    """A file that a process holds locked for as long as it lives, and on which boot of which machine."""

    boot_id: str
    path: str


class WorkerStats(msgspec.Struct, frozen=True):
    """What a process has done since it was made, and how much it does at once: `slots` runs at most; `begun` counts the
    claims that it has executed or executes, `lost` those of them that it could not hold to their end.
    """

    slots: int = 0
    begun: int = 0
    lost: int = 0


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says of itself from time to time."""

    consumer_id: ConsumerId
    host: str
    pid: int
    version: str
    role: ProcessRole
    routes: tuple[Route, ...]
    """What it runs; nothing where it only accepts what others run."""
    is_drained: bool
    executing: int
    started_at: Instant | None
    """When it was ready, by its own clock; None before that."""
    life_sign: LifeSign | None = None
    """None where it can show none: whether it lives is known from its leases alone."""
    seen_at: Instant = 0
    """When it was last known to live, by the store's clock."""
    stand_ins: tuple[Route, ...] = ()
    """Of its routes, those of versions that it does not have, and executes with another one."""
    paused: tuple[Route, ...] = ()
    """What it would run, were it not paused there."""
    stats: WorkerStats = WorkerStats()
    totals: dict[Route, int] = {}
    """Of how many runs of an agent it says that no more may execute at once in all processes together."""

    @property
    def name(self) -> ProcessName:
        return ProcessName(self.host, self.pid, self.role)
