"""The store that kills its process, as far as one can see it from a process that goes on living."""

from __future__ import annotations

import pytest

from awaken.domain.errors import ValidationError
from awaken.store.memory import MemoryStore
from awaken.store.transitions import Reclaim, Reclaimed
from awaken.testing.crash import CrashingStore, CrashPoint


@pytest.mark.parametrize(
    ("text", "point"), [("before:1", CrashPoint("before", 1)), ("after:12", CrashPoint("after", 12))]
)
def test_the_environment_names_the_apply_to_die_at(text: str, point: CrashPoint) -> None:
    assert CrashPoint.from_environment({"AWAKEN_CRASH_AT": text}) == point
    assert str(point) == text


def test_without_the_variable_nothing_is_killed() -> None:
    assert CrashPoint.from_environment({}) is None


@pytest.mark.parametrize("text", ["before", "before:0", "before:-1", "during:3", "after:x", ":1"])
def test_a_point_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="before:N or after:N"):
        CrashPoint.from_environment({"AWAKEN_CRASH_AT": text})


async def test_applies_are_counted_and_answered_by_the_store_inside() -> None:
    async with CrashingStore(MemoryStore(), at=CrashPoint("before", 3)) as store:
        assert await store.apply([Reclaim()]) == [Reclaimed((), more=False)]
        assert await store.apply([Reclaim()]) == [Reclaimed((), more=False)]
        assert store.apply_count == 2
        assert store.capabilities == MemoryStore().capabilities
