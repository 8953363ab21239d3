"""Ask whoever sits at the terminal what a run waits for.

Above: `run`, when its run waits for a person. Below: the tickets of the run, and a client to decide them.
Holds: nobody is asked who does not sit there: where the input or the output is no terminal the run waits on.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from awaken.cli.terminal import AnswerPrinter, escaped, shortened, written
from awaken.cli.tickets import fitting, question, value_of
from awaken.client import Client, Run, Ticket
from awaken.domain.errors import AwakenError

try:
    import readline  # with it, what is typed at a prompt can be edited, and had again
except ImportError:  # it exists on POSIX systems
    readline = None
_FOR_PEOPLE = ("approval", "input")


def somebody_is_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def ask_about(client: Client, printer: AnswerPrinter, run: Run) -> bool:
    """Ask about everything that the run waits for and a person can decide. Whether anything was decided."""
    waiting = run.waiting
    tickets = () if waiting is None else waiting.tickets
    decided = [_ask(client, printer, ticket) for ticket in tickets if ticket.kind in _FOR_PEOPLE]
    return any(decided)


def _ask(client: Client, printer: AnswerPrinter, ticket: Ticket) -> bool:
    """Ask until there is an answer that is taken. False: whoever sits there leaves it open."""
    while True:
        said = _said(printer, ticket)
        if said is None:
            return False
        try:
            client.decide(ticket.ticket_id, **said)
        except AwakenError as error:
            printer.note(str(error))
            if error.code not in ("decision_rejected_by_schema", "action_not_allowed", "invalid_request"):
                return True  # it was decided elsewhere, or its time is over
            continue
        return True


def _said(printer: AnswerPrinter, ticket: Ticket) -> dict[str, Any] | None:
    printer.end_line()
    if ticket.kind == "input":
        text = typed(f"? {question(ticket)} ")
        return None if not text else {"action": "answer", "result": _fitting(ticket, text)}
    asked = question(ticket)
    if ticket.arguments is not None and shortened(ticket.arguments).endswith("…"):
        printer.note(written(ticket.arguments))  # what is approved has been seen, and whole
        asked = question(msgspec.structs.replace(ticket, arguments=None))
    can_edit = "edit" in ticket.allowed_actions and isinstance(ticket.arguments, dict)
    ways = "n and why, or e to edit" if can_edit else "or n and why"
    while text := typed(f"? {asked} [y/n, {ways}] "):
        word, _, why = text.partition(" ")
        if text.lower() in ("y", "yes"):
            return {"action": "approve"}
        if can_edit and text.lower() in ("e", "edit"):
            return _edited(printer, ticket)
        if word.lower() in ("n", "no"):
            return {"action": "deny", "reason": why.strip() or None}
        printer.note(f"nothing is decided: answer y or n, {ways}; an empty line leaves it open")
    return None


def _edited(printer: AnswerPrinter, ticket: Ticket) -> dict[str, Any] | None:
    """Yes, with other arguments; nothing typed leaves the question as it was."""
    text = _json(ticket.arguments)
    while True:
        text = typed("? the arguments, all of them, as JSON: ", text)
        if not text:
            return _said(printer, ticket)
        arguments = value_of(text)
        if isinstance(arguments, dict):
            return {"action": "edit", "arguments": arguments}
        printer.note("that is no JSON object")


def _json(value: Any) -> str:
    return escaped(msgspec.json.encode(value).decode())


def _fitting(ticket: Ticket, text: str) -> Any:
    """A text stays one where a text is asked for."""
    schema = ticket.response_schema or {}
    return text if schema.get("type") == "string" else fitting(text, ticket.response_schema)


def typed(prompt: str, beginning: str = "") -> str:
    """What somebody types, without the space around it; empty also where the input ends. `beginning` stands there
    already, to be changed, where the terminal can do that.
    """
    if readline is not None and beginning:
        readline.set_startup_hook(lambda: readline and readline.insert_text(beginning))
    try:
        return input(prompt).strip()
    except EOFError:
        return ""
    finally:
        if readline is not None:
            readline.set_startup_hook(None)
