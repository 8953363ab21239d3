"""The client for browsers, in a browser: what is watched comes once, in order, whatever happens on the way."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Page, Route

from awaken.http.settings import HttpSettings
from awaken.testing.behaviour import behaviour
from tests.browser.site import Site
from tests.cli.test_server_process import APP, Process
from tests.docs.repository import ROOT
from tests.node import NODE

MODULE: Final = ROOT / "src/awaken/http/static/awaken.js"
RETRY_MS: Final = 50
WORDS: Final = tuple(f"word{number} " for number in range(12))
_threads = (f"t{number}" for number in itertools.count())

WATCH: Final = """
(what) => {
    window.items = [];
    window.watching = awaken.watch(what, (item) => { items.push(item); });
    window.ended = null;
    watching.done.then((reason) => { ended = reason; }, (error) => { ended = `${error.name} ${error.code}`; });
}
"""
TEXT: Final = """
() => {
    const messages = new Map();
    for (const { kind, payload } of items) {
        if (kind === "stream.state") messages.clear();
        if (kind === "TextDeltaObserved")
            messages.set(payload.message_id, (messages.get(payload.message_id) ?? "") + payload.delta);
        if (kind === "MessageCommitted")
            messages.set(payload.message_id, payload.content_blocks.map((block) => block.text).join(""));
        if (kind === "StreamReset" && payload.message_id) messages.delete(payload.message_id);
    }
    return [...messages.values()];
}
"""
"""The texts of a conversation as a page shows them."""

DECIDE: Final = """
([ticket_id, action, reason]) => awaken.decide(ticket_id, action, { reason }).then(
    ({ ticket, run, duplicate }) => [ticket.state, run.run_id, duplicate],
    (error) => [error.status, error.code],
)
"""


@pytest.fixture(scope="module")
def site() -> Generator[Site]:
    """Its streams live for half a second, as behind a balancer that is in a hurry."""
    with Site(http=HttpSettings(max_stream_life_s=0.5, retry_ms=RETRY_MS)) as site:
        yield site


@pytest.fixture
def thread_id() -> str:
    return next(_threads)


def opened(page: Page, url: str, *, of: str | None = None) -> None:
    """Open a page of the server's origin, or of another, with a client; what it shows does not matter."""
    page.goto(f"{of or url}/health/live")
    page.evaluate("async (url) => { window.awaken = new (await import(`${url}/awaken.js`)).Awaken(); }", url)


def watch(page: Page, **what: str) -> None:
    page.evaluate(WATCH, what)


def submit(page: Page, agent_id: str, thread_id: str, text: str = "hello") -> str:
    submitted = "([text, options]) => awaken.submit(text, options).then((run) => run.run_id)"
    return page.evaluate(submitted, [text, {"agent_id": agent_id, "thread_id": thread_id}])


def until(page: Page, condition: str, argument: Any = None) -> None:
    page.wait_for_function(condition, arg=argument, polling=20)


def until_ended(page: Page) -> str:
    until(page, "() => ended !== null")
    return page.evaluate("() => ended")


def until_shown(page: Page, *texts: str) -> None:
    """The conversation is exactly this."""
    until(page, f"(texts) => JSON.stringify(({TEXT})()) === JSON.stringify(texts)", list(texts))


def logged(url: str, run_id: str) -> list[str]:
    answer = httpx.get(f"{url}/v1/runs/{run_id}/events", params={"limit": 200}).json()
    assert not answer["has_more"]
    return [event["cursor"] for event in answer["items"] if event["kind"] not in ("StepStarted", "StepEnded")]


def seen(page: Page) -> list[str]:
    return page.evaluate("() => items.filter((item) => item.cursor).map((item) => item.cursor)")


# --- the file ---------------------------------------------------------------------------------------------------------


@behaviour("WEB-004")
def test_the_module_is_served_with_its_type_and_asked_for_again_in_vain(site: Site) -> None:
    first = httpx.get(f"{site.url}/awaken.js")
    assert (first.status_code, first.text) == (200, MODULE.read_text())
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = httpx.get(f"{site.url}/awaken.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert httpx.get(f"{site.url}/awaken.js", headers={"If-None-Match": '"other"'}).status_code == 200


@behaviour("WEB-004")
def test_the_module_is_in_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert packed.read("awaken/http/static/awaken.js") == MODULE.read_bytes()


@behaviour("WEB-004")
def test_the_types_in_the_modules_comments_hold(typescript: Path, tmp_path: Path) -> None:
    """Also for whoever uses it: a page with a mistake does not pass."""
    (tmp_path / "awaken.js").write_bytes(MODULE.read_bytes())
    uses = 'import { Awaken } from "./awaken.js";\nconst awaken = new Awaken({ url: "/x" });\n'
    right = 'awaken.watch({ run_id: "r" }, (item) => item.payload.delta).done.then((reason) => reason.length);\n'
    (tmp_path / "right.js").write_text("// @ts-check\n" + uses + right)
    (tmp_path / "wrong.js").write_text("// @ts-check\n" + uses + 'awaken.watch({ run: "r" }, 3);\n')
    options = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--noUnusedLocals", "--target", "es2022"]
    options += ["--module", "esnext", "--lib", "es2022,dom,dom.iterable"]
    command = [str(NODE), str(typescript), *options, "right.js", "wrong.js"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120).stdout.splitlines()
    assert [line.partition(": error")[0] for line in found] == ["wrong.js(4,16)"]


# --- a run ------------------------------------------------------------------------------------------------------------


@behaviour("WEB-005")
def test_a_run_is_submitted_and_watched_to_its_end(page: Page, site: Site, thread_id: str) -> None:
    """Every kind through one callback, the connection's news too, over several connections."""
    opened(page, site.url)
    run_id = submit(page, "speaker", thread_id)
    watch(page, run_id=run_id)
    for word in WORDS:
        site.say(word)
        until(page, "(word) => items.some((item) => item.payload.delta === word)", word)
    until(page, "() => items.filter((item) => item.kind === 'stream.cut').length >= 2")
    site.end()
    assert until_ended(page) == "done"
    assert seen(page) == logged(site.url, run_id)
    assert page.evaluate(TEXT) == ["hello", "".join(WORDS)]
    kinds = page.evaluate("() => items.map((item) => item.kind)")
    assert (kinds[0], kinds[-1], kinds.count("stream.end")) == ("stream.open", "stream.end", 1)
    assert {"RunQueued", "RunFinished", "stream.cut"} <= set(kinds)


@behaviour("WEB-005")
def test_a_watch_comes_back_through_bad_gateways_and_broken_connections(page: Page, site: Site, thread_id: str) -> None:
    opened(page, site.url)
    trouble = iter([200, 502, 503, 504, 429, None, 502])

    def stumble(route: Route) -> None:
        status = next(trouble, 200)
        if status is None:
            route.abort("connectionrefused")
        elif status == 200:
            route.continue_()
        else:
            route.fulfill(status=status, body="<h1>later</h1>", content_type="text/html")

    page.route("**/v1/runs/*/stream", stumble)
    run_id = submit(page, "speaker", thread_id)
    site.say(WORDS[0])
    watch(page, run_id=run_id)
    until(page, "() => items.filter((item) => item.kind === 'stream.cut').length >= 7")
    site.say(*WORDS[1:])
    site.end()
    assert until_ended(page) == "done"
    assert seen(page) == logged(site.url, run_id)
    cuts = "() => items.filter((i) => i.kind === 'stream.cut').map((i) => [i.payload.error.status, i.payload.delay_s])"
    news = page.evaluate(cuts)[:7]
    assert [status for status, _ in news] == [0, 502, 503, 504, 429, 0, 502]
    for number, (_, delay_s) in enumerate(news):
        asked_s = RETRY_MS / 1000 * 2**number
        assert asked_s <= delay_s <= 1.25 * asked_s, "each failed try doubles what the server asks for"


@behaviour("WEB-005")
def test_a_submit_whose_answer_was_lost_is_still_one_run(page: Page, site: Site, thread_id: str) -> None:
    opened(page, site.url)
    sent = 0

    def lose(route: Route) -> None:
        nonlocal sent
        sent += 1
        if sent == 1:
            assert route.fetch().status == 202
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/v1/runs", lose)
    run_id = submit(page, "speaker", thread_id)
    site.end()
    runs = httpx.get(f"{site.url}/v1/threads/{thread_id}/runs").json()["items"]
    assert (sent, [run["run_id"] for run in runs]) == (2, [run_id])


@behaviour("WEB-005")
def test_a_run_is_stopped_and_its_watch_ends(page: Page, site: Site, thread_id: str) -> None:
    opened(page, site.url)
    run_id = submit(page, "stuck", thread_id)
    watch(page, run_id=run_id)
    until(page, "() => items.some((item) => item.kind === 'RunStarted')")
    assert page.evaluate("(id) => awaken.stop(id).then((answer) => answer.run.run_id)", run_id) == run_id
    assert until_ended(page) == "done"
    assert page.evaluate("() => items.some((item) => item.kind === 'RunCancelled')")


@behaviour("WEB-005")
def test_a_decision_whose_answer_was_lost_is_sent_again_and_the_first_one_stands(
    page: Page, site: Site, thread_id: str
) -> None:
    opened(page, site.url)
    run_id = submit(page, "asker", thread_id)
    watch(page, run_id=run_id)
    assert until_ended(page) == "waiting"
    [ticket_id] = page.evaluate(
        "() => items.filter((item) => item.kind === 'TicketOpened').map((item) => item.payload.ticket_id)"
    )
    sent = 0

    def lose(route: Route) -> None:
        nonlocal sent
        sent += 1
        if sent == 1:
            assert route.fetch().status == 202
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/decision", lose)
    assert page.evaluate(DECIDE, [ticket_id, "deny", "not now"]) == ["decided", run_id, True]
    assert sent == 2
    assert page.evaluate(DECIDE, [ticket_id, "approve", "well"]) == [409, "decision_conflict"]
    watch(page, run_id=run_id)
    assert until_ended(page) == "done"
    until_shown(page, "hello", "False: not now")


@behaviour("WEB-005")
def test_what_will_never_work_is_reported_at_once(page: Page, site: Site) -> None:
    opened(page, site.url)
    watch(page, run_id="nobody")
    assert until_ended(page) == "AwakenError run_not_found"
    assert page.evaluate("() => items.map((item) => item.kind)") == ["stream.failed"]
    watch(page, thread_id="nobody")
    assert until_ended(page) == "AwakenError thread_not_found"
    refused = page.evaluate(
        "() => awaken.submit('x', {agent_id: 'nobody'}).catch((e) => [e.status, e.code, e.message])"
    )
    assert refused[:2] == [422, "unknown_agent"]
    assert "speaker" in refused[2]


@behaviour("WEB-005")
def test_any_other_request_takes_a_path_as_the_pages_on_http_write_it(page: Page, site: Site) -> None:
    opened(page, site.url)
    asked = "(path) => awaken.request('GET', path).then((page) => page.items.map((agent) => agent.agent_id))"
    agents = page.evaluate(asked, "v1/agents")
    assert "speaker" in agents
    assert page.evaluate(asked, "/v1/agents") == agents


@behaviour("WEB-005")
@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("awaken.watch({ thread_id: '' }, show)", '"" is not a valid id'),
        ("awaken.watch({ run_id: 5 }, show)", "5 is not a valid id"),
        ("awaken.watch({}, show)", "watch takes { run_id }, { thread_id } or { hints }"),
        ("awaken.watch({ run_id: 'r' })", "watch takes a function"),
        ("awaken.stop()", "undefined is not a valid id"),
        ("awaken.stop('')", '"" is not a valid id'),
        ("awaken.stop('..')", ".. is not a valid id"),
        ("awaken.decide('', 'approve')", '"" is not a valid id'),
        ("awaken.submit('x', { agent_id: 'speaker', after_seconds: NaN })", "after_seconds is NaN, which is no number"),
        ("awaken.submit('x', { agent_id: 'speaker', metadata: { a: 1 / 0 } })", "a is Infinity, which is no number"),
    ],
)
def test_a_mistake_of_a_page_is_told_and_nothing_is_sent(page: Page, site: Site, mistake: str, says: str) -> None:
    opened(page, site.url)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    tried = f"async () => {{ const show = () => {{}}; try {{ await {mistake}; }} catch (e) {{ return `${{e}}`; }} }}"
    assert str(page.evaluate(tried)).startswith(f"TypeError: {says}")
    assert sent == []


@behaviour("WEB-005")
def test_a_watch_that_was_closed_hands_out_nothing_more(page: Page, site: Site, thread_id: str) -> None:
    opened(page, site.url)
    run_id = submit(page, "speaker", thread_id)
    watch(page, run_id=run_id)
    site.say("one")
    until(page, "() => items.some((item) => item.payload.delta === 'one')")
    count = page.evaluate("() => { watching.close(); return items.length; }")
    assert until_ended(page) == "closed"
    site.say("two")
    site.end()
    assert httpx.get(f"{site.url}/v1/runs/{run_id}/wait").json()["output"] == "onetwo", "the run went on"
    assert page.evaluate("() => items.length") == count


# --- a conversation ---------------------------------------------------------------------------------------------------


@behaviour("WEB-006")
def test_a_page_that_is_opened_in_the_middle_of_an_answer_shows_all_of_it_once(
    page: Page, site: Site, thread_id: str
) -> None:
    """What stands in the conversation, what was streamed before, and what comes, joined without a gap."""
    opened(page, site.url)
    first = submit(page, "speaker", thread_id, "hi")
    site.say("I am ", "here.")
    site.end()
    httpx.get(f"{site.url}/v1/runs/{first}/wait")
    second = submit(page, "speaker", thread_id, "go on")
    watch(page, thread_id=thread_id)
    for number, word in enumerate(WORDS):
        site.say(word)
        until_shown(page, "hi", "I am here.", "go on", "".join(WORDS[: number + 1]))
        if number % 4 == 1:
            opened(page, site.url)
            watch(page, thread_id=thread_id)
    site.end()
    until(page, "() => items.some((item) => item.kind === 'RunFinished')")
    until_shown(page, "hi", "I am here.", "go on", "".join(WORDS))
    of_second = [each for each in seen(page) if each in logged(site.url, second)]
    assert len(of_second) == len(set(of_second))
    assert page.evaluate("() => items[0].kind") == "stream.state"


@behaviour("WEB-006")
def test_a_watch_with_a_cursor_begins_right_after_it(page: Page, site: Site, thread_id: str) -> None:
    opened(page, site.url)
    run_id = submit(page, "speaker", thread_id)
    site.say(*WORDS)
    site.end()
    httpx.get(f"{site.url}/v1/runs/{run_id}/wait").raise_for_status()
    cursors = logged(site.url, run_id)
    for what in ({"run_id": run_id}, {"thread_id": thread_id}):
        watch(page, **what, cursor=cursors[3])
        until(page, "(last) => items.some((item) => item.cursor === last)", cursors[-1])
        assert seen(page) == cursors[4:]
        page.evaluate("() => watching.close()")


def test_whenever_a_page_is_opened_during_a_burst_it_shows_the_same(page: Page, site: Site, thread_id: str) -> None:
    opened(page, site.url)
    page.evaluate("(id) => awaken.createThread(id)", thread_id)
    submit(page, "speaker", thread_id, "talk")
    submit(page, "speaker", thread_id, "more")
    page.evaluate(
        """(id) => { window.all = [];
            const open = () => {
                const items = [];
                all.push(items);
                awaken.watch({ thread_id: id }, (item) => items.push(item));
            };
            setInterval(() => all.length < 5 && open(), 10); }""",
        thread_id,
    )
    for part in range(60):
        site.say(f"{part} ")
    site.end()
    until(page, "() => all.length === 5")
    site.say("fin")
    site.end()
    until(page, "() => all.every((items) => items.some((item) => item.payload.message_seq === 4))")
    texts = page.evaluate(f"() => all.map((each) => {{ window.items = each; return ({TEXT})(); }})")
    whole = "".join(f"{part} " for part in range(60))
    assert texts == [["talk", whole, "more", "fin"]] * 5


@behaviour("WEB-006")
def test_a_place_that_is_lost_shows_the_conversation_anew(page: Page, site: Site, thread_id: str) -> None:
    opened(page, site.url)
    run_id = submit(page, "speaker", thread_id, "hi")
    site.say("I am here.")
    site.end()
    httpx.get(f"{site.url}/v1/runs/{run_id}/wait")
    lost = iter([True])

    def forget(route: Route) -> None:
        place = route.request.headers.get("last-event-id", "")
        ahead = {"last-event-id": f"{place.rpartition('.')[0]}.9999"} if next(lost, False) else {}
        route.continue_(headers={**route.request.headers, **ahead})

    page.route("**/v1/threads/*/stream", forget)
    watch(page, thread_id=thread_id)
    until(page, "() => items.filter((item) => item.kind === 'stream.state').length === 2")
    until_shown(page, "hi", "I am here.")
    submit(page, "speaker", thread_id, "and?")
    site.say("yes")
    site.end()
    until_shown(page, "hi", "I am here.", "and?", "yes")


# --- servers ----------------------------------------------------------------------------------------------------------


@behaviour("WEB-005", "WEB-006")
def test_a_server_that_is_killed_and_started_again_is_waited_for(page: Page, tmp_path: Path) -> None:
    """The text that will never be complete is withdrawn, and comes again."""
    (tmp_path / "mine.py").write_text(APP.format(drain_s=0.2))
    with Process(tmp_path, "mine:app") as first:
        opened(page, first.url)
        run_id = submit(page, "once", "t", "go")
        watch(page, thread_id="t")
        until_shown(page, "go", "one ")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(30)
        until(page, "() => items.some((item) => item.kind === 'stream.cut')")
        port = first.port
    with Process(tmp_path, "mine:app", port=port) as second:
        until(page, "() => items.some((item) => item.kind === 'RunFinished')")
        first_message, log = [1], logged(second.url, run_id)
        assert seen(page) == [each for at, each in enumerate(log) if at not in first_message], "it was there before"
        kinds = page.evaluate("() => items.map((item) => item.kind)")
        assert kinds.count("StreamReset") == kinds.count("RunResumed") == 1
        assert page.evaluate(TEXT)[-1] == "one two"
        page.evaluate("() => watching.close()")


@behaviour("SRV-040", "WEB-005")
def test_a_page_of_an_allowed_origin_uses_it_across_origins(page: Page, thread_id: str) -> None:
    with (
        Site() as elsewhere,
        Site(http=HttpSettings(allowed_origins=(f"http://shop.example:{elsewhere.port}",))) as site,
    ):
        opened(page, site.url, of=f"http://shop.example:{elsewhere.port}")
        run_id = submit(page, "speaker", thread_id)
        watch(page, run_id=run_id)
        site.say("across")
        site.end()
        assert until_ended(page) == "done"
        assert page.evaluate(TEXT) == ["hello", "across"]
        location = "(id) => fetch(id).then((answer) => answer.headers.get('x-request-id'))"
        assert page.evaluate(location, f"{site.url}/v1/runs/{run_id}"), "exposed"
        page.goto(f"http://evil.example:{elsewhere.port}/health/live")
        blocked = "(url) => fetch(url).then(() => 'readable', () => 'blocked')"
        assert page.evaluate(blocked, f"{site.url}/v1/agents") == "blocked"


@behaviour("WEB-001")
def test_an_event_source_sees_everything_once_and_stops_by_itself(page: Page, site: Site, thread_id: str) -> None:
    """The browser's own, with a cursor in its address, over streams that are cut every half second."""
    opened(page, site.url)
    run_id = submit(page, "speaker", thread_id)
    page.evaluate(
        """async (id) => {
            const { cursor } = await awaken.request("GET", `v1/runs/${id}`);
            window.source = new EventSource(`/v1/runs/${id}/stream?cursor=${cursor}`);
            window.words = []; window.opens = 0;
            source.addEventListener("TextDeltaObserved", (e) => words.push(JSON.parse(e.data).payload.delta));
            source.addEventListener("stream.open", () => opens++);
        }""",
        run_id,
    )
    for number, word in enumerate(WORDS):
        site.say(word)
        until(page, "(count) => words.length === count", number + 1)
        if number % 5 == 4:
            until(page, "(count) => opens > count", page.evaluate("() => opens"))
    site.end()
    until(page, "() => source.readyState === EventSource.CLOSED")
    assert page.evaluate("() => words") == list(WORDS)
