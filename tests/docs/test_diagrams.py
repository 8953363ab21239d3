"""A status changes as the table of moves says, and so does the diagram of it."""

from __future__ import annotations

import pytest

from awaken.domain.dispatch import DISPATCH_MOVES, DispatchStatus
from awaken.domain.run import RUN_MOVES, RunStatus
from tests.docs.diagrams import dispatch_diagram, drawn, run_diagram
from tests.docs.repository import ROOT, code

PAGE = ROOT / "docs/concepts/threads-runs-dispatches.md"


def test_the_diagrams_are_drawn_from_the_tables() -> None:
    """`python -m tests.docs.diagrams` prints what belongs into the page."""
    assert [block.text for block in code(PAGE, "mermaid")] == [run_diagram(), dispatch_diagram()]


def test_every_move_is_explained() -> None:
    text = PAGE.read_text().partition("## Dispatch\n")[2]
    assert [move for _, move in DISPATCH_MOVES if f"`{move}`" not in text] == []


@pytest.mark.parametrize("status", RunStatus)
def test_a_diagram_shows_where_a_status_leads_and_where_it_ends(status: RunStatus) -> None:
    lines = run_diagram().splitlines()
    leads = {str(after) for (before, _), after in RUN_MOVES.items() if before is status}

    arrows = {line.split()[2].rstrip(":") for line in lines if line.startswith(f"    {status} ")}
    assert arrows == (leads or {"[*]"})


def test_moves_between_the_same_two_statuses_share_an_arrow() -> None:
    queued, claimed = DispatchStatus.QUEUED, DispatchStatus.CLAIMED
    assert drawn({(queued, "claim"): claimed, (queued, "grab"): claimed}, first=queued) == (
        "stateDiagram-v2\n    [*] --> queued\n    queued --> claimed: claim, grab\n    claimed --> [*]\n"
    )
