"""The console's frame: how it is served, and what holds of it whatever it shows."""

from __future__ import annotations

import re
from typing import Final

import httpx
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from awaken.console.app import POLICY, STATIC
from awaken.http.settings import HttpSettings
from tests.browser.site import Site
from tests.console.viewer import Viewer

FIRST_LOAD_BYTES: Final = 300_000


def test_the_root_leads_to_the_console_which_nothing_outside_can_touch(site: Site) -> None:
    answer = httpx.get(site.url, follow_redirects=True)
    assert (answer.url.path, answer.status_code) == ("/console", 200)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", answer.text)


def test_files_are_served_with_a_tag_and_what_is_none_is_not(site: Site) -> None:
    for name in ("app.js", "app.css", "icon.svg", "vendor/preact.js"):
        first = httpx.get(f"{site.url}/console/{name}")
        assert first.content == (STATIC / name).read_bytes()
        again = httpx.get(f"{site.url}/console/{name}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        plain = httpx.get(f"{site.url}/console/{name}", headers={"Accept-Encoding": "identity"})
        assert plain.content == first.content and "content-encoding" not in plain.headers
        assert plain.headers["etag"] != first.headers["etag"]
    for name in ("index.html", "vendor/README.md", "..%2Fapp.py", "vendor", "nothing.js"):
        assert httpx.get(f"{site.url}/console/{name}").status_code == 404


def test_the_description_of_the_api_names_it(site: Site) -> None:
    described = httpx.get(f"{site.url}/openapi.json").raise_for_status().json()
    assert {"/", "/console", "/console/{file}", "/console/vendor/{module}"} <= set(described["paths"])


def test_an_app_of_ones_own_has_no_console_unless_it_says_so() -> None:
    with Site() as site:
        assert httpx.get(f"{site.url}/console").status_code == 404
        assert httpx.get(site.url).status_code == 404


def test_it_works_where_it_is_mounted(page: Page) -> None:
    def below(app: ASGIApp) -> ASGIApp:
        return Starlette(routes=[Mount("/agents", app)])

    with Site(http=HttpSettings(console=True), around=below) as site:
        viewer = Viewer(page, f"{site.url}/agents")
        page.goto(f"{site.url}/agents/")
        expect(page.locator(".state [role=status]")).to_have_text("live")
        viewer.open("runs")
        viewer.heading("Runs")
        expect(page.get_by_text("No run has been made yet")).to_be_visible()
        viewer.check()


def test_the_first_load_is_small(viewer: Viewer) -> None:
    sizes: list[int] = []
    viewer.page.on("response", lambda response: sizes.append(int(response.headers.get("content-length", "0"))))
    viewer.open()
    viewer.heading("Attention")
    expect(viewer.page.locator(".state [role=status]")).to_have_text("live")
    assert sum(sizes) <= FIRST_LOAD_BYTES


def test_runs_are_listed_from_none_to_some_and_found_by_keyboard_alone(viewer: Viewer, site: Site) -> None:
    viewer.open("runs")
    viewer.heading("Runs")
    expect(viewer.page.get_by_text("No run has been made yet")).to_be_visible()
    viewer.accessible()
    run = httpx.post(f"{site.url}/v1/runs", json={"agent_id": "stuck", "input": "wait"}).json()
    expect(viewer.rows()).to_have_count(1)  # without a reload
    expect(viewer.rows()).to_contain_text("running")
    viewer.accessible()
    viewer.page.keyboard.press("j")
    viewer.page.keyboard.press("Enter")
    expect(viewer.page).to_have_url(re.compile(f"#/runs/{run['run_id']}"))


def test_a_page_says_how_old_it_is_when_the_server_is_gone(page: Page) -> None:
    with Site(http=HttpSettings(console=True)) as site:
        viewer = Viewer(page, site.url)
        viewer.open("runs")
        expect(page.get_by_text("No run has been made yet")).to_be_visible()
        port = site.port
    expect(page.locator(".state")).to_contain_text("not reached")
    expect(page.locator(".stale")).to_contain_text("old: the server is not reached", timeout=8_000)
    with Site(http=HttpSettings(console=True), port=port):
        expect(page.locator(".state")).to_contain_text("live")
        expect(page.locator(".stale")).to_have_count(0)


def test_it_asks_for_a_key_where_one_is_needed_and_forgets_it_with_the_tab(page: Page) -> None:
    def who(request: object) -> str | None:
        return "me" if getattr(request, "headers", {}).get("authorization") == "Bearer right" else None

    with Site(http=HttpSettings(console=True, authorize=who)) as site:
        viewer = Viewer(page, site.url)
        viewer.open("runs")
        key = page.get_by_label("Key", exact=True)
        viewer.accessible()
        expect(key).to_be_focused()
        key.fill("wrong")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("form [role=alert]")).to_be_visible()
        key.fill("right")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_text("No run has been made yet")).to_be_visible()
        assert "$AWAKEN_KEY" in (page.locator(".commands code").last.text_content() or "")
        assert "right" not in page.content()
        assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
        page.get_by_role("button", name="Forget the key").click()
        expect(key).to_be_visible()
