"""The protocol's own judges: its models, and its validator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ag_ui.core import Event
from ag_ui_validate.pytest_plugin import validate_agui
from pydantic import TypeAdapter

from awaken.testing.protocols import Placed
from tests.protocols.ag_ui.final import events_of

_LIST_OF_PARTS = "TOOL_CALL_RESULT: field 'content' must be a string, got array"
"""The validator knows results as they were before 1.0, which has lists of parts as well; the models do."""
_EVENT: TypeAdapter[Any] = TypeAdapter(Event)


def check_stream(events: Sequence[dict[str, Any]]) -> None:
    """One stream, which begins with its start and ends with its end: no errors and no warnings, and the models write
    it as it came.
    """
    report = validate_agui([*events])
    found = [(each.rule, each.severity, each.message) for each in report.diagnostics if each.severity != "info"]
    found = [each for each in found if _LIST_OF_PARTS not in each[2]]
    assert not found, found
    for event in events:
        read = _EVENT.validate_python(event)
        assert not read.model_extra, event
        assert read.model_dump(mode="json", by_alias=True) == event


def streams_of(frames: list[Placed]) -> list[list[dict[str, Any]]]:
    """The events of each turn of a run, which is a stream each."""
    turns: dict[int, list[Placed]] = {}
    for each in frames:
        turns.setdefault(each.turn, []).append(each)
    return [events_of(each) for each in turns.values()]
