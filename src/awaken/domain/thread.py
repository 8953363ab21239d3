"""Threads: ordered conversations, and what is derived from their rows when they are read.

Source: ADR 0007; TR-001 to TR-012, TR-028 to TR-034 as derived values.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from awaken.domain.clock import Instant
from awaken.domain.errors import ValidationError
from awaken.domain.ids import RunId, ThreadId, checked_id
from awaken.domain.run import Run, RunStatus


class ThreadStatus(StrEnum):
    IDLE = "idle"
    QUEUED = "queued"
    BUSY = "busy"
    WAITING = "waiting"
    ERROR = "error"


class ThreadInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What its owner says about a thread."""

    title: str | None = None
    metadata: dict[str, Any] = {}
    resource_id: str | None = None
    parent_thread_id: ThreadId | None = None

    def check(self, thread_id: ThreadId) -> None:
        """Raises ValidationError for what is no id, and for a thread that is its own parent (TR-004)."""
        checked_id(thread_id, what="thread_id", loc=("body", "thread_id"))
        if self.resource_id is not None:
            checked_id(self.resource_id, what="resource_id", loc=("body", "resource_id"))
        if self.parent_thread_id is not None:
            checked_id(self.parent_thread_id, what="parent_thread_id", loc=("body", "parent_thread_id"))
            if self.parent_thread_id == thread_id:
                raise ValidationError(f"thread {thread_id!r} cannot be its own parent")


class ThreadPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said otherwise about a thread. Left out: it stays; None: it is taken away. `metadata` is merged."""

    title: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    resource_id: str | UnsetType | None = UNSET
    parent_thread_id: ThreadId | UnsetType | None = UNSET

    def check(self, thread_id: ThreadId) -> None:
        """Raises ValidationError for what is no id, and for a thread that is its own parent."""
        resource_id = None if self.resource_id is UNSET else self.resource_id
        parent = None if self.parent_thread_id is UNSET else self.parent_thread_id
        ThreadInfo(resource_id=resource_id, parent_thread_id=parent).check(thread_id)


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """A thread as read. Its runs and status are looked up when it is read, never stored with it."""

    thread_id: ThreadId
    info: ThreadInfo
    epoch: int
    message_count: int
    event_count: int
    queued_count: int
    pending_count: int
    created_at: Instant
    updated_at: Instant
    open_ticket_count: int = 0
    info_version: int = 1
    """Counts the changes of what is said about it."""
    active_run_id: RunId | None = None
    open_run_id: RunId | None = None
    latest_run_id: RunId | None = None
    status: ThreadStatus = ThreadStatus.IDLE
    unreadable: tuple[str, ...] = ()
    """What of it a read could not show, by name: runs and dispatches that are damaged, which its status leaves out."""


def derive_status(
    *, active_run_id: RunId | None, queued_count: int, open_run: Run | None, latest: Run | None
) -> ThreadStatus:
    """One word for a thread, from its rows."""
    if active_run_id is not None:
        return ThreadStatus.BUSY
    if queued_count:
        return ThreadStatus.QUEUED
    if open_run is not None and open_run.status is RunStatus.WAITING:
        return ThreadStatus.WAITING
    if (
        open_run is None
        and latest is not None
        and latest.termination is not None
        and latest.termination.type == "error"
    ):
        return ThreadStatus.ERROR
    return ThreadStatus.IDLE
