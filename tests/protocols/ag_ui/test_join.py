"""Whoever joins at any event of a run is shown the same in the end, by the protocol's own client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from awaken.domain.retry import RetryPolicy
from awaken.domain.state import ThreadState
from awaken.mailbox.settings import MailboxSettings
from awaken.protocols.ag_ui.encoder import JOINING
from awaken.protocols.contract import events_of
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import SeenRun, approve_all, seen_run
from awaken.testing.scripted import SHAPES, add_scripted
from tests.protocols.ag_ui.judges import check_stream
from tests.protocols.stock.clients import Module

AGENTS = Path(__file__).with_name("agents.mjs")
QUICK = MailboxSettings(drain_s=0, handover_s=0, max_attempts=2, retry=RetryPolicy(0, 0))
SHORT = [shape for shape in SHAPES if shape != "long"]


def joined_everywhere(seen: SeenRun) -> list[tuple[int, list[dict[str, Any]]]]:
    """The stream of somebody who joins behind each event at which a turn is open, with the number of that turn."""
    events = [(seq, event, row) for row in seen.rows for seq, event in events_of(row)]
    found: list[tuple[int, list[dict[str, Any]]]] = []
    for place in range(1, len(events)):
        encoder = JOINING(replace(seen.opened, state=ThreadState()))
        for each in events[:place]:
            encoder.feed(*each)
        if not encoder.turns.is_open:
            continue
        turn = encoder.turns.number
        frames = [*encoder.prelude()]
        for each in events[place:]:
            frames += encoder.feed(*each)
            if not encoder.turns.is_open:
                break
        found.append((turn, [msgspec.json.decode(each.data) for each in frames]))
    return found


def told(messages: list[dict[str, Any]]) -> list[Any]:
    """What is said and done in messages, without what only a stream or only a snapshot says; activities at the end."""
    return [
        (
            each["role"],
            each["id"],
            each.get("content") or "",
            [(call["id"], call["function"]) for call in each.get("toolCalls", ())],
        )
        for each in sorted(messages, key=lambda each: each["role"] == "activity")
    ]


@behaviour("SRV-033", "AGUI-001")
@pytest.mark.parametrize("whole", ["", "-whole"], ids=["streamed", "whole"])
async def test_joined_at_every_event_the_client_shows_the_same(whole: str) -> None:
    async with asyncio.timeout(110), Module(AGENTS) as module, memory_app(settings=QUICK) as app:
        add_scripted(app)
        for shape in SHORT if not whole else [f"{each}{whole}" for each in ("reasoning", "parallel", "mixed", "state")]:
            streams = joined_everywhere(await seen_run(app, shape, answer=approve_all))
            for _, events in streams:
                check_stream(events)
            views = await module.call("replay", [events for _, events in streams])
            assert [view["troubles"] for view in views if view["troubles"]] == [], shape
            by_turn: dict[int, list[Any]] = {}
            for (turn, _), view in zip(streams, views, strict=True):
                by_turn.setdefault(turn, []).append((told(view["messages"]), view["interrupts"], view["state"]))
            for turn, shown in by_turn.items():
                for each in shown:
                    assert each == shown[0], (shape, turn)
