"""What the HTTP layer reports to whoever counts.

Above: telemetry implements it. Holds: called on the event loop, on the hot path; it must neither wait nor raise.
Labels stay bounded: a request is named by the template of its route, never by its path.
"""

from __future__ import annotations

from typing import Literal, Protocol

StreamScope = Literal["thread", "run"]


class HttpObserver(Protocol):
    def request_started(self) -> None: ...

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        """`route` is the template, such as `/v1/runs/{run_id}`, or `unmatched`.

        For a stream, `duration_s` is its life. A client that left before its answer counts as status 499.
        """
        ...

    def stream_opened(self, scope: StreamScope) -> None: ...

    def stream_closed(self, scope: StreamScope, *, caught_up: int, stalled: bool) -> None:
        """`caught_up`: how often it fell behind and read the log instead. `stalled`: closed because it took nothing."""
        ...

    def frames_sent(self, count: int) -> None:
        """Events written to one stream."""
        ...


class Uncounted:
    """Counts nothing."""

    def request_started(self) -> None:
        return None

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        return None

    def stream_opened(self, scope: StreamScope) -> None:
        return None

    def stream_closed(self, scope: StreamScope, *, caught_up: int, stalled: bool) -> None:
        return None

    def frames_sent(self, count: int) -> None:
        return None
