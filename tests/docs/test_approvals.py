"""The example of approvals: a refund waits for a person, over reloads and restarts, and is made once or not at all."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from examples.approvals import main
from tests.docs.repository import ROOT
from tests.docs.uvicorn_process import Uvicorn

TARGET: Final = "examples.approvals.main:api"
WHY: Final = "the kettle leaks"
ASKED: Final = f"Please pay back 40 € for order 4711, {WHY}"
ASKING: Final = "I have to ask somebody who may decide about that. "
DONE: Final = re.compile(r"^Done: 40\.00 € for order 4711, reference R-[0-9A-F]{8}\.$")


# --- its API ----------------------------------------------------------------------------------------------------------


class Shop:
    """The application, asked as its page asks it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def got(self, path: str, **query: str) -> Any:
        answer = await self.client.get(f"/awaken/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, text: str) -> str:
        """The id of the run, which has ended, or waits."""
        asked = {"agent_id": "refunds", "thread_id": "t", "if_not_exists": "create", "input": text}
        answer = await self.client.post("/awaken/v1/runs/wait", json=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["run"]["run_id"]

    async def ticket(self) -> Any:
        """The only one that is open."""
        [ticket] = (await self.got("tickets", state="open"))["items"]
        return ticket

    async def decide(self, ticket_id: str, **decision: Any) -> None:
        answer = await self.client.post(f"/awaken/v1/tickets/{ticket_id}/decision", json=decision)
        assert answer.status_code == 202, answer.text

    async def said(self) -> list[str]:
        messages = (await self.got("threads/t/messages"))["items"]
        return ["".join(block["text"] for block in message["content"]) for message in messages]


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Shop]:
    monkeypatch.setattr(main, "SECONDS_PER_WORD", 0)
    api = main.make_api(f"sqlite:///{tmp_path / 'refunds.db'}")
    transport = httpx.ASGITransport(api)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client,
    ):
        assert "<title>Refunds" in (await client.get("/")).text
        yield Shop(client)


async def test_a_refund_waits_for_an_approval_and_is_then_made(shop: Shop) -> None:
    run_id = await shop.ask(ASKED)
    ticket = await shop.ticket()
    assert (ticket["run_id"], ticket["message"]) == (run_id, "Pay this back?")
    assert ticket["arguments"] == {"order": 4711, "euros": 40, "reason": WHY}
    assert await shop.said() == [ASKED, ASKING], "nothing was paid"

    await shop.decide(ticket["ticket_id"], action="approve")

    assert (await shop.got(f"runs/{run_id}/wait", wait_for="done"))["run"]["phase"] == "completed"
    assert DONE.match((await shop.said())[-1])


async def test_a_refund_that_is_denied_is_not_made_and_the_customer_is_told_why(shop: Shop) -> None:
    run_id = await shop.ask(ASKED)
    ticket = await shop.ticket()
    await shop.decide(ticket["ticket_id"], action="deny", reason="it is out of warranty")
    await shop.got(f"runs/{run_id}/wait", wait_for="done")
    assert await shop.said() == [
        ASKED,
        ASKING,
        "it is out of warranty",
        "I am sorry, no: it is out of warranty.",
    ]
    await shop.ask("12.50 € for order 815, it came late")
    again = await shop.ticket()
    assert again["arguments"] == {"order": 815, "euros": 12.5, "reason": "it came late"}
    assert again["tool_call_id"] != ticket["tool_call_id"]


async def test_whoever_names_no_order_is_asked_for_it(shop: Shop) -> None:
    await shop.ask("hello")
    assert (await shop.said())[1].startswith("What should be paid back?")
    assert (await shop.got("tickets"))["items"] == []


# --- its page ---------------------------------------------------------------------------------------------------------


def serving(folder: Path, *, port: int = 0) -> Uvicorn:
    store = f"sqlite:///{folder / 'refunds.db'}"
    return Uvicorn(TARGET, folder, port=port, REFUNDS_STORE=store, REFUNDS_SECONDS_PER_WORD="0.02")


def say(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.get_by_role("button", name="Send").click()


def lines(page: Page) -> Locator:
    """All that is said, without the cards."""
    return page.locator("#messages li:not(.card)")


def card(page: Page) -> Locator:
    return page.locator("li.card")


def expect_waiting(page: Page) -> None:
    """The card is there, whole, and can be decided."""
    expect(lines(page)).to_have_text([ASKED, ASKING])
    expect(card(page).locator("h2")).to_have_text("Pay this back?")
    expect(card(page).locator("dd")).to_have_text(["4711", "40", WHY])
    expect(card(page).locator(".outcome")).to_have_text("waits for a decision")
    for name in ("Approve", "Deny"):
        expect(card(page).get_by_role("button", name=name)).to_be_enabled()


def expect_decided(page: Page, outcome: str, last: str | re.Pattern[str]) -> None:
    expect(card(page).locator(".outcome")).to_have_text(outcome)
    expect(card(page).get_by_role("button", name="Approve")).to_be_hidden()
    expect(lines(page)).to_have_text([ASKED, ASKING, last])
    expect(page.locator("li.open")).to_have_count(0)


def expect_in_order(page: Page) -> None:
    """The card stands between what was said before it was decided and after."""
    kinds = page.locator("#messages li").evaluate_all("(lines) => lines.map((line) => line.classList[0])")
    assert kinds == ["user", "assistant", "card", "assistant"]


def test_a_refund_is_approved_after_a_reload_and_a_kill_of_the_server(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        page.goto(first.url)
        expect(page.locator("#news")).to_have_text("connected")
        say(page, ASKED)
        expect_waiting(page)
        page.reload()
        expect_waiting(page)
        first.process.kill()
        first.process.wait(30)
        expect(page.locator("#news")).to_have_text(re.compile("connection lost"))
        port = first.port
    with serving(tmp_path, port=port):
        expect(page.locator("#news")).to_have_text("connected")
        expect_waiting(page)
        card(page).get_by_role("button", name="Approve").click()
        expect_decided(page, "approved", DONE)
        expect_in_order(page)
        page.reload()
        expect_decided(page, "approved", DONE)
        expect_in_order(page)


def test_a_refund_is_denied_with_a_reason_by_a_click_that_finds_no_server_at_first(page: Page, tmp_path: Path) -> None:
    refused = 0

    def refuse(route: Route) -> None:
        nonlocal refused
        refused += 1
        if refused <= 2:
            route.abort("connectionrefused")
        else:
            route.continue_()

    denied = ("denied: out of <b>warranty</b>", "I am sorry, no: out of <b>warranty</b>.")
    with serving(tmp_path) as shop:
        page.goto(shop.url)
        say(page, ASKED)
        expect_waiting(page)
        page.route("**/decision", refuse)
        card(page).get_by_label("Reason").fill("out of <b>warranty</b>")
        card(page).get_by_label("Reason").press("Enter")  # which is not one of the two buttons
        card(page).get_by_role("button", name="Deny").click()
        expect_decided(page, *denied)
        page.reload()
        expect_decided(page, *denied)
        expect_in_order(page)


def test_a_decision_is_seen_in_every_window_and_a_second_one_is_refused(
    page: Page, browser: Browser, tmp_path: Path
) -> None:
    with serving(tmp_path) as shop:
        page.goto(shop.url)
        say(page, ASKED)
        expect_waiting(page)
        other = browser.new_context().new_page()
        other.goto(page.url)
        expect_waiting(other)
        page.route("**/stream", lambda route: route.abort())  # this one hears of nothing any more
        page.reload()
        expect_waiting(page)
        other.get_by_role("button", name="Approve").click()
        expect_decided(other, "approved", DONE)
        page.get_by_role("button", name="Deny").click()
        expect(page.locator("#news.trouble")).to_contain_text("approve")
        page.unroute("**/stream")
        expect_decided(page, "approved", DONE)
        other.context.close()


def test_whoever_goes_on_talking_withdraws_what_waits(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path) as shop:
        page.goto(shop.url)
        say(page, ASKED)
        expect_waiting(page)
        say(page, "never mind")
        expect(card(page).locator(".outcome")).to_have_text("the conversation went on without it")
        expect(lines(page).nth(3)).to_contain_text("What should be paid back?")
        page.reload()
        expect(lines(page)).to_have_count(4)
        expect(card(page).get_by_role("button", name="Approve")).to_be_hidden()


def test_the_example_needs_nothing_but_the_module() -> None:
    """What a reader copies needs no build, no package and no other host."""
    text = (ROOT / "examples/approvals/page.html").read_text()
    assert re.findall(r'(?:from|import\() ?"([^"]+)"', text) == ["/awaken/awaken.js"]
    assert "http" not in text
