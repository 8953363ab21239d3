"""The operations of this API, all of them, once.

Above: `wiring` hands them to the application; tests walk through them. Below: the handlers in `routes/`.
"""

from __future__ import annotations

from typing import Final

from awaken.http.operation import Operation
from awaken.http.routes.again import AGAIN_OPERATIONS
from awaken.http.routes.agents import AGENT_OPERATIONS
from awaken.http.routes.attention import ATTENTION_OPERATIONS
from awaken.http.routes.audit import AUDIT_OPERATIONS
from awaken.http.routes.browser import BROWSER_OPERATIONS
from awaken.http.routes.children import CHILD_OPERATIONS
from awaken.http.routes.dead_letters import DEAD_LETTER_OPERATIONS
from awaken.http.routes.dispatches import DISPATCH_OPERATIONS
from awaken.http.routes.draining import DRAINING_OPERATIONS
from awaken.http.routes.events import EVENT_OPERATIONS
from awaken.http.routes.health import DESCRIPTION_OPERATIONS, HEALTH_OPERATIONS
from awaken.http.routes.many import MANY_OPERATIONS
from awaken.http.routes.messages import MESSAGE_OPERATIONS
from awaken.http.routes.runs import RUN_OPERATIONS
from awaken.http.routes.schedules import SCHEDULE_OPERATIONS
from awaken.http.routes.state import STATE_OPERATIONS
from awaken.http.routes.stats import STATS_OPERATIONS
from awaken.http.routes.system import SYSTEM_OPERATIONS
from awaken.http.routes.threads import THREAD_OPERATIONS
from awaken.http.routes.tickets import TICKET_OPERATIONS
from awaken.http.routes.timeline import TIMELINE_OPERATIONS
from awaken.http.routes.watch import WATCH_OPERATIONS
from awaken.http.routes.why import WHY_OPERATIONS

OPERATIONS: Final[tuple[Operation, ...]] = (
    *ATTENTION_OPERATIONS,
    *THREAD_OPERATIONS,
    *STATE_OPERATIONS,
    *MANY_OPERATIONS,
    *RUN_OPERATIONS,
    *AGAIN_OPERATIONS,
    *DEAD_LETTER_OPERATIONS,
    *DISPATCH_OPERATIONS,
    *CHILD_OPERATIONS,
    *WHY_OPERATIONS,
    *TIMELINE_OPERATIONS,
    *TICKET_OPERATIONS,
    *MESSAGE_OPERATIONS,
    *EVENT_OPERATIONS,
    *WATCH_OPERATIONS,
    *AGENT_OPERATIONS,
    *SCHEDULE_OPERATIONS,
    *STATS_OPERATIONS,
    *AUDIT_OPERATIONS,
    *DRAINING_OPERATIONS,
    *BROWSER_OPERATIONS,
    *SYSTEM_OPERATIONS,
    *HEALTH_OPERATIONS,
    *DESCRIPTION_OPERATIONS,
)

WORKER_OPERATIONS: Final[tuple[Operation, ...]] = HEALTH_OPERATIONS
"""Of a process that executes runs, and answers for nothing else."""
