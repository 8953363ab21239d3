"""What a client of LangGraph's run streams shows in the end."""

from __future__ import annotations

import json
from typing import Any, Final

from awaken.protocols.langgraph.encoder import Mode, encoder_of
from awaken.testing.protocols import CallSeen, Placed
from awaken.testing.protocols import Final as FinalView

MODES: Final[frozenset[Mode]] = frozenset({"values", "messages-tuple", "tools"})
_BESIDE_STATE: Final = frozenset({"messages", "__interrupt__", "__output__"})
MAKE: Final = encoder_of(MODES)


def ask(thread_id: str, agent_id: str) -> tuple[str, Any]:
    tools = [{"name": "look_around"}]
    body = {
        "assistant_id": agent_id,
        "if_not_exists": "create",
        "input": {"messages": [{"type": "human", "content": "Go on.", "id": "m1"}]},
        "stream_mode": sorted(MODES),
        "config": {"configurable": {"client_tools": tools}},
    }
    return f"/threads/{thread_id}/runs/stream", body


def final_of(frames: list[Placed]) -> FinalView:
    """From the last `values`, and what was said of tools."""
    final = FinalView(calls={})
    messages: list[dict[str, Any]] = []
    for each in frames:
        data = json.loads(each.frame.data)
        match each.frame.event:
            case "metadata":
                final.outcome, final.waits = None, None
            case "values":
                messages = data["messages"]
                final.state = {name: value for name, value in data.items() if name not in _BESIDE_STATE}
                if "__interrupt__" in data:
                    kinds = ["action_requests" in asked["value"] for asked in data["__interrupt__"]]
                    final.outcome, final.waits = "waiting", "approval" if all(kinds) else "input"
            case "tools":
                _tool(final.calls.setdefault(data["toolCallId"], CallSeen(data["name"])), data)
            case "error":
                final.outcome = "failed"
            case "end":
                final.outcome = final.outcome or "finished"
            case _:
                pass
    for message in messages:
        if message["type"] == "ai":
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            final.text += "".join([block["text"] for block in blocks if block["type"] == "text"])
            final.reasoning += "".join([block["reasoning"] for block in blocks if block["type"] == "reasoning"])
    return final


def _tool(call: CallSeen, data: dict[str, Any]) -> None:
    match data["event"]:
        case "on_tool_start":
            call.arguments = data["input"]
        case "on_tool_end":
            call.status, call.result = "succeeded", data["output"]
        case "on_tool_error":
            call.status, call.error = data["status"], data["error"]
        case _:
            pass
