"""What a running run makes durable, all of it or nothing."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "steps and commits",
    built("TR-108", sentence="A commit without messages updates the run and leaves the log."),
    built("TR-109", sentence="The reads after a step agree with each other and with its outcome."),
    built("TR-110", sentence="Where nothing is stored every read says so."),
    cannot(
        "CC-001",
        "CC-002",
        "CC-003",
        "CC-004",
        "CC-005",
        "CC-006",
        "CC-007",
        "CC-008",
        "CC-009",
        "CC-010",
        "CC-011",
        "CC-012",
        "CC-013",
        "CC-024",
        "MBX-178",
        because="A step is one transition with messages, events, journal and totals: there is no plan beside it, no part that is staged, and no count to expect.",
    ),
    built(
        "CC-014",
        sentence="A step changes the thread's state together with everything else it brings, or leaves it alone.",
    ),
    same("CC-015", "CC-016", "CC-017", as_="MBX-031"),
    same("CC-022", as_="NC-001"),
    same("MBX-179", as_="MBX-089"),
    same("MBX-180", as_="TR-108"),
    same("MBX-181", "MBX-182", as_="MBX-030"),
    built("NC-001", sentence="A commit that its owner repeats writes nothing and is answered as before."),
    built("NC-002", sentence="The number of a commit under another token is no repetition: the lease is lost."),
    built("NC-003", sentence="A settlement that is repeated is answered with the claim that its offer took."),
    built("NC-004", sentence="A message id that comes again with other content is a conflict, also inside one submit."),
    built("NC-005", sentence="A repeated answer brings no events; their readers look for themselves."),
    built(
        "NC-006",
        sentence="Text gathers for a bounded time once a commit of its run has landed; what somebody waits for, the bound and the end take it along at once.",
    ),
    built("UC-010", sentence="A step that is no progress leaves the failures before it counted."),
    built("UC-011", sentence="A commit with a model call adds what it cost to the run."),
    built("UC-012", sentence="What can be known to fail is found before a step has its effect."),
    built(
        "UC-013", sentence="A step's result that cannot be recorded as it is fails the run for good, after one effect."
    ),
    built("UC-014", sentence="Steps whose names differ at each attempt do not keep a run alive."),
)
