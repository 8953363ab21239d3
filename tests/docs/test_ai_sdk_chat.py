"""The page with the AI SDK among the examples, in a browser: only where `ai` comes from is not the network here."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from awaken.testing.behaviour import behaviour
from tests.docs.uvicorn_process import Uvicorn
from tests.node import installed
from tests.protocols.stock.clients import HERE

PACKAGES = {
    "ai": "ai6/dist/index.mjs",
    "@ai-sdk/gateway": "@ai-sdk/gateway/dist/index.mjs",
    "@ai-sdk/provider": "@ai-sdk/provider/dist/index.mjs",
    "@ai-sdk/provider-utils": "@ai-sdk/provider-utils/dist/index.mjs",
    "zod": "zod/index.js",
    "zod/v3": "zod/v3/index.js",
    "zod/v4": "zod/v4/index.js",
    "eventsource-parser/stream": "eventsource-parser/dist/stream.js",
}
ONLY_FOR_SERVERS = {
    "@opentelemetry/api": "export const trace = {}, context = {}, SpanStatusCode = {};",
    "@vercel/oidc": "export const getContext = () => ({}), getVercelOidcToken = () => '';",
}


def with_packages(page: Page, url: str) -> None:
    """Have the page find `ai` where the stock clients are installed."""
    modules = installed(HERE) / "node_modules"
    imports = {name: f"{url}/npm/{file}" for name, file in PACKAGES.items()}
    imports |= {name: f"{url}/stub/{name}" for name in ONLY_FOR_SERVERS}

    def package(route: Route) -> None:
        file = modules / route.request.url.split("/npm/", 1)[1]
        route.fulfill(body=file.read_bytes(), content_type="text/javascript")

    def stub(route: Route) -> None:
        body = ONLY_FOR_SERVERS[route.request.url.split("/stub/", 1)[1]]
        route.fulfill(body=body, content_type="text/javascript")

    def document(route: Route) -> None:
        mapped = f'<head><script type="importmap">{json.dumps({"imports": imports})}</script>'
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("<head>", mapped))

    page.route(f"{url}/npm/**", package)
    page.route(f"{url}/stub/**", stub)
    page.route(f"{url}/", document)
    page.route(
        "https://esm.sh/ai@6",
        lambda route: route.fulfill(
            body='export * from "ai";', content_type="text/javascript", headers={"access-control-allow-origin": "*"}
        ),
    )


def say(page: Page, text: str) -> None:
    page.get_by_placeholder("Say something").fill(text)
    page.get_by_role("button", name="Send").click()


@behaviour("SRV-031")
def test_an_approval_is_given_an_answer_survives_a_reload_and_what_is_said_meanwhile_waits(
    page: Page, tmp_path: Path
) -> None:
    lines, queue = page.locator("#messages li"), page.locator("#queue li")
    store = f"sqlite:///{tmp_path / 'chat.db'}"
    target = "examples.ai_sdk_chat.main:site"
    with Uvicorn(target, tmp_path, CHAT_STORE=store, CHAT_SECONDS_PER_WORD="0.25") as serving:
        with_packages(page, serving.url)
        page.goto(f"{serving.url}/#talk")
        say(page, "hello")
        expect(lines.nth(1)).to_contain_text("Shall I tell you about it?")
        page.get_by_role("button", name="Yes").click()
        expect(lines.nth(1)).to_contain_text("You wrote “hello”")
        say(page, "and then?")
        expect(queue).to_have_count(1)
        page.reload()
        expect(queue).to_contain_text("and then?")
        expect(lines.nth(1)).to_contain_text("You wrote “hello”. Reload the page")
        expect(lines.nth(1)).to_contain_text("waits, and can be changed.")
        expect(lines.nth(3)).to_contain_text("Shall I tell you about it?")
        expect(queue).to_have_count(0)
        page.get_by_role("button", name="No").click()
        expect(lines.nth(3)).to_contain_text("Then not.")
        expect(lines).to_have_count(4)
