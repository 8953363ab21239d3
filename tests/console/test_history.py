"""The history of a run: its events one by one, found, named and counted by nobody."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

import httpx
import pytest
from playwright.sync_api import expect

from awaken.http.settings import HttpSettings
from tests.browser.site import Site
from tests.console.talking import chatty, ended, failing, noter, read, submit
from tests.console.viewer import Viewer

FIRST_PAINT_MS: Final = 100
SLOWER: Final = 4
"""How much slower than a quiet machine one may be on which tests run beside others."""
_WATCH_PAINT: Final = """
() => {
    new PerformanceObserver((list) => {
        for (const { name, responseEnd } of list.getEntries())
            if (name.includes("/events?")) window.received ??= responseEnd;
    }).observe({ type: "resource", buffered: true });
    new MutationObserver((_, observer) => {
        if (!document.querySelector(".history tbody tr")) return;
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => {
            performance.mark("history");
            window.painted = performance.now();
        }));
    }).observe(document, { subtree: true, childList: true });
}
"""


@pytest.fixture
def site() -> Generator[Site]:
    with Site(http=HttpSettings(console=True), agents={"noter": noter(), "failing": failing, "chatty": chatty}) as site:
        yield site


def test_events_are_found_opened_and_named_by_keyboard_alone(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "noter", "begin")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    rows = page.locator(".history tbody tr")
    expect(rows.filter(has_text="RunFinished")).to_have_count(1)
    expect(rows.filter(has_text="StepStarted")).to_have_count(0)  # important ones alone
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    detail = page.locator(".history .event")
    expect(detail).to_contain_text('"role": "user"')
    cursor = read(site.url, f"/v1/runs/{run['run_id']}/events", kinds="MessageCommitted")["items"][0]["cursor"]
    expect(page).to_have_url(re.compile(f"event={re.escape(cursor)}"))
    [curl, cli] = [text.strip() for text in detail.locator(".command code").all_inner_texts()]
    assert cli.startswith(f"awaken tail {run['run_id']}") and "--kind MessageCommitted" in cli
    asked = re.findall(r"'(http[^']*)'|(http\S*)", curl)[0]
    [event] = httpx.get(asked[0] or asked[1]).json()["items"]
    assert event["cursor"] == cursor
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    viewer.accessible()


def test_the_address_of_an_event_opens_it_wherever_it_is(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "noter", "begin")
    ended(site.url, run["run_id"])
    items = read(site.url, f"/v1/runs/{run['run_id']}/events", kinds="StepEnded,TextDeltaObserved")["items"]
    step = next(item for item in items if item["kind"] == "StepEnded")
    viewer.open(f"runs/{run['run_id']}?event={step['cursor']}")
    page = viewer.page
    expect(page.locator(".history .event")).to_contain_text(step["cursor"])
    delta = next(item for item in items if item["kind"] == "TextDeltaObserved")
    viewer.open(f"runs/{run['run_id']}?event={delta['cursor']}")
    page.get_by_role("button", name="show all, with pieces").click()
    expect(page.locator(".history .event")).to_contain_text("delta")


def test_events_are_narrowed_by_kind_text_and_failure(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "failing")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    rows = page.locator(".history tbody tr")
    page.get_by_label("Failed").check()
    expect(rows.filter(has_text="RunErrored")).to_have_count(1)
    expect(rows.filter(has_text="RunQueued")).to_have_count(0)
    page.get_by_label("Failed").uncheck()
    page.locator(".history").get_by_label("Text").fill("HELLO")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("hello")
    page.locator(".history").get_by_label("Text").fill("no such thing")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No event fits")).to_be_visible()
    page.locator(".history").get_by_label("Text").fill("")
    page.keyboard.press("Enter")
    page.locator(".history").get_by_label("Kind").select_option("RunStarted")
    expect(rows).to_have_count(1)
    viewer.open(page.url.split("#/")[1])  # the address says all of it
    expect(rows).to_have_count(1)


def test_ten_thousand_events_are_painted_at_once_and_paged(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "chatty")
    ended(site.url, run["run_id"])
    page = viewer.page
    page.add_init_script(f"({_WATCH_PAINT})()")
    viewer.open(f"runs/{run['run_id']}?show=everything")
    page.wait_for_function("() => Boolean(window.painted && window.received)")
    took: float = page.evaluate("painted - received")
    assert took <= FIRST_PAINT_MS * SLOWER, f"{took:.0f} ms"
    rows = page.locator(".history tbody tr")
    expect(rows).to_have_count(100)
    expect(page.get_by_text(re.compile(r"^1 to 100 of \d+$"))).to_be_visible()
    page.get_by_role("button", name="Last").click()
    expect(rows.last).to_contain_text("RunFinished")
    page.get_by_role("button", name="Earlier").click()
    expect(rows).to_have_count(100)
