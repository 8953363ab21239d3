"""What the API says about why a run is where it is, and what helps.

Above: `wire`, for runs with their explanation; the route of explanations. Below: `mailbox.why`.

Source: docs/reference/http.md; docs/howto/find-out-why.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.mailbox.why import Explanation, WhyCode


class BlockerResource(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the way."""

    kind: Literal["run", "ticket", "agent"]
    id: str


class RepairResource(msgspec.Struct, frozen=True, kw_only=True):
    """A request that helps. `path`: of this API, below where it is mounted. `body`: null where it takes none."""

    method: Literal["POST", "PATCH"]
    path: str
    body: dict[str, Any] | None = None
    label: str
    """What it does, for a button."""


class ExplanationResource(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run is where it is. `next_at`: when that changes by itself; null where nobody knows."""

    code: WhyCode
    summary: str
    facts: dict[str, Any]
    """What the summary is made of: always `run_id`, `thread_id`, `agent_id`, `phase`, `since` and `for_s`; the rest
    depends on the code."""
    next_action: str
    """What comes next, and what a person can do."""
    next_at: str | None
    blocked_by: tuple[BlockerResource, ...]
    """At most ten."""
    repair: RepairResource | None
    """The one request that helps; null where none does, or somebody has to decide more than yes."""

    @classmethod
    def of(cls, found: Explanation) -> ExplanationResource:
        repair = REPAIRS.get(found.code)
        return cls(
            code=found.code,
            summary=found.summary,
            facts=found.facts,
            next_action=found.next_action,
            next_at=None if found.next_at is None else to_rfc3339(found.next_at),
            blocked_by=tuple([BlockerResource(kind=each.kind, id=each.id) for each in found.blocked_by]),
            repair=None if repair is None else repair(found.facts),
        )


Repairing = Callable[[dict[str, Any]], RepairResource | None]
"""The request, from the facts of an explanation."""


def _post(label: str, *segments: str) -> Repairing:
    """Segments in braces are facts."""

    def repair(facts: dict[str, Any]) -> RepairResource:
        return RepairResource(method="POST", path=_path(segments, facts), label=label)

    return repair


def _at_once(label: str) -> Repairing:
    def repair(facts: dict[str, Any]) -> RepairResource:
        path = _path(("dispatches", "{dispatch_id}"), facts)
        return RepairResource(method="PATCH", path=path, body={"after_seconds": 0}, label=label)

    return repair


def _path(segments: tuple[str, ...], facts: dict[str, Any]) -> str:
    return "/v1/" + "/".join([quote(segment.format(**facts), safe=":@") for segment in segments])


def _answer_letter(facts: dict[str, Any]) -> RepairResource | None:
    """Nothing where somebody has seen to it."""
    if not facts.get("awaits_somebody"):
        return None
    return _post("Do it again", "dead-letters", "{dispatch_id}", "retry")(facts)


_CANCEL: Final = _post("Cancel the run", "runs", "{run_id}", "cancel")
_AGAIN: Final = _post("Do it again", "runs", "{run_id}", "retry")
_SWEEP: Final = _post("Take it back now", "system", "sweep")
REPAIRS: Final[dict[WhyCode, Repairing]] = {
    "in_back_off": _at_once("Try it now"),
    "delayed": _at_once("Start it now"),
    "lease_ended": _SWEEP,
    "claim_left": _SWEEP,
    "agent_paused": _post("Resume the agent", "agents", "{agent_id}", "resume"),
    "drained": _post("Undrain this process", "system", "undrain"),
    "suspect": _CANCEL,
    "damaged": _CANCEL,
    "dead_letter": _answer_letter,
    "failed": _AGAIN,
    "stopped": _AGAIN,
    "blocked": _AGAIN,
    "cancelled": _AGAIN,
    "superseded": _AGAIN,
}
