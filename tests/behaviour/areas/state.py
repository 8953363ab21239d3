"""The JSON object that a thread keeps beside what is said."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "thread state",
    built("TS-001", sentence="A change is a merge patch, makes a version, and is told with what it changed."),
    built("TS-002", sentence="A change of another version is refused, and one that is asked again is the same."),
    built("TS-003", sentence="What a submit brings is there when its messages are taken."),
    built("TS-004", sentence="What an agent changes becomes durable with its commit or settlement, once."),
    built("TS-005", sentence="A function's changes come with the end of its run."),
    built("TS-006", sentence="Rolling a run back leaves the state."),
    built("TS-007", sentence="A state has a bound, and what would exceed it changes nothing and is recorded."),
    built("TS-008", sentence="A thread is shown with its state as it is at one moment."),
)
