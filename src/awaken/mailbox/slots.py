"""The one account of room: how many runs this process may execute at once, of which routes, and which of them suspects.

Above: the dispatcher offers places, executions take them. Below: the agents, which know what is served and with what
limit.
Holds: a place is free, offered once, or taken by one claim. What an offer did not win is free again with its answer. A
run gives its place back when its agent has ended; or, where something waits behind it in its thread, its settlement
offers the place it still has, which is therefore not counted a second time. A route with a limit of its own has as much
room as that leaves; where all processes share a limit, only a claim takes of it, and no offer. Suspects together have
as much as the suspect room: one at first, doubled by each suspect that closes a step or ends, since that one was not
what killed its process.

Source: ADR 0008, ADR 0023, ADR 0043, ADR 0046.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from operator import is_not
from typing import Final

import msgspec

from awaken.domain.ids import ClaimToken, Ids, InstanceId, Route
from awaken.domain.worker import ProcessName
from awaken.store.transitions import MAX_ROWS, Claim, Claimed, Offer, Rooms, Total

_STOCK: Final = 64
"""Tokens made at once, for one look at the clock."""
_NO_LIMIT: Final = 1_000_000
"""Room of a route that has no limit of its own: more than there are places, so that a claim which has filled them all
still counts what waits for one."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """What a claim that is executed takes up."""

    route: Route
    room: Route
    """The route whose limit it counts in."""
    is_suspect: bool


class _Shared:
    """Limits of all processes together, and the routes that count in one."""

    def __init__(self, made_of: tuple[object, ...], totals: Mapping[Route, Total]) -> None:
        self.made_of = made_of
        self.totals = totals
        self.routes = frozenset([route for each in totals.values() for route in each.routes])


class Slots:
    """One per process. Counts places, and makes offers that no other claim has been made with."""

    def __init__(
        self,
        limit: int,
        ids: Ids,
        served: Callable[[], Mapping[Route, int | None]],
        stand_ins: Callable[[], Mapping[Route, Route]],
        totals: Callable[[], tuple[Mapping[Route, int], ...]],
        *,
        lease_ms: int | None,
        process: Callable[[], ProcessName | None] = lambda: None,
    ) -> None:
        """`served`: the routes that can be run here, each with its own limit if it has one; the same object until that
        changes. `stand_ins`: those that another one's agent runs, and which: they share its limit. `totals`: who may
        execute how many in all processes together, as this process says and as others do; the same objects until that
        changes. `lease_ms` None: claims are held without a lease. `process`: this one.
        """
        self._limit = limit
        self._ids = ids
        self._served = served
        self._stand_ins = stand_ins
        self._totals = totals
        self.consumer: Final = ids.consumer_id()
        self._lease_ms = lease_ms
        self._process = process
        self._stock: list[tuple[ClaimToken, InstanceId]] = []
        self._offered: dict[ClaimToken, Route | None] = {}
        """Offers that are on their way, with the room in which each keeps a place, where that has a limit. A room is
        known by the route whose limit it is.
        """
        self._handed_on: set[ClaimToken] = set()
        """Offers of places that are still taken, by the claims that are being settled."""
        self._taken: dict[ClaimToken, Place] = {}
        self._by_room: Counter[Route] = Counter()
        """Places taken or kept, by room."""
        self._reserved: dict[ClaimToken, Counter[Route]] = {}
        """What claims on their way may take of rooms with a limit, by the first offer of each."""
        self._full: frozenset[Route] = frozenset()
        """Rooms that were full for the last claim."""
        self._suspect_room = 1
        self._suspects_taken = 0
        self._shared = _Shared((), {})
        self._routes: tuple[object, dict[Route, frozenset[Route]]] = (None, {})

    @property
    def free(self) -> int:
        return self._limit - len(self._taken) - len(self._offered)

    @property
    def offered(self) -> int:
        """How many free places may be won at this moment."""
        return len(self._offered)

    @property
    def executing(self) -> int:
        """How many places are taken."""
        return len(self._taken)

    @property
    def limit(self) -> int:
        """How many places there are."""
        return self._limit

    @property
    def suspect_room(self) -> int:
        """How many suspects may execute at once."""
        return self._suspect_room

    def may_have_won(self, token: ClaimToken) -> bool:
        """Whether a transition on its way may just have won a claim with this token."""
        return token in self._offered or token in self._handed_on

    def holds(self, token: ClaimToken) -> bool:
        """Whether this claim has a place."""
        return token in self._taken

    # --- offers -------------------------------------------------------------------------------------------------------

    def offer(self, route: Route) -> Offer | None:
        """Promise one place to something of this route, if there is room. It is promised until it is answered."""
        served = self._served()
        if self.free <= 0 or route not in served or self.is_shared(route) or self._room(route) <= 0:
            return None
        return self._promise(route)

    def hand_on(self, token: ClaimToken) -> Offer:
        """Promise the place of a claim that is being settled to what its thread runs next. The promise holds while the
        settlement is asked again: until it is answered, or `lost`.
        """
        place = self._taken.get(token)
        offer = self._make(None if place is None else place.route)
        self._handed_on.add(offer.token)
        return offer

    def rooms(self, wanted: int) -> tuple[tuple[Offer, ...], Rooms]:
        """Promise up to so many places to whatever is due, with the room there is for each route and for suspects."""
        count = min(wanted, self.free, MAX_ROWS)
        routes = {route: self._room(route) for route in self._served()}
        self._full = frozenset([self._room_of(route) for route, room in routes.items() if room <= 0])
        suspects = max(self._suspect_room - self._suspects_taken, 0)
        offers = tuple([self._promise(None) for _ in range(count)])
        if offers:
            limited = [route for route, limit in self._served().items() if limit is not None]
            reserved = Counter({self._room_of(route): max(min(count, routes[route]), 0) for route in limited})
            self._reserved[offers[0].token] = reserved
            self._by_room.update(reserved)
        left = {route: room for route, room in routes.items() if room > 0}
        return offers, Rooms(left, suspects, self._stand_ins(), self._in_force().totals)

    def _promise(self, route: Route | None) -> Offer:
        offer = self._make(route)
        limited = self._room_of(route) if route is not None and self._served().get(route) is not None else None
        self._offered[offer.token] = limited
        if limited is not None:
            self._by_room[limited] += 1
        return offer

    def answered(self, offer: Offer, won: Claimed | None) -> bool:
        """What a submit or a settlement was offered is promised no more; what it won is to be taken next. True when
        this makes room of which the last claim had none, so that it has overlooked what waits for that.
        """
        is_new = offer.token in self._offered  # a settlement may have been asked before, and have used it then
        route = self._withdraw(offer.token)
        if won is None and is_new:
            self._stock.append((offer.token, offer.instance_id))  # it was never used, so it is as good as new
        return won is None and route in self._full

    def claim_answered(self, claim: Claim, won: int) -> None:
        """A claim is promised nothing more; it won with its first offers."""
        self.claim_lost(claim)
        for offer in claim.offers[won:]:
            self._stock.append((offer.token, offer.instance_id))

    def claim_lost(self, claim: Claim) -> None:
        """As `lost`, for a claim."""
        for offer in claim.offers:
            self._withdraw(offer.token)
            self._by_room.subtract(self._reserved.pop(offer.token, Counter()))

    def lost(self, offer: Offer) -> bool:
        """It is not known what became of it: it may have been used, and is promised no more. As `answered`."""
        return self._withdraw(offer.token) in self._full

    def _withdraw(self, token: ClaimToken) -> Route | None:
        self._handed_on.discard(token)
        limited = self._offered.pop(token, None)
        if limited is not None:
            self._by_room[limited] -= 1
        return limited

    def _room(self, route: Route) -> int:
        limit = self._served().get(route)
        return _NO_LIMIT if limit is None else limit - self._by_room[self._room_of(route)]

    def _room_of(self, route: Route) -> Route:
        """The route whose limit holds for it."""
        return self._stand_ins().get(route, route)

    def _make(self, route: Route | None) -> Offer:
        if not self._stock:
            minted = self._ids.mint_some(2 * _STOCK)
            tokens = zip(minted[::2], minted[1::2], strict=True)
            self._stock = [(ClaimToken(token), InstanceId(instance)) for token, instance in tokens]
        token, instance_id = self._stock.pop()
        routes, stand_ins = self._routes_for(route), self._stand_ins()
        return Offer(self.consumer, token, instance_id, routes, self._lease_ms, stand_ins, self._process())

    def _routes_for(self, route: Route | None) -> frozenset[Route]:
        """What an offer that keeps a place in `route` may take: that, and every route without a limit."""
        served, shared = self._served(), self._in_force()
        if self._routes[0] is not shared:
            self._routes = (shared, {})
        known = self._routes[1]
        key = Route("") if route is None else route
        if key not in known:
            kept = None if route is None else self._room_of(route)
            known[key] = frozenset(
                [
                    each
                    for each, limit in served.items()
                    if (limit is None or self._room_of(each) == kept) and each not in shared.routes
                ]
            )
        return known[key]

    # --- limits that all processes share ------------------------------------------------------------------------------

    def is_shared(self, route: Route) -> bool:
        """Whether what executes of it in all processes is limited: then only a claim takes it, which counts that."""
        return route in self._in_force().routes

    def _in_force(self) -> _Shared:
        """The lowest number that anybody says of what is served here; the same object until that changes."""
        served, said = self._served(), self._totals()
        made_of = (served, *said)
        if len(made_of) != len(self._shared.made_of) or any(map(is_not, made_of, self._shared.made_of)):
            members: dict[Route, list[Route]] = {}
            for route in served:
                members.setdefault(self._room_of(route), []).append(route)
            totals: dict[Route, Total] = {}
            for limits in said:
                for name, limit in limits.items():
                    before = totals.get(name)
                    routes = tuple(dict.fromkeys([name, *members.get(name, ())]))
                    if not served.keys().isdisjoint(routes):
                        totals[name] = Total(limit if before is None else min(limit, before.limit), routes)
            self._shared = _Shared(made_of, totals)
        return self._shared

    # --- places -------------------------------------------------------------------------------------------------------

    def take(self, claimed: Claimed) -> None:
        """A claim is executed from now on. It may take one place more than there are, for the moment in which the
        claim that handed its place on has not given it back.
        """
        dispatch = claimed.dispatch
        place = Place(dispatch.route, self._room_of(dispatch.route), dispatch.is_suspect)
        self._taken[claimed.token] = place
        self._by_room[place.room] += 1
        self._suspects_taken += dispatch.is_suspect

    def give_back(self, token: ClaimToken) -> Place | None:
        """The place that the claim had, which is free now; None when it was free before."""
        place = self._taken.pop(token, None)
        if place is not None:
            self._by_room[place.room] -= 1
            self._suspects_taken -= place.is_suspect
        return place

    def trust_more(self) -> None:
        """A suspect has closed a step or ended: twice as many may run beside each other."""
        self._suspect_room = min(self._suspect_room * 2, self._limit)

    def is_scarce(self, place: Place) -> bool:
        """Whether it is of a kind that others may wait for while slots are free."""
        return place.is_suspect or self._served().get(place.route) is not None or self.is_shared(place.route)
