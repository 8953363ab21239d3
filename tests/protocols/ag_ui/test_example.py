"""The example's page asks for what its server has, and its agent does what its page says."""

from __future__ import annotations

import asyncio

from awaken.protocols.ag_ui.routes import OPERATIONS
from examples.ag_ui_page.main import HERE, guide
from tests.protocols.ag_ui.test_routes import asked, events, interrupts, said, user
from tests.protocols.site import protocol_site

PAGE = (HERE / "page.html").read_text()


async def test_the_examples_agent_asks_and_then_answers() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS, guide=guide) as site:
        url = "/v1/ag-ui/agents/guide/run"
        assert url in PAGE
        [question] = interrupts(events((await site.http.post(url, asked(user("Hello")))).body))
        assert (question["message"], question["reason"]) == ("Shall I tell you about it?", "confirmation")
        no = [{"interruptId": question["id"], "status": "resolved", "payload": {"approved": False}}]
        answer = await site.http.post(url, asked(user("Hello"), run="r2", resume=no))
        assert said(events(answer.body)) == "Then not."
