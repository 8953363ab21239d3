"""Decide where an execution starts: the committed log of a thread, read as history and, after a crash, an open turn.

Above: the mailbox reads the log and calls `conversation`; drivers get the result. Below: nothing but messages.
Holds: no history handed to a driver has an unanswered tool call, or an answer to a call that was never made. A turn
is entered again only by the run that committed it, and only until its step is closed, so nothing finished is repeated
and nothing closed comes back.

Source: ADR 0006, `docs/concepts/executors.md` (starting again).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from awaken.domain.ids import MessageId, RunId
from awaken.domain.message import Message, MessageState, Role, cancelled_tool_message, is_page
from awaken.domain.run import Usage
from awaken.executors.contract import Conversation

NO_USAGE: Final = Usage()
NO_ANSWER: Final = "the call has not been answered yet"

LoggedMessage = tuple[Message, RunId | None]
"""A message of the thread's log and the run that brought it."""


def conversation(
    log: Sequence[LoggedMessage],
    *,
    run_id: RunId,
    closed_turn: MessageId | None,
    usage: Usage = NO_USAGE,
    steps: int = 0,
) -> Conversation:
    """What the run `run_id` continues from, given the whole log, or what is read of it, in order.

    `closed_turn`, `usage` and `steps` are the run's own, as its last closed step left them; the totals of a turn that
    is entered again are therefore those before it.
    """
    log = _last_page_only(_history_of(log, run_id))
    messages = [message for message, _ in log]
    start = _open_turn(log, run_id, closed_turn)
    if start is None:
        return Conversation(history=tuple(answered(messages)), usage=usage, steps=steps)
    turn, behind = messages[start], log[start + 1 :]
    return Conversation(
        history=tuple(answered(messages[:start])),
        reenter=turn,
        answers=tuple(_answers(turn, messages[start + 1 :])),
        arrived=tuple([message for message, producer in behind if _is_given(message, producer, run_id)]),
        usage=usage,
        steps=steps,
    )


def answered(messages: Iterable[Message]) -> list[Message]:
    """The messages as a model accepts them: each call is answered once, right after the turn that made it.

    The answers of a run that waited stand where it went on, behind what others said meanwhile; a client's own messages,
    and edited or restored data, need not be in order either. A call without an answer gets one that says so and is
    never stored, an answer without a call is left out, and of two answers the first counts.
    """
    log = [*messages]
    answers = _answers_by_turn(log)
    found: list[Message] = []
    for index, message in enumerate(log):
        if message.role is not Role.TOOL:
            found.append(message)
            if message.tool_calls:
                given = answers.get(index, {})
                found += given.values()
                found += _closing(message, given)
    return found


def _history_of(log: Sequence[LoggedMessage], run_id: RunId) -> Sequence[LoggedMessage]:
    """What the run may read: all up to the newest message that came to it, and of what lies behind only its own. What
    others said while it waited is for later runs.
    """
    for index in range(len(log) - 1, -1, -1):
        if _is_given(*log[index], run_id):
            return [*log[: index + 1], *[entry for entry in log[index + 1 :] if entry[1] == run_id]]
    return log


def _last_page_only(log: Sequence[LoggedMessage]) -> Sequence[LoggedMessage]:
    """The log with the newest of what a client's page told, and none of the older ones: the page shows that no more."""
    pages = [index for index, (message, _) in enumerate(log) if message.role is Role.SYSTEM and is_page(message)]
    old = frozenset(pages[:-1])
    return [entry for index, entry in enumerate(log) if index not in old] if old else log


def _is_given(message: Message, producer: RunId | None, run_id: RunId) -> bool:
    """The message came to the run: it was brought, or taken."""
    return producer == run_id and message.role in (Role.USER, Role.SYSTEM) and message.metadata.run_id != run_id


def _answers_by_turn(log: Sequence[Message]) -> dict[int, dict[str, Message]]:
    """The answers of each turn by call, in the order of the log."""
    waiting: dict[str, int] = {}
    answers: dict[int, dict[str, Message]] = {}
    for index, message in enumerate(log):
        if message.role is Role.TOOL:
            turn = waiting.pop(message.tool_call_id or "", None)
            if turn is not None:
                answers.setdefault(turn, {})[message.tool_call_id or ""] = message
        else:
            waiting.update(dict.fromkeys([call.id for call in message.tool_calls], index))
    return answers


def _open_turn(log: Sequence[LoggedMessage], run_id: RunId, closed_turn: MessageId | None) -> int | None:
    """The index of the run's own last assistant turn when its step is not closed; None starts from the whole log.

    What a tool has taken lies behind the turn that called it. There the turn is open as long as a call of it is: a run
    that goes on with input instead of answers has had its calls closed.
    """
    is_last = True
    for index in range(len(log) - 1, -1, -1):
        message, producer = log[index]
        if message.role is Role.TOOL:
            continue
        if message.role is Role.ASSISTANT and producer == run_id:
            is_open = message.id != closed_turn and message.state is MessageState.COMMITTED
            return index if is_open and (is_last or _is_called(message, log[index + 1 :])) else None
        is_last = False
    return None


def _is_called(turn: Message, behind: Sequence[LoggedMessage]) -> bool:
    """A call of the turn has no answer yet."""
    return len(_answers(turn, [message for message, _ in behind])) < len(turn.tool_calls)


def _answers(turn: Message, tail: list[Message]) -> list[Message]:
    waiting = {call.id for call in turn.tool_calls}
    found: list[Message] = []
    for message in tail:
        if message.tool_call_id in waiting:
            waiting.remove(message.tool_call_id)
            found.append(message)
    return found


def _closing(turn: Message, answers: Mapping[str, Message]) -> list[Message]:
    return [
        cancelled_tool_message(MessageId(f"{turn.id}.{call.id}.unanswered"), call, NO_ANSWER)
        for call in turn.tool_calls
        if call.id not in answers
    ]
