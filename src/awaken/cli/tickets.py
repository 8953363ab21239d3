"""`awaken tickets` and `awaken decide`: what runs wait for, and what somebody says to it."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Final, Literal, cast

from cyclopts import Parameter

from awaken.cli import streams
from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL, AsJson, Flag, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import note, one_line, print_json, shortened
from awaken.client import Ticket
from awaken.domain.checking import shown
from awaken.domain.errors import ValidationError

_MOST_DIGITS: Final = 20


def tickets(
    *,
    state: Literal["open", "decided", "expired", "withdrawn", "all"] = "open",
    kind: Literal["approval", "input", "client_tool", "external", "child"] | None = None,
    agent: str | None = None,
    thread: str | None = None,
    limit: int = 20,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """List what runs wait for, across threads, newest first.

    Example: awaken tickets --kind approval

    Parameters
    ----------
    state
        Those in this state; all of them with `all`.
    kind
        Those of this kind.
    agent
        Those of this agent.
    thread
        Those of this thread.
    limit
        At most so many.
    """
    with connected(url, header) as client:
        wanted = None if state == "all" else state
        found = list(client.list_tickets(state=wanted, kind=kind, agent=agent, thread_id=thread, limit=limit))
    if as_json:
        print_json({"items": found})
    elif found:
        _print_table(found)
    else:
        note("no run waits for anybody")
    return Exit.OK


_COLUMNS: Final = (
    Column(name="TICKET"),
    Column(name="AGENT", least=8, leaves=2),
    Column(name="KIND", leaves=0),
    Column(name="STATE", is_status=True, leaves=1),
    Column(name="ASKS", least=16),
)


def _print_table(found: list[Ticket]) -> None:
    print_table(_COLUMNS, [(each.ticket_id, each.agent_id, each.kind, each.state, question(each)) for each in found])


def question(ticket: Ticket) -> str:
    """What a ticket asks, in one line."""
    parts = [ticket.message or ticket.tool_name or ticket.kind]
    if ticket.arguments is not None:
        parts.append(shortened(ticket.arguments))
    return one_line(" ".join(parts))


def decide(
    ticket: str,
    /,
    *,
    approve: Flag = False,
    deny: Flag = False,
    edit: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    answer: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    fail: Flag = False,
    reason: str | None = None,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Decide what a run waits for; it goes on with that.

    Example: awaken decide TICKET --deny --reason "too dear"

    Parameters
    ----------
    ticket
        The id of the ticket, as `awaken tickets` lists it.
    approve
        Yes.
    deny
        No.
    edit
        Yes, with these arguments, all of them, as JSON; - reads the standard input.
    answer
        The answer: JSON, or else a text, also where the question wants one; - reads the standard input.
    fail
        There will be no result.
    reason
        Why; for whoever asked.
    """
    said = {"approve": approve, "deny": deny, "edit": edit is not None, "answer": answer is not None, "fail": fail}
    chosen = [name for name, is_given in said.items() if is_given]
    if len(chosen) != 1:
        usage("give one of --approve, --deny, --edit JSON, --answer JSON-or-text and --fail")
    edit = None if edit is None else streams.given_text(edit, "--edit")
    answer = None if answer is None else streams.given_text(answer, "--answer")
    arguments: Any = None
    if edit is not None:
        try:
            arguments = _read_json(edit)
        except ValueError as error:
            usage(f"--edit is not JSON that can be sent: {error}")
        if not isinstance(arguments, dict):
            usage("--edit brings the arguments, all of them, as a JSON object")
    with connected(url, header) as client:
        result = None
        if answer is not None:
            result = value_of(answer)
            if not isinstance(result, str):  # a text where one is asked for, whatever it looks like
                result = fitting(answer, client.get_ticket(ticket).response_schema)
        made = client.decide(
            ticket,
            chosen[0],
            result=result,
            arguments=cast("dict[str, Any] | None", arguments),
            reason=reason,
        )
    if as_json:
        print_json(made.ticket)
    else:
        again = ", as before" if made.duplicate else ""
        note(f"{chosen[0]}{again}; run {made.run.run_id} is {made.run.phase}")
    return Exit.OK


def value_of(text: str) -> Any:
    """What somebody has typed: JSON where it is some, or else a text."""
    try:
        return _read_json(text)
    except ValueError:
        return text


def fitting(text: str, schema: dict[str, Any] | None) -> Any:
    """As `value_of`; and the text itself where a schema takes that and not what it is as JSON."""
    value = value_of(text)
    if schema is None or isinstance(value, str):
        return value
    from awaken.executors.schema import SchemaCheck

    try:
        check = SchemaCheck(schema, "the schema")
    except ValidationError:  # the server says so
        return value
    return text if check.faults(value) and not check.faults(text) else value


def _read_json(text: str) -> Any:
    """As the server reads it. Raises ValueError, also for what could not be sent as it was meant."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_whole, parse_float=_number, parse_constant=_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(max(names, key=names.count))} appears twice in one object")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"{shown(digits)} does not fit into 64 bits")
    return int(digits)


def _number(written: str) -> float:
    found = float(written)
    if not math.isfinite(found):
        raise ValueError(f"{shown(written)} is no number that can be sent")
    return found
