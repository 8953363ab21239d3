"""The account of the places in which this process executes runs: which are taken, and which are offered to the store.

Above: the dispatcher offers places, executions take them. Below: nothing.
Holds: a place is free, offered once, or taken by one claim. What an offer did not win is free again with its answer. A
run gives its place back when its agent has ended; or, where something waits behind it in its thread, its settlement
offers the place it still has, which is therefore not counted a second time.
"""

from __future__ import annotations

from typing import Final

from awaken.domain.ids import ClaimToken, Ids, InstanceId
from awaken.store.transitions import Offer

_STOCK: Final = 64
"""Offers made at once, for one look at the clock."""


class Slots:
    """One per process. Counts places, and makes offers that no other claim has been made with."""

    def __init__(self, limit: int, ids: Ids, lease_ms: int) -> None:
        self._limit = limit
        self._ids = ids
        self._consumer = ids.consumer_id()
        self._lease_ms = lease_ms
        self._offered = 0
        self._stock: list[Offer] = []
        self._taken: dict[ClaimToken, None] = {}

    @property
    def free(self) -> int:
        return self._limit - len(self._taken) - self._offered

    @property
    def executing(self) -> int:
        """How many places are taken."""
        return len(self._taken)

    def offer(self) -> Offer | None:
        """Promise one place, if one is free. It is promised until `answered`."""
        if self.free <= 0:
            return None
        self._offered += 1
        return self._new()

    def hand_on(self) -> Offer:
        """Promise the place of an execution that is being settled to what its thread runs next."""
        return self._new()

    def answered(self, count: int = 1) -> None:
        """So many of the places that `offer` promised are promised no more."""
        self._offered -= count

    def take_back(self, offer: Offer) -> None:
        """The store answered, and this won nothing: its token is as good as new and will be offered again."""
        self._stock.append(offer)

    def take(self, token: ClaimToken) -> None:
        """A claim is executed from now on. It may take one place more than there are, for the moment in which the
        claim that handed its place on has not given it back.
        """
        self._taken[token] = None

    def give_back(self, token: ClaimToken) -> bool:
        """Whether the claim still had its place."""
        if token not in self._taken:
            return False
        del self._taken[token]
        return True

    def _new(self) -> Offer:
        """One of a stock of new offers; the others wait for the next calls."""
        if not self._stock:
            minted = self._ids.mint_some(2 * _STOCK)
            for token, instance_id in zip(minted[::2], minted[1::2], strict=True):
                self._stock.append(Offer(self._consumer, ClaimToken(token), InstanceId(instance_id), self._lease_ms))
        return self._stock.pop()
