"""What wants somebody's attention now: a few of each kind, the most urgent first.

Above: `Mailbox.attention`. Below: the reads of the store; `seen`, for why a run is where it is; what the engine knows.
Holds: every list is short, and what is looked at for it is bounded, however many runs there are; nothing is counted
beyond `MAX_COUNTED`. The reads are not of one moment: a run that moves meanwhile may be in two lists, or in none.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final, Generic, Literal, TypeVar

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import DeadLetterQuery
from awaken.domain.dispatch import CLAIMED
from awaken.domain.ids import AgentId, Route, RunId, Scope
from awaken.domain.phase import Phase
from awaken.domain.route import split_route
from awaken.domain.run import CREATED, Run, RunStatus
from awaken.domain.ticket import Ticket, TicketKind
from awaken.executors.registry import Agents
from awaken.mailbox.dead_letters import DeadLetters, LetterGroup
from awaken.mailbox.engine import Engine
from awaken.mailbox.seen import SeenRun, seen_runs
from awaken.mailbox.why import WhyCode
from awaken.store.contract import MAX_COUNTED, MAX_PAGE, DispatchQuery, Page, Reads, RunQuery, TicketQuery

UNSERVED_LONG_MS: Final = 60_000
"""A run that nobody can execute has been due for so long before it is called stuck."""
LETTERS_LOOKED_AT: Final = 200
"""The newest dead letters, which are grouped."""
_FOR_PEOPLE: Final[tuple[TicketKind, ...]] = ("approval", "input", "client_tool", "external")
"""What somebody decides; the end of a child decides itself."""
_WORST_FIRST: Final[tuple[WhyCode, ...]] = (
    "damaged", "lease_ended", "claim_left", "ignores_stop", "behind_agent_at_work", "suspect", "not_loadable",
    "unserved", "drained", "agent_paused", "cancel_requested", "in_back_off",
)  # fmt: skip
_STUCK_IN_EXECUTION: Final[frozenset[WhyCode]] = frozenset(
    {"damaged", "lease_ended", "claim_left", "ignores_stop", "behind_agent_at_work", "cancel_requested"}
)
_WELL: Final[frozenset[WhyCode]] = frozenset({"completed", "executing", "executing_elsewhere", "starting", "delayed"})

ItemT = TypeVar("ItemT")


class Few(msgspec.Struct, Generic[ItemT], frozen=True):
    """The first of a list; `has_more`: there are others behind them."""

    items: tuple[ItemT, ...] = ()
    has_more: bool = False


class UnservedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route for which something is queued, and of which no process begins a run."""

    route: Route
    agent_id: AgentId
    code: Literal["unserved", "not_loadable", "agent_paused"]
    detail: str | None
    """Why its agent cannot be loaded."""
    waiting: int
    """Runs of the agent that have not begun; `MAX_COUNTED` means that or more."""
    oldest: Run | None
    """That of them which has waited longest."""


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: the store's time."""

    at: Instant
    is_drained: bool
    tickets: Few[Ticket]
    """Open ones that somebody has to decide, oldest first."""
    stuck: Few[SeenRun]
    """Runs that do not go on as they should, the worst first: each with why."""
    running: Few[SeenRun]
    """Runs that are executed, oldest first: each with its last event."""
    unserved: Few[UnservedRoute]
    dead_letters: Few[LetterGroup]
    """Of the newest `LETTERS_LOOKED_AT`."""


async def look(
    reads: Reads, engine: Engine, agents: Agents, letters: DeadLetters, scope: Scope, limit: int
) -> Attention:
    """What wants attention, at most `limit` of each kind."""
    looking = _Looking(reads, engine, agents, scope, limit)
    tickets = await looking.tickets()
    unserved = await looking.unserved()
    running = await looking.in_phase("running")
    retrying = await looking.in_phase("retrying")
    suspicious = [*await looking.stale(), *retrying.items, *await looking.waiting_for_nobody(unserved.items)]
    seen = await looking.seen([*suspicious, *running.items])
    suspects = {run.run_id for run in suspicious}
    stuck = sorted([each for each in seen if _is_stuck(each, suspects)], key=_urgency)
    at_work = {run.run_id for run in running.items}.difference([each.run.run_id for each in stuck])
    groups = await letters.group(scope, DeadLetterQuery(), most=LETTERS_LOOKED_AT)
    is_all = sum([group.count for group in groups]) < LETTERS_LOOKED_AT
    return Attention(
        at=await reads.now(),
        is_drained=engine.draining().drained,
        tickets=tickets,
        stuck=Few(tuple(stuck[:limit]), len(stuck) > limit or retrying.has_more),
        running=Few(tuple([each for each in seen if each.run.run_id in at_work]), running.has_more),
        unserved=unserved,
        dead_letters=Few(tuple(groups[:limit]), len(groups) > limit or not is_all),
    )


def _is_stuck(seen: SeenRun, suspicious: Container[RunId]) -> bool:
    """`suspicious`: those that are looked at because something may be wrong with them; by now that may be over."""
    assert seen.why is not None, "it was asked for"
    if seen.run.run_id in suspicious:
        return seen.why.code not in _WELL
    return seen.why.code in _STUCK_IN_EXECUTION


def _urgency(seen: SeenRun) -> tuple[int, Instant]:
    assert seen.why is not None, "it was asked for"
    code = "suspect" if seen.dispatch is not None and seen.dispatch.is_suspect else seen.why.code
    rank = _WORST_FIRST.index(code) if code in _WORST_FIRST else len(_WORST_FIRST)
    return rank, seen.run.no


class _Looking:
    """One look."""

    def __init__(self, reads: Reads, engine: Engine, agents: Agents, scope: Scope, limit: int) -> None:
        self._reads = reads
        self._engine = engine
        self._agents = agents
        self._scope = scope
        self._limit = limit

    async def tickets(self) -> Few[Ticket]:
        found: list[Ticket] = []
        for kind in _FOR_PEOPLE:
            query = TicketQuery(state="open", kind=kind, limit=self._limit + 1)
            found += (await self._reads.list_tickets(self._scope, query)).items
        found.sort(key=lambda ticket: ticket.no)
        return Few(tuple(found[: self._limit]), len(found) > self._limit)

    async def in_phase(self, phase: Phase) -> Few[Run]:
        """Of runs that have begun."""
        page = await self._runs(RunQuery(status=RunStatus.RUNNING, phase=phase, limit=self._limit))
        return Few(page.items, page.next is not None)

    async def stale(self) -> list[Run]:
        """Runs that are claimed, and whose lease has ended."""
        if self._reads.capabilities.exclusive:
            return []
        query = DispatchQuery(statuses=(CLAIMED,), lease_before=await self._reads.now(), limit=self._limit)
        found: list[Run] = []
        for dispatch in (await self._reads.list_dispatches(self._scope, query)).items:
            run = await self._reads.load_run(self._scope, dispatch.run_id)
            if run is not None:
                found.append(run)
        return found

    async def unserved(self) -> Few[UnservedRoute]:
        """Where something is queued for a route, which no process of the store serves."""
        workers = await self._engine.workers()
        served = {route for worker in workers for route in worker.routes}
        routes = [route for route in await self._reads.list_ready_routes() if route not in served]
        waiting: dict[AgentId, int] = {}
        if routes:
            counts = await self._reads.count_open_runs(self._scope)
            waiting = {each.agent_id: each.count for each in counts if each.status is CREATED}
        found: list[UnservedRoute] = []
        for route in routes:
            if len(found) > self._limit:
                break
            agent_id, _ = split_route(route)
            if waiting.get(agent_id):
                found.append(await self._unserved(route, agent_id, waiting[agent_id]))
        return Few(tuple(found[: self._limit]), len(found) > self._limit)

    async def _unserved(self, route: Route, agent_id: AgentId, waiting: int) -> UnservedRoute:
        withdrawn = self._agents.why_not_loadable(route)
        return UnservedRoute(
            route=route,
            agent_id=agent_id,
            code="agent_paused" if self._agents.is_paused(route) else "not_loadable" if withdrawn else "unserved",
            detail=withdrawn,
            waiting=min(waiting, MAX_COUNTED),
            oldest=await self._oldest(route, agent_id),
        )

    async def _oldest(self, route: Route, agent_id: AgentId) -> Run | None:
        """That of a route which has waited longest, where it is found soon among those of other versions."""
        for limit in (1, MAX_PAGE):
            page = await self._runs(RunQuery(status=CREATED, agent_id=agent_id, limit=limit))
            found = next((run for run in page.items if run.route == route), None)
            if found is not None or page.next is None:
                return found
        return None

    async def waiting_for_nobody(self, unserved: Iterable[UnservedRoute]) -> list[Run]:
        """The runs that have waited longest where nobody begins one: of each route, or of all."""
        now = await self._reads.now()
        found = [
            each.oldest
            for each in unserved
            if each.oldest is not None
            and (each.code == "agent_paused" or now - each.oldest.created_at >= UNSERVED_LONG_MS)
        ]
        workers = await self._engine.workers()
        if not any(worker.routes and not worker.is_drained for worker in workers):
            oldest = (await self._runs(RunQuery(status=CREATED, limit=1))).items
            found += [run for run in oldest if all(run.run_id != each.run_id for each in found)]
        return found

    async def seen(self, runs: Iterable[Run]) -> list[SeenRun]:
        """Each of them once, with why, and its last event."""
        once = list({run.run_id: run for run in runs}.values())
        return await seen_runs(self._reads, self._engine, self._scope, once, why=True, last_event=True)

    async def _runs(self, query: RunQuery) -> Page[Run]:
        return await self._reads.list_runs(self._scope, query)
