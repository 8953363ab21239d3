"""A durable server for agent runs: one object in a program, one process over HTTP, one file on disk."""

from awaken.domain.errors import AwakenError
from awaken.domain.message import Message
from awaken.domain.run import Run
from awaken.executors.contract import AgentDriver
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.wiring import Awaken, RunHandle, ThreadEvent

__all__ = [
    "AgentDriver",
    "Awaken",
    "AwakenError",
    "Context",
    "MailboxSettings",
    "Message",
    "Run",
    "RunHandle",
    "ThreadEvent",
]
