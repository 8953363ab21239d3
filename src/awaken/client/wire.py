"""What the server answers with, as this client reads it.

Above: users of the client. Below: JSON as `docs/reference/http.md` and `events.md` describe it.
Holds: a field this version does not know is ignored and one it misses has a default, so that client and server can be
of different versions; closed sets are plain text here, because a newer server may have more.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

ItemT = TypeVar("ItemT")


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Thread(_Resource, frozen=True):
    thread_id: str
    status: str = "idle"
    title: str | None = None
    metadata: dict[str, Any] = {}
    resource_id: str | None = None
    parent_thread_id: str | None = None
    active_run_id: str | None = None
    open_run_id: str | None = None
    latest_run_id: str | None = None
    message_count: int = 0
    queued_count: int = 0
    cursor: str = ""
    """Its newest event: watching from here misses nothing that this does not show."""
    created_at: str = ""
    updated_at: str = ""


class ToolCall(_Resource, frozen=True):
    id: str
    name: str
    arguments: Any = None


class Message(_Resource, frozen=True):
    message_id: str
    role: str
    thread_id: str = ""
    seq: int = 0
    content: tuple[dict[str, Any], ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_status: str | None = None
    run_id: str | None = None
    step_index: int | None = None
    visibility: str = "all"
    state: str = "committed"
    created_at: str = ""

    @property
    def text(self) -> str:
        """The visible text, blocks joined without a separator; empty when there is none."""
        return text_of(self.content)


class Termination(_Resource, frozen=True):
    type: str
    code: str | None = None
    detail: str | None = None


class Usage(_Resource, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0


class RunError(_Resource, frozen=True):
    message: str
    code: str = ""
    retryable: bool = False


class Run(_Resource, frozen=True):
    """`phase` is the one word for people; `status` is `created`, `running`, `waiting` or `done`."""

    run_id: str
    thread_id: str
    agent_id: str = ""
    parent_run_id: str | None = None
    status: str = "created"
    phase: str = ""
    termination: Termination | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    available_at: str | None = None
    queue_position: int | None = None
    final_output: str | None = None
    usage: Usage = Usage()
    steps: int = 0
    error: RunError | None = None
    metadata: dict[str, Any] = {}
    dedupe_key: str | None = None
    dispatch_id: str = ""
    cancel_requested_at: str | None = None
    created_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    updated_at: str = ""
    cursor: str = ""

    @property
    def is_done(self) -> bool:
        return self.status == "done"


class RunResult(_Resource, frozen=True):
    """A run that has ended or waits, its final text, and the messages it produced."""

    run: Run
    output: str | None = None
    messages: tuple[Message, ...] = ()


class Dispatch(_Resource, frozen=True):
    dispatch_id: str
    thread_id: str
    run_id: str
    status: str
    route: str = ""
    why: str = ""
    priority: int = 0
    position: int = 0
    epoch: int = 0
    attempt_count: int = 0
    max_attempts: int = 0
    crash_count: int = 0
    suspect: bool = False
    last_error: str | None = None
    claimed_by: str | None = None
    instance_id: str | None = None
    lease_until: str | None = None
    lease_remaining_s: float | None = None
    stale: bool = False
    lag_s: float | None = None
    available_at: str = ""
    created_at: str = ""
    updated_at: str = ""
    completed_at: str | None = None


class Agent(_Resource, frozen=True):
    agent_id: str
    name: str = ""
    description: str = ""
    kind: str = ""
    capabilities: dict[str, Any] = {}


class Cancellation(_Resource, frozen=True):
    """How far a stop has come: `requested`, `acknowledged` or `stopped`; `run` None: nothing was active."""

    state: str
    run: Run | None = None


class Interruption(_Resource, frozen=True):
    epoch: int
    active_run_id: str | None = None
    superseded: tuple[str, ...] = ()
    cancel: str = "stopped"


class Component(_Resource, frozen=True):
    state: str
    detail: str | None = None


class Health(_Resource, frozen=True):
    """Of a whole server. `status` is `ready`, or why it is not."""

    status: str
    durability: str = ""
    store: str = ""
    components: dict[str, Component] = {}
    executing: int = 0
    free_slots: int = 0


class Event(_Resource, frozen=True):
    """One entry of a thread's log. `cursor` is where to resume after."""

    cursor: str
    kind: str
    thread_id: str = ""
    run_id: str | None = None
    created_at: str = ""
    payload: dict[str, Any] = {}


class Resync(_Resource, frozen=True):
    """In the place of events: the position asked for is outside the log, so here is the state, and the log goes on.

    `state` is the server's snapshot of the thread or run; whatever was accumulated before it is void.
    """

    cursor: str
    state: dict[str, Any] = {}


StreamItem = Event | Resync


class Page(_Resource, Generic[ItemT], frozen=True):
    items: tuple[ItemT, ...]
    has_more: bool = False
    next_cursor: str | None = None


def text_of(blocks: tuple[dict[str, Any], ...]) -> str:
    """The text blocks of a message's content, joined without a separator."""
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    return "".join([text for text in texts if isinstance(text, str)])
