"""Every protocol as tests of all of them see it. Who adds one adds a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from awaken.http.operation import Operation
from awaken.protocols.ag_ui.encoder import AgUiEncoder
from awaken.protocols.ag_ui.routes import OPERATIONS as AG_UI
from awaken.protocols.ai_sdk.encoder import AiSdkEncoder
from awaken.protocols.ai_sdk.routes import OPERATIONS as AI_SDK
from awaken.protocols.langgraph import routes as langgraph_routes
from awaken.protocols.open_responses.encoder import OpenResponsesEncoder
from awaken.protocols.open_responses.routes import OPERATIONS as OPEN_RESPONSES
from awaken.protocols.projection import Making
from awaken.testing.protocols import Final as FinalView
from awaken.testing.protocols import Placed
from tests.protocols import plain
from tests.protocols.ag_ui import final as ag_ui
from tests.protocols.ai_sdk import final as ai_sdk
from tests.protocols.langgraph import shown as langgraph
from tests.protocols.open_responses import shown as open_responses


class Dialect(NamedTuple):
    """How a protocol is asked, and what its client shows in the end."""

    operations: Sequence[Operation]
    make: Making
    final_of: Callable[[list[Placed]], FinalView]
    """Of all frames of a run, of every turn. What the protocol cannot show at all is left as it is."""
    ask: Callable[[str, str], tuple[str, Any]]
    """Path and body of a request, given thread and agent: one message of a user, `m1`, which says `Go on.`, and one
    client tool, `look_around`."""
    shows_reasoning: bool = True
    says_why_denied: bool = True
    leaves_out: Callable[[FinalView], None] = lambda shown: None
    """Take out of what the log says what the protocol has no place for."""


def _plain(thread_id: str, agent_id: str) -> tuple[str, Any]:
    said = {"id": "m1", "role": "user", "text": "Go on."}
    return "/plain/chat", {"id": thread_id, "agentId": agent_id, "messages": [said], "tools": ["look_around"]}


def _ai_sdk(thread_id: str, agent_id: str) -> tuple[str, Any]:
    said = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Go on."}]}
    body = {"id": thread_id, "messages": [said], "clientTools": [{"name": "look_around"}]}
    return f"/v1/ai-sdk/agents/{agent_id}/chat", body


def _ag_ui(thread_id: str, agent_id: str) -> tuple[str, Any]:
    said = {"id": "m1", "role": "user", "content": "Go on."}
    tools = [{"name": "look_around", "description": ""}]
    body = {"threadId": thread_id, "runId": f"r-{thread_id}", "messages": [said], "tools": tools}
    return f"/v1/ag-ui/agents/{agent_id}/run", body


DIALECTS: Final[dict[str, Dialect]] = {
    "plain": Dialect(plain.PLAIN_OPERATIONS, plain.PlainEncoder, plain.final_of, _plain, shows_reasoning=False),
    "ag_ui": Dialect(AG_UI, AgUiEncoder, ag_ui.final_of, _ag_ui),
    "ai_sdk": Dialect(AI_SDK, AiSdkEncoder, ai_sdk.final_of, _ai_sdk, says_why_denied=False),
    "langgraph": Dialect(langgraph_routes.OPERATIONS, langgraph.MAKE, langgraph.final_of, langgraph.ask),
    "open_responses": Dialect(
        OPEN_RESPONSES,
        OpenResponsesEncoder,
        open_responses.final_of,
        open_responses.ask,
        leaves_out=open_responses.leaves_out,
    ),
}
