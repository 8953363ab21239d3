"""What an agent starts in the background, and waits for if it likes: `start`, `gather`, `call`.

Above: `Context`. Below: the tickets of the run, and the port, which starts a child in one piece with its ticket.
Holds: a child is known by its name and by how many of that name were started before it in this execution, so one that
comes there again finds the child that it has. Waiting for children is waiting for their tickets, as for answers:
the function is executed again when they have ended.

Source: ADR 0035; docs/howto/work-in-the-background.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from awaken.domain.checking import shown
from awaken.domain.child import MAX_OPEN_CHILDREN, ChildEnd, ChildTicket, child_of, end_of
from awaken.domain.errors import ChildFailed, PermanentFailure
from awaken.domain.given import Given, messages_of
from awaken.domain.ids import AgentId, RunId, ThreadId
from awaken.domain.ticket import Ticket, TicketRequest
from awaken.executors.asking import Asking, Asks, CallAsks
from awaken.executors.contract import Entry, RunPort
from awaken.executors.sending import Outgoing

WAIT_PREFIX: Final = "wait:"
"""Begins the keys under which the places are recorded where a function has waited for children."""


class Child(msgspec.Struct, frozen=True):
    """A run that was started. It is watched, read and stopped as any other."""

    run_id: RunId
    thread_id: ThreadId
    agent_id: AgentId
    name: str
    key: str
    """What the run knows it by."""


class Starting(msgspec.Struct, frozen=True, kw_only=True):
    """A child, as the port is asked to start it."""

    key: str
    name: str
    outgoing: Outgoing
    detached: bool
    tool_call_id: str | None = None


async def start(
    asks: Asking, port: RunPort, agent: str, input: Given, name: str, metadata: dict[str, Any], detached: bool
) -> Child:
    """The child, started now or by an earlier execution. See `Context.start`."""
    key = asks.key_of(name)
    ticket = asks.known(key)
    if ticket is None:
        if asks.open_children >= MAX_OPEN_CHILDREN:
            raise PermanentFailure(f"a run has at most {MAX_OPEN_CHILDREN} children that have not ended")
        outgoing = Outgoing(agent_id=agent, messages=messages_of(input), metadata=metadata)
        call_id = asks.call_id if isinstance(asks, CallAsks) else None
        starting = Starting(key=key, name=name, outgoing=outgoing, detached=detached, tool_call_id=call_id)
        about = await port.start(starting)
        asks.opened(request_of(starting, about))
    else:
        about = child_of(ticket)
    return Child(about.run_id, about.thread_id, about.agent_id, name, key)


def request_of(starting: Starting, about: ChildTicket) -> TicketRequest:
    """The ticket that follows a child."""
    return TicketRequest(
        key=starting.key,
        kind="child",
        tool_call_id=starting.tool_call_id,
        tool_name=starting.name,
        arguments=msgspec.to_builtins(about),
    )


async def gather(
    asks: Asking, entry: Entry, port: RunPort, children: Sequence[Child], return_exceptions: bool
) -> list[Any]:
    """What they came to, in the order given. See `Context.gather`."""
    place = WAIT_PREFIX + asks.key_of("gather")
    tickets = await _closed(asks, port, children, place)
    found: list[Any] = []
    for child, ticket in zip(children, tickets, strict=True):
        if ticket.decision is None:
            raise PermanentFailure(f"child {child.name!r} was given up: its run was stopped")
        end = end_of(ticket.decision)
        found.append(await _output(entry, end) if end.is_well else _failed(child, end))
    if not return_exceptions:
        for each in found:
            if isinstance(each, ChildFailed):
                raise each
    return found


async def _closed(asks: Asking, port: RunPort, children: Sequence[Child], place: str) -> list[Ticket]:
    """Their tickets, once all are closed; until then the run waits."""
    for each in children:
        if not isinstance(each, Child):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PermanentFailure(f"gather takes what start has returned in this run, and not {shown(each)}")
    requests = [asks.request_of(child.key) for child in children]
    if any(request is None for request in requests):
        raise PermanentFailure("gather takes what start has returned in this run")
    wanted = [request for request in requests if request is not None]
    closed = [asks.known(request.key) for request in wanted]
    if isinstance(asks, Asks):
        asks.reached(place)
    found = [ticket for ticket in closed if ticket is not None and not ticket.is_open]
    told = port.awaited(*[ticket.asked.key for ticket in found])
    if len(found) < len(wanted) and isinstance(asks, Asks):
        asks.waits_at(place)
        answers = asyncio.gather(*[asks.answer(request) for request in wanted])
        return [*(await asyncio.gather(told, answers))[1]]
    await told
    if isinstance(asks, CallAsks):
        await asks.answer_all(wanted)
    return found


async def _output(entry: Entry, end: ChildEnd) -> Any:
    return await entry.output_of(end.run_id) if end.is_cut else end.output


def _failed(child: Child, end: ChildEnd) -> ChildFailed:
    why = end.termination.detail or end.termination.code or end.termination.type
    return ChildFailed(child.run_id, child.name, why)
