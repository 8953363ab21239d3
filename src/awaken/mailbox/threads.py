"""What is done to a thread beside running it: what is said about it, its state, what is read of its log, its end.

Above: `Mailbox.threads`, for HTTP and `Awaken`. Below: the engine's combiner, for transitions; the store, for reads.
Holds: when a method that changes something has returned, the change is durable. Whatever is unacceptable changes
nothing.

Source: ADR 0037, ADR 0038, `docs/concepts/state-and-view.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, get_args

import msgspec

from awaken.domain.checking import checked, checked_choice, checked_flag, checked_seq, measured
from awaken.domain.errors import (
    DataIntegrity,
    HasChildThreads,
    LineageCycle,
    MessageNotFound,
    RunNotFinished,
    RunNotFound,
    StaleVersion,
    ThreadBusy,
    ThreadGone,
    ThreadNotFound,
    ValidationError,
)
from awaken.domain.ids import Ids, MessageId, Scope, ThreadId, checked_id, derived_id
from awaken.domain.message import Message
from awaken.domain.run import Run
from awaken.domain.shown import ChildStrategy
from awaken.domain.span import Span
from awaken.domain.state import StateTooLarge, ThreadState, checked_patch, checked_version, state_bytes
from awaken.domain.thread import Thread, ThreadPatch, ThreadStatus
from awaken.executors.entry import answered
from awaken.mailbox.engine import Engine
from awaken.store.contract import MAX_PAGE, MessageQuery, Reads, Snapshot, ThreadQuery
from awaken.store.rules.facts import MAX_LINEAGE
from awaken.store.transitions import (
    Busy,
    Conflict,
    DeleteThread,
    EditThread,
    Gone,
    HasChildren,
    Hidden,
    Hide,
    HideRun,
    Missing,
    Outcome,
    Oversize,
    PatchState,
    RunHidden,
    Stale,
    StatePatched,
    ThreadDeleted,
    ThreadEdited,
)

MAX_FORK_BYTES: Final = 8 * 1024 * 1024
MAX_TRIES: Final = 10
"""How often a deletion looks again whether children have come meanwhile."""
_encode: Final = msgspec.json.Encoder().encode

Save = Callable[..., Awaitable[tuple[Thread, bool]]]
"""As `Mailbox.save_thread`."""


class Threads:
    """One per mailbox."""

    def __init__(self, engine: Engine, reads: Reads, ids: Ids, save: Save) -> None:
        self._engine = engine
        self._reads = reads
        self._ids = ids
        self._save = save

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
            case Gone():
                raise ThreadGone(thread_id)
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
            case Gone():
                raise ThreadGone(thread_id)
            case Missing():
                raise MessageNotFound(message_id)
            case Busy(run_id=run_id):
                raise ThreadBusy(thread_id, run_id)
            case other:
                raise AssertionError(f"hiding cannot end in {type(other).__name__}")

    async def fork(
        self,
        scope: Scope,
        thread_id: ThreadId,
        *,
        at_seq: int | None = None,
        at_message_id: str | None = None,
        new_thread_id: str = "",
        title: str | None = None,
    ) -> Thread:
        """A new thread with what is read of this one, up to and including a message, or all of it.

        Calls that are open there are closed in the copy. Metadata and owner are those of this thread; its state stays
        its own.

        Raises:
            ThreadNotFound, MessageNotFound: There is none; or the place named is not one where a message is read.
            ValidationError: Both places are named, or the copy would be larger than 8 MiB.
            AlreadyExists: The new thread is there already.
        """
        self._engine.require_ready()
        checked_id(thread_id, what="thread_id")
        if at_seq is not None and at_message_id is not None:
            raise ValidationError("give at_seq or at_message_id, not both", loc=("body", "at_seq"))
        if title is not None:
            checked(title, str, what="title")
        source = await self._reads.load_thread(scope, thread_id)
        if source is None:
            raise ThreadNotFound(thread_id)
        seq = checked_seq(at_seq, what="at_seq")
        if at_message_id is not None:
            stored = await self._reads.load_message(
                scope, thread_id, MessageId(checked_id(at_message_id, what="at_message_id"))
            )
            seq = None if stored is None else stored.seq
            if seq is None:
                raise MessageNotFound(at_message_id)
        read = await self._read_up_to(scope, thread_id, seq)
        named = checked_id(new_thread_id, what="thread_id") if new_thread_id else self._ids.thread_id()
        copies = [_copied(message, named) for message in answered(read)]
        info = msgspec.structs.replace(source.info, title=source.info.title if title is None else title)
        thread, _ = await self._save(scope, named, info, messages=copies)
        return thread

    async def _read_up_to(self, scope: Scope, thread_id: ThreadId, seq: int | None) -> list[Message]:
        """What is read of the thread, up to the message with that seq; or all of it."""
        found: list[Message] = []
        query = MessageQuery(view="effective", limit=MAX_PAGE)
        size = 0
        while True:
            page = await self._reads.page_messages(scope, thread_id, query)
            if page.unreadable:
                raise DataIntegrity(page.unreadable[0])
            for stored in page.items:
                found.append(stored.message)
                size += len(_encode(stored.message))
                if size > MAX_FORK_BYTES:
                    raise ValidationError(f"a fork copies at most {MAX_FORK_BYTES} bytes; fork an earlier message")
                if seq is not None and stored.seq == seq:
                    return found
            if page.next is None:
                break
            query = msgspec.structs.replace(query, after=page.next)
        if seq is not None:
            raise ValidationError(
                f"no message is read at {seq}: name one that the effective view shows", loc=("body", "at_seq")
            )
        return found

    # --- what is said about it ----------------------------------------------------------------------------------------

    async def edit(
        self, scope: Scope, thread_id: ThreadId, patch: ThreadPatch, *, if_version: int | None = None
    ) -> Thread:
        """Change what is said about a thread; the thread as it is then.

        Raises:
            ThreadNotFound: There is no such thread, or no such parent, or an ancestor of that is gone.
            LineageCycle: It would be its own ancestor.
            StaleVersion: It has another version than `if_version`.
            ValidationError: Something in the patch is unacceptable.
        """
        self._engine.require_ready()
        checked_id(thread_id, what="thread_id")
        patch, size = measured(patch, ThreadPatch)
        patch.check(thread_id)
        edit = EditThread(scope=scope, thread_id=thread_id, patch=patch, if_version=checked_version(if_version))
        match await self._engine.combiner.ask(edit, size):
            case ThreadEdited():
                pass
            case Missing(id=missing):
                raise ThreadNotFound(missing)
            case Gone():
                raise ThreadGone(thread_id)
            case Conflict():
                raise LineageCycle(thread_id)
            case Stale(version=version):
                raise StaleVersion(f"thread {thread_id!r}", version)
            case other:
                raise AssertionError(f"an edit cannot end in {type(other).__name__}")
        found = await self._reads.load_thread(scope, thread_id)
        if found is None:
            raise ThreadGone(thread_id)
        return found

    # --- its end ------------------------------------------------------------------------------------------------------

    async def delete(
        self,
        scope: Scope,
        thread_id: ThreadId,
        *,
        child_strategy: ChildStrategy = "reject",
        force: bool = False,
    ) -> None:
        """Delete a thread: nobody reads it any more when this returns, and its rows go by and by. Again is no error.

        `child_strategy`: what becomes of the threads whose parent it is: they refuse it, lose their parent, or go with
        it, leaves first and each by itself. `force`: runs that are not done are stopped as by an interrupt.

        What is refused is refused before anything is changed. Only a run that begins while the children are seen to
        leaves it half done: each of them is there as a whole or gone, and asking again goes on from there.

        Raises:
            ThreadNotFound: There never was such a thread.
            ThreadBusy: A run is not done, of the thread or of one that would go with it, and it is not forced.
            HasChildThreads: There are children, and nothing was said about them.
        """
        self._engine.require_ready()
        checked_id(thread_id, what="thread_id")
        checked_choice(child_strategy, get_args(ChildStrategy), what="child_strategy")
        checked_flag(force, what="force")
        if child_strategy != "reject" and not force:
            await self._check_idle(scope, thread_id, with_children=child_strategy == "cascade", depth=0)
        match await self._delete(scope, thread_id, child_strategy, force=force, depth=0):
            case ThreadDeleted():
                return
            case Missing():
                raise ThreadNotFound(thread_id)
            case HasChildren(child=child) if child_strategy == "reject":
                raise HasChildThreads(thread_id, child)
            case HasChildren():  # there are always new ones
                raise ThreadBusy(thread_id, None)
            case other:
                raise AssertionError(f"a deletion cannot end in {type(other).__name__}")

    async def _delete(
        self, scope: Scope, thread_id: ThreadId, strategy: ChildStrategy, *, force: bool, depth: int
    ) -> Outcome:
        """Delete a thread after what becomes of its children. Raises ThreadBusy."""
        tries = 0
        while True:
            if strategy != "reject":
                await self._see_to_children(scope, thread_id, strategy, force=force, depth=depth)
            outcome = await self._engine.combiner.ask(DeleteThread(scope=scope, thread_id=thread_id, force=force))
            if isinstance(outcome, Busy):
                raise ThreadBusy(thread_id, outcome.run_id)
            tries += 1
            if not isinstance(outcome, HasChildren) or strategy == "reject" or tries >= MAX_TRIES:
                return outcome
            # Another one has come meanwhile, or is about to: then it comes now, and is seen to like the others.
            await self._engine.outbox.deliver(scope, thread_id)

    async def _check_idle(self, scope: Scope, thread_id: ThreadId, *, with_children: bool, depth: int) -> None:
        """Raises ThreadBusy when a run of the thread is not done, or of one below it."""
        thread = await self._reads.load_thread(scope, thread_id)
        if thread is None:
            return
        if thread.status not in (ThreadStatus.IDLE, ThreadStatus.ERROR):
            raise ThreadBusy(thread_id, thread.active_run_id or thread.open_run_id)
        if not with_children or depth >= MAX_LINEAGE:
            return
        query: ThreadQuery | None = ThreadQuery(parent_thread_id=thread_id, limit=MAX_PAGE)
        while query is not None:
            page = await self._reads.list_threads(scope, query)
            for child in page.items:
                await self._check_idle(scope, child.thread_id, with_children=True, depth=depth + 1)
            query = None if page.next is None else msgspec.structs.replace(query, after=page.next)

    async def _see_to_children(
        self, scope: Scope, thread_id: ThreadId, strategy: ChildStrategy, *, force: bool, depth: int
    ) -> None:
        """Take the parent from the children of a thread, or delete them, with theirs before them."""
        query = ThreadQuery(parent_thread_id=thread_id, limit=MAX_PAGE)
        while True:
            page = await self._reads.list_threads(scope, query)
            for child in page.items:
                if strategy == "detach":
                    await self.edit(scope, child.thread_id, ThreadPatch(parent_thread_id=None))
                elif depth < MAX_LINEAGE:
                    await self._delete(scope, child.thread_id, strategy, force=force, depth=depth + 1)
            if page.next is None:
                return
            query = msgspec.structs.replace(query, after=page.next)

    async def hide_run(self, scope: Scope, run: Run) -> Run:
        """Leave a run that is done out of lists; its messages stay. Raises RunNotFound, RunNotFinished."""
        self._engine.require_ready()
        match await self._engine.combiner.ask(HideRun(scope=scope, thread_id=run.thread_id, run_id=run.run_id)):
            case RunHidden(run=hidden):
                return hidden
            case Busy():
                raise RunNotFinished(run.run_id)
            case _:
                raise RunNotFound(run.run_id)


def _copied(message: Message, thread_id: str) -> Message:
    """The message as another thread has it: under an id of its own."""
    return msgspec.structs.replace(message, id=MessageId(derived_id("fork", thread_id, message.id)))
