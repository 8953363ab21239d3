"""Health, metrics, and the description of the API.

Holds: liveness asks nobody, so a slow store never gets the process restarted. Readiness asks the store whether it can
be read and written, at most once a second, and is over as soon as the server is asked to stop.

Source: docs/reference/http.md; SRV-006.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

from starlette.responses import Response

from awaken.domain.clock import to_rfc3339
from awaken.domain.errors import StoreError, WrongLoop
from awaken.domain.ids import ThreadId
from awaken.http.operation import Call, Operation, json_response, not_offered
from awaken.http.wire import Component, HealthResource, Live, RecoveryResource
from awaken.mailbox.auditor import AuditReport
from awaken.mailbox.engine import Health, Recovery

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_CHECK_TIMEOUT_S: Final = 2.0
_CHECK_INTERVAL_S: Final = 1.0
_NAMED: Final = 3
_NOWHERE: Final = ThreadId("health")

Status = Literal["ready", "starting", "stopping", "unavailable"]


async def live(call: Call) -> Response:
    return json_response(Live())


async def ready(call: Call) -> Response:
    """200 when work is accepted; the same document with 503 when it is not."""
    answer = await _check(call)
    if answer.status == "ready":
        return json_response(answer)
    return json_response(answer, 503, {"Retry-After": str(call.service.settings.retry_after_s)})


async def _check(call: Call) -> HealthResource:
    health, misplaced = call.mailbox.health(), _misplaced(call)
    asks = health.state == "ready" and misplaced is None
    store = await _store_component(call) if asks else _unasked(health.recovery)
    status: Status
    match health.state:
        case "ready" if call.service.is_leaving:
            status = "stopping"
        case "ready":
            status = "ready" if store.state == "ok" else "unavailable"
        case "new" | "starting":
            status = "starting"
        case _:
            status = "stopping"
    components = {
        "store": store,
        "mailbox": _mailbox_component(health) if misplaced is None else misplaced,
        "agents": _agents_component(health.not_loadable, health.unserved, health.paused),
    }
    if call.mailbox.role != "api":  # who executes nothing looks through nothing
        components["audit"] = _audit_component(health.audit)
    return HealthResource(
        status=status,
        durability=health.durability,
        store=health.store,
        components=components,
        recovery=RecoveryResource(phase=health.recovery.phase, done=round(health.recovery.done, 3)),
        executing=health.executing,
        free_slots=health.free_slots,
        streams=call.mailbox.reader_count,
        checked_at=to_rfc3339(call.service.clock.now()),
    )


def _unasked(recovery: Recovery) -> Component:
    """A store that is not open, and perhaps why."""
    return Component(state="waiting" if recovery.phase == "waiting" else "unknown", detail=recovery.detail)


def _misplaced(call: Call) -> Component | None:
    """Why nothing can be done on this event loop, if the mailbox lives on another one."""
    try:
        call.mailbox.check_loop()
    except WrongLoop as error:
        return Component(state="failed", detail=str(error))
    return None


def _mailbox_component(health: Health) -> Component:
    """A drained process accepts what is submitted, so the server stays ready."""
    if health.state == "ready" and health.is_drained:
        return Component(state="drained", detail="begins no run until it is undrained, and accepts them meanwhile")
    return Component(state=health.state)


def _agents_component(not_loadable: Sequence[str], unserved: Sequence[str], paused: Sequence[str]) -> Component:
    """What waits because nobody here can, or may, run it. Everything else is served, so the server stays ready."""
    complaints: list[str] = []
    if not_loadable:
        complaints.append(f"cannot be loaded, for a reason that is in the log: {', '.join(not_loadable)}")
    if unserved:
        complaints.append(f"not registered here, and runs wait for it: {', '.join(unserved)}")
    if paused:
        complaints.append(f"paused here: {', '.join(paused)}")
    return Component(state="degraded", detail="; ".join(complaints)) if complaints else Component(state="ok")


def _audit_component(report: AuditReport) -> Component:
    """How far the rows have been looked through since the start. What cannot be mended stops nothing else."""
    said = [] if report.rounds else [f"{report.share:.0%} of the rows looked through"]
    said += [f"{report.mended} repaired"] if report.mended else []
    named = "; ".join([str(each.breach) for each in report.refused[:_NAMED]])
    more = len(report.refused) - _NAMED
    said += (
        [f"{len(report.refused)} cannot be repaired: {named}{f' and {more} more' if more > 0 else ''}"] if named else []
    )
    state = "degraded" if report.refused else "ok" if report.rounds else "running"
    return Component(state=state, detail="; ".join(said) or None)


async def _store_component(call: Call) -> Component:
    """How the store answered, asked now or within the last second."""
    service, now_s = call.service, call.service.clock.monotonic()
    if service.store_seen is None or now_s - service.store_seen[0] >= _CHECK_INTERVAL_S:
        service.store_seen = (now_s, await _ask_store(call))
    return service.store_seen[1]


async def _ask_store(call: Call) -> Component:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await call.reads.event_bounds(call.scope, _NOWHERE)
            await call.reads.check_writes()
    except TimeoutError:
        return Component(state="failed", detail=f"the store did not answer within {_CHECK_TIMEOUT_S:.0f} s")
    except StoreError as error:
        return Component(state="failed", detail=str(error))
    return Component(state="ok")


async def metrics(call: Call) -> Response:
    if call.service.metrics is None:
        raise not_offered("metrics")
    rendered = call.service.metrics()
    return Response(rendered if isinstance(rendered, bytes) else await rendered, media_type=METRICS_TYPE)


async def openapi(call: Call) -> Response:
    return Response(call.service.describe(call.root_path), media_type="application/json")


HEALTH_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/health/live",
        id="health_live",
        summary="Is the process alive",
        handler=live,
        answers={200: Live},
        always_answers=True,
    ),
    *(
        Operation(
            method="GET",
            path=path,
            id=id,
            summary="Does the server accept work",
            handler=ready,
            answers={200: HealthResource, 503: HealthResource},
            always_answers=True,
        )
        for path, id in (("/health/ready", "health_ready"), ("/health", "health"))
    ),
    Operation(
        method="GET",
        path="/metrics",
        id="metrics",
        summary="Metrics for Prometheus",
        handler=metrics,
        answers={200: "text/plain"},
        problems=("not_found",),
    ),
)
DESCRIPTION_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/openapi.json",
        id="openapi",
        summary="This description",
        handler=openapi,
        answers={200: dict[str, Any]},
    ),
)
