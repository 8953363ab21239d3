"""Operations: what an application offers, as values; and `Call`, one request on its way through one of them.

Above: whoever builds an application hands it operations, those of `table` and of each protocol; routing, checking and
the OpenAPI document all come from what was handed over. Below: handlers, which see typed input and answer with a
response or raise.
Holds: a handler cannot change anything but through a method of the mailbox; of the store it has the reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.clock import Clock
from awaken.domain.errors import ValidationError
from awaken.domain.ids import RunId, Scope, ThreadId, checked_id
from awaken.domain.run import Trace
from awaken.domain.traceparent import read_traceparent
from awaken.http.auth import Caller
from awaken.http.body import Receive
from awaken.http.connection import while_connected
from awaken.http.problems import Problem
from awaken.http.query import Query
from awaken.http.settings import HttpSettings, Source
from awaken.http.sse import Streams
from awaken.http.submission import Body
from awaken.http.wire import Component, ProblemDocument
from awaken.mailbox.service import Mailbox
from awaken.store.contract import Reads
from awaken.telemetry.stats import Stats

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
"""HEAD is answered wherever GET is."""

_JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode

T = TypeVar("T")
Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body)
Rendering = Callable[[], bytes | Awaitable[bytes]]
"""Writes out the metrics; it may ask the store for some of them."""


class Service:
    """What the handlers of one application work with."""

    def __init__(
        self,
        mailbox: Mailbox,
        reads: Reads,
        scope: Scope,
        settings: HttpSettings,
        streams: Streams,
        *,
        metrics: Rendering | None,
        stats: Stats | None,
        describe: Callable[[str], bytes],
    ) -> None:
        self.mailbox = mailbox
        self.reads = reads
        self.scope = scope
        self.settings = settings
        self.streams = streams
        self.metrics = metrics
        self.stats = stats
        self.describe = describe
        """The OpenAPI document for a server at a path."""
        self.store_seen: tuple[float, Component] | None = None
        """What the store last answered a health check, and when."""
        self.kept: dict[Any, Any] = {}
        """What the operations of other protocols keep between requests, by a name of theirs; they bound it."""
        self.is_leaving = False
        """This server will stop: nothing new should be sent here, and what is sent is answered."""
        self.adapters: tuple[str, ...] = ()
        """The protocols that it speaks besides its own."""
        self.sources: Mapping[str, Source] = {}
        """Of the settings that the command which serves this has chosen, by `http.` or `mailbox.` and their name."""
        self.on_loopback: bool | None = None
        """Whether only this machine reaches it, where that is known."""

    @property
    def clock(self) -> Clock:
        return self.mailbox.clock


class Call:
    """One request whose operation is known and whose query and body have been checked."""

    __slots__ = ("_body", "_query", "caller", "headers", "ids", "receive", "request_id", "root_path", "service")

    def __init__(
        self,
        service: Service,
        *,
        ids: Mapping[str, str],
        headers: Mapping[bytes, bytes],
        query: Query,
        body: Body | None,
        receive: Receive,
        request_id: str,
        root_path: str,
        caller: Caller,
    ) -> None:
        self.service = service
        self.ids = ids
        self.headers = headers
        self._query = query
        self._body = body
        self.receive = receive
        self.request_id = request_id
        self.root_path = root_path
        self.caller = caller

    @property
    def mailbox(self) -> Mailbox:
        return self.service.mailbox

    @property
    def reads(self) -> Reads:
        return self.service.reads

    @property
    def scope(self) -> Scope:
        """Whose data it sees."""
        return self.caller.scope

    @property
    def thread_id(self) -> ThreadId:
        """The thread in the path. Raises ValidationError when it cannot be an id."""
        return ThreadId(self.path_id("thread_id"))

    @property
    def run_id(self) -> RunId:
        """The run in the path. Raises ValidationError when it cannot be an id."""
        return RunId(self.path_id("run_id"))

    def path_id(self, name: str) -> str:
        """The parameter of the path with this name. Raises ValidationError when it cannot be an id."""
        text = self.ids[name]
        try:
            return checked_id(text, what=name)
        except ValidationError as error:
            raise ValidationError(str(error), code=error.code, loc=("path", name)) from None

    def query(self, type: type[Q]) -> Q:
        assert isinstance(self._query, type), "the table names the type the handler reads"
        return self._query

    def body(self, type: type[B]) -> B:
        assert isinstance(self._body, type), "the table names the type the handler reads"
        return self._body

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def trace(self, trace: Trace) -> Trace:
        """With who asked, and where in a trace."""
        traceparent = read_traceparent(self.header(b"traceparent"))
        if self.caller.id is None and traceparent is None:
            return trace
        return replace(trace, caller=self.caller.id, traceparent=traceparent)

    def link(self, *segments: str) -> str:
        """A path of this API as a client reaches it, mounted or not; safe to put into a header."""
        return quote(self.root_path) + "".join(["/" + quote(segment, safe=":@") for segment in segments])

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns; it is cancelled when the client goes first, and ClientGone raised."""
        return await while_connected(self.receive, work)


Handler = Callable[[Call], Awaitable[Response]]


class ErrorRenderer(msgspec.Struct, frozen=True):
    """The form in which a group of operations reports errors."""

    render: Callable[[Problem, str], Response]
    """The answer to a request, from what is wrong and the request's id."""
    media_type: str
    document: Any
    """The type of what it writes, for the OpenAPI document."""


PROBLEM_DOCUMENTS: Final = ErrorRenderer(Problem.to_response, "application/problem+json", ProblemDocument)
"""The form of this API."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path template. `answers` maps each good status to its JSON type or its media type, or to None
    where the answer has no content.

    Raises:
        ValidationError: A GET is to have a body.
    """

    method: Method
    path: str
    id: str
    summary: str
    handler: Handler
    query: type[Query] = Query
    body: type[Body] | None = None
    """With any method but GET. One in which nothing is required may be left out, which means `{}`; where there is none,
    one with fields is refused."""
    answers: Mapping[int, Any]
    problems: tuple[str, ...] = ()
    """Codes of its own; those that any operation may answer with are added."""
    carries_messages: bool = False
    """Its body may be as large as attachments are."""
    may_stream: bool = False
    """It answers with JSON or with a stream, as the request says, whatever `Accept` does."""
    always_answers: bool = False
    """Before the mailbox is ready, and while it stops, too."""
    errors: ErrorRenderer = PROBLEM_DOCUMENTS

    def __post_init__(self) -> None:
        if self.method == "GET" and self.body is not None:
            raise ValidationError(f"{self.id}: what a GET asks for is in its address, so it takes no body")

    @property
    def streams(self) -> bool:
        return "text/event-stream" in self.answers.values()

    @property
    def needs_body(self) -> bool:
        """It cannot be asked without one."""
        return self.body is not None and any(field.required for field in msgspec.structs.fields(self.body))

    @property
    def refuses_fields(self) -> bool:
        """It takes no body, and says so to whoever sends one; clients of other protocols are passed over."""
        return self.mutates and self.body is None and not self.query.passes_over

    @property
    def mutates(self) -> bool:
        return self.method != "GET"

    @property
    def may_be_shared(self) -> bool:
        """Whether those who ask the same may get one answer: it reads, is small, and is of the store."""
        return self.media_type == _JSON and not self.mutates and not self.always_answers

    @property
    def media_type(self) -> str | None:
        """What a good answer is made of; None when it has no content, or when that is for the request to say."""
        if self.may_stream:
            return None
        made = next(iter(self.answers.values()))
        return made if made is None or isinstance(made, str) else _JSON


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encode(value), status, headers, media_type=_JSON)


def not_offered(what: str) -> Problem:
    """A 404 for a path that exists only in other configurations."""
    return Problem("not_found", f"this server has no {what}", facts={"id": what})
