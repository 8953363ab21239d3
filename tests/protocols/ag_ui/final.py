"""What a client of AG-UI shows in the end, from the events that it was sent."""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.testing.protocols import CallSeen, Final, Placed, patched


def events_of(frames: list[Placed]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(each.frame.data) for each in frames]


def final_of(frames: list[Placed]) -> Final:
    """As the client's own reducer has it: messages and calls, and snapshots in their place."""
    final = Final(calls={})
    messages: dict[str, dict[str, Any]] = {}
    arguments: dict[str, str] = {}
    names: dict[str, str] = {}
    for event in events_of(frames):
        match event["type"]:
            case "RUN_STARTED":
                final.outcome = final.waits = None
            case "TEXT_MESSAGE_START":
                messages.setdefault(event["messageId"], {"role": "assistant", "content": ""})
            case "REASONING_MESSAGE_START":
                messages.setdefault(event["messageId"], {"role": "reasoning", "content": ""})
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                messages[event["messageId"]]["content"] += event["delta"]
            case "TOOL_CALL_START":
                names[event["toolCallId"]], arguments[event["toolCallId"]] = event["toolCallName"], ""
            case "TOOL_CALL_ARGS":
                arguments[event["toolCallId"]] += event["delta"]
            case "TOOL_CALL_END" if names[event["toolCallId"]] != "ask":
                id = event["toolCallId"]
                final.calls[id] = CallSeen(names[id], msgspec.json.decode(arguments[id] or "null"))
            case "TOOL_CALL_RESULT" if event["toolCallId"] in final.calls:
                _result(final.calls[event["toolCallId"]], event)
            case "MESSAGES_SNAPSHOT":
                has_reasoning = any([each["role"] == "reasoning" for each in event["messages"]])
                kept = {id: each for id, each in messages.items() if each["role"] == "reasoning" and not has_reasoning}
                messages = kept | {each["id"]: dict(each) for each in event["messages"]}
            case "STATE_DELTA":
                final.state = patched(final.state, event["delta"])
            case "RUN_ERROR":
                final.outcome = "blocked" if event["code"] == "blocked" else "failed"
            case "RUN_FINISHED":
                final.outcome = event["metadata"]["awaken"]["outcome"]
                outcome = event["outcome"]
                if outcome["type"] == "interrupt":
                    asks = any([each["reason"] == "input_required" for each in outcome["interrupts"]])
                    final.waits = "input" if asks else "approval"
                elif "pendingToolCallIds" in outcome:
                    final.waits = "input"
            case _:
                pass
    said = [each for each in messages.values() if each["role"] == "assistant"]
    final.text = "".join([each.get("content", "") for each in said])
    final.reasoning = "".join([each["content"] for each in messages.values() if each["role"] == "reasoning"])
    return final


def _result(call: CallSeen, event: dict[str, Any]) -> None:
    call.status = event.get("metadata", {}).get("awaken", {}).get("status", "succeeded")
    if call.status == "succeeded":
        call.result = event["content"]
    else:
        call.error = event["content"]
