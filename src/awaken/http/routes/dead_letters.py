"""Runs that were given up: listed, grouped, done again, discarded.

Source: docs/howto/see-to-dead-letters.md; docs/reference/http.md.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.dead_letter import MAX_HANDLED, MAX_REASON_CHARS, DeadLetterQuery, letters_of
from awaken.domain.delivery import delay_ms
from awaken.domain.errors import ValidationError
from awaken.domain.run import Adapter, Trace
from awaken.http.dead_letter_wire import (
    DeadLetterList,
    DeadLetterResource,
    GroupList,
    GroupResource,
    HandledResource,
)
from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Limit, Query
from awaken.http.routes.again import RunRetry
from awaken.http.routes.lists import next_cursor, start_of_page
from awaken.http.routes.runs import accepted_run
from awaken.http.settings import DEFAULT_LIMIT
from awaken.http.submission import Body, Id
from awaken.http.wire import RunResource

Reason = Annotated[str, Meta(min_length=1, max_length=MAX_REASON_CHARS)]
Handling = Annotated[int, Meta(ge=1, le=MAX_HANDLED)]


class LetterFilters(Query, frozen=True, kw_only=True):
    agent_id: Id | None = None
    error_class: str | None = None
    since: str | None = None
    """RFC 3339: only those that were given up then or later."""
    thread_id: Id | None = None

    def chosen(self) -> DeadLetterQuery:
        return letters_of(agent=self.agent_id, error_class=self.error_class, since=self.since, thread_id=self.thread_id)


class LetterPaging(LetterFilters, frozen=True, kw_only=True):
    """As `Paging`."""

    limit: Limit = DEFAULT_LIMIT
    cursor: str | None = None


class LetterFilter(Body, frozen=True, kw_only=True):
    """One of these at least."""

    agent_id: Id | None = None
    error_class: str | None = None
    since: str | None = None
    thread_id: Id | None = None

    def chosen(self) -> DeadLetterQuery:
        """Raises ValidationError for what is none, with its place in the body that this is the `filter` of."""
        try:
            return letters_of(
                agent=self.agent_id, error_class=self.error_class, since=self.since, thread_id=self.thread_id
            )
        except ValidationError as error:
            raise ValidationError(str(error), code=error.code, loc=("body", "filter", *error.loc[1:])) from None


class LettersRetry(Body, frozen=True, kw_only=True):
    filter: LetterFilter
    limit: Handling = 100
    dry_run: bool = False


class LettersDiscard(Body, frozen=True, kw_only=True):
    filter: LetterFilter
    reason: Reason
    limit: Handling = 100
    dry_run: bool = False


class LetterDiscard(Body, frozen=True, kw_only=True):
    reason: Reason


async def list_dead_letters(call: Call) -> Response:
    asked = call.query(LetterPaging)
    filters = [asked.agent_id, asked.error_class, asked.since, asked.thread_id]
    after = start_of_page(asked.cursor, "dead-letters", filters)
    page = await call.reads.list_dead_letters(call.scope, replace(asked.chosen(), after=after, limit=asked.limit))
    cursor = next_cursor(page, "dead-letters", filters)
    items = tuple([DeadLetterResource.of(call.scope, letter) for letter in page.items])
    return json_response(
        DeadLetterList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=page.unreadable)
    )


async def group_dead_letters(call: Call) -> Response:
    groups = await call.mailbox.dead_letters.group(call.scope, call.query(LetterFilters).chosen())
    return json_response(GroupList(items=tuple([GroupResource.of(call.scope, group) for group in groups])))


async def get_dead_letter(call: Call) -> Response:
    letter = await call.mailbox.dead_letters.get(call.scope, call.path_id("dispatch_id"))
    return json_response(DeadLetterResource.of(call.scope, letter))


async def retry_dead_letter(call: Call) -> Response:
    asked = call.body(RunRetry)
    accepted = await call.mailbox.dead_letters.retry(
        call.scope,
        call.path_id("dispatch_id"),
        agent_id=asked.agent_id,
        max_attempts=asked.max_attempts,
        delay_ms=delay_ms(asked.after_seconds or 0.0),
        trace=call.trace(Trace(adapter=Adapter.HTTP)),
    )
    return await accepted_run(call, accepted)


async def discard_dead_letter(call: Call) -> Response:
    letter = await call.mailbox.dead_letters.discard(
        call.scope, call.path_id("dispatch_id"), call.body(LetterDiscard).reason, call.caller.id
    )
    return json_response(DeadLetterResource.of(call.scope, letter))


async def retry_dead_letters(call: Call) -> Response:
    asked = call.body(LettersRetry)
    handled = await call.mailbox.dead_letters.retry_many(
        call.scope,
        asked.filter.chosen(),
        limit=asked.limit,
        dry_run=asked.dry_run,
        trace=call.trace(Trace(adapter=Adapter.HTTP)),
    )
    return json_response(HandledResource.of(handled, retried=handled.done))


async def discard_dead_letters(call: Call) -> Response:
    asked = call.body(LettersDiscard)
    handled = await call.mailbox.dead_letters.discard_many(
        call.scope, asked.filter.chosen(), asked.reason, limit=asked.limit, dry_run=asked.dry_run, by=call.caller.id
    )
    return json_response(HandledResource.of(handled, discarded=handled.done))


_OF_ONE: Final = ("dispatch_not_found", "invalid_id")
_TO_SEE_TO: Final = (*_OF_ONE, "not_dead_letter")

DEAD_LETTER_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/dead-letters",
        id="list_dead_letters",
        summary="List runs that were given up and that nobody has seen to, newest first",
        handler=list_dead_letters,
        query=LetterPaging,
        answers={200: DeadLetterList},
        problems=("cursor_mismatch", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/dead-letters/summary",
        id="group_dead_letters",
        summary="Count them by agent and class of error",
        handler=group_dead_letters,
        query=LetterFilters,
        answers={200: GroupList},
        problems=("invalid_id",),
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/retry",
        id="retry_dead_letters",
        summary="Do again those that a filter finds",
        handler=retry_dead_letters,
        body=LettersRetry,
        answers={200: HandledResource},
        problems=("invalid_id",),
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/discard",
        id="discard_dead_letters",
        summary="Discard those that a filter finds",
        handler=discard_dead_letters,
        body=LettersDiscard,
        answers={200: HandledResource},
        problems=("invalid_id",),
    ),
    Operation(
        method="GET",
        path="/v1/dead-letters/{dispatch_id}",
        id="get_dead_letter",
        summary="Read a dead letter, also one that was seen to",
        handler=get_dead_letter,
        answers={200: DeadLetterResource},
        problems=(*_OF_ONE, "dead_letter_not_found"),
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/{dispatch_id}/retry",
        id="retry_dead_letter",
        summary="Do its run again",
        handler=retry_dead_letter,
        body=RunRetry,
        answers={202: RunResource, 200: RunResource},
        problems=(
            *_TO_SEE_TO, "message_not_found", "thread_not_found", "thread_deleted", "run_not_found", "run_not_finished",
            "unknown_agent", "already_exists", "queue_full",
        ),
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/{dispatch_id}/discard",
        id="discard_dead_letter",
        summary="Leave it out of the list, with a reason",
        handler=discard_dead_letter,
        body=LetterDiscard,
        answers={200: DeadLetterResource},
        problems=_TO_SEE_TO,
    ),
)  # fmt: skip
