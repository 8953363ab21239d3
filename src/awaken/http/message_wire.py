"""Messages for runs that are there, as the API shows them, beside the resources of `wire`.

Above: `routes.messages`, and `Awaken`, which shows the same. Below: domain records, and what the mailbox says of them.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.message import Block, Message
from awaken.domain.pending import Granularity, Pending
from awaken.domain.receipt import Fate, Path, Receipt
from awaken.mailbox.messages import Changed, PendingList, Sent
from awaken.store.contract import PendingMessage


class ReceiptResource(msgspec.Struct, frozen=True, kw_only=True):
    message_id: str
    thread_id: str
    accepted_at: str
    path: Path
    """How it was accepted: with a run that started at once, with one that waits, or for a run that was there."""
    fate: Fate
    """`pending`, and then one of the others, for good."""
    run_id: str | None
    """The run that took it, or that it is, or was, for."""
    seq: int | None
    """Its place in the conversation."""
    step_index: int | None
    """How many steps its run had closed when it took it, where it was taken between two."""
    settled_at: str | None

    @classmethod
    def of(cls, receipt: Receipt) -> ReceiptResource:
        return cls(
            message_id=receipt.message_id,
            thread_id=receipt.thread_id,
            accepted_at=to_rfc3339(receipt.accepted_at),
            path=receipt.path,
            fate=receipt.fate,
            run_id=receipt.run_id,
            seq=receipt.seq,
            step_index=receipt.step_index,
            settled_at=_instant(receipt.settled_at),
        )


class SentResource(msgspec.Struct, frozen=True, kw_only=True):
    """What was accepted, and the run that takes it: the one that it is for, or one of its own."""

    path: Path
    run_id: str
    thread_id: str
    dispatch_id: str
    message_ids: tuple[str, ...]
    receipts: tuple[ReceiptResource, ...]
    replayed: bool

    @classmethod
    def of(cls, sent: Sent) -> SentResource:
        run, receipts = sent.submission.run, sent.receipts
        path = sent.submission.path if not sent.submission.replayed or not receipts else receipts[0].path
        return cls(
            path=path,
            run_id=run.run_id,
            thread_id=run.thread_id,
            dispatch_id=run.dispatch_id,
            message_ids=tuple([each.message_id for each in receipts]),
            receipts=tuple([ReceiptResource.of(each) for each in receipts]),
            replayed=sent.submission.replayed,
        )


class PendingResource(msgspec.Struct, frozen=True, kw_only=True):
    message_id: str
    thread_id: str
    revision: int
    run_id: str | None
    """The run that it waits for."""
    content: tuple[Block, ...]
    position: int | None
    """1 is next; null for a message of a queued run."""
    boundary: str | None
    granularity: Granularity
    barrier: bool
    fallback_to_new_run: bool
    target_run_id: str | None
    created_at: str

    @classmethod
    def of(cls, thread_id: str, message: Message, entry: Pending, position: int) -> PendingResource:
        return cls(
            message_id=message.id,
            thread_id=thread_id,
            revision=entry.revision,
            run_id=entry.run_id,
            content=message.content,
            position=position,
            boundary=entry.boundary,
            granularity=entry.granularity,
            barrier=entry.barrier,
            fallback_to_new_run=entry.fallback_to_new_run,
            target_run_id=entry.target_run_id,
            created_at=to_rfc3339(entry.created_at),
        )

    @classmethod
    def of_changed(cls, changed: Changed) -> PendingResource:
        """A message as an edit has left it: one that is pending, or belongs to a queued run."""
        edited, receipt = changed.edited, changed.receipt
        if edited.pending is not None and changed.position is not None:
            return cls.of(receipt.thread_id, edited.message, edited.pending, changed.position)
        return cls(
            message_id=edited.message.id,
            thread_id=receipt.thread_id,
            revision=edited.revision,
            run_id=receipt.run_id,
            content=edited.message.content,
            position=None,
            boundary=None,
            granularity="batch",
            barrier=False,
            fallback_to_new_run=True,
            target_run_id=None,
            created_at=to_rfc3339(receipt.accepted_at),
        )


class PendingMessages(msgspec.Struct, frozen=True, kw_only=True):
    """All of it: there are no pages."""

    items: tuple[PendingResource, ...]
    revision: str
    """Another one after every change; the `ETag` of the list."""

    @classmethod
    def of(cls, thread_id: str, pending: PendingList) -> PendingMessages:
        return cls(items=shown_pending(thread_id, pending.items), revision=pending.revision)


def shown_pending(thread_id: str, pending: Sequence[PendingMessage]) -> tuple[PendingResource, ...]:
    """What waits for runs of a thread, in order."""
    return tuple(
        [PendingResource.of(thread_id, each.message, each.entry, place) for place, each in enumerate(pending, 1)]
    )


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_rfc3339(instant)
