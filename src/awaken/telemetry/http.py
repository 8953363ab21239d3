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
        self._streams = numbers(names.SSE_CONNECTIONS)
        self._frames = numbers(names.SSE_FRAMES)
        self._catchups = numbers(names.SSE_CATCHUPS)
        self._stalled = numbers(names.SSE_STALLED)

    def families(self) -> Iterable[Family[Number] | Family[Spread]]:
        yield from (self._requests, self._duration, self._in_flight)
        yield from (self._streams, self._frames, self._catchups, self._stalled)

    # --- reported by the HTTP layer (its `HttpObserver`) --------------------------------------------------------------

    def request_started(self) -> None:
        self._in_flight.child().value += 1

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        known = method if method in _METHODS else "other"  # a client may invent any number of methods
        answer = (known, route, str(status))
        self._in_flight.child().value -= 1
        self._requests.child(*answer).value += 1
        self._duration.child(*answer).observe(duration_s)

    def stream_opened(self, scope: Literal["thread", "run"]) -> None:
        self._streams.child(scope).value += 1

    def stream_closed(self, scope: Literal["thread", "run"], *, caught_up: int, stalled: bool) -> None:
        self._streams.child(scope).value -= 1
        self._catchups.child().value += caught_up
        self._stalled.child().value += stalled

    def frames_sent(self, count: int) -> None:
        self._frames.child().value += count
