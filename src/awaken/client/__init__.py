"""The HTTP API from Python: typed answers, errors as exceptions, and streams that come back by themselves.

`AsyncClient` for programs with an event loop, `Client` for the others; both do the same.
"""

from awaken.client.asynchronous import AsyncClient, AsyncStream
from awaken.client.calls import RunOptions, ThreadOptions
from awaken.client.connection import DEFAULT_URL, Reconnect
from awaken.client.errors import ApiError, Unreachable
from awaken.client.resume import ResumeSettings
from awaken.client.synchronous import Client, Stream
from awaken.client.transcript import Change, Transcript
from awaken.client.wire import (
    Agent,
    Cancellation,
    Dispatch,
    Event,
    Health,
    Interruption,
    Message,
    Resync,
    Run,
    RunError,
    RunResult,
    StreamItem,
    Termination,
    Thread,
    ToolCall,
    Usage,
)

__all__ = [
    "DEFAULT_URL",
    "Agent",
    "ApiError",
    "AsyncClient",
    "AsyncStream",
    "Cancellation",
    "Change",
    "Client",
    "Dispatch",
    "Event",
    "Health",
    "Interruption",
    "Message",
    "Reconnect",
    "ResumeSettings",
    "Resync",
    "Run",
    "RunError",
    "RunOptions",
    "RunResult",
    "Stream",
    "StreamItem",
    "Termination",
    "Thread",
    "ThreadOptions",
    "ToolCall",
    "Transcript",
    "Unreachable",
    "Usage",
]
