"""One scripted run, all protocols: the same thread is committed, and each client shows the same in the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken.domain.retry import RetryPolicy
from awaken.http.operation import Operation
from awaken.mailbox.settings import MailboxSettings
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import Answering, approve_all, check_encoder, deny_all, seen_run
from awaken.testing.scripted import SHAPES, add_scripted
from tests.protocols.dialects import DIALECTS
from tests.protocols.site import ProtocolSite, protocol_site

QUICK = MailboxSettings(drain_s=0, handover_s=0, max_attempts=2, retry=RetryPolicy(0, 0))
SHAPE_NAMES = [*SHAPES, "text-whole", "reasoning-whole", "parallel-whole", "approval-whole"]


@behaviour("SRV-038", "MBX-354", "MBX-355", "MBX-360")
@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("answer", [approve_all, deny_all, None], ids=["yes", "no", "waiting"])
async def test_each_client_shows_in_the_end_what_the_log_says(name: str, answer: Answering | None) -> None:
    dialect = DIALECTS[name]
    async with asyncio.timeout(120), memory_app(settings=QUICK) as app:
        add_scripted(app)
        for shape in SHAPE_NAMES:
            seen = await seen_run(app, shape, answer=answer)
            shown, log = dialect.final_of(check_encoder(dialect.make, seen)), seen.final
            if not dialect.shows_reasoning:
                shown.reasoning = log.reasoning = ""
            dialect.leaves_out(log)
            for call in [each for each in log.calls.values() if each.status == "denied"]:
                call.error = call.error if dialect.says_why_denied else None
            assert shown == log, shape


@behaviour("SRV-038")
@pytest.mark.parametrize("name", DIALECTS)
async def test_the_same_thread_is_committed_whatever_the_protocol(name: str) -> None:
    dialect = DIALECTS[name]
    operations: tuple[Operation, ...] = tuple(dialect.operations)
    async with asyncio.timeout(120), protocol_site(operations, mailbox=QUICK) as site:
        for shape in SHAPES:
            path, body = dialect.ask(f"{shape}-there", shape)
            answer = await site.http.post(path, body)
            assert answer.status == 200, answer
            native = {
                "agent_id": shape,
                "messages": [{"role": "user", "content": "Go on.", "message_id": "m1"}],
                "client_tools": [{"name": "look_around"}],
                "if_not_exists": "create",
            }
            await site.http.post(f"/v1/threads/{shape}-here/runs/wait", native)
            assert await committed(site, f"{shape}-there") == await committed(site, f"{shape}-here"), shape


async def committed(site: ProtocolSite, thread_id: str) -> list[Any]:
    """The conversation, without what differs from run to run."""
    listed = (await site.http.get(f"/v1/threads/{thread_id}/messages?limit=200")).json()
    return [
        [each[name] for name in ("role", "content", "tool_calls", "tool_call_id", "state")] for each in listed["items"]
    ]
