"""Agents for the pages of a run and of a thread, and short words for what tests ask of a server.

Above: the tests of those pages. Below: `tests.browser.site`, which serves the agents.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx

from awaken import Context
from awaken.domain.agent_event import ToolCallDone, ToolCallReady, ToolCallStarted
from awaken.domain.clock import SystemClock
from awaken.domain.errors import PermanentFailure
from awaken.domain.message import Message, Role, Text, ToolCall, ToolStatus
from awaken.executors.demo.slow import make_slow

HOSTILE: Final = (
    "<script>parent.acted = 1</script><img src=x onerror='acted = 1'><b>bold</b> "
    "[click](javascript:acted=1) [data](data:text/html,<script>acted=1</script>) \u202egnp.exe\u202c \u200b"
    "[ok](https://example.org/?q=<x>) <a href='javascript:acted=1' id=main>main</a>\n"
)
"""What would act, if any of it were taken for more than text."""


class Gate:
    """Opened by a test, which another thread waits for."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        await asyncio.to_thread(self._open.wait, 20)


def stepper(gate: Gate) -> Any:
    """Closes a step, waits at the gate, and says what was sent to it meanwhile."""

    async def stepper(context: Context) -> str:
        await context.step("first", lambda: 1)
        await gate.passed()
        said = [message.text for message in await context.inbox()]
        await context.step("second", lambda: 2)
        return f"heard {', '.join(said) or 'nothing'}"

    return stepper


def teller(gate: Gate) -> Any:
    """Asks, then says something and waits at the gate."""

    async def teller(context: Context) -> None:
        await context.approve("May I?")
        await context.emit("I may")
        await gate.passed()

    return teller


def noter() -> Any:
    """Two model calls with a tool call between them."""
    return make_slow(SystemClock(), steps=2, deltas_per_step=3, delta_delay_s=0)


async def parent(context: Context) -> str:
    return f"it said {await context.call('child', 'go')}"


async def child(context: Context) -> str:
    return "done"


async def failing(context: Context) -> str:
    await context.emit("before ")
    raise PermanentFailure(HOSTILE)


def asking(gate: Gate) -> Any:
    """Says what would act, waits at the gate, and asks for it."""

    async def asking(context: Context) -> None:
        await context.emit(HOSTILE)
        await gate.passed()
        await context.approve(HOSTILE, arguments={HOSTILE: HOSTILE})

    return asking


async def hostile(context: Context) -> AsyncIterator[Any]:
    """Says, calls and answers what would act; and a line that is very long."""
    turn, answer, call_id = context.new_message_id(), context.new_message_id(), f'"><{HOSTILE}'[:60]
    arguments = {HOSTILE: HOSTILE}
    yield ToolCallStarted(turn, call_id, HOSTILE, "server", title=HOSTILE)
    yield ToolCallReady(turn, call_id, HOSTILE, arguments)
    yield ToolCallDone(turn, call_id, HOSTILE, answer, "failed", error_text=HOSTILE)
    call = ToolCall(call_id, HOSTILE, arguments)
    said = Text(f"# {HOSTILE}\n```\n{HOSTILE}\n```\n- {HOSTILE}")
    yield Message(id=turn, role=Role.ASSISTANT, content=(said,), tool_calls=(call,))
    yield Message(
        id=answer, role=Role.TOOL, content=(Text(HOSTILE),), tool_call_id=call_id, tool_status=ToolStatus.ERROR
    )
    yield HOSTILE
    yield "x" * 5_000_000


async def diligent(context: Context) -> str:
    """Closes many steps."""
    for number in range(300):
        await context.step(f"step {number}", lambda: 1)
        await context.emit(f"{number} ")
    return "done"


async def chatty(context: Context) -> AsyncIterator[str]:
    """Puts ten thousand events into the log."""
    for number in range(9_990):
        await context.emit(f"{number} ")
    yield "over"


def submit(url: str, agent_id: str, text: str = "hello", **more: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/runs", json={"agent_id": agent_id, "input": text, **more})
    return answer.raise_for_status().json()


def ended(url: str, run_id: str) -> dict[str, Any]:
    """The run, when it has ended or waits for somebody."""
    answer = httpx.get(f"{url}/v1/runs/{run_id}/wait", timeout=60)
    return answer.raise_for_status().json()["run"]


def read(url: str, path: str, **query: Any) -> Any:
    return httpx.get(f"{url}{path}", params=query).raise_for_status().json()
