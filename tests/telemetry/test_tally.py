"""Histograms: many durations at once are counted as one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from awaken.telemetry.names import SECONDS
from awaken.telemetry.tally import Spread

durations = st.one_of(st.sampled_from([-1.0, 0.0, *SECONDS]), st.integers(-100, 40_000).map(lambda ms: ms / 1000))


@given(st.lists(durations), st.lists(durations))
def test_many_at_once_are_counted_as_one_by_one(earlier: list[float], later: list[float]) -> None:
    together, singly = Spread(), Spread()

    for some in (earlier, later):
        together.observe_all(some)
        for each in some:
            singly.observe(each)

    assert together.counts == singly.counts
    assert abs(together.total_s - singly.total_s) < 1e-6
    assert together.cumulative()[-1] == ("+Inf", len(earlier) + len(later))
