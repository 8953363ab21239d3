"""What the API says about what wants attention.

Above: the route of it, and `Awaken`, which shows the same. Below: `mailbox.attention`; the resources of runs, tickets
and dead letters.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.domain.ids import Scope
from awaken.domain.version import version
from awaken.domain.worker import ProcessRole
from awaken.executors.registry import Agents
from awaken.http.dead_letter_wire import GroupResource
from awaken.http.ticket_wire import TicketResource
from awaken.http.wire import RunResource
from awaken.mailbox.attention import Attention, Few, UnservedRoute
from awaken.mailbox.seen import SeenRun
from awaken.store.contract import Capabilities


class FewTickets(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[TicketResource, ...]
    has_more: bool


class FewRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Each with `why`, `last_event` and `last_sign_of_life`."""

    items: tuple[RunResource, ...]
    has_more: bool


class UnservedResource(msgspec.Struct, frozen=True, kw_only=True):
    """A route, an agent or one version of it, for which runs wait, and of which no process begins one."""

    route: str
    agent_id: str
    code: Literal["unserved", "not_loadable", "agent_paused"]
    detail: str | None
    """Why its agent cannot be loaded in the process that answers."""
    waiting: int
    """Runs of the agent that have not begun; 10 000 means that or more."""
    oldest_run_id: str | None
    oldest_at: str | None

    @classmethod
    def of(cls, found: UnservedRoute) -> UnservedResource:
        oldest = found.oldest
        return cls(
            route=found.route,
            agent_id=found.agent_id,
            code=found.code,
            detail=found.detail,
            waiting=found.waiting,
            oldest_run_id=None if oldest is None else oldest.run_id,
            oldest_at=None if oldest is None else to_rfc3339(oldest.created_at),
        )


class FewUnserved(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[UnservedResource, ...]
    has_more: bool


class FewGroups(msgspec.Struct, frozen=True, kw_only=True):
    """The largest first, of the 200 newest dead letters; `has_more` also where there are more of those."""

    items: tuple[GroupResource, ...]
    has_more: bool


class AttentionResource(msgspec.Struct, frozen=True, kw_only=True):
    """What wants attention, at most `limit` of each kind. `at`: the time of the store."""

    at: str
    version: str
    role: ProcessRole
    store: str
    durability: str
    drained: bool
    """This process begins nothing until somebody undrains it."""
    tickets: FewTickets
    """What somebody has to decide, oldest first."""
    stuck: FewRuns
    """What does not go on as it should, the worst first."""
    running: FewRuns
    """What is executed, oldest first."""
    unserved: FewUnserved
    dead_letters: FewGroups

    @classmethod
    def of(
        cls, scope: Scope, found: Attention, capabilities: Capabilities, role: ProcessRole, agents: Agents
    ) -> AttentionResource:
        def runs(few: Few[SeenRun]) -> FewRuns:
            shown = [RunResource.of(scope, each.run, each.dispatch, agents=agents).beside(each) for each in few.items]
            return FewRuns(items=tuple(shown), has_more=few.has_more)

        tickets, unserved, letters = found.tickets, found.unserved, found.dead_letters
        return cls(
            at=to_rfc3339(found.at),
            version=version(),
            role=role,
            store=capabilities.kind,
            durability=capabilities.durability,
            drained=found.is_drained,
            tickets=FewTickets(
                items=tuple([TicketResource.of(ticket) for ticket in tickets.items]), has_more=tickets.has_more
            ),
            stuck=runs(found.stuck),
            running=runs(found.running),
            unserved=FewUnserved(
                items=tuple([UnservedResource.of(each) for each in unserved.items]), has_more=unserved.has_more
            ),
            dead_letters=FewGroups(
                items=tuple([GroupResource.of(scope, group) for group in letters.items]), has_more=letters.has_more
            ),
        )
