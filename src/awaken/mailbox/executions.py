"""What this process executes: one supervised task for each claim it has won.

Above: `reactions` starts one for each claim and finds by thread who must be stopped; `engine` ends them all. Below:
`worker.Execution`.
Holds: whatever happens in an execution, its slot and its lease are given back, and none of its neighbours notices. Two
agents are never at work in one thread. Leaving is bounded: an agent that ignores that its task was cancelled is
abandoned, with its name in the log.

Tasks are kept here from their start to their end, also over a restart, which is why they are not tasks of a
`TaskGroup`: that would wait for an abandoned one for ever, and cancel all the others when one fails.

Source: ADR 0018.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from awaken.domain.clock import Alarm, Clock
from awaken.domain.ids import ClaimToken, DispatchId, Scope, ThreadId
from awaken.executors.containment import contain, kept
from awaken.mailbox.keeper import Keeper
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.slots import Slots
from awaken.mailbox.worker import Execution, Workshop
from awaken.store.transitions import Claimed

_log = logging.getLogger("awaken.mailbox")

_Key = tuple[Scope, ThreadId]


class Executions:
    """One per process."""

    def __init__(
        self,
        workshop: Workshop,
        slots: Slots,
        keeper: Keeper,
        clock: Clock,
        settings: MailboxSettings,
        left_claim: Callable[[], None],
    ) -> None:
        """`left_claim` is called when an execution is over that was abandoned, or could not confirm its lease: it has
        settled nothing, so its claim may be left.
        """
        self._workshop = workshop
        self._slots = slots
        self._keeper = keeper
        self._clock = clock
        self._settings = settings
        self._left_claim = left_claim
        self._tasks: dict[Execution, asyncio.Task[None]] = {}
        """Everything that is neither over nor abandoned, in the order in which it started."""
        self._abandoned: dict[Execution, asyncio.Task[None]] = {}
        self._latest: dict[_Key, Execution] = {}
        """Of each thread, the execution of its latest claim, until that is settled or over; then the one it waited for,
        if that is still at work."""
        self._carried: set[ClaimToken] = set()
        """The claims of everything that is not over."""
        self._idle = Alarm(clock)
        self._is_leaving = False
        self.begun = 0
        """Executions that were started here, over all lives."""
        self.lost = 0
        """Those of them whose claim was taken from them."""

    def open(self) -> None:
        """What starts from now on is executed, on the loop that is running."""
        contain(asyncio.get_running_loop())
        self._is_leaving = False

    def start(self, claimed: Claimed, asked_s: float) -> None:
        """Execute a claim that was asked for at `asked_s`, in seconds of the monotonic clock.

        While everything is being handed back, this is too.
        """
        key = (claimed.scope, claimed.run.thread_id)
        earlier = self._latest.get(key)
        if earlier is None:
            execution = Execution(claimed, asked_s, self._workshop)
        else:
            earlier.stop("lost")  # a thread has one claim, so an older one is over, whatever its execution believes
            execution = Execution(claimed, asked_s, self._workshop, earlier.at_work)
        self._latest[key] = execution
        self._carried.add(claimed.token)
        self._slots.take(claimed)
        self.begun += 1
        if claimed.dispatch.lease_until is not None:
            self._keeper.hold(execution, asked_s=asked_s)
        if self._is_leaving:
            execution.stop("handover")
        self._tasks[execution] = asyncio.get_running_loop().create_task(kept(self._supervised(execution, key)))

    def carries(self, token: ClaimToken) -> bool:
        """Whether a claim has an execution that is not over: its agent is at work, or what it came to is being settled,
        which may have to be asked more than once. Its slot is no sign of that: it is given back before.
        """
        return token in self._carried

    def in_thread(self, scope: Scope, thread_id: ThreadId) -> Execution | None:
        """What this process executes in the thread, and has not settled."""
        return self._latest.get((scope, thread_id))

    def of_dispatch(self, scope: Scope, thread_id: ThreadId, dispatch_id: DispatchId) -> Execution | None:
        """As `in_thread`, if it is the execution of this dispatch."""
        execution = self._latest.get((scope, thread_id))
        return execution if execution is not None and execution.dispatch_id == dispatch_id else None

    @property
    def count(self) -> int:
        """How many are not over, abandoned or not."""
        return len(self._tasks) + len(self._abandoned)

    def executing(self) -> list[Claimed]:
        """What has a place, abandoned or not, in the order in which it started."""
        every = [execution.claimed for execution in (*self._abandoned, *self._tasks)]
        return [claimed for claimed in every if self._slots.holds(claimed.token)]

    def stir(self, threads: Collection[_Key] | None) -> None:
        """Something was committed elsewhere in these threads, or who knows where: maybe messages for what executes, or
        that it is to stop.
        """
        for key in self._latest if threads is None else threads:
            execution = self._latest.get(key)
            if execution is not None:
                execution.stir()
                self._keeper.confirm(execution.token)

    def settled(self, scope: Scope, thread_id: ThreadId, token: ClaimToken) -> None:
        """The claim has ended in the store, so the thread's next one is no sign of a loss."""
        execution = self._latest.get((scope, thread_id))
        if execution is not None and execution.token == token:
            self._leave_thread(execution, (scope, thread_id))
        self._keeper.release(token)
        self._workshop.dispatcher.give_back(token)

    @property
    def are_over(self) -> bool:
        """Whether none is left but those that were abandoned."""
        return not self._tasks

    # --- leaving ------------------------------------------------------------------------------------------------------

    async def finished(self, within_s: float) -> bool:
        """Wait until all are over, at most so many seconds. Whether they are."""
        deadline_s = self._clock.monotonic() + within_s
        while self._tasks and (left_s := deadline_s - self._clock.monotonic()) > 0:
            await self._idle.wait(left_s)
        return not self._tasks

    async def hand_back(self) -> None:
        """Have every agent stop and its dispatch released; what cannot be stopped is abandoned.

        First with the next step that each of them closes; after `handover_s` seconds their tasks are cancelled; after
        `tidy_s` more nobody waits for them.
        """
        self._is_leaving = True
        for execution in [*self._tasks]:
            execution.stop("handover")
        if await self.finished(self._settings.handover_s):
            return
        for execution in [*self._tasks]:
            execution.cut_short()
        if await self.finished(self._settings.tidy_s):
            return
        for execution, task in [*self._tasks.items()]:
            self._abandon(execution, task)
        while self._tasks:  # these were waiting for the store, and end as soon as their tasks get to run
            await self._idle.wait()

    def _abandon(self, execution: Execution, task: asyncio.Task[None]) -> None:
        run = execution.claimed.run
        execution.abandon()
        self._keeper.release(execution.token)
        if execution.at_work is not execution:
            _log.error("run %s could not be settled before awaken was left; its claim is taken back later", run.run_id)
            task.cancel()
            return
        del self._tasks[execution]
        self._abandoned[execution] = task
        _log.error(
            "agent %s ignored the request to stop, and is abandoned: run %s of thread %s. Until it ends, nothing of"
            " that thread is executed in this process",
            run.route,
            run.run_id,
            run.thread_id,
        )

    # --- the end of each ----------------------------------------------------------------------------------------------

    async def _supervised(self, execution: Execution, key: _Key) -> None:
        try:
            await execution.run()
        except Exception:
            _log.exception("run %s: its worker failed; its claim is taken back later", execution.claimed.run.run_id)
        finally:
            self._end(execution, key)

    def _end(self, execution: Execution, key: _Key) -> None:
        self._tasks.pop(execution, None)
        self._carried.discard(execution.token)
        was_abandoned = self._abandoned.pop(execution, None) is not None
        if self._latest.get(key) is execution:
            self._leave_thread(execution, key)
        self._keeper.release(execution.token)
        self._workshop.dispatcher.give_back(execution.token)
        if was_abandoned:
            _log.info("the abandoned run %s has ended", execution.claimed.run.run_id)
        if execution.is_lost:
            self.lost += 1
            self._left_claim()
        if not self._tasks:
            self._idle.set()

    def _leave_thread(self, execution: Execution, key: _Key) -> None:
        """It is the latest of its thread no more. What it was stopped waiting for may be at work still, and whoever
        comes next must wait for that all the same.
        """
        ahead = execution.at_work
        if ahead is None:
            del self._latest[key]
        else:
            self._latest[key] = ahead
