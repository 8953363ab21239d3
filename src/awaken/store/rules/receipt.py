"""A receipt as it is read: derived from the message's row.

Above: every store, after it has looked up the row. Below: `domain.receipt`.

Source: ADR 0033.
"""

from __future__ import annotations

from awaken.domain.clock import Instant
from awaken.domain.ids import ThreadId
from awaken.domain.receipt import Fate, Path, Receipt
from awaken.store.contract import StoredMessage


def receipt_of(thread_id: ThreadId, stored: StoredMessage, *, is_steered: bool, settled_at: Instant | None) -> Receipt:
    """`settled_at`: when its fate was decided, where that was after it was accepted."""
    started = stored.seq is not None and settled_at is None
    path: Path = "steered" if is_steered else "started" if started else "queued"
    fate: Fate = "consumed" if stored.seq is not None else stored.fate or "pending"
    return Receipt(
        message_id=stored.message.id,
        thread_id=thread_id,
        accepted_at=stored.created_at,
        path=path,
        fate=fate,
        run_id=stored.run_id,
        seq=stored.seq,
        step_index=stored.step_index,
        settled_at=stored.created_at if started else settled_at,
    )
