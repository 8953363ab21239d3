"""The ASGI application: limits and guards, then one operation, then one answer or one problem.

Above: `awaken serve`, or the application this one is mounted in; either of them enters the mailbox. Below: the
operations it is built from, and their handlers.
Holds: every request gets exactly one answer, every answer a request id. What nobody foresaw is logged, and answered as
`internal`. Until the mailbox is ready, and while it stops, only health answers. A server that will stop sends its
clients away before it turns anything down.

Source: docs/reference/http.md; SRV-006, SRV-007, SRV-029, SRV-030.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from awaken.domain.errors import Forbidden, Unauthorized, Unavailable, ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, Scope
from awaken.http import guards
from awaken.http.auth import Caller, caller_of
from awaken.http.body import ClientGone, parse_object, read_body
from awaken.http.forwarded import Proxies
from awaken.http.observer import HttpObserver, Refusal, Uncounted
from awaken.http.openapi import describe
from awaken.http.operation import Call, Operation, Rendering, Service
from awaken.http.origins import Origins
from awaken.http.problems import Problem, problem_of, shape_problem
from awaken.http.query import parse_query
from awaken.http.router import Router
from awaken.http.settings import HttpSettings
from awaken.http.sharing import SharedAnswers, patience_of
from awaken.http.sse import Streams
from awaken.http.submission import Body
from awaken.mailbox.service import Mailbox
from awaken.store.contract import Reads
from awaken.telemetry.stats import Stats

_log = logging.getLogger("awaken.http")

UNMATCHED: Final = "unmatched"
PREFLIGHT: Final = "preflight"
_CLIENT_GONE: Final = 499
"""What is counted for a request whose client left before its answer."""

_REASONS: Final[dict[type[Exception], Refusal]] = {Unauthorized: "unauthorized", Forbidden: "forbidden"}
"""Why `authorize` lets nobody in; whatever else it raises is its own failure."""


def build_app(
    mailbox: Mailbox,
    reads: Reads,
    operations: Iterable[Operation],
    *,
    settings: HttpSettings | None = None,
    metrics: Rendering | None = None,
    stats: Stats | None = None,
    observer: HttpObserver | None = None,
    scope: Scope = DEFAULT_SCOPE,
) -> HttpApp:
    """What the operations offer, over a mailbox, which somebody else enters and leaves, and reads of its store.

    `metrics` renders what `/metrics` shows, `stats` has counted what `/v1/stats` does. Every request has `scope`,
    unless the settings' `authorize` finds another.

    Raises:
        ValidationError: Two operations could be taken for one another.
    """
    return HttpApp(
        mailbox,
        reads,
        tuple(operations),
        settings or HttpSettings(),
        metrics,
        stats,
        observer or Uncounted(),
        scope,
    )


class HttpApp:
    """An ASGI application. May be mounted below any path; its links follow."""

    def __init__(
        self,
        mailbox: Mailbox,
        reads: Reads,
        operations: tuple[Operation, ...],
        settings: HttpSettings,
        metrics: Rendering | None,
        stats: Stats | None,
        observer: HttpObserver,
        scope: Scope,
    ) -> None:
        streams = Streams(mailbox.clock, settings, observer)

        @lru_cache(maxsize=8)
        def described(server_path: str) -> bytes:
            return describe(operations, server_path)

        self.service = Service(
            mailbox, reads, scope, settings, streams, metrics=metrics, stats=stats, describe=described
        )
        self._authorize = settings.authorize
        self._anybody = Caller(scope)
        self._mailbox = mailbox
        self._settings = settings
        self._observer = observer
        self._router = Router(operations)
        self._proxies = Proxies(settings)
        self._origins = Origins(settings)
        self._gate = _Gate(settings)
        self._shared = SharedAnswers(mailbox.clock)
        self._durability = reads.capabilities.durability.encode()

    def prepare_to_stop(self) -> None:
        """Send clients elsewhere. Everything they ask is still answered, until the mailbox is left.

        From now on `/health/ready` answers 503 `stopping`, and each answer closes its connection. Streams that are open
        end without `stream.end`, so that clients resume; one that is opened later ends so when the mailbox is left.
        """
        self.service.is_leaving = True
        self.service.streams.cut()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await _nothing_to_start(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it by its route."""
        clock = self._mailbox.clock
        started_s = clock.monotonic()
        headers = _headers(scope["headers"])
        scope, forwarded_host = self._proxies.seen_through(scope, headers)
        request_id = guards.request_id_of(headers) or self._mailbox.ids.mint()
        exchange = _Exchange(scope, receive, headers, request_id, forwarded_host)
        self._observer.request_started()
        try:
            response = await self._answer(exchange)
            self._finish(exchange, response)
            await response(scope, receive, send)
        except (ClientGone, OSError):
            exchange.status = exchange.status or _CLIENT_GONE
        finally:
            self._gate.leave(exchange)
            took_s = clock.monotonic() - started_s
            self._observer.request_ended(scope["method"], exchange.route, exchange.status or _CLIENT_GONE, took_s)
            if _log.isEnabledFor(logging.DEBUG):
                client = (scope.get("client") or ("-",))[0]
                what = (client, exchange.method, exchange.route, exchange.status, took_s * 1000)
                _log.debug("%s %s %s: %d in %.1f ms", *what)

    async def _answer(self, exchange: _Exchange) -> Response:
        try:
            guards.check_size(exchange.scope, self._settings)
            self._origins.check(exchange.scope, exchange.headers, exchange.forwarded_host)
            preflight = self._origins.preflight(exchange.method, exchange.headers)
            if preflight is not None:
                exchange.route = PREFLIGHT
                return preflight
            operation = self._admit(exchange)
            caller = await self._caller(operation, exchange)
            call = await self._call(operation, exchange, caller)
            answer = partial(operation.handler, call)
            if exchange.patience_s:
                key = (caller.scope, call.root_path, exchange.scope["path"], exchange.scope["query_string"])
                return await self._shared.answer(key, exchange.patience_s, answer)
            return await answer()
        except ClientGone:
            raise
        except Exception as error:
            operation = exchange.operation
            errors = self._router.errors_at(_route_path(exchange.scope)) if operation is None else operation.errors
            problem = problem_of(error)
            if isinstance(error, ValidationError) and operation is not None:
                problem = problem.within("query" if operation.body is None else "body")
            return errors.render(problem, exchange.request_id)

    def _admit(self, exchange: _Exchange) -> Operation:
        """Everything else that can be refused before the body is read, cheapest first."""
        operation, exchange.ids = self._router.find(exchange.method, _route_path(exchange.scope))
        exchange.operation = operation
        exchange.route = operation.path
        if not operation.always_answers:
            self._require_ready()
            self._gate.enter(exchange)
        if operation.media_type is not None:
            guards.check_accept(exchange.headers, operation.media_type)
        return operation

    def _require_ready(self) -> None:
        self._mailbox.check_loop()
        state = self._mailbox.state
        if state != "ready":
            code = "stopping" if state in ("stopping", "stopped") else "starting"
            why = f"this server is {code}; try again shortly"
            if state == "new":  # for ever, where nobody does it
                why = "nobody has started this server; enter it in the lifespan of what serves it: `async with app:`"
            raise Unavailable(why, code=code)

    async def _caller(self, operation: Operation, exchange: _Exchange) -> Caller:
        """Who asks. Health is asked by whatever keeps the server alive, which is nobody in particular."""
        if self._authorize is None or operation.always_answers:
            return self._anybody
        try:
            return await caller_of(exchange.scope, self._authorize)
        except Exception as error:
            self._observer.turned_away(_REASONS.get(type(error), "error"))
            raise

    async def _call(self, operation: Operation, exchange: _Exchange, caller: Caller) -> Call:
        scope = exchange.scope
        query = parse_query(scope["query_string"], operation.query)
        if operation.may_be_shared and not query.waits and b"if-none-match" not in exchange.headers:
            exchange.patience_s = patience_of(exchange.headers)
        if query.waits or exchange.patience_s:
            self._gate.stand_aside(exchange)
        body = await self._body(operation, exchange)
        return Call(
            self.service,
            ids=exchange.ids,
            headers=exchange.headers,
            query=query,
            body=body,
            receive=exchange.receive,
            request_id=exchange.request_id,
            root_path=self._origins.root_path(scope),
            caller=caller,
        )

    async def _body(self, operation: Operation, exchange: _Exchange) -> Body | None:
        """None where the operation has none. A field of one that was sent all the same is refused: what was meant by it
        would not happen. Where one may be left out, it needs a type only when something was sent."""
        if operation.body is None and not operation.refuses_fields:
            return None
        type = operation.body or Body
        settings = self._settings
        if operation.needs_body:
            guards.check_content_type(exchange.headers)
        limit = settings.max_run_body_bytes if operation.carries_messages else settings.max_body_bytes
        declared = exchange.headers.get(b"content-length")
        length = None if declared is None else declared.decode("latin-1")
        raw = await read_body(exchange.receive, limit, length, type.when_too_large)
        if not operation.needs_body and raw:
            guards.check_content_type(exchange.headers)
        value: dict[str, Any] = {}
        if raw or operation.needs_body:
            value = parse_object(raw, max_depth=settings.max_json_depth, list_field=type.list_field)
        try:
            return type.read(value)
        except msgspec.ValidationError as error:
            raise shape_problem(error, "body", type, value) from error
        except ValidationError as error:
            raise problem_of(error) from error

    def _finish(self, exchange: _Exchange, response: Response) -> None:
        """What every answer carries."""
        exchange.status = response.status_code
        self._origins.mark(response, exchange.headers)
        response.raw_headers.append((b"x-request-id", exchange.request_id.encode()))
        response.raw_headers.append((b"x-content-type-options", b"nosniff"))
        operation = exchange.operation
        if operation is not None and operation.mutates and response.status_code < 300:
            response.raw_headers.append((b"awaken-durability", self._durability))
        if self.service.is_leaving:
            response.raw_headers = [header for header in response.raw_headers if header[0] != b"connection"]
            response.raw_headers.append((b"connection", b"close"))
        if exchange.method == "HEAD":
            response.body = b""


class _Exchange:
    """What is known about one request so far."""

    __slots__ = (
        "forwarded_host", "headers", "ids", "method", "operation", "patience_s", "place", "receive", "request_id",
        "route", "scope", "status",
    )  # fmt: skip

    def __init__(
        self,
        scope: AsgiScope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        request_id: str,
        forwarded_host: str | None,
    ) -> None:
        self.scope = scope
        self.forwarded_host = forwarded_host
        self.receive = receive
        self.headers = headers
        self.request_id = request_id
        self.method: str = scope["method"]
        self.route = UNMATCHED
        self.operation: Operation | None = None
        self.ids: Mapping[str, str] = {}
        self.status = 0
        self.patience_s = 0
        """How much longer its answer may take, so that others can share it."""
        self.place: _Room | None = None


class _Room:
    """A bounded number of requests at a time."""

    __slots__ = ("inside", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0


class _Gate:
    """Keeps what lasts, streams and requests that wait for something to happen, and what is answered at once each
    within their bound: however many wait, there is room for what they wait for.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._requests = _Room(settings.max_requests)
        self._streams = _Room(settings.max_streams)
        self._headers = {"Retry-After": str(settings.retry_after_s)}
        self._facts = {"retry_after_s": settings.retry_after_s}

    def enter(self, exchange: _Exchange) -> None:
        """Raises Problem `overloaded` or `too_many_streams`."""
        streams = exchange.operation is not None and exchange.operation.streams and exchange.method != "HEAD"
        self._enter(exchange, self._streams if streams else self._requests)

    def stand_aside(self, exchange: _Exchange) -> None:
        """Go from the requests to the streams. Raises Problem `too_many_streams`."""
        self.leave(exchange)
        self._enter(exchange, self._streams)

    def _enter(self, exchange: _Exchange, room: _Room) -> None:
        if room.inside >= room.limit:
            code, what = "overloaded", "requests are being answered"
            if room is self._streams:
                code, what = "too_many_streams", "streams are open, or requests wait,"
            raise Problem(code, f"{room.limit} {what} already", facts=self._facts, headers=self._headers)
        room.inside += 1
        exchange.place = room

    def leave(self, exchange: _Exchange) -> None:
        if exchange.place is not None:
            exchange.place.inside -= 1
            exchange.place = None


def _headers(raw: list[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """By lower-case name, as ASGI has them; repeated ones joined by commas."""
    headers = dict(raw)
    if len(headers) != len(raw):
        headers = {}
        for name, value in raw:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _route_path(scope: AsgiScope) -> str:
    """The path below the place where this application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path


async def _nothing_to_start(receive: Receive, send: Send) -> None:
    """The lifespan of the server is not this application's: whoever built it enters the mailbox."""
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
