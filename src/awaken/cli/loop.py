"""Run a server on its event loop to its own end, whatever code that is handed to the loop itself asks for.

Above: `serve`. Below: asyncio, or uvloop where it is installed.
Holds: `SystemExit` and `KeyboardInterrupt` from a callback that an agent or a library gave to the loop (`call_soon`,
`call_later`, a signal's handler), and a loop that such code stops, are logged, and the server goes on. They belong to
no task, so nobody could be told. What the server itself raises, and Ctrl-C before it listens to signals, end it.

Source: ADR 0029.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from awaken.executors.containment import EXITS

_log = logging.getLogger("awaken.loop")


def run_to_the_end(main: Coroutine[Any, Any, None]) -> None:
    """Return when it has returned. Raises what it raises."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (*EXITS, RuntimeError) as stopped:
                if task.done() or loop.is_closed() or _is_ctrl_c(stopped):
                    raise
                _log.error(
                    "code that was handed to the event loop asked for its end with %s; the server goes on",
                    type(stopped).__name__ if isinstance(stopped, EXITS) else "stop()",
                    exc_info=stopped,
                )


def _is_ctrl_c(error: BaseException) -> bool:
    """Whether it may be the interpreter's own: it raises this for a signal that nobody else has taken."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # it exists for CPython on POSIX systems
        return None
    return uvloop.new_event_loop
