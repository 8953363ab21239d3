"""Threads, their state and their history, as LangGraph's clients ask for them.

Above: `routes`. Below: the mailbox, and what is shown of a thread.
Holds: the state of a thread is its messages and what is kept beside them. It is changed on an idle thread only, and
what was said is not changed at all.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.errors import NotFound, RunNotFound, ThreadBusy, ValidationError
from awaken.domain.ids import RunId, ThreadId, checked_id
from awaken.domain.message import Message, Role
from awaken.domain.thread import Thread, ThreadInfo, ThreadPatch
from awaken.domain.thread import ThreadStatus as Status
from awaken.http.operation import Call, json_response
from awaken.protocols.attachments import check_foreign
from awaken.protocols.foreign import seeded
from awaken.protocols.langgraph.encoder import Mode, ThreadEncoder, stream_failed, thread_encoder_of
from awaken.protocols.langgraph.messages import sent_messages
from awaken.protocols.langgraph.objects import (
    begun_runs,
    checkpoint,
    past_state,
    state_shown,
    thread_metadata,
    thread_shown,
    thread_status,
)
from awaken.protocols.langgraph.runs import MAX_SCANNED, gateway_of, metadata_filter
from awaken.protocols.langgraph.wire import (
    JOINED,
    MAX_SEARCH,
    CheckpointBody,
    HistoryBody,
    HistoryQuery,
    PruneBody,
    StateBody,
    ThreadBody,
    ThreadPatchBody,
    ThreadSearch,
    ThreadStreamQuery,
    check_ttl,
    checkpoint_in,
    refused,
)
from awaken.protocols.projection import Place
from awaken.store.contract import MAX_PAGE, ThreadQuery

_DERIVED: Final = frozenset({"graph_id", "assistant_id"})
"""Keys of a thread's metadata that say which assistant it had last."""
_encode: Final = msgspec.json.Encoder().encode


async def _thread(call: Call) -> Thread:
    return await call.mailbox.get_thread(call.scope, call.thread_id)


async def create_thread(call: Call) -> Response:
    asked = call.body(ThreadBody)
    asked.check()
    info = ThreadInfo(metadata=asked.metadata or {})
    if_exists = "keep" if asked.if_exists == "do_nothing" else "raise"
    thread, _ = await call.mailbox.save_thread(call.scope, asked.thread_id or "", info, if_exists=if_exists)
    return json_response(await thread_shown(call, thread))


async def get_thread(call: Call) -> Response:
    return json_response(await thread_shown(call, await _thread(call)))


async def patch_thread(call: Call) -> Response:
    asked = call.body(ThreadPatchBody)
    check_ttl(asked.ttl)
    patch = ThreadPatch(metadata=asked.metadata or {})
    thread = await call.mailbox.threads.edit(call.scope, call.thread_id, patch)
    if "return=minimal" in (call.header(b"prefer") or ""):
        return Response(None, 204)
    return json_response(await thread_shown(call, thread))


async def delete_thread(call: Call) -> Response:
    """Whatever it does is stopped."""
    await call.mailbox.threads.delete(call.scope, call.thread_id, force=True, child_strategy="detach")
    return Response(None, 204)


async def prune_threads(call: Call) -> Response:
    asked = call.body(PruneBody)
    if asked.strategy != "delete":
        raise refused("strategy", "threads are pruned by deleting them")
    pruned = 0
    for thread_id in asked.thread_ids:
        try:
            named = ThreadId(checked_id(thread_id, what="thread_id"))
            await call.mailbox.threads.delete(call.scope, named, force=True, child_strategy="detach")
            pruned += 1
        except NotFound:
            continue
    return json_response({"pruned_count": pruned})


async def copy_thread(call: Call) -> Response:
    return json_response(await thread_shown(call, await call.mailbox.threads.fork(call.scope, call.thread_id)))


# --- searching --------------------------------------------------------------------------------------------------------

_SORTED: Final[dict[str, Callable[[Thread], Any]]] = {
    "thread_id": lambda thread: thread.thread_id,
    "status": lambda thread: (thread.status, thread.updated_at),
    "created_at": lambda thread: thread.created_at,
    "updated_at": lambda thread: thread.updated_at,
    "state_updated_at": lambda thread: thread.updated_at,
}
_STATUSES: Final[dict[str | None, Status | None]] = {
    "idle": Status.IDLE,
    "interrupted": Status.WAITING,
    "error": Status.ERROR,
}
"""What the store looks for; `busy` is several of its words."""


async def search_threads(call: Call) -> Response:
    asked = call.body(ThreadSearch)
    asked.check()
    most = None if asked.sort_by is not None else asked.offset + asked.limit
    found = await _found(call, asked, most)
    if asked.sort_by is not None:
        found.sort(key=_SORTED[asked.sort_by], reverse=asked.sort_order != "asc")
    chosen = found[asked.offset : asked.offset + asked.limit]
    items = [await thread_shown(call, thread, select=asked.select) for thread in chosen]
    headers = {"X-Pagination-Next": str(asked.offset + asked.limit)} if len(chosen) == asked.limit else {}
    if most is None:
        headers["X-Pagination-Total"] = str(len(found))
    return json_response(items, headers=headers)


async def count_threads(call: Call) -> Response:
    asked = call.body(ThreadSearch)
    asked.check()
    return json_response(len(await _found(call, asked, None)))


async def _found(call: Call, asked: ThreadSearch, most: int | None) -> list[Thread]:
    """By what happened last, newest first; of `MAX_SCANNED` at most."""
    if asked.ids is not None:
        named = [ThreadId(checked_id(id, what="thread_id", loc=("body", "ids"))) for id in asked.ids[:MAX_SEARCH]]
        loaded = [await call.reads.load_thread(call.scope, thread_id) for thread_id in named]
        wanted = metadata_filter(asked.metadata)
        return [each for each in loaded if each is not None and await _fits(call, each, asked, dict(wanted))]
    stored = {key: value for key, value in (asked.metadata or {}).items() if key not in _DERIVED}
    derived = {key: value for key, value in metadata_filter(asked.metadata) if key in _DERIVED}
    query = ThreadQuery(
        limit=MAX_PAGE,
        status=_STATUSES.get(asked.status),
        metadata=metadata_filter(stored),
        ascending=asked.sort_by is None and asked.sort_order == "asc",
    )
    found: list[Thread] = []
    scanned = 0
    while scanned < MAX_SCANNED:
        page = await call.reads.list_threads(call.scope, query)
        scanned += len(page.items)
        found += [each for each in page.items if await _fits(call, each, asked, derived)]
        if page.next is None or (most is not None and len(found) >= most):
            break
        query = replace(query, after=page.next)
    return found


async def _fits(call: Call, thread: Thread, asked: ThreadSearch, metadata: Mapping[str, str]) -> bool:
    if metadata:
        known = await thread_metadata(call, thread)
        texts = {key: value if isinstance(value, str) else _encode(value).decode() for key, value in known.items()}
        if any([texts.get(key) != value for key, value in metadata.items()]):
            return False
    return asked.status is None or await thread_status(call, thread) == asked.status


# --- state ------------------------------------------------------------------------------------------------------------


async def get_state(call: Call) -> Response:
    return json_response(await state_shown(call, await _thread(call)))


async def get_past_state(call: Call) -> Response:
    return await _at(call, call.path_id("checkpoint_id"))


async def get_state_at(call: Call) -> Response:
    named = checkpoint_in(call.body(CheckpointBody).checkpoint)
    return await get_state(call) if named is None else await _at(call, named)


async def _at(call: Call, checkpoint_id: str) -> Response:
    thread = await _thread(call)
    run = await call.mailbox.get_run(call.scope, RunId(checked_id(checkpoint_id, what="checkpoint_id")))
    if run.thread_id != thread.thread_id:
        raise RunNotFound(checkpoint_id)
    return json_response(await past_state(call, thread, run))


async def update_state(call: Call) -> Response:
    """Add messages to the conversation of an idle thread, and change what is kept beside them."""
    asked = call.body(StateBody)
    thread = await _thread(call)
    if thread.status not in (Status.IDLE, Status.ERROR):
        raise ThreadBusy(thread.thread_id, thread.active_run_id)
    at = asked.checkpoint_id or checkpoint_in(asked.checkpoint)
    if at is not None and at != thread.latest_run_id:
        name = "checkpoint_id" if asked.checkpoint_id else "checkpoint"
        raise refused(name, "only the newest state of a thread is updated")
    messages, patch = _update(asked)
    if messages:
        thread_id, info = thread.thread_id, thread.info
        await call.mailbox.save_thread(call.scope, thread_id, info, messages=messages, if_exists="replace")
    if patch:
        await call.mailbox.threads.patch_state(call.scope, thread.thread_id, patch)
    at = thread.latest_run_id
    return json_response({"checkpoint": checkpoint(thread.thread_id, at), "checkpoint_id": at})


def _update(asked: StateBody) -> tuple[tuple[Message, ...], dict[str, Any]]:
    """What is to be added, and what changed. Raises ValidationError."""
    values: Any = asked.values
    fields: dict[str, Any] = {}
    for each in cast(list[Any], values) if isinstance(values, list) else [values]:
        if isinstance(each, dict):
            fields |= cast(dict[str, Any], each)
    messages = sent_messages(fields.pop("messages", None) or [], "body", "values", "messages")
    if any([each.role is Role.SYSTEM for each in messages]):
        raise ValidationError(
            "what a system says is told to the agent with a run, and is no part of the state: put it into its input",
            loc=("body", "values", "messages"),
        )
    check_foreign(messages, "values", "messages")
    return seeded(messages), fields


async def get_history(call: Call) -> Response:
    asked = call.query(HistoryQuery)
    return await _history(call, asked.limit, asked.before)


async def search_history(call: Call) -> Response:
    asked = call.body(HistoryBody)
    return await _history(call, asked.limit, checkpoint_in(asked.before), asked.metadata)


async def _history(call: Call, limit: int, before: str | None, metadata: dict[str, Any] | None = None) -> Response:
    """One state for each run that has begun, newest first."""
    thread = await _thread(call)
    earliest = None
    if before is not None:
        earliest = await call.mailbox.get_run(call.scope, RunId(checked_id(before, what="before")))
        if earliest.thread_id != thread.thread_id:
            raise RunNotFound(before)
    wanted = metadata_filter(metadata)
    runs = await begun_runs(call, thread.thread_id, limit=limit, before=earliest, metadata=wanted)
    return json_response([await past_state(call, thread, run) for run in runs])


# --- its stream -------------------------------------------------------------------------------------------------------


async def stream_thread(call: Call) -> Response:
    """Everything that is done on a thread, without end: from the turn that is under way, or from now."""
    asked = call.query(ThreadStreamQuery)
    names = asked.stream_mode.split(",") if asked.stream_mode else ["run_modes"]
    modes = frozenset[Mode]()
    for name in names:
        if name not in _STREAMED:
            raise ValidationError(
                f"stream_mode {name!a:.80} is not known; there are: {', '.join(_STREAMED)}",
                loc=("query", "stream_mode"),
            )
        modes |= _STREAMED[name]
    thread = await _thread(call)
    gateway = gateway_of(call)
    turn = await gateway.current(thread.thread_id)
    place = f"/threads/{thread.thread_id}/stream?stream_mode={','.join(names)}"
    return await gateway.watch_thread(
        thread.thread_id,
        thread_encoder_of(modes),
        stream_failed,
        dialect=ThreadEncoder.dialect,
        place=None if turn is None else Place(turn.after),
        headers={"Location": place},
    )


_STREAMED: Final[dict[str, frozenset[Mode]]] = {
    "run_modes": JOINED,
    "lifecycle": frozenset({"lifecycle"}),
    "state_update": frozenset({"values"}),
}
