"""Neutral messages and those of Pydantic AI: nothing is lost, and the blocks alone are enough."""

from __future__ import annotations

import itertools
import warnings
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    CachePoint,
    CompactionPart,
    DocumentUrl,
    FilePart,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    RetryFeedbackPart,
    RetryInfo,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UploadedFile,
    UserPromptPart,
    VideoUrl,
)
from pydantic_ai.usage import RequestUsage

from awaken.domain.ids import MessageId
from awaken.domain.message import (
    Base64Source,
    Image,
    Json,
    Message,
    Native,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolStatus,
    UrlSource,
    check_messages,
    user_message,
)
from awaken.executors.pydantic_messages import (
    FORMAT,
    dump_message,
    from_parts,
    from_request,
    from_response,
    from_return,
    to_native,
    to_tool_return,
)
from awaken.testing.executors import Script

AT = datetime(2027, 1, 15, 8, 0, 1, 234567, tzinfo=UTC)
PNG = BinaryContent(b"\x89PNG\xfb\xff", media_type="image/png")

CONVERSATION: list[ModelMessage] = [
    ModelRequest(
        parts=[
            SystemPromptPart("Be brief.", timestamp=AT, dynamic_ref="tone"),
            UserPromptPart(
                [
                    "look at",
                    ImageUrl("https://example.com/a.png"),
                    ImageUrl("https://example.com/b", media_type="image/webp", force_download=True),
                    AudioUrl("https://example.com/a.mp3"),
                    VideoUrl("https://example.com/a.mp4", vendor_metadata={"fps": 1}),
                    DocumentUrl("https://example.com/a.pdf"),
                    PNG,
                    BinaryContent(b"%PDF", media_type="application/pdf"),
                    TextContent("noted", metadata={"k": 1}),
                    CachePoint(),
                    UploadedFile("file-1", provider_name="openai"),
                ],
                timestamp=AT,
            ),
        ],
        timestamp=AT,
        run_id="r1",
        conversation_id="c1",
        metadata={"k": "v"},
        instructions="rendered anew for each request",
    ),
    ModelResponse(
        parts=[
            ThinkingPart("hmm", signature="sig", provider_name="anthropic", id="t1", provider_details={"a": 1}),
            TextPart("first", id="msg", provider_name="openai"),
            NativeToolCallPart("web_search", {"q": "x"}, "n1", provider_name="openai"),
            NativeToolReturnPart("web_search", {"hits": 1}, "n1", provider_name="openai", timestamp=AT),
            ToolCallPart("one", '{"a": 1}', "c1"),
            TextPart("between"),
            ToolCallPart("two", {"b": [1, None]}, "c2", id="x", provider_name="openai"),
            ToolCallPart("three", "not json", "c3"),
            ToolCallPart("four", None, "c4"),
            FilePart(PNG, id="f", provider_name="openai"),
        ],
        usage=RequestUsage(input_tokens=3, output_tokens=4, cost=Decimal("0.001"), details={"x": 1}),
        model_name="m-2027",
        provider_name="openai",
        provider_details={"finish": "tool"},
        provider_response_id="resp",
        finish_reason="tool_call",
        timestamp=AT,
        run_id="r1",
    ),
    ModelRequest(
        parts=[
            ToolReturnPart("one", "text", "c1", timestamp=AT, metadata={"m": 1}),
            ToolReturnPart("two", {"rows": [1, 2]}, "c2", timestamp=AT),
            ToolReturnPart("three", "not good", "c3", timestamp=AT, outcome="retried", retry=RetryInfo("model_retry")),
            ToolReturnPart("four", ["see", PNG], "c4", timestamp=AT, outcome="failed"),
            UserPromptPart("beside the results", timestamp=AT),
        ],
        timestamp=AT,
    ),
    ModelResponse(parts=[TextPart("cut o")], state="interrupted", timestamp=AT),
    ModelRequest(parts=[RetryFeedbackPart("again", retry=RetryInfo("model_retry"), timestamp=AT)]),
    ModelRequest(parts=[CompactionPart("summary of before")]),
    ModelResponse(parts=[CompactionPart("theirs", provider_name="anthropic"), TextPart("end")], timestamp=AT),
    ModelResponse(parts=[], timestamp=AT),
    ModelRequest(parts=[ToolReturnPart("denied", "no", "d", timestamp=AT, outcome="denied")]),
    ModelRequest(parts=[ToolReturnPart("stopped", "no", "i", timestamp=AT, outcome="interrupted")]),
]


def minted() -> Any:
    ids = itertools.count()
    return lambda: MessageId(f"m{next(ids)}")


def neutral(messages: list[ModelMessage]) -> list[Message]:
    new_id = minted()
    found: list[Message] = []
    for message in messages:
        found += (
            [from_response(message, new_id())] if isinstance(message, ModelResponse) else from_request(message, new_id)
        )
    return found


def stored(messages: list[Message]) -> list[Message]:
    """The messages after a trip through the store's JSON."""
    return msgspec.json.decode(msgspec.json.encode(messages), type=list[Message])


def stripped(messages: list[Message]) -> list[Message]:
    return [msgspec.structs.replace(message, native=None) for message in messages]


@pytest.mark.parametrize("message", CONVERSATION, ids=lambda message: f"{message.kind}-{len(message.parts)}")
def test_every_message_comes_back_equal(message: ModelMessage) -> None:
    [back] = to_native(stored(neutral([message])))
    assert dump_message(back) == dump_message(message)


def test_a_whole_conversation_comes_back_equal() -> None:
    back = to_native(stored(neutral(CONVERSATION)))
    assert [dump_message(message) for message in back] == [dump_message(message) for message in CONVERSATION]


def test_stored_messages_are_well_formed_and_hold_no_instructions() -> None:
    messages = neutral(CONVERSATION)
    check_messages(tuple(messages))
    assert b"rendered anew" not in msgspec.json.encode(messages)


def test_the_neutral_form_says_what_the_framework_said() -> None:
    system, user, assistant, one, two, three, four, *_ = neutral(CONVERSATION)

    assert (system.role, system.text) == (Role.SYSTEM, "Be brief.")
    assert user.content[:2] == (Text("look at"), Image(UrlSource("https://example.com/a.png")))
    assert user.content[6] == Image(Base64Source("image/png", "iVBOR/v/")), "standard base64, not the URL-safe one"
    assert isinstance(user.content[9], Opaque)
    assert assistant.content[:2] == (Thinking("hmm", "sig", "anthropic"), Text("first"))
    assert [(call.id, call.name, call.arguments) for call in assistant.tool_calls] == [
        ("c1", "one", {"a": 1}),
        ("c2", "two", {"b": [1, None]}),
        ("c3", "three", "not json"),
        ("c4", "four", {}),
    ]
    assert (one.text, one.tool_status) == ("text", ToolStatus.SUCCESS)
    assert two.content == (Json({"rows": [1, 2]}),)
    assert {three.tool_status, four.tool_status} == {ToolStatus.ERROR}


def test_the_sidecar_repeats_nothing_the_blocks_say() -> None:
    long = "a long answer " * 100
    message = from_response(ModelResponse(parts=[TextPart(long)], timestamp=AT), MessageId("m"))
    assert long not in str(message.native)
    result = from_return(ToolReturnPart("t", long, "c", timestamp=AT), MessageId("m"), group="g")
    assert long not in str(result.native)


async def test_without_the_sidecar_the_history_still_runs() -> None:
    history = to_native(stripped(stored(neutral(CONVERSATION[:4]))))
    script = Script(*["unused"] * 2, "fine")
    agent: Agent[Any, Any] = script.agent()

    result = await agent.run("go on", message_history=history)

    assert result.output == "fine"
    names = [part.tool_name for part in script.heard[0][2].parts if isinstance(part, ToolReturnPart)]
    assert names == ["one", "two", "three", "four"], "names come from the turn the answers belong to"


@pytest.mark.parametrize(
    "native",
    [
        Native("another_framework", 1, None, {"message": {"state": "x"}}, ({"whole": {}},)),
        Native(FORMAT, 99, None, {"message": {"state": "x"}}, ({"whole": {}},)),
        Native(FORMAT, 1, None, None, ({"whole": {"part_kind": "from a later version"}},)),
        Native(FORMAT, 1, None, None, ({"at": 9},)),
    ],
    ids=["foreign", "other version", "unknown part", "broken"],
)
def test_a_sidecar_that_cannot_be_read_is_ignored(native: Native) -> None:
    message = Message(id=MessageId("m"), role=Role.ASSISTANT, content=(Text("hello"),), native=native)

    [back] = to_native([message])

    assert isinstance(back, ModelResponse)
    assert back.text == "hello"


def test_messages_of_clients_become_prompts() -> None:
    image = Image(Base64Source("image/png", "iVBORw=="))
    messages = [
        user_message(MessageId("1"), "hello"),
        Message(id=MessageId("2"), role=Role.USER, content=(Text("see"), image, Json({"a": 1}), Opaque("odd", 1))),
        Message(id=MessageId("3"), role=Role.SYSTEM, content=(Text("be kind"),)),
        Message(id=MessageId("4"), role=Role.ASSISTANT, content=(Json([1]), Image(UrlSource("https://e.com/x")))),
    ]

    one, two, three, four = [message.parts for message in to_native(messages)]

    assert isinstance(one[0], UserPromptPart) and one[0].content == "hello"
    assert isinstance(two[0], UserPromptPart) and list(two[0].content) == [
        "see",
        BinaryContent(b"\x89PNG", media_type="image/png"),
        '{"a":1}',
    ]
    assert isinstance(three[0], SystemPromptPart)
    assert [part.content for part in four if isinstance(part, TextPart)] == ["[1]", "https://e.com/x"]


def test_answers_come_in_the_order_of_the_calls_and_form_one_request() -> None:
    calls = tuple(ToolCall(id, "tool") for id in ("a", "b", "c"))
    turn = Message(id=MessageId("t"), role=Role.ASSISTANT, tool_calls=calls)
    answers = [
        from_return(ToolReturnPart("tool", id, id, timestamp=AT), MessageId(id), group="t") for id in ("c", "a", "b")
    ]
    beside = from_parts([UserPromptPart("beside", timestamp=AT)], minted(), group="t")

    _, request = to_native([turn, *answers, *beside])

    assert [getattr(part, "content", None) for part in request.parts] == ["a", "b", "c", "beside"]


def test_what_a_tool_asked_to_be_told_beside_its_answer_is_kept_with_it() -> None:
    part = ToolReturnPart("tool", {"a": 1}, "c", timestamp=AT, metadata={"m": 1})
    message = from_return(part, MessageId("m"), group="t", content=["look", PNG], tools=["more"])

    [back] = stored([message])
    again, returned = to_tool_return(back, ToolCallPart("tool", None, "c"))

    assert again == part
    assert (returned.return_value, returned.metadata, returned.tools) == ({"a": 1}, {"m": 1}, ["more"])
    assert [getattr(item, "data", item) for item in returned.content or ()] == ["look", PNG.data]
    assert to_native([back])[0].parts == [part], "it is not part of the history by itself"


def test_translating_warns_about_nothing() -> None:
    class Odd:
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="Odd"):
            from_return(ToolReturnPart("tool", Odd(), "c", timestamp=AT), MessageId("m"), group="t")  # pyright: ignore
