"""What mending asks of a store, beside what every rule over many threads may ask.

Above: `mend`. Below: one answer per ask in each store.
Holds: these look at the rows themselves, not at what other rows say of them, since that is what may be wrong.

Source: ADR 0019.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import MessageId, RunId, Scope
from awaken.domain.ticket import Ticket
from awaken.store.rules.asks import AnswerT, Ask
from awaken.store.rules.facts import ReadyKey, ThreadKey, Waiter


class MendAsk(Ask[AnswerT], frozen=True):
    """A question that only mending asks."""


class RowsOfThread(msgspec.Struct, frozen=True):
    """What a thread has. `message_seq`, `event_seq`: the last ones that are there."""

    thread_no: int
    waiting: int
    left_open: int
    pending: int
    spans: int
    message_seq: int
    event_seq: int
    latest_run_no: int | None
    is_claimed: bool
    queue: tuple[Waiter, ...]


class RowsOfRun(msgspec.Struct, frozen=True):
    """What a run has. `unplaced`: messages that came with it and have neither a seq nor a fate."""

    open_tickets: tuple[Ticket, ...]
    open_dispatches: tuple[Dispatch, ...]
    unplaced: tuple[MessageId, ...]
    has_first_dispatch: bool
    """There is a dispatch with the run's own number."""


class CountThread(MendAsk[RowsOfThread | None], frozen=True):
    """What the thread has; None where there is no such thread, or it is deleted. What the store remembers of the thread
    is forgotten.
    """

    key: ThreadKey


class CountRun(MendAsk[RowsOfRun | DataIntegrity], frozen=True):
    """What the run has, or why a row of it cannot be read."""

    scope: Scope
    run_id: RunId


class Recount(MendAsk[bool], frozen=True):
    """Write into the thread's row what was counted; whether that was news. A log is never made shorter by it."""

    key: ThreadKey
    rows: RowsOfThread
    ready: ReadyKey | None


class IsReported(MendAsk[bool], frozen=True):
    """Whether an event of the thread reports the message with that seq."""

    key: ThreadKey
    seq: int


class Enter(MendAsk[Literal["entered", "there", "taken"]], frozen=True):
    """Have a row found through its thread, by its kind and number, or have a run that is gone not found. `there`: it is
    so already; `taken`: another row has its place.
    """

    key: ThreadKey
    kind: int
    no: int


class RemoveRow(MendAsk[bool], frozen=True):
    """Remove a row, or rows, whose run does not exist; whether there was something to remove."""

    what: Literal["dispatch", "ticket", "journal"]
    scope: Scope
    subject: str
