"""OpenAI's own client against awaken: a response in the background, a cut connection, and a question that is answered.

    awaken serve examples.openai_client.main:app      # in one terminal
    python -m examples.openai_client.main             # in another

Nothing in `talk` knows awaken: it is what a program against OpenAI's server looks like.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from openai import AsyncOpenAI

from awaken import Awaken, Context

app = Awaken("memory://")


async def travel(context: Context) -> AsyncIterator[str]:
    """Books a journey, once it knows where to."""
    for word in ("I ", "book ", "your ", "journey."):
        yield word
    place = await context.ask("Where to?", name="place")
    yield f"A ticket to {place}."


app.agent("travel", travel)


async def talk(url: str) -> list[str]:
    """What is printed."""
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    printed: list[str] = []

    text, id, last = "", "", -1
    stream: Any = await client.responses.create(model="travel", input="I want to travel.", background=True, stream=True)
    async with stream:
        async for event in stream:
            last = event.sequence_number
            if event.type == "response.created":
                id = event.response.id
            if event.type == "response.output_text.delta":
                text += event.delta
                break  # the connection is gone: the response does not mind
    rest: Any = await client.responses.retrieve(id, stream=True, starting_after=last)
    async for event in rest:
        if event.type == "response.output_text.delta":
            text += event.delta
    printed.append(f"it says: {text}")

    answer = await client.responses.create(model="travel", input="Lisbon", previous_response_id=id)
    printed.append(f"it answers: {answer.output_text}")

    said: Any = [{"role": "user", "content": "I want to travel."}]
    completion = await client.chat.completions.create(model="travel", messages=said)
    printed.append(f"as a chat completion: {completion.choices[0].message.content}")
    await client.close()
    return printed


if __name__ == "__main__":
    print("\n".join(asyncio.run(talk(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"))))
