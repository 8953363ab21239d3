"""The page of a run: why it is here, what was said beside what was executed, and what can be done."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from playwright.sync_api import Route, expect

from awaken import Context
from awaken.client import Client
from awaken.http.settings import HttpSettings
from tests.browser.site import Site, Wanted
from tests.console.talking import Gate, child, diligent, ended, noter, parent, read, stepper, submit, teller
from tests.console.viewer import Viewer

_STANDS = """
() => {
    const [age, took] = [".state", ".span.attempt .took"].map((place) => document.querySelector(place).textContent);
    window.before = window.before?.age === age ? window.before : { age, took, last: window.before?.took };
    return window.before.last === took;
}
"""
"""Whether a duration is the same as it was a second ago, by the age that the head of the page shows."""


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def site(gate: Gate) -> Generator[Site]:
    agents: dict[str, Any] = {
        "teller": teller(gate),
        "noter": noter(),
        "stepper": stepper(gate),
        "parent": parent,
        "child": child,
        "diligent": diligent,
        "asks_child": asks_child,
    }
    with Site(http=HttpSettings(console=True), agents=agents) as site:
        yield site
        gate.open()


async def asks_child(context: Context) -> str:
    return f"it said {await context.call('asker', 'go')}"


def test_a_run_that_waits_for_a_child_says_where_that_is_and_what_it_asks(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "asks_child")
    viewer.open(f"runs/{run['run_id']}")
    waits = viewer.page.get_by_role("region", name="What it waits for")
    expect(waits).to_contain_text("Waits for the run that it started")
    expect(waits).to_contain_text("needs decision")
    expect(waits).to_contain_text("It asks: May I?")
    expect(waits.locator("pre")).to_have_count(0)
    expect(viewer.page.locator(".about")).to_contain_text("needs decision")
    viewer.accessible()
    waits.get_by_role("link", name="Decide it").click()
    viewer.heading("Approvals")


def test_a_run_is_shown_as_what_was_said_beside_what_was_executed(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "noter", "begin")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    expect(page.get_by_role("region", name="Why it is here")).to_contain_text("It was completed")
    expect(page.locator(".turn")).to_have_count(3)  # what the tool answered is folded into its call
    rows = page.locator(".lenses > .row")
    first = rows.filter(has=page.locator(".span.step", has_text="Step 1"))
    expect(first.locator(".turn")).to_contain_text("[1/2]")  # side by side
    expect(first.locator(".span.model_call")).to_contain_text("50 in")
    expect(first.locator(".span.tool")).to_contain_text("take_note")
    call = page.locator("details.call")
    expect(call).not_to_have_attribute("open", re.compile(""))
    call.locator("summary").click()
    expect(call).to_contain_text("step 1 of 2 is written down")
    viewer.accessible()


def test_a_span_leads_to_its_place_in_the_history_and_the_conversation(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "noter", "begin")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    page.locator(".span.tool a").click()
    expect(page).to_have_url(re.compile(r"\?event="))
    expect(page.locator("details.call")).to_have_class(re.compile("chosen"))
    page.get_by_role("button", name="In the history").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".history a:focus")).to_have_attribute("href", re.compile("runs/"))
    expect(page.locator(".history .event")).to_contain_text("take_note")
    page.locator(".history .event").get_by_role("button", name="In the timeline").click()
    expect(page.locator(".span.tool a")).to_be_focused()
    page.locator(".span.tool").get_by_role("button", name="In the conversation").click()
    expect(page.locator("details.call summary")).to_be_focused()


def test_what_is_said_is_shown_while_it_is_said_and_the_timeline_grows(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "speaker")
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    expect(page.locator(".span.attempt")).to_contain_text("goes on")
    site.say("one ", "two ")
    expect(page.locator(".turn.live")).to_contain_text("one two")
    site.say("three")
    expect(page.locator(".turn.live")).to_contain_text("one two three")
    viewer.accessible()
    site.end()
    expect(page.locator(".turn.live")).to_have_count(0)
    expect(page.locator(".turn.assistant")).to_contain_text("one two three")
    expect(page.locator(".span.end")).to_have_count(1)
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_a_run_is_steered_and_it_is_marked_where_the_message_was_taken(viewer: Viewer, site: Site, gate: Gate) -> None:
    run = submit(site.url, "stepper")
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    page.get_by_label("Say something to it").fill("to the left")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Accepted (steered)")).to_be_visible()
    page.get_by_label("Say something to it").fill("and then?")
    page.locator("select[name=mode]").select_option("follow_up")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".history")).to_contain_text("on_natural_end")
    gate.open()
    taken = page.locator(".turn.user", has_text="to the left")
    expect(taken).to_contain_text("taken at step 2")
    expect(page.locator(".turn.assistant")).to_contain_text("heard to the left")


def test_a_run_is_stopped_and_done_again(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "stuck", "begin")
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    page.get_by_role("button", name="Stop").focus()
    for key in ("Enter", "Tab", "Enter"):  # it is asked first, since nothing takes it back
        page.keyboard.press(key)
    expect(page.get_by_role("region", name="Why it is here")).to_contain_text("cancelled")
    expect(page.locator(".span.stop").first).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page).not_to_have_url(re.compile(run["run_id"]))
    expect(page.locator(".about")).to_contain_text("Retry of")
    expect(page.get_by_text("It was given messages that were in the thread already")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


def test_a_run_that_waits_is_decided_with_a_reason_by_keyboard(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "asker")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    waits = page.get_by_role("region", name="What it waits for")
    expect(waits).to_contain_text("May I?")
    waits.get_by_role("button", name="Deny").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("not today")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.assistant")).to_contain_text("False: not today")
    expect(waits).to_have_count(0)
    expect(page.locator(".span.ticket")).to_contain_text("denied")
    again = submit(site.url, "asker")
    ended(site.url, again["run_id"])
    viewer.open(f"runs/{again['run_id']}")
    waits.get_by_role("button", name="Approve").click()
    expect(page.locator(".turn.assistant")).to_contain_text("True")


def test_a_run_that_waited_a_moment_is_followed_on(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "teller")
    [ticket] = ended(site.url, run["run_id"])["waiting"]["tickets"]

    def running(route: Route) -> None:  # the page never learns that it waited
        route.fulfill(json={**route.fetch().json(), "status": "running", "waiting": None})

    viewer.page.route(re.compile(f"/v1/runs/{run['run_id']}$"), running)
    with viewer.page.expect_response(re.compile("/stream$")):
        viewer.open(f"runs/{run['run_id']}")
    expect(viewer.page.locator(".history tbody tr").last).to_contain_text("RunSuspended")
    decision = {"action": "approve"}
    httpx.post(f"{site.url}/v1/tickets/{ticket['ticket_id']}/decision", json=decision).raise_for_status()
    expect(viewer.page.locator(".turn.live")).to_contain_text("I may")


def test_a_takeover_is_drawn_as_a_break(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "noter", "begin")
    ended(site.url, run["run_id"])

    def died(route: Route) -> None:
        answer: dict[str, Any] = route.fetch().json()
        spans = answer["spans"]
        died = next(at for at, span in enumerate(spans) if span["kind"] == "step" and at > 4)
        processes = [{"host": f"web-{pid}", "pid": pid, "role": "worker"} for pid in (7, 8)]
        facts: dict[str, Any] = {"previous_worker": "worker-a", "worker": "worker-b", "finished_calls": ["note_1"]}
        facts |= dict(zip(("previous_process", "process"), processes, strict=True))
        name = "Process 7 on web-7 died, process 8 on web-8 took over; 1 finished call not repeated"
        broken = {**spans[died], "id": 900, "kind": "takeover", "name": name, "parent": None, "facts": facts}
        spans.insert(died, broken)
        route.fulfill(json=answer)

    viewer.page.route("**/timeline", died)
    viewer.open(f"runs/{run['run_id']}")
    taken = viewer.page.locator(".row.takeover")
    expect(taken).to_contain_text("Process 7 on web-7 died, process 8 on web-8 took over")
    expect(taken.locator(".break")).to_contain_text("process 7 on web-7 worker")
    expect(taken).not_to_contain_text("worker-a")
    expect(taken.locator(".break")).to_contain_text("Not repeated")
    taken.get_by_role("button", name="note_1", exact=True).click()
    expect(viewer.page.locator("details.call summary")).to_be_focused()
    viewer.accessible()


def test_of_many_steps_the_last_ones_are_drawn_and_earlier_ones_on_demand(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "diligent")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    rows = viewer.page.locator(".lenses > .row")
    expect(rows).to_have_count(200)
    expect(rows.last).to_contain_text("Finished")
    viewer.page.get_by_role("button", name="Earlier rows").click()
    expect(rows.first).to_contain_text("hello")
    assert rows.count() > 300


def test_runs_that_it_started_and_that_started_it_are_linked(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "parent")
    assert ended(site.url, run["run_id"])["output"] == "it said done"
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    expect(page.locator(".about")).to_contain_text("completed")
    page.locator(".span.child").get_by_role("link").nth(1).click()
    expect(page.locator(".about")).to_contain_text("Started by")
    page.go_back()
    expect(page.locator("main a:focus")).to_have_attribute("href", re.compile("runs/"))
    assert run["run_id"] in page.url
    page.keyboard.press("Enter")
    expect(page.locator(".about")).to_contain_text("Started by")
    page.locator(".about").get_by_role("link").nth(1).click()
    expect(page).to_have_url(re.compile(run["run_id"]))


def test_hidden_messages_are_struck_and_a_conversation_is_forked(viewer: Viewer, site: Site) -> None:
    first = submit(site.url, "noter", "keep this", thread_id="t", if_not_exists="create")
    ended(site.url, first["run_id"])
    run = submit(site.url, "stuck", "forget this", thread_id="t")
    httpx.post(f"{site.url}/v1/runs/{run['run_id']}/cancel", params={"action": "rollback", "wait_s": 10})
    viewer.open(f"runs/{run['run_id']}")
    page = viewer.page
    expect(page.locator(".turn.struck")).to_contain_text("forget this")
    expect(page.locator(".turn.struck")).to_contain_text("read no more")
    viewer.accessible()
    viewer.open(f"runs/{first['run_id']}")
    page.locator(".turn.user").get_by_role("button", name="Fork from here").click()
    page.get_by_role("dialog").get_by_role("button", name="Fork from here").click()
    expect(page).to_have_url(re.compile("#/threads/"))
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".turn")).to_contain_text("keep this")


def test_all_events_are_downloaded_as_lines(viewer: Viewer, site: Site, tmp_path: Path) -> None:
    run = submit(site.url, "noter", "begin")
    ended(site.url, run["run_id"])
    viewer.open(f"runs/{run['run_id']}")
    with viewer.page.expect_download() as download:
        viewer.page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "events.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    everything = "lifecycle,mailbox,messages,tools,decisions,state,activity,usage,debug,other"
    events = read(site.url, f"/v1/runs/{run['run_id']}/events", channels=everything, limit=200)
    assert lines == events["items"]
    assert download.value.suggested_filename == f"run-{run['run_id']}.jsonl"


def test_a_run_that_is_not_there_is_said_to_be_so_with_the_id_of_the_request(viewer: Viewer) -> None:
    viewer.expected = {"404"}
    viewer.open("runs/nobody")
    expect(viewer.page.get_by_role("alert")).to_contain_text("request")


def test_the_page_is_usable_on_a_narrow_screen(viewer: Viewer, site: Site) -> None:
    run = submit(site.url, "asker")
    ended(site.url, run["run_id"])
    viewer.page.set_viewport_size({"width": 360, "height": 700})
    viewer.open(f"runs/{run['run_id']}")
    expect(viewer.page.locator(".history tbody tr").first).to_be_visible()
    viewer.page.get_by_text("As commands").last.click()
    assert viewer.page.evaluate("document.documentElement.scrollWidth") == 360
    viewer.accessible()


def test_a_run_that_is_queued_shows_what_it_is_to_be_given(viewer: Viewer, site: Site) -> None:
    """So that who cancels one of several knows which; and Attention says behind what it waits."""
    asked = {"agent_id": "stuck", "thread_id": "t", "if_not_exists": "create"}
    made = [httpx.post(f"{site.url}/v1/runs", json={**asked, "input": text}).json() for text in ("first", "behind it")]
    first, behind = [each.get("run", each)["run_id"] for each in made]
    viewer.open(f"runs/{behind}")
    expect(viewer.page.get_by_role("region", name="What it is given")).to_contain_text("behind it")
    expect(viewer.page.get_by_text("messages that were in")).to_have_count(0)
    viewer.accessible()
    viewer.open("attention")
    rows = viewer.page.get_by_role("table", name="Runs that wait behind another").locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(f"behind run {first}")
    viewer.accessible()
    with Client(site.url) as client:
        shown = client.get_run(behind)
    assert [message.text for message in shown.input.messages] == ["behind it"]
    flaky = submit(site.url, "flaky")  # what is tried again says the same of it in each place
    viewer.open(f"runs/{flaky['run_id']}")
    expect(viewer.page.locator(".why")).to_contain_text("Attempt 1 of 5 failed")
    expect(viewer.page.locator(".about")).to_contain_text("1 of 5 failed")
    expect(viewer.page.locator(".span.retry")).to_contain_text(re.compile(r"hangs up due in \d"))
    viewer.open(f"runs/{first}")
    took = viewer.page.locator(".span.attempt .took")
    expect(took).to_contain_text(re.compile(r"^\d"))
    site.__exit__()
    viewer.expected = {"ERR_"}
    expect(took).to_contain_text("when last heard")
    expect(viewer.page.locator(".about")).to_contain_text(re.compile(r"Took.*when last heard, 0 steps", re.DOTALL))
    viewer.page.wait_for_function(_STANDS)


def test_a_long_word_makes_no_page_wide(viewer: Viewer, site: Site) -> None:
    asked = msgspec.json.encode(Wanted(tool="refund", question="W" * 500, arguments={"to": "V" * 500})).decode()
    made = httpx.post(f"{site.url}/v1/runs", json={"agent_id": "clerk", "input": asked}).json()
    run = made.get("run", made)
    httpx.get(f"{site.url}/v1/runs/{run['run_id']}/wait", timeout=60)
    for place in (f"runs/{run['run_id']}", f"threads/{run['thread_id']}", "attention"):
        for width in (1200, 360):
            viewer.page.set_viewport_size({"width": width, "height": 800})
            viewer.open(place)
            expect(viewer.page.get_by_text("W" * 100).first).to_be_visible()
            assert viewer.page.evaluate("document.documentElement.scrollWidth") <= width, (place, width)
