"""What a run published, as readers get it: kinds and payloads, message ids replaced by m1, m2, …"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.event import logged
from awaken.domain.message import Message
from awaken.testing.executors import RecordedRun

Published = list[tuple[str, dict[str, Any]]]


def published(run: RecordedRun) -> Published:
    """The whole log of the executions, in order. Of a committed message there is its id, role, text and calls."""
    return _named([_entry(entry) for entry in run.entries])


def kinds(run: RecordedRun) -> list[str]:
    return [kind for kind, _ in published(run)]


def payloads(run: RecordedRun, kind: str) -> list[dict[str, Any]]:
    return [payload for name, payload in published(run) if name == kind]


def _entry(entry: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(entry, Message):
        event = logged(entry)
        return event.kind, msgspec.json.decode(event.payload)
    payload: dict[str, Any] = {"message_id": entry.id, "role": entry.role, "text": entry.text}
    if entry.tool_calls:
        payload["calls"] = [call.id for call in entry.tool_calls]
    if entry.tool_call_id is not None:
        payload["answers"] = entry.tool_call_id
    return "MessageCommitted", payload


def _named(entries: Published) -> Published:
    ids = dict.fromkeys(value for _, payload in entries for key, value in payload.items() if key.endswith("message_id"))
    text = msgspec.json.encode(entries).decode()
    for number, message_id in enumerate(ids, start=1):
        text = text.replace(message_id, f"m{number}")
    return msgspec.json.decode(text, type=Published)
