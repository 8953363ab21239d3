"""What became of an accepted message: a receipt, with one fate that is final.

A receipt is a read of the message's own row. Every message that was accepted ends in exactly one way, whatever becomes
of the run that took it.

Source: ADR 0033.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.ids import MessageId, RunId, ThreadId

FinalFate = Literal["superseded", "cancelled", "retracted", "dead_lettered"]
"""How a message ends that no run took.

`superseded`: by an interrupt. `cancelled`: with its own run, which was queued. `retracted`: by somebody, or because the
run that it was for ended and it may open none. `dead_lettered`: with its own run, which could never start.
"""
Fate = Literal["pending", "consumed"] | FinalFate
Path = Literal["started", "queued", "steered"]
"""How it was accepted: with a run that started at once, with one that had to wait, or for a run that was there."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """`run_id`: the run that took it, or that it is, or was, for."""

    message_id: MessageId
    thread_id: ThreadId
    accepted_at: Instant
    path: Path
    fate: Fate
    run_id: RunId | None
    seq: int | None = None
    """Its place in the conversation, once it is consumed."""
    step_index: int | None = None
    """How many steps its run had closed when it took it, where it was taken between two."""
    settled_at: Instant | None = None
    """When its fate was decided; None while it is pending."""

    @property
    def is_final(self) -> bool:
        return self.fate != "pending"
