"""Interrupts: what a run waits for, as LangGraph's clients are asked, and what they resume it with.

An approval is asked as LangChain's human-in-the-loop middleware asks, and a client's tool as its headless tools, so
that user interfaces made for these need nothing new. Everything else is asked in its own words, and the value that a
client resumes with is the answer.

Above: `encoder`, `objects` and `routes`. Below: tickets.
Holds: only a plain word means yes: what cannot be read as a decision is refused, and approves nothing.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from awaken.domain.errors import ValidationError
from awaken.domain.server_event import TicketOpenedPayload
from awaken.domain.ticket import Action, Ticket, TicketKind, Verdict

_DECISIONS: Final[dict[Action, str]] = {"approve": "approve", "edit": "edit", "deny": "reject"}
_YES: Final = frozenset({"approve", "accept", "yes"})
_NO: Final = frozenset({"deny", "reject", "ignore", "no", "respond", "response"})
_LOC: Final = ("body", "command", "resume")


def interrupt_of(ticket: TicketOpenedPayload | Ticket) -> dict[str, Any]:
    """The interrupt that a ticket is shown as. Its id is the ticket's."""
    if isinstance(ticket, Ticket):
        asked = ticket.asked
        kind, actions = asked.kind, asked.actions
    else:
        asked = ticket
        kind, actions = ticket.kind, ticket.allowed_actions
    shown: dict[str, Any] = {
        "value": _question(kind, actions, asked.tool_call_id, asked.tool_name, asked.arguments, asked.message),
        "id": ticket.ticket_id,
    }
    if asked.response_schema is not None:
        shown["response_schema"] = asked.response_schema
    return shown


def _question(
    kind: TicketKind, actions: tuple[Action, ...], call_id: str | None, name: str | None, args: Any, message: str | None
) -> dict[str, Any]:
    match kind:
        case "approval":
            request: dict[str, Any] = {"name": _name_of(name), "args": args if isinstance(args, dict) else {}}
            if message is not None:
                request["description"] = message
            allowed = [_DECISIONS[each] for each in actions if each in _DECISIONS]
            return {
                "action_requests": [request],
                "review_configs": [{"action_name": _name_of(name), "allowed_decisions": allowed}],
            }
        case "client_tool":
            call: dict[str, Any] = {"name": name or "tool", "args": args}
            return {"type": "tool", "tool_call": call if call_id is None else {"id": call_id, **call}}
        case _:
            asked: dict[str, Any] = {"type": kind, "message": message or ""}
            if name is not None:
                asked["name"] = name
            if args is not None:
                asked["args"] = args
            return asked


def _name_of(tool_name: str | None) -> str:
    """What the call is called that an approval is about. A question of the agent's own is about none."""
    return tool_name or "ask"


def verdict_of(ticket: Ticket, value: Any) -> Verdict:
    """What it means for a ticket that a client resumes with this value.

    Raises:
        ValidationError: It is no decision about that.
    """
    match ticket.asked.kind:
        case "approval":
            return _approval(ticket, value)
        case "client_tool":
            held = cast(dict[str, Any], value) if isinstance(value, dict) else {}
            if ticket.asked.tool_call_id is not None and [*held] == [ticket.asked.tool_call_id]:
                value = held[ticket.asked.tool_call_id]
            failed: Any = cast(dict[str, Any], value).get("error") if isinstance(value, dict) else None
            if isinstance(failed, str) and [*cast(dict[str, Any], value)] == ["error"]:
                return Verdict(action="fail", ticket_id=ticket.ticket_id, reason=failed)
            return Verdict(action="answer", ticket_id=ticket.ticket_id, result=value)
        case _:
            return Verdict(action="answer", ticket_id=ticket.ticket_id, result=value)


def _approval(ticket: Ticket, value: Any) -> Verdict:
    """`true`, a word, or a decision as the middleware has it: `{decisions: [{type, …}]}`, or that one alone."""
    id = ticket.ticket_id
    if isinstance(value, bool):
        return Verdict(action="approve" if value else "deny", ticket_id=id)
    if isinstance(value, str):
        return Verdict(action=_word(value, id), ticket_id=id)
    given: Any = cast(dict[str, Any], value).get("decisions", value) if isinstance(value, dict) else value
    if isinstance(given, list) and len(cast(list[Any], given)) == 1:
        given = cast(list[Any], given)[0]
    if not isinstance(given, dict):
        raise _unreadable(id)
    decision = cast(dict[str, Any], given)
    named: Any = decision.get("type", decision.get("action"))
    if named == "edit":
        return Verdict(action="edit", ticket_id=id, arguments=_edited(decision, ticket))
    if not isinstance(named, str):
        raise _unreadable(id)
    action = _word(named, id)
    if decision.get("approved", action == "approve") is not (action == "approve"):
        raise _unreadable(id)  # it says both
    said: Any = decision.get("message", decision.get("reason", decision.get("args")))
    return Verdict(action=action, ticket_id=id, reason=said if isinstance(said, str) else None)


def _word(word: str, id: str) -> Action:
    said = word.strip().lower()
    if said in _YES:
        return "approve"
    if said in _NO:
        return "deny"
    raise _unreadable(id)


def _edited(decision: Mapping[str, Any], ticket: Ticket) -> dict[str, Any]:
    """The arguments that the call is to have. A call of another tool is another call, to which nobody has said yes."""
    id, known = ticket.ticket_id, _name_of(ticket.asked.tool_name)
    for name in ("edited_action", "editedAction", "args", "arguments"):
        held: Any = decision.get(name)
        if isinstance(held, dict):
            fields = cast(dict[str, Any], held)
            inner: Any = fields.get("args")
            if not isinstance(inner, dict) or name == "arguments":
                return fields
            named: Any = fields.get("name", fields.get("action", known))
            if named != known:
                raise ValidationError(
                    f"edited_action names {named!a:.80}, and interrupt {id} is about a call of {known!a:.80}: its args"
                    " can be edited, and its name cannot",
                    loc=_LOC,
                )
            return cast(dict[str, Any], inner)
    raise ValidationError(f"the decision about {id} edits a call, and does not say its args", loc=_LOC)


def _unreadable(id: str) -> ValidationError:
    return ValidationError(
        f"interrupt {id} is about an approval: resume it with true or false, or with"
        ' {"decisions": [{"type": "approve" | "edit" | "reject", …}]}',
        loc=_LOC,
    )
