"""How many runs this process may execute at once, and which of its free places are offered to the store.

Above: whoever makes an offer asks for one here. Below: nothing.
Holds: a slot is free, offered once, or executing; what an offer did not win is free again with its answer. A run gives
its slot back when its agent has ended; or, where something waits behind it in its thread, its settlement offers the
slot it still has, which is therefore not counted a second time.
"""

from __future__ import annotations

from typing import Final

from awaken.domain.ids import ClaimToken, Ids, InstanceId
from awaken.store.transitions import Offer

_STOCK: Final = 64
"""Offers made at once, for one look at the clock."""


class Slots:
    """Counts, and makes offers that no other claim has been made with."""

    def __init__(self, limit: int, ids: Ids, lease_ms: int) -> None:
        self._limit = limit
        self._ids = ids
        self._consumer = ids.consumer_id()
        self._lease_ms = lease_ms
        self._offered = 0
        self._stock: list[Offer] = []
        self.executing = 0

    @property
    def free(self) -> int:
        return self._limit - self.executing - self._offered

    def offer(self) -> Offer | None:
        """Promise one place, if one is free. It is promised until `answered`."""
        if self.executing + self._offered >= self._limit:
            return None
        self._offered += 1
        return self._stock.pop() if self._stock else self._new()

    def hand_on(self) -> Offer:
        """Promise the place of an execution that is being settled to what its thread runs next."""
        return self._stock.pop() if self._stock else self._new()

    def answered(self, count: int = 1) -> None:
        """So many of the places that `offer` promised are promised no more."""
        self._offered -= count

    def take_back(self, offer: Offer) -> None:
        """The store answered, and this won nothing: its token is as good as new and will be offered again."""
        self._stock.append(offer)

    def _new(self) -> Offer:
        """One of a stock of new offers; the others wait for the next calls."""
        minted = self._ids.mint_some(2 * _STOCK)
        for token, instance_id in zip(minted[::2], minted[1::2], strict=True):
            self._stock.append(Offer(self._consumer, ClaimToken(token), InstanceId(instance_id), self._lease_ms))
        return self._stock.pop()
