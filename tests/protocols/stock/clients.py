"""The protocols' own JavaScript clients, each in one Node.js process that tests call like a module.

Above: the tests of a protocol, each with a module of functions (`.mjs`) beside it. Below: `tests.node`, which installs
`package-lock.json` once, and `serve.mjs`, which runs in Node.js.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from tests.node import NODE, environment, installed

HERE: Final = Path(__file__).parent
_LINE: Final = 64 * 1024 * 1024
"""The longest answer, in bytes: all chunks of a long stream."""


class Failed(AssertionError):
    """A function of the module threw; the text is its stack in JavaScript."""


class Module:
    """The functions that a `.mjs` file exports, run in a Node.js process of its own, with the stock clients importable.

    ```python
    async with Module(Path(__file__).with_name("chat.mjs")) as chat:
        parts = await chat.call("ask", base_url, "hello")
    ```
    Arguments and values are JSON. What the module prints and does not catch goes to the test's stderr.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        packages = await asyncio.to_thread(installed, HERE)
        self._folder = Path(tempfile.mkdtemp(prefix="awaken-node-"))
        # A bare import is looked for beside the file that has it, so the modules lie beside the packages.
        (self._folder / "node_modules").symlink_to(packages / "node_modules")
        for source in (*self._path.parent.glob("*.mjs"), HERE / "serve.mjs"):
            shutil.copy(source, self._folder)
        self._process = await asyncio.create_subprocess_exec(
            str(NODE),
            str(self._folder / "serve.mjs"),
            str(self._folder / self._path.name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            limit=_LINE,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader
        shutil.rmtree(self._folder, ignore_errors=True)

    async def call(self, function: str, *args: object) -> Any:
        """What the function returns or resolves to. Raises Failed when it throws, or when the process ends first."""
        if self._reader.done():
            raise Failed(f"{self._path.name}: the process has ended")
        number = next(self._ids)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode({"id": number, "call": function, "args": args}) + b"\n")
        await self._process.stdin.drain()
        return await asked

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = msgspec.json.decode(line)
            asked = self._asked.pop(answer["id"])
            if asked.done():  # whoever asked has given up
                continue
            if "error" in answer:
                asked.set_exception(Failed(answer["error"]))
            else:
                asked.set_result(answer["value"])
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(Failed(f"{self._path.name}: the process has ended"))
