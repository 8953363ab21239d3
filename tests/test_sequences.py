"""Whatever is asked of an app, in whatever order, and whenever its process dies, what is promised holds.

Above: nobody; the widest net over `Awaken` as a whole, as `store/test_model.py` is under the stores. Below: everything.
Holds: agents do what their input says, word by word, so that a sequence reaches what agents can do. Both stores live
through the same: the operations of one process reach its store one by one, each when nothing else can happen, so that
ids and order are the same and everything that was stored is compared, byte for byte. A process dies where nothing is
under way, or at an operation that never comes or never answers; then its event loop is closed and nothing of it runs
any more. At the end everything that waits is answered and time passes, and then no run may be left.

A failure prints the actions and a blob that replays them; `--hypothesis-profile=hard` looks for new ones.

Source: `docs/concepts/durability.md`.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
from hypothesis import given, note, settings
from hypothesis import strategies as st

from awaken import Awaken
from awaken.domain.clock import Instant, Timer, sleep
from awaken.domain.delivery import Mode, Strategy
from awaken.domain.errors import AwakenError, PermanentFailure, TransientFailure
from awaken.domain.ids import Ids, MessageId, ThreadId, seeded_chance
from awaken.domain.message import Message, user_message
from awaken.domain.pending import Granularity
from awaken.domain.receipt import Receipt
from awaken.domain.run import Run, RunStatus
from awaken.domain.ticket import Ticket
from awaken.executors.children import Child
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Listener, RunQuery, Store, ThreadQuery, TicketQuery
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Outcome, Transition
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import WatchedStore
from tests.store.test_model import (
    ALL,
    SCOPES,
    ThreadView,
    View,
    check_rows,
    check_thread,
    check_tickets,
    items_of,
    reading_thread,
)

T = TypeVar("T")
SCOPE: Final = SCOPES[0]
THREADS: Final = ("a", "b")
WORDS: Final = (
    "nap", "nap", "nap", "inbox", "inbox", "ask", "ask", "step", "start", "hire", "gather", "late", "permit", "send",
    "state", "say", "flaky", "fail",
)  # fmt: skip
NAP_S: Final = 5.0
EXPIRES_S: Final = 3.0
LEAVE_S: Final = 10
"""So long a process may take to stop, at most."""
ROUNDS: Final = 60
"""So many rounds of answers and time, at most, until everything has ended."""


# --- what agents do ---------------------------------------------------------------------------------------------------


class Effects:
    """What agents have done outside of any store, which no crash undoes."""

    def __init__(self) -> None:
        self.recorded: set[tuple[str, int]] = set()
        """Steps that have returned."""
        self.tried: Counter[str] = Counter()
        self.programs: dict[str, str] = {}
        """What each run was told at first; it may go on with other words."""


class Interpreter:
    """An agent that does what its input says. One per process."""

    def __init__(self, effects: Effects, clock: ManualClock) -> None:
        self._effects = effects
        self._clock = clock
        self._running: Counter[str] = Counter()
        self.faults: list[str] = []

    async def __call__(self, ctx: Context) -> str:
        thread_id = ctx.identity.thread_id
        self._running[thread_id] += 1
        if self._running[thread_id] > 1:
            self.faults.append(f"two runs of thread {thread_id} at once")
        try:
            return await self._follow(ctx)
        finally:
            self._running[thread_id] -= 1

    async def _follow(self, ctx: Context) -> str:
        heard: list[str] = []
        children: list[Child] = []
        program = self._effects.programs.setdefault(ctx.identity.run_id, await ctx.input())
        for number, word in enumerate(program.split()):
            match word:
                case "step":
                    heard.append(str(await self._step(ctx, number)))
                case "nap":
                    await ctx.step("nap", lambda: _nap(self._clock))
                case "inbox":
                    heard += [message.text for message in await ctx.inbox()]
                case "ask":
                    heard.append(await ctx.ask("well?"))
                case "permit":
                    heard.append(str((await ctx.approve("may I?", expires_in_s=EXPIRES_S * 4)).approved))
                case "late":
                    heard.append(await ctx.ask("soon?", expires_in_s=EXPIRES_S, default="nobody"))
                case "start":
                    children.append(await ctx.start("worker", "step nap"))
                case "hire":
                    children.append(await ctx.start("worker", "ask"))
                case "gather":
                    heard += [str(each) for each in await ctx.gather(*children, return_exceptions=True)]
                case "send":
                    await ctx.send("worker", "step", thread_id="b")
                case "state":
                    await ctx.state.set("n", number)
                case "flaky":
                    self._effects.tried[ctx.identity.run_id] += 1
                    if self._effects.tried[ctx.identity.run_id] < 2:
                        raise TransientFailure("not yet")
                case "fail":
                    raise PermanentFailure("told to")
                case _:
                    await ctx.emit(f"{word} ")
        return f"did {len(heard)}: {' '.join(heard)}"

    async def _step(self, ctx: Context, number: int) -> int:
        key = (ctx.identity.run_id, number)

        def effect() -> int:
            if key in self._effects.recorded:
                self.faults.append(f"step {key} was repeated")
            return number

        value = await ctx.step("step", effect, int)
        self._effects.recorded.add(key)
        return value


async def _nap(clock: ManualClock) -> None:
    await sleep(clock, NAP_S)


# --- a process --------------------------------------------------------------------------------------------------------


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


class Doom(msgspec.Struct, frozen=True):
    """The process dies at its so-manieth apply from now: before it, or when it is done and nobody has heard so."""

    applies: int
    moment: Literal["before", "after"]


class MortalStore(WatchedStore):
    """A store as one process has it: one operation at a time, each when everything else rests; none after its death."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._turn = asyncio.Lock()
        self._listeners: list[Listener] = []
        self.is_dead = False
        self.doom: Doom | None = None

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
        super().listen(listener)

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        async with self._turn:
            await settle()
            doomed = self._is_doomed()
            if doomed == "before":
                self.is_dead = True
            await self._unless_dead()
            outcomes = await super().apply(batch)
            if doomed == "after":
                self.is_dead = True
            await self._unless_dead()
            return outcomes

    async def _read(self, operation: Coroutine[Any, Any, T]) -> T:
        try:
            async with self._turn:
                await settle()
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

    def __init__(self, store: Store, time: SharedClock, number: int, effects: Effects) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = time.now_of = ManualClock(time.now())
        self.agent = Interpreter(effects, self.clock)
        self._given = store
        self.store, self.app = self.loop.run_until_complete(self._made(number))

    async def _made(self, number: int) -> tuple[MortalStore, Awaken]:
        store = MortalStore(self._given)
        app = Awaken(
            store=store,
            clock=self.clock,
            ids=Ids(self.clock, seeded_chance(number)),
            settings=MailboxSettings(drain_s=0, handover_s=0, max_queued_per_thread=6, max_pending_per_thread=4),
            scope=SCOPE,
        )
        for name in ("agent", "worker"):
            app.agent(name, self.agent)
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
            await settle(120)

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
            with suppress(RuntimeError):  # it wanted to wait for something on its way out
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


# --- what may be asked ------------------------------------------------------------------------------------------------


Operation = Callable[[Awaken], Awaitable[Any]]


class Wish(msgspec.Struct, frozen=True):
    """How what is submitted, or sent to a run, wants to be taken."""

    strategy: Strategy = "enqueue"
    mode: Mode = "steer"
    delay_s: float = 0.0
    granularity: Granularity = "batch"
    barrier: bool = False
    fallback_to_new_run: bool = True


class Ask(msgspec.Struct, frozen=True):
    """Something to ask. `which` chooses among what there is when its turn comes."""

    kind: str
    thread: str = "a"
    which: int = 0
    program: tuple[str, ...] = ()
    wish: Wish | None = None
    amount: float = 0.0
    doom: Doom | None = None


class Submission(msgspec.Struct, frozen=True):
    """A message, as an operation that may be asked again."""

    ask: Ask
    message: Message
    run_id: str | None

    async def __call__(self, app: Awaken) -> Any:
        thread_id, wish = self.ask.thread, self.ask.wish or Wish()
        if self.ask.kind == "steer":
            return await app.steer(
                thread_id,
                self.message,
                mode=wish.mode,
                agent="agent",
                granularity=wish.granularity,
                barrier=wish.barrier,
                fallback_to_new_run=wish.fallback_to_new_run,
            )
        handle = await app.submit(
            thread_id,
            self.message,
            agent="agent",
            run_id=self.run_id,
            delay_s=wish.delay_s,
            multitask_strategy=wish.strategy,
        )
        return handle.record, handle.replayed


class Refused(msgspec.Struct, frozen=True):
    kind: str
    why: str


def pick(items: Sequence[T]) -> st.SearchStrategy[T]:
    return st.sampled_from(items)


threads, numbers = pick((*["a"] * 5, "b")), st.integers(0, 30)
programs = st.lists(pick(WORDS), max_size=5).map(tuple)
wishes = st.builds(
    Wish,
    strategy=pick(("enqueue", "enqueue", "enqueue", "reject", "interrupt", "rollback")),
    mode=pick(("steer", "steer", "steer", "follow_up", "resume")),
    delay_s=pick((0.0, 0.0, 0.0, 2.0)),
    granularity=pick(("batch", "one")),
    barrier=pick((False, False, True)),
    fallback_to_new_run=pick((True, True, False)),
)
submits = st.builds(Ask, st.just("submit"), threads, numbers, programs, wishes)
firsts = st.builds(Ask, st.just("submit"), st.just("a"), numbers, programs.map(lambda words: ("nap", "inbox", *words)))
steers = st.builds(Ask, st.just("steer"), threads, numbers, programs, wishes)
dooms = st.builds(Doom, st.integers(1, 4), pick(("before", "after")))
actions = st.lists(
    st.one_of(
        submits, submits, submits, steers, steers,
        st.builds(Ask, pick(("decide", "decide", "decide", "edit", "retract", "reorder")), threads, numbers, programs),
        st.builds(Ask, pick(("cancel", "rollback", "cancel_thread", "interrupt", "again", "patch")), threads, numbers),
        st.builds(Ask, st.just("advance"), amount=pick((0.3, 1.0, 2.0, NAP_S))),
        st.builds(Ask, pick(("crash", "restart", "doom", "doom")), doom=dooms),
    ),
    min_size=8,
    max_size=24,
)  # fmt: skip


# --- two lives --------------------------------------------------------------------------------------------------------


class Life:
    """One store, and the processes that serve it one after another."""

    def __init__(self, make: Callable[[SharedClock], Store]) -> None:
        self.time = SharedClock(ManualClock())
        self.store = make(self.time)
        self.effects = Effects()
        self.deaths = 0
        self.process = self._begin()

    def _begin(self) -> Process:
        process = Process(self.store, self.time, self.deaths, self.effects)
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

    def look(self) -> Look:
        return self.process.loop.run_until_complete(_look(self.store))


class Look(msgspec.Struct):
    """Everything that is stored."""

    view: View
    states: list[Any]
    outbox: list[Any]

    @property
    def runs(self) -> list[Run]:
        return self.view.runs(SCOPE)

    @property
    def tickets(self) -> list[Ticket]:
        return [ticket for _, ticket in self.view.tickets]

    @property
    def receipts(self) -> dict[tuple[ThreadId, MessageId], Receipt]:
        return {
            (each.thread_id, receipt.message_id): receipt for each in self.view.threads for receipt in each.receipts
        }

    def thread(self, thread_id: str) -> ThreadView | None:
        return next((each for each in self.view.threads if each.thread_id == thread_id), None)


async def _look(store: Store) -> Look:
    runs = await items_of(store.list_runs(SCOPE, RunQuery(limit=ALL)))
    threads = await items_of(store.list_threads(SCOPE, ThreadQuery(limit=ALL)))
    tickets = await items_of(store.list_tickets(SCOPE, TicketQuery(limit=ALL)))
    names = sorted(each.thread_id for each in threads)
    view = View(
        threads=[await reading_thread(SCOPE, name, runs)(store) for name in names],
        open_runs=[await store.count_open_runs(SCOPE)],
        counts=await store.count_dispatches(),
        claims=[],
        tickets=[(SCOPE, each) for each in tickets],
        journals=[await store.list_journal(SCOPE, run.run_id) for run in runs],
    )
    states = [await store.load_state(SCOPE, name) for name in names]
    states += [await store.list_spans(SCOPE, name) for name in names]
    return Look(view, states, await store.list_outbox())


class Sequences:
    """The same asked of both."""

    def __init__(self, folder: Path) -> None:
        self.model = Life(lambda time: MemoryStore(time))
        self.other = Life(lambda time: SqliteStore(folder / "awaken.db", clock=time, durability="process"))
        self.lives = (self.model, self.other)
        self.seen = self.model.look()
        self._file = folder / "awaken.db"
        self._accepted: set[tuple[ThreadId, MessageId]] = set()
        self._submitted: list[Submission] = []
        self._count = 0

    def act(self, ask: Ask) -> None:
        note(f"{ask}")
        match ask.kind:
            case "advance":
                self._pass(ask.amount)
            case "crash":
                for life in self.lives:
                    life.crash()
            case "restart":
                for life in self.lives:
                    life.restart()
            case "doom":
                for life in self.lives:
                    life.process.store.doom = ask.doom
            case _:
                operation = self._operation(ask)
                if operation is not None:
                    self._ask(operation)
        self._check()

    def _pass(self, seconds: float) -> None:
        for life in self.lives:
            life.process.advance(seconds)

    def _ask(self, operation: Operation) -> None:
        expected, got = [life.ask(operation) for life in self.lives]
        note(f"    -> {expected!r}")
        assert got == expected, f"over SQLite it was answered with {got!r}"
        if isinstance(operation, Submission) and not isinstance(expected, Refused):
            self._accepted.add((ThreadId(operation.ask.thread), operation.message.id))

    def _operation(self, ask: Ask) -> Operation | None:
        """What is asked of the app, given what there is; None where there is nothing of the kind."""
        thread_id, view = ThreadId(ask.thread), self.seen.thread(ask.thread)
        text = " ".join(ask.program) or "say"
        match ask.kind:
            case "submit" | "steer":
                self._count += 1
                message = user_message(MessageId(f"m{self._count}"), text)
                run_id = f"run-{self._count}" if ask.kind == "submit" and ask.which % 2 else None
                self._submitted.append(Submission(ask, message, run_id))
                return self._submitted[-1]
            case "again" if self._submitted:
                return self._submitted[-1 - ask.which % len(self._submitted)]
            case "decide" if self.seen.tickets:
                still = [each for each in self.seen.tickets if each.is_open] or self.seen.tickets
                return _decision(still[ask.which % len(still)], ask.which)
            case "edit" | "retract" if self._changeable(view):
                known = self._changeable(view)
                name, version = known[ask.which % len(known)], 1 if ask.which % 3 == 0 else None
                if ask.kind == "retract":
                    return lambda app: app.retract(thread_id, name, if_version=version)
                return lambda app: app.edit(thread_id, name, text, if_version=version)
            case "reorder" if view is not None and view.pending:
                order = [each.entry.message_id for each in view.pending]
                turned = order[ask.which % len(order) :] + order[: ask.which % len(order)]
                return lambda app: app.reorder(thread_id, turned)
            case "cancel" | "rollback" if self.seen.runs:
                still = [run for run in self.seen.runs if run.status is not RunStatus.DONE] or self.seen.runs
                run_id = still[ask.which % len(still)].run_id
                return lambda app: app.cancel(run_id, action="rollback" if ask.kind == "rollback" else "cancel")
            case "cancel_thread":
                return lambda app: app.cancel_thread(thread_id)
            case "interrupt":
                return lambda app: app.interrupt(thread_id)
            case "patch":
                return lambda app: app.patch_state(thread_id, {"p": ask.which})
            case _:
                return None

    def _changeable(self, view: ThreadView | None) -> list[MessageId]:
        if view is None:
            return []
        waiting = [each.message_id for each in view.receipts if not each.is_final]
        return waiting or [each.message_id for each in view.receipts]

    # --- what must be true --------------------------------------------------------------------------------------------

    def _check(self) -> None:
        for life in self.lives:
            assert not life.process.agent.faults, life.process.agent.faults
            if life.process.store.is_dead:
                life.crash()
        before, self.seen = self.seen, self.model.look()
        other = self.other.look()
        assert other == self.seen
        for each in self.seen.view.threads:
            check_thread(each)
        check_tickets(self.seen.view)
        with closing(sqlite3.connect(self._file)) as db:
            check_rows(db)
        receipts = self.seen.receipts
        for key in self._accepted:
            assert key in receipts, f"message {key} was accepted and is not known"
        for key, receipt in before.receipts.items():
            assert not receipt.is_final or receipts[key] == receipt, "a fate is final"
        runs = {run.run_id: run for run in self.seen.runs}
        for run in before.runs:
            now = runs[run.run_id]
            assert run.status is not RunStatus.DONE or (now.termination, now.final_output) == (
                run.termination, run.final_output,
            ), "an end is final"  # fmt: skip
        for earlier in before.view.threads:
            later = self.seen.thread(earlier.thread_id)
            assert later is not None and later.events[: len(earlier.events)] == earlier.events, "a log only grows"

    def finish(self) -> None:
        """Answer whatever waits for somebody, and let time pass, until everything has ended."""
        for _ in range(ROUNDS):
            if all(run.status is RunStatus.DONE for run in self.seen.runs) and not self.seen.outbox:
                break
            for ticket in self.seen.tickets:
                if ticket.is_open and ticket.asked.kind != "child":
                    self._ask(_decision(ticket, 1))
            self._pass(10.0)
            self._check()
        left = [run for run in self.seen.runs if run.status is not RunStatus.DONE]
        assert not left, f"these are stuck: {left}"
        assert not self.seen.outbox, f"these never arrived: {self.seen.outbox}"
        lost = [each for each in self.seen.receipts.values() if not each.is_final]
        assert not lost, f"these have no fate: {lost}"
        untold = [each for each in self.seen.tickets if each.is_open]
        assert not untold, f"nobody was told of {untold}"
        for each in self.seen.view.threads:
            self._ask(lambda app, name=each.thread_id: _check_log(app, name))


def _decision(ticket: Ticket, which: int) -> Operation:
    """A yes, a no or an answer; now and then one that a ticket of its kind does not take."""
    action = "answer" if (ticket.asked.kind == "approval") == (which % 7 == 6) else ("approve", "deny")[which % 2]
    result = "yes" if action == "answer" else None
    decision_id = "d" if which % 3 else None
    return lambda app: app.decide(ticket.ticket_id, action, result=result, decision_id=decision_id)


async def _check_log(app: Awaken, thread_id: ThreadId) -> None:
    """Whoever reads on after any event gets exactly the rest."""
    whole = await app.list_events(thread_id)
    for place in (0, len(whole) // 2, len(whole) - 1):
        assert await app.list_events(thread_id, after=whole[place].cursor) == whole[place + 1 :]


@settings(max_examples=max(settings().max_examples // 3, 1))  # each of them takes as long as many of other tests
@given(firsts, actions)
def test_whatever_is_asked_and_whenever_the_process_dies_promises_hold_and_both_stores_agree(
    first: Ask, asked: list[Ask]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sequences = Sequences(Path(folder))
        try:
            for ask in (first, *asked):
                sequences.act(ask)
            sequences.finish()
        finally:
            for life in sequences.lives:
                life.end()
            gc.collect()
