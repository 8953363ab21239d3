"""Several processes on one Postgres: what is asked of one is done by another, and any of them may die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import psutil
import pytest

from awaken.client import Client, Event
from awaken.client.synchronous import wait_here
from awaken.domain.clock import SystemClock, from_rfc3339
from awaken.testing.behaviour import behaviour

WITHIN_S: Final = 40
"""Far more than anything here takes; a test that hangs ends."""
TAKEOVER_S: Final = 3.0

APP = """
import asyncio
import os
from pathlib import Path

from awaken import Awaken, MailboxSettings

app = Awaken(os.environ["STORE"], settings=MailboxSettings(drain_s=0.2, handover_s=0.2, tidy_s=0.5))


async def once(context):
    '''Gets stuck in its first execution, and finishes in the next one.'''
    started = Path(f"started-{context.identity.run_id}")
    yield "one "
    if not started.exists():
        started.write_text(str(os.getpid()))
        await asyncio.Event().wait()
    yield f"two by {os.getpid()}"


async def talk(context):
    '''Waits until it is told something, then asks.'''
    while not (told := await context.inbox()):
        await asyncio.sleep(0.02)
    return f"{told[0].text}, {await context.ask('Sure?')}"


async def stuck(context):
    await asyncio.Event().wait()


async def quick(context):
    return str(os.getpid())


for agent in (once, talk, stuck, quick):
    app.agent(agent.__name__, agent)
"""


class Member:
    """A process of the cluster, launched. Entered means it serves; left means it and what it started are gone."""

    def __init__(self, folder: Path, url: str, *arguments: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "STORE": url}
        self._command = [sys.executable, "-m", "awaken.cli.main", *arguments, "--log-format", "json"]

    def launch(self) -> Self:
        """Start it, and do not wait for it."""
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        return self

    def __enter__(self) -> Self:
        self.url, self.pid = self.next_banner()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        family: list[psutil.Process] = []
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children()
            self.process.kill()
        for each in family:
            if each.is_running():
                each.kill()
        self.process.communicate(timeout=WITHIN_S)

    def next_banner(self) -> tuple[str, int]:
        """Where the next process serves that says so, and its id."""
        assert self.process.stdout is not None
        url = ""
        for line in self.process.stdout:
            if line.startswith("awaken serves on "):
                url = line.split()[-1]
            elif line.startswith("  process"):
                return url, int(line.split()[1].rstrip(";"))
        raise AssertionError((self._folder / "log").read_text())

    def stop(self) -> int:
        """SIGTERM, and how it ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WITHIN_S)


API: Final = ("serve", "mine:app", "--port=0", "--role=api", "--protocols=none")
WORKER: Final = ("worker", "mine:app")
Start = Callable[..., list[Member]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(APP)
    return tmp_path


@pytest.fixture
def start(folder: Path, postgres_url: str) -> Generator[Start]:
    """`start(API, WORKER)` starts both, beside each other."""
    with ExitStack() as members:

        def started(*commands: tuple[str, ...]) -> list[Member]:
            launched = [Member(folder, postgres_url, *command).launch() for command in commands]
            return [members.enter_context(member) for member in launched]

        yield started


def client(member: Member) -> Client:
    return Client(member.url, pause=lambda seconds: None)


def until(holds: Callable[[], bool]) -> None:
    """What happens in other processes can only be looked for."""
    clock = SystemClock()
    ends_s = clock.monotonic() + WITHIN_S
    while not holds():
        assert clock.monotonic() < ends_s
        wait_here(0.02)


@behaviour("SRV-021", "SG-002", "MBX-121")
def test_a_stream_goes_on_elsewhere_when_its_worker_is_killed_and_nothing_comes_twice(
    start: Start, folder: Path
) -> None:
    clock, killed_at, before, successor = SystemClock(), 0, 0, 0
    front, other, first = start(API, API, WORKER)
    with client(front) as calling, client(other) as asking:
        with calling.stream("t", "go", agent="once", run_id="r") as stream:
            received: list[Event] = []
            for item in stream:
                assert isinstance(item, Event)
                received.append(item)
                if item.kind == "TextDeltaObserved" and not killed_at:
                    until((folder / "started-r").exists)
                    [second] = start(WORKER)
                    successor = second.pid
                    killed_at, before = clock.now(), len(received)
                    first.process.kill()
        assert calling.get_run("r") == asking.get_run("r")
        with asking.run_events("r") as again:
            uncut = [item for item in again if isinstance(item, Event)]
        with asking.run_events("r", after=received[before - 1].cursor) as rest:
            elsewhere = received[:before] + [item for item in rest if isinstance(item, Event)]
        done = asking.wait("r", timeout_s=WITHIN_S)
        messages = [list(each.messages("t")) for each in (calling, asking)]

    kinds = [item.kind for item in received]
    [resumed] = [item for item in received if item.kind == "RunResumed"]
    took_s = (from_rfc3339(resumed.created_at) - killed_at) / 1000
    print(f"taken over {took_s:.2f} s after the kill")
    assert int((folder / "started-r").read_text()) == first.pid
    assert received == uncut == elsewhere
    assert kinds.count("StreamReset") == kinds.count("RunFinished") == 1
    assert done.final_output == f"one two by {successor}"
    assert messages[0] == messages[1]
    assert [(each.role, each.text) for each in messages[0]] == [("user", "go"), ("assistant", done.final_output)]
    assert took_s <= TAKEOVER_S


@behaviour("LV-012", "SRV-014")
def test_what_is_asked_of_a_process_that_executes_nothing_reaches_the_one_that_does(start: Start, folder: Path) -> None:
    front, other, works = start(API, API, WORKER)
    with client(front) as calling, client(other) as asking:
        run = calling.submit("t", "go", agent="talk")
        until(lambda: calling.get_run(run.run_id).phase == "running")
        asking.steer("t", "left")
        until(lambda: asking.get_run(run.run_id).phase == "needs_input")
        [ticket] = asking.list_tickets(run_id=run.run_id)
        calling.decide(ticket.ticket_id, "answer", result="yes")
        assert asking.wait(run.run_id, timeout_s=WITHIN_S).final_output == "left, yes"

        run = calling.submit("t", "go", agent="stuck")
        until(lambda: asking.get_run(run.run_id).phase == "running")
        clock = SystemClock()
        began_s = clock.monotonic()
        assert asking.cancel(run.run_id, wait_s=WITHIN_S).state == "stopped"
        took_s = clock.monotonic() - began_s
        print(f"stopped elsewhere within {took_s:.2f} s")
        assert calling.get_run(run.run_id).phase == "cancelled"
        assert took_s < TAKEOVER_S, "the worker was told, and did not find out when it renewed its lease"

        assert calling.run("t", "go", agent="quick", timeout_s=WITHIN_S).final_output == str(works.pid)
        roles = {each.pid: (each.role, each.routes) for each in asking.list_workers()}
    served = ("once", "quick", "stuck", "talk")
    assert roles == {front.pid: ("api", ()), other.pid: ("api", ()), works.pid: ("worker", served)}


@behaviour("SRV-030")
def test_a_worker_that_is_stopped_hands_over_what_it_executes(start: Start, folder: Path) -> None:
    front, first = start(API, (*WORKER, "--agents", "once, stuck"))
    with client(front) as calling:
        run = calling.submit("t", "go", agent="once", run_id="r")
        left = calling.submit("u", "go", agent="quick")
        until((folder / "started-r").exists)
        [second] = start(WORKER)
        clock = SystemClock()
        began_s = clock.monotonic()
        assert first.stop() == 0
        done = calling.wait(run.run_id, timeout_s=WITHIN_S)
        print(f"stopped and handed over within {clock.monotonic() - began_s:.2f} s")
        assert (done.final_output, done.attempt) == (f"one two by {second.pid}", 1)
        assert calling.wait(left.run_id, timeout_s=WITHIN_S).final_output == str(second.pid), "the first was not for it"
        assert [each.pid for each in calling.list_workers()] == [front.pid, second.pid]


def test_several_workers_are_kept_running_and_stop_together(start: Start, folder: Path) -> None:
    [above] = start((*WORKER, "--processes", "2", "--agents", "quick"))
    (url, pid), second = (above.url, above.pid), above.next_banner()
    assert httpx.get(f"{url}/health/ready").status_code == 200
    assert "awaken_" in httpx.get(f"{url}/metrics").text
    assert [httpx.get(f"{url}{path}").status_code for path in ("/v1/runs", "/openapi.json")] == [404, 404]

    os.kill(pid, signal.SIGKILL)
    third = above.next_banner()

    assert {child.pid for child in psutil.Process(above.process.pid).children()} == {second[1], third[1]}
    said = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [f"worker process {pid} has ended with signal 9" in each["event"] for each in said].count(True) == 1
    assert above.stop() == 0
    assert not psutil.pid_exists(second[1]) and not psutil.pid_exists(third[1])


def test_workers_stop_when_what_keeps_them_running_is_killed(start: Start) -> None:
    [above] = start((*WORKER, "--processes", "2"))
    below = [psutil.Process(above.pid), psutil.Process(above.next_banner()[1])]
    above.process.kill()
    gone, alive = psutil.wait_procs(below, timeout=WITHIN_S)
    assert (len(gone), alive) == (2, [])
