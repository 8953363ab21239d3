"""Which event loop something belongs to.

Above: whatever holds futures or tasks, which may only be used on the loop that made them. Below: asyncio.
Holds: a call from elsewhere fails at once, and names the loop. Without this it would wait for an answer that is given
on another loop, and hang.
"""

from __future__ import annotations

import asyncio
import threading

from awaken.domain.errors import WrongLoop


def runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is this event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False  # none does


def check_loop(home: asyncio.AbstractEventLoop, what: str) -> None:
    """Raises WrongLoop unless `home`, the event loop that `what` belongs to, is the one that runs here."""
    if runs_here(home):
        return
    here = threading.current_thread().name
    if home.is_closed():
        raise WrongLoop(
            f"{what} belongs to an event loop that was closed before it was stopped, and cannot be used on another one;"
            " what was accepted is stored, and goes on in the next process. Leave `async with`, or await `stop()`,"
            " before the loop ends"
        )
    raise WrongLoop(
        f"{what} belongs to the event loop {home!r}{_thread_of(home)}, and was called from another one or from none, in"
        f" thread {here!r}. From there, hand the call to its loop with `asyncio.run_coroutine_threadsafe`"
    )


def _thread_of(loop: asyncio.AbstractEventLoop) -> str:
    """Where it runs, as far as it shows."""
    ident = getattr(loop, "_thread_id", None)
    names = [thread.name for thread in threading.enumerate() if thread.ident == ident]
    return f" in thread {names[0]!r}" if names else ""
