"""Start a real server process, wait until it serves, and end it.

Above: the benchmarks that go over HTTP. Holds: only the process started here is ended, by its own handle.
"""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.process import MeasurementFailed, environment

STORE_VARIABLE: Final = "AWAKEN_BENCH_STORE"
SLOTS_VARIABLE: Final = "AWAKEN_BENCH_SLOTS"
EXECUTED_VARIABLE: Final = "AWAKEN_BENCH_EXECUTED"
"""What `benchmarks.apps` looks at."""
_HOST: Final = "127.0.0.1"
_START_S: Final = 20.0
_STOP_S: Final = 15.0
_ASK_AGAIN_S: Final = 0.005
AWAKEN: Final = (sys.executable, "-c", "from awaken.cli.main import main; main()")


class Served(msgspec.Struct):
    port: int
    pid: int
    start_s: float
    """From starting the process until it answered that it is ready."""


@contextmanager
def served(
    command: Sequence[str], folder: Path, *, port: int, ready_path: str, variables: dict[str, str] | None = None
) -> Generator[Served]:
    """A server process, ready; ended when left."""
    log = folder / f"server-{port}.log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env={**environment(), **(variables or {})}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _await_ready(process, port, ready_path, log)
            yield Served(port, process.pid, time.perf_counter() - started)
        finally:
            process.send_signal(signal.SIGINT)  # as a person stops it: without the time a balancer is given
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def awaken_served(
    folder: Path,
    *arguments: str,
    store: Path | None = None,
    slots: int | None = None,
    executed: Path | None = None,
) -> Generator[Served]:
    """`awaken serve` with these arguments; `store`, `slots` and `executed` are for `benchmarks.apps`."""
    port = free_port()
    command = (*AWAKEN, "serve", *arguments, "--bind", f"{_HOST}:{port}")
    variables = {} if store is None else {STORE_VARIABLE: f"sqlite:///{store}"}
    if slots is not None:
        variables[SLOTS_VARIABLE] = str(slots)
    if executed is not None:
        variables[EXECUTED_VARIABLE] = str(executed)
    with served(command, folder, port=port, ready_path="/health/ready", variables=variables) as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _await_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    end = time.perf_counter() + _START_S
    while time.perf_counter() < end:
        if process.poll() is not None:
            break
        if _is_ready(port, path):
            return
        time.sleep(_ASK_AGAIN_S)
    raise MeasurementFailed(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
