"""Tickets: what a run waits for, and the decisions that answer them.

Above: drivers ask for tickets, people and programs decide them. Below: nothing but values.
Holds: a ticket is known by its run and a key, so that whoever asks for the same thing again after a crash finds it. It
is decided once; what closes it otherwise is that its time is over, or that its run goes on without it.

Source: ADR 0034.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from awaken.domain.checking import checked, shown
from awaken.domain.clock import Instant
from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId, DispatchId, RunId, ThreadId, TicketId, derived_id
from awaken.domain.run import Adapter, WaitReason

TicketKind = Literal["approval", "input", "client_tool", "external", "child"]
"""`approval`: may the tool run. `input`: the agent asks. `client_tool`: the caller executes it. `external`: a result
that comes from outside. `child`: the end of a run that this one started."""
TicketState = Literal["open", "decided", "expired", "withdrawn"]
Action = Literal["approve", "deny", "edit", "answer", "fail"]
"""`edit`: approved, with other arguments. `fail`: there will be no result, and `reason` says why."""
YES: Final[frozenset[Action]] = frozenset({"approve", "edit"})
"""What lets go on what is to be approved; nothing else does."""
ResumeMode = Literal["replay_tool_call", "use_decision_as_tool_result", "pass_decision_to_tool"]
"""What the decision does: the call is made now; its result is the call's; or the call is made, and asks for it."""
OnExpiry = Literal["deny", "fail", "cancel", "answer"]
"""What it means that nobody decided in time: no, or no answer; the end of the run as failed, or as cancelled; or the
default answer."""

MAX_OPEN_TICKETS: Final = 1_000
"""Per run."""
MAX_TICKET_BYTES: Final = 256 * 1024
"""What a ticket may hold, as JSON."""
MAX_DECISION_BYTES: Final = 256 * 1024
"""What a decision may hold, as JSON."""
MAX_KEY_CHARS: Final = 512
MAX_EXPIRY_MS: Final = 365 * 86_400_000
"""A year."""

USUAL_ACTIONS: Final[dict[TicketKind, tuple[Action, ...]]] = {
    "approval": ("approve", "deny", "edit"),
    "input": ("answer",),
    "client_tool": ("answer", "fail"),
    "external": ("answer", "fail"),
    "child": ("answer", "fail"),
}
"""What may be decided, where whoever asks does not say."""
_USUAL_MODES: Final[dict[TicketKind, ResumeMode]] = {
    "approval": "replay_tool_call",
    "input": "pass_decision_to_tool",
    "client_tool": "use_decision_as_tool_result",
    "external": "use_decision_as_tool_result",
    "child": "use_decision_as_tool_result",
}
_REASONS: Final[dict[TicketKind, WaitReason]] = {
    "approval": "tool_permission",
    "input": "user_input",
    "client_tool": "external_event",
    "external": "external_event",
    "child": "background_tasks",
}
"""Why a run waits that waits for one of them; of several the first one counts."""
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class TicketRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run asks for. `key` is the id of the tool call, or `name#n`: the same for the same thing."""

    key: str
    kind: TicketKind
    tool_call_id: str | None = None
    """The call that it belongs to; it goes with that."""
    tool_name: str | None = None
    """The tool, or the name of what is asked."""
    arguments: Any = None
    message: str | None = None
    """For whoever decides."""
    response_schema: dict[str, Any] | None = None
    """A JSON schema that the result of an answer has to fit."""
    allowed_actions: tuple[Action, ...] = ()
    """Empty: the usual ones of its kind."""
    resume_mode: ResumeMode | None = None
    """None: the usual one of its kind."""
    expires_in_ms: int | None = None
    on_expiry: OnExpiry = "deny"
    default: Any = None
    """The answer, with `on_expiry="answer"`."""
    metadata: Any = None
    """The driver's own."""

    def id_in(self, run_id: RunId) -> TicketId:
        return ticket_id(run_id, self.key)

    @property
    def actions(self) -> tuple[Action, ...]:
        return self.allowed_actions or USUAL_ACTIONS[self.kind]

    @property
    def mode(self) -> ResumeMode:
        return self.resume_mode or _USUAL_MODES[self.kind]

    def check(self) -> None:
        """Raises ValidationError for what no ticket can hold."""
        if not self.key.strip() or "\0" in self.key or len(self.key) > MAX_KEY_CHARS:
            raise ValidationError(f"the key of a ticket has 1 to {MAX_KEY_CHARS} characters, and not {shown(self.key)}")
        if self.expires_in_ms is not None and not 0 <= self.expires_in_ms <= MAX_EXPIRY_MS:
            raise ValidationError(f"a ticket expires within a year, and not in {self.expires_in_ms} ms")
        size = len(_encode(self))
        if size > MAX_TICKET_BYTES:
            raise ValidationError(f"ticket {self.key!r} has {size} bytes, of at most {MAX_TICKET_BYTES}")


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody decided. `decided_at` and `path` are the store's."""

    decision_id: str
    action: Action
    result: Any = None
    """Of an `answer`."""
    arguments: Any = None
    """Of an `edit`: all of them, in place of those that were asked for."""
    reason: str | None = None
    decided_by: str | None = None
    adapter: Adapter | None = None
    """Over which protocol it came. None: nobody asked for it, or an older version was asked."""
    decided_at: Instant = 0
    path: Literal["live", "durable"] = "durable"
    """Whether the run was being executed when it was decided, or waited."""

    @property
    def is_yes(self) -> bool:
        """Of one about an approval."""
        return self.action in YES

    def says_the_same(self, other: Decision) -> bool:
        return _content(self) == _content(other)


def _content(decision: Decision) -> bytes:
    return _encode((decision.action, decision.result, decision.arguments, decision.reason))


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision as it is asked for, about a ticket or a tool call of a run. `resume` and `cancel` are other words for
    yes and no. Without a `decision_id` it gets one.
    """

    action: Action | Literal["resume", "cancel"]
    ticket_id: str = ""
    tool_call_id: str = ""
    result: Any = None
    arguments: Any = None
    reason: str | None = None
    decision_id: str = ""
    decided_by: str | None = None
    adapter: Adapter = Adapter.INTERNAL

    def action_on(self, kind: TicketKind) -> Action:
        match self.action:
            case "resume":
                return "approve" if kind == "approval" else "answer"
            case "cancel":
                return "deny" if kind == "approval" else "fail"
            case action:
                return action


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket as stored."""

    no: int
    """Its arrival number in the store, which orders lists."""
    ticket_id: TicketId
    thread_id: ThreadId
    run_id: RunId
    agent_id: AgentId
    asked: TicketRequest
    state: TicketState
    created_at: Instant
    expires_at: Instant | None = None
    closed_at: Instant | None = None
    decision: Decision | None = None
    """What was decided; of an expired one, the default answer."""
    child_waits: DispatchId | None = None
    """The dispatch with which the child suspended that its run was last told of, where it is that of a child."""

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    def is_overdue(self, now: Instant) -> bool:
        """Open, and its time is over: nothing but its expiry can happen to it."""
        return self.state == "open" and self.expires_at is not None and self.expires_at <= now


def plain_answer(value: Any) -> bool | None:
    """Whether a value is plainly yes or no: `true`, `false`, or an object whose `approved` is one of them. None: it is
    neither, whatever it looks like. Who was asked for a yes and said something else has not said yes.
    """
    said: Any = cast("dict[str, Any]", value).get("approved") if isinstance(value, dict) else value
    return said if isinstance(said, bool) else None


_GIVEN: Final = ("action", "ticket_id", "tool_call_id", "result", "arguments", "reason", "decision_id")
"""What a caller may say of a decision."""


def verdict_of(given: Verdict | Mapping[str, Any]) -> Verdict:
    """A decision as a program gives it. Raises ValidationError for what is none."""
    if isinstance(given, Verdict):
        return checked(given, Verdict, what="a decision")
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"a decision is an object with an action, and not {shown(given)}", loc=("decisions",))
    unknown = [name for name in given if name not in _GIVEN]
    if unknown:
        raise ValidationError(f"a decision has no {shown(unknown[0])}; it has: {', '.join(_GIVEN)}", loc=("decisions",))
    return checked({name: value for name, value in given.items() if value is not None}, Verdict, what="a decision")


def verdicts_of(given: Sequence[Verdict | Mapping[str, Any]]) -> list[Verdict]:
    """Several of them. Raises ValidationError for what are none."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"decisions are a list of them, and not {shown(given)}", loc=("decisions",))
    return [verdict_of(each) for each in given]


def checked_each(given: Sequence[Verdict | Mapping[str, Any]]) -> list[Verdict]:
    """Decisions of which each names its ticket. Raises ValidationError for what is none, or names none."""
    verdicts = verdicts_of(given)
    for index, verdict in enumerate(verdicts):
        if not verdict.ticket_id or verdict.tool_call_id:
            raise ValidationError("each decision names its ticket_id", loc=("body", "decisions", index, "ticket_id"))
    return verdicts


def sent_verdict(verdict: Verdict) -> dict[str, Any]:
    """A decision as the JSON object that the HTTP API takes."""
    said = {name: getattr(verdict, name) for name in _GIVEN}
    return {name: value for name, value in said.items() if value not in (None, "")}


def ticket_id(run_id: RunId, key: str) -> TicketId:
    """The id of what the run calls `key`."""
    return TicketId(derived_id("ticket", run_id, key))


def wait_reason(asked: list[TicketRequest]) -> tuple[WaitReason, str | None]:
    """Why a run waits that waits for these, and what it says about it."""
    for kind, reason in _REASONS.items():
        for each in asked:
            if each.kind == kind:
                return reason, each.message
    return "external_event", None
