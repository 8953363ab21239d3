"""What LangGraph's clients send, and the form of an error: bodies and queries as types.

Above: the handlers. Below: `protocols.body`, and `messages` for what stands in an input.
Holds: a field that means nothing here is passed over where leaving it out changes nothing, and refused by name where a
client would wait for something that never comes.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, cast

import msgspec
from msgspec import Meta
from starlette.responses import Response

from awaken.domain.errors import ValidationError
from awaken.domain.message import Message, Role
from awaken.domain.run import ClientTool, Limits, OnCompletion, OnDisconnect
from awaken.http.operation import ErrorRenderer
from awaken.http.problems import Problem
from awaken.http.query import Query
from awaken.http.settings import MAX_BATCH_RUNS, MAX_CANCELLED_RUNS, MAX_METADATA_KEYS
from awaken.protocols.body import DialectBody
from awaken.protocols.langgraph.encoder import MODES, Mode
from awaken.protocols.langgraph.messages import sent_messages

MAX_SEARCH: Final = 1000
"""Rows in one answer."""
MAX_OFFSET: Final = 10_000
"""How far a search is paged by counting: what lies behind is found with filters."""
JOINED: Final[frozenset[Mode]] = frozenset({"values", "updates", "messages-tuple", "custom"})
"""The modes of a stream that is joined, where its client names none."""

Metadata = Annotated[dict[str, Any], Meta(max_length=MAX_METADATA_KEYS)]
RunStatus = Literal["pending", "running", "error", "success", "timeout", "interrupted"]
ThreadStatus = Literal["idle", "busy", "interrupted", "error"]
Limit = Annotated[int, Meta(ge=1, le=MAX_SEARCH)]
Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET)]
SortOrder = Literal["asc", "desc"]
Strategy = Literal["enqueue", "reject", "interrupt", "rollback"]
Sent = list[str] | str | bool | None
"""What may be a name, several, or all of them."""


class ErrorBody(msgspec.Struct, frozen=True):
    """An error. `error` and `message` say the same for clients of the streaming protocol."""

    detail: str
    code: str
    error: str
    message: str


def _render(problem: Problem, request_id: str) -> Response:
    told = ErrorBody(problem.detail, problem.code, problem.code, problem.detail)
    return Response(msgspec.json.encode(told), problem.status, problem.headers, media_type="application/json")


ERRORS: Final = ErrorRenderer(_render, "application/json", ErrorBody)


def refused(name: str, why: str, *, where: str = "body") -> ValidationError:
    """What is asked for by this name cannot be had here, and leaving it out would mislead."""
    return ValidationError(f"{name}: {why}", loc=(where, *name.split(".")))


# --- runs -------------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says to a graph that waits."""

    resume: Any = msgspec.UNSET
    update: Any = None
    goto: Any = None


class RunBody(DialectBody, frozen=True, kw_only=True):
    """A run. `assistant_id` or `agent_id` is an agent's name, or the id of its assistant."""

    assistant_id: str | None = None
    agent_id: str | None = None
    thread_id: str | None = None
    input: Any = None
    messages: Any = None
    command: Command | None = None
    config: dict[str, Any] | None = None
    context: Any = None
    metadata: Metadata | None = None
    stream_mode: list[str] | str | None = None
    on_disconnect: OnDisconnect | None = None
    on_completion: OnCompletion | None = None
    multitask_strategy: Strategy | None = None
    if_not_exists: Literal["create", "reject"] | None = None
    after_seconds: Annotated[float, Meta(ge=0)] | None = None
    webhook: str | None = None
    interrupt_before: Sent = None
    interrupt_after: Sent = None
    feedback_keys: list[str] | None = None
    checkpoint: dict[str, Any] | None = None
    checkpoint_id: str | None = None

    def check(self) -> None:
        """Raises ValidationError for what is asked for and could not be done."""
        if self.webhook:
            raise refused("webhook", "none is called here; wait for the run, or follow its thread")
        for name in ("interrupt_before", "interrupt_after", "feedback_keys"):
            if getattr(self, name):
                raise refused(name, "it is about the nodes of a graph, which an agent here has not; leave it out")
        if self.command is not None:
            if self.input is not None:
                raise refused("command", "a run has it or an input, not both")
            for name in ("update", "goto"):
                if getattr(self.command, name) is not None:
                    raise refused(f"command.{name}", "it is about the nodes of a graph; send resume, or an input")

    @property
    def named_agent(self) -> str | None:
        return self.assistant_id or self.agent_id

    @property
    def resumes(self) -> bool:
        return self.command is not None and self.command.resume is not msgspec.UNSET

    @property
    def checkpoint_named(self) -> tuple[str, str] | None:
        """The checkpoint that the run is to go on from, where one is named: by what, and its id."""
        for name, held in (("checkpoint", self.checkpoint), ("config", (self.config or {}).get("configurable"))):
            named: Any = cast(dict[str, Any], held).get("checkpoint_id") if isinstance(held, dict) else None
            if isinstance(named, str) and named:
                return name, named
        return ("checkpoint_id", self.checkpoint_id) if self.checkpoint_id else None

    def check_input(self) -> None:
        """Raises ValidationError for an input that nobody could answer."""
        messages, state = self.given()
        if not messages and state is None:
            return
        if not any([each.role in (Role.USER, Role.TOOL) for each in messages]):
            raise refused("input", "it brings no message of a user; keys beside `messages` change the state with one")

    def given(self) -> tuple[tuple[Message, ...], dict[str, Any] | None]:
        """The messages of the input, and what of it is the thread's state. Raises ValidationError."""
        sent: Any = self.input
        if sent is None and self.messages is not None:
            return sent_messages(self.messages, "body", "messages"), None
        if sent is None:
            return (), None
        if not isinstance(sent, dict):
            return sent_messages(sent, "body", "input"), None
        fields = {**cast(dict[str, Any], sent)}
        messages = sent_messages(fields.pop("messages", None) or [], "body", "input", "messages")
        return messages, fields or None

    def overrides(self) -> dict[str, Any] | None:
        """What the run's driver is told: `config.configurable` and `context`, as they are."""
        found: dict[str, Any] = {}
        configurable: Any = (self.config or {}).get("configurable")
        if isinstance(configurable, dict):
            own = {name: value for name, value in cast(dict[str, Any], configurable).items() if name not in _PLACES}
            if own:
                found["configurable"] = own
        if self.context:
            found["context"] = self.context
        return found or None

    def client_tools(self) -> tuple[ClientTool, ...]:
        """Tools that the client carries out, in `config.configurable.client_tools`: a word of this server's own. Raises
        ValidationError.
        """
        configurable: Any = (self.config or {}).get("configurable")
        sent: Any = cast(dict[str, Any], configurable).get(_TOOLS) if isinstance(configurable, dict) else None
        try:
            return () if sent is None else msgspec.convert(sent, tuple[ClientTool, ...])
        except msgspec.ValidationError as error:
            raise ValidationError(
                f"client tools have a name, a description and parameters: {error}",
                loc=("body", "config", "configurable", _TOOLS),
            ) from error

    def limits(self) -> Limits | None:
        steps: Any = (self.config or {}).get("recursion_limit")
        return Limits(max_steps=steps) if type(steps) is int and steps > 0 else None

    def modes(self) -> frozenset[Mode]:
        return modes_of(self.stream_mode, frozenset({"values"}))


_TOOLS: Final = "client_tools"
_PLACES: Final = frozenset({_TOOLS, "thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "run_id"})
"""Keys of `config.configurable` that say nothing to the agent's driver."""


class Batch(DialectBody, frozen=True, kw_only=True):
    """Several runs, as an array."""

    list_field: ClassVar[str | None] = "runs"
    runs: Annotated[list[RunBody], Meta(min_length=1, max_length=MAX_BATCH_RUNS)]


class CancelBody(DialectBody, frozen=True, kw_only=True):
    """Runs by their ids, or all of a thread with a status."""

    thread_id: str | None = None
    run_ids: Annotated[list[str], Meta(max_length=MAX_CANCELLED_RUNS)] | None = None
    status: Literal["pending", "running", "all"] | None = None


def modes_of(sent: list[str] | str | None, usual: frozenset[Mode]) -> frozenset[Mode]:
    """The modes of a stream. Raises ValidationError for what is none."""
    if not sent:
        return usual
    names = sent.split(",") if isinstance(sent, str) else sent
    for name in names:
        if name not in MODES:
            raise ValidationError(
                f"stream_mode {name!a:.80} is not known; there are: {', '.join(MODES)}", loc=("stream_mode",)
            )
    return cast(frozenset[Mode], frozenset(names))


# --- queries ----------------------------------------------------------------------------------------------------------


class DialectQuery(Query, frozen=True, kw_only=True):
    """Parameters that it does not have are passed over."""

    passes_over: ClassVar[bool] = True


class JoinQuery(DialectQuery, frozen=True, kw_only=True):
    cancel_on_disconnect: bool = False

    def check(self) -> None:
        """Raises ValidationError for what would not happen."""
        if self.cancel_on_disconnect:
            why = "whether a run is stopped when nobody watches it is said when it is submitted, as on_disconnect"
            raise refused("cancel_on_disconnect", why, where="query")


class StreamQuery(JoinQuery, frozen=True, kw_only=True):
    stream_mode: str | None = None


class ThreadStreamQuery(DialectQuery, frozen=True, kw_only=True):
    stream_mode: str | None = None


class WaitQuery(JoinQuery, frozen=True, kw_only=True):
    may_wait: ClassVar[bool] = True

    @property
    def waits(self) -> bool:
        return True


class CancelQuery(DialectQuery, frozen=True, kw_only=True):
    wait: bool = False
    action: Literal["interrupt", "rollback"] = "interrupt"
    may_wait: ClassVar[bool] = True

    @property
    def waits(self) -> bool:
        return self.wait


class RunsQuery(DialectQuery, frozen=True, kw_only=True):
    limit: Limit = 10
    offset: Offset = 0
    status: RunStatus | None = None
    select: str | None = None


class HistoryQuery(DialectQuery, frozen=True, kw_only=True):
    limit: Limit = 10
    before: str | None = None


# --- searches ---------------------------------------------------------------------------------------------------------


class Search(DialectBody, frozen=True, kw_only=True):
    limit: Limit = 10
    offset: Offset = 0
    metadata: Metadata | None = None
    select: list[str] | None = None


class AssistantSearch(Search, frozen=True, kw_only=True):
    graph_id: str | None = None
    name: str | None = None


class ThreadSearch(Search, frozen=True, kw_only=True):
    ids: Annotated[list[str], Meta(max_length=MAX_SEARCH)] | None = None
    status: ThreadStatus | None = None
    values: dict[str, Any] | None = None
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] | None = None
    sort_order: SortOrder | None = None
    extract: dict[str, str] | None = None

    def check(self) -> None:
        """Raises ValidationError for a filter that cannot be applied."""
        for name in ("values", "extract"):
            if getattr(self, name):
                raise refused(name, "threads are not searched by it; use metadata")


class RunSearch(Search, frozen=True, kw_only=True):
    status: RunStatus | None = None
    thread_id: str | None = None
    agent_id: str | None = None


# --- threads ----------------------------------------------------------------------------------------------------------


class ThreadBody(DialectBody, frozen=True, kw_only=True):
    thread_id: str | None = None
    metadata: Metadata | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None
    supersteps: list[Any] | None = None
    ttl: Any = None

    def check(self) -> None:
        """Raises ValidationError for what is asked for and could not be done."""
        check_ttl(self.ttl)
        if self.supersteps:
            raise refused("supersteps", "a thread is not made from those of a graph; add messages to its state instead")


def check_ttl(ttl: Any) -> None:
    """Raises ValidationError where a thread is to be deleted by itself."""
    if ttl:
        raise refused("ttl", "a thread has none here; it stays until it is deleted")


class ThreadPatchBody(DialectBody, frozen=True, kw_only=True):
    metadata: Metadata | None = None
    ttl: Any = None


class PruneBody(DialectBody, frozen=True, kw_only=True):
    thread_ids: Annotated[list[str], Meta(max_length=MAX_CANCELLED_RUNS)]
    strategy: Literal["delete", "keep_latest"] = "delete"


class StateBody(DialectBody, frozen=True, kw_only=True):
    """An update of a thread's state: messages to add, and changes of what is beside them."""

    values: dict[str, Any] | list[Any] | None = None
    as_node: str | None = None
    checkpoint: dict[str, Any] | None = None
    checkpoint_id: str | None = None


class CheckpointBody(DialectBody, frozen=True, kw_only=True):
    checkpoint: dict[str, Any]


class HistoryBody(DialectBody, frozen=True, kw_only=True):
    limit: Limit = 10
    before: dict[str, Any] | str | None = None
    metadata: Metadata | None = None
    checkpoint: dict[str, Any] | None = None


def checkpoint_in(named: Mapping[str, Any] | str | None) -> str | None:
    """The id of a checkpoint, as an object or by itself; also in a config."""
    if named is None or isinstance(named, str):
        return named or None
    held: Any = named.get("configurable", named)
    found: Any = cast(dict[str, Any], held).get("checkpoint_id") if isinstance(held, dict) else None
    return found if isinstance(found, str) and found else None


# --- assistants -------------------------------------------------------------------------------------------------------


class AssistantBody(DialectBody, frozen=True, kw_only=True):
    graph_id: str
    assistant_id: str | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None
    config: dict[str, Any] | None = None
    context: Any = None
    name: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None

    def check(self, known: Sequence[str]) -> None:
        """Raises ValidationError for what the assistant would not have, whose name or id is one that is `known`."""
        for name in ("config", "context"):
            if getattr(self, name):
                raise refused(name, "an assistant is the agent as it was registered; send it with each run")
        for name in ("assistant_id", "name"):
            if getattr(self, name) not in (None, *known):
                raise refused(name, "an assistant is the agent as it was registered, and has its own")
        for name in ("description", "metadata"):
            if getattr(self, name):
                raise refused(name, "an assistant is the agent as it was registered, and has its own")
