"""The exception tree: an error is named for what happened and carries its facts.

Above: the HTTP layer maps each class to a status in one table; nobody reads message text to decide.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from awaken.domain.clock import lasting

if TYPE_CHECKING:
    from awaken.domain.shown import Run


class AwakenError(Exception):
    """Everything this package raises on purpose."""

    code = "internal"


class ValidationError(AwakenError):
    """It will never be accepted as sent. `code` narrows it for clients; `loc` points into the input."""

    def __init__(self, message: str, *, code: str = "invalid_request", loc: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.loc = loc


class UnknownAgent(ValidationError):
    """The submit names an agent this server does not have, or names none where several could be meant."""

    def __init__(self, agent_id: str | None, known: tuple[str, ...]) -> None:
        names = ", ".join(known) or "none"
        asked = f"there is no agent {agent_id!r}" if agent_id is not None else "agent_id is required here"
        super().__init__(f"{asked}; registered agents: {names}", code="unknown_agent", loc=("body", "agent_id"))
        self.agent_id = agent_id
        self.known = known


class Unauthorized(AwakenError):
    """Whoever asks has not shown who they are."""

    code = "unauthorized"


class Forbidden(AwakenError):
    """Whoever asks is known, and may not."""

    code = "forbidden"


class NotFound(AwakenError):
    """Nothing has that id in the caller's scope."""

    what = "object"
    code = "not_found"

    def __init__(self, id: str) -> None:
        super().__init__(f"no {self.what} has the id {id!r}")
        self.id = id


class ThreadNotFound(NotFound):
    what = "thread"
    code = "thread_not_found"


class RunNotFound(NotFound):
    what = "run"
    code = "run_not_found"


class RunNeverBegun(RunNotFound):
    """It was submitted in a transaction of the caller's, and never came to be."""

    def __init__(self, id: str, why: str) -> None:
        super().__init__(id)
        self.args = (f"run {id!r} never came to be: {why}",)


class WatchedNotFound(NotFound):
    """Somebody wants to watch it, and said only its id."""

    what = "thread and no run"
    code = "watched_not_found"


class DispatchNotFound(NotFound):
    what = "dispatch"
    code = "dispatch_not_found"


class DeadLetterNotFound(NotFound):
    """There is such a dispatch, and it was not given up; `state` says what it is instead."""

    what = "dead letter"
    code = "dead_letter_not_found"

    def __init__(self, dispatch_id: str, state: str) -> None:
        super().__init__(dispatch_id)
        self.args = (f"dispatch {dispatch_id!r} is no dead letter: {state}",)
        self.state = state


class ThreadGone(NotFound):
    """It was deleted. Its id is not used again."""

    what = "thread"
    code = "thread_deleted"

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.args = (f"thread {id!r} was deleted; its id is not used again, so choose another",)


class MessageNotFound(NotFound):
    what = "message"
    code = "message_not_found"


class TicketNotFound(NotFound):
    what = "ticket"
    code = "ticket_not_found"


class UnknownToolCall(NotFound):
    """The run waits for no call of that id."""

    what = "ticket of a tool call"
    code = "unknown_tool_call"


class AgentNotFound(NotFound):
    what = "agent"
    code = "agent_not_found"


class ScheduleNotFound(NotFound):
    what = "schedule"
    code = "schedule_not_found"


class AgentNotLoadable(AwakenError):
    """The agent is registered and cannot be run here: what it names cannot be imported, or making it failed."""

    code = "agent_not_loadable"


class Conflict(AwakenError):
    """The request is sound, the present state forbids it."""

    code = "conflict"


_TAKEN = {
    "agent": "is registered already; choose another name",
    "thread": "exists already; submit to it, or choose another id",
    "backup": "exists already; choose another name, or remove it first",
}
"""What is not sent again, but taken."""


class AlreadyExists(Conflict):
    """The id is taken by something else than what was sent."""

    code = "already_exists"

    def __init__(self, what: str, id: str) -> None:
        hint = _TAKEN.get(what, "exists already and differs from what was sent; send the same again, or another id")
        super().__init__(f"the {what} {id!r} {hint}")
        self.what = what
        self.id = id


class AlreadyAccepted(Conflict):
    """The same messages were accepted before, and no run of theirs is kept that could be answered with."""

    code = "already_accepted"

    def __init__(self, message_id: str, run_id: str | None) -> None:
        came = "without a run" if run_id is None else f"with run {run_id!r}, which has ended and is kept no longer"
        super().__init__(f"message {message_id!r} was accepted before: it came {came}")
        self.id = message_id
        self.run_id = run_id


class RunNotOpen(Conflict):
    """The run has ended otherwise than asked, or takes nothing any more."""

    code = "run_not_open"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            f"run {run_id!r} is {status} and cannot be changed" if run_id else "no run executes that could take it"
        )
        self.id = run_id
        self.status = status


class ScheduleDeclared(Conflict):
    """The program declares the schedule, and only there it can be changed."""

    code = "schedule_declared"

    def __init__(self, name: str) -> None:
        super().__init__(f"schedule {name!r} is declared by the program; change it there, or pause it")
        self.id = name


class TooManySchedules(Conflict):
    """There are as many schedules as there may be."""

    code = "too_many_schedules"

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} schedules already, and more cannot be made; delete some")
        self.limit = limit


class RunNotWaiting(Conflict):
    """What was sent goes on with a run that waits for somebody, and this one does not."""

    code = "run_not_waiting"

    def __init__(self, thread_id: str, run_id: str | None, status: str | None) -> None:
        which = f"no run of thread {thread_id!r} waits" if run_id is None else f"run {run_id!r} is {status}, and waits"
        rest = "for input" if run_id is None else "for nothing"
        super().__init__(f"{which} {rest}; send it in another mode")
        self.id = run_id
        self.status = status


class DeliveryBlocked(Conflict):
    """A message that is pending stands in the way, because it is a barrier."""

    code = "delivery_blocked"

    def __init__(self, message_id: str) -> None:
        super().__init__(
            f"message {message_id!r} is pending, and a barrier: it has to be taken or retracted before the thread may"
            " be interrupted for something else"
        )
        self.id = message_id


class AlreadyConsumed(Conflict):
    """What has become of the message is final, so it can be changed no more. `fate` as in its receipt."""

    code = "already_consumed"

    def __init__(self, message_id: str, fate: str) -> None:
        super().__init__(f"message {message_id!r} is {fate} already, and cannot be changed any more")
        self.id = message_id
        self.fate = fate


class TicketWithdrawn(Conflict):
    """The run waits for the ticket no longer, because it has ended or gone on without it."""

    code = "ticket_withdrawn"

    def __init__(self, run_id: str, status: str, ticket_id: str) -> None:
        super().__init__(f"run {run_id!r} is {status}, and waits for ticket {ticket_id!r} no longer")
        self.id = ticket_id
        self.run_id = run_id
        self.status = status


class DecisionConflict(Conflict):
    """The ticket was decided before, otherwise; what was decided then counts."""

    code = "decision_conflict"

    def __init__(self, ticket_id: str, decision_id: str, action: str, decided_by: str | None, decided_at: str) -> None:
        who = "" if decided_by is None else f" by {decided_by!r}"
        super().__init__(f"ticket {ticket_id!r} was decided before{who}, at {decided_at}: {action}")
        self.id = ticket_id
        self.decision_id = decision_id
        self.action = action
        self.decided_by = decided_by
        self.decided_at = decided_at


class TicketExpired(AwakenError):
    """The time of a ticket was over before anybody decided. Raised in the agent that asked, where it gave no default,
    and to whoever decides too late.
    """

    code = "ticket_expired"

    def __init__(self, ticket_id: str, why: str) -> None:
        super().__init__(f"ticket {ticket_id!r} has expired: {why}")
        self.id = ticket_id


class ThreadBusy(Conflict):
    """The thread's running run did not let go in time, or what was asked must not happen while it runs."""

    code = "thread_busy"

    def __init__(self, thread_id: str, active_run_id: str | None) -> None:
        what = "has work that is not due yet" if active_run_id is None else f"is in the hands of run {active_run_id!r}"
        super().__init__(f"thread {thread_id!r} {what}")
        self.thread_id = thread_id
        self.active_run_id = active_run_id


class RunFailed(AwakenError):
    """A run that somebody waited for ended in an error. `run` is its record, with the error in it."""

    code = "run_failed"

    def __init__(self, run: Run) -> None:
        reason = "it failed" if run.error is None else run.error.message
        super().__init__(f"run {run.run_id!r} of agent {run.agent_id!r} failed: {reason}")
        self.run = run


class RunTimeout(AwakenError, TimeoutError):
    """The patience of whoever waited is over; the run goes on. `run` is its record as it was then."""

    code = "run_timeout"

    def __init__(self, run: Run, timeout_s: float) -> None:
        super().__init__(f"run {run.run_id!r} has not ended within {lasting(timeout_s)} and goes on; it is {run.phase}")
        self.run = run
        self.timeout_s = timeout_s


class QueueFull(AwakenError):
    """The thread holds as many waiting runs, or pending messages, as it may."""

    code = "queue_full"

    def __init__(self, thread_id: str, limit: int, what: str = "runs waiting") -> None:
        super().__init__(f"thread {thread_id!r} may have {limit} {what}; let some finish first")
        self.thread_id = thread_id
        self.limit = limit


class VersionConflict(Conflict):
    """The caller acted on a state that is gone."""

    code = "version_conflict"


class HasChildThreads(Conflict):
    """Other threads name the thread as their parent; `child` is one of them."""

    code = "has_children"

    def __init__(self, thread_id: str, child: str) -> None:
        super().__init__(
            f"thread {thread_id!r} is the parent of {child!r} and perhaps others;"
            " say with child_strategy whether they are to stay (detach) or to go with it (cascade)"
        )
        self.id = thread_id
        self.child = child


class LineageCycle(Conflict):
    """A thread would be its own ancestor."""

    code = "lineage_cycle"

    def __init__(self, thread_id: str) -> None:
        super().__init__(f"thread {thread_id!r} cannot get that parent: it would be its own ancestor, or too deep")
        self.id = thread_id


class RunNotFinished(Conflict):
    """What was asked is for runs that have ended."""

    code = "run_not_finished"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} has not ended")
        self.id = run_id


class NotDeadLetter(Conflict):
    """There is nothing to see to: the dispatch is no dead letter, or was seen to otherwise; `state` says which."""

    code = "not_dead_letter"

    def __init__(self, dispatch_id: str, state: str) -> None:
        super().__init__(f"dispatch {dispatch_id!r} is no dead letter that waits for somebody: {state}")
        self.id = dispatch_id


class DispatchNotQueued(Conflict):
    """Only what is queued can be given another place."""

    code = "dispatch_not_queued"

    def __init__(self, dispatch_id: str, status: str) -> None:
        super().__init__(f"dispatch {dispatch_id!r} is {status}; only one that is queued can be given another place")
        self.id = dispatch_id
        self.dispatch_status = status


class DispatchEnded(Conflict):
    """There is nothing left of it to cancel."""

    code = "dispatch_ended"

    def __init__(self, dispatch_id: str, status: str) -> None:
        super().__init__(
            f"dispatch {dispatch_id!r} is {status}, and cancels nothing; to stop a run that goes on, cancel the run"
        )
        self.id = dispatch_id
        self.dispatch_status = status


class StaleVersion(VersionConflict):
    """The caller named a version, and what it is of has another one by now: `version`."""

    code = "precondition_failed"

    def __init__(self, what: str, version: int | str) -> None:
        super().__init__(f"{what} has version {version} by now; read it again, and decide anew")
        self.version = version


class LeaseLost(VersionConflict):
    """The claim no longer holds: a successor may own the dispatch, so the caller must write nothing more."""

    def __init__(self, dispatch_id: str, reason: str) -> None:
        super().__init__(f"the claim on dispatch {dispatch_id!r} no longer holds: {reason}")
        self.dispatch_id = dispatch_id
        self.reason = reason


class Superseded(VersionConflict):
    """An interrupt raised the thread's epoch above the caller's."""


class Unsupported(AwakenError):
    """A capability that this store, executor or version does not declare."""

    code = "not_supported"

    def __init__(self, capability: str, hint: str = "") -> None:
        super().__init__(f"{capability} is not supported{': ' + hint if hint else ''}")
        self.capability = capability


class CursorExpired(AwakenError):
    """The cursor points outside what the log holds."""

    code = "cursor_expired"

    def __init__(self, cursor: str, oldest: str) -> None:
        super().__init__(f"cursor {cursor!r} is outside the log; read again from {oldest!r} or from the start")
        self.cursor = cursor
        self.oldest = oldest


class Unavailable(AwakenError):
    """Not now: the server is starting or stopping. Worth retrying."""

    code = "starting"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class WrongLoop(AwakenError):
    """It was called from another event loop, or another thread, than the one it belongs to; nothing was done."""

    code = "wrong_loop"


class StoreError(AwakenError):
    """The store could not do its part; `StoreUnavailable` is worth retrying, unless it is a `StoreRefused`;
    `DataIntegrity` is not."""

    code = "store_unavailable"
    log_level = logging.WARNING
    """Of a line that says that something waits for the store, and will be tried again."""


class StoreUnavailable(StoreError):
    """The store was not reached or refused to write, and nothing changed."""


class StoreUnreachable(StoreUnavailable):
    """Nobody answered for the store, or nobody is taken in at present: the same can be asked again."""

    log_level = logging.DEBUG
    """A store that goes away says so by itself, once, and not each part of a process for itself."""


class StoreRefused(StoreUnavailable):
    """The store answers so until somebody changes something first: a grant, a password, the URL, the version."""


class DataIntegrity(StoreError):
    """A stored record breaks a promise of this package: it was damaged or edited by hand."""

    code = "data_integrity"


MAX_CLASS_CHARS: Final = 100


class ExecutorError(AwakenError):
    """An agent's execution failed. The class says whether a retry could help."""

    code = "executor_error"
    stands_for: type[BaseException] | None = None
    """The class of the exception that made it this failure; None where nothing but itself did."""

    @property
    def error_class(self) -> str:
        """The name under which runs that failed in this way are counted."""
        return (self.stands_for or type(self)).__name__[:MAX_CLASS_CHARS]


class TransientFailure(ExecutorError):
    """May succeed when tried again; `retry_after_s` is the provider's own wish."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentFailure(ExecutorError):
    """Will fail the same way however often it is tried."""


class ChildFailed(PermanentFailure):
    """A run that was started, and waited for, has failed or was stopped."""

    code = "child_failed"

    def __init__(self, run_id: str, name: str, why: str) -> None:
        super().__init__(f"the run {run_id!r}, started as {name!r}, came to nothing: {why}")
        self.run_id = run_id
        self.name = name
        self.why = why


class ProtocolError(AwakenError):
    """Two sides of a protocol disagree; the subclasses say whose fault it is."""

    code = "protocol_error"


class LocalProtocolError(ProtocolError):
    """This side broke the protocol."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the protocol."""
