"""Who may do what, and sees what."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, later

AREA: Final = Area(
    "keys and tenants",
    built(
        "SC-002",
        sentence="Two scopes with the same ids see nothing of each other.",
        note="In the store and the mailbox; keys that name a scope come with tenants.",
    ),
    built(
        "SC-001",
        sentence="A scope is a short name without control characters.",
        note="It has the form of every id: 1 to 128 characters, where the reference lets 512 bytes pass.",
    ),
    built("SC-003", sentence="A list holds everything of its scope and nothing of another."),
    built(
        "SC-004",
        sentence="No id can be written so that it names something of another scope.",
        note="Scope and id are columns of their own; a cursor holds a fingerprint of both.",
    ),
    later(
        "SRV-005",
        sentence="One tenant cannot see, change or guess anything of another, through any door.",
        by=Wing.TENANTS,
    ),
    later(
        "SRV-009",
        sentence="A request with a key of its own is answered again as it was, also after a restart.",
        by=Wing.TENANTS,
    ),
    later(
        "SRV-039",
        sentence="Keys are checked, expire and are revoked; without them nothing beyond this machine is served.",
        by=Wing.TENANTS,
    ),
)
