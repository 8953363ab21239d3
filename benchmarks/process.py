"""Run one measurement in a process of its own, so that no two share memory, threads or a database.

Above: the files of this folder name a function and its arguments. Below: `python -m benchmarks.process`, which imports
the function, calls it and says its result as one line of JSON.
Holds: databases and sockets live in a temporary folder that is gone afterwards; `TMPDIR` says on which disk.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

ROOT: Final = Path(__file__).resolve().parent.parent
_PREFIX: Final = "awaken-bench-"
_ANSWER: Final = "answer: "

ResultT = TypeVar("ResultT")


class MeasurementFailed(Exception):
    """A measurement ended without an answer; the text is what it wrote to its error output."""


class Unavailable(Exception):
    """What should be measured is not installed, or cannot run here."""


@contextmanager
def scratch() -> Generator[Path]:
    """A folder for one measurement."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def alone(result: type[ResultT], function: str, *, timeout_s: float = 240.0, **arguments: Any) -> ResultT:
    """Call `module:function` in a fresh process and return what it answered.

    Raises:
        Unavailable: The function said so.
        MeasurementFailed: It failed, or did not answer within `timeout_s` seconds.
    """
    command = [sys.executable, "-m", "benchmarks.process", function, msgspec.json.encode(arguments).decode()]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(f"{function} did not answer within {timeout_s:.0f} s") from error
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_ANSWER):
            answer = msgspec.json.decode(line.removeprefix(_ANSWER))
            if "unavailable" in answer:
                raise Unavailable(answer["unavailable"])
            return msgspec.convert(answer["result"], result)
    said = "\n".join(done.stderr.splitlines()[-12:])
    raise MeasurementFailed(f"{function} answered nothing:\n{said}")


def environment() -> dict[str, str]:
    """The environment of a measured process: imports this checkout, and keeps its bytecode out of the way of none."""
    known = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), str(ROOT / "src"), *([known] if known else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _run(measuring: Coroutine[Any, Any, Any]) -> Any:
    """On uvloop, as `awaken serve` does, where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(measuring)
    return uvloop.run(measuring)


def main(function: str, arguments: str) -> None:
    module, _, name = function.partition(":")
    measure: Callable[..., Any] = getattr(importlib.import_module(module), name)
    try:
        result: Any = measure(**msgspec.json.decode(arguments))
        if inspect.iscoroutine(result):
            result = _run(result)
        answer = {"result": result}
    except Unavailable as error:
        answer = {"unavailable": str(error)}
    print(_ANSWER + msgspec.json.encode(answer).decode(), flush=True)


if __name__ == "__main__":
    importlib.import_module("benchmarks.process").main(
        *sys.argv[1:]
    )  # under its own name: its errors are told by class
