"""What is done to a thread beside running it: its state, what is read of its log.

Above: `Mailbox.threads`, for HTTP and `Awaken`. Below: the engine's combiner, for transitions; the store, for reads.
Holds: when a method that changes something has returned, the change is durable. Whatever is unacceptable changes
nothing.

Source: ADR 0037, `docs/concepts/state-and-view.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from awaken.domain.errors import MessageNotFound, StaleVersion, ThreadBusy, ThreadNotFound
from awaken.domain.ids import MessageId, Scope, ThreadId, checked_id
from awaken.domain.span import Span
from awaken.domain.state import StateTooLarge, ThreadState, checked_patch, checked_version, state_bytes
from awaken.mailbox.engine import Engine
from awaken.store.contract import Reads, Snapshot
from awaken.store.transitions import Busy, Hidden, Hide, Missing, Oversize, PatchState, Stale, StatePatched


class Threads:
    """One per mailbox."""

    def __init__(self, engine: Engine, reads: Reads) -> None:
        self._engine = engine
        self._reads = reads

    async def snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot:
        """The thread with its state and its queue, all of one moment. Raises ThreadNotFound."""
        self._engine.check_loop()
        checked_id(thread_id, what="thread_id")
        found = await self._reads.load_snapshot(scope, thread_id)
        if found is None:
            raise ThreadNotFound(thread_id)
        return found

    # --- state --------------------------------------------------------------------------------------------------------

    async def patch_state(
        self, scope: Scope, thread_id: ThreadId, patch: Mapping[str, Any], *, if_version: int | None = None
    ) -> ThreadState:
        """Change the thread's state by a merge patch (RFC 7396); the state after it.

        Raises:
            ThreadNotFound: There is no such thread.
            StaleVersion: The state has another version than `if_version`.
            StateTooLarge: It would have more than 256 KiB.
            ValidationError: The patch is no JSON object, or the version no number.
        """
        self._engine.require_ready()
        checked_id(thread_id, what="thread_id")
        checked = checked_patch(patch)
        version = checked_version(if_version)
        transition = PatchState(scope=scope, thread_id=thread_id, patch=checked, if_version=version)
        match await self._engine.combiner.ask(transition, state_bytes(checked)):
            case StatePatched(state=state):
                return state
            case Missing():
                raise ThreadNotFound(thread_id)
            case Stale(version=version):
                raise StaleVersion(f"the state of thread {thread_id!r}", version)
            case Oversize(size=size):
                raise StateTooLarge(size)
            case other:
                raise AssertionError(f"a patch cannot end in {type(other).__name__}")

    # --- view ---------------------------------------------------------------------------------------------------------

    async def hide(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> tuple[Span, ...]:
        """Have a message of the conversation read no more; a call and its answers go together. What was hidden, in the
        order of the log; nothing where it was not read already.

        Raises:
            ThreadNotFound, MessageNotFound: There is none, or the message is not part of the conversation yet.
            ThreadBusy: It belongs to calls that an executing or a waiting run has open.
        """
        self._engine.require_ready()
        checked_id(thread_id, what="thread_id")
        checked_id(message_id, what="message_id")
        match await self._engine.combiner.ask(Hide(scope=scope, thread_id=thread_id, message_id=message_id)):
            case Hidden(spans=spans):
                return spans
            case Missing(what="thread"):
                raise ThreadNotFound(thread_id)
            case Missing():
                raise MessageNotFound(message_id)
            case Busy(run_id=run_id):
                raise ThreadBusy(thread_id, run_id)
            case other:
                raise AssertionError(f"hiding cannot end in {type(other).__name__}")
