"""Counting, as cheap as an attribute: what happens on the hot path costs an addition, formatting is left to the scrape.

Above: `prometheus.py` binds each child once and adds to it. Below: plain integers; everything is counted on one event
loop, so no lock is taken.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, Generic, TypeVar

from awaken.telemetry.names import SECONDS, Metric

Labels = tuple[str, ...]


class Number:
    """One time series of a counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Spread:
    """One time series of a histogram of seconds."""

    __slots__ = ("_bounds", "counts", "total_s")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float, amount: int = 1) -> None:
        """Count something that took so long, or several of them. A clock that was set back makes it 0."""
        known_s = seconds if seconds > 0 else 0.0
        self.counts[bisect_left(self._bounds, known_s)] += amount
        self.total_s += known_s * amount

    def observe_all(self, durations_s: Iterable[float]) -> None:
        """Count many at once: sorting them costs less than finding each one's place."""
        ordered = sorted(durations_s)
        negative = bisect_left(ordered, 0.0)
        counted = 0
        for place, bound in enumerate(self._bounds):
            up_to = bisect_right(ordered, bound)
            self.counts[place] += up_to - counted
            counted = up_to
        self.counts[-1] += len(ordered) - counted
        self.total_s += sum(ordered[negative:])

    def join(self, other: Spread) -> None:
        """Count what another one with the same bounds has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s

    def quantile(self, part: float) -> float | None:
        """The upper bound that so many of the durations, as a part of 1, do not exceed; the highest bound there is for
        what exceeds that. None where there is none.
        """
        wanted, so_far = part * sum(self.counts), 0
        if not wanted:
            return None
        for place, count in enumerate(self.counts):
            so_far += count
            if so_far >= wanted:
                return self._bounds[min(place, len(self._bounds) - 1)]
        return self._bounds[-1]

    def cumulative(self) -> list[tuple[str, float]]:
        """`(upper bound, durations up to it)`, the last bound being `+Inf`."""
        found: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append((bound, so_far))
        return found


_Child = TypeVar("_Child", Number, Spread)


class Family(Generic[_Child]):
    """The time series of one metric, made as their labels are first seen."""

    def __init__(self, metric: Metric, make: type[_Child]) -> None:
        self.metric: Final = metric
        self._make = make
        self._children: dict[Labels, _Child] = {}
        if not metric.labels:
            self.child()

    def renamed(self, metric: Metric) -> Family[_Child]:
        """The same time series under the name of another metric."""
        twin = Family(metric, self._make)
        twin._children = self._children
        return twin

    def child(self, *labels: str) -> _Child:
        """The time series with these label values, in the order the metric declares them."""
        found = self._children.get(labels)
        if found is None:
            assert len(labels) == len(self.metric.labels), f"{self.metric.name} has the labels {self.metric.labels}"
            found = self._children[labels] = self._make()
        return found

    def __iter__(self) -> Iterator[tuple[Labels, _Child]]:
        return iter(tuple(self._children.items()))


def numbers(metric: Metric) -> Family[Number]:
    return Family(metric, Number)


def spreads(metric: Metric) -> Family[Spread]:
    return Family(metric, Spread)
