"""What a client of Open Responses shows in the end, from the events that it was sent."""

from __future__ import annotations

import json
from typing import Any

from awaken.protocols.open_responses.encoder import DONE
from awaken.testing.protocols import CLIENT_TOOL, CallSeen, Placed
from awaken.testing.protocols import Final as FinalView

ENDS = ("response.completed", "response.failed", "response.incomplete")


def ask(thread_id: str, agent_id: str) -> tuple[str, Any]:
    said = {"type": "message", "id": "m1", "role": "user", "content": "Go on."}
    tools = [{"type": "function", "name": "look_around"}]
    return "/v1/responses", {"model": agent_id, "conversation": thread_id, "input": [said], "tools": tools}


def leaves_out(log: FinalView) -> None:
    """The state; and what a client itself has answered."""
    log.state = {}
    for call in log.calls.values():
        if call.name == CLIENT_TOOL.name:
            call.status, call.result, call.error = "open", None, None


def events_of(frames: list[Placed]) -> list[dict[str, Any]]:
    return [each.json() for each in frames if each.frame != DONE]


def final_of(frames: list[Placed]) -> FinalView:
    """From the last state of each response."""
    final = FinalView(calls={})
    for event in events_of(frames):
        if event["type"] == "response.created":
            final.outcome, final.waits = None, None
        elif event["type"] in ENDS:
            _ended(final, event["response"])
    return final


def _ended(final: FinalView, response: dict[str, Any]) -> None:
    asked: set[str] = set()
    for item in response["output"]:
        match item["type"]:
            case "message" if item["id"].startswith("ask_"):
                asked.add("input")
            case "message" if not item["id"].startswith("out_"):
                final.text += "".join([part["text"] for part in item["content"]])
            case "reasoning":
                final.reasoning += "".join([part["text"] for part in item["content"]])
            case "function_call":
                asked.add("input")
                final.calls[item["call_id"]] = CallSeen(item["name"], json.loads(item["arguments"]))
            case "mcp_call":
                _called(final, item)
            case "mcp_approval_request":
                asked.add("approval")
            case _:
                pass
    match response["status"]:
        case "completed":
            final.outcome = "waiting" if asked else "finished"
        case "failed":
            final.outcome = "failed"
        case _:
            final.outcome = "blocked" if response["incomplete_details"]["reason"] == "content_filter" else "stopped"
    if asked:
        final.waits = "input" if "input" in asked else "approval"


def _called(final: FinalView, item: dict[str, Any]) -> None:
    call = CallSeen(item["name"], json.loads(item["arguments"]))
    if item["status"] == "completed":
        call.status, call.result = "succeeded", item["output"]
    elif item["status"] == "failed":
        call.status = "failed" if item["approval_request_id"] is None else "denied"
        call.error = item["error"]["content"][0]["text"]
    final.calls[item["id"].removeprefix("mcp_")] = call
