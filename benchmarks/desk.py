"""Makes transitions for one store, on threads drawn at random: a run is submitted and claimed, then settled.

Above: `stock`, which fills files, and the questions that go straight to `SqliteStore.apply`. Below: the store.
Holds: a run is short, a question and an answer of about 200 bytes each; the same seed draws the same threads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final

from awaken.domain.clock import SystemClock
from awaken.domain.delivery import Delivery
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, Ids, Route, ThreadId, system_chance
from awaken.domain.message import assistant_message, user_message
from awaken.domain.run import NATURAL_END, Intent, RunRequest
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import TicketRequest
from awaken.store.contract import Store
from awaken.store.transitions import (
    Ack,
    Claim,
    Claimed,
    ClaimedSome,
    Ending,
    Offer,
    Rooms,
    SaveThread,
    Settle,
    Settled,
    Submit,
    Submitted,
    Suspend,
    ThreadSaved,
    Transition,
)

TEXT: Final = "please summarise the quarterly report for the board " * 4
"""About 200 bytes: what a person types."""
APPROVAL: Final = "go"
AGENTS: Final = 20
RARE_AGENT: Final = AgentId("agent-rare")
RESOURCES: Final = 1_000
_RARE: Final = 1_000
"""One run in so many is the rare agent's."""
_FAR_MS: Final = 86_400_000


def thread_name(number: int) -> ThreadId:
    return ThreadId(f"thread-{number:06d}")


def agent_name(number: int) -> AgentId:
    return AgentId(f"agent-{number:02d}")


def resource_name(number: int) -> str:
    return f"user-{number:04d}"


ALL_AGENTS: Final = (RARE_AGENT, *[agent_name(number) for number in range(AGENTS)])
_ROUTES: Final = frozenset([Route(agent_id) for agent_id in ALL_AGENTS])


class Desk:
    """`threads` is how many there are to draw from, `batch` how many transitions go together where it fills."""

    def __init__(self, store: Store, threads: int, seed: int, batch: int = 1_000) -> None:
        clock = SystemClock()
        self._store = store
        self._ids = Ids(clock, system_chance())
        self._consumer = self._ids.consumer_id()
        self._threads = threads
        self._batch = batch
        self._chance = random.Random(seed)

    async def make_threads(self, *, messages: int = 0) -> None:
        """All of them, with so many messages each, which belong to no run."""
        per_batch = max(1, self._batch // (1 + messages))
        for start in range(0, self._threads, per_batch):
            saves = [self._a_save(number, messages) for number in range(start, min(start + per_batch, self._threads))]
            assert all(isinstance(outcome, ThreadSaved) for outcome in await self._store.apply(saves))

    async def queue_far(self, runs: int) -> None:
        """Runs that are due tomorrow, each on a thread of its own beside the others."""
        await self._queue("later", runs, _FAR_MS)

    async def queue_now(self, runs: int, first: int = 0) -> None:
        """Runs that are due at once and that nobody has claimed, each on a thread of its own beside the others, whose
        numbers begin with `first`.
        """
        await self._queue("soon", runs, 0, first)

    async def _queue(self, name: str, runs: int, delay_ms: int, first: int = 0) -> None:
        for start in range(first, first + runs, self._batch):
            numbers = range(start, min(start + self._batch, first + runs))
            names = [ThreadId(f"{name}-{number:06d}") for number in numbers]
            submits = [self._a_submit(each, delay_ms=delay_ms) for each in names]
            assert all(isinstance(outcome, Submitted) for outcome in await self._store.apply(submits))

    async def fill(self, runs: int) -> None:
        """Finished runs."""
        most = min(self._batch, self._threads)
        for start in range(0, runs, most):
            await self.run_some(min(most, runs - start))

    async def run_some(self, count: int) -> None:
        """Submit a run on each of `count` threads, which are claimed at once, and settle them: two batches."""
        await self._run(self._chance.sample(range(self._threads), count), self._an_ack)

    async def claim_some(self, count: int) -> None:
        """Claim so many that wait, and settle them: two batches."""
        offers = tuple([self._an_offer() for _ in range(count)])
        [outcome] = await self._store.apply([Claim(offers=offers, rooms=Rooms(dict.fromkeys(_ROUTES, count)))])
        assert isinstance(outcome, ClaimedSome) and len(outcome.claims) == count
        settles = [self._a_settle(claimed, self._an_ack(claimed)) for claimed in outcome.claims]
        assert all(isinstance(each, Settled) for each in await self._store.apply(settles))

    async def wait_on_each(self) -> None:
        """A run on each thread, which waits for an approval under the name `APPROVAL`."""
        for start in range(0, self._threads, self._batch):
            await self._run(range(start, min(start + self._batch, self._threads)), self._a_suspension)

    async def run_on_each(self) -> None:
        """A run on each thread, which ends."""
        for start in range(0, self._threads, self._batch):
            await self._run(range(start, min(start + self._batch, self._threads)), self._an_ack)

    async def _run(self, numbers: Iterable[int], ending: Callable[[Claimed], Ending]) -> None:
        submits: list[Transition] = [self._a_submit(thread_name(number), offer=self._an_offer()) for number in numbers]
        settles: list[Transition] = []
        for outcome in await self._store.apply(submits):
            assert isinstance(outcome, Submitted) and outcome.claimed is not None
            settles.append(self._a_settle(outcome.claimed, ending(outcome.claimed)))
        assert all(isinstance(outcome, Settled) for outcome in await self._store.apply(settles))

    def _a_save(self, number: int, messages: int) -> Transition:
        return SaveThread(
            scope=DEFAULT_SCOPE,
            thread_id=thread_name(number),
            info=ThreadInfo(resource_id=resource_name(number % RESOURCES)),
            messages=tuple([user_message(self._ids.message_id(), TEXT) for _ in range(messages)]),
        )

    def _an_offer(self) -> Offer:
        return Offer(self._consumer, self._ids.claim_token(), self._ids.instance_id(), _ROUTES)

    def _a_submit(self, thread_id: ThreadId, *, delay_ms: int = 0, offer: Offer | None = None) -> Submit:
        message = user_message(self._ids.message_id(), TEXT)
        return Submit(
            scope=DEFAULT_SCOPE,
            thread_id=thread_id,
            run_id=self._ids.run_id(),
            dispatch_id=self._ids.dispatch_id(),
            request=RunRequest(intent=Intent(self._an_agent()), input_message_ids=(message.id,)),
            messages=(message,),
            delivery=Delivery(delay_ms=delay_ms),
            fresh_ids=True,
            offer=offer,
        )

    def _an_agent(self) -> AgentId:
        if self._chance.randrange(_RARE) == 0:
            return RARE_AGENT
        return agent_name(self._chance.randrange(AGENTS))

    def _an_ack(self, claimed: Claimed) -> Ack:
        return Ack(NATURAL_END, TEXT)

    def _a_suspension(self, claimed: Claimed) -> Suspend:
        asked = TicketRequest(
            key=f"{APPROVAL}#1",
            kind="approval",
            tool_name=APPROVAL,
            message=TEXT,
            resume_mode="pass_decision_to_tool",
        )
        return Suspend(
            next_dispatch_id=self._ids.dispatch_id(),
            opens=(asked,),
            waits_for=(asked.id_in(claimed.run.run_id),),
        )

    def _a_settle(self, claimed: Claimed, ending: Ending) -> Settle:
        answer = assistant_message(self._ids.message_id(), TEXT).produced_by(claimed.run.run_id, 0)
        return Settle(
            scope=claimed.scope,
            thread_id=claimed.run.thread_id,
            run_id=claimed.run.run_id,
            dispatch_id=claimed.dispatch.dispatch_id,
            token=claimed.token,
            number=claimed.commit_no + 1,
            ending=ending,
            entries=(answer,),
        )
