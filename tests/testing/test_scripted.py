"""Agents of every shape: each comes to the outcome it is there for, streamed and not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from awaken.domain.retry import RetryPolicy
from awaken.mailbox.settings import MailboxSettings
from awaken.testing.agents import memory_app
from awaken.testing.protocols import SeenRun, approve_all, check_encoder, deny_all, seen_run
from awaken.testing.scripted import SHAPES, add_scripted, scripted_agents
from awaken.wiring import Awaken
from tests.protocols.plain import PlainEncoder, final_of

OUTCOMES = {"failing": "failed", "dead": "failed"}
QUICK = MailboxSettings(drain_s=0, handover_s=0, max_attempts=2, retry=RetryPolicy(0, 0))
NAMES = [*SHAPES, *[f"{name}-whole" for name, agent in scripted_agents().items() if hasattr(agent, "iter")]]


@pytest.fixture
async def app() -> AsyncGenerator[Awaken]:
    async with asyncio.timeout(60), memory_app(settings=QUICK) as app:
        add_scripted(app)
        yield app


async def shown(app: Awaken, name: str, **how: Any) -> SeenRun:
    """A run, whose log and every client of it come to the same."""
    seen = await seen_run(app, name, **how)
    frames = check_encoder(PlainEncoder, seen)
    final, log = final_of(frames), seen.final
    log.reasoning = ""  # which this protocol does not show
    assert final == log
    return seen


@pytest.mark.parametrize("name", NAMES)
async def test_an_agent_of_this_shape_comes_to_its_end(app: Awaken, name: str) -> None:
    seen = await shown(app, name, answer=approve_all)
    assert seen.final.outcome == OUTCOMES.get(name.removesuffix("-whole"), "finished")


@pytest.mark.parametrize(
    ("name", "waits", "calls"),
    [
        ("approval", "approval", ["pay"]),
        ("question", "input", ["ask_colour"]),
        ("client-tool", "input", ["look_around"]),
        ("mixed", "input", ["look_up", "pay", "ask_colour"]),
        ("ask", "input", []),
    ],
)
async def test_it_waits_for_what_it_is_there_to_wait_for(app: Awaken, name: str, waits: str, calls: list[str]) -> None:
    seen = await shown(app, name)
    assert (seen.final.outcome, seen.final.waits) == ("waiting", waits)
    assert [call.name for call in seen.final.calls.values()] == calls


async def test_a_no_is_the_calls_result(app: Awaken) -> None:
    seen = await shown(app, "approval", answer=deny_all)
    [call] = seen.final.calls.values()
    assert (call.status, call.error) == ("denied", "too dear")
    seen = await shown(app, "client-tool", answer=deny_all)
    [call] = seen.final.calls.values()
    assert call.status == "failed"


async def test_each_does_the_same_again_on_the_same_thread(app: Awaken) -> None:
    first = await shown(app, "parallel", thread_id="t")
    second = await shown(app, "parallel", thread_id="t")
    assert [call.name for call in first.final.calls.values()] == [call.name for call in second.final.calls.values()]
    assert first.final.calls.keys().isdisjoint(second.final.calls.keys())
    assert first.final.text == second.final.text
