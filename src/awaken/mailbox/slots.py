"""How many runs this process may execute at once, and which of its free places are promised to the store.

Above: whoever makes an offer reserves first. Below: nothing.
Holds: a slot is free, reserved by exactly one token, or executing; what an offer did not win is freed by its outcome.
A settling run offers the slot it still has, which is therefore not counted a second time.
"""

from __future__ import annotations

from awaken.domain.clock import Clock
from awaken.domain.ids import ClaimToken, ConsumerId, Ids, InstanceId
from awaken.store.transitions import Offer, Slot


class Slots:
    """Counts, and remembers when each promise was made: a lease is counted from when it was asked for."""

    def __init__(self, limit: int, clock: Clock, ids: Ids, consumer: ConsumerId, lease_ms: int) -> None:
        self._limit = limit
        self._clock = clock
        self._ids = ids
        self._consumer = consumer
        self._lease_ms = lease_ms
        self._reserved: dict[ClaimToken, float] = {}
        self._handed_on: dict[ClaimToken, float] = {}
        self._unused: list[Offer] = []
        self.executing = 0

    @property
    def free(self) -> int:
        return self._limit - self.executing - len(self._reserved)

    def reserve(self) -> Slot:
        """Promise one place. The caller checked that one is free."""
        offer = self.offer()
        return Slot(offer.token, offer.instance_id)

    def offer(self) -> Offer:
        """`reserve`, as a submit carries it."""
        offer = self._unused.pop() if self._unused else self._new()
        self._reserved[offer.token] = self._clock.monotonic()
        return offer

    def hand_on(self) -> Offer:
        """Promise the place of an execution that is being settled to what its thread runs next."""
        offer = self._unused.pop() if self._unused else self._new()
        self._handed_on[offer.token] = self._clock.monotonic()
        return offer

    def take_back(self, promised: Offer | Slot) -> None:
        """The store answered, and the promise won nothing: its token is as good as new and will be promised again."""
        self.give_back(promised.token)
        self._unused.append(
            promised if isinstance(promised, Offer) else self._offer(promised.token, promised.instance_id)
        )

    def take(self, token: ClaimToken) -> float:
        """Turn a promise into an execution; when it was made, in seconds of the monotonic clock."""
        self.executing += 1
        asked_s = self._reserved.pop(token, None)
        return self._handed_on.pop(token) if asked_s is None else asked_s

    def give_back(self, token: ClaimToken) -> None:
        """The promise is void; its token may be known to the store, so it is not used again."""
        if self._handed_on.pop(token, None) is None:
            self._reserved.pop(token, None)

    def done(self) -> None:
        """An execution ended."""
        self.executing -= 1

    def _new(self) -> Offer:
        token, instance_id = self._ids.mint_some(2)
        return self._offer(ClaimToken(token), InstanceId(instance_id))

    def _offer(self, token: ClaimToken, instance_id: InstanceId) -> Offer:
        return Offer(self._consumer, token, instance_id, self._lease_ms)
