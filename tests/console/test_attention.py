"""The first screen: what wants attention, understood in two clicks and repaired with one."""

from __future__ import annotations

import re
from typing import Any

import httpx
from playwright.sync_api import Locator, expect

from tests.browser.site import Site, Wanted
from tests.console.test_approvals import ask
from tests.console.viewer import Viewer


def begin(site: Site, agent_id: str, text: str = "go on") -> dict[str, Any]:
    return httpx.post(f"{site.url}/v1/runs", json={"agent_id": agent_id, "input": text}).json()


def rows(viewer: Viewer, part: str) -> Locator:
    section = viewer.page.locator("section.part").filter(has=viewer.page.get_by_role("heading", name=part))
    return section.locator("tbody tr")


def test_where_nothing_is_an_agent_is_run_from_here_and_its_answer_streams(viewer: Viewer, site: Site) -> None:
    viewer.open()
    viewer.heading("Attention")
    expect(viewer.page.get_by_text("Nothing waits, nothing is stuck")).to_be_visible()
    expect(viewer.page.locator(".command").first).to_contain_text('awaken run speaker "What can you do?"')
    expect(viewer.page.locator(".curve canvas")).to_have_count(3)
    viewer.accessible()
    viewer.page.get_by_label("Say").press("Enter")
    expect(rows(viewer, "Runs now")).to_contain_text("speaker")
    site.say("I am ", "here")
    expect(viewer.page.locator(".answer")).to_contain_text("I am here")
    site.end()
    expect(viewer.page.locator(".answer")).to_contain_text("completed")
    expect(rows(viewer, "Runs now")).to_have_count(0)
    viewer.page.reload()  # the last hour is read four times a minute
    viewer.page.get_by_text("As a table").click()
    expect(viewer.page.locator(".numbers")).to_contain_text("Done per minute")
    viewer.accessible()


def test_a_stuck_run_is_found_and_understood_in_two_clicks_and_repaired_with_one(viewer: Viewer, site: Site) -> None:
    """What it waits for is a sentence on the first screen; one click leads to the run, and what helps is a button."""
    viewer.page.add_init_script("clicks = 0; addEventListener('click', () => { clicks += 1; }, true);")
    run_id: str = begin(site, "flaky")["run_id"]
    viewer.open()
    row = rows(viewer, "Stuck or suspect")
    expect(row).to_contain_text(re.compile(r"flaky.*mail server hangs up"))
    viewer.accessible()
    row.get_by_role("link").first.click()
    expect(viewer.page).to_have_url(re.compile(f"#/runs/{run_id}"))
    assert viewer.page.evaluate("clicks") <= 2
    viewer.page.go_back()
    with viewer.page.expect_response(lambda answer: answer.request.method == "PATCH") as answered:
        row.get_by_role("button", name="Try it now").click()
    assert answered.value.ok


def test_everything_that_wants_attention_stands_in_its_order(viewer: Viewer, site: Site) -> None:
    """What waits for me, what runs, what nobody serves, what was given up; by keyboard through all of it."""
    site_url = site.url
    ask(
        site,
        [Wanted(tool="refund", question="Pay <b>back</b>?\u202e", expires_in_s=120), Wanted(question="Which name?")],
    )
    begin(site, "stuck")
    begin(site, "broken", "this")
    begin(site, "broken", "that")
    httpx.post(f"{site_url}/v1/agents/asker/pause").raise_for_status()
    begin(site, "asker")
    viewer.open("attention")
    expect(rows(viewer, "Waits for you")).to_have_count(2)
    expect(rows(viewer, "Waits for you").first).to_contain_text("Pay <b>back</b>?⟨202e⟩")
    expect(rows(viewer, "Waits for you").first.locator(".status.bad")).to_contain_text("in 1 min")
    expect(rows(viewer, "Runs now")).to_contain_text(re.compile(r"stuck.*Began.*ago"))
    expect(rows(viewer, "Nobody serves")).to_contain_text("its agent is paused")
    expect(rows(viewer, "Given up")).to_contain_text(re.compile(r"PermanentFailure.*broken.*2"))
    headings = viewer.page.locator("main h2")
    order = ["Waits for you", "Stuck or suspect", "Runs now", "Nobody serves", "Given up"]
    assert headings.all_inner_texts() == [*order, "The last hour of this process"]
    viewer.accessible()
    viewer.page.set_viewport_size({"width": 360, "height": 700})
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 360
    for _ in range(3):
        viewer.page.keyboard.press("j")
    expect(rows(viewer, "Stuck or suspect").get_by_role("link").first).to_be_focused()
    rows(viewer, "Nobody serves").get_by_role("button", name="Resume it").press("Enter")
    expect(rows(viewer, "Nobody serves")).to_have_count(0)
    expect(rows(viewer, "Waits for you")).to_have_count(3)
    expect(rows(viewer, "Waits for you").last).to_contain_text(re.compile(r"^\s*approve\s*May I\?"))
    viewer.page.keyboard.press("g")
    viewer.page.keyboard.press("p")
    viewer.heading("Approvals")
    viewer.page.get_by_role("link", name="May I?", exact=True).click()
    expect(viewer.page.get_by_role("heading", name="It asks whether it may: May I?")).to_be_visible()


def test_of_many_a_few_are_shown_and_where_the_others_are(viewer: Viewer, site: Site) -> None:
    ask(site, [Wanted(tool="refund", arguments={"n": n}) for n in range(30)])
    viewer.open("attention")
    expect(rows(viewer, "Waits for you")).to_have_count(10)
    viewer.page.get_by_role("link", name="more of these").click()
    viewer.heading("Approvals")


def test_a_drained_process_says_so_and_is_undrained(viewer: Viewer, site: Site) -> None:
    httpx.post(f"{site.url}/v1/system/drain").raise_for_status()
    viewer.open("attention")
    expect(viewer.page.get_by_text("This process begins no run")).to_be_visible()
    viewer.page.get_by_role("button", name="Have it begin runs again").click()
    expect(viewer.page.get_by_text("This process begins no run")).to_have_count(0)
