"""What may be asked of an app, drawn without knowing what there will be when its turn comes.

Above: the random sequences. Below: the public methods of `Awaken`.
Holds: an operation is made once, from what can be seen, and asked of every store alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from hypothesis import strategies as st

from awaken import Awaken
from awaken.domain.delivery import Mode, Strategy
from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.message import Message, user_message
from awaken.domain.pending import Granularity
from awaken.domain.run import Limits, Run, RunStatus
from awaken.domain.ticket import Ticket
from tests.sequences.agents import CALLS, NAP_S, WORDS
from tests.sequences.process import Doom, Operation
from tests.store.views import ThreadView, View

T = TypeVar("T")
LIMITS: Final = (None, Limits(max_steps=1), Limits(timeout_s=3), Limits(max_total_tokens=20))
MAX_THREADS: Final = 8
"""Nothing is forked once there are so many."""


class Wish(msgspec.Struct, frozen=True):
    """How what is submitted, or sent to a run, wants to be taken."""

    strategy: Strategy = "enqueue"
    mode: Mode = "steer"
    delay_s: float = 0.0
    granularity: Granularity = "batch"
    barrier: bool = False
    fallback_to_new_run: bool = True
    agent: str | None = "agent"
    limits: Limits | None = None
    state: dict[str, Any] | None = None
    is_aimed: bool = False
    """It names the run that it is for."""
    decides: bool = False
    """It brings decisions of what runs of its thread wait for."""


class Ask(msgspec.Struct, frozen=True):
    """Something to ask. `which` chooses among what there is when its turn comes."""

    kind: str
    thread: str = "a"
    which: int = 0
    program: tuple[str, ...] = ()
    wish: Wish = Wish()
    amount: float = 0.0
    doom: Doom | None = None


class Submission(msgspec.Struct, frozen=True):
    """A message, as an operation that may be asked again."""

    ask: Ask
    message: Message
    thread_id: ThreadId
    run_id: str | None
    """The run that it opens, or the one that it is for."""
    decisions: tuple[dict[str, Any], ...] = ()

    async def __call__(self, app: Awaken) -> Any:
        wish = self.ask.wish
        if self.ask.kind == "steer":
            return await app.steer(
                self.thread_id if self.run_id is None else None,
                self.message,
                run_id=self.run_id,
                mode=wish.mode,
                agent=wish.agent,
                granularity=wish.granularity,
                barrier=wish.barrier,
                fallback_to_new_run=wish.fallback_to_new_run,
            )
        handle = await app.submit(
            self.thread_id,
            self.message,
            agent=wish.agent,
            run_id=self.run_id,
            delay_s=wish.delay_s,
            limits=wish.limits,
            state=wish.state,
            multitask_strategy=wish.strategy,
            decisions=self.decisions,
        )
        return handle.record, handle.replayed


# --- drawn ------------------------------------------------------------------------------------------------------------


def pick(items: Sequence[T]) -> st.SearchStrategy[T]:
    return st.sampled_from(items)


threads, numbers = pick((*["a"] * 5, "b")), st.integers(0, 30)
programs = st.lists(pick(WORDS), max_size=5).map(tuple)
modelled = st.lists(pick(CALLS), max_size=4).map(tuple)
states = st.none() | st.dictionaries(
    pick(("n", "s")), pick((None, 1, {"deep": 2}, {"deep": None, "er": 3})), max_size=2
)
wishes = st.builds(
    Wish,
    strategy=pick(("enqueue", "enqueue", "enqueue", "reject", "interrupt", "rollback")),
    mode=pick(("steer", "steer", "steer", "follow_up", "resume")),
    delay_s=pick((0.0, 0.0, 0.0, 2.0)),
    granularity=pick(("batch", "one")),
    barrier=pick((False, False, True)),
    fallback_to_new_run=pick((True, True, False)),
    agent=pick(("agent", "agent", "agent", "model", None)),
    limits=pick((None, None, None, *LIMITS)),
    state=pick((None, None, {"n": 1}, {"n": None, "s": {"deep": 2}}, {"s": {"er": 3}})),
    is_aimed=pick((False, False, True)),
    decides=pick((False, False, True)),
)
on_model = wishes.map(lambda wish: msgspec.structs.replace(wish, agent="model"))
submits = st.builds(Ask, st.just("submit"), threads, numbers, programs, wishes) | st.builds(
    Ask, st.just("submit"), threads, numbers, modelled, on_model
)
firsts = st.builds(Ask, st.just("submit"), st.just("a"), numbers, programs.map(lambda words: ("nap", "inbox", *words)))
steers = st.builds(Ask, st.just("steer"), threads, numbers, programs, wishes)
dooms = st.builds(Doom, st.integers(1, 4), pick(("before", "after")))
MESSAGES: Final = ("decide", "decide", "decide", "decide_all", "edit", "retract", "reorder")
STOPS: Final = ("cancel", "rollback", "cancel_thread", "cancel_some", "interrupt", "again")
THREADS: Final = ("patch", "hide", "hide", "fork", "rename", "delete", "hide_run")
QUEUE: Final = ("place", "place", "cancel_dispatch", "drain", "undrain", "undrain")
SCHEDULES: Final = ("make", "make", "pause", "resume", "remove", "change")
actions = st.lists(
    st.one_of(
        submits, submits, steers, steers,
        st.builds(Ask, pick(MESSAGES), threads, numbers, programs),
        st.builds(Ask, pick(STOPS), threads, numbers),
        st.builds(Ask, pick(THREADS), threads, numbers),
        st.builds(Ask, pick(SCHEDULES), threads, numbers),
        st.builds(Ask, pick(QUEUE), threads, numbers),
        st.builds(Ask, st.just("advance"), amount=pick((0.3, 1.0, 2.0, NAP_S))),
        st.builds(Ask, st.just("advance"), amount=pick((1.0, NAP_S))),
        st.builds(Ask, pick(("crash", "restart", "doom", "doom")), doom=dooms),
    ),
    min_size=8,
    max_size=24,
)  # fmt: skip


# --- made -------------------------------------------------------------------------------------------------------------


class Asking:
    """Makes operations of what was drawn, and of what there is."""

    def __init__(self) -> None:
        self._submitted: list[Submission] = []
        self._count = 0

    def operation(self, ask: Ask, seen: View) -> Operation | None:
        """None where there is nothing of the kind."""
        view = next((each for each in seen.threads if each.thread_id == ask.thread), None)
        if ask.kind in ("submit", "steer"):
            return self._submission(ask, seen)
        if ask.kind == "again":
            return self._submitted[-1 - ask.which % len(self._submitted)] if self._submitted else None
        if ask.kind in MESSAGES:
            return _about_messages(ask, seen, view)
        if ask.kind in STOPS:
            return _stop(ask, seen)
        if ask.kind in QUEUE:
            return _about_queue(ask, seen)
        if ask.kind in SCHEDULES:
            return _about_schedules(ask)
        return self._about_threads(ask, seen, view)

    def _submission(self, ask: Ask, seen: View) -> Submission:
        self._count += 1
        message = user_message(MessageId(f"m{self._count}"), _text(ask))
        thread_id, run_id = ThreadId(ask.thread), None
        unfinished = _unfinished(seen)
        if ask.kind == "submit" and ask.which % 2:
            run_id = f"run-{self._count}"
        if ask.kind == "steer" and ask.wish.is_aimed and unfinished:
            target = unfinished[ask.which % len(unfinished)]
            thread_id, run_id = target.thread_id, target.run_id
        decisions: tuple[dict[str, Any], ...] = ()
        if ask.kind == "submit" and ask.wish.decides:
            still = [ticket for _, ticket in seen.tickets if ticket.is_open and ticket.thread_id == thread_id]
            decisions = tuple([verdict(ticket, ask.which) for ticket in still[:2]])
        self._submitted.append(Submission(ask, message, thread_id, run_id, decisions))
        return self._submitted[-1]

    def _about_threads(self, ask: Ask, seen: View, view: ThreadView | None) -> Operation | None:
        thread_id, which = ThreadId(ask.thread), ask.which
        match ask.kind:
            case "patch":
                version = None if view is None or which % 3 else view.state.version
                values = ({"p": which}, {"p": None, "s": {"deep": which}}, {"s": None})[which % 3]
                return lambda app: app.patch_state(thread_id, values, if_version=version)
            case "rename":
                return lambda app: app.edit_thread(thread_id, title=f"t{which}", metadata={"n": which})
            case "hide" if view is not None and view.log:
                name = view.log[which % len(view.log)].message.id
                return lambda app: app.hide_message(thread_id, name)
            case "hide_run" if seen.all_runs:
                run_id = seen.all_runs[which % len(seen.all_runs)].run_id
                return lambda app: app.hide_run(run_id)
            case "fork" if view is not None and view.effective and len(seen.threads) < MAX_THREADS:
                self._count += 1
                seq = view.effective[which % len(view.effective)].seq
                new = f"fork-{self._count}"
                return lambda app: app.fork_thread(thread_id, at_seq=seq, new_thread_id=new)
            case "delete" if which % 3 == 0:
                children = ("reject", "detach", "cascade")[which // 3 % 3]
                return lambda app: app.delete_thread(thread_id, child_strategy=children, force=which % 2 == 0)
            case _:
                return None


def _text(ask: Ask) -> str:
    return " ".join(ask.program) or "say"


def _unfinished(seen: View) -> list[Run]:
    return [run for run in seen.all_runs if run.status is not RunStatus.DONE]


def _about_messages(ask: Ask, seen: View, view: ThreadView | None) -> Operation | None:
    thread_id, which = ThreadId(ask.thread), ask.which
    tickets = [ticket for _, ticket in seen.tickets]
    match ask.kind:
        case "decide" | "decide_all" if tickets:
            still = [each for each in tickets if each.is_open] or tickets
            ticket = still[which % len(still)]
            if ask.kind == "decide":
                return decision(ticket, which)
            of_run = [verdict(each, which + n) for n, each in enumerate(still) if each.run_id == ticket.run_id]
            if which % 2:
                return lambda app: app.decide_run(ticket.run_id, of_run)
            return lambda app: app.decide_thread(ticket.thread_id, of_run)
        case "edit" | "retract" if view is not None and view.receipts:
            waiting = [each.message_id for each in view.receipts if not each.is_final]
            known = waiting or [each.message_id for each in view.receipts]
            name, version = known[which % len(known)], 1 if which % 3 == 0 else None
            if ask.kind == "retract":
                return lambda app: app.retract(thread_id, name, if_version=version)
            return lambda app: app.edit(thread_id, name, _text(ask), if_version=version)
        case "reorder" if view is not None and view.pending:
            order = [each.entry.message_id for each in view.pending]
            turned = order[which % len(order) :] + order[: which % len(order)]
            if which % 3:
                return lambda app: app.reorder(thread_id, turned)
            return lambda app: _reordered_as_seen(app, thread_id, turned)
        case _:
            return None


async def _reordered_as_seen(app: Awaken, thread_id: str, order: list[MessageId]) -> Any:
    seen = await app.pending(thread_id)
    return await app.reorder(thread_id, order, if_version=seen.revision)


def decision(ticket: Ticket, which: int) -> Operation:
    """A yes, a no or an answer; now and then one that a ticket of its kind does not take."""
    said = verdict(ticket, which)
    del said["ticket_id"]
    return lambda app: app.decide(ticket.ticket_id, **said)


def verdict(ticket: Ticket, which: int) -> dict[str, Any]:
    action = "answer" if (ticket.asked.kind == "approval") == (which % 7 == 6) else ("approve", "deny")[which % 2]
    return {
        "ticket_id": ticket.ticket_id,
        "action": action,
        "result": "yes" if action == "answer" else None,
        "decision_id": "d" if which % 3 else None,
    }


def _stop(ask: Ask, seen: View) -> Operation | None:
    thread_id, which = ThreadId(ask.thread), ask.which
    unfinished = _unfinished(seen)
    match ask.kind:
        case "cancel" | "rollback" if seen.all_runs:
            still = unfinished or seen.all_runs
            run_id = still[which % len(still)].run_id
            return lambda app: app.cancel(run_id, action="rollback" if ask.kind == "rollback" else "cancel")
        case "cancel_thread":
            return lambda app: app.cancel_thread(thread_id)
        case "cancel_some" if which % 2:
            status = ("queued", "running", "all")[which % 3]
            return lambda app: app.cancel_runs(thread_id=thread_id, status=status)
        case "cancel_some":
            some = [run.run_id for run in unfinished[which % 3 :][:2]]
            return lambda app: app.cancel_runs(run_ids=[*some, "nobody"])
        case "interrupt":
            return lambda app: app.interrupt(thread_id)
        case _:
            return None


def _about_queue(ask: Ask, seen: View) -> Operation | None:
    which = ask.which
    every = [each for view in seen.threads for each in (*view.queue, *view.dispatches[-1:])]
    match ask.kind:
        case "drain":
            return lambda app: app.drain()
        case "undrain":
            return lambda app: app.undrain()
        case "place" if every:
            chosen = every[which % len(every)].dispatch_id
            priority, delay_s = (None, 0, 200)[which % 3], (0.0, None, 1.0)[which // 3 % 3]
            return lambda app: app.edit_dispatch(chosen, priority=priority, delay_s=delay_s)
        case "cancel_dispatch" if every:
            chosen = every[which % len(every)].dispatch_id
            return lambda app: app.cancel_dispatch(chosen)
        case _:
            return None


def _about_schedules(ask: Ask) -> Operation | None:
    name, which, thread_id = f"s{ask.which % 2}", ask.which, (None, ask.thread)[ask.which % 3 == 0]
    match ask.kind:
        case "make":
            return lambda app: app.create_schedule(
                name,
                "nap" if which % 2 else "say",
                agent="agent",
                every_s=2 + which % 3,
                overlap="queue" if which % 4 < 2 else "skip",
                missed=("all", "one", "none")[which % 5 % 3],
                thread_id=thread_id,
            )
        case "change":
            return lambda app: app.update_schedule(name, message="step", every_s=3)
        case "pause":
            return lambda app: app.pause_schedule(name)
        case "resume":
            return lambda app: app.resume_schedule(name)
        case _:
            return lambda app: app.delete_schedule(name)
