"""Runs that begin at an instant, again and again."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "schedules",
    built("SH-001", sentence="Each instant of a schedule has one run, whatever crashes and whatever answer is lost."),
    built("SH-002", sentence="Instants follow from the definition: an interval, or a line of cron in its zone."),
    built("SH-003", sentence="An instant passes while an earlier run is not done, or its run queues up, as asked."),
    built("SH-004", sentence="Of the instants that were missed the last, all, or none are made up for, as asked."),
    built(
        "SH-005", sentence="A paused schedule begins nothing, and stays paused when it is changed or declared again."
    ),
    built("SH-006", sentence="What a program declares it owns; over HTTP that is paused and resumed, and not changed."),
    built("SH-007", sentence="A change holds for the version that was looked at."),
    built("SH-008", sentence="Schedules are listed in pages, and a scope has a bound of them."),
    built("SH-009", sentence="A process without schedules asks for no instants."),
)
