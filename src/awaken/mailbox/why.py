"""Why a run is where it is, in words: one pure function from facts to an explanation.

Above: `explain` loads the facts. Below: the records, and the same order of a queue that the store claims by.
Holds: the first thing in the way is named, the one without which the run would go on: what its thread executes, then
what stands ahead of it there, then its time, then whether it can be executed here, then the room there is for it. A
record that contradicts the others is called damaged, and nothing else is concluded from it.

Source: docs/howto/find-out-why.md; ADR 0023, ADR 0034.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from awaken.domain.child import child_of
from awaken.domain.clock import Instant, lasting, to_rfc3339
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch
from awaken.domain.ids import ConsumerId, MessageId, Route, RunId
from awaken.domain.pending import Pending
from awaken.domain.phase import Phase, phase_of
from awaken.domain.run import DONE, Origin, Run, SeenTo
from awaken.domain.ticket import OnExpiry, Ticket
from awaken.domain.worker import ProcessName
from awaken.mailbox.lifetime import State
from awaken.store.contract import MAX_PAGE, PendingMessage
from awaken.store.rules.facts import Waiter
from awaken.store.transitions import Mending

WhyCode = Literal[
    "completed", "stopped", "blocked", "cancelled", "superseded", "failed", "dead_letter",
    "waits_for_tickets", "waits_for_children", "waits_for_input",
    "starting", "executing", "settling", "stopping", "ignores_stop", "behind_agent_at_work",
    "executing_elsewhere", "cancel_requested", "lease_ended", "claim_left",
    "behind_run", "behind_queued", "delayed", "in_back_off", "not_executing_here", "not_ready", "drained",
    "unserved", "not_loadable", "agent_paused", "agent_at_limit", "suspect", "no_free_slot", "due", "damaged",
]  # fmt: skip

Held = Literal["nowhere", "starting", "executing", "stopping", "ignores_stop", "behind_agent_at_work", "settling"]
"""What this process does with a claim: nothing, for it is that of another process or left over; or how far it is."""

MAX_NAMED: Final = 10
"""Of runs, tickets and children in the way; more are counted."""
_NAMED_IN_WORDS: Final = 3
_SECOND_MS: Final = 1_000
_SERVE_IT: Final = "register an agent of that name with `app.agent`, or cancel the run"
_SERVE_VERSION: Final = (
    'register that version with `app.agent`, or have the newest execute older ones (`fallback="latest"`); or cancel the'
    " run"
)
_ENDED: Final[dict[Phase, WhyCode]] = {
    "completed": "completed",
    "stopped": "stopped",
    "blocked": "blocked",
    "cancelled": "cancelled",
    "superseded": "superseded",
    "failed": "failed",
    "dead_letter": "dead_letter",
}
_ABOUT_THE_PAST: Final = frozenset({"events_have_no_hole", "messages_have_no_hole", "report_has_message"})
"""Invariants of what was said: where one is broken, a thread goes on all the same."""
_EXPIRY: Final[dict[OnExpiry, str]] = {
    "deny": "it counts as denied",
    "fail": "the run fails",
    "cancel": "the run is cancelled",
    "answer": "its default answer counts",
}


class Blocker(NamedTuple):
    """What is in the way."""

    kind: Literal["run", "ticket", "agent"]
    id: str


class Executing(msgspec.Struct, frozen=True):
    """A run that this process executes."""

    run_id: RunId
    executor: Route
    """Who executes it, and whose limit it counts in."""
    is_suspect: bool


class Elsewhere(msgspec.Struct, frozen=True):
    """How many other processes on the store execute runs of an agent, and in how many that have it it is paused."""

    serving: int
    paused: int


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What this process knows, and no row says: its rooms, what it serves, and what it does with a thread's claim."""

    state: State
    executes: bool
    is_drained: bool
    """Somebody wants nothing to begin here."""
    consumer: ConsumerId
    is_served: bool
    """The agent can, and may, be executed here."""
    is_paused: bool
    """Somebody has paused it here."""
    withdrawn: str | None
    """Why it cannot, where it was made known and could not be loaded."""
    executor: Route
    """Who executes its agent's runs here: the version that it has, or one that stands in for it."""
    agent_limit: int | None
    elsewhere: Elsewhere | None
    """Who else executes runs of its agent; None where that is not known, or nobody else can use the store."""
    gives_up_after_ms: int | None
    """How long what is due may wait for somebody who can execute it; None: for ever."""
    slots: int
    suspect_room: int
    executing: tuple[Executing, ...]
    """What has a slot."""
    held: Held
    """Of the claim of the run's thread."""
    holder: ProcessName | None = None
    """The other process that has the claim, where it is known to live, or to have lived just now."""
    at_work: RunId | None
    """The run whose agent is at work in the thread, whoever has the claim."""
    refused: tuple[Mending, ...] = ()
    """What the audit found in the thread and could not mend."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that an explanation is made of. `active`, `queue` and `ahead` are those of the thread of a queued run."""

    now: Instant
    run: Run
    dispatch: Dispatch | None
    """Its newest one; None where that is gone or cannot be read."""
    here: Here
    tickets: tuple[Ticket, ...] = ()
    """Those of a waiting run that are open; at most `MAX_PAGE`."""
    active: Dispatch | None = None
    """What its thread executes."""
    queue: tuple[Dispatch, ...] = ()
    """What is queued in its thread; at most `MAX_PAGE`."""
    ahead: Facts | None = None
    """The one directly in its way, in its thread."""
    pending: tuple[PendingMessage, ...] = ()
    """What waits for the run that its thread executes."""
    lost: tuple[MessageId, ...] = ()
    """Of the messages that a queued run is to be given, those that are gone, or cannot be read."""
    unreadable: str | None = None
    """What is damaged of what is ahead of it in its thread."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run is where it is. `next_at`: when that changes by itself, where that is known."""

    code: WhyCode
    summary: str
    facts: dict[str, Any]
    next_action: str
    next_at: Instant | None = None
    blocked_by: tuple[Blocker, ...] = ()


class _Reason(msgspec.Struct, frozen=True):
    """An explanation without what each of them has. `since`: from when on it is so."""

    code: WhyCode
    summary: str
    next_action: str
    since: Instant
    next_at: Instant | None = None
    blocked_by: tuple[Blocker, ...] = ()
    facts: dict[str, Any] = {}


def ahead_of(facts: Facts) -> Dispatch | None:
    """What is directly in the way of a queued run in its thread: what executes there, or else the head of the queue."""
    if facts.active is not None:
        return facts.active
    head = min(facts.queue, key=lambda each: Waiter.of(each).order(facts.now), default=None)
    return None if head is None or head.run_id == facts.run.run_id else head


def explain(facts: Facts) -> Explanation:
    """Name the first thing in the way of a run, and what changes that."""
    reason = _reason(facts)
    run, dispatch = facts.run, facts.dispatch
    known: dict[str, Any] = {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "agent_id": run.agent_id,
        "phase": phase_of(run, dispatch),
        "since": to_rfc3339(reason.since),
        "for_s": max(facts.now - reason.since, 0) / _SECOND_MS,
    }
    if run.request.trace.origin is Origin.SCHEDULE:
        known["origin"] = "schedule"
    if dispatch is not None and run.status is not DONE:
        known |= {"why": dispatch.why, "attempt_count": dispatch.attempt_count, "max_attempts": dispatch.max_attempts}
        known |= {"crash_count": dispatch.crash_count, "priority": dispatch.priority}
        known["dispatch_id"] = dispatch.dispatch_id
    return Explanation(
        code=reason.code,
        summary=reason.summary,
        facts=known | reason.facts,
        next_action=reason.next_action,
        next_at=reason.next_at,
        blocked_by=reason.blocked_by[:MAX_NAMED],
    )


def _reason(facts: Facts) -> _Reason:
    run, dispatch = facts.run, facts.dispatch
    if run.status is DONE:
        return _ended(facts)
    if run.is_parked:
        return _parked(facts)
    if dispatch is None:
        return _damaged(facts, f"its queue entry {run.dispatch_id!r} is gone, or cannot be read")
    if dispatch.status is CLAIMED:
        return _claimed(facts, dispatch)
    if dispatch.status is QUEUED:
        return _queued(facts, dispatch)
    return _damaged(facts, f"it has not ended, and its queue entry is {dispatch.status}")


# --- runs that have ended ---------------------------------------------------------------------------------------------


def _ended(facts: Facts) -> _Reason:
    run, dispatch, run_id = facts.run, facts.dispatch, facts.run.run_id
    code = _ENDED[phase_of(run, dispatch)]
    since = facts.run.finished_at or facts.run.updated_at
    ago = f"{_lasting(facts.now - since)} ago"
    termination = run.termination
    detail = None if termination is None else termination.detail or termination.code
    error = detail if dispatch is None or dispatch.last_error is None else dispatch.last_error
    again = (
        f"nothing more happens by itself; to do it again: `awaken retry {run_id}`, `app.retry_run`, or"
        f" POST /v1/runs/{run_id}/retry"
    )
    match code:
        case "completed":
            said, then = f"It was completed {ago}.", "nothing: it has ended"
        case "stopped":
            said, then = f"It was stopped by a limit or by its agent {ago}: {detail or 'no reason given'}.", again
        case "cancelled":
            said, then = f"It was cancelled {ago}, because somebody asked for that.", again
        case "superseded":
            said, then = f"It was cleared away {ago} by an interrupt of its thread.", again
        case "dead_letter":
            is_spent = dispatch is not None and dispatch.attempt_count >= dispatch.max_attempts
            tries = f"after {_counted(dispatch.max_attempts, 'attempt')}" if dispatch and is_spent else "at once"
            said = f"The queue gave it up {tries}, {ago}: {error or 'no reason was stored'}."
            then = (
                f"mend what failed; then `awaken dead retry {run.dispatch_id}`, or"
                f" `awaken dead discard {run.dispatch_id} --reason TEXT`"
            )
            if run.seen_to is not None:
                said, then = f"{said} {_seen_to(run.seen_to)}", "nothing: somebody has seen to it"
        case _:
            said, then = (
                f"It {'failed' if code == 'failed' else 'was blocked'} {ago}: {error or 'no reason given'}.",
                again,
            )
    told: dict[str, Any] = {} if error is None else {"error": error}
    if run.dead_lettered:
        told["awaits_somebody"] = True
    return _Reason(code, said, then, since, facts={**told, "dispatch_id": run.dispatch_id})


def _seen_to(seen: SeenTo) -> str:
    if seen.retried_as is not None:
        return f"It is done again as run {seen.retried_as}."
    return f"It was discarded: {seen.reason or 'no reason given'}."


def _damaged(facts: Facts, what: str) -> _Reason:
    return _Reason(
        "damaged",
        f"It cannot go on: {what}.",
        "`awaken doctor` names what contradicts itself, and mends what it can; or cancel the run, or restore a backup",
        facts.run.updated_at,
    )


# --- runs that wait ---------------------------------------------------------------------------------------------------


def _parked(facts: Facts) -> _Reason:
    waiting, run_id = facts.run.waiting, facts.run.run_id
    assert waiting is not None, "a parked run says for what"
    wanted = [ticket for ticket in facts.tickets if ticket.ticket_id in waiting.tickets]
    if not waiting.tickets:
        return _Reason(
            "waits_for_input",
            f"It has waited {_lasting(facts.now - waiting.since)} for input{_saying(waiting.message)}.",
            f"send it a message: `awaken send {run_id} TEXT`, `app.steer`, or POST /v1/runs/{run_id}/messages",
            waiting.since,
        )
    if not wanted and len(facts.tickets) < MAX_PAGE:
        return _damaged(facts, "it waits for tickets that are closed, and nobody has let it go on")
    count = len(waiting.tickets)
    how = "" if count == 1 else f"{'all' if waiting.mode == 'all' else 'any'} of "
    told = {"tickets": [_ticket_facts(each) for each in wanted[:MAX_NAMED]], "ticket_count": count}
    waited = f"It has waited {_lasting(facts.now - waiting.since)} for {how}"
    if wanted and all([each.asked.kind == "child" for each in wanted]):
        children = [child_of(each) for each in wanted]
        named = _listed([f"{each.run_id} of agent {each.agent_id!r}" for each in children], count)
        return _Reason(
            "waits_for_children",
            f"{waited}{_counted(count, 'run')} that it has started: {named}.",
            "it goes on when they have ended; ask why of each of them, or cancel it",
            waiting.since,
            blocked_by=tuple([Blocker("run", each.run_id) for each in children]),
            facts={**told, "mode": waiting.mode},
        )
    named = _listed([_named_ticket(each) for each in wanted] or [*waiting.tickets], count)
    expiring = [each for each in wanted if each.expires_at is not None]
    first = min(expiring, key=lambda each: each.expires_at or 0, default=None)
    to_decide = [each.ticket_id for each in wanted if each.asked.kind != "child"] or [*waiting.tickets]
    commands = _listed([f"`awaken decide {each}`" for each in to_decide], len(to_decide))
    ticket_id = to_decide[0]
    then = f"decide: {commands}; or `app.decide`, or POST /v1/tickets/{ticket_id}/decision"
    if first is not None and first.expires_at is not None:
        left = _lasting(first.expires_at - facts.now)
        when = f"in {left}" if first.expires_at > facts.now else "now"
        then += f"; {_ticket_name(first)!r} expires {when}, and then {_EXPIRY[first.asked.on_expiry]}"
    return _Reason(
        "waits_for_tickets",
        f"{waited}{_counted(count, 'ticket')}: {named}.",
        then,
        waiting.since,
        next_at=None if first is None else first.expires_at,
        blocked_by=tuple([Blocker("ticket", each.ticket_id) for each in wanted]),
        facts={**told, "mode": waiting.mode},
    )


def _ticket_facts(ticket: Ticket) -> dict[str, Any]:
    expires_at = None if ticket.expires_at is None else to_rfc3339(ticket.expires_at)
    return {
        "ticket_id": ticket.ticket_id,
        "kind": ticket.asked.kind,
        "name": _ticket_name(ticket),
        "message": ticket.asked.message,
        "expires_at": expires_at,
    }


def _named_ticket(ticket: Ticket) -> str:
    return f"{ticket.asked.kind} {_ticket_name(ticket)!r} (ticket {ticket.ticket_id})"


def _ticket_name(ticket: Ticket) -> str:
    return ticket.asked.tool_name or ticket.asked.key


# --- runs that are claimed --------------------------------------------------------------------------------------------


def _claimed(facts: Facts, dispatch: Dispatch) -> _Reason:
    run, here, now = facts.run, facts.here, facts.now
    since = dispatch.tried_at or dispatch.updated_at
    lasting = _lasting(now - since)
    agent = f"agent {run.route!r}"
    asked_at = run.cancel_requested_at
    asked = "" if asked_at is None else f", {_lasting(now - asked_at)} ago"
    match here.held:
        case "starting":
            return _Reason("starting", "It has just been claimed, and starts.", "its agent begins in a moment", since)
        case "executing" if asked_at is None:
            return _Reason(
                "executing",
                f"It has been executing here for {lasting}: {agent} is at work, with"
                f" {_counted(run.steps, 'step')} closed.",
                f"wait, follow it with `awaken tail {run.run_id}`, or stop it with `awaken cancel {run.run_id}`",
                since,
                facts={"steps": run.steps},
            )
        case "executing" | "stopping":
            return _Reason(
                "stopping",
                f"It was asked to stop{asked}, and {agent} tidies up.",
                "it ends when its agent lets go",
                asked_at or since,
            )
        case "ignores_stop":
            return _Reason(
                "ignores_stop",
                f"It was asked to stop{asked}, and {agent} goes on all the same; its thread waits until it ends.",
                "it ends when its agent does, or this process; mend the agent: it must let CancelledError pass",
                asked_at or since,
                blocked_by=(Blocker("agent", run.route),),
            )
        case "behind_agent_at_work":
            other = "an earlier claim" if here.at_work in (None, run.run_id) else f"run {here.at_work}"
            return _Reason(
                "behind_agent_at_work",
                f"It has been claimed for {lasting}, and has not begun: the agent of {other}, which was stopped or"
                " abandoned, is still at work in its thread.",
                "it begins when that agent ends; it must let CancelledError pass. A restart of the process ends it",
                since,
                blocked_by=() if here.at_work is None else (Blocker("run", here.at_work),),
            )
        case "settling":
            return _Reason(
                "settling",
                "Its agent has ended, and what it came to is being stored.",
                "it ends when the store has answered; where that takes long, look at the store in /health",
                since,
            )
        case "nowhere":
            return _claimed_elsewhere(facts, dispatch, since)


def _claimed_elsewhere(facts: Facts, dispatch: Dispatch, since: Instant) -> _Reason:
    now, until, run = facts.now, dispatch.lease_until, facts.run
    told: dict[str, Any] = {
        "claimed_by": dispatch.claimed_by,
        "lease_until": None if until is None else to_rfc3339(until),
    }
    where = f"process {dispatch.claimed_by}"
    if facts.here.holder is not None:
        where = str(facts.here.holder)
        told["process"] = msgspec.to_builtins(facts.here.holder)
    if dispatch.claimed_by == facts.here.consumer:
        return _Reason(
            "claim_left",
            "It is claimed for this process, and nothing here executes it: the answer to a claim was lost.",
            "the sweep releases it, at no cost to the run",
            since,
            facts=told,
        )
    if until is not None and until < now:
        return _Reason(
            "lease_ended",
            f"The process that executed it, {where.removeprefix('process ')}, has not renewed its lease, which ended"
            f" {_lasting(now - until)} ago: it is dead, or cut off.",
            "the next sweep takes it back, and it is executed again from its last closed step",
            until,
            next_at=now,
            facts=told,
        )
    if run.cancel_requested_at is not None:
        asked = _lasting(now - run.cancel_requested_at)
        return _Reason(
            "cancel_requested",
            f"It was asked to stop {asked} ago, and {where}, which executes it, has not stopped it yet.",
            "it learns of it with its next step or renewal; if it is dead, the run ends when its lease is taken back",
            run.cancel_requested_at,
            next_at=until,
            facts=told,
        )
    return _Reason(
        "executing_elsewhere",
        f"It has been executing in {where} for {_lasting(now - since)}.",
        "wait; should that process die, the run is taken back when its lease ends",
        since,
        next_at=until,
        facts=told,
    )


# --- runs that are queued ---------------------------------------------------------------------------------------------


def _queued(facts: Facts, dispatch: Dispatch) -> _Reason:
    now = facts.now
    if facts.unreadable is not None:
        return _damaged(facts, f"what is ahead of it in its thread cannot be read: {facts.unreadable}")
    if facts.lost:
        named = _listed([f"message {each!r}" for each in facts.lost], len(facts.lost))
        return _damaged(facts, f"{named}, which it is to be given, is gone or cannot be read; it will be given up")
    before = [each for each in facts.queue if _goes_before(each, dispatch, now)]
    told: dict[str, Any] = {"queue_position": len(before) + 1, "ahead": len(before)}
    if dispatch.available_at > now:
        return _not_yet(facts, dispatch, told)
    ahead = ahead_of(facts)
    if ahead is not None:
        return _behind(facts, dispatch, ahead, before, told)
    here = _here(facts, dispatch)
    return replace(here, facts=here.facts | told)


def _not_yet(facts: Facts, dispatch: Dispatch, told: dict[str, Any]) -> _Reason:
    at, left = dispatch.available_at, _lasting(dispatch.available_at - facts.now)
    then = "it falls due"
    active = facts.active
    blocked_by = () if active is None else (Blocker("run", active.run_id),)
    if active is not None:
        then += f", and starts when run {active.run_id}, which its thread executes, has ended"
    if dispatch.why == "retry":
        error = dispatch.last_error or "no reason was stored"
        return _Reason(
            "in_back_off",
            f"Attempt {dispatch.attempt_count} of {dispatch.max_attempts} failed, and it is tried again in {left}. The"
            f" error: {error}",
            then,
            dispatch.updated_at,
            at,
            blocked_by,
            {**told, "error": error},
        )
    return _Reason(
        "delayed",
        f"It was asked for not before {to_rfc3339(at)}, in {left}.",
        then,
        dispatch.created_at,
        at,
        blocked_by,
        told,
    )


def _behind(facts: Facts, dispatch: Dispatch, ahead: Dispatch, before: list[Dispatch], told: dict[str, Any]) -> _Reason:
    others = [each for each in before if each.run_id != ahead.run_id]
    between = f", and {_counted(len(others), 'queued run')}" if others else ""
    steered = [each.entry for each in facts.pending if _opens_before(each.entry, ahead, dispatch)]
    since = dispatch.due_since
    blocked_by = tuple([Blocker("run", each.run_id) for each in [ahead, *others]])
    then = "it starts when what is ahead of it in its thread has ended; a thread runs one at a time, in order"
    reason = None if facts.ahead is None else _reason(facts.ahead)
    of_that = "" if reason is None else f" That run: {reason.summary}"
    if reason is not None:
        told = {**told, "ahead_code": reason.code}
        then += f". That run: {reason.next_action}"
    if steered:
        told = {**told, "pending_ahead": len(steered)}
        then += (
            f". {_counted(len(steered), 'message')} that came before it, for the run that executes, will go first where"
            " that run does not take them"
        )
    is_active = ahead.status is CLAIMED
    what = "which its thread executes" if is_active else "which is queued ahead of it in its thread"
    return _Reason(
        "behind_run" if is_active else "behind_queued",
        f"It has waited {_lasting(facts.now - since)} behind run {ahead.run_id}, {what}{between}.{of_that}",
        then,
        since,
        next_at=None if reason is None else reason.next_at,
        blocked_by=blocked_by,
        facts=told,
    )


def _here(facts: Facts, dispatch: Dispatch) -> _Reason:
    """It is due and the next of its thread: what keeps this process from executing it."""
    since = max(dispatch.available_at, dispatch.updated_at)
    due = f"It has been due for {_lasting(facts.now - since)}"
    return (
        _not_taking(facts, dispatch, due, since)
        or _not_served(facts, dispatch, due, since)
        or _no_room(facts, dispatch, due, since)
        or _refused(facts, due)
        or _Reason("due", "It is due, and nothing is in its way.", "it starts in a moment", since, facts.now)
    )


def _not_taking(facts: Facts, dispatch: Dispatch, due: str, since: Instant) -> _Reason | None:
    """This process takes no run at all."""
    here = facts.here
    if not here.executes:
        return _left_to_others(facts, dispatch, due, since)
    if here.state != "ready":
        return _Reason(
            "not_ready",
            f"{due}; awaken is {here.state} here, and takes no run.",
            "it goes on when awaken has started again",
            since,
            facts={"state": here.state},
        )
    if here.is_drained:
        return _Reason(
            "drained",
            f"{due}, and this process is drained: it begins no run.",
            "undrain it (`awaken undrain`), start the server again, or cancel the run",
            since,
        )
    return None


def _left_to_others(facts: Facts, dispatch: Dispatch, due: str, since: Instant) -> _Reason:
    """This process executes no run of its agent, and others may."""
    run, here = facts.run, facts.here
    agent, blocked_by = f"agent {run.route!r}", (Blocker("agent", run.route),)
    what = (
        f"this process executes no runs of {agent}" if here.executes else "this process accepts runs and executes none"
    )
    others = here.elsewhere
    if others is None:
        return _Reason("not_executing_here", f"{due}; {what}.", "a process that executes runs takes it", since)
    told = {"workers_serving": others.serving, "workers_paused": others.paused}
    if others.serving:
        return _Reason(
            "not_executing_here",
            f"{due}; {what}. {_counted(others.serving, 'other worker')} can run it.",
            "one of those takes it when it has room; `awaken workers` lists them",
            since,
            facts=told,
        )
    if others.paused:
        return _Reason(
            "agent_paused",
            f"{due}; {what}, and {agent} is paused in every process that has it.",
            f"resume the agent there (`awaken agents resume {run.agent_id}`), or cancel the run",
            since,
            blocked_by=blocked_by,
            facts=told,
        )
    return _Reason(
        "unserved",
        f"{due}; {what}, and no process that is known to live can run {agent}.{_given_up(facts, dispatch)}",
        "start a process that executes it; `awaken workers` lists those there are",
        since,
        next_at=_given_up_at(facts, dispatch),
        blocked_by=blocked_by,
        facts=told,
    )


def _not_served(facts: Facts, dispatch: Dispatch, due: str, since: Instant) -> _Reason | None:
    """This process takes no run of its agent."""
    run, here = facts.run, facts.here
    agent, blocked_by = f"agent {run.route!r}", (Blocker("agent", run.route),)
    if here.is_paused:
        return _Reason(
            "agent_paused",
            f"{due}, and {agent} is paused here.",
            f"resume the agent (`awaken agents resume {run.agent_id}`), start the server again, or cancel the run",
            since,
            blocked_by=blocked_by,
        )
    if here.withdrawn is not None:
        return _Reason(
            "not_loadable",
            f"{due}, and {agent} cannot be loaded here: {here.withdrawn}" + _given_up(facts, dispatch),
            "mend the agent and start the server again, or register it again with `app.agent`; or cancel the run",
            since,
            next_at=_given_up_at(facts, dispatch),
            blocked_by=blocked_by,
        )
    others = here.elsewhere
    if not here.is_served and others is not None and others.serving + others.paused:
        return _left_to_others(facts, dispatch, due, since)
    if not here.is_served:
        return _Reason(
            "unserved",
            f"{due}, and nobody here can run it: no {agent} is registered.{_given_up(facts, dispatch)}",
            _SERVE_IT if run.agent_version is None else _SERVE_VERSION,
            since,
            next_at=_given_up_at(facts, dispatch),
            blocked_by=blocked_by,
        )
    return None


def _given_up_at(facts: Facts, dispatch: Dispatch) -> Instant | None:
    """When it becomes a dead letter, if nobody can execute it until then."""
    after_ms = facts.here.gives_up_after_ms
    return None if after_ms is None else max(dispatch.due_since + after_ms, facts.now)


def _given_up(facts: Facts, dispatch: Dispatch) -> str:
    at = _given_up_at(facts, dispatch)
    if at is None:
        return ""
    in_ms = at - facts.now
    return f" It is given up {f'in {_lasting(in_ms)}' if in_ms else 'soon'}, if nobody can by then (unserved_after_s)."


def _no_room(facts: Facts, dispatch: Dispatch, due: str, since: Instant) -> _Reason | None:
    """As many execute as may: of its agent, of suspects, or of all."""
    here = facts.here
    of_agent = [each for each in here.executing if each.executor == here.executor]
    if here.agent_limit is not None and len(of_agent) >= here.agent_limit:
        return _Reason(
            "agent_at_limit",
            f"{due}; agent {here.executor!r} executes {len(of_agent)} of the"
            f" {_counted(here.agent_limit, 'run')} that it may at once.",
            "it starts when one of those ends; or raise max_concurrent of the agent",
            since,
            blocked_by=_runs(of_agent),
            facts={"agent_limit": here.agent_limit, "agent_executing": len(of_agent)},
        )
    suspects = [each for each in here.executing if each.is_suspect]
    if dispatch.is_suspect and len(suspects) >= here.suspect_room:
        return _Reason(
            "suspect",
            f"{due}; its process died {dispatch.crash_count} times while it was executing, so"
            f" it is a suspect, and {_counted(len(suspects), 'suspect')} of at most {here.suspect_room} execute.",
            "it starts when one of those closes a step or ends; cancel it if it is what kills the process",
            since,
            blocked_by=_runs(suspects),
            facts={"suspect_room": here.suspect_room, "suspects_executing": len(suspects)},
        )
    if len(here.executing) >= here.slots:
        return _Reason(
            "no_free_slot",
            f"{due}; this process executes as many runs as it may at once, {here.slots}.",
            "it starts when a slot is free and its turn has come; or raise max_concurrent_runs",
            since,
            blocked_by=_runs(here.executing),
            facts={"slots": here.slots},
        )
    return None


def _refused(facts: Facts, due: str) -> _Reason | None:
    """What is damaged in its thread, by which it may be held up."""
    found = [each for each in facts.here.refused if each.breach.invariant not in _ABOUT_THE_PAST]
    if not found:
        return None
    named = _listed([f"{each.breach} ({each.note})" for each in found], len(found))
    reason = _damaged(facts, f"{due[0].lower()}{due[1:]}, and what is stored of its thread cannot be mended: {named}")
    return replace(reason, facts={"refused": [str(each.breach) for each in found[:MAX_NAMED]]})


def _opens_before(entry: Pending, active: Dispatch, dispatch: Dispatch) -> bool:
    """Whether a message that is for what executes would be queued ahead of a run, if it were left."""
    place = (entry.opens.priority, entry.position)
    is_for_it = entry.run_id == active.run_id and entry.fallback_to_new_run
    return is_for_it and place < (dispatch.priority, dispatch.position)


def _goes_before(each: Dispatch, dispatch: Dispatch, now: Instant) -> bool:
    return Waiter.of(each).order(now) < Waiter.of(dispatch).order(now)


def _runs(executing: tuple[Executing, ...] | list[Executing]) -> tuple[Blocker, ...]:
    return tuple([Blocker("run", each.run_id) for each in executing[:MAX_NAMED]])


# --- words ------------------------------------------------------------------------------------------------------------


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _listed(names: list[str], count: int) -> str:
    """The first of them, and how many more there are."""
    named = names[:_NAMED_IN_WORDS]
    more = count - len(named)
    return ", ".join(named) + (f", and {more} more" if more > 0 else "")


def _saying(message: str | None) -> str:
    return "" if message is None else f": {message!r}"


def _lasting(ms: int) -> str:
    return lasting(ms / _SECOND_MS)
