"""The client for programs with an event loop.

Above: users. Below: `calls.py` (what to send, how to read it), `resume.py` (what to do next), httpx.
Holds: a method returns the server's answer or raises what it stands for; a stream comes back by itself.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

import httpx
from msgspec import UNSET, UnsetType

from awaken.client import calls, wire
from awaken.client.calls import Call
from awaken.client.connection import DEFAULT_TIMEOUT_S, OnReconnect, Reconnect, Setup, check_stream
from awaken.client.resume import ResumeSettings, Resumption, WatchResumption
from awaken.domain import shown
from awaken.domain.address import DEFAULT_URL
from awaken.domain.checking import HOUR_S, checked_seconds
from awaken.domain.clock import Clock, sleep
from awaken.domain.delivery import Mode, Strategy
from awaken.domain.dispatch import DEFAULT_PRIORITY
from awaken.domain.given import Given
from awaken.domain.ids import Chance
from awaken.domain.listing import Listing
from awaken.domain.pending import Granularity, WaitsAt
from awaken.domain.run import ClientTool, Limits, OnCompletion
from awaken.domain.schedule import Missed, Overlap
from awaken.domain.shown import (
    CancelledStatus,
    ChildStrategy,
    IfExists,
    MessageView,
    MessageVisibility,
    Order,
    StopAction,
)
from awaken.domain.ticket import Action, TicketKind, TicketState
from awaken.domain.watching import On, check_watched, scopes_of

ResultT = TypeVar("ResultT")


class AsyncClient:
    """Talks to one server. Enter it, or call `close`, so that its connections are closed.

    Raises, from every method:
        Unreachable: There was no answer.
        AwakenError: What the answer stands for: NotFound, Conflict, ValidationError, Unavailable …, else ApiError.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        resume: ResumeSettings | None = None,
        headers: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._setup = Setup(url, timeout_s=timeout_s, resume=resume, headers=headers, clock=clock, chance=chance)
        self._http = httpx.AsyncClient(transport=transport, **self._setup.httpx_arguments())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[ResultT]) -> ResultT:
        """Send a call made by `awaken.client.calls`, and read the answer."""
        try:
            response = await self._http.request(**self._setup.request_arguments(call))
        except httpx.TransportError as error:
            raise self._setup.unreachable(error) from error
        return calls.read(call, response.status_code, response.content)

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        thread_id: str | None,
        message: Given,
        *,
        agent: str | None = None,
        delay_s: float = 0.0,
        at: datetime | str | None = None,
        run_id: str | None = None,
        dedupe_key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        max_attempts: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        context: str | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        client_tools: Sequence[ClientTool] = (),
        overrides: Mapping[str, Any] | None = None,
        multitask_strategy: Strategy = "enqueue",
        release_wait_s: float | None = None,
        create_thread: bool = True,
        decisions: Sequence[Mapping[str, Any]] = (),
        on_completion: OnCompletion = "keep",
    ) -> AsyncRunHandle:
        """Have a run accepted. It is durable when this returns, and goes on whoever watches.

        `thread_id` None makes a new thread. Without `agent`: the thread's last agent, else the only one there is. `at`:
        a `datetime` with a time zone, or an RFC 3339 text, before which it does not start. Without `run_id` one is
        chosen here; the same id with the same content is the same run. `decisions`: about what a run of the thread
        waits for, made together with the submit. `on_completion="delete"`: a new thread goes some time after its run.
        """
        request = calls.run_request(
            self._setup.ids,
            thread_id,
            message,
            agent=agent,
            run_id=run_id,
            dedupe_key=dedupe_key,
            priority=priority,
            max_attempts=max_attempts,
            metadata=metadata,
            limits=limits,
            context=context,
            state=state,
            client_tools=client_tools,
            overrides=overrides,
            multitask_strategy=multitask_strategy,
            release_wait_s=release_wait_s,
            create_thread=create_thread,
            delay_s=delay_s,
            at=at,
            decisions=decisions,
            on_completion=on_completion,
        )
        accepted = await self.send(calls.create_run(request))
        return AsyncRunHandle(self, accepted.run, replayed=accepted.replayed)

    async def run(
        self,
        thread_id: str | None,
        message: Given,
        *,
        timeout_s: float | None = None,
        agent: str | None = None,
        run_id: str | None = None,
        dedupe_key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        max_attempts: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        context: str | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        client_tools: Sequence[ClientTool] = (),
        overrides: Mapping[str, Any] | None = None,
        multitask_strategy: Strategy = "enqueue",
        release_wait_s: float | None = None,
        create_thread: bool = True,
    ) -> shown.Run:
        """Submit and wait for the end; the run goes on whether or not anybody waits.

        `timeout_s` is the caller's patience; `limits` bound the run itself.

        Raises:
            RunFailed: The run ended in an error, or was given up.
            TimeoutError: It has not ended within `timeout_s` seconds (`RunTimeout`).
        """
        request = calls.run_request(
            self._setup.ids,
            thread_id,
            message,
            agent=agent,
            run_id=run_id,
            dedupe_key=dedupe_key,
            priority=priority,
            max_attempts=max_attempts,
            metadata=metadata,
            limits=limits,
            context=context,
            state=state,
            client_tools=client_tools,
            overrides=overrides,
            multitask_strategy=multitask_strategy,
            release_wait_s=release_wait_s,
            create_thread=create_thread,
        )
        ends_s = self._deadline_s(timeout_s)
        run = await self.send(calls.create_run_and_wait(request, timeout_s=self._left_s(ends_s)))
        return shown.ended_well(await self._until(ends_s, run), timeout_s)

    def stream(
        self,
        thread_id: str | None,
        message: Given,
        *,
        agent: str | None = None,
        run_id: str | None = None,
        dedupe_key: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        max_attempts: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        context: str | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        client_tools: Sequence[ClientTool] = (),
        overrides: Mapping[str, Any] | None = None,
        multitask_strategy: Strategy = "enqueue",
        release_wait_s: float | None = None,
        create_thread: bool = True,
        on_reconnect: OnReconnect | None = None,
    ) -> AsyncStream:
        """Submit and watch, until the end. The run is accepted when the first item, or the end, has come."""
        request = calls.run_request(
            self._setup.ids,
            thread_id,
            message,
            agent=agent,
            run_id=run_id,
            dedupe_key=dedupe_key,
            priority=priority,
            max_attempts=max_attempts,
            metadata=metadata,
            limits=limits,
            context=context,
            state=state,
            client_tools=client_tools,
            overrides=overrides,
            multitask_strategy=multitask_strategy,
            release_wait_s=release_wait_s,
            create_thread=create_thread,
        )
        create = calls.create_run_and_stream(request, {})
        return self._stream(calls.watch_run(request.run_id, {}), on_reconnect, create, run_id=request.run_id)

    async def steer(
        self,
        thread_id: str | None,
        message: Given,
        *,
        run_id: str | None = None,
        mode: Mode = "steer",
        agent: str | None = None,
        granularity: Granularity = "batch",
        barrier: bool = False,
        fallback_to_new_run: bool = True,
        priority: int = DEFAULT_PRIORITY,
        metadata: Mapping[str, Any] | None = None,
    ) -> shown.Sent:
        """Send a message to the run that is under way, or to the run `run_id`, as `Awaken.steer` does.

        It is sent under an id of its own, so that sending it again, after a connection that broke, is no other message.
        """
        call = calls.send_messages(
            self._setup.ids,
            thread_id,
            message,
            run_id=run_id,
            mode=mode,
            agent=agent,
            granularity=granularity,
            barrier=barrier,
            fallback_to_new_run=fallback_to_new_run,
            priority=priority,
            metadata=metadata,
        )
        return await self.send(call)

    async def receipt(self, message_id: str, *, thread_id: str | None = None, wait_s: float = 0.0) -> shown.Receipt:
        """What has become of a message; with `wait_s`, once that is final, or after so many seconds, at most 300."""
        return await self.send(calls.get_receipt(message_id, thread_id=thread_id, wait_s=wait_s))

    async def pending(self, thread_id: str) -> shown.PendingList:
        """What waits for runs of the thread, in order."""
        return await self.send(calls.list_pending(thread_id))

    async def edit(
        self,
        thread_id: str,
        message_id: str,
        message: Given | None = None,
        *,
        boundary: WaitsAt | None = None,
        barrier: bool | None = None,
        if_version: int | None = None,
    ) -> shown.PendingMessage:
        """Change a message that nobody has taken yet; of one that belongs to a queued run, only the content.

        `if_version`: only if it still has this revision; StaleVersion otherwise.
        """
        call = calls.edit_pending(
            thread_id, message_id, message, boundary=boundary, barrier=barrier, if_version=if_version
        )
        return await self.send(call)

    async def retract(self, thread_id: str, message_id: str, *, if_version: int | None = None) -> None:
        """Take back a message that nobody has taken yet; with the last one of a queued run, that run is cancelled."""
        await self.send(calls.retract_pending(thread_id, message_id, if_version=if_version))

    async def reorder(
        self, thread_id: str, message_ids: Sequence[str], *, if_version: str | None = None
    ) -> shown.PendingList:
        """Put everything that is pending in the thread into this order. `if_version`: only if it is still that list."""
        return await self.send(calls.reorder_pending(thread_id, message_ids, if_version=if_version))

    async def attention(self, *, limit: int = 20) -> shown.Attention:
        """What wants somebody's attention now, at most `limit` of each kind, 1 to 20."""
        return await self.send(calls.attention(limit))

    async def timeline(self, run_id: str) -> shown.Timeline:
        """How a run went: its attempts, steps, model calls, tools, waits and children, as spans."""
        return await self.send(calls.timeline(run_id))

    async def explain(self, run_id: str) -> shown.Explanation:
        """Why a run is where it is: behind whom, since when, what comes next, and what a person can do."""
        return await self.send(calls.explain(run_id))

    async def get_run(self, run_id: str, *, include: Sequence[shown.Include] = ()) -> shown.Run:
        """`include`: what is said beside it, `why` and its `last_event`."""
        return await self.send(calls.get_run(run_id, include=include))

    async def wait(self, run_id: str, *, timeout_s: float | None = None) -> shown.Run:
        """The run once it is done, however it ended, or as it is after `timeout_s` seconds."""
        ends_s = self._deadline_s(timeout_s)
        run = await self.send(calls.wait_run(run_id, timeout_s=self._left_s(ends_s)))
        return await self._until(ends_s, run)

    def list_runs(
        self,
        *,
        thread_id: str | None = None,
        agent: str | None = None,
        status: str | None = None,
        phase: str | None = None,
        termination: str | None = None,
        failed: bool = False,
        id_prefix: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Order = "desc",
        include: Sequence[shown.Include] = (),
        limit: int | None = None,
    ) -> Listing[shown.Run]:
        """Runs, newest first unless `order` is `asc`. At most `limit`. `include`: what is said beside each."""
        call = calls.list_runs(
            thread_id=thread_id,
            agent_id=agent,
            status=status,
            phase=phase,
            termination=termination,
            failed=failed,
            id_prefix=id_prefix,
            created_after=calls.instant(created_after),
            created_before=calls.instant(created_before),
            metadata=metadata,
            order=order,
            include=include,
            limit=calls.page_size(limit),
        )
        return Listing(lambda lost: self._items(call, lost), limit)

    def list_children(self, run_id: str, *, limit: int | None = None) -> Listing[shown.Run]:
        """The runs that a run has started, in that order."""
        call = calls.list_children(run_id, limit=calls.page_size(limit))
        return Listing(lambda lost: self._items(call, lost), limit)

    def list_dispatches(
        self,
        run_id: str | None = None,
        *,
        thread_id: str | None = None,
        status: str | None = None,
        agent: str | None = None,
        claimed_by: str | None = None,
        older_than_s: float | None = None,
        stale: bool = False,
        limit: int | None = None,
    ) -> Listing[shown.Dispatch]:
        """Queue entries, oldest first: those that served a run; or of every run the one that it has now, as the other
        filters choose; those of a thread are all of its own. `stale`: claimed, and the lease has ended.
        """
        call = calls.list_dispatches(
            limit,
            run_id=run_id,
            thread_id=thread_id,
            status=status,
            agent=agent,
            claimed_by=claimed_by,
            older_than_s=older_than_s,
            stale=stale,
        )
        return Listing(lambda lost: self._items(call, lost), limit)

    async def get_dispatch(self, dispatch_id: str) -> shown.Dispatch:
        """A queue entry, with its run."""
        return await self.send(calls.get_dispatch(dispatch_id))

    async def edit_dispatch(
        self,
        dispatch_id: str,
        *,
        priority: int | None = None,
        delay_s: float | None = None,
        available_at: datetime | str | None = None,
    ) -> shown.Dispatch:
        """Give what is queued another place. `delay_s` 0: due at once. Raises DispatchNotQueued."""
        call = calls.edit_dispatch(dispatch_id, priority=priority, delay_s=delay_s, available_at=available_at)
        return await self.send(call)

    async def cancel_dispatch(self, dispatch_id: str, *, wait_s: float = 0.0) -> shown.Cancellation:
        """Stop the run that is queued or executed with it. Raises DispatchEnded."""
        return await self.send(calls.cancel_dispatch(dispatch_id, wait_s=wait_s))

    async def cancel_runs(
        self,
        *,
        run_ids: Sequence[str] | None = None,
        thread_id: str | None = None,
        status: CancelledStatus | None = None,
    ) -> list[shown.CancelledRun]:
        """Stop the runs that are named, or those of a thread, of a status, or both; what became of each."""
        return await self.send(calls.cancel_runs(run_ids=run_ids, thread_id=thread_id, status=status))

    async def hide_run(self, run_id: str) -> None:
        """Leave a run that has ended out of lists; its messages stay."""
        await self.send(calls.hide_run(run_id))

    async def retry_run(
        self, run_id: str, *, agent: str | None = None, max_attempts: int | None = None, delay_s: float = 0.0
    ) -> AsyncRunHandle:
        """Do again what a run that has ended was asked for. Asked again it is the same new run."""
        accepted = await self.send(calls.retry_run(run_id, agent=agent, max_attempts=max_attempts, delay_s=delay_s))
        return AsyncRunHandle(self, accepted.run, replayed=accepted.replayed)

    async def regenerate(
        self, thread_id: str, *, message_id: str | None = None, run_id: str | None = None, agent: str | None = None
    ) -> AsyncRunHandle:
        """Answer anew what this message has answered, or the last one; what was said since is hidden."""
        call = calls.regenerate(self._setup.ids, thread_id, message_id=message_id, run_id=run_id, agent=agent)
        accepted = await self.send(call)
        return AsyncRunHandle(self, accepted.run, replayed=accepted.replayed)

    def list_dead_letters(
        self,
        *,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
        limit: int | None = None,
    ) -> Listing[shown.DeadLetter]:
        """Runs that were given up and that nobody has seen to, newest run first. `since`: given up then or later."""
        call = calls.list_dead_letters(limit, agent=agent, error_class=error_class, since=since, thread_id=thread_id)
        return Listing(lambda lost: self._items(call, lost), limit)

    async def group_dead_letters(
        self,
        *,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
    ) -> list[shown.DeadLetterGroup]:
        """The same by agent and class of error, the largest group first; of the newest 10 000."""
        call = calls.group_dead_letters(agent=agent, error_class=error_class, since=since, thread_id=thread_id)
        return await self.send(call)

    async def get_dead_letter(self, dispatch_id: str) -> shown.DeadLetter:
        """Also one that was seen to."""
        return await self.send(calls.get_dead_letter(dispatch_id))

    async def retry_dead_letter(
        self, dispatch_id: str, *, agent: str | None = None, max_attempts: int | None = None, delay_s: float = 0.0
    ) -> AsyncRunHandle:
        """Do its run again, as by `retry_run`. Asked again it is the same new run."""
        call = calls.retry_dead_letter(dispatch_id, agent=agent, max_attempts=max_attempts, delay_s=delay_s)
        accepted = await self.send(call)
        return AsyncRunHandle(self, accepted.run, replayed=accepted.replayed)

    async def discard_dead_letter(self, dispatch_id: str, *, reason: str) -> shown.DeadLetter:
        """Leave it out of the list, with a reason; it stays readable."""
        return await self.send(calls.discard_dead_letter(dispatch_id, reason=reason))

    async def retry_dead_letters(
        self,
        *,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
        limit: int = 100,
        dry_run: bool = False,
    ) -> shown.HandledLetters:
        """Retry those that the filter finds, at most `limit`, up to 1 000. `dry_run`: only count them."""
        call = calls.retry_dead_letters(
            limit=limit, dry_run=dry_run, agent=agent, error_class=error_class, since=since, thread_id=thread_id
        )
        return await self.send(call)

    async def discard_dead_letters(
        self,
        *,
        reason: str,
        agent: str | None = None,
        error_class: str | None = None,
        since: datetime | str | None = None,
        thread_id: str | None = None,
        limit: int = 100,
        dry_run: bool = False,
    ) -> shown.HandledLetters:
        """Discard those that the filter finds, in the same way."""
        call = calls.discard_dead_letters(
            reason=reason,
            limit=limit,
            dry_run=dry_run,
            agent=agent,
            error_class=error_class,
            since=since,
            thread_id=thread_id,
        )
        return await self.send(call)

    async def run_summary(self) -> shown.RunSummary:
        """The runs that are not done, counted by agent and phase."""
        return await self.send(calls.run_summary())

    async def agent_stats(self, agent_id: str, *, window_s: float = HOUR_S) -> shown.AgentStats:
        """What the server's process has done for an agent in the last so many seconds, 60 to 3600."""
        return await self.send(calls.agent_stats(agent_id, window_s=window_s))

    async def stats(self) -> shown.Stats:
        """What the server's process has done in the last hour, minute by minute."""
        return await self.send(calls.stats())

    def audit(self, *, limit: int | None = None) -> Listing[shown.Finding]:
        """What contradicts itself in the stored rows, looked for in parts as this is read."""
        calls.page_size(limit)
        return Listing(lambda lost: self._items(calls.audit(), lost), limit)

    def repair(self, *, limit: int | None = None) -> Listing[shown.Finding]:
        """As `audit`, and mend it: what was found, and what became of it."""
        calls.page_size(limit)
        return Listing(lambda lost: self._items(calls.repair(), lost), limit)

    async def cancel(self, run_id: str, *, action: StopAction = "cancel", wait_s: float = 0.0) -> shown.Cancellation:
        """Stop one run. The answer comes when it has stopped, or after `wait_s` seconds, at most 60.

        `action="rollback"`: when it has ended, what belongs to it is read no more.
        """
        return await self.send(calls.cancel_run(run_id, action=action, wait_s=wait_s))

    def run_events(
        self,
        run_id: str,
        *,
        after: str | None = None,
        channels: Iterable[str] | None = None,
        include_deltas: bool = True,
        on_reconnect: OnReconnect | None = None,
    ) -> AsyncStream:
        """A run's events from its start, or after a cursor, as they come, until its end."""
        filters = calls.filters({"channels": channels, "include_deltas": include_deltas})
        return self._stream(calls.watch_run(run_id, filters), on_reconnect, after=after)

    def list_run_events(
        self,
        run_id: str,
        *,
        after: str | None = None,
        channels: Iterable[str] | None = None,
        kinds: Iterable[str] | None = None,
        include_deltas: bool = True,
        limit: int | None = None,
    ) -> Listing[shown.Event]:
        """The run's log so far, oldest first."""
        call = calls.list_run_events(
            run_id,
            cursor=after,
            channels=channels,
            kinds=kinds,
            include_deltas=include_deltas,
            limit=calls.page_size(limit),
        )
        return Listing(lambda lost: self._items(call, lost), limit)

    # --- what runs wait for -------------------------------------------------------------------------------------------

    def list_tickets(
        self,
        *,
        state: TicketState | None = None,
        kind: TicketKind | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        tool_name: str | None = None,
        action: Action | None = None,
        expires_before: datetime | str | None = None,
        order: Order = "desc",
        limit: int | None = None,
    ) -> Listing[shown.Ticket]:
        """What runs wait for, across threads, newest first unless `order` is `asc`. At most `limit`."""
        call = calls.list_tickets(
            state=state,
            kind=kind,
            agent_id=agent,
            thread_id=thread_id,
            run_id=run_id,
            tool_name=tool_name,
            action=action,
            expires_before=expires_before,
            order=order,
            limit=calls.page_size(limit),
        )
        return Listing(lambda lost: self._items(call, lost), limit)

    async def get_ticket(self, ticket_id: str) -> shown.Ticket:
        return await self.send(calls.get_ticket(ticket_id))

    async def decide(
        self,
        ticket_id: str,
        action: str,
        *,
        result: Any = None,
        arguments: Mapping[str, Any] | None = None,
        reason: str | None = None,
        decision_id: str | None = None,
    ) -> shown.Decided:
        """Decide a ticket: `approve`, `deny`, `edit` with `arguments`, `answer` with a `result`, or `fail`."""
        verdict = {
            "action": action,
            "result": result,
            "arguments": arguments,
            "reason": reason,
            "decision_id": decision_id,
        }
        return await self.send(calls.decide(ticket_id, verdict))

    async def decide_tickets(self, decisions: Sequence[Mapping[str, Any]]) -> shown.DecidedTickets:
        """Decide tickets of any runs, at most 256, each by itself: one that cannot be decided costs the others nothing,
        and the same again is decided. Each decision names its `ticket_id`.
        """
        return await self.send(calls.decide_tickets(decisions))

    async def decide_run(self, run_id: str, decisions: Sequence[Mapping[str, Any]]) -> shown.DecidedRun:
        """Decide tickets of a run, all of them or none. Each decision names its `ticket_id`, or its `tool_call_id`."""
        return await self.send(calls.decide_run(run_id, decisions))

    async def decide_thread(self, thread_id: str, decisions: Sequence[Mapping[str, Any]]) -> shown.DecidedRun:
        """The same for the run of a thread that the first of them is about."""
        return await self.send(calls.decide_thread(thread_id, decisions))

    # --- threads ------------------------------------------------------------------------------------------------------

    async def create_thread(
        self,
        thread_id: str | None = None,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        resource_id: str | None = None,
        parent_thread_id: str | None = None,
        messages: Given = (),
        if_exists: IfExists = "raise",
    ) -> shown.Thread:
        """Make a thread. `messages` are part of the conversation from its start; no run answers them."""
        call = calls.create_thread(
            thread_id,
            title=title,
            metadata=metadata,
            resource_id=resource_id,
            parent_thread_id=parent_thread_id,
            messages=messages,
            if_exists=if_exists,
        )
        return await self.send(call)

    async def get_thread(self, thread_id: str) -> shown.Thread:
        return await self.send(calls.get_thread(thread_id))

    def list_threads(
        self,
        *,
        resource_id: str | None = None,
        id_prefix: str | None = None,
        parent_thread_id: str | None = None,
        root: bool = False,
        status: str | None = None,
        q: str | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Order = "desc",
        limit: int | None = None,
    ) -> Listing[shown.Thread]:
        """Threads, most recently active first unless `order` is `asc`."""
        call = calls.list_threads(
            resource_id=resource_id,
            id_prefix=id_prefix,
            parent_thread_id=parent_thread_id,
            root=root,
            status=status,
            q=q,
            metadata=metadata,
            order=order,
            limit=calls.page_size(limit),
        )
        return Listing(lambda lost: self._items(call, lost), limit)

    def messages(
        self,
        thread_id: str,
        *,
        run_id: str | None = None,
        visibility: MessageVisibility = "external",
        view: MessageView = "effective",
        order: Order = "asc",
        limit: int | None = None,
    ) -> Listing[shown.Message]:
        """The conversation as it is read, oldest first; with `view="log"` also what is hidden of it."""
        call = calls.list_messages(
            thread_id, run_id=run_id, visibility=visibility, view=view, order=order, limit=calls.page_size(limit)
        )
        return Listing(lambda lost: self._items(call, lost), limit)

    async def edit_thread(
        self,
        thread_id: str,
        *,
        title: str | UnsetType | None = UNSET,
        metadata: Mapping[str, Any] | UnsetType = UNSET,
        resource_id: str | UnsetType | None = UNSET,
        parent_thread_id: str | UnsetType | None = UNSET,
        if_version: int | None = None,
    ) -> shown.Thread:
        """Change what is said about a thread. What is not given stays, None takes it away; `metadata` is merged."""
        call = calls.edit_thread(
            thread_id,
            title=title,
            metadata=metadata,
            resource_id=resource_id,
            parent_thread_id=parent_thread_id,
            if_version=if_version,
        )
        return await self.send(call)

    async def delete_thread(
        self, thread_id: str, *, child_strategy: ChildStrategy = "reject", force: bool = False
    ) -> None:
        """Delete a thread: nobody reads it any more when this returns. Again is no error."""
        await self.send(calls.delete_thread(thread_id, child_strategy=child_strategy, force=force))

    async def fork_thread(
        self,
        thread_id: str,
        *,
        at_seq: int | None = None,
        at_message_id: str | None = None,
        new_thread_id: str | None = None,
        title: str | None = None,
    ) -> shown.Thread:
        """A new thread with what is read of this one, up to and including a message, or all of it."""
        call = calls.fork_thread(
            thread_id, at_seq=at_seq, at_message_id=at_message_id, new_thread_id=new_thread_id, title=title
        )
        return await self.send(call)

    async def hide_message(self, thread_id: str, message_id: str) -> shown.Hiding:
        """Have a message of the conversation read no more; a call and its answers go together."""
        return await self.send(calls.hide_message(thread_id, message_id))

    async def get_state(self, thread_id: str) -> shown.ThreadState:
        """The thread's state, and from which event on to follow it."""
        return await self.send(calls.get_state(thread_id))

    async def patch_state(
        self, thread_id: str, values: Mapping[str, Any], *, if_version: int | None = None
    ) -> shown.ThreadState:
        """Change the thread's state by a merge patch: None removes a key, an object is merged, anything else replaces.

        `if_version`: only if the state still has this version; StaleVersion otherwise.
        """
        return await self.send(calls.patch_state(thread_id, values, if_version=if_version))

    async def cancel_thread(self, thread_id: str, *, wait_s: float = 0.0) -> shown.Cancellation:
        """Stop the thread's active run; its queue goes on."""
        return await self.send(calls.cancel_thread(thread_id, wait_s=wait_s))

    async def interrupt(self, thread_id: str, *, wait_s: float = 0.0) -> shown.Interruption:
        """Clear a thread: supersede what waits, stop what runs."""
        return await self.send(calls.interrupt(thread_id, wait_s=wait_s))

    def events(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        since: Literal["start", "now"] = "start",
        channels: Iterable[str] | None = None,
        include_deltas: bool = True,
        on_reconnect: OnReconnect | None = None,
    ) -> AsyncStream:
        """What happens on a thread, without end: from its start, after a cursor, or from now on."""
        filters = calls.filters({"since": since, "channels": channels, "include_deltas": include_deltas})
        return self._stream(calls.watch_thread(thread_id, filters), on_reconnect, after=after)

    def watch(
        self,
        on: On = (),
        *,
        hints: bool = False,
        channels: Iterable[str] | None = None,
        include_deltas: bool = True,
        on_reconnect: OnReconnect | None = None,
    ) -> AsyncWatch:
        """Several threads and runs on one stream, at most 20: by their ids, or by ids with the cursors after which they
        are followed. Without a cursor a run is followed from its start, a thread from now on. `thread:` or `run:`
        before an id says what it is, where there are both.

        `hints`: also where else something happens, in short and as far as is known.
        """
        scopes = scopes_of(on)
        filters = {"hints": check_watched(scopes, hints), "channels": channels, "include_deltas": include_deltas}
        call, setup = calls.watch(calls.filters(filters)), self._setup
        machine = WatchResumption(setup.resume, setup.chance, watch=call, scopes=scopes)
        return AsyncWatch(AsyncStream(self._http, setup, machine, on_reconnect), machine)

    def list_events(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        channels: Iterable[str] | None = None,
        kinds: Iterable[str] | None = None,
        include_deltas: bool = True,
        limit: int | None = None,
    ) -> Listing[shown.Event]:
        """The thread's log so far, oldest first."""
        call = calls.list_thread_events(
            thread_id,
            cursor=after,
            channels=channels,
            kinds=kinds,
            include_deltas=include_deltas,
            limit=calls.page_size(limit),
        )
        return Listing(lambda lost: self._items(call, lost), limit)

    # --- schedules ----------------------------------------------------------------------------------------------------

    async def create_schedule(
        self,
        name: str,
        message: Given,
        *,
        agent: str | None = None,
        cron: str | None = None,
        every_s: int | None = None,
        zone: str = "UTC",
        overlap: Overlap = "skip",
        missed: Missed = "one",
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> shown.Schedule:
        """Have an agent run again and again, with a message: by a cron expression, or every so many seconds.

        One that is there already and says the same is the answer.
        """
        fields = calls.schedule_fields(
            message=message,
            agent=agent,
            cron=cron,
            every_s=every_s,
            zone=zone,
            overlap=overlap,
            missed=missed,
            thread_id=thread_id,
            metadata=metadata,
        )
        return await self.send(calls.create_schedule(name, fields))

    async def get_schedule(self, name: str) -> shown.Schedule:
        return await self.send(calls.get_schedule(name))

    def list_schedules(self, *, limit: int | None = None) -> Listing[shown.Schedule]:
        """The schedules, in the order in which they were made."""
        call = calls.list_schedules(limit=calls.page_size(limit))
        return Listing(lambda lost: self._items(call, lost), limit)

    async def update_schedule(
        self,
        name: str,
        *,
        message: Given | None = None,
        agent: str | None = None,
        cron: str | None = None,
        every_s: int | None = None,
        zone: str | None = None,
        overlap: Overlap | None = None,
        missed: Missed | None = None,
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> shown.Schedule:
        """Change what is given. `cron` takes the place of `every_s`, and the reverse."""
        fields = calls.schedule_fields(
            message=message,
            agent=agent,
            cron=cron,
            every_s=every_s,
            zone=zone,
            overlap=overlap,
            missed=missed,
            thread_id=thread_id,
            metadata=metadata,
        )
        return await self.send(calls.update_schedule(name, fields))

    async def pause_schedule(self, name: str) -> shown.Schedule:
        """Have it begin nothing until it is resumed."""
        return await self.send(calls.pause_schedule(name))

    async def resume_schedule(self, name: str) -> shown.Schedule:
        """Have it go on with its next instant; what fell due meanwhile is not made up for."""
        return await self.send(calls.resume_schedule(name))

    async def delete_schedule(self, name: str) -> None:
        """Delete it; the runs that it has begun go on."""
        await self.send(calls.delete_schedule(name))

    # --- the server ---------------------------------------------------------------------------------------------------

    def list_agents(self) -> Listing[shown.Agent]:
        """The agents, in the order they were added."""
        return Listing(lambda lost: self._items(calls.list_agents(), lost))

    async def get_agent(self, agent_id: str) -> shown.Agent:
        return await self.send(calls.get_agent(agent_id))

    async def pause_agent(self, agent_id: str) -> shown.Agent:
        """Begin no run of an agent in the server's process until it is resumed; what executes goes on."""
        return await self.send(calls.pause_agent(agent_id))

    async def resume_agent(self, agent_id: str) -> shown.Agent:
        """Begin runs of a paused agent again."""
        return await self.send(calls.resume_agent(agent_id))

    async def drain(self) -> shown.Draining:
        """Begin no run in the server's process until it is undrained, or starts anew; what executes goes on."""
        return await self.send(calls.drain())

    async def undrain(self) -> shown.Draining:
        """Begin runs in the server's process again."""
        return await self.send(calls.undrain())

    async def system(self) -> shown.System:
        """What the server is, and its limits."""
        return await self.send(calls.system())

    def list_settings(self) -> Listing[shown.Setting]:
        """Every setting in force, and who chose it. Secrets are not shown."""
        return Listing(lambda lost: self._items(calls.list_settings(), lost))

    def list_workers(self) -> Listing[shown.Worker]:
        """The processes that work on the server's store."""
        return Listing(lambda lost: self._items(calls.list_workers(), lost))

    async def sweep(self) -> shown.Swept:
        """Have the server look at once for what falls due, which it does from time to time anyway."""
        return await self.send(calls.sweep())

    async def purge(self) -> shown.Purged:
        """Have the server remove now what retention no longer keeps, which it does from time to time anyway."""
        return await self.send(calls.purge())

    async def health(self) -> wire.Health:
        """How the server is, also when it is not ready."""
        return await self.send(calls.health())

    # --- how they work ------------------------------------------------------------------------------------------------

    def _deadline_s(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            return math.inf
        return self._setup.clock.monotonic() + checked_seconds(timeout_s, what="timeout_s")

    def _left_s(self, ends_s: float) -> float:
        """How long the next request may wait."""
        return min(max(ends_s - self._setup.clock.monotonic(), 0.0), calls.MAX_WAIT_S)

    async def _until(self, ends_s: float, run: shown.Run) -> shown.Run:
        while not run.is_done and ends_s > self._setup.clock.monotonic():
            run = await self.send(calls.wait_run(run.run_id, timeout_s=self._left_s(ends_s)))
        return run

    async def _items(self, call: Call[wire.Page[ResultT]], lost: list[str]) -> AsyncIterator[ResultT]:
        """Every item of every page, each page asked for when it is needed."""
        following: Call[wire.Page[ResultT]] | None = call
        while following is not None:
            page = await self.send(following)
            lost += page.unreadable
            for item in page.items:
                yield item
            following = calls.following(following, page)

    def _stream(
        self,
        watch: Call[None],
        on_reconnect: OnReconnect | None,
        create: Call[None] | None = None,
        *,
        run_id: str | None = None,
        after: str | None = None,
    ) -> AsyncStream:
        if after is not None:
            calls.checked_cursor(after)
        setup = self._setup
        machine = Resumption(setup.resume, setup.chance, watch=watch, create=create, run_id=run_id, after=after)
        return AsyncStream(self._http, setup, machine, on_reconnect)


class AsyncRunHandle:
    """An accepted run. What it knows is durable; `refresh` brings it up to date."""

    def __init__(self, client: AsyncClient, record: shown.Run, *, replayed: bool = False) -> None:
        self._client = client
        self.record = record
        """The run as last read."""
        self.replayed = replayed
        """The same request had been accepted before."""

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def thread_id(self) -> str:
        return self.record.thread_id

    def events(
        self, *, after: str | None = None, channels: Iterable[str] | None = None, include_deltas: bool = True
    ) -> AsyncStream:
        """Everything the run publishes, from its start or after a cursor, until its end; as often as you like."""
        return self._client.run_events(self.run_id, after=after, channels=channels, include_deltas=include_deltas)

    async def result(self, *, timeout_s: float | None = None) -> shown.Run:
        """The run once it is done, or as it is after `timeout_s` seconds."""
        self.record = await self._client.wait(self.run_id, timeout_s=timeout_s)
        return self.record

    async def refresh(self) -> shown.Run:
        """The run as it is now."""
        self.record = await self._client.get_run(self.run_id)
        return self.record

    async def steer(
        self,
        message: Given,
        *,
        mode: Mode = "steer",
        granularity: Granularity = "batch",
        barrier: bool = False,
        fallback_to_new_run: bool = True,
    ) -> shown.Sent:
        """Send a message to the run. Raises RunNotOpen when it has ended."""
        return await self._client.steer(
            self.thread_id,
            message,
            run_id=self.run_id,
            mode=mode,
            granularity=granularity,
            barrier=barrier,
            fallback_to_new_run=fallback_to_new_run,
        )

    async def cancel(self, *, action: StopAction = "cancel", wait_s: float = 0.0) -> shown.Cancellation:
        """Ask the run to stop. Raises RunNotOpen when it has ended otherwise."""
        return await self._client.cancel(self.run_id, action=action, wait_s=wait_s)


class AsyncStream:
    """Events as they become durable, across any number of connections. Use `async with`, then `async for`."""

    def __init__(
        self, http: httpx.AsyncClient, setup: Setup, machine: Resumption, on_reconnect: OnReconnect | None
    ) -> None:
        self._http = http
        self._setup = setup
        self._on_reconnect = on_reconnect
        self.progress = machine
        """What is known of the stream: `run_id`, `thread_id`, `last_cursor`, `end_reason`, `reconnects`."""
        self._iterator = self._items()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._iterator.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> wire.StreamItem:
        return await anext(self._iterator)

    async def _items(self) -> AsyncGenerator[wire.StreamItem, None]:
        machine, setup = self.progress, self._setup
        while not machine.ended:
            try:
                async with self._http.stream(**setup.request_arguments(machine.next_call(), streams=True)) as response:
                    if response.status_code == 204:
                        machine.nothing_left()
                        return
                    if response.status_code != 200:
                        body, after = await response.aread(), response.headers.get("retry-after")
                        cause, delay_s = machine.refused(response.status_code, body, after, setup.clock.monotonic())
                    else:
                        check_stream(response)
                        machine.accepted()
                        async for chunk in response.aiter_raw():
                            for item in machine.received(chunk):
                                yield item
                            if machine.ended:
                                return
                        cause, delay_s = machine.broken(setup.cut(), setup.clock.monotonic())
            except httpx.TransportError as error:
                cause, delay_s = machine.broken(setup.unreachable(error), setup.clock.monotonic())
            if self._on_reconnect is not None:
                self._on_reconnect(Reconnect(cause, delay_s))
            await sleep(setup.clock, delay_s)


class AsyncWatch:
    """What several threads and runs publish, across any number of connections. Use `async with`, then `async for`."""

    def __init__(self, stream: AsyncStream, machine: WatchResumption) -> None:
        self._stream = stream
        self.progress = machine
        """What is known of the stream: `scopes`, each with the cursor up to which it was seen, and `end_reason`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stream.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> wire.WatchItem:
        return cast("wire.WatchItem", await anext(self._stream))
