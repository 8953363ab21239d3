"""The HTTP API as values: each function builds a request, with the way its answer is read. No I/O.

Above: the two transports send a `Call` and hand the answer to `read`. Below: `wire.py` and `errors.py`.
Holds: a run is always created under an id that this side chose, so that sending the request again, after a connection
that broke before the answer, finds the run instead of making another. What would arrive as something else than was
given, or at another path, is refused here in the words of `Awaken`; the rest is left to the server, which may be newer.

Source: `docs/reference/http.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar, cast, get_args
from urllib.parse import quote

import msgspec
from msgspec import UnsetType

from awaken.client import wire
from awaken.client.errors import error_of
from awaken.domain import shown
from awaken.domain.checking import (
    checked,
    checked_choice,
    checked_few,
    checked_flag,
    checked_limit,
    checked_seconds,
    checked_seq,
    checked_window,
    listed,
)
from awaken.domain.clock import to_rfc3339
from awaken.domain.cursor import CURSOR_LIKE
from awaken.domain.dead_letter import check_handling, checked_reason, letters_of
from awaken.domain.delivery import Delivery, check_release_wait, delay_ms, due_at, mode_of
from awaken.domain.dispatch import DEFAULT_PRIORITY
from awaken.domain.errors import RemoteProtocolError, ValidationError
from awaken.domain.given import Given, one_message_of, sent_form
from awaken.domain.ids import Ids, ThreadId, checked_id
from awaken.domain.pending import KEEPS_ITS_ID, NOTHING_TO_CHANGE, WaitsAt, checked_revision
from awaken.domain.queue import place_of, queue_filter
from awaken.domain.run import GOES_WITH_A_NEW_THREAD, NO_LIMITS, ClientTool, Limits, OnCompletion, RunOptions
from awaken.domain.schedule import check_schedule_name
from awaken.domain.selection import chosen_names, included
from awaken.domain.state import checked_patch, checked_version
from awaken.domain.thread import ThreadInfo, ThreadPatch
from awaken.domain.ticket import TicketKind, TicketState, checked_each, sent_verdict, verdict_of, verdicts_of

ResultT = TypeVar("ResultT")
Params = Mapping[str, str]

MAX_WAIT_S: Final = 60.0
"""How long one request may wait for a run; a longer wait is several. The server allows 300 s, proxies often less."""
MAX_STOP_WAIT_S: Final = 60.0
"""The server's own bound for `wait_s` of a stop."""
PAGE: Final = 200
"""Items of one page, the most that the server gives."""
_CURSOR: Final = re.compile(r"[!-~]{1,256}")
"""What a cursor of any version looks like."""
_encode: Final = msgspec.json.Encoder().encode


class Call(msgspec.Struct, Generic[ResultT], frozen=True, kw_only=True):
    """One request. `decode` reads the body, and the status, of a 2xx answer, and of the statuses in `also`."""

    method: str
    path: str
    decode: Callable[[bytes, int], ResultT]
    params: Params = {}
    headers: Params = {}
    body: bytes | None = None
    timeout_s: float | None = None
    """How long the answer may take where it is known to take long; None: the transport's own bound."""
    also: tuple[int, ...] = ()


class RunRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body that creates a run. A field left at its default is not sent, and the server's default holds."""

    messages: list[dict[str, Any]]
    run_id: str
    agent_id: str | None = None
    thread_id: str | None = None
    dedupe_key: str | None = None
    after_seconds: float = 0.0
    available_at: str | None = None
    priority: int = DEFAULT_PRIORITY
    max_attempts: int | None = None
    metadata: Mapping[str, Any] = {}
    limits: Limits = NO_LIMITS
    context: str | Mapping[str, Any] | None = None
    state: Mapping[str, Any] | None = None
    client_tools: tuple[ClientTool, ...] = ()
    overrides: Mapping[str, Any] | None = None
    multitask_strategy: str = "enqueue"
    release_wait_s: float | None = None
    if_not_exists: str | None = None
    decisions: Sequence[dict[str, Any]] = ()
    on_completion: OnCompletion = "keep"


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What has to read back as it was given, by the names under which `Awaken` checks it."""

    agent_id: str | None
    metadata: dict[str, Any]
    context: str | dict[str, Any] | None
    options: RunOptions
    create_thread: bool


class _Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """The same of a schedule."""

    agent_id: str | None
    messages: list[dict[str, Any]] | None
    cron: str | None
    every_s: int | None
    zone: str | None
    overlap: str | None
    missed: str | None
    thread_id: str | None
    metadata: dict[str, Any] | None


class Accepted(msgspec.Struct, frozen=True):
    """A run that was submitted. `replayed`: the same request had been accepted before."""

    run: shown.Run
    replayed: bool


def read(call: Call[ResultT], status: int, body: bytes) -> ResultT:
    """The answer's value.

    Raises:
        AwakenError: The error that the answer stands for.
        RemoteProtocolError: The answer is not what the API promises.
    """
    if status not in call.also and not 200 <= status < 300:
        raise error_of(status, body)
    try:
        return call.decode(body, status)
    except msgspec.MsgspecError as error:
        raise RemoteProtocolError(f"{call.method} {call.path}: the answer is something else: {error}") from error


# --- threads ----------------------------------------------------------------------------------------------------------


def create_thread(
    thread_id: str | None,
    *,
    title: str | None,
    metadata: Mapping[str, Any] | None,
    resource_id: str | None,
    parent_thread_id: str | None,
    messages: Given,
    if_exists: shown.IfExists,
) -> Call[shown.Thread]:
    """Raises ValidationError for what can never be sent."""
    _check_ids(thread_id=thread_id, resource_id=resource_id, parent_thread_id=parent_thread_id)
    parent = None if parent_thread_id is None else ThreadId(parent_thread_id)
    info = checked(ThreadInfo(title, _metadata(metadata), resource_id, parent), ThreadInfo)
    given = {
        "thread_id": thread_id,
        **{name: getattr(info, name) for name in info.__struct_fields__},
        "messages": sent_form(messages) or None,
        "if_exists": checked_choice(if_exists, get_args(shown.IfExists), what="if_exists"),
    }
    body = {name: value for name, value in given.items() if value is not None}
    return Call(method="POST", path="/v1/threads", body=_encode(body), decode=_as(shown.Thread))


def get_thread(thread_id: str) -> Call[shown.Thread]:
    return Call(method="GET", path=_thread(thread_id), decode=_as(shown.Thread))


def list_threads(**filters: Any) -> Call[wire.Page[shown.Thread]]:
    return _page("/v1/threads", wire.Page[shown.Thread], filters)


def list_messages(thread_id: str, **filters: Any) -> Call[wire.Page[shown.Message]]:
    return _page(f"{_thread(thread_id)}/messages", wire.Page[shown.Message], filters)


def edit_thread(
    thread_id: str,
    *,
    title: str | UnsetType | None,
    metadata: Mapping[str, Any] | UnsetType,
    resource_id: str | UnsetType | None,
    parent_thread_id: str | UnsetType | None,
    if_version: int | None,
) -> Call[shown.Thread]:
    place = _thread(thread_id)
    patch = ThreadPatch(
        title=title,
        metadata=cast(Any, metadata),
        resource_id=resource_id,
        parent_thread_id=cast(Any, parent_thread_id),
    )
    patch = checked(patch, ThreadPatch)
    patch.check(ThreadId(thread_id))
    return Call(
        method="PATCH",
        path=place,
        headers=_if_match(if_version),
        body=_encode(patch),
        decode=_as(shown.Thread),
    )


def delete_thread(thread_id: str, *, child_strategy: shown.ChildStrategy, force: bool) -> Call[None]:
    params = filters({"child_strategy": child_strategy, "force": force})
    return Call(method="DELETE", path=_thread(thread_id), params=params, decode=_nothing)


def fork_thread(
    thread_id: str, *, at_seq: int | None, at_message_id: str | None, new_thread_id: str | None, title: str | None
) -> Call[shown.Thread]:
    path = f"{_thread(thread_id)}/fork"
    if title is not None:
        checked(title, str, what="title")
    _check_ids(at_message_id=at_message_id, thread_id=new_thread_id or None)
    at_seq = checked_seq(at_seq, what="at_seq")
    given = {"at_seq": at_seq, "at_message_id": at_message_id, "thread_id": new_thread_id or None, "title": title}
    body = {name: value for name, value in given.items() if value is not None}
    return Call(method="POST", path=path, body=_encode(body), decode=_as(shown.Thread))


def hide_message(thread_id: str, message_id: str) -> Call[shown.Hiding]:
    path = f"{_thread(thread_id)}/messages/{_part(message_id, 'message_id')}/hide"
    return Call(method="POST", path=path, decode=_as(shown.Hiding))


def get_state(thread_id: str) -> Call[shown.ThreadState]:
    return Call(method="GET", path=f"{_thread(thread_id)}/state", decode=_as(shown.ThreadState))


def patch_state(thread_id: str, values: Mapping[str, Any], *, if_version: int | None) -> Call[shown.ThreadState]:
    return Call(
        method="PATCH",
        path=f"{_thread(thread_id)}/state",
        headers=_if_match(if_version),
        body=_encode({"values": checked_patch(values)}),
        decode=_as(shown.ThreadState),
    )


def cancel_thread(thread_id: str, *, wait_s: float) -> Call[shown.Cancellation]:
    return _stop(f"{_thread(thread_id)}/cancel", shown.Cancellation, wait_s)


def interrupt(thread_id: str, *, wait_s: float) -> Call[shown.Interruption]:
    return _stop(f"{_thread(thread_id)}/interrupt", shown.Interruption, wait_s)


# --- runs -------------------------------------------------------------------------------------------------------------


def run_request(
    ids: Ids,
    thread_id: str | None,
    message: Given,
    *,
    agent: str | None,
    run_id: str | None,
    dedupe_key: str | None,
    priority: int,
    max_attempts: int | None,
    metadata: Mapping[str, Any] | None,
    limits: Limits | None,
    context: str | Mapping[str, Any] | None,
    state: Mapping[str, Any] | None,
    client_tools: Sequence[ClientTool],
    overrides: Mapping[str, Any] | None,
    multitask_strategy: str,
    release_wait_s: float | None,
    create_thread: bool,
    delay_s: float = 0.0,
    at: datetime | str | None = None,
    decisions: Sequence[Mapping[str, Any]] = (),
    on_completion: OnCompletion = "keep",
) -> RunRequest:
    """The body for a new run, with an id of its own. Raises ValidationError for what can never be sent."""
    _check_ids(thread_id=thread_id, run_id=run_id)
    checked_choice(on_completion, get_args(OnCompletion), what="on_completion")
    if on_completion == "delete" and thread_id is not None:
        raise ValidationError(GOES_WITH_A_NEW_THREAD, loc=("body", "on_completion"))
    due = due_at(at, delay_s=delay_s)
    Delivery(
        priority=priority,
        max_attempts=max_attempts,
        dedupe_key=dedupe_key,
        delay_ms=delay_ms(delay_s),
        available_at=due,
        mode=mode_of(multitask_strategy),
    ).check()
    check_release_wait(release_wait_s, mode_of(multitask_strategy))
    asked = checked(
        _Asked(
            agent_id=agent,
            metadata=_metadata(metadata),
            context=cast("dict[str, Any] | None", context),
            options=RunOptions(
                overrides=overrides,
                limits=NO_LIMITS if limits is None else limits,
                state=cast("dict[str, Any] | None", state),
                client_tools=cast("tuple[ClientTool, ...]", client_tools),
            ),
            create_thread=create_thread,
        ),
        _Asked,
    )
    asked.options.check()
    messages = sent_form(message)
    if not messages:
        raise ValidationError("at least one message is required", loc=("body", "messages"))
    return RunRequest(
        messages=messages,
        run_id=ids.run_id() if run_id is None else run_id,
        agent_id=asked.agent_id,
        thread_id=thread_id,
        dedupe_key=dedupe_key,
        after_seconds=delay_s,
        available_at=None if due is None else to_rfc3339(due),
        priority=priority,
        max_attempts=max_attempts,
        metadata=asked.metadata,
        limits=asked.options.limits,
        context=asked.context,
        state=asked.options.state,
        client_tools=asked.options.client_tools,
        overrides=asked.options.overrides,
        multitask_strategy=multitask_strategy,
        release_wait_s=release_wait_s,
        if_not_exists="create" if thread_id is not None and asked.create_thread else None,
        decisions=[sent_verdict(each) for each in verdicts_of(decisions)] or (),
        on_completion=on_completion,
    )


def create_run(request: RunRequest) -> Call[Accepted]:
    path, body = _target(request)
    return Call(method="POST", path=path, body=body, decode=_accepted)


def create_run_and_wait(request: RunRequest, *, timeout_s: float) -> Call[shown.Run]:
    path, body = _target(request)
    return Call(
        method="POST",
        path=f"{path}/wait",
        params={"timeout_s": str(timeout_s), "wait_for": "done"},
        body=body,
        timeout_s=timeout_s,
        decode=_waited,
    )


def create_run_and_stream(request: RunRequest, params: Params) -> Call[None]:
    path, body = _target(request)
    return Call(method="POST", path=f"{path}/stream", params=params, headers=_EVENT_STREAM, body=body, decode=_nothing)


def get_run(run_id: str, *, include: Sequence[shown.Include] = ()) -> Call[shown.Run]:
    return Call(method="GET", path=_run(run_id), params=_including(include), decode=_as(shown.Run))


def _including(include: Sequence[shown.Include]) -> dict[str, str]:
    chosen = included(include)
    return {"include": ",".join(sorted(chosen))} if chosen else {}


def attention(limit: int) -> Call[shown.Attention]:
    params = {"limit": str(checked_few(limit))}
    return Call(method="GET", path="/v1/attention", params=params, decode=_as(shown.Attention))


def timeline(run_id: str) -> Call[shown.Timeline]:
    return Call(method="GET", path=f"{_run(run_id)}/timeline", decode=_as(shown.Timeline))


def explain(run_id: str) -> Call[shown.Explanation]:
    return Call(method="GET", path=f"{_run(run_id)}/explain", decode=_as(shown.Explanation))


def list_runs(
    *, thread_id: str | None = None, include: Sequence[shown.Include] = (), **filters: Any
) -> Call[wire.Page[shown.Run]]:
    path = "/v1/runs" if thread_id is None else f"{_thread(thread_id)}/runs"
    return _page(path, wire.Page[shown.Run], {**filters, **_including(include)})


def wait_run(run_id: str, *, timeout_s: float) -> Call[shown.Run]:
    return Call(
        method="GET",
        path=f"{_run(run_id)}/wait",
        params={"timeout_s": str(timeout_s), "wait_for": "done"},
        timeout_s=timeout_s,
        decode=_waited,
    )


def watch_run(run_id: str, params: Params) -> Call[None]:
    return Call(method="GET", path=f"{_run(run_id)}/stream", params=params, headers=_EVENT_STREAM, decode=_nothing)


def watch(params: Params) -> Call[None]:
    return Call(method="GET", path="/v1/watch", params=params, headers=_EVENT_STREAM, decode=_nothing)


def watch_thread(thread_id: str, params: Params) -> Call[None]:
    return Call(
        method="GET",
        path=f"{_thread(thread_id)}/events/stream",
        params=params,
        headers=_EVENT_STREAM,
        decode=_nothing,
    )


def cancel_run(run_id: str, *, action: shown.StopAction = "cancel", wait_s: float) -> Call[shown.Cancellation]:
    call = _stop(f"{_run(run_id)}/cancel", shown.Cancellation, wait_s)
    checked_choice(action, get_args(shown.StopAction), what="action")
    return call if action == "cancel" else msgspec.structs.replace(call, params={**call.params, "action": action})


def cancel_runs(
    *, run_ids: Sequence[str] | None, thread_id: str | None, status: shown.CancelledStatus | None
) -> Call[list[shown.CancelledRun]]:
    _check_ids(thread_id=thread_id)
    named = None if run_ids is None else [checked_id(run_id, what="run_id") for run_id in listed(run_ids, "run_ids")]
    if status is not None:
        checked_choice(status, get_args(shown.CancelledStatus), what="status")
    given = {"run_ids": named, "thread_id": thread_id, "status": status}
    body = {name: value for name, value in given.items() if value is not None}
    return Call(
        method="POST",
        path="/v1/runs/cancel",
        body=_encode(body),
        decode=lambda answer, status: msgspec.json.decode(answer, type=_CancelledRuns).items,
    )


def hide_run(run_id: str) -> Call[None]:
    return Call(method="DELETE", path=_run(run_id), decode=_nothing)


def retry_run(run_id: str, *, agent: str | None, max_attempts: int | None, delay_s: float) -> Call[Accepted]:
    return _retry(_run(run_id), agent=agent, max_attempts=max_attempts, delay_s=delay_s)


def _retry(what: str, *, agent: str | None, max_attempts: int | None, delay_s: float) -> Call[Accepted]:
    Delivery(max_attempts=max_attempts, delay_ms=delay_ms(delay_s)).check()
    given = {"agent_id": _agent(agent), "max_attempts": max_attempts, "after_seconds": delay_s or None}
    body = {name: value for name, value in given.items() if value is not None}
    return Call(method="POST", path=f"{what}/retry", body=_encode(body), decode=_accepted)


def regenerate(
    ids: Ids, thread_id: str, *, message_id: str | None, run_id: str | None, agent: str | None
) -> Call[Accepted]:
    _check_ids(message_id=message_id, run_id=run_id)
    given = {"message_id": message_id, "run_id": run_id or ids.mint(), "agent_id": _agent(agent)}
    body = {name: value for name, value in given.items() if value is not None}
    return Call(method="POST", path=f"{_thread(thread_id)}/regenerate", body=_encode(body), decode=_accepted)


def _agent(agent: str | None) -> str | None:
    return None if agent is None else checked(agent, str, what="agent")


def list_dead_letters(limit: int | None, **given: Any) -> Call[wire.Page[shown.DeadLetter]]:
    letters_of(**given)
    return _page("/v1/dead-letters", wire.Page[shown.DeadLetter], {**_letters(given), "limit": page_size(limit)})


def group_dead_letters(**given: Any) -> Call[list[shown.DeadLetterGroup]]:
    letters_of(**given)
    return Call(
        method="GET",
        path="/v1/dead-letters/summary",
        params=filters(_letters(given)),
        decode=lambda answer, status: msgspec.json.decode(answer, type=_LetterGroups).items,
    )


def get_dead_letter(dispatch_id: str) -> Call[shown.DeadLetter]:
    return Call(method="GET", path=_letter(dispatch_id), decode=_as(shown.DeadLetter))


def retry_dead_letter(
    dispatch_id: str, *, agent: str | None, max_attempts: int | None, delay_s: float
) -> Call[Accepted]:
    return _retry(_letter(dispatch_id), agent=agent, max_attempts=max_attempts, delay_s=delay_s)


def discard_dead_letter(dispatch_id: str, *, reason: str) -> Call[shown.DeadLetter]:
    body = _encode({"reason": checked_reason(reason)})
    return Call(method="POST", path=f"{_letter(dispatch_id)}/discard", body=body, decode=_as(shown.DeadLetter))


def retry_dead_letters(*, limit: int, dry_run: bool, **given: Any) -> Call[shown.HandledLetters]:
    return _handle("retry", {}, limit, dry_run, given)


def discard_dead_letters(*, reason: str, limit: int, dry_run: bool, **given: Any) -> Call[shown.HandledLetters]:
    return _handle("discard", {"reason": reason}, limit, dry_run, given)


def _handle(
    verb: str, said: dict[str, str], limit: int, dry_run: bool, given: Mapping[str, Any]
) -> Call[shown.HandledLetters]:
    query = letters_of(**given)
    checked_flag(dry_run, what="dry_run")
    for reason in said.values():
        checked_reason(reason)
    check_handling(query, limit)
    chosen = {name: value for name, value in _letters(given).items() if value is not None}
    body = _encode({**said, "filter": chosen, "limit": limit, "dry_run": dry_run})
    return Call(method="POST", path=f"/v1/dead-letters/{verb}", body=body, decode=_as(shown.HandledLetters))


def _letters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filter as it is sent."""
    return {
        "agent_id": given["agent"],
        "error_class": given["error_class"],
        "since": instant(given["since"]),
        "thread_id": given["thread_id"],
    }


def _letter(dispatch_id: str) -> str:
    return f"/v1/dead-letters/{_part(dispatch_id, 'dispatch_id')}"


def run_summary() -> Call[shown.RunSummary]:
    return Call(method="GET", path="/v1/runs/summary", decode=_as(shown.RunSummary))


def agent_stats(agent_id: str, *, window_s: float) -> Call[shown.AgentStats]:
    path = f"/v1/agents/{_part(agent_id, 'agent_id')}/stats"
    params = {"window_s": str(checked_window(window_s))}
    return Call(method="GET", path=path, params=params, decode=_as(shown.AgentStats))


def stats() -> Call[shown.Stats]:
    return Call(method="GET", path="/v1/stats", decode=_as(shown.Stats))


def audit() -> Call[wire.Page[shown.Finding]]:
    return _page("/v1/system/audit", wire.Page[shown.Finding], {})


def repair() -> Call[wire.Page[shown.Finding]]:
    return msgspec.structs.replace(audit(), method="POST")


def list_tickets(*, expires_before: datetime | str | None, **filters: Any) -> Call[wire.Page[shown.Ticket]]:
    before = due_at(expires_before)
    before_text = None if before is None else to_rfc3339(before)
    return _page("/v1/tickets", wire.Page[shown.Ticket], {**filters, "expires_before": before_text})


def get_ticket(ticket_id: str) -> Call[shown.Ticket]:
    return Call(method="GET", path=_ticket(ticket_id), decode=_as(shown.Ticket))


def decide(ticket_id: str, verdict: Mapping[str, Any]) -> Call[shown.Decided]:
    body = _encode(sent_verdict(verdict_of(verdict)))
    return Call(method="POST", path=f"{_ticket(ticket_id)}/decision", body=body, decode=_as(shown.Decided))


def decide_tickets(decisions: Sequence[Mapping[str, Any]]) -> Call[shown.DecidedTickets]:
    body = _encode({"decisions": [sent_verdict(each) for each in checked_each(decisions)]})
    return Call(method="POST", path="/v1/tickets/decide", body=body, decode=_as(shown.DecidedTickets))


def decide_run(run_id: str, decisions: Sequence[Mapping[str, Any]]) -> Call[shown.DecidedRun]:
    return _decisions(f"{_run(run_id)}/decisions", decisions)


def decide_thread(thread_id: str, decisions: Sequence[Mapping[str, Any]]) -> Call[shown.DecidedRun]:
    return _decisions(f"{_thread(thread_id)}/decisions", decisions)


def _decisions(path: str, decisions: Sequence[Mapping[str, Any]]) -> Call[shown.DecidedRun]:
    body = _encode({"decisions": [sent_verdict(each) for each in verdicts_of(decisions)]})
    return Call(method="POST", path=path, body=body, decode=_as(shown.DecidedRun))


def list_dispatches(limit: int | None, **given: Any) -> Call[wire.Page[shown.Dispatch]]:
    chosen = queue_filter(**given)
    size = page_size(limit)
    if chosen.run_id is not None:
        return _page(f"{_run(chosen.run_id)}/dispatches", wire.Page[shown.Dispatch], {"limit": size})
    asked: dict[str, Any] = {
        "thread_id": chosen.thread_id,
        "status": chosen.status,
        "agent_id": chosen.agent_id,
        "claimed_by": chosen.claimed_by,
        "older_than_s": chosen.older_than_s,
        "stale": "true" if chosen.stale else None,
        "limit": size,
    }
    return _page("/v1/dispatches", wire.Page[shown.Dispatch], asked)


def get_dispatch(dispatch_id: str) -> Call[shown.Dispatch]:
    return Call(method="GET", path=_dispatch(dispatch_id), decode=_as(shown.Dispatch))


def edit_dispatch(
    dispatch_id: str, *, priority: int | None, delay_s: float | None, available_at: datetime | str | None
) -> Call[shown.Dispatch]:
    place = place_of(priority=priority, delay_s=delay_s, available_at=available_at)
    due = None if place.available_at is None else to_rfc3339(place.available_at)
    given = {"priority": priority, "after_seconds": delay_s, "available_at": due}
    body = _encode({name: value for name, value in given.items() if value is not None})
    return Call(method="PATCH", path=_dispatch(dispatch_id), body=body, decode=_as(shown.Dispatch))


def cancel_dispatch(dispatch_id: str, *, wait_s: float) -> Call[shown.Cancellation]:
    return _stop(f"{_dispatch(dispatch_id)}/cancel", shown.Cancellation, wait_s)


def _dispatch(dispatch_id: str) -> str:
    return f"/v1/dispatches/{_part(dispatch_id, 'dispatch_id')}"


def list_children(run_id: str, **filters: Any) -> Call[wire.Page[shown.Run]]:
    return _page(f"{_run(run_id)}/children", wire.Page[shown.Run], filters)


def list_run_events(run_id: str, **filters: Any) -> Call[wire.Page[shown.Event]]:
    return _page(f"{_run(run_id)}/events", wire.Page[shown.Event], filters)


def list_thread_events(thread_id: str, **filters: Any) -> Call[wire.Page[shown.Event]]:
    return _page(f"{_thread(thread_id)}/events", wire.Page[shown.Event], filters)


# --- messages for runs that are there ---------------------------------------------------------------------------------


def send_messages(
    ids: Ids,
    thread_id: str | None,
    message: Given,
    *,
    run_id: str | None,
    mode: str,
    agent: str | None,
    granularity: str,
    barrier: bool,
    fallback_to_new_run: bool,
    priority: int,
    metadata: Mapping[str, Any] | None,
) -> Call[shown.Sent]:
    """Each message under an id, its own or one that is made here. Raises ValidationError for what can never be sent."""
    _check_ids(thread_id=thread_id, run_id=run_id)
    if thread_id is None and run_id is None:
        raise ValidationError("name a thread, or a run with run_id", loc=("thread_id",))
    Delivery(
        priority=priority,
        mode=cast(Any, mode),
        target_run_id=cast(Any, run_id),
        granularity=cast(Any, granularity),
        barrier=barrier,
        fallback_to_new_run=fallback_to_new_run,
    ).check()
    messages = sent_form(message)
    if not messages:
        raise ValidationError("at least one message is required", loc=("body", "messages"))
    asked = checked(
        _Asked(agent_id=agent, metadata=_metadata(metadata), context=None, options=RunOptions(), create_thread=False),
        _Asked,
    )
    given = {
        "messages": [
            each if each.get("message_id") or each.get("id") else {**each, "message_id": ids.message_id()}
            for each in messages
        ],
        "mode": mode,
        "agent_id": asked.agent_id,
        "target_run_id": run_id,
        "granularity": granularity,
        "barrier": barrier,
        "fallback_to_new_run": fallback_to_new_run,
        "priority": priority,
        "metadata": asked.metadata or None,
    }
    body = {name: value for name, value in given.items() if value is not None}
    path = _run(run_id) if thread_id is None and run_id is not None else _thread(thread_id or "")
    return Call(method="POST", path=f"{path}/messages", body=_encode(body), decode=_as(shown.Sent))


def get_receipt(message_id: str, *, thread_id: str | None, wait_s: float) -> Call[shown.Receipt]:
    wait_s = min(max(checked_seconds(wait_s, what="wait_s"), 0.0), MAX_WAIT_S)
    where = "/v1" if thread_id is None else _thread(thread_id)
    return Call(
        method="GET",
        path=f"{where}/messages/{_part(message_id, 'message_id')}/receipt",
        params={"wait_s": str(wait_s)} if wait_s else {},
        timeout_s=wait_s or None,
        decode=_as(shown.Receipt),
    )


def list_pending(thread_id: str) -> Call[shown.PendingList]:
    return Call(method="GET", path=f"{_thread(thread_id)}/pending", decode=_as(shown.PendingList))


def edit_pending(
    thread_id: str,
    message_id: str,
    message: Given | None,
    *,
    boundary: str | None,
    barrier: bool | None,
    if_version: int | None,
) -> Call[shown.PendingMessage]:
    """Raises ValidationError for what can never be sent."""
    path = f"{_thread(thread_id)}/pending/{_part(message_id, 'message_id')}"
    if message is None and boundary is None and barrier is None:
        raise ValidationError(NOTHING_TO_CHANGE)
    if boundary is not None:
        checked_choice(boundary, get_args(WaitsAt), what="boundary")
    if barrier is not None:
        checked_flag(barrier, what="barrier")
    one = None if message is None else one_message_of(message)
    if one is not None and one.id not in ("", message_id):
        raise ValidationError(KEEPS_ITS_ID, loc=("body", "message", "message_id"))
    given = {
        "message": None if message is None else sent_form(message)[0],
        "boundary": boundary,
        "barrier": barrier,
    }
    body = _encode({name: value for name, value in given.items() if value is not None})
    headers = _seen(checked_revision(if_version))
    return Call(method="PATCH", path=path, headers=headers, body=body, decode=_as(shown.PendingMessage))


def retract_pending(thread_id: str, message_id: str, *, if_version: int | None) -> Call[None]:
    path = f"{_thread(thread_id)}/pending/{_part(message_id, 'message_id')}"
    headers = _seen(checked_revision(if_version))
    return Call(method="DELETE", path=path, headers=headers, decode=_nothing)


def reorder_pending(thread_id: str, message_ids: Sequence[str], *, if_version: str | None) -> Call[shown.PendingList]:
    order = [checked_id(each, what="message_id") for each in checked(message_ids, list[str], what="message_ids")]
    seen = None if if_version is None else checked(if_version, str, what="if_version")
    return Call(
        method="PUT",
        path=f"{_thread(thread_id)}/pending/order",
        headers=_seen(seen),
        body=_encode({"message_ids": order}),
        decode=_as(shown.PendingList),
    )


def _seen(version: int | str | None) -> Params:
    """What the caller has seen: whichever it is now, where he does not say."""
    return {"If-Match": "*" if version is None else f'"{version}"'}


# --- schedules --------------------------------------------------------------------------------------------------------


def schedule_fields(
    *,
    message: Given | None,
    agent: str | None,
    cron: str | None,
    every_s: int | None,
    zone: str | None,
    overlap: str | None,
    missed: str | None,
    thread_id: str | None,
    metadata: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The fields of a schedule as they are sent; None is left out. Raises ValidationError for what cannot be."""
    _check_ids(thread_id=thread_id)
    given = _Scheduled(
        agent_id=agent,
        messages=None if message is None else sent_form(message),
        cron=cron,
        every_s=every_s,
        zone=zone,
        overlap=overlap,
        missed=missed,
        thread_id=thread_id,
        metadata=cast("dict[str, Any] | None", metadata),
    )
    asked = msgspec.structs.asdict(checked(given, _Scheduled, what="the schedule"))
    return {name: value for name, value in asked.items() if value is not None}


def _of_schedule(name: str) -> str:
    return f"/v1/schedules/{check_schedule_name(name)}"


def create_schedule(name: str, fields: Mapping[str, Any]) -> Call[shown.Schedule]:
    body = _encode({"name": check_schedule_name(name), **fields})
    return Call(method="POST", path="/v1/schedules", body=body, decode=_as(shown.Schedule))


def get_schedule(name: str) -> Call[shown.Schedule]:
    return Call(method="GET", path=_of_schedule(name), decode=_as(shown.Schedule))


def list_schedules(**filters: Any) -> Call[wire.Page[shown.Schedule]]:
    return _page("/v1/schedules", wire.Page[shown.Schedule], filters)


def update_schedule(name: str, fields: Mapping[str, Any]) -> Call[shown.Schedule]:
    path = _of_schedule(name)
    return Call(method="PATCH", path=path, body=_encode(fields), decode=_as(shown.Schedule))


def delete_schedule(name: str) -> Call[None]:
    return Call(method="DELETE", path=_of_schedule(name), decode=_nothing)


def pause_schedule(name: str) -> Call[shown.Schedule]:
    return Call(method="POST", path=_of_schedule(name) + "/pause", decode=_as(shown.Schedule))


def resume_schedule(name: str) -> Call[shown.Schedule]:
    return Call(method="POST", path=_of_schedule(name) + "/resume", decode=_as(shown.Schedule))


# --- the server -------------------------------------------------------------------------------------------------------


def list_agents() -> Call[wire.Page[shown.Agent]]:
    return _page("/v1/agents", wire.Page[shown.Agent], {})


def get_agent(agent_id: str) -> Call[shown.Agent]:
    return Call(method="GET", path=f"/v1/agents/{_part(agent_id, 'agent_id')}", decode=_as(shown.Agent))


def pause_agent(agent_id: str) -> Call[shown.Agent]:
    path = f"/v1/agents/{_part(agent_id, 'agent_id')}/pause"
    return Call(method="POST", path=path, decode=_as(shown.Agent))


def resume_agent(agent_id: str) -> Call[shown.Agent]:
    path = f"/v1/agents/{_part(agent_id, 'agent_id')}/resume"
    return Call(method="POST", path=path, decode=_as(shown.Agent))


def drain() -> Call[shown.Draining]:
    return Call(method="POST", path="/v1/system/drain", decode=_as(shown.Draining))


def undrain() -> Call[shown.Draining]:
    return Call(method="POST", path="/v1/system/undrain", decode=_as(shown.Draining))


def system() -> Call[shown.System]:
    return Call(method="GET", path="/v1/system", decode=_as(shown.System))


def list_settings() -> Call[wire.Page[shown.Setting]]:
    return _page("/v1/system/settings", wire.Page[shown.Setting], {})


def list_workers() -> Call[wire.Page[shown.Worker]]:
    return _page("/v1/workers", wire.Page[shown.Worker], {})


def sweep() -> Call[shown.Swept]:
    return Call(method="POST", path="/v1/system/sweep", decode=_as(shown.Swept))


def purge() -> Call[shown.Purged]:
    return Call(method="POST", path="/v1/system/purge", decode=_as(shown.Purged))


def health() -> Call[wire.Health]:
    """A server that is not ready answers 503 with the same document, so that is an answer here."""
    return Call(method="GET", path="/health", decode=_as(wire.Health), also=(503,))


def openapi() -> Call[dict[str, Any]]:
    """What the server understands and answers, as an OpenAPI document."""
    return Call(method="GET", path="/openapi.json", decode=_as(dict[str, Any]))


# --- how they are made ------------------------------------------------------------------------------------------------

_EVENT_STREAM: Final = {"Accept": "text/event-stream"}


def page_size(limit: int | None) -> int:
    """How many items to ask for at once, when at most `limit` are wanted. Raises ValidationError if that is none."""
    checked_limit(limit)
    return PAGE if limit is None else min(max(limit, 1), PAGE)


def following(call: Call[wire.Page[ResultT]], page: wire.Page[ResultT]) -> Call[wire.Page[ResultT]] | None:
    """The request for the page after this one; None after the last."""
    if not page.has_more or page.next_cursor is None:
        return None
    return msgspec.structs.replace(call, params={**call.params, "cursor": page.next_cursor})


def filters(given: Mapping[str, Any]) -> Params:
    """As query parameters: what is absent, or as it is by default, is left out; names are joined with commas.

    Raises:
        ValidationError: One of them is nothing that could be asked for.
    """
    asked = {name: value for name, value in given.items() if value is not _BY_DEFAULT.get(name)}
    metadata = checked(asked.pop("metadata", {}), dict[str, str], what="metadata")
    plain = {name: _FILTERS.get(name, str)(value) for name, value in asked.items()}
    return plain | {f"metadata.{key}": value for key, value in metadata.items()}


def instant(at: datetime | str | None) -> str | None:
    """An instant as it is sent. Raises ValidationError for what is none."""
    due = due_at(at, delay_s=0.0)
    return None if due is None else to_rfc3339(due)


def _id_filter(what: str) -> Callable[[Any], str]:
    return lambda value: checked_id(value, what=what)


def _choice(choices: Any, what: str) -> Callable[[Any], str]:
    return lambda value: checked_choice(value, get_args(choices), what=what)


def _text(what: str) -> Callable[[Any], str]:
    """A text of which the server knows more."""
    return lambda value: checked(value, str, what=what)


def _names(what: str) -> Callable[[Any], str]:
    def joined(value: Iterable[str]) -> str:
        names = chosen_names(value, what) or ()
        return ",".join(sorted([checked(name, str, what=what) for name in names]))

    return joined


def checked_cursor(cursor: Any) -> str:
    """Raises ValidationError for what no server can have given."""
    if not isinstance(cursor, str) or _CURSOR.fullmatch(cursor) is None:
        raise ValidationError(f"this is not a cursor of this server; {CURSOR_LIKE}", loc=("after",))
    return cursor


_FILTERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "agent_id": _id_filter("agent"),
    "channels": _names("channels"),
    "cursor": checked_cursor,
    "failed": lambda value: str(checked_flag(value, what="failed")).lower(),
    "force": lambda value: str(checked_flag(value, what="force")).lower(),
    "child_strategy": _choice(shown.ChildStrategy, "child_strategy"),
    "expires_before": _text("expires_before"),
    "hints": lambda value: str(checked_flag(value, what="hints")).lower(),
    "id_prefix": _text("id_prefix"),
    "include_deltas": lambda value: str(checked_flag(value, what="include_deltas")).lower(),
    "kinds": _names("kinds"),
    "kind": _choice(TicketKind, "kind"),
    "order": _choice(shown.Order, "order"),
    "parent_thread_id": _id_filter("parent_thread_id"),
    "phase": _text("phase"),
    "q": _text("q"),
    "resource_id": _id_filter("resource_id"),
    "root": lambda value: str(checked_flag(value, what="root")).lower(),
    "run_id": _id_filter("run_id"),
    "since": lambda value: checked_choice(value, ("start", "now"), what="since"),
    "state": _choice(TicketState, "state"),
    "status": _text("status"),
    "termination": _text("termination"),
    "thread_id": _id_filter("thread_id"),
    "tool_name": _text("tool_name"),
    "view": _choice(shown.MessageView, "view"),
    "visibility": _choice(shown.MessageVisibility, "visibility"),
}
"""How those are checked and written that could be something else on their way."""
_BY_DEFAULT: Final = {"include_deltas": True, "failed": False, "force": False, "root": False}
"""None for all others."""


def _target(request: RunRequest) -> tuple[str, bytes]:
    """A run on a named thread is created under it, unless the thread may have to be made."""
    body = _encode(request)
    if request.thread_id is not None and request.if_not_exists != "create":
        return f"{_thread(request.thread_id)}/runs", body
    return "/v1/runs", body


def _page(path: str, kind: type[ResultT], given: Mapping[str, Any]) -> Call[ResultT]:
    return Call(method="GET", path=path, params=filters(given), decode=_as(kind))


def _stop(path: str, kind: type[ResultT], wait_s: float) -> Call[ResultT]:
    wait_s = min(checked_seconds(wait_s, what="wait_s"), MAX_STOP_WAIT_S)
    params = {"wait_s": str(wait_s)} if wait_s > 0 else {}
    return Call(method="POST", path=path, params=params, timeout_s=wait_s if params else None, decode=_as(kind))


def _if_match(version: int | None) -> Params:
    checked_version(version)
    return {} if version is None else {"If-Match": f'"{version}"'}


def _accepted(body: bytes, status: int) -> Accepted:
    """202 for a new run, 200 for one that was accepted before."""
    return Accepted(msgspec.json.decode(body, type=shown.Run), status == 200)


def _waited(body: bytes, status: int) -> shown.Run:
    """200 holds the run with its messages; 202 the run as it is when the time ran out first."""
    if status == 200:
        return msgspec.json.decode(body, type=_Result).run
    return msgspec.json.decode(body, type=shown.Run)


class _LetterGroups(msgspec.Struct, frozen=True):
    items: list[shown.DeadLetterGroup]


class _CancelledRuns(msgspec.Struct, frozen=True):
    items: list[shown.CancelledRun]


class _Result(msgspec.Struct, frozen=True):
    run: shown.Run


def _as(kind: type[ResultT]) -> Callable[[bytes, int], ResultT]:
    decoder = msgspec.json.Decoder(kind)
    return lambda body, status: decoder.decode(body)


def _nothing(body: bytes, status: int) -> None:
    return None


def _thread(thread_id: str) -> str:
    return f"/v1/threads/{_part(thread_id, 'thread_id')}"


def _ticket(ticket_id: str) -> str:
    return f"/v1/tickets/{_part(ticket_id, 'ticket_id')}"


def _run(run_id: str) -> str:
    return f"/v1/runs/{_part(run_id, 'run_id')}"


def _part(id: str, what: str) -> str:
    """An id as part of a path, which it cannot change."""
    return quote(checked_id(id, what=what), safe="")


def _check_ids(**ids: str | None) -> None:
    for what, id in ids.items():
        if id is not None:
            checked_id(id, what=what)


def _metadata(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return cast("dict[str, Any]", {} if given is None else given)
