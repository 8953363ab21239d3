"""What a run asks for, and what is done to a response, with OpenAI's Python client as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from awaken import Context
from awaken.testing.behaviour import behaviour
from tests.protocols.live import live_site
from tests.protocols.open_responses.test_python_client import client_of

TOOLS: Any = [
    {"type": "function", "name": "look_around", "parameters": {"type": "object", "properties": {}}, "strict": False}
]


def outputs(response: Any, kind: str) -> list[Any]:
    return [item for item in response.output if item.type == kind]


@behaviour("OR-003")
async def test_a_function_is_called_by_the_client_and_the_same_answer_twice_is_no_mistake() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        first = await client.responses.create(model="client-tool", input="Go on.", tools=TOOLS)
        [call] = outputs(first, "function_call")
        assert (first.status, call.name, json.loads(call.arguments)) == ("completed", "look_around", {"where": "here"})
        answer: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "a wall"}]

        second = await client.responses.create(model="client-tool", input=answer, previous_response_id=first.id)

        assert (second.output_text, second.previous_response_id) == ("The page has answered.", first.id)
        assert second.id != first.id and second.conversation == first.conversation
        assert await client.responses.retrieve(first.id) == first, "it is over"
        again = await client.responses.create(model="client-tool", input=answer, previous_response_id=first.id)
        assert again == second
        [item] = (await client.responses.input_items.list(second.id)).data
        assert item.to_dict() == {**answer[0], "id": item.id, "status": "completed"}
        with pytest.raises(openai.UnprocessableEntityError):
            await client.responses.create(
                model="client-tool",
                input=[{"type": "function_call_output", "call_id": "nobody's", "output": ""}],
                previous_response_id=first.id,
            )


@behaviour("OR-003")
async def test_a_client_that_sends_the_whole_conversation_answers_without_naming_a_response() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        said: list[Any] = [{"role": "user", "content": "Go on."}]
        create: Any = client.responses.create
        first = await create(model="client-tool", input=said, tools=TOOLS)
        [call] = outputs(first, "function_call")
        answer = {"type": "function_call_output", "call_id": call.call_id, "output": "a wall"}
        said += [*[item.to_dict() for item in first.output], answer]
        for _ in range(2):
            second = await create(model="client-tool", input=said, tools=TOOLS)
            assert (second.output_text, second.conversation) == ("The page has answered.", first.conversation)

        asked = await create(model="approval", input="Go on.")
        [approval] = outputs(asked, "mcp_approval_request")
        yes = {"type": "mcp_approval_response", "approval_request_id": approval.id, "approve": True}
        whole = [{"role": "user", "content": "Go on."}, *[item.to_dict() for item in asked.output], yes]
        assert (await create(model="approval", input=whole)).output_text == "That is settled."


@behaviour("OR-003")
@pytest.mark.parametrize(("approve", "status"), [(True, "completed"), (False, "failed")])
async def test_what_has_to_be_approved_waits_for_it(approve: bool, status: str) -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        first = await client.responses.create(model="approval", input="Go on.")
        [asked] = outputs(first, "mcp_approval_request")
        assert (asked.name, asked.server_label, json.loads(asked.arguments)) == ("pay", "awaken", {"amount": 5})
        answer: Any = [{"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": approve}]

        second = await client.responses.create(model="approval", input=answer, previous_response_id=first.id)

        [call] = outputs(second, "mcp_call")
        assert (call.status, call.approval_request_id) == (status, asked.id)
        assert (call.output, call.error is None) == (("paid 5", True) if approve else (None, False))
        assert second.output_text == "That is settled."
        [item] = (await client.responses.input_items.list(second.id)).data
        assert item.type == "mcp_approval_response" and item.approve is approve


@behaviour("OR-003")
async def test_a_question_is_said_as_a_message_and_text_answers_it() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        first = await client.responses.create(model="ask", input="Go on.")
        assert first.output_text == "Welcome. Who are you?"

        second = await client.responses.create(model="ask", input="Ada", previous_response_id=first.id)

        assert second.output_text == "Hello Ada."
        assert first.conversation is not None
        runs = await site.app.store.latest_run(site.app.scope, first.conversation.id)  # type: ignore[arg-type]
        assert runs is not None and runs.first_event_seq == 1, "one run, and not two"


@behaviour("OR-003")
async def test_an_answer_that_is_given_again_finds_the_response_that_went_on_with_it_and_no_later_one() -> None:
    async def twice(context: Context) -> str:
        first = await context.approve("This?", name="this")
        second = await context.approve("And that?", name="that")
        return f"{first.approved} {second.approved}"

    async with asyncio.timeout(30), live_site(twice=twice) as site, client_of(site) as client:

        async def answered(response: Any) -> Any:
            [asked] = outputs(response, "mcp_approval_request")
            yes: Any = [{"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": True}]
            return await client.responses.create(model="twice", input=yes, previous_response_id=response.id)

        first = await client.responses.create(model="twice", input="Go on.")
        second = await answered(first)
        third = await answered(second)
        assert third.output_text == "True True"
        assert (await answered(first), await answered(second)) == (second, third)


@behaviour("OR-004")
async def test_a_conversation_goes_on_and_is_named_by_any_response_of_it_or_by_itself() -> None:
    async def counting(context: Context) -> str:
        return f"{len([each for each in await context.messages() if each.role == 'user'])}"

    async with asyncio.timeout(30), live_site(counting=counting) as site, client_of(site) as client:
        first = await client.responses.create(model="counting", input="one")
        assert first.conversation is not None
        second = await client.responses.create(model="counting", input="two", previous_response_id=first.id)
        third = await client.responses.create(model="counting", input="three", conversation=first.conversation.id)
        assert [each.output_text for each in (first, second, third)] == ["1", "2", "3"]
        assert second.previous_response_id == first.id
        brought: Any = [
            {"role": "user", "content": "one"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "1"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "two"}]},
        ]
        assert (await client.responses.create(model="counting", input=brought)).output_text == "2"
        [item] = (await client.responses.input_items.list(third.id)).data
        assert item.to_dict()["content"] == [{"type": "input_text", "text": "three"}]
        with pytest.raises(openai.UnprocessableEntityError):
            await client.responses.create(
                model="counting", input="x", conversation="another", previous_response_id=first.id
            )


@behaviour("OR-003")
async def test_another_answer_to_what_was_answered_is_refused_and_the_client_is_told() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        asked = await client.responses.create(model="approval", input="Go on.")
        [approval] = outputs(asked, "mcp_approval_request")
        given: Any = {"type": "mcp_approval_response", "approval_request_id": approval.id, "approve": True}
        create: Any = client.responses.create
        await create(model="approval", input=[given], previous_response_id=asked.id)
        with pytest.raises(openai.ConflictError) as refused:
            await create(model="approval", input=[given | {"approve": False}], previous_response_id=asked.id)
        assert refused.value.code == "decision_conflict"

        said: list[Any] = [{"role": "user", "content": "Go on."}]
        complete: Any = client.chat.completions.create
        tool: Any = {"type": "function", "function": {"name": "look_around", "parameters": {"type": "object"}}}
        first = (await complete(model="client-tool", messages=said, tools=[tool])).choices[0].message
        said += [first.to_dict(), {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "a wall"}]
        await complete(model="client-tool", messages=said, tools=[tool])
        said[-1] = said[-1] | {"content": "a door"}
        with pytest.raises(openai.ConflictError) as refused:
            await complete(model="client-tool", messages=said, tools=[tool])
        assert refused.value.code == "decision_conflict"


@behaviour("OR-005")
async def test_a_response_in_the_background_is_read_stopped_and_left_out() -> None:
    gate = asyncio.Event()

    async def slow(context: Context) -> AsyncIterator[str]:
        yield "It begins, "
        await gate.wait()
        yield "and ends."

    async with asyncio.timeout(30), live_site(slow=slow) as site, client_of(site) as client:
        made = await client.responses.create(model="slow", input="Go on.", background=True)
        assert made.status in ("queued", "in_progress") and made.background is True
        stream = await client.responses.retrieve(made.id, stream=True)
        seen: list[Any] = []
        async for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
        partly = await client.responses.retrieve(made.id)
        assert (partly.status, partly.output_text) == ("in_progress", "It begins, ")
        with pytest.raises(openai.ConflictError) as refused:
            await client.responses.delete(made.id)
        assert refused.value.code == "run_not_finished"

        rest = asyncio.create_task(listed(stream))
        cancelled = await client.responses.cancel(made.id)

        assert cancelled.status == "cancelled"
        assert await client.responses.cancel(made.id) == cancelled
        events = seen + await rest
        assert [event.sequence_number for event in events] == [*range(len(events))]
        assert not [event for event in events if event.type in ("response.completed", "response.failed")]
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)


async def listed(stream: Any) -> list[Any]:
    return [event async for event in stream]


@behaviour("OR-001")
async def test_a_failure_is_said_and_a_value_is_its_json() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        failed = await client.responses.create(model="failing", input="Go on.")
        assert failed.status == "failed" and failed.error is not None
        assert failed.error.message == "it cannot be done"
        dead = await client.responses.create(model="dead", input="Go on.")
        assert dead.status == "failed"
        value = await client.responses.create(model="data", input="Go on.")
        assert json.loads(value.output_text) == {"answer": 42, "units": ["otters"]}
        retried = await client.responses.create(model="retried", input="Go on.")
        assert retried.output_text == "At last it worked.", "what is void is left out"
        thought = await client.responses.create(model="reasoning", input="Go on.")
        assert [item.type for item in thought.output] == ["reasoning", "message"]
        stream = await client.responses.create(model="retried", input="Go on.", stream=True)
        last = (await listed(stream))[-1]
        assert last.response.output_text == "At last it worked."


@behaviour("OR-006")
@pytest.mark.parametrize("named", [{}, {"user": "t"}], ids=["fresh", "named"])
async def test_a_chat_completion_calls_tools_of_the_client(named: dict[str, Any]) -> None:
    tools: Any = [{"type": "function", "function": {"name": "look_around", "parameters": {"type": "object"}}}]
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        said: list[Any] = [{"role": "user", "content": "Go on."}]
        create: Any = client.chat.completions.create
        first = (await create(model="client-tool", messages=said, tools=tools, **named)).choices[0]
        assert first.finish_reason == "tool_calls"
        [call] = first.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("look_around", {"where": "here"})
        said += [first.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "a wall"}]

        for _ in range(2):
            second = (await create(model="client-tool", messages=said, tools=tools, **named)).choices[0]
            assert (second.message.content, second.finish_reason) == ("The page has answered.", "stop")

        chunks = await listed(await create(model="client-tool", messages=said[:1], tools=tools, stream=True))
        [delta] = [each.choices[0].delta.tool_calls for each in chunks if each.choices[0].delta.tool_calls]
        assert delta[0].function.name == "look_around"
        assert chunks[-1].choices[0].finish_reason == "tool_calls"


@behaviour("OR-006")
async def test_a_chat_completion_says_what_it_has_no_place_for() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        said: list[Any] = [{"role": "user", "content": "Go on."}]
        asked = await client.chat.completions.create(model="ask", messages=said, metadata={"thread_id": "t"})
        assert asked.choices[0].message.content == "Welcome. Who are you?"
        said += [{"role": "assistant", "content": asked.choices[0].message.content}, {"role": "user", "content": "Ada"}]
        answered = await client.chat.completions.create(model="ask", messages=said, metadata={"thread_id": "t"})
        assert answered.choices[0].message.content == "Hello Ada."
        with pytest.raises(openai.APIError, match="it cannot be done"):
            await client.chat.completions.create(model="failing", messages=said[:1])
        with pytest.raises(openai.APIError, match="it cannot be done"):
            await listed(await client.chat.completions.create(model="failing", messages=said[:1], stream=True))


async def both(context: Context) -> str:
    who, age = await asyncio.gather(context.ask("Who?", name="who"), context.ask("How old?", name="age", type=int))
    return f"{who} is {age + 1}."


@behaviour("OR-003")
@pytest.mark.parametrize("named_by", ["response", "conversation", "nothing"])
async def test_questions_that_are_asked_side_by_side_are_answered_each_by_its_id(named_by: str) -> None:
    async with asyncio.timeout(30), live_site(both=both) as site, client_of(site) as client:
        create: Any = client.responses.create
        first = await create(model="both", input="Go on.")
        who, age = [item.id for item in outputs(first, "message")]
        assert first.conversation is not None

        async def answered(id: str, text: str) -> Any:
            answer: Any = {"type": "function_call_output", "call_id": id, "output": text}
            if named_by == "response":
                return await create(model="both", input=[answer], previous_response_id=first.id)
            if named_by == "conversation":
                return await create(model="both", input=[answer], conversation=first.conversation.id)
            whole = [{"role": "user", "content": "Go on."}, *[item.to_dict() for item in first.output], answer]
            return await create(model="both", input=whole)

        with pytest.raises(openai.UnprocessableEntityError, match=f"{who}.*{age}"):
            await create(model="both", input="Ada", previous_response_id=first.id)
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            await answered(age, "old")
        assert refused.value.code == "decision_rejected_by_schema"
        await answered(age, "36")
        for _ in range(2):
            last = await answered(who, "Ada")
            assert last.output_text == "Ada is 37."
            assert last.conversation == first.conversation
        listed = await site.app.list_runs(thread_id=first.conversation.id)
        assert len(listed) == 1, "one run, and not two"


@behaviour("OR-003")
async def test_a_text_answers_the_one_question_there_is_whatever_else_is_asked() -> None:
    async def several(context: Context) -> str:
        answers = await asyncio.gather(context.ask("Who?", name="who"), context.approve("This?", name="this"))
        return f"{answers[0]} {answers[1].approved}"

    async with asyncio.timeout(30), live_site(several=several) as site, client_of(site) as client:
        first = await client.responses.create(model="several", input="Go on.")
        await client.responses.create(model="several", input="Ada", previous_response_id=first.id)
        [asked] = outputs(first, "mcp_approval_request")
        yes: Any = [{"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": True}]
        last = await client.responses.create(model="several", input=yes, previous_response_id=first.id)
        assert last.output_text == "Ada True"


@behaviour("OR-008")
async def test_an_answer_to_no_call_says_which_call_is_not_there() -> None:
    calls: list[Any] = [
        {"role": "user", "content": "Go on."},
        {"type": "function_call", "call_id": "elsewhere", "name": "geo", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "elsewhere", "output": "x"},
    ]
    function = {"name": "geo", "arguments": "{}"}
    said: Any = [
        calls[0],
        {"role": "assistant", "tool_calls": [{"id": "elsewhere", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "elsewhere", "content": "x"},
    ]
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        with pytest.raises(openai.UnprocessableEntityError, match="elsewhere"):
            await client.responses.create(model="text", input=calls)  # type: ignore[arg-type]
        with pytest.raises(openai.UnprocessableEntityError, match="elsewhere"):
            await client.chat.completions.create(model="text", messages=said)
        whole = [*calls, {"role": "user", "content": "And?"}]
        assert (await client.responses.create(model="text", input=whole)).status == "completed"  # type: ignore[arg-type]


async def chatted(client: openai.AsyncOpenAI, agent_id: str, *said: str, **named: Any) -> str:
    messages: Any = [{"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(said)]
    create: Any = client.chat.completions.create
    answer = await create(model=agent_id, messages=messages, **named)
    return answer.choices[0].message.content or ""


@behaviour("OR-006")
@pytest.mark.parametrize(("word", "end"), [("Yes.", "True"), ("no", "False"), ("APPROVE", "True"), ("deny!", "False")])
async def test_a_chat_completion_approves_with_a_plain_word(word: str, end: str) -> None:
    async def careful(context: Context) -> str:
        return f"{(await context.approve('Pay?', arguments={'amount': 5})).approved}"

    async with asyncio.timeout(30), live_site(careful=careful) as site, client_of(site) as client:
        asked = await chatted(client, "careful", "Go on.", user="t")
        assert asked == 'Pay? {"amount":5} Say "yes" or "no".'
        assert await chatted(client, "careful", "Go on.", asked, word, user="t") == end
        assert len(await site.app.list_runs(thread_id="t")) == 1
        other = await chatted(client, "careful", "Go on.", asked, word, end, "Again.", user="t")
        assert other == asked
        assert await chatted(client, "careful", "Go on.", asked, "yes, but why?", user="t") == asked, "something else"
        assert await chatted(client, "careful", "Go on.", "Is it warm?", word, user="t") == asked, "no answer to this"
        tickets = await site.app.list_tickets(thread_id="t")
        assert [each.state for each in tickets] == ["open", "decided"], "and still asked"
        assert await chatted(client, "careful", word, user="t") == end, "a client that sends what is new alone"
        unnamed = await chatted(client, "careful", "Go on.")
        ticket = (await site.app.list_tickets(state="open"))[0]
        assert f"/v1/tickets/{ticket.ticket_id}/decision" in unnamed


@behaviour("OR-006")
async def test_one_word_is_not_taken_for_an_answer_to_several_questions() -> None:
    async def twice(context: Context) -> str:
        first, second = await asyncio.gather(context.approve("This?", name="a"), context.approve("That?", name="b"))
        return f"{first.approved} {second.approved}"

    async with asyncio.timeout(30), live_site(twice=twice, both=both) as site, client_of(site) as client:
        await chatted(client, "twice", "Go on.", user="t")
        tickets = await site.app.list_tickets(thread_id="t")
        with pytest.raises(openai.UnprocessableEntityError, match=tickets[0].ticket_id):
            await chatted(client, "twice", "Go on.", "", "yes", user="t")
        assert {each.state for each in await site.app.list_tickets(thread_id="t")} == {"open"}
        asked = await chatted(client, "both", "Go on.", user="u")
        age, who = [each.ticket_id for each in await site.app.list_tickets(thread_id="u")]  # the newest first
        assert asked == f"Who? (ask_{who})\nHow old? (ask_{age})"
        with pytest.raises(openai.UnprocessableEntityError, match=who):
            await chatted(client, "both", "Go on.", asked, "Ada", user="u")
        answers: Any = [
            {"role": "user", "content": "Go on."},
            {"role": "assistant", "content": asked},
            {"role": "tool", "tool_call_id": f"ask_{who}", "content": "Ada"},
            {"role": "tool", "tool_call_id": f"ask_{age}", "content": "36"},
        ]
        last = await client.chat.completions.create(model="both", messages=answers, user="u")
        assert last.choices[0].message.content == "Ada is 37."
