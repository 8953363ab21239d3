"""Seeing to runs that were given up: one or many of them are done again, or discarded.

Above: `Awaken`, HTTP. Below: `Again`, for the runs that do them again; the `Discard` transition.
Holds: a letter is answered once. What cannot be answered is skipped with the reason, and costs the others nothing;
asking for many again goes on where it ended.

Source: docs/howto/see-to-dead-letters.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery, check_handling, checked_reason
from awaken.domain.delivery import Delivery
from awaken.domain.errors import (
    Conflict,
    DeadLetterNotFound,
    DispatchNotFound,
    NotDeadLetter,
    NotFound,
    QueueFull,
    ValidationError,
)
from awaken.domain.ids import AgentId, DispatchId, Scope, checked_id
from awaken.domain.phase import phase_of
from awaken.domain.run import Trace
from awaken.mailbox.again import Again
from awaken.mailbox.engine import Engine
from awaken.mailbox.submission import Submission
from awaken.store.contract import MAX_COUNTED, MAX_PAGE, Reads
from awaken.store.transitions import Discard, Discarded

_NO_TRACE: Final = Trace()


class Skipped(msgspec.Struct, frozen=True):
    """A letter that was not seen to, and why."""

    dispatch_id: DispatchId
    code: str
    reason: str


class Handled(msgspec.Struct, frozen=True):
    """What became of many: how many the filter found, up to the limit, and how many of them were seen to. `more`: it
    finds others behind them.
    """

    matched: int
    done: int
    skipped: tuple[Skipped, ...]
    more: bool


class LetterGroup(msgspec.Struct, frozen=True):
    """Dead letters of one agent with one class of error. `latest`: the one whose run arrived last."""

    agent_id: AgentId
    error_class: str
    count: int
    first_at: Instant
    last_at: Instant
    latest: DeadLetter


class DeadLetters:
    """A part of the mailbox."""

    def __init__(self, engine: Engine, reads: Reads, again: Again) -> None:
        self._engine = engine
        self._reads = reads
        self._again = again

    async def get(self, scope: Scope, dispatch_id: str) -> DeadLetter:
        """Also one that was seen to.

        Raises:
            DispatchNotFound: There is no such dispatch.
            DeadLetterNotFound: It is there, and was not given up.
        """
        dispatch = await self._reads.load_dispatch(scope, DispatchId(checked_id(dispatch_id, what="dispatch_id")))
        run = None if dispatch is None else await self._reads.load_run(scope, dispatch.run_id)
        if dispatch is None or run is None:
            raise DispatchNotFound(dispatch_id)
        if run.dispatch_id != dispatch.dispatch_id:
            raise DeadLetterNotFound(dispatch_id, f"its run, {run.run_id}, went on with dispatch {run.dispatch_id}")
        if not (run.dead_lettered or run.seen_to is not None):
            raise DeadLetterNotFound(dispatch_id, f"the phase of its run, {run.run_id}, is {phase_of(run, dispatch)}")
        return DeadLetter(run, dispatch)

    async def _to_see_to(self, scope: Scope, dispatch_id: str) -> DeadLetter:
        """As `get`; raises NotDeadLetter for what is none."""
        try:
            return await self.get(scope, dispatch_id)
        except DeadLetterNotFound as error:
            raise NotDeadLetter(dispatch_id, error.state) from error

    async def group(self, scope: Scope, query: DeadLetterQuery, *, most: int = MAX_COUNTED) -> list[LetterGroup]:
        """Those that the filter finds, by agent and class of error, the largest group first; of the `most` newest."""
        found: dict[tuple[AgentId, str], LetterGroup] = {}
        count = 0
        async for letter in self._found(scope, query):
            _count(letter, found)
            count += 1
            if count == most:
                break
        return sorted(found.values(), key=lambda group: (-group.count, group.agent_id, group.error_class))

    async def retry(
        self,
        scope: Scope,
        dispatch_id: str,
        *,
        agent_id: str | None = None,
        max_attempts: int | None = None,
        delay_ms: int = 0,
        trace: Trace = _NO_TRACE,
    ) -> Submission:
        """As `Again.retry` of its run.

        Raises:
            DispatchNotFound, NotDeadLetter: There is none, or it was discarded. Else as `Again.retry`.
        """
        self._engine.require_ready()
        Delivery(max_attempts=max_attempts, delay_ms=delay_ms).check()
        letter = await self._to_see_to(scope, dispatch_id)
        if letter.state == "discarded":
            raise NotDeadLetter(dispatch_id, "it was discarded")
        return await self._again.retry(
            scope,
            letter.run.run_id,
            agent_id=agent_id,
            max_attempts=max_attempts,
            delay_ms=delay_ms,
            trace=trace,
        )

    async def discard(self, scope: Scope, dispatch_id: str, reason: str, by: str | None = None) -> DeadLetter:
        """Leave it out of the list, with a reason. What was discarded before stays so, with its first reason.

        Raises:
            ValidationError: The reason is none.
            DispatchNotFound, NotDeadLetter: There is none, or it is done again already.
        """
        self._engine.require_ready()
        said = checked_reason(reason)
        letter = await self._to_see_to(scope, dispatch_id)
        run = letter.run
        asked = Discard(scope=scope, thread_id=run.thread_id, run_id=run.run_id, reason=said, by=by)
        outcome = await self._engine.combiner.ask(asked)
        if isinstance(outcome, Discarded):
            return replace(letter, run=outcome.run)
        raise NotDeadLetter(dispatch_id, "its run is done again")

    async def retry_many(
        self,
        scope: Scope,
        query: DeadLetterQuery,
        *,
        limit: int = 100,
        dry_run: bool = False,
        trace: Trace = _NO_TRACE,
    ) -> Handled:
        """Retry what the filter finds, at most `limit` of it, those first whose run arrived last.

        Raises ValidationError when the filter is empty, or for a limit that is none.
        """

        async def retry(letter: DeadLetter) -> None:
            await self.retry(scope, letter.dispatch.dispatch_id, trace=trace)

        return await self._see_to(scope, query, None if dry_run else retry, limit)

    async def discard_many(
        self,
        scope: Scope,
        query: DeadLetterQuery,
        reason: str,
        *,
        limit: int = 100,
        dry_run: bool = False,
        by: str | None = None,
    ) -> Handled:
        """As `retry_many`, of `discard`."""
        said = checked_reason(reason)

        async def discard(letter: DeadLetter) -> None:
            await self.discard(scope, letter.dispatch.dispatch_id, said, by)

        return await self._see_to(scope, query, None if dry_run else discard, limit)

    async def _see_to(
        self,
        scope: Scope,
        query: DeadLetterQuery,
        see_to: Callable[[DeadLetter], Awaitable[None]] | None,
        limit: int,
    ) -> Handled:
        self._engine.require_ready()
        check_handling(query, limit)
        found: list[DeadLetter] = []
        more = False
        async for letter in self._found(scope, query):
            if len(found) == limit:
                more = True
                break
            found.append(letter)
        if see_to is None:
            return Handled(len(found), 0, (), more)
        skipped: list[Skipped] = []
        for letter in found:
            try:
                await see_to(letter)
            except (NotFound, Conflict, QueueFull, ValidationError) as error:
                skipped.append(Skipped(letter.dispatch.dispatch_id, error.code, str(error)))
        return Handled(len(found), len(found) - len(skipped), tuple(skipped), more)

    async def _found(self, scope: Scope, query: DeadLetterQuery) -> AsyncIterator[DeadLetter]:
        query = replace(query, after=None, limit=MAX_PAGE)
        while True:
            page = await self._reads.list_dead_letters(scope, query)
            for letter in page.items:
                yield letter
            if page.next is None:
                return
            query = replace(query, after=page.next)


def _count(letter: DeadLetter, found: dict[tuple[AgentId, str], LetterGroup]) -> None:
    run = letter.run
    key, at = (run.agent_id, letter.error_class), run.finished_at or run.updated_at
    group = found.get(key)
    found[key] = (
        LetterGroup(*key, 1, at, at, letter)
        if group is None
        else replace(group, count=group.count + 1, first_at=min(group.first_at, at), last_at=max(group.last_at, at))
    )
