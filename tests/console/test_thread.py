"""The page of a thread: its conversation as it goes on, what waits to be taken, and what can be done."""

from __future__ import annotations

import re
from collections.abc import Generator

import httpx
import pytest
from playwright.sync_api import expect

from awaken.http.settings import HttpSettings
from tests.browser.site import Site
from tests.console.talking import Gate, child, ended, noter, parent, read, stepper, submit
from tests.console.viewer import Viewer


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def site(gate: Gate) -> Generator[Site]:
    agents = {"noter": noter(), "stepper": stepper(gate), "parent": parent, "child": child}
    with Site(http=HttpSettings(console=True), agents=agents) as site:
        yield site
        gate.open()


def pending(site: Site, thread_id: str) -> list[str]:
    return [item["content"][0]["text"] for item in read(site.url, f"/v1/threads/{thread_id}/pending")["items"]]


def steered(site: Site, thread_id: str, *texts: str) -> None:
    for text in texts:
        body = {"input": text, "mode": "steer"}
        httpx.post(f"{site.url}/v1/threads/{thread_id}/messages", json=body).raise_for_status()


def test_an_empty_thread_becomes_a_conversation_that_is_shown_as_it_goes_on(viewer: Viewer, site: Site) -> None:
    httpx.post(f"{site.url}/v1/threads", json={"thread_id": "t", "title": "An order"}).raise_for_status()
    viewer.open("threads/t")
    page = viewer.page
    expect(page.get_by_text("Nothing has been said yet")).to_be_visible()
    expect(page.get_by_text("No message waits for a run of it")).to_be_visible()
    viewer.accessible()
    page.get_by_label("Say something").fill("where is it?")
    page.locator("select[name=agent_id]").select_option("speaker")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Accepted (started)")).to_be_visible()
    expect(page.locator(".turn.user")).to_contain_text("where is it?")
    site.say("on ", "its way")
    expect(page.locator(".turn.live")).to_contain_text("on its way")
    site.end()
    expect(page.locator(".turn.live")).to_have_count(0)
    expect(page.locator(".turn.assistant")).to_contain_text("on its way")
    expect(page.get_by_role("region", name="Runs").locator("tbody tr")).to_contain_text("completed")


def test_a_message_is_sent_in_each_way(viewer: Viewer, site: Site) -> None:
    first = submit(site.url, "stuck", "begin")
    viewer.open(f"threads/{first['thread_id']}")
    page = viewer.page
    text, mode, send = page.get_by_label("Say something"), page.locator("select[name=mode]"), page.get_by_role("status")
    waiting = page.get_by_role("region", name="Waiting to be taken")
    for how, said in (("steer", "left"), ("follow_up", "right")):
        text.fill(said)
        mode.select_option(how)
        page.get_by_role("button", name="Send").click()
        expect(send.filter(has_text="Accepted (steered)")).to_be_visible()
        expect(waiting.locator("li", has_text=said)).to_have_count(1)
    text.fill("later")
    mode.select_option("queue")
    text.press("Control+Enter")
    expect(send.filter(has_text="Accepted (queued)")).to_be_visible()
    expect(page.get_by_role("region", name="Runs").locator("tbody tr")).to_have_count(2)
    text.fill("only when nothing runs")
    mode.select_option("reject")
    text.press("Control+Enter")
    viewer.expected = {"409"}
    expect(page.locator("form .problem")).to_contain_text("thread_busy")
    assert text.input_value() == "only when nothing runs"
    mode.select_option("interrupt")
    text.press("Control+Enter")
    expect(page.get_by_role("region", name="Runs").locator("tbody tr")).to_have_count(3)
    expect(page.get_by_role("region", name="Runs").get_by_text("superseded")).to_have_count(2)


def test_what_waits_is_edited_reordered_and_retracted(viewer: Viewer, site: Site, gate: Gate) -> None:
    run = submit(site.url, "stepper")
    thread_id = run["thread_id"]
    steered(site, thread_id, "alpha", "beta", "gamma")
    viewer.open(f"threads/{thread_id}")
    page = viewer.page
    items = page.locator(".pending li")
    expect(items).to_have_count(3)
    viewer.accessible()
    page.get_by_role("button", name="Down: alpha").click()
    expect(items.first).to_contain_text("beta")
    items.nth(2).get_by_role("button", name="Edit").focus()  # by keyboard: before both, then with another text
    page.keyboard.press("Alt+ArrowUp")
    expect(items.nth(1)).to_contain_text("gamma")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+A")
    page.keyboard.type("delta")
    page.keyboard.press("Control+Enter")
    expect(items.nth(1)).to_contain_text("delta")
    expect(page.get_by_role("dialog")).to_have_count(0)
    items.nth(2).get_by_role("button", name="Retract").click()
    expect(items).to_have_count(2)
    assert pending(site, thread_id) == ["beta", "delta"]
    gate.open()
    expect(page.locator(".turn.assistant")).to_contain_text("heard beta, delta")
    expect(items).to_have_count(0)


def test_what_somebody_else_has_changed_is_not_changed_unseen(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "stepper")
    thread_id = run["thread_id"]
    steered(site, thread_id, "one", "two")
    viewer.open(f"threads/{thread_id}")
    page = viewer.page
    page.locator(".pending li").first.get_by_role("button", name="Edit").click()
    item = read(site.url, f"/v1/threads/{thread_id}/pending")["items"][0]
    httpx.patch(
        f"{site.url}/v1/threads/{thread_id}/pending/{item['message_id']}",
        json={"message": {"role": "user", "content": "somebody else's"}},
        headers={"If-Match": "*"},
    ).raise_for_status()
    viewer.expected = {"412"}
    page.get_by_role("dialog").get_by_label("What it says").fill("mine")
    page.get_by_role("dialog").get_by_role("button", name="Edit").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    assert pending(site, thread_id)[0] == "somebody else's"


def test_a_thread_is_stopped_and_interrupted(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "stuck", "begin")
    submit(site.url, "stuck", "queued", thread_id=run["thread_id"])
    viewer.open(f"threads/{run['thread_id']}")
    page = viewer.page
    rows = page.get_by_role("region", name="Runs").locator("tbody tr")
    lane = page.get_by_role("region", name="Waiting to be taken")
    expect(lane.locator("li")).to_contain_text("queued")
    expect(lane.locator("li")).to_contain_text("number 1 in the queue")
    viewer.accessible()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(rows.nth(1)).to_contain_text("cancelled")
    expect(lane.locator("li")).to_have_count(0)
    expect(rows.first).to_contain_text("running")
    page.get_by_role("button", name="Interrupt").click()
    page.get_by_role("dialog").get_by_role("button", name="Interrupt").click()
    expect(rows.first).to_contain_text("superseded")


def test_a_thread_is_deleted_when_that_is_confirmed(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "stuck", "begin")
    viewer.open(f"threads/{run['thread_id']}")
    page = viewer.page
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    viewer.expected = {"409", "404"}
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_be_visible()  # a run of it is not done
    dialog.get_by_label("Stop what is not done in it first").check()
    dialog.get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#/threads$"))
    assert httpx.get(f"{site.url}/v1/threads/{run['thread_id']}").status_code == 404


def test_a_long_conversation_is_read_from_its_end(viewer: Viewer, site: Site) -> None:
    said = [{"role": "user", "content": f"line {number}"} for number in range(250)]
    body = {"thread_id": "t", "messages": said}
    httpx.post(f"{site.url}/v1/threads", json=body).raise_for_status()
    viewer.open("threads/t")
    page = viewer.page
    expect(page.locator(".turn")).to_have_count(100)
    expect(page.locator(".turn").last).to_be_in_viewport()
    expect(page.locator(".turn").last).to_contain_text("line 249")
    page.get_by_role("button", name="Earlier messages").click()
    expect(page.locator(".turn")).to_have_count(200)
    page.get_by_role("button", name="Earlier messages").click()
    expect(page.locator(".turn")).to_have_count(250)
    expect(page.locator(".turn").first).to_contain_text("line 0")
    expect(page.get_by_role("button", name="Earlier messages")).to_have_count(0)


def test_a_conversation_that_has_gone_on_for_long_has_no_gap(viewer: Viewer, site: Site) -> None:
    said = [{"role": "user", "content": f"line {number}"} for number in range(150)]
    httpx.post(f"{site.url}/v1/threads", json={"thread_id": "t", "messages": said}).raise_for_status()
    viewer.open("threads/t")
    page = viewer.page
    page.get_by_role("button", name="Earlier messages").click()
    expect(page.locator(".turn")).to_have_count(150)
    for number in range(2):
        runs = [{"agent_id": "child", "input": f"{number} {each}", "thread_id": "t"} for each in range(20)]
        httpx.post(f"{site.url}/v1/runs/batch", json={"runs": runs}).raise_for_status()
        expect(page.locator(".turn")).to_have_count(150 + 40 * (number + 1))
    seqs = page.eval_on_selector_all(".turn > header", "(all) => all.map((one) => /#(\\d+)/.exec(one.textContent)[1])")
    assert [int(seq) for seq in seqs] == list(range(1, 231))


def test_the_page_of_a_thread_is_usable_on_a_narrow_screen(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "noter", "begin")
    ended(site.url, run["run_id"])
    viewer.page.set_viewport_size({"width": 360, "height": 700})
    viewer.open(f"threads/{run['thread_id']}")
    expect(viewer.page.locator(".turn").last).to_contain_text("[2/2]")
    assert viewer.page.evaluate("document.documentElement.scrollWidth") == 360
    viewer.accessible()
