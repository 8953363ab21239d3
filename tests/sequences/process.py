"""A process that serves a store, and dies: at rest, or at an operation that never comes or never answers.

Above: the random sequences. Below: `Awaken` on an event loop and a clock of its own, over a store that outlives it.
Holds: the operations of one process reach its store one by one, each when nothing else can happen, so that ids and
order are the same over every store. Of a dead process nothing runs any more.
"""

from __future__ import annotations

import asyncio
import re
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from awaken import Awaken
from awaken.domain.clock import Instant, Timer
from awaken.domain.errors import AwakenError
from awaken.domain.ids import ConsumerId, Ids, seeded_chance
from awaken.domain.message import Native
from awaken.domain.worker import WorkerRecord
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Listener, Store, StoredMessage
from awaken.store.transitions import Outcome, Transition
from awaken.testing.audit import check_sound
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore
from tests.sequences.agents import Effects, Interpreter, Scripted
from tests.store.views import View, looking

T = TypeVar("T")
LEAVE_S: Final = 10
"""So long a process may take to stop, at most."""
Operation = Callable[[Awaken], Awaitable[Any]]


class Refused(msgspec.Struct, frozen=True):
    """An operation was refused, and how."""

    kind: str
    why: str


class SharedClock:
    """What a store that outlives processes reads: the clock of the process that lives."""

    def __init__(self, now: ManualClock) -> None:
        self.now_of = now

    def now(self) -> Instant:
        return self.now_of.now()

    def monotonic(self) -> float:
        return self.now_of.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self.now_of.call_later(delay_s, callback)


class Rest(selectors.DefaultSelector):
    """What an event loop waits in when nothing can go on by itself; it tells those who wait for that, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self, *, last: bool = False) -> None:
        """Returns when everything rests. `last`: and nobody else waits for that."""
        rest = asyncio.get_running_loop().create_future()
        self._waiting.insert(0 if last else len(self._waiting), rest)
        await rest

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or timeout == 0:  # something has come, or can go on
            return found
        while self._waiting:
            rest = self._waiting.pop()
            if not rest.done():
                rest.set_result(None)
                return []
        return super().select(timeout)


class Doom(msgspec.Struct, frozen=True):
    """The process dies at its so-manieth apply from now: before it, or when it is done and nobody has heard so."""

    applies: int
    moment: Literal["before", "after"]


class MortalStore(WatchedStore):
    """A store as one process has it: one operation at a time, each when everything else rests; none after its death."""

    def __init__(self, store: Store, rest: Rest, *, exclusive: bool) -> None:
        super().__init__(store, exclusive=exclusive)
        self._rests = rest
        self._turn = asyncio.Lock()
        self._listeners: list[Listener] = []
        self.is_dead = False
        self.doom: Doom | None = None

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
        super().listen(listener)

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        async with self._turn:
            await self._rests()
            doomed = self._is_doomed()
            if doomed == "before":
                self.is_dead = True
            await self._unless_dead()
            outcomes = await super().apply(batch)
            if doomed == "after":
                self.is_dead = True
            await self._unless_dead()
            return outcomes

    async def beat(self, worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
        return await self._read(self._store.beat(worker))

    async def leave(self, consumer_id: ConsumerId) -> None:
        await self._read(self._store.leave(consumer_id))

    async def _read(self, operation: Coroutine[Any, Any, T]) -> T:
        try:
            async with self._turn:
                await self._rests()
                await self._unless_dead()
                return await super()._read(operation)
        finally:
            operation.close()  # which has not begun, where its process died

    def _is_doomed(self) -> Literal["before", "after"] | None:
        if self.doom is None or self.doom.applies > 1:
            self.doom = None if self.doom is None else Doom(self.doom.applies - 1, self.doom.moment)
            return None
        return self.doom.moment

    async def _unless_dead(self) -> None:
        if self.is_dead:
            await asyncio.get_running_loop().create_future()

    async def bury(self) -> None:
        """What the operating system does: what the process had open is closed, and nobody listens any more."""
        self.is_dead = True
        for listener in self._listeners:
            self._store.unlisten(listener)
        await self._store.__aexit__(None, None, None)


class Process:
    """An app on an event loop of its own, with a clock of its own that starts where the last one ended."""

    def __init__(
        self,
        store: Store,
        time: SharedClock,
        number: int,
        effects: Effects,
        settings: MailboxSettings,
        *,
        exclusive: bool,
    ) -> None:
        self._rests = Rest()
        self.loop = asyncio.SelectorEventLoop(self._rests)
        self.clock = time.now_of = ManualClock(time.now())
        self._given = store
        self._exclusive = exclusive
        self._effects = effects
        self.store, self.app = self.loop.run_until_complete(self._made(number, settings))

    async def _made(self, number: int, settings: MailboxSettings) -> tuple[MortalStore, Awaken]:
        store = MortalStore(self._given, self._rests, exclusive=self._exclusive)
        app = Awaken(
            store=store,
            clock=self.clock,
            ids=Ids(self.clock, seeded_chance(number)),
            settings=settings,
        )
        follows = Interpreter(self._effects, self.clock)
        app.agent("agent", follows)
        app.agent("worker", follows)
        app.agent("model", PydanticAIDriver(Scripted(self._effects, self.clock).agent, clock=self.clock))
        if number % 2:  # one program in two declares a schedule
            app.schedule("declared", "say", agent="agent", every_s=4, thread_id="b")
        return store, app

    def start(self) -> None:
        assert self.do(self.app.start()) is not DIED

    def do(self, operation: Coroutine[Any, Any, T]) -> T | BaseException:
        """What it came to, once everything rests: an answer, a refusal, or `DIED` when nobody will answer."""
        return self.loop.run_until_complete(self._done(operation))

    async def _done(self, operation: Coroutine[Any, Any, T]) -> T | BaseException:
        asked = asyncio.ensure_future(operation)
        await self.quiet()
        if not asked.done():
            if not self.store.is_dead:
                await self.clock.advance(1, self.quiet)
            if not asked.done():
                assert self.store.is_dead, "nobody answers"
                return DIED
        error = asked.exception()
        return asked.result() if error is None else error

    def advance(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds, self.quiet))

    async def quiet(self) -> None:
        seen = -1
        while self.store.is_busy or seen != self.store.ended_count:
            await self.store.at_rest()
            seen = self.store.ended_count
            await self._rests(last=True)

    def die(self) -> None:
        self.loop.set_exception_handler(lambda loop, context: None)
        self.loop.run_until_complete(self._gone())
        self.loop.close()

    async def _gone(self) -> None:
        """Nothing of it runs any more: what it was in the middle of is thrown away, here and now."""
        await self.store.bury()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            coroutine = task.get_coro()
            assert asyncio.iscoroutine(coroutine)
            with suppress(Exception):  # on its way out it wanted to wait, or to be in the context that its task had
                coroutine.close()

    def stop(self) -> None:
        """As a server does when it is told to. It may die of that."""
        if self.loop.run_until_complete(self._is_stopped()):
            self.loop.close()
        else:
            self.die()

    async def _is_stopped(self) -> bool:
        leaving = asyncio.ensure_future(self.app.stop())
        await self.quiet()
        for _ in range(LEAVE_S):
            if leaving.done():
                await leaving
                return True
            await self.clock.advance(1, self.quiet)
        assert self.store.is_dead, "it does not leave"
        return False


DIED: Final = RuntimeError("the process died before it answered")


class Life:
    """One store, and the processes that serve it one after another."""

    def __init__(
        self, open_store: Callable[[SharedClock], Store], settings: MailboxSettings, *, exclusive: bool = True
    ) -> None:
        """`open_store`: for each process, which leaves it to the next one. `exclusive`: as processes are told of it;
        where it is not, they take leases, and do not take back what the last one held.
        """
        self._open_store = open_store
        self._settings = settings
        self._exclusive = exclusive
        self.time = SharedClock(ManualClock())
        self.effects = Effects()
        self.deaths = 0
        self.process = self._begin()

    def _begin(self) -> Process:
        self.store = self._open_store(self.time)
        process = Process(self.store, self.time, self.deaths, self.effects, self._settings, exclusive=self._exclusive)
        process.start()
        return process

    def ask(self, operation: Operation) -> Any:
        async def asked() -> Any:
            return await operation(self.process.app)

        answer = self.process.do(asked())
        if isinstance(answer, BaseException) and not isinstance(answer, AwakenError) and answer is not DIED:
            raise answer
        return Refused(type(answer).__name__, str(answer)) if isinstance(answer, BaseException) else answer

    def crash(self) -> None:
        self.process.die()
        self.deaths += 1
        self.process = self._begin()

    def restart(self) -> None:
        self.process.stop()
        self.deaths += 1
        self.process = self._begin()

    def end(self) -> None:
        self.process.die()

    def look(self) -> View:
        view = self.process.loop.run_until_complete(looking()(self.store))
        for thread in view.threads:
            thread.log = [_timeless(stored) for stored in thread.log]
            thread.effective = [_timeless(stored) for stored in thread.effective]
        return view

    def check_sound(self) -> None:
        self.process.loop.run_until_complete(check_sound(self.store))


def _timeless(stored: StoredMessage) -> StoredMessage:
    """Without the instants that Pydantic AI notes by itself: they are those of the machine, and never the same."""
    native = stored.message.native
    if native is None:
        return stored
    kept = msgspec.json.decode(_INSTANT.sub(b"", msgspec.json.encode(native)), type=Native)
    return replace(stored, message=replace(stored.message, native=kept))


_INSTANT: Final = re.compile(rb"2\d{3}-\d\d-\d\dT[\d:.]+Z")
