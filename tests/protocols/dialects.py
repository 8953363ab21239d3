"""Every protocol as tests of all of them see it. Who adds one adds a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from awaken.http.operation import Operation
from awaken.protocols.projection import Making
from awaken.testing.protocols import Final as FinalView
from awaken.testing.protocols import Placed
from tests.protocols import plain


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


def _plain(thread_id: str, agent_id: str) -> tuple[str, Any]:
    said = {"id": "m1", "role": "user", "text": "Go on."}
    return "/plain/chat", {"id": thread_id, "agentId": agent_id, "messages": [said], "tools": ["look_around"]}


DIALECTS: Final[dict[str, Dialect]] = {
    "plain": Dialect(plain.PLAIN_OPERATIONS, plain.PlainEncoder, plain.final_of, _plain, shows_reasoning=False),
}
