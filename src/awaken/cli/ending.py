"""How a serving process ends: the first signal asks, the second one ends it, and a deadline stands behind the first.

Above: `server` waits for the first signal and ends in good order. Below: the operating system, and one thread.
Holds: what hangs, hangs no longer than the deadline: an event loop that is blocked, agents that ignore everything,
threads that Python would wait for at its end. A second signal works at any moment. Nothing is lost by either; the
next process takes over what was running, as after a crash.

How it works. Python runs the handler of a signal in the main thread, between two steps of its program: while that is
in a call that does not return, nothing happens. So the signal's number comes through a pipe, which the interpreter
fills the moment the signal arrives (`set_wakeup_fd`), and a thread of its own waits at the other end.

The loop may use a pipe of its own for the same purpose: what comes is passed on to it. Where it takes ours away later,
because somebody adds a handler of his own to the loop, the handler that Python runs takes it back.

Source: `docs/howto/operate.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from types import FrameType
from typing import Final, NoReturn

from awaken.domain.clock import SystemClock, lasting

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
EXIT_S: Final = 3.0
"""So long the interpreter may take to end after everything was stopped. It would wait for threads for ever."""
_LAST_WORDS_S: Final = 0.5
_LOOK_AGAIN: Final = b"\0"
"""No signal has this number."""
_NAMED_THREADS: Final = 5


@contextlib.contextmanager
def stop_signals(patience_s: Callable[[signal.Signals], float]) -> Generator[asyncio.Future[signal.Signals]]:
    """Resolved by the first signal. So many seconds after it, and `EXIT_S` after this is left, the process is ended."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[signal.Signals] = loop.create_future()
    watch = _Watch(lambda number: loop.call_soon_threadsafe(first.set_result, number), patience_s)
    before = {number: signal.signal(number, watch.handle) for number in SIGNALS}
    watch.take_pipe()
    threading.Thread(target=watch.run, name="awaken-signals", daemon=True).start()
    try:
        yield first
    finally:
        if watch.leave():
            for number, handler in before.items():
                signal.signal(number, handler)


class _Watch:
    """`run` is a thread; everything else is called in the main one."""

    def __init__(self, ask: Callable[[signal.Signals], object], patience_s: Callable[[signal.Signals], float]) -> None:
        self._ask = ask
        self._patience_s = patience_s
        self._seconds = SystemClock().monotonic
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        self._before = -1
        """The loop's own pipe, which is filled again when this is left."""
        self._theirs: int | None = None
        """A second handle on that, so that nobody else's file ever has this number."""
        self._first: signal.Signals | None = None
        self._until_s: float | None = None
        self._has_left = False

    def take_pipe(self) -> bool:
        """Have the interpreter fill our pipe. False when it did already."""
        pipe = self._writing.fileno()
        theirs = signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
        if theirs == pipe:
            return False
        self._before = theirs
        if theirs != -1 and sys.platform != "win32":
            self._theirs, old = os.dup(theirs), self._theirs
            if old is not None:
                os.close(old)
        return True

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What Python runs for a signal. Usually the thread knows by now."""
        if self._has_left or self.take_pipe():
            self._write(bytes([number]))

    def leave(self) -> bool:
        """Everything is stopped. True when no signal came, so that the process goes on."""
        signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
        self._has_left = True
        if self._first is not None:
            self._until_s = self._seconds() + EXIT_S
        self._write(_LOOK_AGAIN)
        return self._first is None

    def _write(self, what: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # thousands are waiting in it
            self._writing.send(what)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        with self._reading, self._writing:
            self._watch()
        if self._theirs is not None:
            os.close(self._theirs)

    def _watch(self) -> None:
        while not (self._has_left and self._first is None):
            left_s = None if self._until_s is None else max(self._until_s - self._seconds(), 0.0)
            if not select.select((self._reading,), (), (), left_s)[0]:
                self._end_late()
            for number in self._reading.recv(4096):
                if number in SIGNALS:
                    self._received(signal.Signals(number))
                if number and self._theirs is not None and not self._has_left:
                    with contextlib.suppress(OSError):
                        os.write(self._theirs, bytes([number]))

    def _received(self, number: signal.Signals) -> None:
        if self._first is not None:
            _end(128 + number, "stopped at once; what was running goes on at the next start")
        self._first = number
        self._until_s = self._seconds() + self._patience_s(number)
        with contextlib.suppress(RuntimeError):  # the loop is closed: everything is stopped already
            self._ask(number)

    def _end_late(self) -> NoReturn:
        if self._has_left:
            _end(0, f"stopped; ended although {_unfinished_threads()}")
        assert self._first is not None, "the deadline is that of a signal"
        waited_s = self._patience_s(self._first)
        _end(
            1,
            f"not stopped {lasting(waited_s)} after {self._first.name}, and ended: the event loop is in"
            f" {_place_of_main()}; what was running goes on at the next start",
        )


def _unfinished_threads() -> str:
    """What Python waits for at its end, as a clause."""
    main = threading.main_thread()
    names = [each.name for each in threading.enumerate() if not each.daemon and each is not main]
    if not names:
        return f"the main thread is in {_place_of_main()}"
    more = len(names) - _NAMED_THREADS
    return f"threads go on: {', '.join(names[:_NAMED_THREADS])}{f' and {more} more' if more > 0 else ''}"


def _place_of_main() -> str:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # pyright: ignore[reportPrivateUsage]
    if frame is None:
        return "no function"
    last = traceback.extract_stack(frame, limit=1)[-1]
    return f"{last.name} ({last.filename}:{last.lineno})"


def _end(code: int, why: str) -> NoReturn:
    """Print why, if that is possible, and end the process."""
    words = threading.Thread(target=_print, args=(f"awaken: {why}\n",), daemon=True)
    words.start()
    words.join(_LAST_WORDS_S)  # whoever reads the standard error may hang, too
    os._exit(code)


def _print(text: str) -> None:
    with contextlib.suppress(OSError):  # past `sys.stderr`, whose lock the main thread may hold
        os.write(2, text.encode(errors="replace"))
