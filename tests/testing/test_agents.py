"""The helpers for tests of agents, as somebody's tests use them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent, models
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models import Model

from awaken import Context, RunFailed
from awaken.domain.errors import AgentNotFound, ValidationError
from awaken.testing.agents import memory_app, no_models, override
from awaken.testing.clock import ManualClock, settle


async def one(context: Context) -> str:
    return "one"


async def two(context: Context) -> str:
    return "two"


class RealModel(Model):
    """Asks first whether it may, as every model of Pydantic AI with a provider does."""

    @property
    def model_name(self) -> str:
        return "real"

    @property
    def system(self) -> str:
        return "test"

    async def request(self, *args: Any, **options: Any) -> ModelResponse:
        models.check_allow_model_requests()
        return ModelResponse([TextPart("paid for")])


async def test_a_substitute_executes_what_starts_meanwhile_also_what_was_accepted_before() -> None:
    clock = ManualClock()
    async with asyncio.timeout(20), memory_app(clock=clock, agent=one) as app:
        waits = await app.submit("t", "later", delay_s=60)
        with override(app, agent=two):
            assert (await app.run("u", "now")).output == "two"
            await settle()
            await clock.advance(60)
            assert (await waits.result()).output == "two"
        assert (await app.run("u", "now")).output == "one"


async def test_only_what_is_there_and_can_run_is_replaced() -> None:
    async with memory_app(agent=one) as app:
        with pytest.raises(AgentNotFound), override(app, other=two):
            pass
        with pytest.raises(ValidationError), override(app, agent=5):
            pass
        assert (await app.run("t", "x")).output == "one"


async def test_no_real_model_is_asked_by_accident() -> None:
    agent = Agent(RealModel())
    async with asyncio.timeout(20), memory_app(agent=agent) as app:
        with pytest.raises(RunFailed, match="RuntimeError"):
            await app.run("t", "x", max_attempts=1)
    async with asyncio.timeout(20), memory_app(allow_models=True, agent=agent) as app:
        assert (await app.run("t", "x")).output == "paid for"


def test_models_may_be_asked_again_afterwards() -> None:
    before = models.ALLOW_MODEL_REQUESTS
    with no_models():
        assert not models.ALLOW_MODEL_REQUESTS
        with no_models(allow=True):
            assert not models.ALLOW_MODEL_REQUESTS
    assert before == models.ALLOW_MODEL_REQUESTS
