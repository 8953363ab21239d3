"""The HTTP API as values: each function builds a request, with the way its answer is read. No I/O.

Above: the two transports send a `Call` and hand the answer to `read`. Below: `wire.py` and `errors.py`.
Holds: a run is always created under an id that this side chose, so that sending the request again, after a connection
that broke before the answer, finds the run instead of making another.

Source: `docs/reference/http.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote

import msgspec

from awaken.client import wire
from awaken.client.errors import error_of
from awaken.domain.errors import RemoteProtocolError
from awaken.domain.ids import Ids

ResultT = TypeVar("ResultT")
Params = Mapping[str, str]
Input = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""A text, one message, or several, as the API takes them: `{"role": "user", "content": …}`."""

MAX_WAIT_S: Final = 60.0
"""How long one request may wait for a run; a longer wait is several. The server allows 300 s, proxies often less."""
STOP_WAIT_S: Final = 30.0
"""The server's own bound for `wait=true`."""
_encode: Final = msgspec.json.Encoder().encode


class Call(msgspec.Struct, Generic[ResultT], frozen=True, kw_only=True):
    """One request. `decode` reads the body of a 2xx answer, and of the statuses in `also`."""

    method: str
    path: str
    decode: Callable[[bytes], ResultT]
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
    after_seconds: float | None = None
    priority: int | None = None
    max_attempts: int | None = None
    metadata: dict[str, Any] = {}
    if_not_exists: str | None = None


class ThreadOptions(TypedDict, total=False):
    """What may be given with a new thread."""

    thread_id: str | None
    title: str | None
    metadata: Mapping[str, Any] | None
    resource_id: str | None
    parent_thread_id: str | None
    messages: Sequence[Mapping[str, Any]]
    """Part of the conversation from its start; no run answers them."""
    if_exists: Literal["raise", "do_nothing"]


class RunOptions(TypedDict, total=False):
    """What may be given with a new run, besides its input."""

    agent_id: str | None
    """None: the thread's last agent, else the only one there is."""
    thread_id: str | None
    """None: a new thread."""
    create_thread: bool
    """False: a `thread_id` that does not exist is an error. True by default."""
    run_id: str | None
    """Chosen here when absent; the same id with the same content is the same run."""
    dedupe_key: str | None
    after_seconds: float | None
    priority: int | None
    max_attempts: int | None
    metadata: Mapping[str, Any] | None


class Waited(msgspec.Struct, frozen=True):
    """A wait that ended: the result, or the run as it is when the time ran out first."""

    run: wire.Run
    result: wire.RunResult | None


def read(call: Call[ResultT], status: int, body: bytes) -> ResultT:
    """The answer's value.

    Raises:
        AwakenError: The error that the answer stands for.
        RemoteProtocolError: The answer is not what the API promises.
    """
    if status not in call.also and not 200 <= status < 300:
        raise error_of(status, body)
    try:
        return call.decode(body)
    except msgspec.MsgspecError as error:
        raise RemoteProtocolError(f"{call.method} {call.path}: the answer is something else: {error}") from error


def messages_of(content: Input) -> list[dict[str, Any]]:
    """What was given, as the list of messages the API takes."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    if isinstance(content, Mapping):
        return [dict(content)]
    return [dict(message) for message in content]


# --- threads ----------------------------------------------------------------------------------------------------------


def create_thread(**members: Unpack[ThreadOptions]) -> Call[wire.Thread]:
    body = {name: value for name, value in members.items() if value is not None}
    return Call(method="POST", path="/v1/threads", body=_encode(body), decode=_as(wire.Thread))


def get_thread(thread_id: str) -> Call[wire.Thread]:
    return Call(method="GET", path=f"/v1/threads/{_part(thread_id)}", decode=_as(wire.Thread))


def list_threads(**filters: Any) -> Call[wire.Page[wire.Thread]]:
    return _page("/v1/threads", wire.Page[wire.Thread], filters)


def list_messages(thread_id: str, **filters: Any) -> Call[wire.Page[wire.Message]]:
    return _page(f"/v1/threads/{_part(thread_id)}/messages", wire.Page[wire.Message], filters)


def cancel_thread(thread_id: str, *, wait: bool = False) -> Call[wire.Cancellation]:
    return _stop(f"/v1/threads/{_part(thread_id)}/cancel", wire.Cancellation, wait)


def interrupt(thread_id: str, *, wait: bool = False) -> Call[wire.Interruption]:
    return _stop(f"/v1/threads/{_part(thread_id)}/interrupt", wire.Interruption, wait)


# --- runs -------------------------------------------------------------------------------------------------------------


def run_request(ids: Ids, content: Input, **options: Unpack[RunOptions]) -> RunRequest:
    """The body for a new run, with an id of its own."""
    thread_id = options.get("thread_id")
    creates = thread_id is not None and options.get("create_thread", True)
    return RunRequest(
        messages=messages_of(content),
        run_id=options.get("run_id") or ids.run_id(),
        agent_id=options.get("agent_id"),
        thread_id=thread_id,
        dedupe_key=options.get("dedupe_key"),
        after_seconds=options.get("after_seconds"),
        priority=options.get("priority"),
        max_attempts=options.get("max_attempts"),
        metadata=dict(options.get("metadata") or {}),
        if_not_exists="create" if creates else None,
    )


def create_run(request: RunRequest) -> Call[wire.Run]:
    path, body = _target(request)
    return Call(method="POST", path=path, body=body, decode=_as(wire.Run))


def create_run_and_wait(request: RunRequest, *, timeout_s: float) -> Call[Waited]:
    path, body = _target(request)
    return Call(
        method="POST",
        path=f"{path}/wait",
        params={"timeout_s": _plain(timeout_s)},
        body=body,
        timeout_s=timeout_s,
        decode=_waited,
    )


def create_run_and_stream(request: RunRequest, params: Params) -> Call[None]:
    path, body = _target(request)
    return Call(method="POST", path=f"{path}/stream", params=params, headers=_EVENT_STREAM, body=body, decode=_nothing)


def get_run(run_id: str) -> Call[wire.Run]:
    return Call(method="GET", path=f"/v1/runs/{_part(run_id)}", decode=_as(wire.Run))


def list_runs(*, thread_id: str | None = None, **filters: Any) -> Call[wire.Page[wire.Run]]:
    path = "/v1/runs" if thread_id is None else f"/v1/threads/{_part(thread_id)}/runs"
    return _page(path, wire.Page[wire.Run], filters)


def wait_run(run_id: str, *, timeout_s: float) -> Call[Waited]:
    return Call(
        method="GET",
        path=f"/v1/runs/{_part(run_id)}/wait",
        params={"timeout_s": _plain(timeout_s)},
        timeout_s=timeout_s,
        decode=_waited,
    )


def watch_run(run_id: str, params: Params) -> Call[None]:
    return Call(
        method="GET", path=f"/v1/runs/{_part(run_id)}/stream", params=params, headers=_EVENT_STREAM, decode=_nothing
    )


def watch_thread(thread_id: str, params: Params) -> Call[None]:
    return Call(
        method="GET",
        path=f"/v1/threads/{_part(thread_id)}/events/stream",
        params=params,
        headers=_EVENT_STREAM,
        decode=_nothing,
    )


def cancel_run(run_id: str, *, wait: bool = False) -> Call[wire.Cancellation]:
    return _stop(f"/v1/runs/{_part(run_id)}/cancel", wire.Cancellation, wait)


def list_dispatches(run_id: str, **filters: Any) -> Call[wire.Page[wire.Dispatch]]:
    return _page(f"/v1/runs/{_part(run_id)}/dispatches", wire.Page[wire.Dispatch], filters)


def list_run_events(run_id: str, **filters: Any) -> Call[wire.Page[wire.Event]]:
    return _page(f"/v1/runs/{_part(run_id)}/events", wire.Page[wire.Event], filters)


def list_thread_events(thread_id: str, **filters: Any) -> Call[wire.Page[wire.Event]]:
    return _page(f"/v1/threads/{_part(thread_id)}/events", wire.Page[wire.Event], filters)


# --- the server -------------------------------------------------------------------------------------------------------


def list_agents() -> Call[wire.Page[wire.Agent]]:
    return _page("/v1/agents", wire.Page[wire.Agent], {})


def get_agent(agent_id: str) -> Call[wire.Agent]:
    return Call(method="GET", path=f"/v1/agents/{_part(agent_id)}", decode=_as(wire.Agent))


def health() -> Call[wire.Health]:
    """A server that is not ready answers 503 with the same document, so that is an answer here."""
    return Call(method="GET", path="/health", decode=_as(wire.Health), also=(503,))


# --- how they are made ------------------------------------------------------------------------------------------------

_EVENT_STREAM: Final = {"Accept": "text/event-stream"}


def following(call: Call[wire.Page[ResultT]], page: wire.Page[ResultT]) -> Call[wire.Page[ResultT]] | None:
    """The request for the page after this one; None after the last."""
    if not page.has_more or page.next_cursor is None:
        return None
    return msgspec.structs.replace(call, params={**call.params, "cursor": page.next_cursor})


def filters(given: Mapping[str, Any]) -> Params:
    """As query parameters: None is left out, a list is joined with commas."""
    return {name: _plain(value) for name, value in given.items() if value is not None}


def _target(request: RunRequest) -> tuple[str, bytes]:
    """A run on a named thread is created under it, unless the thread may have to be made."""
    body = _encode(request)
    if request.thread_id is not None and request.if_not_exists != "create":
        return f"/v1/threads/{_part(request.thread_id)}/runs", body
    return "/v1/runs", body


def _page(path: str, kind: type[ResultT], given: Mapping[str, Any]) -> Call[ResultT]:
    return Call(method="GET", path=path, params=filters(given), decode=_as(kind))


def _stop(path: str, kind: type[ResultT], wait: bool) -> Call[ResultT]:
    params = {"wait": "true"} if wait else {}
    return Call(method="POST", path=path, params=params, timeout_s=STOP_WAIT_S if wait else None, decode=_as(kind))


def _waited(body: bytes) -> Waited:
    document = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if "run" in document:
        result = msgspec.json.decode(body, type=wire.RunResult)
        return Waited(result.run, result)
    return Waited(msgspec.json.decode(body, type=wire.Run), None)


def _as(kind: type[ResultT]) -> Callable[[bytes], ResultT]:
    return msgspec.json.Decoder(kind).decode


def _nothing(body: bytes) -> None:
    return None


def _part(id: str) -> str:
    return quote(id, safe="")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(str(item) for item in cast(list[Any], value))
    return str(value)
