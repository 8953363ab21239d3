"""A server is killed in the middle of an answer: the client reads the rest, and shows it whole and once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import openai

from awaken.testing.behaviour import behaviour
from tests.protocols.mortal import FIRST, LAST, MortalServer


@behaviour("OR-002")
async def test_a_response_in_the_background_goes_on_after_a_kill_behind_the_last_number(tmp_path: Path) -> None:
    async with asyncio.timeout(60), MortalServer(tmp_path) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        seen: list[Any] = []
        try:
            async for event in await client.responses.create(
                model="halting", input="hello", background=True, stream=True
            ):
                seen.append(event)
                if event.type == "response.output_text.delta":
                    await server.kill()
        except (openai.APIError, httpx.HTTPError):
            pass  # it is cut
        id: str = seen[0].response.id

        await server.live()
        server.let_go()
        stream = await client.responses.retrieve(id, stream=True, starting_after=seen[-1].sequence_number)
        seen += [event async for event in stream]

        assert [event.sequence_number for event in seen] == [*range(len(seen))]
        final = seen[-1]
        assert (final.type, final.response.output_text) == ("response.completed", FIRST + LAST)
        assert (await client.responses.retrieve(id)).output_text == FIRST + LAST
        whole = [event async for event in await client.responses.retrieve(id, stream=True)]
        assert whole == seen
        await client.close()
