"""LangGraph's own client against awaken: a streamed answer, a cut connection, and a question that somebody answers.

    awaken serve examples.langgraph_client.main:app      # in one terminal
    python -m examples.langgraph_client.main             # in another

Nothing in `talk` knows awaken: it is what a program against LangGraph's server looks like.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from langgraph_sdk import get_client

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
    client: Any = get_client(url=url, api_key=None)
    printed: list[str] = []
    thread = await client.threads.create(metadata={"who": "Ann"})
    asked = {"messages": [{"role": "user", "content": "I want to travel."}]}

    text, run_id, last = "", "", None
    stream = client.runs.stream(thread["thread_id"], "travel", input=asked, stream_mode="messages-tuple")
    async with aclosing(stream):
        async for part in stream:
            if part.event == "metadata":
                run_id = part.data["run_id"]
            if part.event == "messages":
                text, last = part.data[0]["content"], part.id
                break  # the connection is gone: the run does not mind
    rest = client.runs.join_stream(thread["thread_id"], run_id, last_event_id=last, stream_mode="messages-tuple")
    async for part in rest:
        if part.event == "messages":
            text += part.data[0]["content"]
    printed.append(f"it says: {text}")

    [waiting] = await client.threads.search(status="interrupted", metadata={"who": "Ann"})
    [question] = [each for asked in waiting["interrupts"].values() for each in asked]
    printed.append(f"it asks: {question['value']['message']}")

    values = await client.runs.wait(thread["thread_id"], "travel", command={"resume": "Lisbon"})
    printed.append(f"it answers: {values['messages'][-1]['content']}")
    await client.aclose()
    return printed


if __name__ == "__main__":
    print(*asyncio.run(talk(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")), sep="\n")
