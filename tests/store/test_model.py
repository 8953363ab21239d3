"""The memory store and SQLite, driven with the same random batches, must answer and read alike.

Above: nobody; this is the widest net under the stores. Below: `awaken.store.rules` through both of them.
Holds: every outcome is compared, after every batch every thread is read from both, and the invariants of the queue are
checked on what was read. Ids come from small pools so that they collide; claims are kept after they ended, so that
stale tokens are tried all the time. A failure prints the steps and a blob that replays them;
`--hypothesis-profile=hard` runs thousands of examples instead of the few dozen of every day.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import SearchStrategy
from msgspec.structs import replace

from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.event import TERMINAL_KINDS, logged
from awaken.domain.ids import AgentId, ClaimToken, ConsumerId, DispatchId, InstanceId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.message import Message, Role, Text, ToolCall, ToolStatus, Visibility
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import CANCELLED, NATURAL_END, Intent, Run, RunRequest, RunStatus, Termination, Usage
from awaken.domain.thread import Thread, ThreadInfo
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, Store, StoredMessage, ThreadQuery
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import (
    Ack,
    Cancel,
    Claim,
    Claimed,
    ClaimedSome,
    Commit,
    Conflict,
    DeadLetter,
    Ending,
    Full,
    Interrupt,
    JournalEntry,
    LeaseLost,
    LeaseRef,
    Missing,
    Offer,
    Outcome,
    Purge,
    Reclaim,
    Release,
    Renew,
    Replayed,
    Retry,
    SaveThread,
    Settle,
    Settled,
    SetTransition,
    StepClosed,
    Submit,
    Submitted,
    ThreadTransition,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.events import text_delta

T = TypeVar("T")
Plan = Callable[["TwoStores"], ThreadTransition | SetTransition | None]
"""A transition in the making: drawn without knowing the state, made real when its turn comes."""

SCOPES: Final = (Scope("one"), Scope("two"))
THREADS: Final = (ThreadId("a"), ThreadId("b"), ThreadId("c"))
RUNS: Final = tuple(RunId(f"r{n}") for n in range(6))
DISPATCHES: Final = tuple(DispatchId(f"d{n}") for n in range(6))
MESSAGES: Final = tuple(MessageId(f"m{n}") for n in range(8))
REFUSALS: Final = (Missing, Conflict, Full, LeaseLost, Replayed)
PLENTY: Final = 50


# --- what may be asked ------------------------------------------------------------------------------------------------


def pick(items: Sequence[T]) -> SearchStrategy[T]:
    return st.sampled_from(items)


def maybe(strategy: SearchStrategy[T]) -> SearchStrategy[T | None]:
    return st.none() | strategy


numbers = st.integers(0, 1_000)
scopes, threads = pick((*SCOPES[:1] * 3, *SCOPES)), pick((*THREADS[:1] * 2, *THREADS))
lease_lengths = pick((5, 1_000, 60_000))
calls = st.lists(pick(("c1", "c2", "c3")), max_size=3, unique=True)


def messages(*roles: Role) -> SearchStrategy[Message]:
    """A message; an id from the pool now and then, otherwise one that was never used."""
    return st.builds(
        _message,
        pick(roles),
        pick((*MESSAGES, *[MessageId("")] * 24)),
        pick(("", "text", "ü€😀")),
        calls,
        pick(tuple(Visibility)),
    )


def _message(role: Role, message_id: MessageId, text: str, wanted: list[str], visibility: Visibility) -> Message:
    answers = role is Role.TOOL
    return Message(
        id=message_id,
        role=role,
        content=(Text(text),),
        tool_calls=tuple(ToolCall(call, "tool", {"n": 1}) for call in wanted) if role is Role.ASSISTANT else (),
        tool_call_id=(wanted or ["c1"])[0] if answers else None,
        tool_status=ToolStatus.SUCCESS if answers else None,
        visibility=visibility,
    )


any_message = messages(Role.ASSISTANT, Role.ASSISTANT, Role.TOOL, Role.USER, Role.SYSTEM)
inputs = st.lists(messages(Role.USER, Role.SYSTEM), min_size=1, max_size=2)
deltas = st.builds(text_delta, pick(("x", "ü"))).map(logged)
entries = st.lists(any_message | deltas, max_size=4)
journals = st.lists(
    st.builds(JournalEntry, pick(("a#1", "b#1")), pick((msgspec.Raw(b"1"), msgspec.Raw(b'{"x": [2]}')))), max_size=2
)
closings = maybe(
    st.builds(
        StepClosed,
        steps=st.integers(0, 5),
        usage=st.builds(Usage, input_tokens=st.integers(0, 9)),
        turn=maybe(pick(MESSAGES)),
    )
)
policies = st.builds(RetryPolicy, base_delay_ms=pick((0, 250)), max_delay_ms=pick((0, 30_000)))
terminations = pick(
    (
        NATURAL_END,
        NATURAL_END,
        CANCELLED,
        Termination("error", detail="no"),
        Termination("suspended"),
        Termination("stopped", "x"),
    )
)
endings: SearchStrategy[Ending] = st.one_of(
    st.builds(Ack, terminations, maybe(pick(("out",)))),
    st.builds(Retry, pick(("failed",)), policies, pick((0, 700))),
    st.builds(DeadLetter, pick(("hopeless",))),
    st.builds(Release, pick(("draining",))),
)
infos = st.builds(ThreadInfo, title=maybe(pick(("t",))), resource_id=maybe(pick(("x", "y"))))


@st.composite
def submits(draw: st.DrawFn) -> Plan:
    asked = Submit(
        scope=draw(scopes),
        thread_id=draw(threads),
        run_id=draw(pick(RUNS)),
        dispatch_id=draw(pick(DISPATCHES)),
        request=RunRequest(Intent(draw(pick((AgentId("agent-1"), AgentId("agent-2"))))), ()),
        messages=tuple(draw(inputs)),
        digest=draw(pick(("x", "x", "y"))),
        metadata=draw(pick(({}, {"k": [1, None]}))),
        delivery=Delivery(
            priority=draw(pick((0, 128, 128, 200))),
            max_attempts=draw(pick((1, 2, 5))),
            dedupe_key=draw(maybe(pick(("k1", "k2")))),
            delay_ms=draw(pick((0, 0, 0, 5, 1_000))),
        ),
        create_thread=draw(pick((True, True, True, False))),
        max_queued=draw(pick((1_000, 1_000, 2))),
    )
    reuse_run, reuse_dispatch = draw(pick((False, False, False, True))), draw(pick((False, False, False, True)))
    at_ms, lease_ms = draw(maybe(pick((-1_000, 0, 3_000)))), draw(maybe(lease_lengths))
    trusted = draw(st.booleans())

    def plan(world: TwoStores) -> Submit:
        submit = asked
        if not reuse_run:
            submit = replace(submit, run_id=RunId(world.fresh("r")))
        if not reuse_dispatch:
            submit = replace(submit, dispatch_id=DispatchId(world.fresh("d")))
        pooled = reuse_run or reuse_dispatch or any(message.id for message in submit.messages)
        brought = world.named(submit.messages)
        return replace(
            submit,
            messages=brought,
            request=replace(submit.request, input_message_ids=tuple(message.id for message in brought)),
            delivery=replace(submit.delivery, available_at=None if at_ms is None else world.clock.now() + at_ms),
            fresh_ids=trusted and not pooled,
            offer=None if lease_ms is None else world.offer(lease_ms),
        )

    return plan


@st.composite
def owner_writes(draw: st.DrawFn) -> Plan:
    """A commit or a settlement by some claim of the past or present, now and then with a wrong token."""
    which, token = draw(numbers), draw(pick((None, None, None, None, ClaimToken("guessed"))))
    written, journal, closes = draw(entries), tuple(draw(journals)), draw(closings)
    stream_open = draw(pick((None, None, True, False)))
    ending, lease_ms = draw(maybe(endings)), draw(maybe(lease_lengths))

    def plan(world: TwoStores) -> Commit | Settle | None:
        claim = world.claim_at(which)
        if claim is None:
            return None
        commit = Commit(
            scope=claim.scope,
            thread_id=claim.dispatch.thread_id,
            run_id=claim.run.run_id,
            dispatch_id=claim.dispatch.dispatch_id,
            token=token or claim.token,
            entries=world.named(tuple(written)),
            journal=journal,
            closes=closes,
            stream_open=stream_open,
        )
        if ending is None:
            return commit
        shared: dict[str, Any] = {field: getattr(commit, field) for field in commit.__struct_fields__}
        return Settle(**shared, ending=ending, offer=None if lease_ms is None else world.offer(lease_ms))

    return plan


@st.composite
def cancels(draw: st.DrawFn) -> Plan:
    which, pooled = draw(numbers), draw(pick(RUNS))
    scope, thread = draw(scopes), draw(threads)

    def plan(world: TwoStores) -> Cancel:
        known = world.runs_seen
        if known:
            seen_scope, run_id, thread_id = known[which % len(known)]
            return Cancel(scope=seen_scope, thread_id=thread if which % 7 == 0 else thread_id, run_id=run_id)
        return Cancel(scope=scope, thread_id=thread, run_id=pooled)

    return plan


@st.composite
def saves(draw: st.DrawFn) -> Plan:
    asked = SaveThread(
        scope=draw(scopes),
        thread_id=draw(threads),
        info=draw(infos),
        messages=tuple(draw(st.lists(any_message, max_size=2))),
        if_exists=draw(pick(("raise", "keep", "replace"))),
    )
    return lambda world: replace(asked, messages=world.named(asked.messages))


@st.composite
def interrupts(draw: st.DrawFn) -> Plan:
    asked = Interrupt(scope=draw(scopes), thread_id=draw(threads))
    return lambda world: asked


@st.composite
def renewals(draw: st.DrawFn) -> Plan:
    wanted, lease_ms = draw(st.lists(st.tuples(numbers, st.booleans()), max_size=4)), draw(lease_lengths)

    def plan(world: TwoStores) -> Renew:
        leases: list[LeaseRef] = []
        for which, wrong in wanted:
            claim = world.claim_at(which)
            if claim is not None and all(lease.dispatch_id != claim.dispatch.dispatch_id for lease in leases):
                token = ClaimToken("guessed") if wrong else claim.token
                leases.append(LeaseRef(claim.scope, claim.dispatch.dispatch_id, token))
        leases.append(LeaseRef(SCOPES[0], DispatchId("nobody"), ClaimToken("none")))
        return Renew(leases=tuple(leases), lease_ms=lease_ms)

    return plan


@st.composite
def claims(draw: st.DrawFn) -> Plan:
    count, lease_ms = draw(pick((0, 1, 2, PLENTY))), draw(lease_lengths)
    return lambda world: Claim(offers=tuple([world.offer(lease_ms) for _ in range(count)]))


@st.composite
def reclaims(draw: st.DrawFn) -> Plan:
    asked = Reclaim(limit=draw(pick((1, 2, 200))), abandoned=draw(pick((False, False, False, True))))
    return lambda world: asked


@st.composite
def purges(draw: st.DrawFn) -> Plan:
    asked = Purge(retention_ms=draw(pick((0, 10, 2_000))), limit=draw(pick((1, 200))))
    return lambda world: asked


batches = st.lists(
    st.one_of(
        submits(), submits(), submits(), owner_writes(), owner_writes(), owner_writes(), cancels(), saves(),
        interrupts(), claims(), claims(), renewals(), reclaims(), purges(),
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip
moves = pick((0, 0, 0, 0, 0, 1, 4, 5, 6, 250, 999, 1_000, 1_001, 60_000, 100_000, -1, -2_000))
"""Milliseconds by which time moves before a batch. Below zero the wall clock is set back."""
_ORDER: Final = (Renew, Reclaim, Claim, Purge)


# --- the machine ------------------------------------------------------------------------------------------------------


class Glance(msgspec.Struct, frozen=True):
    """One look through every read there is, with arguments that select some of what is stored."""

    scope: Scope
    thread_id: ThreadId
    after: int
    limit: int
    flags: int
    which: int

    def has(self, bit: int) -> bool:
        return bool(self.flags >> bit & 1)


glances = st.builds(
    Glance, scopes, threads, st.integers(0, 30), st.integers(0, 12), st.integers(0, 255), st.integers(0, 20)
)


class TwoStores(RuleBasedStateMachine):
    """Both stores, one clock, and every claim ever won."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.claims_seen: list[Claimed] = []
        self.runs_seen: list[tuple[Scope, RunId, ThreadId]] = []
        self._numbers = itertools.count(1)
        self._went_back = False
        self._view: View | None = None
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory()
        self.model: Store = MemoryStore(self.clock)
        self.store: Store = SqliteStore(Path(self._folder.name) / "model.db", clock=self.clock, durability="process")

    @initialize()
    def open(self) -> None:
        self._do(self.model.__aenter__())
        self._do(self.store.__aenter__())

    def teardown(self) -> None:
        self._do(self.store.__aexit__(None, None, None))
        self._runner.close()
        self._folder.cleanup()

    @rule(move_ms=moves, plans=batches, glance=maybe(glances))
    def step(self, move_ms: int, plans: list[Plan], glance: Glance | None) -> None:
        """One rule and not several, so that every step of every example changes something."""
        self._move(move_ms)
        batch = self._batch(plans)
        expected = self._do(self.model.apply(batch))
        note("".join(f"  {asked!r}\n    -> {outcome!r}\n" for asked, outcome in zip(batch, expected, strict=True)))
        assert self._do(self.store.apply(batch)) == expected
        self._remember(batch, expected)
        before, self._view = self._view, self._look()
        if before is not None and all(isinstance(outcome, REFUSALS) for outcome in expected):
            assert self._view == before, "a refusal changed something"
        if batch and isinstance(batch[-1], Claim) and len(batch[-1].offers) == PLENTY:
            self._nothing_due_is_left()
        if glance is not None:
            self._read(glance)
            self._look_up(glance)

    def _move(self, milliseconds: int) -> None:
        if milliseconds < 0:
            self._went_back = True
            self.clock.set(self.clock.now() + milliseconds)
        else:
            self.clock.tick(milliseconds / 1_000)

    def _read(self, at: Glance) -> None:
        scope, thread_id, limit = at.scope, at.thread_id, at.limit
        run_id = self.runs_seen[-1 - at.which % len(self.runs_seen)][1] if self.runs_seen and at.has(3) else None
        window = MessageQuery(
            after=at.after if at.has(0) else 0,
            before=at.after + limit if at.has(1) else None,
            limit=limit,
            descending=at.has(2),
            visibility=Visibility.ALL if at.has(4) else None,
            run_id=run_id,
        )
        some_dispatches = DispatchQuery(
            thread_id=thread_id,
            statuses=tuple(status for n, status in enumerate(DispatchStatus) if at.has(n)) if at.has(7) else None,
            run_id=run_id,
            limit=limit,
            offset=at.after % 4,
        )
        self._same(lambda store: store.list_messages(scope, thread_id, window))
        self._same(lambda store: store.list_events(scope, thread_id, after=at.after, limit=limit, run_id=run_id))
        self._same(lambda store: store.list_dispatches(scope, some_dispatches))
        self._page_threads(at)
        self._page_runs(at)

    def _page_threads(self, at: Glance) -> None:
        some = ThreadQuery(
            limit=at.limit,
            ascending=at.has(0),
            resource_id="x" if at.has(1) else None,
            id_prefix="a" if at.has(2) else "",
        )
        page = self._same(lambda store: store.list_threads(at.scope, some))
        if page:
            rest = replace(some, after=(page[0].updated_at, page[0].thread_id))
            assert self._same(lambda store: store.list_threads(at.scope, rest))[: at.limit - 1] == page[1:]

    def _page_runs(self, at: Glance) -> None:
        some = RunQuery(
            limit=at.limit,
            descending=at.has(0),
            thread_id=at.thread_id if at.has(1) else None,
            status=tuple(RunStatus)[at.which % 4] if at.has(2) else None,
            agent_id=AgentId("agent-1") if at.has(4) else None,
            thread_id_prefix="b" if at.has(5) else "",
        )
        page = self._same(lambda store: store.list_runs(at.scope, some))
        if page:
            rest = replace(some, after=(page[0].created_at, page[0].run_id))
            assert self._same(lambda store: store.list_runs(at.scope, rest))[: at.limit - 1] == page[1:]

    def _look_up(self, at: Glance) -> None:
        run_id, dispatch_id = RUNS[at.which % len(RUNS)], DISPATCHES[at.which % len(DISPATCHES)]
        message_id = MESSAGES[at.which % len(MESSAGES)]
        self._same(lambda store: store.load_run(at.scope, run_id))
        self._same(lambda store: store.load_dispatch(at.scope, dispatch_id))
        self._same(lambda store: store.load_message(at.scope, at.thread_id, message_id))
        self._same(lambda store: store.last_event_seq(at.scope, at.thread_id))
        self._same(lambda store: store.latest_run(at.scope, at.thread_id))
        self._same(lambda store: store.active_dispatch(at.scope, at.thread_id))

    @invariant()
    def holds(self) -> None:
        if self._view is not None:
            for view in self._view.threads:
                check_thread(view)
            check_counts(self._view)

    # --- what the plans ask for ---------------------------------------------------------------------------------------

    def fresh(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}"

    def offer(self, lease_ms: int) -> Offer:
        token, instance_id = ClaimToken(self.fresh("token")), InstanceId(self.fresh("instance"))
        return Offer(ConsumerId("worker"), token, instance_id, lease_ms)

    def named(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        """The entries with a fresh id for each message without one, and no id twice."""
        named: list[Any] = []
        taken: set[str] = set()
        for entry in entries:
            if isinstance(entry, Message):
                if not entry.id or entry.id in taken:
                    entry = replace(entry, id=MessageId(self.fresh("m")))
                taken.add(entry.id)
            named.append(entry)
        return tuple(named)

    def claim_at(self, which: int) -> Claimed | None:
        """Two times in three a claim that holds, otherwise one of the past; recent ones come up most often."""
        live: list[Claimed] = []
        if which % 3 and self._view is not None:
            tokens = {dispatch.claim_token for view in self._view.threads for dispatch in view.dispatches}
            live = [claim for claim in self.claims_seen if claim.token in tokens]
        candidates = live or self.claims_seen
        return candidates[-1 - which % min(len(candidates), 1 + which % 8)] if candidates else None

    # --- plumbing -----------------------------------------------------------------------------------------------------

    def _batch(self, plans: list[Plan]) -> list[ThreadTransition | SetTransition]:
        """One transition per thread at most, then those over many threads, in the combiner's order."""
        made = [plan(self) for plan in plans]
        alone: dict[tuple[Scope, ThreadId], ThreadTransition] = {}
        wide: list[SetTransition] = []
        for each in made:
            if isinstance(each, Renew | Reclaim | Claim | Purge):
                wide.append(each)
            elif each is not None:
                alone.setdefault((each.scope, each.thread_id), each)
        return [*alone.values(), *sorted(wide, key=lambda each: _ORDER.index(type(each)))]

    def _remember(self, batch: Sequence[ThreadTransition | SetTransition], outcomes: list[Outcome]) -> None:
        for transition, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Submitted) and isinstance(transition, Submit):
                self.runs_seen.append((transition.scope, transition.run_id, transition.thread_id))
            if isinstance(outcome, Submitted | Settled) and outcome.claimed is not None:
                self.claims_seen.append(outcome.claimed)
            if isinstance(outcome, ClaimedSome):
                self.claims_seen += outcome.claims

    def _nothing_due_is_left(self) -> None:
        assert self._view is not None
        if self._went_back:
            return
        for view in self._view.threads:
            due = [each for each in view.having(DispatchStatus.QUEUED) if each.available_at <= self.clock.now()]
            assert not due or view.having(DispatchStatus.CLAIMED), f"due work was left on a free thread: {due}"

    def _look(self) -> View:
        def all_runs(scope: Scope) -> Callable[[Store], Coroutine[Any, Any, list[Run]]]:
            return lambda store: store.list_runs(scope, RunQuery(limit=10_000))

        runs = {scope: self._same(all_runs(scope)) for scope in SCOPES}
        journals = [self._same(_reading_journal(scope, run_id)) for scope, run_id, _ in self.runs_seen[-4:]]
        return View(
            threads=[
                self._same(_reading_thread(scope, thread_id, runs[scope])) for scope in SCOPES for thread_id in THREADS
            ],
            counts=self._same(lambda store: store.count_dispatches()),
            next_due_at=self._same(lambda store: store.next_due_at()),
            journals=journals,
        )

    def _same(self, read: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        """What both stores read."""
        expected = self._do(read(self.model))
        assert self._do(read(self.store)) == expected
        return expected

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)


def _reading_journal(scope: Scope, run_id: RunId) -> Callable[[Store], Coroutine[Any, Any, list[JournalEntry]]]:
    return lambda store: store.list_journal(scope, run_id)


def _reading_thread(
    scope: Scope, thread_id: ThreadId, runs: list[Run]
) -> Callable[[Store], Coroutine[Any, Any, ThreadView]]:
    async def read(store: Store) -> ThreadView:
        return ThreadView(
            thread=await store.load_thread(scope, thread_id),
            runs=[run for run in runs if run.thread_id == thread_id],
            dispatches=await store.list_dispatches(scope, DispatchQuery(thread_id=thread_id, limit=10_000)),
            log=await store.list_messages(scope, thread_id, MessageQuery(limit=10_000)),
            events=await store.list_events(scope, thread_id, after=0, limit=100_000),
        )

    return read


# --- what must always be true -----------------------------------------------------------------------------------------


class ThreadView(msgspec.Struct):
    """Everything a reader sees of one thread."""

    thread: Thread | None
    runs: list[Run]
    dispatches: list[Dispatch]
    log: list[StoredMessage]
    events: list[EventRow]

    def having(self, *statuses: DispatchStatus) -> list[Dispatch]:
        return [dispatch for dispatch in self.dispatches if dispatch.status in statuses]


class View(msgspec.Struct):
    """Everything a reader sees."""

    threads: list[ThreadView]
    counts: dict[DispatchStatus, int]
    next_due_at: int | None
    journals: list[list[JournalEntry]]


def check_thread(view: ThreadView) -> None:
    thread = view.thread
    if thread is None:
        assert (view.runs, view.dispatches, view.log, view.events) == ([], [], [], [])
        return
    queued, claimed = view.having(DispatchStatus.QUEUED), view.having(DispatchStatus.CLAIMED)
    assert len(claimed) <= 1, "one claimed dispatch per thread"
    assert thread.queued_count == len(queued)
    assert thread.active_run_id == (claimed[0].run_id if claimed else None)
    assert all(dispatch.epoch == thread.epoch for dispatch in queued), "an interrupt leaves nothing older queued"
    assert [stored.seq for stored in view.log] == list(range(1, thread.message_count + 1))
    assert len({stored.message.id for stored in view.log}) == thread.message_count
    assert [row.first_seq + n for row in view.events for n in range(len(row.events))] == list(
        range(1, thread.event_count + 1)
    )
    for dispatch in view.dispatches:
        dispatch.check()
    _check_runs(view, {dispatch.run_id: dispatch for dispatch in (*queued, *claimed)})


def _check_runs(view: ThreadView, open_dispatches: dict[RunId, Dispatch]) -> None:
    events = {
        run.run_id: [event.kind for row in view.events if row.run_id == run.run_id for event in row.events]
        for run in view.runs
    }
    for run in view.runs:
        run.check()
        dispatch = open_dispatches.pop(run.run_id, None)
        if run.status in (RunStatus.CREATED, RunStatus.RUNNING):
            assert dispatch is not None and dispatch.dispatch_id == run.dispatch_id, "an unfinished run is due or held"
        else:
            assert dispatch is None, "a run that ended or waits holds nothing"
        if dispatch is not None and dispatch.status is DispatchStatus.CLAIMED:
            assert run.status is RunStatus.RUNNING
        assert (run.started_at is None) == (run.status is RunStatus.CREATED or "RunStarted" not in events[run.run_id])
        ends = [n for n, kind in enumerate(events[run.run_id]) if kind in TERMINAL_KINDS]
        assert ends == ([len(events[run.run_id]) - 1] if run.status is RunStatus.DONE else []), "one end, and the last"
    assert not open_dispatches, "every open dispatch has its run"


def check_counts(view: View) -> None:
    counted = Counter(dispatch.status for each in view.threads for dispatch in each.dispatches)
    assert view.counts == {status: counted[status] for status in DispatchStatus}
    waits = any(each.having(DispatchStatus.QUEUED, DispatchStatus.CLAIMED) for each in view.threads)
    assert (view.next_due_at is not None) == waits, "whatever is open has an instant at which somebody looks"


@behaviour("TR-113")
class TestBothStoresAgree(TwoStores.TestCase):
    settings = settings(stateful_step_count=30)
