"""What the server answers with and only a client meets: pages, health, and what stands in for lost events.

Above: the client. Below: JSON as `docs/reference/http.md` describes it; runs, threads and the rest are in
`domain.shown`, because `Awaken` gives the same.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from awaken.domain.shown import Event, Hint, WatchedEvent

ItemT = TypeVar("ItemT")


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Component(_Resource, frozen=True):
    state: str
    detail: str | None = None


class Recovery(_Resource, frozen=True):
    """How far a start is, and the look through the rows behind it. `done`: how much of the phase, from 0 to 1."""

    phase: str = ""
    done: float = 0.0


class Health(_Resource, frozen=True):
    """Of a whole server. `status` is `ready`, or why it is not."""

    status: str
    durability: str = ""
    store: str = ""
    components: dict[str, Component] = {}
    recovery: Recovery = Recovery()
    executing: int = 0
    free_slots: int = 0


class Resync(_Resource, frozen=True):
    """In the place of events: the position asked for is outside the log, so here is the state, and the log goes on.

    `state` is the server's snapshot of the thread or run; whatever was accumulated before it is void.
    """

    cursor: str
    state: dict[str, Any] = {}
    on: str | None = None
    """Of a stream over several threads and runs: the id under which it is watched."""


StreamItem = Event | Resync
WatchItem = WatchedEvent | Hint | Resync


class Page(_Resource, Generic[ItemT], frozen=True):
    items: tuple[ItemT, ...]
    has_more: bool = False
    next_cursor: str | None = None
    unreadable: tuple[str, ...] = ()
