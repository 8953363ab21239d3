"""What a run, a schedule or a caller's own transaction does to a thread: an errand, written with what caused it and
delivered behind it.

No transition spans two threads. So what one thread does to another is a row that is stored by the first thread's own
transition, and delivered as a transition of the second one that may be repeated: the ids of what it makes were chosen
when it was written. What is submitted in a transaction of somebody else's is such a row, too.

Above: rules write an errand with the transition that causes it; the mailbox delivers it. Below: domain records.
Holds: an errand has everything in it that its delivery needs.

Source: ADR 0035.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.delivery import Delivery
from awaken.domain.ids import DispatchId, RunId, Scope, ThreadId, TicketId
from awaken.domain.message import Message
from awaken.domain.pending import Opens
from awaken.domain.run import RunRequest
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import Decision

OF_TRANSACTIONS: Final = "transaction:"
"""The sender of what was submitted in transactions of callers."""
MAX_HOPS: Final = 32
"""So many runs in a row may have been caused by messages of runs: two agents that answer each other come to an end."""
ERRAND_DIGEST: Final = "errand"
"""Stands for what was sent where a run comes from an errand: it is repeated word for word, and a caller's request under
the id of that run is another one."""


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin", omit_defaults=True):
    """Have a run accepted on the thread, which is made with `info` where there is none."""

    run_id: RunId
    dispatch_id: DispatchId
    request: RunRequest
    messages: tuple[Message, ...]
    metadata: dict[str, Any] = {}
    delivery: Delivery = Delivery()
    info: ThreadInfo | None = None
    schedule: str | None = None
    """The schedule whose instant it serves."""
    digest: str = ERRAND_DIGEST
    """Of what a caller has sent, so that the same under the same run id is recognised, however it came."""
    create_thread: bool = True


class Tell(msgspec.Struct, frozen=True, kw_only=True, tag="tell"):
    """Decide the ticket with which a run of the thread follows the end of a child. Where it does not wait for that, the
    message tells it, or opens a run that is told.
    """

    run_id: RunId
    ticket_id: TicketId
    decision: Decision
    message: Message
    opens: Opens


class ChildWaits(msgspec.Struct, frozen=True, kw_only=True, tag="child_waits"):
    """Say in the log of a run of the thread that a child of it waits for these tickets. `dispatch_id`: with which the
    child suspended.
    """

    run_id: RunId
    ticket_id: TicketId
    child_run_id: RunId
    dispatch_id: DispatchId
    ticket_ids: tuple[TicketId, ...]


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Stop a run of the thread. An earlier errand of the same lane has begun it, or was refused."""

    run_id: RunId


Errand = Begin | Tell | ChildWaits | Stop


class Posting(msgspec.Struct, frozen=True, gc=False):
    """An errand for a thread, as a transition carries it."""

    thread_id: ThreadId
    errand: Errand


Lane = tuple[Scope, str, ThreadId]
"""What the errands of one sender to one thread travel in: in order, one at a time."""


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An errand that is stored and not known to be delivered."""

    no: int
    """An arrival number, and thus its place in its lane."""
    scope: Scope
    sender: str
    """The thread that it comes from; of a schedule its name, with `schedule:` in front; or `OF_TRANSACTIONS`."""
    run_id: RunId | None
    """The run that wrote it, where one did."""
    thread_id: ThreadId
    """The thread that it is for."""
    errand: Errand
    created_at: Instant

    @property
    def lane(self) -> Lane:
        return self.scope, self.sender, self.thread_id
