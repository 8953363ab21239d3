"""A hostile agent: nothing that it says, calls or fails with acts in the pages that show it."""

from __future__ import annotations

import re
from collections.abc import Generator

import httpx
import pytest
from playwright.sync_api import Page, expect

from awaken.http.settings import HttpSettings
from tests.browser.site import Site
from tests.console.talking import HOSTILE, Gate, asking, ended, failing, hostile, submit
from tests.console.viewer import Viewer


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def site(gate: Gate) -> Generator[Site]:
    agents = {"hostile": hostile, "failing": failing, "asking": asking(gate)}
    with Site(http=HttpSettings(console=True), agents=agents) as site:
        yield site
        gate.open()


def harmless(page: Page) -> None:
    """It is there, as text: no element of it, no script that ran, no link that acts, no character that deceives."""
    assert page.evaluate("window.acted") is None
    assert page.locator("main script, main img, main iframe, main b, main [onerror]").count() == 0
    hrefs: list[str] = page.eval_on_selector_all("a", "(links) => links.map((link) => link.getAttribute('href'))")
    assert [href for href in hrefs if not re.match(r"(#|https?://)", href)] == []
    shown = page.inner_text("main")
    assert "<script>" in shown
    assert not re.search("[\u202a-\u202e\u200b]", shown)
    assert "⟨202e⟩" in shown


def test_what_a_hostile_agent_says_and_calls_does_not_act_in_the_page_of_its_run(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "hostile", HOSTILE)
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}?show=all")
    page = viewer.page
    expect(page.locator(".turn.assistant").first).to_be_visible()
    expect(page.locator(".history tbody tr").first).to_be_visible()
    page.locator("details.call summary").click()
    for link in page.locator(".span.tool > a, .history td a").all()[:6]:
        link.click()
    harmless(page)
    assert len(page.inner_text("main")) < 400_000  # the long line is cut, and the rest is there on demand
    expect(page.get_by_text("characters more").first).to_be_visible()
    viewer.accessible()


def test_it_does_not_act_in_the_page_of_its_thread_either(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "hostile", HOSTILE)
    ended(site.url, run["run_id"])
    viewer.open(f"threads/{run['thread_id']}")
    page = viewer.page
    expect(page.locator(".turn.assistant").first).to_be_visible()
    page.locator("details.call summary").click()
    harmless(page)


def test_an_error_with_markup_is_text(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "failing", "go")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    expect(viewer.page.locator(".about")).to_contain_text("<script>")
    expect(viewer.page.locator(".span.end")).to_be_visible()
    harmless(viewer.page)


def test_what_it_is_saying_asks_and_is_sent_does_not_act(viewer: Viewer, site: Site, gate: Gate) -> None:
    run = submit(site.url, "asking", "go")
    thread = f"{site.url}/v1/threads/{run['thread_id']}"
    httpx.patch(thread, json={"title": HOSTILE, "metadata": {"of": HOSTILE}}).raise_for_status()
    sent = {"mode": "follow_up", "input": HOSTILE, "fallback_to_new_run": False}
    httpx.post(f"{thread}/messages", json=sent).raise_for_status()
    viewer.open(f"threads/{run['thread_id']}")
    page = viewer.page
    expect(page.locator(".turn.live")).to_contain_text("<script>")
    expect(page.locator(".pending li")).to_contain_text("<script>")
    harmless(page)
    viewer.open(f"runs/{run['run_id']}")
    gate.open()
    expect(page.get_by_role("region", name="What it waits for")).to_contain_text("<script>")
    harmless(page)
