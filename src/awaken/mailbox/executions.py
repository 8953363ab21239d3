"""What this process executes: one supervised task for each claim it has won.

Above: `reactions` starts one for each claim and finds by thread who must be stopped; `engine` has them all handed back.
Below: `worker.Execution`.
Holds: whatever happens in an execution, its slot and its lease are given back, and none of its neighbours notices. Each
task is kept here from its start to its end. They are not tasks of a `TaskGroup`, because that cancels all when one
fails.

Source: ADR 0018.
"""

from __future__ import annotations

import asyncio
import logging

from awaken.domain.clock import Alarm, Clock
from awaken.domain.ids import ClaimToken, DispatchId, Scope, ThreadId
from awaken.mailbox.keeper import Keeper
from awaken.mailbox.slots import Slots
from awaken.mailbox.worker import Execution, Workshop
from awaken.store.transitions import Claimed

_log = logging.getLogger("awaken.mailbox")
_HANDOVER_REPEAT_S = 1.0
"""An agent that swallowed the request to stop is asked again, or a shutdown would never end."""

_Key = tuple[Scope, ThreadId]


class Executions:
    """One per process."""

    def __init__(self, workshop: Workshop, slots: Slots, keeper: Keeper, clock: Clock) -> None:
        self._workshop = workshop
        self._slots = slots
        self._keeper = keeper
        self._clock = clock
        self._tasks: dict[Execution, asyncio.Task[None]] = {}
        """Everything that is not over, in the order in which it started."""
        self._latest: dict[_Key, Execution] = {}
        """Of each thread, the execution of its latest claim, until that is settled or over."""
        self._idle = Alarm(clock)
        self._is_leaving = False

    def open(self) -> None:
        """What starts from now on is executed."""
        self._is_leaving = False

    def start(self, claimed: Claimed, asked_s: float) -> None:
        """Execute a claim that was asked for at `asked_s`, in seconds of the monotonic clock.

        While everything is being handed back, this is too.
        """
        execution = Execution(claimed, asked_s, self._workshop)
        key = (execution.scope, claimed.run.thread_id)
        earlier = self._latest.get(key)
        if earlier is not None:
            earlier.stop("lost")  # a thread has one claim, so an older one is over, whatever its execution believes
        self._latest[key] = execution
        self._slots.take(claimed)
        if claimed.dispatch.lease_until is not None:
            self._keeper.hold(execution, asked_s=asked_s)
        if self._is_leaving:
            execution.stop("handover")
        self._tasks[execution] = asyncio.get_running_loop().create_task(self._supervised(execution, key))

    def in_thread(self, scope: Scope, thread_id: ThreadId) -> Execution | None:
        """What this process executes in the thread, and has not settled."""
        return self._latest.get((scope, thread_id))

    def of_dispatch(self, scope: Scope, thread_id: ThreadId, dispatch_id: DispatchId) -> Execution | None:
        """As `in_thread`, if it is the execution of this dispatch."""
        execution = self._latest.get((scope, thread_id))
        return execution if execution is not None and execution.dispatch_id == dispatch_id else None

    def settled(self, scope: Scope, thread_id: ThreadId, token: ClaimToken) -> None:
        """The claim has ended in the store, so the thread's next one is no sign of a loss."""
        execution = self._latest.get((scope, thread_id))
        if execution is not None and execution.token == token:
            del self._latest[scope, thread_id]
        self._keeper.release(token)
        self._workshop.dispatcher.give_back(token)

    async def finished(self, within_s: float) -> None:
        """Wait until all are over, at most so many seconds."""
        deadline_s = self._clock.monotonic() + within_s
        while self._tasks and (left_s := deadline_s - self._clock.monotonic()) > 0:
            await self._idle.wait(left_s)

    async def hand_back(self) -> None:
        """Have every agent stopped and its dispatch released, until all are over."""
        self._is_leaving = True
        for execution in [*self._tasks]:
            execution.stop("handover")
        while self._tasks:
            await self._idle.wait(_HANDOVER_REPEAT_S)
            for execution in [*self._tasks]:
                execution.stop_again()

    @property
    def are_over(self) -> bool:
        return not self._tasks

    async def _supervised(self, execution: Execution, key: _Key) -> None:
        try:
            await execution.run()
        except Exception:
            _log.exception("run %s: its worker failed; the lease will return it", execution.claimed.run.run_id)
        finally:
            del self._tasks[execution]
            if self._latest.get(key) is execution:
                del self._latest[key]
            self._keeper.release(execution.token)
            self._workshop.dispatcher.give_back(execution.token)
            if not self._tasks:
                self._idle.set()
