"""What callers send: request bodies as types, and what the mailbox is asked for in return.

Above: the handlers of threads and runs. Below: `RunSubmission`, domain messages.
Holds: a field of a run that this version does not serve, and one that nobody knows, is refused by name, never passed
over. Everything in a body has been checked when it leaves here.

Source: docs/reference/http.md; SRV-001, SRV-002, SRV-010.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from awaken.domain.clock import Instant
from awaken.domain.delivery import (
    DEDUPE_PATTERN,
    LAST_PRIORITY,
    MAX_ATTEMPTS,
    MAX_DEDUPE_CHARS,
    MAX_DELAY_S,
    Delivery,
    Strategy,
    delay_ms,
    due_at,
    mode_of,
)
from awaken.domain.dispatch import DEFAULT_PRIORITY
from awaken.domain.errors import Unsupported, ValidationError
from awaken.domain.ids import ID_PATTERN, MessageId, Scope, ThreadId, checked_id
from awaken.domain.message import Audio, Base64Source, Document, Image, Json, Message, Role, Text, Video
from awaken.domain.run import (
    GOES_WITH_A_NEW_THREAD,
    NO_LIMITS,
    Adapter,
    ClientTool,
    Limits,
    OnCompletion,
    OnDisconnect,
    RunOptions,
    Trace,
)
from awaken.domain.thread import ThreadInfo, ThreadPatch
from awaken.http.settings import (
    MAX_ATTACHMENT_BYTES,
    MAX_ATTACHMENTS,
    MAX_BATCH_RUNS,
    MAX_BLOCKS,
    MAX_CANCELLED_RUNS,
    MAX_MESSAGES,
    MAX_METADATA_BYTES,
    MAX_METADATA_KEY_CHARS,
    MAX_METADATA_KEYS,
    MAX_STOP_WAIT_S,
    MAX_TEXT_CHARS,
)
from awaken.http.ticket_wire import NamedDecisions
from awaken.mailbox.submission import RunSubmission

_CAMEL: Final = {
    "agentId": "agent_id",
    "threadId": "thread_id",
    "runId": "run_id",
    "resourceId": "resource_id",
    "parentThreadId": "parent_thread_id",
    "assistant_id": "agent_id",
    "assistantId": "agent_id",
}
"""Other names of the same field."""
_NOT_SERVED: Final = (
    "webhook", "stream",
)  # fmt: skip
_ABSENT: Final = frozenset(
    {
        *_NOT_SERVED,
        "decisions",
        "after_seconds",
        "available_at",
        "context",
        "state",
        "client_tools",
        "overrides",
        "on_disconnect",
        "on_completion",
    }
)
"""Given as null they are as good as absent, whether or not there is such a field."""
_RESERVED_RUN_IDS: Final = frozenset({"batch", "cancel", "stream", "summary", "wait"})
"""They are words of paths where a run's id could stand."""

Id = Annotated[str, Meta(extra_json_schema={"pattern": ID_PATTERN})]
"""Checked by `checked_id`, which gives the refusal its own code."""
MaybeId = Annotated[str, Meta(extra_json_schema={"pattern": ID_PATTERN.replace("{1,128}", "{0,128}")})]
"""An id, or empty text for a new one."""

# What these may hold, the mailbox checks: here it is only published.
DedupeKey = Annotated[
    str, Meta(extra_json_schema={"pattern": DEDUPE_PATTERN, "minLength": 1, "maxLength": MAX_DEDUPE_CHARS})
]
Priority = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": LAST_PRIORITY})]
Attempts = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": MAX_ATTEMPTS})]
Seconds = Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": MAX_DELAY_S})]

Metadata = Annotated[dict[str, Any], Meta(max_length=MAX_METADATA_KEYS)]
InputText = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
InputBlock = Text | Image | Audio | Video | Document | Json
_ATTACHMENTS: Final = (Image, Audio, Video, Document)


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body. `read` makes one of a JSON object."""

    list_field: ClassVar[str | None] = None
    """The field that a JSON array stands for, where the body may be one."""
    when_too_large: ClassVar[str] = ""
    """What whoever sends too much can do about it, where that is not plain."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        """Raises msgspec.ValidationError for a wrong shape, ValidationError and Unsupported for its content."""
        named = cls.renamed(raw)
        for name in named:
            if name not in cls.__struct_fields__:
                raise ValidationError(
                    f"there is no field {name[:80]!r} here; there are: {', '.join(cls.__struct_fields__) or 'none'}",
                    loc=("body", name[:80]),
                )
        return msgspec.convert(named, cls)

    @classmethod
    def renamed(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """The object with every field under its own name."""
        if _CAMEL.keys().isdisjoint(raw):
            return raw
        named: dict[str, Any] = {}
        for key, value in raw.items():
            name = _CAMEL.get(key, key)
            if name in named and named[name] != value:
                raise ValidationError(f"{name} is given twice, with different values", loc=("body", key))
            named[name] = value
        return named


class MessageInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message from outside, which is always a user's."""

    content: InputText | Annotated[list[InputBlock], Meta(min_length=1, max_length=MAX_BLOCKS)]
    role: Literal["user"] = "user"
    message_id: Id | None = None
    id: Id | None = None
    """The same as `message_id`."""


InputMessages = Annotated[list[MessageInput], Meta(min_length=1, max_length=MAX_MESSAGES)]


class WrappedMessages(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: InputMessages


class WatchedRunCreate(Body, frozen=True, kw_only=True):
    """A run that is watched or waited for from the start. One of `messages` and `input` is required, unless there are
    `decisions`.
    """

    agent_id: str | None = None
    """Else the thread's last agent, else the only one there is. Also accepted as `assistant_id`."""
    messages: InputMessages | None = None
    input: InputText | WrappedMessages | None = None
    thread_id: MaybeId | None = None
    """Empty or absent: a new thread. The thread of the path, where there is one, must be the same."""
    run_id: Id | None = None
    dedupe_key: DedupeKey | None = None
    priority: Priority | None = None
    max_attempts: Attempts | None = None
    metadata: Metadata | None = None
    limits: Limits | None = None
    context: InputText | dict[str, Any] | None = None
    """Told to the agent beside the input, and shown to nobody else."""
    state: dict[str, Any] | None = None
    """A merge patch of the thread's state."""
    client_tools: list[ClientTool] | None = None
    """Tools that the caller carries out itself."""
    overrides: dict[str, Any] | None = None
    """For the agent's driver, as they are."""
    on_disconnect: OnDisconnect | None = None
    """`cancel`: stop it when nobody has watched it for ten seconds. Not in the background."""
    on_completion: OnCompletion | None = None
    """`delete`: its thread goes some time after its end. Only on a new thread."""
    decisions: NamedDecisions | None = None
    """About what a run of the thread waits for; they are made first. Without messages that run is the answer."""
    if_not_exists: Literal["reject", "create"] | None = None
    multitask_strategy: Strategy | None = None
    """What a thread that is not idle does: `enqueue` when absent."""
    release_wait_s: Annotated[float, Meta(ge=0, le=MAX_STOP_WAIT_S)] | None = None
    """With `interrupt` and `rollback`: give up when the run that is stopped has not let go after so many seconds."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        for name in _NOT_SERVED:
            if raw.get(name) is not None:
                raise Unsupported(name, "this version does not serve it; leave it out")
        for name in ("after_seconds", "available_at"):
            if name not in cls.__struct_fields__ and raw.get(name) is not None:
                raise ValidationError(
                    f"{name} delays a run that nobody watches; submit in the background and stream it later",
                    loc=("body", name),
                )
        return super().read({name: value for name, value in raw.items() if value is not None or name not in _ABSENT})

    @property
    def delay_s(self) -> float:
        return 0.0

    @property
    def due_at(self) -> Instant | None:
        return None

    @property
    def only_decides(self) -> bool:
        return self.decisions is not None and self.messages is None and self.input is None

    def decided_thread(self, path_thread_id: str | None) -> ThreadId:
        """The thread whose run the decisions are about. Raises ValidationError where none is named."""
        thread_id = self._thread_id(path_thread_id)
        if not thread_id:
            raise ValidationError("decisions are about a thread; name it", loc=("body", "thread_id"))
        return ThreadId(thread_id)

    def to_submission(self, scope: Scope, path_thread_id: str | None) -> RunSubmission:
        """What the mailbox is asked for.

        Raises:
            ValidationError: An id, a message or the metadata is unacceptable.
        """
        thread_id = self._thread_id(path_thread_id)
        if self.run_id is not None:
            _check_id(self.run_id, "run_id", reserved=_RESERVED_RUN_IDS)
        if self.metadata:
            check_metadata(self.metadata)
        return RunSubmission(
            scope=scope,
            thread_id=thread_id,
            messages=self._messages(),
            agent_id=self.agent_id,
            run_id=self.run_id,
            delivery=Delivery(
                priority=DEFAULT_PRIORITY if self.priority is None else self.priority,
                max_attempts=self.max_attempts,
                dedupe_key=self.dedupe_key,
                delay_ms=delay_ms(self.delay_s),
                available_at=self.due_at,
                mode=mode_of(self.multitask_strategy or "enqueue"),
            ),
            release_wait_s=self.release_wait_s,
            metadata=self.metadata or {},
            context=self.context,
            options=RunOptions(
                overrides=self.overrides,
                limits=self.limits or NO_LIMITS,
                state=self.state,
                client_tools=tuple(self.client_tools or ()),
                on_disconnect=self.on_disconnect or "continue",
                on_completion=self._on_completion(thread_id),
            ),
            create_thread=not thread_id or self.if_not_exists == "create",
            trace=Trace(adapter=Adapter.HTTP),
        )

    def _on_completion(self, thread_id: str) -> OnCompletion:
        """Raises ValidationError for a thread that is to go with a run, and is not made by it."""
        if self.on_completion == "delete" and thread_id:
            raise ValidationError(GOES_WITH_A_NEW_THREAD, loc=("body", "on_completion"))
        return self.on_completion or "keep"

    def _thread_id(self, path_thread_id: str | None) -> str:
        named = (self.thread_id or "").strip()
        if named:
            _check_id(named, "thread_id")
        if path_thread_id is None:
            return named
        if named and named != path_thread_id:
            raise ValidationError("the thread in the body is not the thread in the path", loc=("body", "thread_id"))
        return path_thread_id

    def _messages(self) -> tuple[Message, ...]:
        if (self.messages is None) == (self.input is None):
            raise ValidationError("give either messages or input", loc=("body", "messages"))
        if self.messages is not None:
            return to_messages(self.messages, "messages")
        if isinstance(self.input, WrappedMessages):
            return to_messages(self.input.messages, "input", "messages")
        return (Message(id=MessageId(""), role=Role.USER, content=(Text(self.input or ""),)),)


class RunCreate(WatchedRunCreate, frozen=True, kw_only=True):
    """A run in the background. One of `messages` and `input` is required, unless there are `decisions`."""

    after_seconds: Seconds | None = None
    available_at: str | None = None
    """RFC 3339; it does not start before. In the place of `after_seconds`."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        if raw.get("on_disconnect") == "cancel":
            raise ValidationError(
                "on_disconnect=cancel is for a run that is watched from its start; use /stream or /wait",
                loc=("body", "on_disconnect"),
            )
        return super().read(raw)

    @property
    def delay_s(self) -> float:
        return self.after_seconds or 0.0

    @property
    def due_at(self) -> Instant | None:
        return due_at(self.available_at, delay_s=self.delay_s)


class ThreadCreate(Body, frozen=True, kw_only=True):
    thread_id: MaybeId | None = None
    title: Annotated[str, Meta(max_length=1000)] | None = None
    metadata: Metadata | None = None
    resource_id: Id | None = None
    parent_thread_id: Id | None = None
    messages: Annotated[list[MessageInput], Meta(max_length=MAX_MESSAGES)] | None = None
    """Part of the conversation from the start, without a run."""
    if_exists: Literal["raise", "do_nothing"] = "raise"

    def named_thread_id(self) -> str:
        """The id asked for, or empty text. Raises ValidationError for one that cannot be."""
        named = (self.thread_id or "").strip()
        return _check_id(named, "thread_id") if named else ""

    def to_info(self) -> ThreadInfo:
        """Raises ValidationError for ids or metadata that cannot be."""
        for name, value in (("resource_id", self.resource_id), ("parent_thread_id", self.parent_thread_id)):
            if value is not None:
                _check_id(value, name)
        if self.metadata:
            check_metadata(self.metadata)
        parent = None if self.parent_thread_id is None else ThreadId(self.parent_thread_id)
        return ThreadInfo(self.title, self.metadata or {}, self.resource_id, parent)


class ThreadEdit(Body, frozen=True, kw_only=True):
    """What is to be said otherwise. What is left out stays; null takes it away. `metadata` is merged, key by key."""

    title: Annotated[str, Meta(max_length=1000)] | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    resource_id: Id | UnsetType | None = UNSET
    parent_thread_id: Id | UnsetType | None = UNSET

    def to_patch(self) -> ThreadPatch:
        """Raises ValidationError for metadata that cannot be."""
        if self.metadata:
            check_metadata(self.metadata)
        parent = self.parent_thread_id
        return ThreadPatch(
            title=self.title,
            metadata=self.metadata,
            resource_id=self.resource_id,
            parent_thread_id=ThreadId(parent) if isinstance(parent, str) else parent,
        )


class ThreadFork(Body, frozen=True, kw_only=True):
    """Where the copy ends: with a message, named by its seq or its id, or else with the last one."""

    at_seq: Annotated[int, Meta(ge=1)] | None = None
    at_message_id: Id | None = None
    thread_id: MaybeId | None = None
    """Of the copy; empty or absent: a new one."""
    title: Annotated[str, Meta(max_length=1000)] | None = None


class RunBatch(Body, frozen=True, kw_only=True):
    runs: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MAX_BATCH_RUNS)]
    """Each as the body of `POST /v1/runs`."""


class RunsCancel(Body, frozen=True, kw_only=True):
    """Which runs to stop: those that are named; or those of a thread, in one state, or both."""

    run_ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_CANCELLED_RUNS)] | None = None
    thread_id: Id | None = None
    status: Literal["queued", "running", "all"] | None = None


def to_messages(sent: Iterable[MessageInput], *loc: str) -> tuple[Message, ...]:
    """The messages as the mailbox takes them; one without an id gets it there.

    Raises:
        ValidationError: An id is unacceptable, or the attachments are too many or too large.
    """
    messages: list[Message] = []
    attachments: list[Image | Audio | Video | Document] = []
    for index, each in enumerate(sent):
        named = each.message_id if each.message_id is not None else each.id
        if named is not None:
            _check_id(named, "message_id", *loc, index, "message_id")
        content = (Text(each.content),) if isinstance(each.content, str) else tuple(each.content)
        attachments += [block for block in content if isinstance(block, _ATTACHMENTS)]
        if sum([len(block.text) for block in content if isinstance(block, Text)]) > MAX_TEXT_CHARS:
            raise ValidationError(
                f"a message has at most {MAX_TEXT_CHARS} characters of text", loc=("body", *loc, index, "content")
            )
        messages.append(Message(id=MessageId(named or ""), role=Role.USER, content=content))
    check_attachments(attachments, *loc)
    return tuple(messages)


def check_attachments(attachments: list[Image | Audio | Video | Document], *loc: str) -> None:
    """Raises ValidationError for too many, too large ones, and for data that is not base64."""
    if len(attachments) > MAX_ATTACHMENTS:
        raise ValidationError(f"a request carries at most {MAX_ATTACHMENTS} attachments", loc=("body", *loc))
    inline = [block.source.data for block in attachments if isinstance(block.source, Base64Source)]
    try:
        size = sum([len(binascii.a2b_base64(data, strict_mode=True)) for data in inline])
    except ValueError as error:
        raise ValidationError("the data of an attachment is not base64", loc=("body", *loc)) from error
    if size > MAX_ATTACHMENT_BYTES:
        raise ValidationError(f"attachments have at most {MAX_ATTACHMENT_BYTES} bytes together", loc=("body", *loc))


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raises ValidationError for metadata that is too large, or has too many or too long keys at any level."""
    loc = ("body", "metadata")
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise ValidationError(f"metadata has at most {MAX_METADATA_BYTES} bytes of JSON", loc=loc)
    waiting: list[Any] = [metadata]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += cast(list[Any], value)
        elif isinstance(value, dict):
            object_ = cast(dict[str, Any], value)
            if len(object_) > MAX_METADATA_KEYS or any(len(key) > MAX_METADATA_KEY_CHARS for key in object_):
                raise ValidationError(
                    f"metadata has at most {MAX_METADATA_KEYS} keys of {MAX_METADATA_KEY_CHARS} characters", loc=loc
                )
            waiting += object_.values()


def _check_id(text: str, what: str, *loc: str | int, reserved: frozenset[str] = frozenset()) -> str:
    where = ("body", *(loc or (what,)))
    checked_id(text, what=what, loc=where)
    if text in reserved:
        raise ValidationError(f"{what} {text!r} is a word of a path here; choose another", code="invalid_id", loc=where)
    return text
