"""Every row of the table of events, and the judges' word on all of them."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.retry import RetryPolicy
from awaken.mailbox.settings import MailboxSettings
from awaken.protocols.ag_ui.encoder import AgUiEncoder
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import Answering, approve_all, check_encoder, deny_all, seen_run
from awaken.testing.scripted import SHAPES, add_scripted
from tests.protocols.ag_ui.judges import check_stream, streams_of

QUICK = MailboxSettings(drain_s=0, handover_s=0, max_attempts=2, retry=RetryPolicy(0, 0))
WHOLE = ("text-whole", "reasoning-whole", "parallel-whole", "approval-whole")


@behaviour("SRV-033")
@pytest.mark.parametrize("answer", [approve_all, deny_all, None], ids=["yes", "no", "waiting"])
async def test_the_validator_and_the_models_find_nothing_in_any_shape(answer: Answering | None) -> None:
    async with asyncio.timeout(120), memory_app(settings=QUICK) as app:
        add_scripted(app)
        for shape in (*SHAPES, *WHOLE):
            seen = await seen_run(app, shape, answer=answer)
            for events in streams_of(check_encoder(AgUiEncoder, seen)):
                check_stream(events)
