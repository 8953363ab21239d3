"""How many runs this process may execute at once, and which of its free places are offered to the store.

Above: whoever makes an offer asks for one here. Below: nothing.
Holds: a slot is free, offered under exactly one token, or executing; what an offer did not win is freed by its outcome.
A settling run offers the slot it still has, which is therefore not counted a second time.
"""

from __future__ import annotations

from typing import Final

from awaken.domain.clock import Clock
from awaken.domain.ids import ClaimToken, Ids, InstanceId
from awaken.store.transitions import Offer

_STOCK: Final = 64
"""Offers made at once, for one look at the clock."""


class Slots:
    """Counts, and remembers when each offer was made: a lease is counted from when it was asked for."""

    def __init__(self, limit: int, clock: Clock, ids: Ids, lease_ms: int) -> None:
        self._limit = limit
        self._clock = clock
        self._ids = ids
        self._consumer = ids.consumer_id()
        self._lease_ms = lease_ms
        self._offered: dict[ClaimToken, float] = {}
        self._handed_on: dict[ClaimToken, float] = {}
        self._unused: list[Offer] = []
        self.executing = 0

    @property
    def free(self) -> int:
        return self._limit - self.executing - len(self._offered)

    def offer(self) -> Offer | None:
        """Promise one place, if one is free."""
        if self.executing + len(self._offered) >= self._limit:
            return None
        offer = self._unused.pop() if self._unused else self._new()
        self._offered[offer.token] = self._clock.monotonic()
        return offer

    def hand_on(self) -> Offer:
        """Promise the place of an execution that is being settled to what its thread runs next."""
        offer = self._unused.pop() if self._unused else self._new()
        self._handed_on[offer.token] = self._clock.monotonic()
        return offer

    def take_back(self, offer: Offer) -> None:
        """The store answered, and the offer won nothing: its token is as good as new and will be offered again."""
        if self._handed_on.pop(offer.token, None) is None:
            del self._offered[offer.token]
        self._unused.append(offer)

    def take(self, token: ClaimToken) -> float:
        """Turn an offer into an execution; when it was made, in seconds of the monotonic clock."""
        self.executing += 1
        asked_s = self._offered.pop(token, None)
        return self._handed_on.pop(token) if asked_s is None else asked_s

    def give_back(self, token: ClaimToken) -> None:
        """The offer is void; its token may be known to the store, so it is not used again."""
        if self._handed_on.pop(token, None) is None:
            self._offered.pop(token, None)

    def done(self) -> None:
        """An execution ended."""
        self.executing -= 1

    def _new(self) -> Offer:
        """One of a stock of new offers; the others wait for the next calls."""
        minted = self._ids.mint_some(2 * _STOCK)
        for token, instance_id in zip(minted[::2], minted[1::2], strict=True):
            self._unused.append(Offer(self._consumer, ClaimToken(token), InstanceId(instance_id), self._lease_ms))
        return self._unused.pop()
