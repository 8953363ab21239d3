"""Identifiers: one type each, minted here from a clock and a source of chance.

Above: callers mint every id and token before a transition is made; stores mint none.
Holds: each kind of id has its own type, so that no parameter takes "a run or thread id".
"""

from __future__ import annotations

import random
import re
import uuid
from itertools import islice
from typing import Final, NewType, Protocol

from awaken.domain.checking import shown
from awaken.domain.clock import Clock, Instant
from awaken.domain.errors import ValidationError

Scope = NewType("Scope", str)
"""The tenant a record belongs to; part of every key."""
ThreadId = NewType("ThreadId", str)
RunId = NewType("RunId", str)
DispatchId = NewType("DispatchId", str)
MessageId = NewType("MessageId", str)
TicketId = NewType("TicketId", str)
"""Names something that a run waits for; derived from the run and what it calls it."""
AgentId = NewType("AgentId", str)
Route = NewType("Route", str)
"""Who can run something: an agent's name, or `name@version`; see `domain.route`."""
ConsumerId = NewType("ConsumerId", str)
"""Names the process that holds a claim."""
ClaimToken = NewType("ClaimToken", str)
"""The proof of having taken a dispatch; fresh with each claim."""
InstanceId = NewType("InstanceId", str)
"""Names one execution of a dispatch; fresh with each claim."""

DEFAULT_SCOPE: Final = Scope("default")
ID_PATTERN: Final = r"^(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}$"
_ID: Final = re.compile(ID_PATTERN)
_DERIVED: Final = uuid.UUID("6f0a9d1e-3f0b-5c55-9a3c-0d7f6d6b2a41")
"""The namespace of derived ids."""


class Chance(Protocol):
    """Where randomness comes from."""

    def getrandbits(self, k: int, /) -> int: ...

    def random(self) -> float: ...


def system_chance() -> Chance:
    """A generator seeded by the operating system. Ids are unique, not secret: no claim token leaves the process."""
    return random.Random(random.SystemRandom().getrandbits(128))


def seeded_chance(seed: int) -> Chance:
    """The same sequence for the same seed, for tests and simulation."""
    return random.Random(seed)


_COUNTS: Final = tuple([f"{count:03x}" for count in range(4096)])


class Ids:
    """Mints UUIDv7 texts (36 characters) that sort by the clock's millisecond, and by a counter inside it.

    Chance is asked once per millisecond, and again after 4 096 ids in one (RFC 9562 6.2, method 1).
    """

    def __init__(self, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance
        self._now = -1
        self._head = self._tail = ""
        self._counts = iter(_COUNTS)

    def mint(self) -> str:
        [minted] = self.mint_some(1)
        return minted

    def mint_some(self, number: int) -> list[str]:
        """Several at once, for one look at the clock."""
        now = self._clock.now()
        if now != self._now:
            self._begin(now)
        head, tail = self._head, self._tail
        minted = [f"{head}{count}{tail}" for count in islice(self._counts, number)]
        if len(minted) < number:
            self._begin(now)
            minted += self.mint_some(number - len(minted))
        return minted

    def _begin(self, now: Instant) -> None:
        instant = f"{now:012x}"
        bits = self._chance.getrandbits(62)
        self._now = now
        self._head = f"{instant[:8]}-{instant[8:]}-7"
        self._tail = f"-{0x8000 | bits >> 48:04x}-{bits & 0xFFFF_FFFF_FFFF:012x}"
        self._counts = iter(_COUNTS)

    def thread_id(self) -> ThreadId:
        return ThreadId(self.mint())

    def run_id(self) -> RunId:
        return RunId(self.mint())

    def dispatch_id(self) -> DispatchId:
        return DispatchId(self.mint())

    def message_id(self) -> MessageId:
        return MessageId(self.mint())

    def claim_token(self) -> ClaimToken:
        return ClaimToken(self.mint())

    def instance_id(self) -> InstanceId:
        return InstanceId(self.mint())

    def consumer_id(self) -> ConsumerId:
        return ConsumerId(self.mint())


def derived_id(*parts: str) -> str:
    """A UUIDv5 text of these parts, in their order: the same for the same ones.

    It is as hard to bring on purpose as its parts are to know.
    """
    return str(uuid.uuid5(_DERIVED, "".join([f"{len(part)}:{part}" for part in parts])))


def checked_id(text: object, *, what: str, loc: tuple[str | int, ...] = ()) -> str:
    """The text itself when it may name something: 1 to 128 of `A-Z a-z 0-9 . _ : @ -`, not `.` or `..`.
    `what` names it in the message; where that is the name of a field, it is the place of the error, too.

    Raises:
        ValidationError: with code `invalid_id`; it is another text, or no text at all.
    """
    if not isinstance(text, str) or _ID.fullmatch(text) is None:
        raise ValidationError(
            f"{what} {shown(text)} is not a valid id; use 1 to 128 characters of A-Z a-z 0-9 . _ : @ -",
            code="invalid_id",
            loc=loc or (("body", what) if what.isidentifier() else ()),
        )
    return text
