"""The diagrams of the documentation, drawn from the tables of moves: `python -m tests.docs.diagrams` prints them.

Above: `test_diagrams`, which compares them with the page. Below: the tables of `domain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from awaken.domain.dispatch import DISPATCH_MOVES, DispatchStatus
from awaken.domain.run import RUN_MOVES, RunStatus


def drawn(moves: Mapping[tuple[StrEnum, str], StrEnum], *, first: StrEnum) -> str:
    """One arrow for each pair of statuses, in the order of the table, labelled with every move that makes it."""
    arrows: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for (before, move), after in moves.items():
        arrows.setdefault((before, after), []).append(move)
    ends = dict.fromkeys(after for after in moves.values() if not any(before is after for before, _ in moves))
    lines = [
        "stateDiagram-v2",
        f"    [*] --> {first}",
        *(f"    {before} --> {after}: {', '.join(labels)}" for (before, after), labels in arrows.items()),
        *(f"    {end} --> [*]" for end in ends),
    ]
    return "\n".join(lines) + "\n"


def dispatch_diagram() -> str:
    return drawn({**DISPATCH_MOVES}, first=DispatchStatus.QUEUED)


def run_diagram() -> str:
    return drawn({**RUN_MOVES}, first=RunStatus.CREATED)


if __name__ == "__main__":
    print(run_diagram(), dispatch_diagram(), sep="\n")
