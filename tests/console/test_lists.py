"""Pages that list what there is: each from none to some, with what can be done there, and for hostile text."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from awaken.cli.main import app as command_line
from awaken.testing.behaviour import behaviour
from tests.browser.site import Site
from tests.console.viewer import Viewer

PAGES: Final = {
    "runs": "Runs",
    "threads": "Threads",
    "queue": "Queue",
    "dead": "Dead letters",
    "schedules": "Schedules",
    "agents": "Agents",
    "workers": "Workers",
    "system": "System",
}
COUNT_ASKED: Final = """
asked = 0;
const fetched = fetch;
const count = (by) => document.documentElement.setAttribute("data-asked", asked += by);
const whole = (answer) => answer.headers.get("content-type").includes("event-stream") || answer.clone().text();
fetch = (...what) => {
    count(1);
    const answer = fetched(...what);
    answer.then(whole).catch(() => {}).finally(() => count(-1));
    return answer;
};
"""
"""How many answers are to come stands in the page."""
MANY: Final = 10_000
HOSTILE: Final = "<img src=x onerror=alert(1)>\u202egnp.exe <script>alert(2)</script>" + "x" * 100_000


def submitted(site: Site, agent_id: str, text: str = "hello", **more: Any) -> str:
    body = {"agent_id": agent_id, "input": text, **more}
    return httpx.post(f"{site.url}/v1/runs", json=body).raise_for_status().json()["run_id"]


def given_up(site: Site, text: str = "hello") -> None:
    httpx.post(f"{site.url}/v1/runs/wait", json={"agent_id": "broken", "input": text}).raise_for_status()


def confirm(page: Page, label: str | re.Pattern[str], at: Locator | None = None) -> None:
    """Press a button, and the one of the dialog that it opens."""
    (at or page).get_by_role("button", name=label).first.click()
    dialog = page.locator("dialog[open]")
    dialog.locator("button[type=submit]").click()
    expect(dialog).to_have_count(0)


@behaviour("SRV-045")
def test_every_page_is_there_when_there_is_nothing_for_everybody(viewer: Viewer) -> None:
    for view, title in PAGES.items():
        viewer.open(view)
        viewer.heading(title)
        expect(viewer.page.locator(".loading")).to_have_count(0)
        viewer.accessible()


def test_every_page_says_in_which_state_it_is(viewer: Viewer, site: Site) -> None:
    """What could not be read again stands with its age, and no other age goes on; what may be seen no more is gone."""
    page = viewer.page
    run = submitted(site, "stuck", thread_id="t", if_not_exists="create")
    views = {"": "Attention", "approvals": "Approvals", **PAGES}
    views |= {f"runs/{run}": "Run", "threads/t": "Thread", "agents/speaker": "speaker"}
    status = 200

    def answered(route: Route) -> None:
        if status == 200:
            route.continue_()
        elif status == 0:
            route.abort()
        else:
            said = {"status": status, "code": "a_code", "detail": "it is said why", "request_id": "asked-7"}
            route.fulfill(status=status, json=said, content_type="application/problem+json")

    def again() -> None:
        """Everything that is shown is read again. A read that is under way meanwhile would seem to take long."""
        expect(page.locator("html")).to_have_attribute("data-asked", "0")
        page.clock.fast_forward(20_000)

    page.route(re.compile(r"/v1/(?!watch)|/health"), answered)
    page.clock.install()
    page.add_init_script(COUNT_ASKED)
    viewer.expected = {"401", "403", "500", "ERR_FAILED"}
    for view, title in views.items():
        status = 500
        viewer.open(view)
        viewer.heading(title)
        expect(page.locator(".problem").first).to_contain_text("it is said why 500 a_code · request asked-7")
        status = 200
        page.get_by_role("button", name="Try again").first.click()
        again()
        expect(page.locator(".problem")).to_have_count(0)
        expect(page.locator(".loading")).to_have_count(0)
        status = 0
        again()
        expect(page.locator(".stale:visible")).to_have_count(1)
        expect(page.locator(".stale:visible")).to_contain_text(re.compile(r"As of .* old: the server is not reached"))
        ages = page.locator("main time:not(.stale *)").all_inner_texts()
        again()
        expect(page.locator(".stale:visible")).to_contain_text(re.compile(r", ([4-9]\d s|\d min.*) old: "))
        assert page.locator("main time:not(.stale *)").all_inner_texts() == ages
        status = 403
        again()
        expect(page.locator(".stale")).to_have_count(0)
        expect(page.locator(".problem").first).to_contain_text("You may not see or do this it is said why 403")
        expect(page.locator("main :is(td, dd, .turn):not(.commands *)")).to_have_count(0)
        status = 401
        again()
        expect(page.locator("form.key:visible")).to_have_count(1)
        expect(page.locator("form.key:visible input")).to_be_focused()
        viewer.heading(title)


def test_every_page_leads_on_by_keys_alone(viewer: Viewer) -> None:
    viewer.open("runs")
    viewer.heading("Runs")
    for key, title in {"q": "Queue", "d": "Dead letters", "y": "System", "t": "Threads"}.items():
        viewer.page.keyboard.press("g")
        viewer.page.keyboard.press(key)
        viewer.heading(title)
    viewer.page.keyboard.press("?")
    expect(viewer.page.get_by_role("dialog", name="Keys")).to_contain_text("approve what is shown")
    viewer.page.keyboard.press("Escape")
    expect(viewer.page.get_by_role("dialog", name="Keys")).to_have_count(0)


def test_every_command_that_a_page_shows_is_one(viewer: Viewer, site: Site) -> None:
    submitted(site, "stuck")
    given_up(site)
    for view in [
        *PAGES,
        "dead?agent_id=broken",
        "runs?agent_id=stuck&failed=true",
        "queue?stale=true",
        "agents/speaker",
    ]:
        viewer.open(view)
        expect(viewer.page.locator(".loading")).to_have_count(0)
        expect(viewer.page.locator(".commands:visible").first).to_be_visible()
        shown = viewer.page.locator(".command code").all_text_contents()
        for command in [text for text in shown if text.startswith("awaken ")]:
            words = shlex.split(command)[1:]
            if words[-1] != "…":
                command_line.parse_args(words, exit_on_error=False, print_error=False)
                assert site.url in command or words[0] in ("init", "worker"), command
    viewer.open("runs?agent_id=stuck&failed=true")
    expect(viewer.page.locator(".commands")).to_contain_text("awaken runs --failed --agent stuck")
    viewer.open("runs?id_prefix=0&agent_id=stuck")  # which the command cannot say
    expect(viewer.page.locator(".commands")).not_to_contain_text("awaken runs")


def test_what_is_picked_of_runs_is_stopped_or_done_again(viewer: Viewer, site: Site) -> None:
    executing = submitted(site, "stuck")
    given_up(site)
    viewer.open("runs")
    expect(viewer.rows()).to_have_count(2)
    viewer.page.keyboard.press("j")
    viewer.page.keyboard.press("Space")
    viewer.page.keyboard.press("j")
    viewer.page.keyboard.press("Space")
    viewer.accessible()
    confirm(viewer.page, "Stop 1")
    expect(viewer.page.locator("ul[role=status]")).to_contain_text("stopped")
    expect(viewer.rows().filter(has_text="cancelled")).to_have_count(1)
    viewer.page.get_by_role("button", name="Do 2 again").click()
    expect(viewer.page.get_by_text("is done again as")).to_have_count(2)
    expect(viewer.rows()).to_have_count(4)
    assert httpx.get(f"{site.url}/v1/runs/{executing}").json()["phase"] == "cancelled"


def test_threads_are_made_and_found(viewer: Viewer, site: Site) -> None:
    viewer.open("threads")
    viewer.page.get_by_role("button", name="New thread").click()
    dialog = viewer.page.locator("dialog[open]")
    dialog.get_by_label("Id").fill("order-1")
    dialog.get_by_label("Title").fill("The first order")
    viewer.page.keyboard.press("Enter")
    expect(viewer.page).to_have_url(re.compile("#/threads/order-1"))
    viewer.open("threads?q=first")
    expect(viewer.rows()).to_contain_text("The first order")
    viewer.page.get_by_label("Title holds").fill("second")
    viewer.page.keyboard.press("Enter")
    expect(viewer.page.get_by_text("Nothing on this page fits.")).to_be_visible()
    assert "q=second" in viewer.page.url


def test_what_is_queued_is_placed_and_cancelled(viewer: Viewer, site: Site) -> None:
    executing = submitted(site, "stuck", thread_id="t", if_not_exists="create")
    queued = submitted(site, "stuck", thread_id="t")
    given_up(site)
    viewer.open("queue")
    expect(viewer.rows()).to_have_count(1)  # what waits, and nothing of what was
    expect(viewer.rows()).to_contain_text("queued")
    viewer.open("queue?thread_id=t")
    expect(viewer.rows()).to_have_count(2)
    row = viewer.rows().filter(has_text="queued")
    row.get_by_role("button", name="Place").click()
    dialog = viewer.page.locator("dialog[open]")
    dialog.get_by_label("Priority").fill("3")
    expect(dialog.locator(".commands")).to_contain_text(
        re.compile(r'-X PATCH .*"priority": ?3.*queue place \S+ --priority 3')
    )
    viewer.page.keyboard.press("Enter")
    expect(row.locator("td[data-title=Priority]")).to_have_text("3")
    confirm(viewer.page, "Cancel", row)
    expect(viewer.rows().filter(has_text="queued")).to_have_count(0)
    phases = {run_id: httpx.get(f"{site.url}/v1/runs/{run_id}").json()["phase"] for run_id in (executing, queued)}
    assert phases == {executing: "running", queued: "cancelled"}


def test_dead_letters_are_grouped_retried_after_a_look_and_discarded(viewer: Viewer, site: Site) -> None:
    for text in ("one", "two", "three"):
        given_up(site, text)
    viewer.open("dead")
    groups = viewer.page.get_by_role("table", name="Dead letters by error")
    expect(groups.locator("tbody tr")).to_have_count(1)
    expect(groups).to_contain_text("PermanentFailure")
    expect(groups.locator("td[data-title='How many']")).to_have_text("3")
    viewer.accessible()
    groups.get_by_role("link").first.click()
    viewer.page.get_by_role("button", name="Try what a retry would do").click()
    expect(viewer.page.locator(".many [role=status]")).to_contain_text("3 would be done again")
    rows = viewer.page.get_by_role("table", name="Dead letters", exact=True).locator("tbody tr")
    expect(rows).to_have_count(3)  # nothing was done
    confirm(viewer.page, "Retry 3")
    expect(viewer.page.locator(".many [role=status]")).to_contain_text("3 of 3 are done")
    expect(rows).to_have_count(3)  # they failed again, and are others
    viewer.page.get_by_role("button", name="Discard them").click()
    viewer.page.locator("dialog[open]").get_by_label("Why").fill("known")
    viewer.page.locator("dialog[open] button[type=submit]").click()
    expect(rows).to_have_count(0)
    expect(viewer.page.locator(".many [role=status]")).to_contain_text("3 of 3 are done")


def test_a_schedule_is_made_paused_resumed_and_deleted(viewer: Viewer) -> None:
    page = viewer.page
    viewer.open("schedules")
    page.get_by_role("button", name="New schedule").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("Name").fill("hourly")
    dialog.get_by_label("Agent", exact=True).fill("nobody")
    dialog.get_by_label("What the agent is told").fill("What is new?")
    dialog.get_by_label("Every so many seconds").fill("3600")
    expect(dialog.locator(".commands")).to_contain_text(
        "awaken schedules add hourly 'What is new?' --every 3600 --agent nobody"
    )
    viewer.expected.add("422")
    dialog.locator("button[type=submit]").click()
    expect(dialog.get_by_role("alert")).to_contain_text("nobody")  # and what was typed is still there
    dialog.get_by_label("Agent", exact=True).fill("speaker")
    dialog.locator("button[type=submit]").click()
    expect(viewer.rows()).to_contain_text("every 1 h")
    confirm(page, "Pause")
    expect(viewer.rows()).to_contain_text("paused (caller)")
    viewer.accessible()
    confirm(page, "Resume")
    expect(viewer.rows()).not_to_contain_text("paused")
    confirm(page, "Delete")
    expect(page.get_by_text("Nothing begins by itself yet")).to_be_visible()


@behaviour("SRV-045")
def test_an_agent_is_tried_and_paused(viewer: Viewer, site: Site) -> None:
    page = viewer.page
    viewer.open("agents")
    page.get_by_role("link", name="speaker").click()
    expect(page.locator(".title")).to_contain_text("served")
    site.say("I hear you.", " It **works**.")
    site.end()
    page.get_by_label("Say").fill("hello")
    page.keyboard.press("Enter")
    expect(page.locator(".answer strong")).to_have_text("works")
    expect(page.locator(".answer")).to_contain_text("completed")
    viewer.accessible()

    def refused(route: Route) -> None:
        said = {"status": 403, "code": "forbidden", "detail": "you may only look", "request_id": "asked-8"}
        route.fulfill(status=403, json=said, content_type="application/problem+json")

    page.route("**/pause", refused)
    viewer.expected = {"403"}
    page.get_by_role("button", name="Pause").click()
    page.locator("dialog[open] button[type=submit]").click()
    expect(page.locator(".problem:visible")).to_contain_text("You may not see or do this you may only look 403")
    expect(page.locator(".title")).to_contain_text("served")
    page.unroute("**/pause")
    page.reload()
    expect(page.locator(".title")).to_contain_text("served")
    confirm(page, "Pause")
    expect(page.locator(".title")).to_contain_text("paused")
    confirm(page, "Resume")
    expect(page.locator(".title")).to_contain_text("served")


def test_the_system_says_what_it_is_and_does_what_is_asked(viewer: Viewer) -> None:
    page = viewer.page
    viewer.open("system")
    expect(page.get_by_text("memory, durability volatile")).to_be_visible()
    page.get_by_role("button", name="Look through all rows").click()
    expect(page.get_by_text("All rows were looked through: nothing found.")).to_be_visible()
    confirm(page, "Sweep")
    expect(page.get_by_text("taken back: 0")).to_be_visible()
    expect(page.get_by_text("no authentication")).to_have_count(0)
    page.route("**/v1/system", lambda route: route.fulfill(json={**route.fetch().json(), "guard": "nobody"}))
    page.reload()
    expect(page.locator(".state")).to_contain_text("no authentication")
    expect(page.locator("main")).to_contain_text("Whoever reaches this address may use it")
    viewer.accessible()
    confirm(page, "Drain")
    viewer.open("workers")
    expect(viewer.rows()).to_contain_text("drained")
    viewer.open("system")
    confirm(page, "Undrain")
    page.get_by_label("Defaults, too").check()
    expect(page.get_by_role("cell", name="http.keepalive_s", exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [360, 1200])
def test_hostile_text_is_shown_and_does_nothing(viewer: Viewer, site: Site, width: int) -> None:
    viewer.page.set_viewport_size({"width": width, "height": 800})
    given_up(site, HOSTILE)
    for view in ("dead", "runs", "queue?status=dead_letter"):
        viewer.open(view)
        expect(viewer.page.get_by_text("<img src=x").first).to_be_visible()
        assert viewer.page.locator("main img, main script").count() == 0
        assert "\u202e" not in viewer.page.locator("main").inner_text()
        assert viewer.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@behaviour("SRV-045")
def test_a_long_list_comes_by_pages_and_is_never_counted(viewer: Viewer, site: Site) -> None:
    runs = [{"agent_id": "stuck", "input": "wait", "after_seconds": 3600} for _ in range(100)]
    with httpx.Client(base_url=site.url) as client:
        for _ in range(MANY // len(runs)):
            client.post("/v1/runs/batch", json={"runs": runs}).raise_for_status()
    for view in ("runs", "queue", "threads"):
        viewer.open(view)
        expect(viewer.rows()).to_have_count(50)
        first = viewer.rows().first.inner_text()
        viewer.page.get_by_role("button", name="Next page").click()
        expect(viewer.rows().first).not_to_have_text(first, use_inner_text=True)
        expect(viewer.rows()).to_have_count(50)
        viewer.page.get_by_role("button", name="First page").click()
        expect(viewer.rows()).to_have_count(50)
