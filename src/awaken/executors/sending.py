"""What an agent sends to other agents.

Above: `Context.send` takes it from the agent's code. Below: `RunPort.send`, which makes it durable.
Holds: what is sent is known by its key inside the run, so an execution that comes there again finds it sent.

Source: docs/howto/talk-between-agents.md; ADR 0035.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from awaken.domain.ids import RunId, ThreadId
from awaken.domain.message import Message

SEND_PREFIX: Final = "send:"
"""Begins the keys of what was sent, so that they are none of a step."""


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message to an agent, on a thread or on a new one."""

    agent_id: str
    messages: tuple[Message, ...]
    thread_id: str | None = None
    metadata: dict[str, Any] = {}


class Sent(msgspec.Struct, frozen=True):
    """It is on its way: the run that it opens, and the thread of that."""

    run_id: RunId
    thread_id: ThreadId
