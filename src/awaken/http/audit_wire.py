"""Breaches of invariants as the API shows them.

Above: the handlers of the audit, and `Awaken`, which shows the same. Below: `store.invariants`.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from awaken.mailbox.auditor import Looked
from awaken.store.invariants import BY_NAME, Breach


class FindingResource(msgspec.Struct, frozen=True, kw_only=True):
    """`result`: `found`, where nothing was to be repaired; otherwise what became of it. `note`: what would be done,
    what was done, or why nothing can be.
    """

    invariant: str
    sentence: str
    """What should always hold."""
    thread_id: str | None
    subject: str
    """The run, dispatch, message or ticket, or a place in a log."""
    result: Literal["found", "mended", "refused", "healthy"]
    note: str

    @classmethod
    def of(
        cls, breach: Breach, result: Literal["found", "mended", "refused", "healthy"] = "found", note: str = ""
    ) -> FindingResource:
        invariant = BY_NAME[breach.invariant]
        return cls(
            invariant=invariant.name,
            sentence=invariant.sentence,
            thread_id=breach.thread_id,
            subject=breach.subject,
            result=result,
            note=note or invariant.mended or invariant.refused,
        )


class FindingList(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the rows, looked through. It may be empty, and yet not be the last."""

    items: tuple[FindingResource, ...]
    has_more: bool
    next_cursor: str | None


def findings(looked: Looked) -> tuple[FindingResource, ...]:
    """What a look has come to."""
    if looked.mendings:
        return tuple([FindingResource.of(each.breach, each.result, each.note) for each in looked.mendings])
    return tuple([FindingResource.of(each) for each in looked.found])
