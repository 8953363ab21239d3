"""The pages about browsers and proxies: what they show works, in a browser, and behind nginx."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.sync_api import Page, expect

from awaken.client import Client, Event, ResumeSettings
from awaken.testing.behaviour import behaviour
from tests.cli.test_server_process import APP, Process
from tests.docs import nginx
from tests.docs.nginx import Nginx
from tests.docs.repository import ROOT, code
from tests.docs.uvicorn_process import Uvicorn

BROWSER: Final = ROOT / "docs/howto/in-a-browser.md"
PROXY: Final = ROOT / "docs/howto/behind-a-proxy.md"
ONCE: Final = ResumeSettings(give_up_after_s=0)
HOST_LINE: Final = "        proxy_set_header Host $http_host;\n"
WATCH: Final = """
async (module) => {
    const { Awaken } = await import(module);
    window.awaken = new Awaken();
    window.items = [];
    const run = await awaken.submit("go", { agent_id: "once", thread_id: "t" });
    awaken.watch({ run_id: run.run_id }, (item) => { items.push(item); });
    return run.run_id;
}
"""
ENDED: Final = "() => items.at(-1)?.payload.reason === 'done'"


# --- in-a-browser.md --------------------------------------------------------------------------------------------------


@behaviour("WEB-006")
def test_the_complete_page_works_as_it_stands(page: Page, tmp_path: Path) -> None:
    """Copied from the documentation: it talks, survives a reload and a restart, and stops."""
    [program] = [block for block in code(BROWSER, "python") if "Starlette(" in block.text]
    [html] = code(BROWSER, "html")
    (tmp_path / "app.py").write_text(program.text)
    (tmp_path / "page.html").write_text(html.text)
    answer = "You wrote: hello. I will look into it."
    lines = page.locator("#messages li")

    with Uvicorn("app:site", tmp_path) as first:
        page.goto(first.url)
        expect(page.locator("#news")).to_have_text("connected")
        page.locator("#text").fill("hello")
        page.get_by_role("button", name="Send").click()
        expect(lines.nth(1)).to_contain_text("You wrote: hello.")
        page.reload()
        expect(lines).to_have_text(["hello", answer])
        page.locator("#text").fill("again")
        page.get_by_role("button", name="Send").click()
        expect(lines.nth(3)).to_contain_text("You wrote")
        first.process.kill()
        first.process.wait(30)
        expect(page.locator("#news")).to_have_text("waiting for the server")
        port = first.port
    with Uvicorn("app:site", tmp_path, port=port):
        expect(lines).to_have_text(["hello", answer, "again", answer.replace("hello", "again")])
        page.locator("#text").fill("stop me")
        page.get_by_role("button", name="Send").click()
        expect(lines.nth(5)).to_contain_text("You wrote")
        page.get_by_role("button", name="Stop").click()
        expect(lines.nth(5)).not_to_contain_text("into it")


def test_every_member_of_the_module_is_described() -> None:
    module = (ROOT / "src/awaken/http/static/awaken.js").read_text()
    own = module.partition("export class Awaken {")[2].partition("\nclass Watch")[0]
    methods = {name for name in re.findall(r"^  (?:async )?([a-z]\w*)\(", own, re.MULTILINE)} - {"constructor", "send"}
    news = set(re.findall(r'give\("(stream\.\w+)"', module)) | {"stream.open"}
    text = BROWSER.read_text()
    assert len(methods) > 4
    assert [name for name in (*methods, *news) if f"`{name}" not in text] == []


# --- behind-a-proxy.md ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def program() -> Path:
    """nginx. Where there is none, what needs it is left out, and the summary of the tests has the reason."""
    try:
        return nginx.find()
    except nginx.Missing as missing:
        pytest.skip(f"nothing was tried behind nginx: {missing}")


@pytest.fixture
def port() -> int:
    """Where nginx will listen."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mymodule.py").write_text(APP.format(drain_s=0.2))
    return tmp_path


@pytest.fixture
def proxied(program: Path, port: int, tmp_path: Path) -> Callable[[str, int], Nginx]:
    """Starts nginx with a configuration of the page, for a server on another port than 8000."""

    def started(servers: str, server_port: int) -> Nginx:
        assert "http://127.0.0.1:8000" in servers
        return Nginx(program, tmp_path / "nginx", port, servers.replace("127.0.0.1:8000", f"127.0.0.1:{server_port}"))

    return started


def configuration(of: str) -> str:
    [block] = [block.text for block in code(PROXY, "nginx") if f"server_name {of};" in block.text]
    return block


@behaviour("WEB-003", "WEB-005")
@pytest.mark.parametrize("keeps_host", [True, False])
def test_a_page_works_behind_nginx_whichever_host_it_sends_and_through_a_restart(
    page: Page, proxied: Callable[[str, int], Nginx], folder: Path, port: int, keeps_host: bool
) -> None:
    """What is streamed arrives while the run goes on; while the server is away nginx answers 502, and it waits."""
    public = f"http://agents.example:{port}"
    servers = configuration("agents.example")
    assert HOST_LINE in servers
    served = ("mymodule:app", "--public-url", public)
    with (
        Process(folder, *served) as first,
        proxied(servers if keeps_host else servers.replace(HOST_LINE, ""), first.port),
    ):
        page.goto(f"{public}/health/live")
        run_id = page.evaluate(WATCH, "/awaken.js")
        page.wait_for_function("() => items.some((item) => item.payload.delta === 'one ')")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(30)
        page.wait_for_function("() => items.some((i) => i.kind === 'stream.cut' && i.payload.error.status === 502)")
        with Process(folder, *served, port=first.port) as second, Client(second.url) as client:
            page.wait_for_function(ENDED)
            assert client.get_run(run_id).final_output == "one two"
        cursors = page.evaluate("() => items.filter((item) => item.cursor).map((item) => item.cursor)")
        assert len(cursors) == len(set(cursors))


@behaviour("WEB-003")
def test_without_a_public_url_the_proxys_name_and_pages_are_refused(
    proxied: Callable[[str, int], Nginx], folder: Path, port: int
) -> None:
    with Process(folder, "mymodule:app") as server, proxied(configuration("agents.example"), server.port):
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/agents", headers={"Host": "agents.example"})
        assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


@behaviour("WEB-003")
def test_below_a_path_links_lead_back_through_the_proxy(
    page: Page, proxied: Callable[[str, int], Nginx], folder: Path, port: int
) -> None:
    public = f"http://example.org:{port}/agents"
    (folder / "started").touch()
    servers = configuration("example.org").replace("server_name example.org;", "server_name here.example;")
    public = public.replace("example.org", "here.example")
    with Process(folder, "mymodule:app", "--public-url", public) as server, proxied(servers, server.port):
        page.goto(f"{public}/health/live")
        page.evaluate(WATCH, "/agents/awaken.js")
        page.wait_for_function(ENDED)
        followed = """async () => {
            const body = JSON.stringify({ agent_id: "quick", input: "x" });
            const headers = { "Content-Type": "application/json" };
            const made = await fetch("/agents/v1/runs", { method: "POST", body, headers });
            return await (await fetch(made.headers.get("Content-Location"))).json();
        }"""
        assert page.evaluate(followed)["agent_id"] == "quick"


def test_the_python_client_streams_through_nginx(proxied: Callable[[str, int], Nginx], folder: Path, port: int) -> None:
    (folder / "started").touch()
    served = ("mymodule:app", "--public-url", "http://agents.example")
    with (
        Process(folder, *served) as server,
        proxied(configuration("agents.example"), server.port),
        Client(f"http://127.0.0.1:{port}", headers={"Host": "agents.example"}, resume=ONCE) as client,
        client.stream(None, "go", agent="once") as stream,
    ):
        assert [item.payload["delta"] for item in stream if isinstance(item, Event) and "delta" in item.payload] == [
            "one ",
            "two",
        ]
