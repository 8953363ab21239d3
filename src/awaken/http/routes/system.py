"""A server about itself, and its maintenance at once.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.operation import Call, Operation, json_response
from awaken.http.system_wire import (
    PurgedResource,
    SettingList,
    SweptResource,
    SystemResource,
    WorkerList,
    WorkerResource,
    settings_of,
)


async def system(call: Call) -> Response:
    mailbox, service = call.mailbox, call.service
    return json_response(
        SystemResource.of(
            mailbox.worker(),
            mailbox.uptime_s,
            call.reads.capabilities,
            mailbox.settings,
            service.settings,
            service.adapters,
            service.on_loopback,
        )
    )


async def settings(call: Call) -> Response:
    exclusive = call.reads.capabilities.exclusive
    held = settings_of(call.mailbox.settings, call.service.settings, exclusive, call.service.sources)
    return json_response(SettingList(items=held))


async def workers(call: Call) -> Response:
    found, now = await call.mailbox.workers(), await call.reads.now()
    return json_response(WorkerList(items=tuple([WorkerResource.of(each, now) for each in found])))


async def sweep(call: Call) -> Response:
    return json_response(SweptResource.of(await call.mailbox.sweep()))


async def purge(call: Call) -> Response:
    return json_response(PurgedResource.of(await call.mailbox.purge()))


SYSTEM_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/system",
        id="system",
        summary="What this server is, and its limits",
        handler=system,
        answers={200: SystemResource},
    ),
    Operation(
        method="GET",
        path="/v1/system/settings",
        id="list_settings",
        summary="Every setting in force, and who chose it",
        handler=settings,
        answers={200: SettingList},
    ),
    Operation(
        method="GET",
        path="/v1/workers",
        id="list_workers",
        summary="The processes that work on the store",
        handler=workers,
        answers={200: WorkerList},
    ),
    Operation(
        method="POST",
        path="/v1/system/sweep",
        id="sweep",
        summary="Look at once for what falls due",
        handler=sweep,
        answers={200: SweptResource},
    ),
    Operation(
        method="POST",
        path="/v1/system/purge",
        id="purge",
        summary="Remove now what retention no longer keeps",
        handler=purge,
        answers={200: PurgedResource},
    ),
)
