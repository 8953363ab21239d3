"""What the API says about why a run is where it is.

Source: docs/reference/http.md; docs/howto/find-out-why.md.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.mailbox.why import Explanation, WhyCode


class BlockerResource(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the way."""

    kind: Literal["run", "ticket", "agent"]
    id: str


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

    @classmethod
    def of(cls, found: Explanation) -> ExplanationResource:
        return cls(
            code=found.code,
            summary=found.summary,
            facts=found.facts,
            next_action=found.next_action,
            next_at=None if found.next_at is None else to_rfc3339(found.next_at),
            blocked_by=tuple([BlockerResource(kind=each.kind, id=each.id) for each in found.blocked_by]),
        )
