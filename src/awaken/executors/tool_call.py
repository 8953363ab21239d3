"""Give a tool the key of the call it is serving.

Above: a user's tool asks. Below: a context variable that the driver sets around each call.
Holds: the key is the same on every repetition of the call, after a crash too, so that an effect guarded by it
happens once.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from awaken.domain.ids import MessageId, RunId

_KEY: Final[ContextVar[str | None]] = ContextVar("awaken_tool_call_key", default=None)


def tool_call_key() -> str:
    """The idempotency key of the tool call being served: `run_id/turn_id/call_id`.

    Hand it to whatever makes the effect (a payment, an insert, a message), which then knows a repetition.

    Raises:
        LookupError: No tool call of a run is being served here.
    """
    key = _KEY.get()
    if key is None:
        raise LookupError("tool_call_key() is only known inside a tool that a run has called")
    return key


def call_in_turn() -> str:
    """A prefix that tells what this tool call does from everything else in its run; empty outside of a call."""
    key = _KEY.get()
    return "" if key is None else f"{key.partition('/')[2]}/"


@contextmanager
def serving(run_id: RunId, turn: MessageId, call_id: str) -> Generator[None]:
    """Give the call its key while it is being served."""
    before = _KEY.get()
    _KEY.set(f"{run_id}/{turn}/{call_id}")
    try:
        yield
    finally:
        _KEY.set(before)  # and no reset: a loop that is abandoned has its tasks closed in another context
