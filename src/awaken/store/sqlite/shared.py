"""Something that several may enter: opened for the first of them, closed after the last.

Above: `SqliteStore`, which two mailboxes of one process may share. Below: `threads`; what opens and closes may block.
Holds: all who enter while it is being opened wait for that one opening, and get its error if it fails. Who enters while
it is being closed waits for that and opens it again. Opening and closing run in threads to their end, whatever happens
to the tasks that wait for them: what was opened for somebody who has gone away is closed again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from awaken.threads import ended, finished, in_thread, result_of


class Shared:
    """`enter` and `leave` are called on one event loop, `leave` once for each `enter` that has returned.

    `opening` either opens everything or raises and leaves nothing open; `closing` follows only upon an opening that
    succeeded, and never runs beside one. `name` is that of their threads.
    """

    def __init__(self, opening: Callable[[], None], closing: Callable[[], None], *, name: str) -> None:
        self._open = opening
        self._close = closing
        self._name = name
        self._inside = 0
        """How many have entered, or are about to, and have not left."""
        self._opening: Future[None] | None = None
        """The opening that counts: None before the first enters, and from the moment when the last leaves."""
        self._closing: Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Opened, and not yet left by the last."""
        return self._opening is not None and self._opening.done() and not _has_failed(self._opening)

    async def enter(self) -> None:
        """Raises what the opening raises."""
        self._inside += 1
        try:
            while self._closing is not None and not self._closing.done():
                await ended(self._closing)
            if self._opening is None or _has_failed(self._opening):
                self._opening = in_thread(self._open, name=self._name)
            await result_of(self._opening)
        except BaseException:
            # Cancelled while others wait for the same opening: they keep it. Was it alone, it closes what is opened.
            await self.leave()
            raise

    async def leave(self) -> None:
        """Returns when it is closed, if this was the last; however often it is cancelled meanwhile, not before."""
        self._inside -= 1
        if self._inside or self._opening is None:
            return
        # From here on it is not open, without an await in between: whoever comes now waits for the closing.
        opening, self._opening = self._opening, None
        if not _has_failed(opening):
            self._closing = in_thread(lambda: self._close_after(opening), name=self._name)
            await finished(self._closing)

    def _close_after(self, opening: Future[None]) -> None:
        """In a thread, because the opening may still be under way when everybody who wanted it has gone."""
        if opening.exception() is None:
            self._close()


def _has_failed(opening: Future[None]) -> bool:
    return opening.done() and opening.exception() is not None
