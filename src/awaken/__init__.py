"""A durable server for agent runs: one object in a program, one process over HTTP, one file on disk."""

from awaken.domain.errors import AwakenError, RunFailed, RunTimeout
from awaken.domain.message import Json, Message
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import ClientTool, Limits
from awaken.domain.shown import Event, Run, Thread
from awaken.executors.contract import AgentDriver
from awaken.executors.current import current_run
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.wiring import Awaken, RunHandle

__all__ = [
    "AgentDriver",
    "Awaken",
    "AwakenError",
    "ClientTool",
    "Context",
    "Event",
    "Json",
    "Limits",
    "MailboxSettings",
    "Message",
    "RetryPolicy",
    "Run",
    "RunFailed",
    "RunHandle",
    "RunTimeout",
    "Thread",
    "current_run",
]
