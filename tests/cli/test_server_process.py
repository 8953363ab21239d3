"""A server as its own process: how it says where it is, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
import pytest

from awaken.cli.ending import EXIT_S
from awaken.cli.failure import Exit, failure_of
from awaken.cli.server import LATE_S
from awaken.client import Client, Event, Reconnect
from awaken.domain.clock import SystemClock
from awaken.domain.errors import Unavailable
from awaken.store.sqlite.lock import FileLock
from awaken.testing.behaviour import behaviour

WITHIN_S = 30
"""Far more than anything here takes; a test that hangs ends."""

APP = """
import asyncio
from pathlib import Path

from awaken import Awaken, MailboxSettings

app = Awaken("sqlite:///test.db", settings=MailboxSettings(drain_s={drain_s}))


async def once(context):
    '''Gets stuck in its first execution, and finishes in the next one.'''
    started = Path("started")
    yield "one "
    if not started.exists():
        started.touch()
        await asyncio.Event().wait()
    yield "two"


async def quick(context):
    return "done"


app.agent("once", once)
app.agent("quick", quick)
"""


class Process:
    """`awaken serve` in a folder. Entered means it serves, or listens and starts; left means it is gone."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0, until_ready: bool = True) -> None:
        self._folder = folder
        self._until_ready = until_ready
        self._command = [sys.executable, "-m", "awaken.cli.main", "serve", *arguments, "--port", str(port)]
        self._command += ["--log-format", "json"]
        self.url = ""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        if not self._until_ready:
            self.url = json.loads(self.until_logged('"starting"'))["url"]
            return self
        self.banner = ""
        for line in self.process.stdout:
            self.banner += line
            if line.startswith("  curl"):
                break
        self.url = self.banner.partition("\n")[0].rpartition(" ")[2]
        assert self.url.startswith("http://127.0.0.1:"), self.process.communicate(timeout=WITHIN_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=WITHIN_S)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def until_logged(self, text: str) -> str:
        """Wait for a record that contains this."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return line
        raise AssertionError(f"the server ended without saying {text!r}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(APP.format(drain_s=0.2))
    return tmp_path


def client(url: str) -> Client:
    """A client that does not wait before it reconnects."""
    return Client(url, pause=lambda seconds: None)


@behaviour("SRV-029", "SRV-030", "EV-023")
def test_a_stopped_server_closes_streams_without_an_end_and_they_resume_when_it_is_back(folder: Path) -> None:
    causes: list[str] = []
    restarted: Process | None = None

    def note(reconnect: Reconnect) -> None:
        causes.append(str(reconnect.cause))

    with Process(folder, "mine:app", "--shutdown-drain-s", "0.1") as first, client(first.url) as calling:
        with calling.stream("t1", "go", agent="once", run_id="r1", on_reconnect=note) as stream:
            items: list[Event] = []
            for item in stream:
                assert isinstance(item, Event)
                items.append(item)
                if item.kind == "TextDeltaObserved" and restarted is None:
                    began_s = SystemClock().monotonic()
                    first.process.send_signal(signal.SIGTERM)
                    assert first.process.wait(WITHIN_S) == 0
                    print(f"stopped gracefully in {SystemClock().monotonic() - began_s:.2f} s")
                    restarted = Process(folder, "mine:app", port=first.port).__enter__()
        assert restarted is not None
        try:
            with calling.run_events("r1") as again:
                uncut = list(again)
            run = calling.get_run("r1")
        finally:
            restarted.__exit__(None, None, None)

    assert causes[0].endswith("the stream was closed before its end")
    assert items == uncut
    kinds = [item.kind for item in items]
    assert kinds.count("RunResumed") == kinds.count("StreamReset") == kinds.count("RunFinished") == 1
    assert (run.phase, run.final_output, run.attempt) == ("completed", "one two", 1)


@behaviour("SRV-030")
def test_a_second_signal_stops_at_once_and_loses_nothing(folder: Path) -> None:
    (folder / "mine.py").write_text(APP.format(drain_s=3600))
    with (
        Process(folder, "mine:app", "--shutdown-drain-s", "0") as server,
        client(server.url) as calling,
        calling.stream(None, "go", agent="once", run_id="r1") as stream,
    ):
        while not (isinstance(item := next(stream), Event) and item.kind == "TextDeltaObserved"):
            pass
        server.process.send_signal(signal.SIGTERM)
        server.until_logged("stopping")
        assert server.process.poll() is None, "an agent is running, so it waits"
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(WITHIN_S) == 128 + signal.SIGINT
    with Process(folder, "mine:app") as server, client(server.url) as calling:
        assert calling.wait("r1", timeout_s=WITHIN_S).output == "one two"


@behaviour("SRV-006", "SRV-030")
def test_after_sigterm_a_server_is_not_ready_and_accepts_work_until_a_balancer_had_time_to_notice(folder: Path) -> None:
    with Process(folder, "mine:app", "--shutdown-drain-s", "3600") as server, client(server.url) as calling:
        server.process.send_signal(signal.SIGTERM)
        server.until_logged("stopping")
        ready = httpx.get(f"{server.url}/health/ready")
        assert (ready.status_code, ready.json()["status"], ready.headers["connection"]) == (503, "stopping", "close")
        assert calling.run(None, "hi", agent="quick").output == "done"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(WITHIN_S) == 128 + signal.SIGTERM


PATIENT = APP.replace("drain_s=", "store_retry_s=0.02, startup_retry_s={patience_s}, drain_s=")


@contextmanager
def starting(folder: Path, patience_s: float) -> Generator[tuple[Process, FileLock]]:
    """A server that listens, and waits for its file, which is owned by this process."""
    (folder / "mine.py").write_text(PATIENT.format(drain_s=0.2, patience_s=patience_s))
    (lock := FileLock(folder / "test.db")).take(SystemClock())
    try:
        arguments = ("mine:app", "--shutdown-drain-s", "3600", "--log-level", "debug")
        with Process(folder, *arguments, until_ready=False) as server:
            yield server, lock
    finally:
        lock.release()


@behaviour("SRV-006", "SYS-001")
def test_a_server_that_starts_is_alive_and_not_ready_and_answers_nothing_else(folder: Path) -> None:
    with starting(folder, 3600) as (server, lock), httpx.Client(base_url=server.url) as http:
        server.until_logged("the start waits")
        assert (http.get("/health/live").status_code, http.get("/health/live").json()) == (200, {"status": "ok"})
        for path in ("/health", "/health/ready"):
            health = http.get(path)
            assert (health.status_code, health.json()["status"], health.headers["retry-after"]) == (
                503,
                "starting",
                "1",
            )
        assert health.json()["recovery"]["phase"] in ("waiting", "opening"), "it tries again and again"
        assert health.json()["recovery"]["done"] == 0
        for method, path in (("GET", "/v1/agents"), ("POST", "/v1/runs"), ("GET", "/metrics")):
            refused = http.request(method, path, json={} if method == "POST" else None)
            assert (refused.status_code, refused.json()["code"]) == (503, "starting")
            assert refused.headers["retry-after"] == "1"
        with client(server.url) as calling, pytest.raises(Unavailable) as unavailable:
            next(iter(calling.list_agents()))
        assert failure_of(unavailable.value).code is Exit.UNREACHABLE, "so that a script asks again"

        lock.release()
        server.until_logged('"serving"')
        assert http.get("/health/ready").status_code == 200
        with client(server.url) as calling:
            assert calling.health().recovery.phase in ("auditing", "done")
            assert calling.run(None, "hi", agent="quick").output == "done"


@behaviour("SYS-002")
def test_a_start_that_fails_ends_the_server_and_says_why(folder: Path) -> None:
    with starting(folder, 0.1) as (server, _):
        out, err = server.process.communicate(timeout=WITHIN_S)
    assert (server.process.returncode, out) == (1, "")
    words = f"awaken: database {folder / 'test.db'} is already served by process {os.getpid()} "
    assert err.splitlines()[-1].startswith(words)
    assert "Traceback" not in err


@behaviour("SRV-030", "SYS-002")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_start_calls_it_off(folder: Path, number: signal.Signals) -> None:
    with starting(folder, 3600) as (server, _), httpx.Client(base_url=server.url) as http:
        assert http.get("/health/ready").status_code == 503
        server.process.send_signal(number)
        _, err = server.process.communicate(timeout=WITHIN_S)
    assert server.process.returncode == 0
    assert "the start is called off" in err
    assert "Traceback" not in err


STUCK = """
import asyncio
import sqlite3
import time
from pathlib import Path

from awaken import Awaken, MailboxSettings

app = Awaken("sqlite:///test.db", settings=MailboxSettings(drain_s=0.1, handover_s=0.1, tidy_s=0.1))


def in_a_call_that_lets_handlers_of_signals_run():
    time.sleep(3600)


def in_one_that_does_not():
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    sqlite3.connect(":memory:").execute(endless).fetchone()


async def in_a_thread():
    await asyncio.to_thread(time.sleep, 3600)


async def in_spite_of_cancellations():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


async def stuck(context):
    started = Path("started")
    if not started.exists():
        started.touch()
        print("stuck", flush=True)
        waiting = {hang}()
        if waiting is not None:
            await waiting
    return "goes on"


app.agent("stuck", stuck)
"""


@behaviour("SRV-030")
@pytest.mark.parametrize(
    ("hang", "code", "words"),
    [
        ("in_a_call_that_lets_handlers_of_signals_run", 1, "in_a_call_that_lets_handlers_of_signals_run"),
        ("in_one_that_does_not", 1, "in_one_that_does_not"),
        ("in_a_thread", 0, "ended although threads go on: "),
        ("in_spite_of_cancellations", 0, "ended although"),
    ],
)
def test_a_server_ends_in_time_whatever_hangs_and_loses_nothing(folder: Path, hang: str, code: int, words: str) -> None:
    clock = SystemClock()
    with stuck_server(folder, hang) as server:
        began_s = clock.monotonic()
        server.process.send_signal(signal.SIGTERM)
        _, err = server.process.communicate(timeout=WITHIN_S)
    took_s = clock.monotonic() - began_s
    assert server.process.returncode == code, err
    assert words in err
    assert "Traceback" not in err
    assert took_s < 0.3 + LATE_S + EXIT_S
    with Process(folder, "mine:app") as again, client(again.url) as calling:
        assert calling.wait("r1", timeout_s=WITHIN_S).output == "goes on"


@behaviour("SRV-030")
@pytest.mark.parametrize("hang", ["in_a_call_that_lets_handlers_of_signals_run", "in_one_that_does_not"])
def test_a_second_signal_ends_a_server_whose_event_loop_is_blocked(folder: Path, hang: str) -> None:
    with stuck_server(folder, hang) as server:
        for number in (signal.SIGTERM, signal.SIGINT):  # of two equal ones the second may be taken for the first
            server.process.send_signal(number)
        _, err = server.process.communicate(timeout=LATE_S / 2)
    assert server.process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert "stopped at once; what was running goes on at the next start" in err


@contextmanager
def stuck_server(folder: Path, hang: str) -> Generator[Process]:
    """A server with a run that hangs."""
    (folder / "mine.py").write_text(STUCK.replace("{hang}", hang))
    with Process(folder, "mine:app", "--shutdown-drain-s", "0") as server, client(server.url) as calling:
        calling.submit(None, "go", agent="stuck", run_id="r1", delay_s=0.5)  # answered before it hangs
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "stuck\n"
        yield server


def test_ctrl_c_stops_an_idle_server_at_once_with_a_client_still_connected(folder: Path) -> None:
    with Process(folder, "mine:app", "--shutdown-drain-s", "3600") as server, client(server.url) as calling:
        assert calling.run(None, "hi", agent="quick").output == "done"
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(WITHIN_S) == 0


def test_the_banner_says_what_is_served_and_only_names_of_this_machine_are_answered(folder: Path) -> None:
    with Process(folder, "--db", "demo.db", "--durability", "process") as server:
        refused = httpx.get(f"{server.url}/health/live", headers={"Host": "evil.example"})
        assert (refused.status_code, refused.json()["code"]) == (421, "host_not_allowed")
        assert httpx.get(f"{server.url}/health/live", headers={"Host": f"localhost:{server.port}"}).status_code == 200
        assert "server" not in httpx.get(f"{server.url}/health/live").headers
        assert httpx.get(f"{server.url}/v1/system").json()["guard"] == "loopback"
        server.process.send_signal(signal.SIGINT)
        _, err = server.process.communicate(timeout=WITHIN_S)
    for words in (
        "demo.db, durability process",
        "echo, assistant, slow, concierge",
        f"curl -N {server.url}/v1/runs/stream",
    ):
        assert words in server.banner
    assert "Traceback" not in err


@behaviour("WEB-003", "SRV-040")
def test_behind_a_proxy_a_server_is_told_its_name_by_flags_or_by_its_app(folder: Path) -> None:
    def called(url: str, host: str, origin: str, **more: str) -> tuple[int, str | None]:
        headers = {"Host": host, "Origin": origin, **more}
        answer = httpx.get(f"{url}/v1/agents", headers=headers)
        return answer.status_code, answer.headers.get("access-control-allow-origin")

    flags = ["--public-url", "https://agents.example", "--allowed-host", "inner", "--allowed-host", "other.example"]
    flags += ["--allowed-origin", "https://shop.example", "--forwarded-allow-ips", "10.0.0.1, 127.0.0.1"]
    with Process(folder, "--store", "memory://", *flags) as server:
        here = f"127.0.0.1:{server.port}"
        assert "https://agents.example" in server.banner
        assert called(server.url, "agents.example", "https://agents.example")[0] == 200
        assert called(server.url, here, "https://agents.example")[0] == 200
        assert called(server.url, "inner", "https://inner")[0] == 200
        assert called(server.url, here, "https://other.example", **{"X-Forwarded-Host": "other.example"})[0] == 200
        assert called(server.url, here, "https://shop.example") == (200, "https://shop.example")
        assert called(server.url, here, "https://evil.example")[0] == 403
        assert called(server.url, "evil.example", "https://agents.example")[0] == 421
    settings = "http=HttpSettings(public_url='https://agents.example'), settings"
    source = "from awaken.http.settings import HttpSettings\n" + APP.format(drain_s=0).replace("settings", settings)
    (folder / "mine.py").write_text(source)
    with Process(folder, "mine:app", "--allowed-origin", "https://shop.example") as server:
        assert called(server.url, "agents.example", "https://agents.example")[0] == 200
        assert called(server.url, f"localhost:{server.port}", "https://shop.example")[1] == "https://shop.example"
        assert called(server.url, "evil.example", "https://agents.example")[0] == 421


def test_an_app_served_by_the_command_finds_out_who_asks(folder: Path) -> None:
    settings = "http=HttpSettings(authorize=lambda request: request.headers.get('x-user')), settings"
    source = "from awaken.http.settings import HttpSettings\n" + APP.format(drain_s=0).replace("settings", settings)
    (folder / "mine.py").write_text(source)
    with Process(folder, "mine:app") as server:
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert httpx.get(f"{server.url}/v1/agents").json()["code"] == "unauthorized"
        assert httpx.get(f"{server.url}/v1/agents", headers={"X-User": "ann"}).status_code == 200


@behaviour("UC-001")
def test_what_an_agent_hands_to_the_loop_does_not_end_the_server(folder: Path) -> None:
    agent = """

async def hands(context):
    import sys
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: sys.exit(3))
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)
    return "handed"


app.agent("hands", hands)
"""
    (folder / "mine.py").write_text(APP.format(drain_s=0) + agent)
    with Process(folder, "mine:app") as server, client(server.url) as calling:
        assert calling.run("t", "x", agent="hands").output == "handed"
        assert calling.run("t", "x", agent="quick").output == "done"
        server.process.send_signal(signal.SIGINT)
        _, err = server.process.communicate(timeout=WITHIN_S)
    assert server.process.returncode == 0
    assert "asked for its end with SystemExit" in err and "ZeroDivisionError" in err


def test_a_request_whose_head_does_not_end_is_refused_and_others_go_on(folder: Path) -> None:
    with Process(folder, "--store", "memory://", "--access-log") as server, client(server.url) as calling:
        with socket.create_connection(("127.0.0.1", server.port)) as endless:
            endless.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n")
            answer = b""
            with suppress(ConnectionError):
                for number in range(10_000):
                    endless.sendall(b"X-%d: %b\r\n" % (number, b"x" * 1_000))
            with suppress(ConnectionError):
                answer = endless.recv(4_096)
        assert answer[:12] in (b"HTTP/1.1 431", b""), "empty when the reset overtook the answer"
        large = {"X-Large": "x" * 70_000}
        assert httpx.get(f"{server.url}/health/live", headers=large).json()["code"] == "headers_too_large"
        assert calling.health().status == "ready"
        server.process.send_signal(signal.SIGINT)
        _, err = server.process.communicate(timeout=WITHIN_S)
    records = [json.loads(line) for line in err.splitlines()]
    assert records[0]["event"] == "serving"
    assert records[0]["durability"] == "volatile"
    assert any("/health: 200" in record["event"] for record in records), records


def test_a_served_process_is_small_and_there_soon(folder: Path) -> None:
    clock = SystemClock()
    began_s = clock.monotonic()
    with Process(folder, "--db", "demo.db") as server, client(server.url) as calling:
        assert calling.health().status == "ready"
        took_s = clock.monotonic() - began_s
        rss_mb = psutil.Process(server.process.pid).memory_info().rss / 1e6
    print(f"serving after {took_s:.2f} s with {rss_mb:.0f} MB")
    assert took_s < 10
    assert rss_mb < 120


def test_serving_loads_no_agent_framework_and_no_client() -> None:
    code = "import sys, awaken.cli.serve; print([m for m in ('pydantic_ai', 'httpx', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WITHIN_S)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_demo_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Takes as long as the slow agent: about a quarter of a minute."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "awaken.cli.main", "demo"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {" ".join(line.split()[:-1]): line.split()[-1] for line in done.stdout.splitlines() if line.split()}
    for name in ("finished model calls repeated", "finished tool calls repeated", "events missing", "events doubled"):
        assert rows[name] == "0", done.stdout
    assert "Nothing was lost" in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
