"""OpenAI's Python client, as it comes, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from awaken.testing.behaviour import behaviour
from tests.protocols.live import LiveSite, live_site

TEXT = "Hello there. All is well."


def client_of(site: LiveSite) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="none", max_retries=0)


@behaviour("OR-001")
async def test_an_agent_is_a_model_that_is_waited_for_or_streamed_and_read_again() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        waited = await client.responses.create(
            model="text", input="Go on.", instructions="Be brief.", metadata={"a": "b"}
        )

        assert (waited.status, waited.output_text) == ("completed", TEXT)
        assert (waited.model, waited.instructions, waited.metadata) == ("text", "Be brief.", {"a": "b"})
        assert waited.usage is not None and waited.usage.total_tokens > 0
        assert await client.responses.retrieve(waited.id) == waited

        async with client.responses.stream(model="text", input="Go on.") as stream:
            events = [event async for event in stream]
            streamed = await stream.get_final_response()
        assert [event.sequence_number for event in events] == [*range(len(events))]
        kinds = [event.type for event in events]
        assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
        assert kinds[-1] == "response.completed"
        assert streamed.output_text == TEXT
        again = await client.responses.retrieve(streamed.id)
        assert [item.id for item in again.output] == [item.id for item in streamed.output]  # type: ignore[union-attr]
        assert (again.output_text, again.usage) == (TEXT, streamed.usage)


@behaviour("OR-002")
async def test_a_stream_goes_on_behind_the_number_that_the_client_has_wherever_it_was_cut() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        made = await client.responses.create(model="tool", input="Go on.", stream=True)
        whole: list[Any] = [each async for each in made]
        id: str = whole[0].response.id
        for cut in range(-1, len(whole) + 1):
            stream = await client.responses.retrieve(id, stream=True, starting_after=cut)
            assert [each async for each in stream] == whole[cut + 1 :]


@behaviour("OR-006")
async def test_whatever_takes_a_base_url_chats_with_an_agent() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        said: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}]
        answer = await client.chat.completions.create(model="text", messages=said)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (TEXT, "stop")

        chunks = [
            each
            async for each in await client.chat.completions.create(
                model="text", messages=said, stream=True, stream_options={"include_usage": True}
            )
        ]
        assert "".join([each.choices[0].delta.content or "" for each in chunks if each.choices]) == TEXT
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens > 0


@behaviour("OR-007")
async def test_agents_are_listed_as_models() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        assert {"text", "tool"} <= {each.id async for each in client.models.list()}
        assert (await client.models.retrieve("text")).owned_by == "awaken"
        with pytest.raises(openai.NotFoundError) as refused:
            await client.models.retrieve("nobody")
        assert refused.value.code == "model_not_found"


@behaviour("OR-008")
async def test_a_model_that_is_not_there_is_refused_as_openai_refuses_it() -> None:
    async with asyncio.timeout(30), live_site() as site, client_of(site) as client:
        said: Any = [{"role": "user", "content": "Go on."}]
        for asking in (
            client.responses.create(model="nobody", input="Go on."),
            client.chat.completions.create(model="nobody", messages=said),
            client.models.retrieve("nobody"),
        ):
            with pytest.raises(openai.NotFoundError) as refused:
                await asking
            error = refused.value
            assert (error.code, error.type, error.param) == ("model_not_found", "invalid_request_error", "model")
