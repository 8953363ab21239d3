"""Answers to interrupts that come too late, or at once: what each client is told, and that nothing is done twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken.executors.function import Context
from awaken.protocols.ag_ui.routes import OPERATIONS
from awaken.store.contract import RunQuery, TicketQuery
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from tests.protocols.ag_ui.test_routes import T, answer, ask, events, interrupts, refusal, said, user
from tests.protocols.site import ProtocolSite, protocol_served, protocol_site

YES, NO = {"approved": True}, {"approved": False}
RACERS = 6


async def resumed(site: ProtocolSite, interrupt: Any, payload: Any, run: str, **more: Any) -> bytes:
    return await ask(site, "approval", user(), run=run, resume=[answer(interrupt, payload, **more)])


@behaviour("SRV-033", "AGUI-003")
@pytest.mark.parametrize("swept", [False, True], ids=["at-once", "swept"])
async def test_an_answer_that_comes_when_the_time_is_over_is_refused_and_changes_nothing(swept: bool) -> None:
    clock = ManualClock()

    async def asking(context: Context) -> str:
        return f"it is {await context.ask('Which?', expires_in_s=60, default='green')}"

    async with asyncio.timeout(30), protocol_site(OPERATIONS, clock=clock, asking=asking) as site:
        [asked_for] = interrupts(events(await ask(site, "asking", user())))
        assert "expiresAt" in asked_for
        clock.tick(61)
        if swept:
            await clock.advance(60, settle)
            [ticket] = (await site.app.store.list_tickets(site.app.scope, TicketQuery(thread_id=T))).items
            assert ticket.state == "expired"
        for run in ("r2", "r3"):
            late = await ask(site, "asking", user(), user("more", "m2"), run=run, resume=[answer(asked_for, "blue")])
            assert refusal(late) == "interrupt_expired"
        [run] = (await site.app.store.list_runs(site.app.scope, RunQuery(limit=9))).items
        assert (await site.app.wait(run.run_id)).output == "it is green"
        gone = events(await ask(site, "asking", user(), run="r4", resume=[answer(asked_for, status="cancelled")]))
        assert gone[-1]["outcome"] == {"type": "success"}, "whoever wants no answer is content with none"


@behaviour("SRV-033", "AGUI-003")
async def test_of_clients_that_answer_otherwise_at_once_one_is_heard_and_the_others_are_told() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        [asked_for] = interrupts(events(await ask(site, "approval", user())))
        payloads = [YES, NO] * (RACERS // 2)
        bodies = await asyncio.gather(*[resumed(site, asked_for, each, f"c{n}") for n, each in enumerate(payloads)])
        codes = [refusal_in(body) for body in bodies]
        [ticket] = (await site.app.store.list_tickets(site.app.scope, TicketQuery(thread_id=T))).items
        assert ticket.decision is not None
        assert ticket.decision.adapter == "ag_ui"
        heard = YES if ticket.decision.action == "approve" else NO
        assert codes == [None if each == heard else "interrupt_conflict" for each in payloads]
        for body, code in zip(bodies, codes, strict=True):
            if code is None:  # each of them is shown the answer, or that nothing is under way any more
                assert said(events(body)) in ("That is settled.", "")
        assert "That is settled." in [said(events(body)) for body in bodies if refusal_in(body) is None]
        await site.app.wait(ticket.run_id)
        log = (await site.http.get("/v1/threads/t/messages")).json()["items"]
        assert len([each for each in log if each["role"] == "tool"]) == 1, "and it is done once"


@behaviour("SRV-033", "AGUI-003")
async def test_the_same_answer_from_two_clients_at_once_is_one() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        other = ProtocolSite(site.app, site.served, protocol_served(site), site.operations)
        [asked_for] = interrupts(events(await ask(site, "approval", user())))
        bodies = await asyncio.gather(*[resumed([site, other][n % 2], asked_for, YES, f"c{n}") for n in range(RACERS)])
        assert [refusal_in(body) for body in bodies] == [None] * RACERS
        [run] = (await site.app.store.list_runs(site.app.scope, RunQuery(limit=9))).items
        assert (await site.app.wait(run.run_id)).output == "That is settled."


@behaviour("SRV-033", "AGUI-003")
async def test_an_interrupt_of_a_run_that_was_stopped_is_open_no_more() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        [asked_for] = interrupts(events(await ask(site, "approval", user())))
        await site.http.post("/v1/ag-ui/threads/t/stop?wait_s=5", {})
        assert refusal(await resumed(site, asked_for, YES, "r2")) == "unknown_interrupt"
        gone = events(await resumed(site, asked_for, None, "r3", status="cancelled"))
        assert gone[-1]["outcome"] == {"type": "success"}


def refusal_in(body: bytes) -> str | None:
    return next((each["code"] for each in events(body) if each["type"] == "RUN_ERROR"), None)
