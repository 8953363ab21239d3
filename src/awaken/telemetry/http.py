"""Metrics of the HTTP layer: requests by route, and event streams.

Above: the HTTP layer's middleware and streams report here. Below: `tally.py`.
Holds: `route` is the pattern a request matched, never its path, so the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from awaken.telemetry import names
from awaken.telemetry.tally import Family, Number, Spread, numbers, spreads

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpMetrics:
    """Counts for one server's HTTP side."""

    def __init__(self) -> None:
        self._requests = numbers(names.HTTP_REQUESTS)
        self._duration = spreads(names.HTTP_DURATION)
        self._in_flight = numbers(names.HTTP_IN_FLIGHT)
        self._connections = numbers(names.SSE_CONNECTIONS)
        self._streams = numbers(names.STREAMS_OPEN)
        self._frames = numbers(names.STREAM_FRAMES)
        self._bytes = numbers(names.STREAM_BYTES)
        self._catchups = numbers(names.STREAM_CATCHUPS)
        self._stalled = numbers(names.STREAM_STALLED)
        self._resumes = numbers(names.STREAM_RESUMES)
        self._lag = spreads(names.DELIVERY_LAG)
        self._refusals = numbers(names.AUTH_FAILURES)

    def families(self) -> Iterable[Family[Number] | Family[Spread]]:
        yield from (self._requests, self._duration, self._in_flight, self._refusals)
        yield from (self._connections, self._streams, self._frames, self._bytes, self._catchups, self._stalled)
        yield from (self._resumes, self._lag)

    # --- reported by the HTTP layer (its `HttpObserver`) --------------------------------------------------------------

    def request_started(self) -> None:
        self._in_flight.child().value += 1

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        known = method if method in _METHODS else "other"  # a client may invent any number of methods
        answer = (known, route, str(status))
        self._in_flight.child().value -= 1
        self._requests.child(*answer).value += 1
        self._duration.child(*answer).observe(duration_s)

    def turned_away(self, reason: Literal["unauthorized", "forbidden", "error"]) -> None:
        self._refusals.child(reason).value += 1

    def stream_opened(self, scope: Literal["thread", "run", "watch"], dialect: str) -> None:
        self._connections.child(scope).value += 1
        self._streams.child(dialect).value += 1

    def stream_closed(
        self, scope: Literal["thread", "run", "watch"], dialect: str, *, caught_up: int, stalled: bool
    ) -> None:
        self._connections.child(scope).value -= 1
        self._streams.child(dialect).value -= 1
        self._catchups.child(dialect).value += caught_up
        self._stalled.child(dialect).value += stalled

    def came_back(self, dialect: str, found: Literal["resumed", "resync", "over"]) -> None:
        self._resumes.child(dialect, found).value += 1

    def frames_sent(self, dialect: str, count: int, size: int, lag_s: float | None) -> None:
        self._frames.child(dialect).value += count
        self._bytes.child(dialect).value += size
        if lag_s is not None:
            self._lag.child(dialect).observe(lag_s)
