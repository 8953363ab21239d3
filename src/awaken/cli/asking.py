"""Ask whoever sits at the terminal what a run waits for.

Above: `run`, when its run waits for a person. Below: the tickets of the run, and a client to decide them.
Holds: nobody is asked who does not sit there: where the input or the output is no terminal the run waits on.
"""

from __future__ import annotations

import sys
from typing import Any

from awaken.cli.terminal import AnswerPrinter
from awaken.cli.tickets import question, value_of
from awaken.client import Client, Run, Ticket
from awaken.domain.errors import AwakenError

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
        text = _typed(f"? {question(ticket)} ")
        return None if not text else {"action": "answer", "result": _fitting(ticket, text)}
    text = _typed(f"? {question(ticket)} [y/n, or n and why] ")
    if not text:
        return None
    word, _, why = text.partition(" ")
    if word.lower() in ("y", "yes"):
        return {"action": "approve"}
    return {"action": "deny", "reason": (why if word.lower() in ("n", "no") else text) or None}


def _fitting(ticket: Ticket, text: str) -> Any:
    """A text stays one where a text is asked for."""
    schema = ticket.response_schema or {}
    return text if schema.get("type") == "string" else value_of(text)


def _typed(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError:
        return ""
