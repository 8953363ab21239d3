"""Runs: one execution of an agent, from its request to its outcome.

A run is executed by one dispatch after another, at most one of them open.

Source: ADR 0014; TR-088 to TR-095.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, Literal, get_args

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.ids import AgentId, DispatchId, MessageId, Route, RunId, ThreadId, TicketId
from awaken.domain.route import route_of, split_route
from awaken.domain.state import checked_patch


class RunStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"


# Named here because Python 3.11 takes as long to find a member of an enum as to make a small record.
CREATED: Final = RunStatus.CREATED
DONE: Final = RunStatus.DONE
WAITING: Final = RunStatus.WAITING

RunMove = Literal["start", "wait", "finish"]

RUN_MOVES: Final[dict[tuple[RunStatus, RunMove], RunStatus]] = {
    (RunStatus.CREATED, "start"): RunStatus.RUNNING,
    (RunStatus.RUNNING, "start"): RunStatus.RUNNING,
    (RunStatus.WAITING, "start"): RunStatus.RUNNING,
    (RunStatus.RUNNING, "wait"): RunStatus.WAITING,
    (RunStatus.CREATED, "finish"): RunStatus.DONE,
    (RunStatus.RUNNING, "finish"): RunStatus.DONE,
    (RunStatus.WAITING, "finish"): RunStatus.DONE,
}
"""Every change of status a run can make. Starting a running run is a takeover; nothing leaves `done`."""


def can_become(status: RunStatus, target: RunStatus) -> bool:
    """True when the table leads from one status to the other, or they are the same."""
    return status is target or any(RUN_MOVES.get((status, move)) is target for move in get_args(RunMove))


class Origin(StrEnum):
    USER = "user"
    A2A = "a2a"
    SUBAGENT = "subagent"
    INTERNAL = "internal"
    SCHEDULE = "schedule"


INSIDE: Final = frozenset({Origin.SUBAGENT, Origin.INTERNAL, Origin.SCHEDULE})
"""What comes from inside opens a run of its own, and continues nobody else's."""


class RunMode(StrEnum):
    FOREGROUND = "foreground"
    SCHEDULED = "scheduled"
    RESUME = "resume"
    INTERNAL_WAKE = "internal_wake"


# Named here for the same reason as the members above.
FOREGROUND: Final = RunMode.FOREGROUND


class Adapter(StrEnum):
    """The protocol that surfaced the request."""

    INTERNAL = "internal"
    HTTP = "http"
    ACP = "acp"
    AI_SDK = "ai_sdk"
    AG_UI = "ag_ui"
    A2A = "a2a"
    MCP = "mcp"
    LANGGRAPH = "langgraph"
    RESPONSES = "responses"


TerminationType = Literal["natural_end", "behavior_requested", "stopped", "cancelled", "blocked", "suspended", "error"]


class Termination(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an execution ended. `code` belongs to `stopped` and `error`, `detail` to these and `blocked`.

    The codes that this package uses are listed in `docs/reference/events.md`.
    """

    type: TerminationType
    code: str | None = None
    detail: str | None = None

    def to_status(self) -> tuple[RunStatus, str | None]:
        """The run status it leads to and its one-line reason (TR-094)."""
        match self.type:
            case "suspended":
                return RunStatus.WAITING, None
            case "natural_end":
                return RunStatus.DONE, "natural"
            case "stopped":
                return RunStatus.DONE, f"stopped:{self.code or ''}"
            case "blocked":
                return RunStatus.DONE, f"blocked:{self.detail or ''}"
            case "behavior_requested" | "cancelled" | "error":
                return RunStatus.DONE, self.type

    @classmethod
    def from_reason(cls, text: str) -> Termination:
        """Read a one-line reason back; a text of no known form is an error with that text."""
        match text.partition(":"):
            case "natural", "", "":
                return NATURAL_END
            case "behavior_requested", "", "":
                return cls("behavior_requested")
            case "cancelled", "", "":
                return CANCELLED
            case "stopped", ":", code:
                return cls("stopped", code=code)
            case "blocked", ":", why:
                return cls("blocked", detail=why)
            case "error", ":", why:
                return cls("error", detail=why)
            case _:
                return cls("error", detail=text)


NATURAL_END: Final = Termination("natural_end")
CANCELLED: Final = Termination("cancelled")


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Tokens and model calls, as totals."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0

    def plus(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.model_calls + other.model_calls,
        )


NO_USAGE: Final = Usage()
MAX_MODELS: Final = 32
"""Of how many models it is counted what one run has spent with each."""


def with_model(spent: dict[str, Usage], model: str, usage: Usage) -> dict[str, Usage]:
    """What a run has spent with each model, another call of that one included. Those beyond `MAX_MODELS` are not told
    apart: they stand in the run's total alone.
    """
    if model not in spent and len(spent) >= MAX_MODELS:
        return spent
    return {**spent, model: spent.get(model, NO_USAGE).plus(usage)}


class SeqRange(msgspec.Struct, frozen=True, gc=False):
    """Message seqs, 1-based, both ends included."""

    from_seq: int
    to_seq: int

    def __post_init__(self) -> None:
        if not 1 <= self.from_seq <= self.to_seq:
            raise ValidationError(f"a range of messages is 1-based and not empty, not {self.from_seq}..{self.to_seq}")


class Intent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is asked. A `continuation` names the run it continues."""

    agent_id: AgentId
    kind: Literal["new_intent", "continuation"] = "new_intent"
    continues_run_id: RunId | None = None
    version: str | None = None
    """Of the agent: the run stays with it. None: whichever is registered under the name when it is executed."""

    @property
    def route(self) -> Route:
        """Who can run it."""
        return route_of(self.agent_id, self.version)


def intent_of(agent: str) -> Intent:
    """For an agent as somebody names it: `name`, or `name@version`."""
    agent_id, version = split_route(agent)
    return Intent(agent_id, version=version)


MAX_TIMEOUT_S: Final = 30 * 86_400
"""A month."""
MAX_STEP_LIMIT: Final = 1_000_000
MAX_TOKEN_LIMIT: Final = 10**12
MAX_OVERRIDE_BYTES: Final = 64 * 1024
MAX_CLIENT_TOOLS: Final = 128
MAX_WIRE_RUN_ID_CHARS: Final = 256
MAX_TOOL_BYTES: Final = 64 * 1024
"""Of one client tool, as JSON."""


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """What a run may use."""

    timeout_s: float | None = None
    """Seconds it may execute, over all its dispatches; then it ends as `stopped`, with the code `timeout`. The time it
    waits in the queue, or for somebody, does not count."""
    max_steps: int | None = None
    """Steps it may close. Where another would begin it ends as `stopped`, with the code `max_steps`."""
    max_total_tokens: int | None = None
    """Tokens, of input and output, after which no step begins: it ends as `stopped`, with the code `budget`."""

    def check(self) -> None:
        """Raises ValidationError for a limit out of range."""
        if self == NO_LIMITS:
            return
        asked: object = self.timeout_s
        if asked is not None and (type(asked) not in (int, float) or not 0 < asked <= MAX_TIMEOUT_S):
            raise ValidationError(
                f"limits.timeout_s is more than 0 and at most {MAX_TIMEOUT_S} seconds", loc=("body", "limits")
            )
        for name, most in (("max_steps", MAX_STEP_LIMIT), ("max_total_tokens", MAX_TOKEN_LIMIT)):
            given: object = getattr(self, name)
            if given is not None and (type(given) is not int or not 1 <= given <= most):
                raise ValidationError(f"limits.{name} is a whole number from 1 to {most}", loc=("body", "limits", name))

    def reached(self, steps: int, usage: Usage) -> Termination | None:
        """How a run that has come so far ends, where it may not begin another step."""
        spent = usage.input_tokens + usage.output_tokens
        if self.max_steps is not None and steps >= self.max_steps:
            detail = f"it closed the {self.max_steps} steps that it may (max_steps)"
            return Termination("stopped", code="max_steps", detail=detail)
        if self.max_total_tokens is not None and spent >= self.max_total_tokens:
            detail = f"it used {spent} tokens, and may use {self.max_total_tokens} (limits.max_total_tokens)"
            return Termination("stopped", code="budget", detail=detail)
        return None


NO_LIMITS: Final = Limits()


class ClientTool(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A tool that the program which asks for the run carries out itself. `parameters`: the JSON schema of its input."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


OnCompletion = Literal["keep", "delete"]
GOES_WITH_A_NEW_THREAD: Final = "on_completion=delete is for a run on a new thread; leave thread_id out"
OnDisconnect = Literal["continue", "cancel"]


class RunOptions(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a run is asked for beside its input. Agents find it in `ctx.request.options`."""

    overrides: Any = None
    """For the agent's driver, as they are."""
    limits: Limits = NO_LIMITS
    state: dict[str, Any] | None = None
    """A merge patch of the thread's state, made when the run's messages are taken."""
    client_tools: tuple[ClientTool, ...] = ()
    on_disconnect: OnDisconnect = "continue"
    """`cancel`: it is stopped when nobody has watched it for a while."""
    on_completion: OnCompletion = "keep"
    """`delete`: its thread is deleted some time after its end."""

    def check(self) -> None:
        """Raises ValidationError for what is out of range."""
        if self == NO_OPTIONS:
            return
        self.limits.check()
        if self.client_tools:
            _check_tools(self.client_tools)
        if self.overrides is not None and len(msgspec.json.encode(self.overrides)) > MAX_OVERRIDE_BYTES:
            raise ValidationError(
                f"overrides have at most {MAX_OVERRIDE_BYTES} bytes of JSON", loc=("body", "overrides")
            )
        if self.state is not None:
            checked_patch(self.state)


NO_OPTIONS: Final = RunOptions()


class Sender(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who sent a message to an agent from inside: an agent, in a run of a thread."""

    agent_id: AgentId | None = None
    thread_id: ThreadId | None = None
    run_id: RunId | None = None


class ChildOf(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a run is to the one that started it, which the trace names: its end decides that run's ticket."""

    ticket_id: TicketId
    agent_id: AgentId
    """That of the run that started it."""
    name: str
    """What that run calls it."""
    tool_call_id: str | None = None
    """The call of a tool that started it, where one did."""


class Trace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the request came from."""

    origin: Origin = Origin.USER
    adapter: Adapter = Adapter.INTERNAL
    mode: RunMode = RunMode.SCHEDULED
    parent_run_id: RunId | None = None
    parent_thread_id: ThreadId | None = None
    correlation_id: str | None = None
    wire_run_id: str | None = None
    """What the client of a protocol calls the run, where that is not its id; told with its `RunQueued`."""
    caller: str | None = None
    """Who asked, as whoever authorised the request names them."""
    sender: Sender | None = None
    """Which agent sent it, where one did."""
    hops: int = 0
    """How many runs before this one were each caused by the run before: started, sent a message, or told of its end."""
    depth: int = 0
    """How many of those were started. That is never forgotten on the way, so what runs start comes to an end however
    their ends are told."""
    child: ChildOf | None = None
    """Where a run has started it."""
    traceparent: str | None = None
    """The span from which it is linked, as `domain.traceparent` writes it."""


_UNNAMED: Final = (None, None, None)
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class Reference(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a run brings that an earlier one has brought: messages of the conversation, which it reads last."""

    message_ids: tuple[MessageId, ...] = ()
    retry_of_run_id: RunId | None = None
    """The run that it does again."""
    hides: bool = False
    """When it starts, what stands behind these messages is hidden: it is answered anew."""


class RunRequest(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The durable request: ids of its messages, never their bodies. Enough to start the run on any worker."""

    intent: Intent
    input_message_ids: tuple[MessageId, ...]
    options: RunOptions = NO_OPTIONS
    trace: Trace = Trace()
    reference: Reference | None = None

    def check(self) -> None:
        """Raises ValidationError for blank ids and for a continuation that names no run, or the reverse (TR-095)."""
        intent, trace = self.intent, self.trace
        self.options.check()
        if not intent.agent_id.strip():
            raise ValidationError("a run needs an agent_id")
        if (intent.kind == "continuation") != (intent.continues_run_id is not None):
            raise ValidationError("a continuation, and nothing else, names the run it continues")
        named = (intent.continues_run_id, trace.parent_run_id, trace.parent_thread_id)
        if named != _UNNAMED and not all([value is None or value.strip() for value in named]):
            raise ValidationError("an id of the run's request is blank")
        if not all(map(str.strip, self.input_message_ids)):
            raise ValidationError("an input message id is blank")
        check_wire_run_id(trace.wire_run_id)


def check_wire_run_id(given: str | None) -> None:
    """Raises ValidationError for a name that no protocol's client needs."""
    if given is not None and not (0 < len(given) <= MAX_WIRE_RUN_ID_CHARS and given.isprintable()):
        raise ValidationError(
            f"what a client calls a run is 1 to {MAX_WIRE_RUN_ID_CHARS} printable characters, not {given!a:.80}"
        )


WaitReason = Literal[
    "tool_permission", "user_input", "background_tasks", "external_event", "rate_limit", "manual_pause"
]
WaitMode = Literal["any", "all"]


def _check_tools(tools: tuple[ClientTool, ...]) -> None:
    loc = ("body", "client_tools")
    if len(tools) > MAX_CLIENT_TOOLS:
        raise ValidationError(f"a run has at most {MAX_CLIENT_TOOLS} client tools, and not {len(tools)}", loc=loc)
    seen: set[str] = set()
    for tool in tools:
        if _TOOL_NAME.fullmatch(tool.name) is None:
            raise ValidationError(
                f"the name of a client tool is 1 to 64 of the characters A-Z a-z 0-9 _ -, not {tool.name!a:.80}",
                loc=loc,
            )
        if tool.name in seen:
            raise ValidationError(f"two client tools are called {tool.name!r}", loc=loc)
        if len(msgspec.json.encode(tool)) > MAX_TOOL_BYTES:
            raise ValidationError(
                f"client tool {tool.name!r} has more than {MAX_TOOL_BYTES} bytes of JSON; shorten its description or"
                " parameters",
                loc=loc,
            )
        seen.add(tool.name)


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a suspended run waits for."""

    reason: WaitReason
    message: str | None = None
    tickets: tuple[TicketId, ...] = ()
    """Those that are still open: it goes on when one of them closes, or when all have. None of them: it goes on with
    input only."""
    mode: WaitMode = "any"
    next_dispatch_id: DispatchId | None = None
    """The dispatch with which it goes on then."""
    suspended_by: DispatchId | None = None
    """The dispatch that was executed last."""
    since: Instant = 0
    together: tuple[tuple[TicketId, ...], ...] = ()
    """With `any`: tickets that count only together, when all of them are closed; such as one call waits for."""

    def is_over(self, closed: Iterable[TicketId]) -> bool:
        """Whether the run goes on, now that these of what it waited for are closed, too."""
        left = set(self.tickets)
        if self.mode == "all":
            return not left
        return any([self._counts(each, left) for each in closed])

    def _counts(self, closed: TicketId, left: set[TicketId]) -> bool:
        groups = [group for group in self.together if closed in group]
        return not groups or any([left.isdisjoint(group) for group in groups])


class SeenTo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What somebody has made of a run that was given up: it is done again, or discarded."""

    at: Instant
    retried_as: RunId | None = None
    reason: str | None = None
    """Why it was discarded."""
    by: str | None = None
    """Who did it, as whoever authorised the request names them."""


class Run(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One execution of an agent, as stored.

    `closed_turn` is the assistant message whose step is complete; `stream_open` says that deltas of a turn that is
    not committed are in the log. `updated_seq` is the thread's event seq when the run was last written.
    """

    no: int
    """Its arrival number in the store, which orders lists."""
    run_id: RunId
    thread_id: ThreadId
    agent_id: AgentId
    dispatch_id: DispatchId
    """Its newest dispatch."""
    status: RunStatus
    request: RunRequest
    request_digest: str
    metadata: dict[str, Any]
    created_at: Instant
    updated_at: Instant
    first_event_seq: int
    updated_seq: int
    started_at: Instant | None = None
    finished_at: Instant | None = None
    input: SeqRange | None = None
    termination: Termination | None = None
    final_output: str | None = None
    output_message_ids: tuple[MessageId, ...] = ()
    """The messages whose text, joined, `final_output` is; none where the agent returned something else."""
    waiting: Waiting | None = None
    steps: int = 0
    taken: int = 0
    """How many messages came to it while it was under way."""
    usage: Usage = Usage()
    usage_by_model: dict[str, Usage] = {}
    """What the model calls in its log have spent, by the name of the model."""
    closed_turn: MessageId | None = None
    open_turn: int | None = None
    """Seq of its last assistant message whose calls may be unanswered."""
    stream_open: bool = False
    executing_ms: int = 0
    """How long its ended dispatches were claimed."""
    dedupe_key: str | None = None
    """Held in its thread until the run is done."""
    cancel_requested_at: Instant | None = None
    dead_lettered: bool = False
    """The queue has given it up, and nobody has seen to it."""
    seen_to: SeenTo | None = None
    """Of one that was given up."""
    failed_at: Instant | None = None
    """When an execution of it failed first, or its process died."""
    error_class: str | None = None
    """The class of what it failed with last."""
    tickets: int = 0
    """How many it has ever opened."""
    open_tickets: int = 0
    hide_requested_at: Instant | None = None
    """When somebody asked that what belongs to it be hidden once it ends."""
    hidden: bool = False
    """It is left out of lists."""

    @property
    def agent_version(self) -> str | None:
        """The version of its agent, where that has versions: it stays with that one until it is done."""
        return self.request.intent.version

    @property
    def route(self) -> Route:
        """Who can run it."""
        return route_of(self.agent_id, self.request.intent.version)

    @property
    def is_parked(self) -> bool:
        """It waits, and nothing is queued with which it would go on."""
        return self.waiting is not None and self.waiting.suspended_by in (None, self.dispatch_id)

    @property
    def waits_for_somebody(self) -> bool:
        """It does not go on by itself: a run that waits for nothing but its children is still at work, through them."""
        return self.is_parked and self.waiting is not None and self.waiting.reason != "background_tasks"

    @property
    def output(self) -> Any:
        """`final_output` as a value: the text of messages, or what the JSON of a structured output stands for."""
        if self.final_output is None or self.output_message_ids:
            return self.final_output
        return output_value(self.final_output)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """What of it a read could not show, by name: its output, where a message with that is damaged or gone."""
        if self.final_output is not None or not self.output_message_ids:
            return ()
        return tuple([f"message {each!r}, the output of run {self.run_id!r}" for each in self.output_message_ids])

    def check(self) -> None:
        """The shape a stored run has (TR-088, TR-089).

        Raises:
            DataIntegrity: The record contradicts itself.
        """
        done = self.status is RunStatus.DONE
        if not (self.run_id.strip() and self.thread_id.strip() and self.agent_id.strip()):
            raise DataIntegrity(f"run {self.run_id!r}: a run, thread or agent id is blank")
        if done != (self.finished_at is not None):
            raise DataIntegrity(f"run {self.run_id!r}: {self.status} and finished_at disagree")
        if (self.status is WAITING) != (self.waiting is not None):
            raise DataIntegrity(f"run {self.run_id!r}: {self.status} and what it is waiting for disagree")
        if self.termination is not None and not done:
            raise DataIntegrity(f"run {self.run_id!r}: {self.status} with a termination")


def output_value(final_output: str) -> Any:
    """What an output stands for that is the text of no message."""
    try:
        return msgspec.json.decode(final_output)
    except msgspec.DecodeError:
        return final_output  # a driver's own text


def moved(run: Run, move: RunMove) -> RunStatus:
    """The status after the move.

    Raises:
        ValidationError: The table does not allow it.
    """
    status = RUN_MOVES.get((run.status, move))
    if status is None:
        raise ValidationError(f"run {run.run_id!r} is {run.status} and cannot {move}")
    return status
