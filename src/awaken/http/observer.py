"""What the HTTP layer reports to whoever counts.

Above: telemetry implements it. Holds: called on the event loop, on the hot path; it must neither wait nor raise.
Labels stay bounded: a request is named by the template of its route, never by its path.
"""

from __future__ import annotations

from typing import Literal, Protocol

StreamScope = Literal["thread", "run", "watch"]
Return = Literal["resumed", "resync", "over"]
"""What a client that comes back finds: the rest; the state, because what it knew is gone; nothing, having it all."""
Refusal = Literal["unauthorized", "forbidden", "error"]


class HttpObserver(Protocol):
    """`dialect` is the protocol that a stream is written in."""

    def request_started(self) -> None: ...

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        """`route` is the template, such as `/v1/runs/{run_id}`, or `unmatched`.

        For a stream, `duration_s` is its life. A client that left before its answer counts as status 499.
        """
        ...

    def turned_away(self, reason: Refusal) -> None:
        """Whoever asks is not let in."""
        ...

    def stream_opened(self, scope: StreamScope, dialect: str) -> None: ...

    def stream_closed(self, scope: StreamScope, dialect: str, *, caught_up: int, stalled: bool) -> None:
        """`caught_up`: how often it fell behind and read the log instead. `stalled`: closed because it took nothing."""
        ...

    def came_back(self, dialect: str, found: Return) -> None:
        """A client with a `Last-Event-ID`."""
        ...

    def frames_sent(self, dialect: str, count: int, size: int, lag_s: float | None) -> None:
        """So many events, in so many bytes, were written to one stream. `lag_s`: how old the oldest of them is that was
        stored while the stream was open.
        """
        ...


class Uncounted:
    """Counts nothing."""

    def request_started(self) -> None:
        return None

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        return None

    def turned_away(self, reason: Refusal) -> None:
        return None

    def stream_opened(self, scope: StreamScope, dialect: str) -> None:
        return None

    def stream_closed(self, scope: StreamScope, dialect: str, *, caught_up: int, stalled: bool) -> None:
        return None

    def came_back(self, dialect: str, found: Return) -> None:
        return None

    def frames_sent(self, dialect: str, count: int, size: int, lag_s: float | None) -> None:
        return None
