"""Events about messages that wait: accepted, changed, taken, or given up.

Source: ADR 0033; docs/reference/events.md.
"""

from __future__ import annotations

import msgspec

from awaken.domain.ids import MessageId
from awaken.domain.log import ServerEvent
from awaken.domain.pending import Boundary, Granularity, Pending
from awaken.domain.receipt import FinalFate


class MessagePendedPayload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A message waits for the run of its row."""

    message_id: MessageId
    boundary: Boundary
    granularity: Granularity = "batch"
    barrier: bool = False
    fallback_to_new_run: bool = True


class PendingEditedPayload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A message that waits has another content, boundary or place."""

    message_id: MessageId
    revision: int


class PendingRetractedPayload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A message that waited will not be taken. `fate` as in its receipt; `cause`: what ended it, where nobody asked."""

    message_id: MessageId
    fate: FinalFate
    cause: str | None = None


class MessageConsumedPayload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A message that waited was taken by the run of its row; its `MessageCommitted` stands right before."""

    message_id: MessageId
    message_seq: int
    step_index: int
    boundary: Boundary


def pended(entry: Pending) -> ServerEvent:
    payload = MessagePendedPayload(
        entry.message_id, entry.boundary, entry.granularity, entry.barrier, entry.fallback_to_new_run
    )
    return ServerEvent("MessagePended", payload)


def edited(message_id: MessageId, revision: int) -> ServerEvent:
    return ServerEvent("PendingEdited", PendingEditedPayload(message_id, revision))


def retracted(message_id: MessageId, fate: FinalFate, cause: str | None = None) -> ServerEvent:
    return ServerEvent("PendingRetracted", PendingRetractedPayload(message_id, fate, cause))


def consumed(message_id: MessageId, seq: int, step_index: int, boundary: Boundary) -> ServerEvent:
    return ServerEvent("MessageConsumed", MessageConsumedPayload(message_id, seq, step_index, boundary))
