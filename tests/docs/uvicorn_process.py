"""An application of the documentation as its own process, as the page about it starts it.

Holds: entered means that it serves, at `url`; left means that the process is gone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.repository import environment

WITHIN_S = 30


class Uvicorn:
    """`uvicorn TARGET` in a folder. `port` 0 takes a free one."""

    def __init__(self, target: str, folder: Path, *, port: int = 0, **variables: str) -> None:
        self._command = [sys.executable, "-m", "uvicorn", target, "--port", str(port), "--no-access-log"]
        self._folder = folder
        self._environment = environment(**variables)
        self.url = ""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, cwd=self._folder, env=self._environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        printed = ""
        for line in self.process.stderr:
            printed += line
            running = re.search(r"running on (http://[\d.:]+)", line)
            if running is not None:
                self.url = running[1]
                return self
        self.process.wait(WITHIN_S)
        raise AssertionError(printed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=WITHIN_S)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])
