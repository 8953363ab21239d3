"""`awaken top`: what is on the screen, at every size; and that the terminal is left as it was found."""

from __future__ import annotations

import io
import re
import signal
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from awaken.cli.failure import Exit
from awaken.cli.screen import View, screen, shared, strip
from awaken.client import Client, DeadLetterGroup, Run, Ticket
from awaken.domain.shown import (
    Attention,
    Explanation,
    FewGroups,
    FewRuns,
    FewTickets,
    FewUnserved,
    LastEvent,
    PhaseCount,
    RunSummary,
    Stats,
    StatsMinute,
    UnservedRoute,
    Usage,
)
from tests.cli.conftest import Awaken
from tests.cli.terminal import Terminal, at_a_terminal
from tests.client.live import LiveServer

RUN = "01a3185c-5000-7082-a46d-d6122265b1f5"
BUSY = Attention(
    at="2027-01-15T08:05:00.000Z",
    version="1.2.3",
    role="all",
    store="sqlite",
    durability="full",
    tickets=FewTickets(
        items=(
            Ticket(
                ticket_id="b5cd021d-4a71-5efe-81fb-604485ce6e7a",
                thread_id="t",
                run_id=RUN,
                agent_id="shopping",
                kind="approval",
                message="buy it?\x1b[2J",
                arguments={"item": "a [red] lamp"},
                created_at="2027-01-15T08:01:00.000Z",
                expires_at="2027-01-15T08:07:00.000Z",
            ),
        )
        * 3,
        has_more=True,
    ),
    stuck=FewRuns(
        items=(
            Run(
                run_id=RUN,
                thread_id="t",
                agent_id="clerk",
                phase="retrying",
                why=Explanation(code="retrying", summary="It failed 3 times; it is tried again in 12 s."),
            ),
        )
        * 2
    ),
    running=FewRuns(
        items=(
            Run(
                run_id=RUN,
                thread_id="t",
                agent_id="talk",
                phase="running",
                usage=Usage(model_calls=1, input_tokens=1_200, output_tokens=34),
                last_event=LastEvent(kind="ToolCallReady", summary="calls look_up"),
                last_sign_of_life="2027-01-15T08:04:57.000Z",
            ),
        )
        * 8
    ),
    unserved=FewUnserved(
        items=(UnservedRoute(route="old@1", agent_id="old", waiting=4, oldest_at="2027-01-15T07:00:00Z"),)
    ),
    dead_letters=FewGroups(
        items=(DeadLetterGroup(agent_id="talk", error_class="TimeoutError", count=12, last_at="2027-01-15T08:04:00Z"),)
    ),
)
VIEW = View(
    url="http://127.0.0.1:8000",
    attention=BUSY,
    summary=RunSummary(
        counts=(
            PhaseCount(agent_id="talk", phase="queued", count=5),
            PhaseCount(agent_id="talk", phase="running", count=8),
        ),
        oldest_queued_s=75.0,
    ),
    stats=Stats(minutes=tuple([StatsMinute(started=number % 7, failed=number // 59) for number in range(60)])),
    age_s=2.0,
)
QUIET = View(
    url="http://127.0.0.1:8000",
    attention=Attention(at=BUSY.at, version="1.2.3", store="memory"),
    summary=RunSummary(),
    stats=Stats(),
)


def lines_of(view: View, width: int, height: int | None, *, colours: bool = False) -> list[str]:
    out = io.StringIO()
    system = "standard" if colours else None
    Console(file=out, width=width, force_terminal=colours, color_system=system).print(screen(view, width, height))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_screen_at_80_by_24() -> None:
    ticket = "b5cd021d-4a71-5efe-81fb-604485ce6e7a  shopping  buy it?[2J {…  4m  expires in 1m"
    stuck = f"{RUN}  clerk  retrying  It failed 3 times; it is…"
    running = f"{RUN}  talk  calls look_up  1,234 tokens  5s ago"
    assert lines_of(VIEW, 80, 24) == [
        "awaken 1.2.3  http://127.0.0.1:8000  sqlite, durability full",
        "waits for somebody: 3 or more",
        *[ticket] * 3,
        "does not go on: 2",
        *[stuck] * 2,
        "nobody serves: 1",
        "old@1  unserved  4 wait  1h",
        "given up, by kind: 1",
        "talk  TimeoutError  12 dead letters  last 1m ago",
        "runs: 8",
        *[running] * 8,
        "last hour " + ("▃▄▆▇█ ▂" * 9)[:58] + " 174 begun",
        "queue     5 wait, the first for 1m; 1 given up in this hour",
        "q quits   2s old",
    ]


def test_a_small_terminal_shows_some_of_each() -> None:
    lines = lines_of(VIEW, 60, 16)
    assert "waits for somebody: 3 or more, 2 shown" in lines
    assert "runs: 8, 1 shown" in lines


@given(st.sampled_from([VIEW, QUIET]), st.integers(20, 200), st.integers(5, 60))
def test_it_fits_every_terminal(view: View, width: int, height: int) -> None:
    lines = lines_of(view, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("awaken 1.2.3")
    assert lines[-1].startswith("q quits")


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 2)), min_size=1, max_size=6), st.integers(0, 60))
def test_each_part_has_a_row_as_long_as_there_is_room(parts: list[tuple[int, int]], room: int) -> None:
    wanted, lines = [part[0] for part in parts], [part[1] for part in parts]
    given = shared(wanted, lines, room)
    taken = sum([0 if rows is None else 1 + rows * lines[at] for at, rows in enumerate(given)])
    assert taken <= room
    assert all([rows is None or rows <= wanted[at] for at, rows in enumerate(given)])
    if room >= sum([1 + min(rows, 1) * lines[at] for at, rows in enumerate(wanted)]):
        assert all([rows is not None and (rows > 0 or not wanted[at]) for at, rows in enumerate(given)])
    if any(rows is not None and rows < wanted[at] for at, rows in enumerate(given)):
        assert taken > room - 2, "what is left goes round"


def test_a_server_on_which_nothing_happens_says_so() -> None:
    lines = lines_of(QUIET, 80, 12)
    assert lines[:3] == ["awaken 1.2.3  http://127.0.0.1:8000  memory", "waits for somebody: nothing", "runs: nothing"]
    assert lines[-2].startswith("queue     0 wait")


def test_the_last_hour_is_as_high_as_its_busiest_minute() -> None:
    assert strip([0, 1, 4, 8], 6) == "   ▁▄█"
    assert strip([], 3) == strip([0, 0], 3) == "   "
    assert strip(list(range(100)), 5)[-1] == "█"


def test_ages_go_on_while_the_server_is_silent_and_the_screen_says_how_old_it_is() -> None:
    later = msgspec.structs.replace(VIEW, age_s=70.0, problem="refused")
    lines = lines_of(later, 100, 24)
    assert lines[-1] == "q quits   1m old; trying again: refused"
    assert any(line.startswith("01a3185c") and line.endswith("1m ago") for line in lines), "3 s and 70 s"
    assert "\x1b[31m" in "".join(lines_of(later, 100, 24, colours=True)[-1:])


# --- at a terminal ----------------------------------------------------------------------------------------------------


class Outage:
    """A relay before a server that answers 503 while it is `on`."""

    def __init__(self, url: str) -> None:
        self.on = False
        outage = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = httpx.get(url + self.path, timeout=30) if not outage.on else httpx.Response(503, json={})
                self.send_response(answer.status_code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def relay(server: str) -> Generator[Outage]:
    outage = Outage(server)
    thread = threading.Thread(target=outage.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield outage
    outage.server.shutdown()
    outage.server.server_close()
    thread.join()


def quit_by_key(terminal: Terminal) -> None:
    terminal.press("q")


def quit_by_ctrl_c(terminal: Terminal) -> None:
    terminal.process.send_signal(signal.SIGINT)


def quit_by_end(terminal: Terminal) -> None:
    terminal.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("leave", [quit_by_key, quit_by_ctrl_c, quit_by_end])
def test_it_is_left_by_q_and_ctrl_c_and_leaves_the_terminal_as_it_was(
    server: str, leave: Callable[[Terminal], None]
) -> None:
    with at_a_terminal("top", "--url", server, columns=80, rows=24, colours=True) as terminal:
        terminal.until("q quits")
        assert terminal.settings() != terminal.settings_before
        leave(terminal)
        assert terminal.to_the_end() == 0
        assert terminal.settings() == terminal.settings_before
        for on, off in (("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h")):
            assert terminal.shown.count(on) == terminal.shown.count(off) == 1
            assert terminal.shown.index(on) < terminal.shown.index(off)


def test_what_happens_is_seen_and_an_outage_is_shown_and_over(relay: Outage, server: str) -> None:
    with (
        at_a_terminal("top", "--every", "0.2", "--url", relay.url, columns=100, rows=40, colours=True) as terminal,
        Client(server) as client,
    ):
        terminal.until("q quits")
        run = client.submit("top-waits", "hi", agent="asking")
        terminal.until("which name?")
        relay.on = True
        terminal.until("trying again")
        relay.on = False
        client.cancel(run.run_id)
        stuck = client.submit("top-runs", "hi", agent="stuck")
        terminal.until(stuck.run_id)
        terminal.press("q")
        assert terminal.to_the_end() == 0
        client.cancel(stuck.run_id)


def test_on_a_pipe_it_is_printed_once_and_as_json_for_programs(awaken: Awaken, server: str) -> None:
    shown = awaken("top", "--url", server)
    assert (shown.code, shown.err) == (Exit.OK, "")
    assert re.search(r"^awaken \S+  http\S+  memory", shown.out)
    assert "\x1b" not in shown.out
    assert awaken("top", "--every", "0", "--url", server).code == Exit.USAGE
    assert awaken("top", "--url", "http://127.0.0.1:9").code == Exit.UNREACHABLE


def test_a_terminal_that_cannot_move_its_cursor_is_refused(server: str) -> None:
    with at_a_terminal("top", "--url", server) as terminal:
        assert terminal.to_the_end() == Exit.USAGE
        assert "TERM=dumb" in terminal.shown


def test_a_server_behind_something_that_asks_for_a_key_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    with LiveServer(required={"x-key": "secret"}) as url:
        monkeypatch.setenv("AWAKEN_HEADERS", "X-Key: secret")
        with at_a_terminal("top", "--every", "0.2", "--url", url, columns=80, rows=24, colours=True) as terminal:
            with Client(url, headers={"x-key": "secret"}) as client:
                terminal.until("q quits")
                client.submit("t", "hi", agent="asking")
                terminal.until("which name?")
            terminal.press("q")
            assert terminal.to_the_end() == 0
