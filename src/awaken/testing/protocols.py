"""A scripted run as an encoder sees it, and what has to hold of every encoder.

    async with memory_app() as app:
        add_scripted(app)
        seen = await seen_run(app, "approval", answer=approve_all)
        check_encoder(MyEncoder, seen)

Above: tests of protocols. Below: an app, whose log is read; `contract.TurnEncoder`.
Holds: nothing here knows a protocol. What a client finally shows is a `Final`: the test of a protocol makes one of its
frames, and it has to be equal to that of the log.

Source: docs/concepts/protocols.md; SRV-038.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import msgspec

from awaken.domain.event import TABLE, opened
from awaken.domain.given import messages_of
from awaken.domain.ids import RunId
from awaken.domain.log import EventRow, MessagePayload, ReadEvent
from awaken.domain.message import Role, Text, Thinking, ToolCall
from awaken.domain.run import ClientTool, Run, RunOptions
from awaken.domain.ticket import Ticket, Verdict
from awaken.mailbox.submission import RunSubmission
from awaken.protocols.contract import Frame, Opened, done_by, events_of
from awaken.protocols.projection import Making, opened_of
from awaken.protocols.turns import TURN_KINDS, Outcome, Turns, Waits
from awaken.store.contract import MAX_PAGE, TicketQuery
from awaken.wiring import Awaken

CLIENT_TOOL = ClientTool("look_around", "Look around on the page.", {"type": "object", "properties": {}})
"""What a caller of `client-tool` brings."""
Answering = Callable[[Ticket], Verdict]


def approve_all(ticket: Ticket) -> Verdict:
    """Yes to what is to be approved, and an answer to everything else."""
    if ticket.asked.kind == "approval":
        return Verdict(action="approve", ticket_id=ticket.ticket_id)
    return Verdict(action="answer", ticket_id=ticket.ticket_id, result="blue")


def deny_all(ticket: Ticket) -> Verdict:
    """No to what is to be approved, and no result to anything else that may fail."""
    if ticket.asked.kind == "approval":
        return Verdict(action="deny", ticket_id=ticket.ticket_id, reason="too dear")
    action = "fail" if "fail" in ticket.asked.actions else "answer"
    return Verdict(action=action, ticket_id=ticket.ticket_id, result=None if action == "fail" else "red", reason=None)


class CallSeen(msgspec.Struct):
    """A tool call, as somebody sees it who looks at the end."""

    name: str
    arguments: Any = None
    status: str = "open"
    result: Any = None
    error: str | None = None


class Final(msgspec.Struct):
    """What a client shows in the end, whatever its protocol: what was said, what was called, the state, the outcome."""

    text: str = ""
    reasoning: str = ""
    calls: dict[str, CallSeen] = {}
    state: dict[str, Any] = {}
    """What the run made of the state, as far as its changes say."""
    outcome: Outcome | None = None
    waits: Waits | None = None


class SeenRun(msgspec.Struct):
    """A run and its log, as far as it has come."""

    run: Run
    opened: Opened
    rows: list[EventRow]

    @property
    def final(self) -> Final:
        """Of the whole run."""
        return final_of(self.rows)


async def seen_run(
    app: Awaken,
    agent_id: str,
    input: str = "Go on.",
    *,
    answer: Answering | None = None,
    thread_id: str = "",
    options: RunOptions | None = None,
) -> SeenRun:
    """Run an agent to its end, and its log. What it waits for is answered by `answer`; None: it stays waiting."""
    if options is None:
        options = RunOptions(client_tools=(CLIENT_TOOL,) if agent_id.startswith("client-tool") else ())
    asked = RunSubmission(
        scope=app.scope,
        thread_id=thread_id,
        messages=messages_of(input),
        agent_id=agent_id,
        options=options,
    )
    run = (await app.mailbox.submit(asked)).run
    async with asyncio.timeout(60):
        while True:
            run = await app.mailbox.wait(app.scope, run.run_id, until_parked=True)
            if answer is None or not run.waits_for_somebody:
                break
            tickets = (await app.store.list_tickets(app.scope, _open(run.run_id))).items
            await app.mailbox.decisions.decide(app.scope, run.run_id, [answer(ticket) for ticket in tickets])
    return await read_run(app, run.run_id)


def _open(run_id: RunId) -> TicketQuery:
    return TicketQuery(run_id=run_id, state="open", limit=MAX_PAGE)


async def read_run(app: Awaken, run_id: RunId) -> SeenRun:
    """A run as it is now, and its log."""
    run = await app.mailbox.get_run(app.scope, run_id)
    rows: list[EventRow] = []
    after: int | None = run.first_event_seq - 1
    while after is not None:
        page = await app.store.page_events(app.scope, run.thread_id, after=after, limit=512, run_id=run_id)
        rows += page.items
        after = page.next
    return SeenRun(run, opened_of(app.scope, run), rows)


# --- encoding ---------------------------------------------------------------------------------------------------------


class Placed(msgspec.Struct, frozen=True):
    """A frame with its place: the event that it was made of, its number among that event's frames, and the turn."""

    seq: int
    number: int
    turn: int
    frame: Frame

    def json(self) -> Any:
        return msgspec.json.decode(self.frame.data)


def encode(make: Making, seen: SeenRun) -> list[Placed]:
    """Every frame of the run, in order, of all its turns."""
    encoder = make(seen.opened)
    found: list[Placed] = []
    for row in seen.rows:
        for seq, event in events_of(row):
            frames = encoder.feed(seq, event, row)
            found += [Placed(seq, n, encoder.turns.number, each) for n, each in enumerate(frames, 1)]
    return found


def check_encoder(make: Making, seen: SeenRun) -> list[Placed]:
    """Hold an encoder to what holds of all of them, and return its frames.

    It makes the same of the same; each frame is one line, JSON or `[DONE]`; each turn begins at its acceptance; what
    ends a turn is said at the event that ends it, and nothing after that; events of kinds that it does not know change
    nothing.
    """
    found = encode(make, seen)
    assert encode(make, seen) == found, "fed the same, it makes something else"
    for each in found:
        assert b"\n" not in each.frame.data and b"\r" not in each.frame.data, each
        if each.frame.data != b"[DONE]":
            msgspec.json.decode(each.frame.data)
    for number, (opens, ends) in enumerate(turn_bounds(seen.rows), 1):
        seqs = [each.seq for each in found if each.turn == number]
        assert seqs, f"turn {number} is shown with nothing"
        assert seqs[0] == opens, f"the first frame of turn {number} is made of event {seqs[0]}, and not of {opens}"
        if ends is not None:
            assert seqs[-1] == ends, f"the last frame of turn {number} is made of event {seqs[-1]}, and not of {ends}"
    assert encode(make, _with_strangers(seen)) == found, "an event of a kind that it does not know changes something"
    return found


def turn_bounds(rows: list[EventRow]) -> list[tuple[int, int | None]]:
    """The first and the last event of each turn of a run."""
    turns, found = Turns(), list[tuple[int, int | None]]()
    for row in rows:
        for seq, event in events_of(row):
            moved = turns.feed(event.kind, opened(event)) if event.kind in TURN_KINDS else ""
            if moved == "opens":
                found.append((seq, None))
            elif moved == "ends":
                found[-1] = (found[-1][0], seq)
    return found


def _with_strangers(seen: SeenRun) -> SeenRun:
    """The same run, in whose log something new happens between any two events that an encoder knows."""
    assert "SomethingNew" not in TABLE
    new = ReadEvent("SomethingNew", msgspec.Raw(b'{"message_id":"m","id":"call_0"}'))
    rows: list[EventRow] = []
    for row in seen.rows:
        for seq, event in enumerate(row.events, row.first_seq):
            for each in (new, event):  # a stranger has no place of its own here: encoders see seqs, and must not count
                rows.append(msgspec.structs.replace(row, first_seq=seq, events=(each,)))
    return SeenRun(seen.run, seen.opened, rows)


# --- what is shown in the end -----------------------------------------------------------------------------------------


def final_of(rows: list[EventRow]) -> Final:
    """What the log says, in the end."""
    final, turns, made = Final(calls={}), Turns(), dict[str, ToolCall]()
    for row in rows:
        for _, event in events_of(row):
            payload = opened(event)
            if event.kind in TURN_KINDS and turns.feed(event.kind, payload) == "ends" and turns.ending is not None:
                final.outcome, final.waits = turns.ending.outcome, turns.ending.waits
            match event.kind:
                case "MessageCommitted" if payload.role is Role.ASSISTANT:
                    _said(final, payload)
                    made.update([(call.id, call) for call in payload.tool_calls])
                case "MessageCommitted" if payload.tool_call_id in made and payload.tool_call_id not in final.calls:
                    call = made[payload.tool_call_id]  # of an agent that publishes whole messages, and no more
                    done = done_by(payload.message_id, call, payload)
                    final.calls[call.id] = CallSeen(
                        call.name, call.arguments, done.status, done.result, done.error_text
                    )
                case "ToolCallReady":
                    final.calls[payload.id] = CallSeen(payload.name, payload.arguments)
                case "ToolCallDone":
                    call = final.calls.setdefault(payload.id, CallSeen(payload.name))
                    call.status, call.result, call.error = payload.status, payload.result, payload.error_text
                case "StateDeltaObserved":
                    final.state = patched(final.state, payload.patch)
                case _:
                    pass
    return final


def _said(final: Final, message: MessagePayload) -> None:
    for block in message.content_blocks:
        if isinstance(block, Text):
            final.text += block.text
        elif isinstance(block, Thinking):
            final.reasoning += block.text


def patched(state: dict[str, Any], patch: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The state after the operations of a JSON patch, of those kinds that there are here: add, replace and remove."""
    found = deepcopy(state)
    for operation in patch:
        *path, key = [each.replace("~1", "/").replace("~0", "~") for each in operation["path"].split("/")[1:]]
        place: dict[str, Any] = found
        for each in path:
            place = place[each]
        if operation["op"] == "remove":
            del place[key]
        else:
            place[key] = operation["value"]
    return found
