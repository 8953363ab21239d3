"""One process whose runs take steps of seconds, for callers who ask again for whatever they got no answer to.

Above: `siege` starts it and kills it. Below: the public API.
Holds: what happens in the process stands in a notebook whatever becomes of it: which runs were accepted, when an agent
began and left a run, and which steps were called and had finished. A line `serving` on standard output says that the
file is open.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Final, Literal

import msgspec

from awaken.domain.errors import RunNotFound
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.process import tune_process
from awaken.wiring import Awaken
from tests.crash.scenarios import Notebook

ANSWER: Final = "what was found"
POISON: Final = "poison"
"""The id of the run that kills its process, and the name of its agent."""
_STDOUT: Final = 1


class Note(msgspec.Struct, frozen=True):
    """Something that happened to a run in the process number `life` of a series, counting from 1."""

    life: int
    run_id: str
    what: Literal["accepted", "taken", "left", "called", "finished"]
    step: str = ""


class Order(msgspec.Struct, frozen=True):
    """What a process is to do."""

    folder: str
    life: int
    conversations: int
    asks: Literal["always", "once", "never"]
    """Callers ask for the next run whenever one has ended, for one run each, or for none: they only wait for what there
    is. The process ends when no caller waits."""
    step_s: float
    fuse_s: float | None = None
    """With it there is also a run that kills the process so soon after it began, each time it is executed."""


def database(folder: Path) -> Path:
    return folder / "runs.db"


def notebook(folder: Path) -> Path:
    return folder / "notes"


def run_name(conversation: int, turn: int) -> str:
    return f"run-{conversation}-{turn}"


class _Process:
    """The agents and their callers."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._notes = Notebook(notebook(Path(order.folder)))
        settings = MailboxSettings(max_concurrent_runs=order.conversations + 1)
        self._app = Awaken(f"sqlite:///{database(Path(order.folder))}", settings=settings)
        self._app.agent("clerk", self._clerk)
        self._app.agent(POISON, self._poison)

    async def live(self) -> None:
        async with self._app:
            tune_process()
            os.write(_STDOUT, b"serving\n")
            async with asyncio.TaskGroup() as callers:
                for conversation in range(self._order.conversations):
                    callers.create_task(self._converse(conversation))
                if self._order.fuse_s is not None:
                    callers.create_task(self._ask(POISON, POISON, POISON))

    async def _clerk(self, context: Context) -> str:
        """A quick step, then two that take their time."""
        run_id = context.identity.run_id
        self._note(run_id, "taken")
        try:
            for step, seconds in (("find", 0.0), ("think", self._order.step_s), ("write", self._order.step_s)):
                await context.step(step, lambda step=step, seconds=seconds: self._work(run_id, step, seconds))
                self._note(run_id, "finished", step)
            return ANSWER
        finally:
            self._note(run_id, "left")

    async def _work(self, run_id: str, step: str, seconds: float) -> str:
        self._note(run_id, "called", step)
        await asyncio.sleep(seconds)
        return step

    async def _poison(self, context: Context) -> None:
        assert self._order.fuse_s is not None
        self._note(context.identity.run_id, "taken")
        await asyncio.sleep(self._order.fuse_s)
        os.kill(os.getpid(), signal.SIGKILL)

    async def _converse(self, conversation: int) -> None:
        """A process knows nothing of the earlier ones: it asks from the first run on, which changes nothing."""
        for turn in count(1):
            run_id = run_name(conversation, turn)
            if self._order.asks != "never":
                await self._ask(f"thread-{conversation}", run_id, "clerk")
            elif not await self._wait_for(run_id):
                return
            if self._order.asks == "once":
                return

    async def _ask(self, thread_id: str, run_id: str, agent: str) -> None:
        run = await self._app.submit(thread_id, "Where is it?", agent=agent, run_id=run_id)
        self._note(run_id, "accepted")
        await run.result()

    async def _wait_for(self, run_id: str) -> bool:
        """Whether there is such a run."""
        try:
            await self._app.wait(run_id)
        except RunNotFound:
            return False
        return True

    def _note(
        self, run_id: str, what: Literal["accepted", "taken", "left", "called", "finished"], step: str = ""
    ) -> None:
        self._notes.add(Note(self._order.life, run_id, what, step))


if __name__ == "__main__":
    asyncio.run(_Process(msgspec.json.decode(sys.argv[1], type=Order)).live())
