"""The app as a program uses it, where it says more than the mailbox under it."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.errors import Unavailable
from awaken.mailbox.settings import MailboxSettings
from awaken.store.memory import MemoryStore
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import GatedAgent
from awaken.wiring import Awaken


async def test_events_that_are_cut_off_by_a_stop_do_not_end_as_if_the_run_had() -> None:
    clock, agent = ManualClock(), GatedAgent()
    settings = MailboxSettings(drain_s=0, handover_s=0)
    app = Awaken(store=MemoryStore(clock), clock=clock, settings=settings)
    app.agent("gated", agent)
    async with asyncio.timeout(20):
        await app.start()
        handle = await app.submit("t", "hello")
        await agent.next_call()
        kinds: list[str] = []

        async def follow() -> None:
            async for event in handle.events():
                kinds.append(event.kind)

        following = asyncio.create_task(follow())
        while kinds[-1:] != ["RunStarted"]:
            await settle()
        await app.stop()
        with pytest.raises(Unavailable) as refused:
            await following

    assert refused.value.code == "stopping"
    assert kinds[-1] == "RunStarted"
