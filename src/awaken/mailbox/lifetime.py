"""Starting and stopping something that one task must open and close, from any number of tasks at once.

Above: `engine` hands in an asynchronous context manager that opens everything. Below: the task that enters and leaves
it.
Holds: `start` and `stop` may be called again, and by many tasks at once: starts that meet share one start, a start
during a stop waits for it and begins anew, a stop during a start calls that off. When `stop` has returned everything is
closed, also when its caller was cancelled meanwhile. A start whose every caller was cancelled leaves nothing open. A
life belongs to the event loop on which it began, until it is over.

How it works. A task group, and with it most of what is opened here, must be entered and left by the same task. Callers
of `start` and `stop` may be different ones, so each life is a task of its own: it opens, reports that it is ready,
waits for the request to stop, and closes. Its parents are those callers, who wait for it and are given its failure.
Only while it opens is it cancelled from here; from then on it is asked, so no cancellation can interrupt the closing.

Source: ADR 0018.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Literal

from awaken.domain.errors import Unavailable, WrongLoop
from awaken.domain.loop import check_loop, runs_here
from awaken.mailbox.cancellation import to_the_end

State = Literal["new", "starting", "ready", "stopping", "stopped"]
Opened = Callable[[], AbstractAsyncContextManager[None]]

_log = logging.getLogger("awaken.mailbox")


class Lifetime:
    """One life after the other, never two at once."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._life: _Life | None = None

    @property
    def state(self) -> State:
        return "new" if self._life is None else self._life.state

    async def start(self) -> None:
        """Return when it is ready, at once if it is.

        Raises:
            Unavailable: It was stopped while it started.
            WrongLoop: It lives on another event loop.
            Exception: Whatever opening raised; nothing is left open, and it may be tried again.
        """
        self.check_loop()
        while self._life is not None and self._life.state == "stopping":
            await asyncio.wait((self._life.task,))
        if self._life is None or self._life.state == "stopped":
            self._life = _Life(self._opened)
        await self._life.ready()

    async def stop(self) -> None:
        """Return when everything is closed, at once if it is.

        Raises:
            WrongLoop: It lives on another event loop.
            Exception: Whatever went wrong during this life or while it was closed.
        """
        self.check_loop()
        if self._life is not None:
            await self._life.end()

    @property
    def is_ready_here(self) -> bool:
        """Whether it is ready, on the event loop that runs here."""
        life = self._life
        return life is not None and life.state == "ready" and runs_here(life.loop)

    def check_loop(self) -> None:
        """Raises WrongLoop when it lives on another event loop than the one that runs here."""
        if self._life is not None and self._life.state != "stopped":
            check_loop(self._life.loop, "this Awaken object")

    def call(self, callback: Callable[[], None]) -> None:
        """From any thread: at once where `check_loop` allows it, otherwise soon on the event loop it lives on."""
        try:
            self.check_loop()
        except WrongLoop:
            assert self._life is not None, "it lives elsewhere"
            with suppress(RuntimeError):  # that loop is closed, and nobody is there to be called
                self._life.loop.call_soon_threadsafe(callback)
        else:
            callback()


class _Life:
    def __init__(self, opened: Opened) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.state: State = "starting"
        self._opening: asyncio.Future[None] = self.loop.create_future()
        """Resolved when it is ready; fails with what prevented that."""
        self._starters = 0
        """How many callers wait for that."""
        self._is_wanted = False
        """One of them has been answered that it is ready, so that there is somebody to stop it."""
        self._asked_to_end = asyncio.Event()
        self._has_begun = False
        self.task: asyncio.Task[None] = self.loop.create_task(self._live(opened), name="awaken mailbox")

    async def ready(self) -> None:
        self._starters += 1
        try:
            await asyncio.shield(self._opening)
            self._is_wanted = True
        except asyncio.CancelledError:
            if self._starters == 1 and not self._is_wanted:  # nobody is left who could stop what would be open
                await self.end()
            raise
        finally:
            self._starters -= 1

    async def end(self) -> None:
        if self.state == "starting":
            self.state = "stopping"
            if self._has_begun:  # a task that is cancelled before it begins never runs, and would answer nobody
                self.task.cancel()
        elif self.state == "ready":
            self.state = "stopping"
            self._asked_to_end.set()
        await to_the_end(self.task)

    async def _live(self, opened: Opened) -> None:
        self._has_begun = True
        try:
            if self.state == "stopping":
                raise asyncio.CancelledError
            async with opened():
                self.state = "ready"
                self._opening.set_result(None)
                await self._asked_to_end.wait()
        except asyncio.CancelledError:
            if self._opening.done() or self.state != "stopping":
                raise  # by whoever tears the event loop down
            self._opening.set_exception(Unavailable("it was stopped while it started", code="stopping"))
        except Exception as error:
            if self._opening.done():
                _log.exception("awaken failed, and is closed")
                raise
            self._opening.set_exception(error)
        finally:
            self.state = "stopped"
            if self.loop.is_closed():
                pass  # this is thrown away with it, and so are the starters
            elif not self._opening.cancel():
                self._opening.exception()  # marks it as retrieved: the starters get it, and they may all be gone
