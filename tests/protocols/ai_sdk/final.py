"""What a client of the AI SDK shows in the end, from the chunks that it was sent."""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.protocols.ai_sdk.encoder import DONE
from awaken.testing.protocols import CallSeen, Final, Placed, patched

_OUTCOMES = {"stop": "finished", "length": "stopped", "content-filter": "blocked", "error": "failed"}


def chunks_of(frames: list[Placed]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(each.frame.data) for each in frames if each.frame != DONE]


def final_of(frames: list[Placed]) -> Final:
    """As the client's own reducer has it, where that can be said: void text is what a page leaves out."""
    final = Final(calls={})
    texts: dict[str, str] = {}
    asked = ""
    for chunk in chunks_of(frames):
        match chunk["type"]:
            case "text-delta" | "reasoning-delta":
                texts[chunk["id"]] = texts.get(chunk["id"], "") + chunk["delta"]
            case "text-end" | "reasoning-end" if chunk.get("providerMetadata", {}).get("awaken", {}).get("void"):
                del texts[chunk["id"]]
            case "tool-input-available":
                asked = "input" if chunk.get("providerExecuted") is not True else asked
                if chunk["toolName"] != "ask":
                    final.calls[chunk["toolCallId"]] = CallSeen(chunk["toolName"], chunk["input"])
            case "tool-approval-request":
                asked = asked or "approval"
            case "tool-output-available" if not chunk.get("preliminary") and chunk["toolCallId"] in final.calls:
                call = final.calls[chunk["toolCallId"]]
                call.status, call.result = "succeeded", chunk["output"]
            case "tool-output-error" if chunk["toolCallId"] in final.calls:
                call = final.calls[chunk["toolCallId"]]
                call.status, call.error = "failed", chunk["errorText"]
            case "tool-output-denied":
                final.calls[chunk["toolCallId"]].status = "denied"
            case "data-state-delta":
                final.state = patched(final.state, chunk["data"]["patch"])
            case "start":
                asked, final.outcome, final.waits = "", None, None
            case "abort":
                final.outcome = "cancelled"
            case "finish" if chunk["finishReason"] == "tool-calls":
                final.outcome, final.waits = "waiting", "input" if asked == "input" else "approval"
            case "finish" if chunk["finishReason"] in _OUTCOMES:
                final.outcome = _OUTCOMES[chunk["finishReason"]]  # type: ignore[assignment]
            case _:
                pass
    final.text = "".join([text for id, text in texts.items() if id.startswith("txt")])
    final.reasoning = "".join([text for id, text in texts.items() if id.startswith("rsn")])
    return final
