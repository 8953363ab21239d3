"""What is told of a store that is looked at from outside, whichever database it is in."""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, frozen=True):
    """A table: its rows, and what it and its indexes take; `bytes` None where that is not known."""

    name: str
    rows: int
    bytes: int | None


class Migrated(msgspec.Struct, frozen=True):
    """What was brought to the schema of this version; `was_made`: nothing was there before. `oldest`: the oldest schema
    whose versions can use it, where it was contracted.
    """

    name: str
    was_made: bool
    oldest: int | None = None
