"""Play a story in this process, and have that process end, or its store fail, at a chosen apply.

Above: `test_stories`. Below: `stories`, and the public API over a `FailingStore`.
Holds: what ends is what a SIGKILL ends: nothing of the process runs any more, and what its store has committed is
there. Time is a variable, so nothing here waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import groupby
from types import TracebackType
from typing import Any, Literal, TypeVar

import msgspec

from awaken.domain.clock import Instant, Timer, sleep
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import DEFAULT_SCOPE, Ids, seeded_chance
from awaken.domain.message import Role
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import RunStatus
from awaken.domain.ticket import Ticket
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Listener, RunQuery, Store
from awaken.store.transitions import Outcome, Transition
from awaken.testing.audit import check_sound
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import WatchedStore
from awaken.wiring import Awaken
from tests.crash.stories import Stage, Story
from tests.store.views import ALL, View, check_thread, check_tickets, items_of, looking
from tests.watchdog import stacks

T = TypeVar("T")
SCOPE = DEFAULT_SCOPE
SETTINGS = MailboxSettings(retry=RetryPolicy(base_delay_ms=1), drain_s=0, handover_s=0)
ROUNDS = 40
"""So many seconds of its time a process takes at most: more than what it takes to notice that an answer was lost."""

TURNS = 50
"""So often what a process has left to do is cancelled: more than anything that tidies up needs."""

Failure = Literal["dies before", "dies after", "is refused", "is not answered"]
"""What happens at an apply: the process ends before or after it, or lives on, but the batch is refused, or committed
and the answer lost."""


class Fault(msgspec.Struct, frozen=True):
    failure: Failure
    number: int
    """Of the apply, counting from 1."""


class SharedClock:
    """What a store that outlives processes reads: the clock of the process that lives."""

    def __init__(self) -> None:
        self.of_process = ManualClock()

    def now(self) -> Instant:
        return self.of_process.now()

    def monotonic(self) -> float:
        return self.of_process.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self.of_process.call_later(delay_s, callback)


class FailingStore(WatchedStore):
    """A store as one process has it."""

    def __init__(self, store: Store, fault: Fault | None) -> None:
        super().__init__(store)
        self._fault = fault
        self._listeners: list[Listener] = []
        self._apply_count = 0
        self.has_failed = False
        self.is_dead = False

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
        super().listen(listener)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_dead:
            await super().__aexit__(kind, error, trace)

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        await self._unless_dead()
        self._apply_count += 1
        failure = None
        if self._fault is not None and self._fault.number == self._apply_count:
            failure, self.has_failed = self._fault.failure, True
        if failure == "is refused":
            raise StoreUnavailable("the disk is full")
        self.is_dead |= failure == "dies before"
        await self._unless_dead()
        outcomes = await super().apply(batch)
        self.is_dead |= failure == "dies after"
        await self._unless_dead()
        if failure == "is not answered":
            raise StoreUnavailable("nobody knows whether that was written")
        return outcomes

    async def _read(self, operation: Coroutine[Any, Any, T]) -> T:
        try:
            await self._unless_dead()
            return await super()._read(operation)
        finally:
            operation.close()  # which has not begun, where its process has ended

    async def _unless_dead(self) -> None:
        if self.is_dead:
            await asyncio.get_running_loop().create_future()

    async def bury(self) -> None:
        """What the operating system does: what the process had open is closed, and nobody listens any more."""
        for listener in self._listeners:
            self._store.unlisten(listener)
        await self._store.__aexit__(None, None, None)


class Diary:
    """What outlives the processes of a story, besides the store."""

    def __init__(self) -> None:
        self.were_asked: list[str] = []
        self.were_accepted: list[str] = []
        self.recorded: set[str] = set()
        """Calls whose results are stored: nothing may repeat them."""
        self.faults: list[str] = []

    def asked(self, step: str) -> None:
        self.were_asked.append(step)

    def accepted(self, step: str) -> None:
        self.were_accepted.append(step)

    def called(self, name: str) -> None:
        if name in self.recorded:
            self.faults.append(f"{name} was recorded, and is done again")


class Theatre:
    """One store, and the processes that serve it one after another."""

    def __init__(self, make: Callable[[SharedClock], Store], story: Story) -> None:
        self._time = SharedClock()
        self._given = make(self._time)
        self._story = story
        self._lives = 0
        self.diary = Diary()
        self.end: End | None = None
        """Once the story is over."""

    def play(self, fault: Fault | None = None) -> bool:
        """One process, to its end or that of the story. Whether the fault occurred."""
        self._lives += 1
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        self._time.of_process = ManualClock(self._time.now())
        store = FailingStore(self._given, fault)
        try:
            loop.run_until_complete(self._live(store))
        finally:
            loop.close()
        return store.has_failed

    async def _live(self, store: FailingStore) -> None:
        clock = self._time.of_process
        ids = Ids(clock, seeded_chance(self._lives))
        app = Awaken(store=store, clock=clock, ids=ids, settings=SETTINGS)
        stage = Stage(self.diary, self.diary.were_asked, self.diary.were_accepted)
        self._story.register(app, stage)
        threads = {*threading.enumerate()}

        async def quiet() -> None:
            seen = -1
            while store.is_busy or seen != store.ended_count:
                await store.at_rest()
                seen = store.ended_count
                await settle(60)

        async def told() -> None:
            while app.mailbox.state != "ready":
                with suppress(StoreUnavailable):
                    await app.start()
            await stage.tell(app, self._story)
            while not await _is_over(store):
                await sleep(clock, 0.5)

        telling = asyncio.ensure_future(told())
        for _ in range(ROUNDS):
            await quiet()
            if telling.done() or store.is_dead:
                break
            await clock.advance(1, quiet)
        if telling.done() or not store.is_dead:
            assert telling.done(), f"it is stuck: {(await look(self._given)).view.runs(SCOPE)}"
            await telling
            self.end = await look(self._given)
            await check_sound(self._given)
        begun = [each.name for each in threading.enumerate() if each not in threads]
        foreign = [name for name in begun if not name.startswith("awaken")]
        assert not foreign, f"agents of a story, and all they call, are async: time passes without {foreign}"
        self.diary.recorded |= (await look(self._given)).recorded
        store.is_dead = True
        left: set[asyncio.Task[Any]] = set()
        for _ in range(TURNS):
            await store.at_rest()  # what a thread is at takes real time, and is waited for
            left = {each for each in asyncio.all_tasks() if each is not asyncio.current_task()}
            if not left:
                break
            for task in left:  # they may tidy up, which nothing outside of the process sees
                task.cancel()
            await settle()
            clock.tick(1)  # a commit that was not answered is asked again, some time later, and then given up
        assert not left, f"they do not end, however often they are cancelled:\n{stacks()}"
        await store.bury()


async def _is_over(store: Store) -> bool:
    """As asked through what `quiet` waits for: time may not pass while a file is read."""
    runs = await items_of(store.list_runs(SCOPE, RunQuery(limit=ALL)))
    return all(run.status is RunStatus.DONE for run in runs) and not await store.list_outbox()


class End(msgspec.Struct):
    """What there is in the end, or at any moment."""

    view: View
    recorded: set[str]

    @property
    def effective(self) -> dict[str, list[str]]:
        """What is read of each thread."""
        return {
            thread.thread_id: _in_order([f"{each.message.role}: {each.message.text}" for each in thread.effective])
            for thread in self.view.threads
        }

    @property
    def tickets(self) -> list[Ticket]:
        return [ticket for _, ticket in self.view.tickets]

    @property
    def fates(self) -> dict[str, str]:
        """Of the messages that a caller has sent: their ids begin with m."""
        receipts = [receipt for thread in self.view.threads for receipt in thread.receipts]
        return {receipt.message_id: receipt.fate for receipt in receipts if receipt.message_id.startswith("m")}

    def kinds(self, thread_id: str) -> Counter[str]:
        """How often something is in the log of a thread, where it may be there only once for each thing it is about."""
        rows = [row for thread in self.view.threads if thread.thread_id == thread_id for row in thread.events]
        return Counter(event.kind for row in rows for event in row.events if event.kind not in _INCIDENTAL)

    def summary(self) -> dict[str, Any]:
        """What may not depend on what happened on the way."""
        runs = self.view.runs(SCOPE)
        return {
            "effective": self.effective,
            "fates": self.fates,
            "runs": sorted(
                [(run.thread_id, run.agent_id, str(run.termination), run.final_output or "") for run in runs]
            ),
            "tickets": sorted(
                [
                    (each.run_id, each.asked.key, each.state, each.decision and each.decision.action)
                    for each in self.tickets
                ]
            ),
            "states": {thread.thread_id: thread.state.values for thread in self.view.threads},
            "events": {thread.thread_id: self.kinds(thread.thread_id) for thread in self.view.threads},
        }


_INCIDENTAL = frozenset({
    "CancelAcknowledged", "ErrorRecorded", "InferenceComplete", "MessagePended", "PendingEdited", "PendingRetracted",
    "RunQueued", "RunRescheduled", "RunResumed", "RunSubmitted", "RunSuspended", "StepStarted", "StreamReset",
    "TextDeltaObserved", "ToolCallDeltaObserved", "ToolCallReady", "ToolCallStarted",
})  # fmt: skip
"""What an execution more adds, or only one that lives on says."""


async def look(store: Store) -> End:
    view = await looking()(store)
    recorded: set[str] = set()
    for thread in view.threads:
        for run in thread.runs:
            journal = await store.list_journal(SCOPE, run.run_id)
            recorded |= {f"{run.run_id} {entry.key.partition('#')[0]}" for entry in journal}
        for stored in thread.log:
            if stored.message.role is Role.TOOL:
                recorded.add(f"{stored.run_id} tool:{stored.message.tool_call_id}")
    return End(view, recorded)


def _in_order(texts: list[str]) -> list[str]:
    """With the answers to one turn's calls in one order: they come in any."""
    runs = [(tool, [*group]) for tool, group in groupby(texts, lambda text: text.startswith("tool: "))]
    return [text for tool, group in runs for text in (sorted(group) if tool else group)]


def check(end: End, diary: Diary) -> None:
    """What holds at every moment."""
    assert not diary.faults, diary.faults
    for thread in end.view.threads:
        check_thread(thread)
    check_tickets(end.view)


def check_end(end: End, story: Story) -> None:
    """What holds when a story is over."""
    for thread_id, texts in story.says.items():
        assert end.effective.get(thread_id) == texts, end.effective
    for message_id, fate in end.fates.items():
        assert fate == story.fates.get(message_id, "consumed"), message_id
    assert [ticket for ticket in end.tickets if ticket.is_open] == []
    for thread in end.view.threads:
        assert thread.thread is not None and thread.thread.open_run_id is None
        assert not thread.pending and not thread.queue
