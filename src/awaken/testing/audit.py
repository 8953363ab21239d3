"""Auditing a store in a test: whatever a test has done, every invariant holds afterwards.

Above: the fixtures and helpers of tests, of this project and of users with a store of their own. Below: the store's own
queries for breaches.
"""

from __future__ import annotations

from awaken.store.contract import Store
from awaken.store.invariants import FIRST_PLACE, AuditPlace, Breach
from awaken.store.transitions import MAX_ROWS, Mend, MendedSome, Mending


async def breaches_of(store: Store) -> list[Breach]:
    """Everything that breaks an invariant, in the order in which an audit comes by."""
    found: list[Breach] = []
    place: AuditPlace | None = FIRST_PLACE
    while place is not None:
        part = await store.find_breaches(place)
        found += part.breaches
        place = part.next
    return found


async def mend_all(store: Store) -> list[Mending]:
    """Audit the store as a process does that has just started, slice by slice, and mend what is found."""
    found: list[Mending] = []
    place: AuditPlace | None = FIRST_PLACE
    while place is not None:
        part = await store.find_breaches(place)
        for start in range(0, len(part.breaches), MAX_ROWS):
            [outcome] = await store.apply([Mend(breaches=part.breaches[start : start + MAX_ROWS])])
            assert isinstance(outcome, MendedSome), outcome
            found += outcome.mendings
        place = part.next
    return found


async def check_sound(store: Store) -> None:
    """Every invariant holds.

    Raises:
        AssertionError: One does not; the message names every breach.
    """
    found = await breaches_of(store)
    assert not found, "\n".join(["the store is not sound:", *map(str, found)])
