"""The HTTP API from Python: typed answers, errors as exceptions, and streams that come back by themselves.

`AsyncClient` for programs with an event loop, `Client` for the others; both do the same.
"""

from awaken.client.asynchronous import AsyncClient, AsyncRunHandle, AsyncStream, AsyncWatch
from awaken.client.connection import Reconnect
from awaken.client.errors import ApiError, Unreachable
from awaken.client.resume import ResumeSettings
from awaken.client.synchronous import Client, RunHandle, Stream, Watch
from awaken.client.transcript import Change, Transcript
from awaken.client.wire import Health, Resync, StreamItem, WatchItem
from awaken.domain.address import DEFAULT_URL
from awaken.domain.errors import RunFailed, RunTimeout
from awaken.domain.message import Json
from awaken.domain.run import Limits
from awaken.domain.shown import (
    Agent,
    AgentStats,
    AgentVersion,
    Blocker,
    Cancellation,
    DeadLetter,
    DeadLetterGroup,
    Decided,
    DecidedRun,
    Decision,
    Dispatch,
    Draining,
    Event,
    Explanation,
    HandledLetters,
    Hint,
    Interruption,
    Message,
    Run,
    RunError,
    RunInput,
    RunWaiting,
    Schedule,
    Termination,
    Thread,
    Ticket,
    ToolCall,
    Usage,
    WatchedEvent,
)

__all__ = [
    "DEFAULT_URL",
    "Agent",
    "AgentStats",
    "AgentVersion",
    "ApiError",
    "AsyncClient",
    "AsyncRunHandle",
    "AsyncStream",
    "AsyncWatch",
    "Blocker",
    "Cancellation",
    "Change",
    "Client",
    "DeadLetter",
    "DeadLetterGroup",
    "Decided",
    "DecidedRun",
    "Decision",
    "Dispatch",
    "Draining",
    "Event",
    "Explanation",
    "HandledLetters",
    "Health",
    "Hint",
    "Interruption",
    "Json",
    "Limits",
    "Message",
    "Reconnect",
    "ResumeSettings",
    "Resync",
    "Run",
    "RunError",
    "RunFailed",
    "RunHandle",
    "RunInput",
    "RunTimeout",
    "RunWaiting",
    "Schedule",
    "Stream",
    "StreamItem",
    "Termination",
    "Thread",
    "Ticket",
    "ToolCall",
    "Transcript",
    "Unreachable",
    "Usage",
    "Watch",
    "WatchItem",
    "WatchedEvent",
]
