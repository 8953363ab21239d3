"""Keep what asks the process to end inside the run whose code asks for it.

Above: the mailbox contains the loop its executions live on, and executes each agent `contained`, as the work of a task
that is `kept`. Below: asyncio, whose tasks hand `SystemExit` and `KeyboardInterrupt` to the loop, which stops: one
`sys.exit` in one tool would end the server for everybody. A `GeneratorExit` that somebody waits for is thrown into his
coroutine, which to Python means that it is closed, and may do nothing more: a run would end without a settlement.
Holds: in a task that was started, however indirectly, by an agent, all three arrive at whoever waits for the task, as
an `Exited`. What such a task does is otherwise its own; tasks of nobody's agent are left alone.

A factory of tasks is the one place that all of them pass: those of a framework, of a library, and of the agent itself.
Which task belongs to an agent is known by its context, which asyncio copies from the task that starts it. A callback
that code of an agent gives to the loop itself (`call_soon`) is no task and is not contained.

Source: ADR 0029.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

_INSIDE: Final[ContextVar[bool]] = ContextVar("awaken_agent", default=False)

EXITS: Final = (SystemExit, KeyboardInterrupt)
"""What asyncio lets through to the loop."""
_LEAVING: Final = (*EXITS, GeneratorExit)
TaskFactory = Callable[..., asyncio.Future[Any]]


class Exited(Exception):
    """Code of an agent asked the process, or a coroutine, to end. Both stay; what was asked is the cause."""


class contained:
    """Every task that is started inside belongs to an agent: `with contained():`."""

    __slots__ = ()

    def __enter__(self) -> None:
        _INSIDE.set(True)

    def __exit__(self, *_: object) -> None:
        _INSIDE.set(False)  # and no reset: a loop that is abandoned has its tasks closed in another context


def kept(work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    """The work of a task that is contained although no agent has started it."""
    return _Contained(work)


def running_task() -> asyncio.Task[Any] | None:
    """The task that is running here, None where there is none.

    A coroutine that is thrown away, as with a loop that was closed, gets a `GeneratorExit` outside its own task, and
    can await nothing then. Inside of it, the like was raised by somebody's code.
    """
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def contain(loop: asyncio.AbstractEventLoop) -> None:
    """From now on no task of an agent ends the loop. A factory of tasks that the loop has is used as before.

    It stays when the mailbox is left: for tasks that belong to no agent it changes nothing.
    """
    given = loop.get_task_factory()
    if not isinstance(given, _Factory):
        loop.set_task_factory(_Factory(given))


class _Factory:
    """Makes the tasks of a loop, those of agents with what contains them."""

    def __init__(self, given: TaskFactory | None) -> None:
        self._make: TaskFactory = _plain if given is None else given

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Future[Any]:
        return self._make(loop, _Contained(work) if _INSIDE.get() else work, **options)


def _plain(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=loop, **options)


class _Contained(Coroutine[Any, Any, Any]):
    """The coroutine of a task. A class, because a coroutine around it would have to be started to be closed."""

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:
        """Whoever looks into the task (tracebacks, anyio) sees the agent's coroutine."""
        return getattr(self._work, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()

    def send(self, value: Any) -> Any:
        try:
            return self._work.send(value)
        except _LEAVING as exited:
            raise _stayed(exited) from exited

    def throw(
        self,
        typ: Any,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        try:
            if isinstance(typ, GeneratorExit):  # it was waited for; whoever throws this away calls `close`
                return self._work.throw(_caused(typ))
            return self._work.throw(typ) if val is None and tb is None else self._work.throw(typ, val, tb)  # pyright: ignore[reportCallIssue, reportArgumentType]
        except _LEAVING as exited:
            raise _stayed(exited) from exited

    def close(self) -> None:
        self._work.close()


def _stayed(exited: BaseException) -> Exited:
    return Exited(f"{type(exited).__name__} was raised, and the process stays")


def _caused(exited: BaseException) -> Exited:
    stayed = _stayed(exited)
    stayed.__cause__ = exited
    return stayed
