"""Messages for runs that are there: sent, waited for, changed until somebody takes them.

Above: the mailbox, which holds one of these; HTTP and `Awaken`. Below: the engine, for transitions; the store, for
reads.
Holds: when a method that changes something has returned, the change is durable.

Source: ADR 0033; docs/howto/steer-a-running-agent.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar, get_args

import msgspec
from msgspec.structs import replace

from awaken.domain.checking import checked, checked_choice, checked_flag, checked_seconds, measured
from awaken.domain.clock import Clock
from awaken.domain.errors import (
    AlreadyConsumed,
    Conflict,
    MessageNotFound,
    StaleVersion,
    ThreadGone,
    ThreadNotFound,
    ValidationError,
)
from awaken.domain.ids import Ids, MessageId, Scope, ThreadId, checked_id
from awaken.domain.message import Message, check_message
from awaken.domain.pending import KEEPS_ITS_ID, NOTHING_TO_CHANGE, Pending, WaitsAt, checked_revision, queue_revision
from awaken.domain.receipt import Receipt
from awaken.domain.thread import Thread
from awaken.mailbox.engine import Engine
from awaken.store.contract import PendingMessage, Reads
from awaken.store.transitions import Conflict as Taken
from awaken.store.transitions import (
    Consumed,
    Edit,
    Edited,
    Gone,
    Incomplete,
    Missing,
    Outcome,
    Reorder,
    Reordered,
    Retract,
    Retracted,
    Stale,
)

if TYPE_CHECKING:
    from awaken.mailbox.submission import RunSubmission, Submission

_MAX_NAMED: Final = 10
ChangedT = TypeVar("ChangedT")


class Sent(msgspec.Struct, frozen=True):
    """What was accepted, and a receipt for each message, in order."""

    submission: Submission
    receipts: tuple[Receipt, ...]


class PendingList(msgspec.Struct, frozen=True):
    """What waits for runs of a thread, in order; `revision` is another one after every change."""

    items: tuple[PendingMessage, ...]
    revision: str


class Changed(msgspec.Struct, frozen=True):
    """A message that was edited. `position`: its place in the list, 1 for the next, where it is pending."""

    edited: Edited
    receipt: Receipt
    position: int | None


class Messages:
    """One per mailbox."""

    def __init__(
        self,
        engine: Engine,
        reads: Reads,
        clock: Clock,
        ids: Ids,
        submit: Callable[[RunSubmission], Awaitable[Submission]],
    ) -> None:
        self._engine = engine
        self._reads = reads
        self._clock = clock
        self._ids = ids
        self._submit = submit

    async def send(self, request: RunSubmission) -> Sent:
        """Accept messages in the mode of their delivery, and say what became of each so far. Raises as `submit`."""
        minted = iter(self._ids.mint_some(len(request.messages)))
        if not request.run_id:
            messages = [each if each.id else replace(each, id=MessageId(next(minted))) for each in request.messages]
            request = replace(request, messages=tuple(messages))
        submission = await self._submit(request)
        thread_id = submission.run.thread_id
        receipts = [
            await self._reads.load_receipt(request.scope, thread_id, message.id)
            for message in request.messages
            if message.id
        ]
        return Sent(submission, tuple([each for each in receipts if each is not None]))

    # --- receipts -----------------------------------------------------------------------------------------------------

    async def receipt(
        self, scope: Scope, message_id: str, *, thread_id: str | None = None, wait_s: float = 0.0
    ) -> Receipt:
        """What has become of a message, after at most `wait_s` seconds in which its fate was not final.

        Raises:
            MessageNotFound: No thread has accepted it, or the one that is named has not.
            Conflict: Several threads have one with this id; the message names them.
            ValidationError: An id is none, or `wait_s` no number.
        """
        wait_s = checked_seconds(wait_s, what="wait_s")
        self._engine.check_loop()
        named = MessageId(checked_id(message_id, what="message_id"))
        home = await self._home(scope, named, thread_id)
        receipt = await self._receipt(scope, home, named)
        if receipt.is_final or wait_s <= 0:
            return receipt
        deadline_s = self._clock.monotonic() + wait_s
        _, last = await self._reads.event_bounds(scope, home)
        async with self._engine.hub.reader(scope, home, after=last) as reader:
            while True:
                receipt = await self._receipt(scope, home, named)
                left_s = deadline_s - self._clock.monotonic()
                if receipt.is_final or left_s <= 0 or not await reader.next_rows(left_s):
                    return receipt

    async def _receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt:
        receipt = await self._reads.load_receipt(scope, thread_id, message_id)
        if receipt is None:
            raise MessageNotFound(message_id)
        return receipt

    async def _home(self, scope: Scope, message_id: MessageId, thread_id: str | None) -> ThreadId:
        """The thread that has accepted the message."""
        if thread_id is not None:
            return (await self._thread(scope, thread_id)).thread_id
        homes = await self._reads.threads_of_message(scope, message_id, limit=_MAX_NAMED)
        if not homes:
            raise MessageNotFound(message_id)
        if len(homes) > 1:
            raise Conflict(f"several threads have a message {message_id!r}: {', '.join(homes)}; name the one you mean")
        return homes[0]

    async def _thread(self, scope: Scope, thread_id: str) -> Thread:
        thread = await self._reads.load_thread(scope, ThreadId(checked_id(thread_id, what="thread_id")))
        if thread is None:
            raise ThreadNotFound(thread_id)
        return thread

    # --- what waits ---------------------------------------------------------------------------------------------------

    async def pending(self, scope: Scope, thread_id: str) -> PendingList:
        """What waits for runs of the thread. Raises ThreadNotFound; ValidationError for what is no id."""
        self._engine.check_loop()
        thread = await self._thread(scope, thread_id)
        items = await self._reads.list_pending(scope, thread.thread_id)
        return PendingList(tuple(items), queue_revision([each.entry for each in items]))

    async def edit(
        self,
        scope: Scope,
        thread_id: str,
        message_id: str,
        *,
        if_version: int | None = None,
        message: Message | None = None,
        boundary: str | None = None,
        barrier: bool | None = None,
    ) -> Changed:
        """Change a message that nobody has taken yet; also one of a queued run, of which only the content can be.

        `if_version`: the revision of the message that the caller has seen; None changes it as it is.

        Raises:
            MessageNotFound: The thread has accepted none with this id.
            AlreadyConsumed: Its fate is decided.
            StaleVersion: It was changed meanwhile.
            ValidationError: What it is to be is unacceptable, or not possible for this message.
        """
        self._engine.require_ready()
        named, thread = MessageId(checked_id(message_id, what="message_id")), checked_id(thread_id, what="thread_id")
        size = 0
        if message is not None:
            message, size = measured(message, Message, what="message")
            if message.id not in ("", named):
                raise ValidationError(KEEPS_ITS_ID, loc=("body", "message", "message_id"))
            message = replace(message, id=named)
            check_message(message)
        if barrier is not None:
            checked_flag(barrier, what="barrier")
        if boundary is not None:
            checked_choice(boundary, get_args(WaitsAt), what="boundary")
        if message is None and boundary is None and barrier is None:
            raise ValidationError(NOTHING_TO_CHANGE)
        transition = Edit(
            scope=scope,
            thread_id=ThreadId(thread),
            message_id=named,
            revision=checked_revision(if_version),
            message=message,
            boundary=boundary,  # pyright: ignore[reportArgumentType]
            barrier=barrier,
        )
        outcome = await self._engine.combiner.ask(transition, size)
        if isinstance(outcome, Taken):
            raise ValidationError(
                f"message {named!r} belongs to a queued run: it waits for no boundary", loc=("body", "boundary")
            )
        edited = _changed(outcome, Edited, named)
        receipt = await self._receipt(scope, ThreadId(thread), named)
        waiting = [] if edited.pending is None else await self._reads.list_pending(scope, ThreadId(thread))
        ids = [each.entry.message_id for each in waiting]
        return Changed(edited, receipt, ids.index(named) + 1 if named in ids else None)

    async def retract(
        self, scope: Scope, thread_id: str, message_id: str, *, if_version: int | None = None
    ) -> Retracted:
        """Take back a message that nobody has taken yet; with the last one of a queued run, that run is cancelled.

        Raises as `edit`.
        """
        self._engine.require_ready()
        named, thread = MessageId(checked_id(message_id, what="message_id")), checked_id(thread_id, what="thread_id")
        transition = Retract(
            scope=scope,
            thread_id=ThreadId(thread),
            message_id=named,
            revision=checked_revision(if_version),
        )
        return _changed(await self._engine.combiner.ask(transition, 0), Retracted, named)

    async def reorder(
        self, scope: Scope, thread_id: str, message_ids: Sequence[str], *, if_version: str | None = None
    ) -> tuple[Pending, ...]:
        """Put everything that is pending into this order, which names all of it.

        `if_version`: the revision of the list that the caller has seen; None orders it as it is.

        Raises as `edit`, and:
            ThreadNotFound: There is no such thread.
            ValidationError: The order leaves something out, or names something twice.
        """
        self._engine.require_ready()
        thread = ThreadId(checked_id(thread_id, what="thread_id"))
        order = tuple(
            [
                MessageId(checked_id(each, what="message_id", loc=("body", "message_ids", index)))
                for index, each in enumerate(checked(message_ids, list[str], what="message_ids"))
            ]
        )
        if if_version is not None:
            if_version = checked(if_version, str, what="if_version")
        transition = Reorder(scope=scope, thread_id=thread, message_ids=order, revision=if_version)
        outcome = await self._engine.combiner.ask(transition, 0)
        if isinstance(outcome, Missing) and outcome.what == "thread":
            raise ThreadNotFound(thread)
        if isinstance(outcome, Incomplete):
            twice = [each for each, count in Counter(order).items() if count > 1]
            wrong = f"names {', '.join(twice)} twice" if twice else f"lacks {', '.join(outcome.missing)}"
            raise ValidationError(
                f"the order names each pending message once, and this one {wrong}", loc=("body", "message_ids")
            )
        return _changed(outcome, Reordered, thread).entries


def _changed(outcome: Outcome, kind: type[ChangedT], id: str) -> ChangedT:
    """The outcome of a change. Raises as `Messages.edit`."""
    match outcome:
        case Gone(thread_id=thread_id):
            raise ThreadGone(thread_id)
        case Missing(id=missing):
            raise MessageNotFound(missing)
        case Consumed(message_id=message_id, fate=fate):
            raise AlreadyConsumed(message_id, fate)
        case Stale(version=version):
            raise StaleVersion(repr(id), version)
        case _:
            assert isinstance(outcome, kind), f"a change cannot end in {type(outcome).__name__}"
            return outcome
