"""Give every tool call of a thread an id of its own.

Above: a driver asks for the id of each call its framework names, when the call begins or when the message that makes
it is committed, whichever comes first. Below: nothing.
Holds: some models number their calls anew in each answer, so a framework's id is unique within one turn only. Readers
of a log know a call by its id alone. A repeated id is replaced by one made of it and of the turn's message id: the
same however often it is asked for, and one that no other turn can have. A blank id is replaced, too. The framework's
own id goes into the sidecar of the message.

Source: `docs/reference/events.md`.
"""

from __future__ import annotations

from collections.abc import Iterable

from awaken.domain.ids import MessageId
from awaken.domain.message import Message
from awaken.executors.mending import mended


class CallIds:
    """The ids of a thread's calls, and what the calls of the open turn are named."""

    def __init__(self, log: Iterable[Message]) -> None:
        """`log`: the messages of the thread so far."""
        self._taken = {call.id for message in log for call in message.tool_calls}
        self._turn: MessageId | None = None
        self._names: dict[tuple[str, int], str] = {}

    def open_turn(self, turn: MessageId) -> None:
        """The calls named from here on are those of the assistant message `turn`."""
        self._turn, self._names = turn, {}

    def unique(self, call_id: str, nth: int = 0) -> str:
        """The thread's id for the call that the framework knows by `call_id` in the open turn. `nth`: how many calls of
        the turn before it have the same one.
        """
        name = self._names.get((call_id, nth))
        if name is None:
            assert self._turn is not None, "a turn is open"
            name = mended(call_id) if call_id.strip() else f"{self._turn}.call"
            name = f"{name}.{nth}" if nth else name
            while name in self._taken:
                name = f"{self._turn}.{name}"
            self._names[call_id, nth] = self._names[name, 0] = name
            self._taken.add(name)
        return name
