"""What the calls of a Pydantic AI turn wait for, and what was decided about them.

Above: `pydantic_answers` asks before and after each call; `pydantic_ai` answers the framework's own question about
deferred calls from here, and suspends with what is left. Below: the tickets of the run.
Holds: a call that waits for a result from outside is made once: when its turn is entered again, what was decided is its
result, and what is not decided yet waits on. A call that needs an approval is made when that is there. What a tool says
about the ticket stands in the metadata of what it raises, or of its definition: `message`, `expires_in_s`,
`response_schema`.

Source: ADR 0034, `docs/howto/ask-a-person.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ToolFailed
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.tools import (
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolApproved,
    ToolDefinition,
    ToolDenied,
)

from awaken.domain.errors import PermanentFailure
from awaken.domain.ids import TicketId
from awaken.domain.ticket import Ticket, TicketKind, TicketRequest
from awaken.executors.asking import NOT_IN_TIME, CallAsks, expiry_ms, is_final
from awaken.executors.contract import RunPort
from awaken.executors.mending import plain
from awaken.executors.pydantic_messages import jsonable

DENIED: Final = "the call was denied"
_RESULT: Final = ":result"
"""Behind the id of a call: the key of the ticket whose decision is its result."""


class CallWaits:
    """The tickets of the calls of one execution."""

    def __init__(self, port: RunPort, known: Mapping[str, Ticket], client_tools: frozenset[str] = frozenset()) -> None:
        """`known`: the tickets that the run has opened so far, by key."""
        self._port = port
        self._known = known
        self._client_tools = client_tools
        self.pending: dict[str, TicketRequest] = {}
        """What is waited for, and has not been decided yet."""
        self.together: list[tuple[str, ...]] = []
        """Of that, by key, what one call waits for: it cannot go on before it has all of it."""
        self._asking: set[str] = set()
        """Calls, by the framework's ids, whose tools have asked for something themselves."""

    def ticket_id_of(self, call_id: str) -> TicketId | None:
        """The ticket whose decision a call was answered with, or made with."""
        ticket = self._known.get(call_id + _RESULT) or self._known.get(call_id)
        return None if ticket is None else ticket.ticket_id

    def asks_of(self, call_id: str, tool: ToolDefinition) -> CallAsks:
        return CallAsks(call_id, tool.name, self._known)

    # --- around one call ----------------------------------------------------------------------------------------------

    def before(self, ctx: RunContext[Any], call_id: str) -> None:
        """A call is about to be made. Where it waited before it is not made again: it waits on, or has its result.

        Raises:
            CallDeferred, ApprovalRequired: What the tool itself has raised then.
        """
        asked = self._known.get(call_id + _RESULT)
        if asked is not None:
            kind = "question" if asked.asked.kind == "input" else "external"
            raise CallDeferred(asked.asked.metadata, kind=kind)
        asked = self._known.get(call_id)
        if asked is not None and not ctx.tool_call_approved:
            raise ApprovalRequired(asked.asked.metadata)

    async def asked(self, call: ToolCallPart, call_id: str, asks: CallAsks) -> CallDeferred:
        """The tool waits for answers to its own questions; how the framework hears of that."""
        self.pending.update(asks.requests)
        self.together.append(tuple(asks.requests))
        self._asking.add(call.tool_call_id)
        await self._port.open_tickets(*asks.requests.values())
        return CallDeferred(kind="question")

    async def deferred(
        self,
        ctx: RunContext[Any],
        call: ToolCallPart,
        call_id: str,
        tool: ToolDefinition,
        raised: CallDeferred | ApprovalRequired,
    ) -> None:
        """The tool says that it cannot finish by itself."""
        if isinstance(raised, ApprovalRequired):
            if ctx.tool_call_approved:
                raise PermanentFailure(f"the tool {tool.name!r} asks for an approval again when it has one") from raised
            kind: TicketKind = "approval"
        else:
            kind = "input" if raised.kind == "question" else "external"
        request = self._request(call, call_id, kind, raised.metadata, tool)
        if request.key not in self._known:
            await self._port.open_tickets(request)

    # --- all that a turn has deferred ---------------------------------------------------------------------------------

    def results(
        self, requests: DeferredToolRequests, ids: Mapping[str, str], tools: Mapping[str, ToolDefinition]
    ) -> DeferredToolResults | None:
        """What was decided about these calls; the others are waited for. `ids`: the thread's ids of the calls, by the
        framework's.
        """
        results = DeferredToolResults()
        for call in requests.approvals:
            call_id = ids[call.tool_call_id]
            ticket = self._known.get(call_id)
            if ticket is None or not is_final(ticket):
                self._wait(call, call_id, "approval", requests, tools)
            else:
                results.approvals[call.tool_call_id] = _approval(ticket)
        for call in requests.calls:
            if call.tool_call_id in self._asking:
                continue
            call_id = ids[call.tool_call_id]
            ticket = self._known.get(call_id + _RESULT)
            if ticket is None or not is_final(ticket):
                is_question = requests.kind(call.tool_call_id) == "question"
                self._wait(call, call_id, "input" if is_question else "external", requests, tools)
            else:
                results.calls[call.tool_call_id] = _result(ticket)
        return results if results.approvals or results.calls else None

    def _wait(
        self,
        call: ToolCallPart,
        call_id: str,
        kind: TicketKind,
        requests: DeferredToolRequests,
        tools: Mapping[str, ToolDefinition],
    ) -> None:
        metadata = requests.metadata.get(call.tool_call_id)
        request = self._request(call, call_id, kind, metadata, tools.get(call.tool_name))
        self.pending[request.key] = request

    def _request(
        self,
        call: ToolCallPart,
        call_id: str,
        kind: TicketKind,
        metadata: Mapping[str, Any] | None,
        tool: ToolDefinition | None,
    ) -> TicketRequest:
        said: dict[str, Any] = {**((tool.metadata if tool is not None else None) or {}), **(metadata or {})}
        if kind == "external" and call.tool_name in self._client_tools:
            kind = "client_tool"
        expires_in_s = said.get("expires_in_s")
        return TicketRequest(
            key=call_id if kind == "approval" else call_id + _RESULT,
            kind=kind,
            tool_call_id=call_id,
            tool_name=call.tool_name,
            arguments=plain(jsonable(call.args_as_dict())),
            message=_text_of(said, "message"),
            response_schema=_object_of(said, "response_schema"),
            expires_in_ms=expiry_ms(expires_in_s) if isinstance(expires_in_s, int | float) else None,
            metadata=None if metadata is None else plain(jsonable(dict(metadata))),
        )


def _approval(ticket: Ticket) -> ToolApproved | ToolDenied:
    decision = ticket.decision
    if decision is None:
        return ToolDenied(NOT_IN_TIME)
    if decision.action == "edit":
        return ToolApproved(override_args=cast("dict[str, Any]", decision.arguments))
    return ToolApproved() if decision.action == "approve" else ToolDenied(decision.reason or DENIED)


def _result(ticket: Ticket) -> Any:
    decision = ticket.decision
    if decision is None:
        return ToolFailed(NOT_IN_TIME)
    return decision.result if decision.action == "answer" else ToolFailed(decision.reason or "it failed")


def _text_of(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) else None


def _object_of(said: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = said.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
