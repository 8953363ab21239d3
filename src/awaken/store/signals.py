"""Who is notified of commits, for a store that one process owns: its signals are a list of listeners.

Above: the stores of one process keep one of these and call `publish` after each commit. Below: the mailboxes that
listen.
Holds: with a single listener nothing is computed, because that one made every commit itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from awaken.store.contract import Listener, Signal
from awaken.store.transitions import Outcome


class Listeners:
    """The mailboxes that use one store object."""

    def __init__(self) -> None:
        self._listeners: dict[Listener, None] = {}  # ordered, so that a replay calls them in the same order

    def add(self, listener: Listener) -> None:
        self._listeners[listener] = None

    def remove(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)

    def publish(self, outcomes: Sequence[Outcome]) -> None:
        """Call every listener with the threads whose log the outcomes made longer, if there are any."""
        if len(self._listeners) < 2:
            return
        threads = frozenset([(row.scope, row.thread_id) for each in outcomes for row in each.appended])
        if threads:  # what was only looked for wakes nobody, or looking would never end
            self.pass_on(Signal(threads))

    def pass_on(self, signal: Signal) -> None:
        """Call every listener, also a single one: with what another process has committed."""
        for listener in [*self._listeners]:
            listener(signal)
