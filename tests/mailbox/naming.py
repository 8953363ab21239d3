"""The log of a thread as a test can compare it: ids are named as the log mentions them, instants count from the start.

Above: tests that hold whole logs. Below: rows of events.
Holds: the same story has the same log on every store and every time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from msgspec import json

from awaken.domain.log import EventRow
from awaken.testing.clock import START

Told = tuple[str, str, dict[str, Any]]
"""An event: whom its row is about, as `run/dispatch`; its kind; its payload."""

_NAMES: Final = {
    "run_id": "run", "to_run_id": "run", "active_run_id": "run", "child_run_ids": "run", "dispatch_id": "dispatch",
    "message_id": "message", "message_ids": "message", "result_message_id": "message", "output_message_ids": "message",
    "ticket_id": "ticket", "ticket_ids": "ticket", "thread_id": "thread", "to_thread_id": "thread",
    "worker": "worker", "previous_worker": "worker", "artifact_id": "artifact",
}  # fmt: skip
"""What an id is called, by the field that holds it."""
_INSTANTS: Final = frozenset({"available_at", "until", "expires_at"})
_CHOSEN_CHARS: Final = 20
"""An id that is shorter was chosen by the test, and stays."""


def told(rows: Iterable[EventRow]) -> list[Told]:
    """The events of these rows, in order."""
    naming = _Naming()
    return [each for row in rows for each in _told_in(row, naming)]


def _told_in(row: EventRow, naming: _Naming) -> Iterator[Told]:
    run = "" if row.run_id is None else naming.name("run", row.run_id)
    about = run if row.dispatch_id is None else f"{run}/{naming.name('dispatch', row.dispatch_id)}"
    for event in row.events:
        yield about, event.kind, naming.named(json.decode(event.payload))


class _Naming:
    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def name(self, what: str, id: str) -> str:
        if len(id) < _CHOSEN_CHARS:
            return id
        if id not in self._names:
            self._counts[what] += 1
            self._names[id] = f"{what}-{self._counts[what]}"
        return self._names[id]

    def named(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {field: self._value(field, value) for field, value in payload.items()}

    def _value(self, field: str, value: Any) -> Any:
        if field in _INSTANTS:
            return value - START
        if field == "process":
            return sorted(value)
        what = _NAMES.get(field)
        if what is not None and isinstance(value, list):
            return [self.name(what, each) for each in cast("list[str]", value)]
        return value if what is None else self.name(what, value)
