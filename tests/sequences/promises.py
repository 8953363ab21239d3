"""What must hold whatever was asked: of one look, of what was seen before, and of the end of everything.

Above: the random sequences. Below: what readers see, and what agents have done.
Holds: nothing here knows how it is done. A check that does not apply, because retention may have removed what it looks
at, or somebody has deleted the thread, is left out for that thread and no other.

Source: `docs/concepts/durability.md`.
"""

from __future__ import annotations

from typing import Final

from awaken import Awaken
from awaken.domain.child import child_of, end_of, told_message_id
from awaken.domain.clock import Instant
from awaken.domain.event import opened
from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.message_event import MessageConsumedPayload
from awaken.domain.outbox import Begin
from awaken.domain.run import Run, RunStatus
from awaken.domain.ticket import Ticket
from tests.sequences.agents import Effects
from tests.store.views import View, check_thread, check_tickets

ENDED_WELL: Final = "natural_end"


class Promises:
    """What is remembered of a sequence, to compare with what is seen later."""

    def __init__(self, keeps_s: float | None) -> None:
        """`keeps_s`: how long what has ended is kept; None for ever, as far as a sequence goes."""
        self._keeps_s = keeps_s
        self._deleted: set[ThreadId] = set()
        self._accepted: set[tuple[ThreadId, MessageId]] = set()
        self._disturbed: set[str] = set()
        """Schedules of which somebody has asked for something since they were made."""

    def accepted(self, thread_id: ThreadId, message_id: MessageId) -> None:
        self._accepted.add((thread_id, message_id))

    def disturbed(self, schedule: str) -> None:
        self._disturbed.add(schedule)

    def check(self, before: View, seen: View, now: Instant, *, may_delete: bool) -> None:
        for each in seen.threads:
            check_thread(each)
        check_tickets(seen)
        gone = {each.thread_id for each in before.threads} - {each.thread_id for each in seen.threads}
        assert may_delete or not gone, f"{gone} are gone"
        self._deleted |= gone
        assert not self._deleted & {each.thread_id for each in seen.threads}, "what was deleted is there again"
        self._check_messages(before, seen)
        self._check_runs(before, seen, now)
        self._check_logs(before, seen)
        self._check_children(seen)
        self._check_schedules(seen)

    def _check_messages(self, before: View, seen: View) -> None:
        receipts = seen.receipts
        if self._keeps_s is None:
            for key in self._accepted:
                assert key[0] in self._deleted or key in receipts, f"message {key} was accepted and is not known"
        for key, receipt in before.receipts.items():
            if receipt.is_final and key in receipts:
                assert receipts[key] == receipt, "a fate is final"

    def _check_runs(self, before: View, seen: View, now: Instant) -> None:
        runs = {run.run_id: run for run in seen.all_runs}
        for run in before.all_runs:
            later = runs.get(run.run_id)
            if later is None:
                assert run.thread_id in self._deleted or self._is_old(run, now), f"run {run.run_id} is gone"
            elif run.status is RunStatus.DONE:
                assert (later.status, later.termination, later.final_output) == (
                    run.status, run.termination, run.final_output,
                ), "an end is final"  # fmt: skip

    def _is_old(self, run: Run, now: Instant) -> bool:
        if self._keeps_s is None or run.finished_at is None or run.dead_lettered:
            return False
        return run.finished_at + self._keeps_s * 1000 <= now

    def _check_logs(self, before: View, seen: View) -> None:
        """A log grows at its end and may lose its beginning; what is left is as it was."""
        for earlier in before.threads:
            later = seen.thread(earlier.thread_id)
            if later is None or later.thread is None or earlier.thread is None:
                continue
            assert later.thread.epoch >= earlier.thread.epoch
            assert later.log[: len(earlier.log)] == earlier.log
            assert later.spans[: len(earlier.spans)] == earlier.spans, "what is hidden stays so"
            assert later.state.version >= earlier.state.version
            first = later.bounds[0]
            assert first >= earlier.bounds[0]
            kept = [row for row in earlier.events if row.first_seq >= first]
            assert later.events[: len(kept)] == kept, "a log only grows"
            assert self._keeps_s is not None or first == 1

    def _check_children(self, seen: View) -> None:
        """Whoever waits for a child is told how it ended, and not before it has."""
        runs = {run.run_id: run for run in seen.all_runs}
        for _, ticket in seen.tickets:
            if ticket.asked.kind == "child" and ticket.decision is not None:
                end, child = end_of(ticket.decision), runs.get(child_of(ticket).run_id)
                if child is not None:
                    assert child.status is RunStatus.DONE
                    assert (end.run_id, end.termination, end.output) == (child.run_id, child.termination, child.output)

    def _check_schedules(self, seen: View) -> None:
        """Of a schedule that misses nothing, and that nobody has touched since it was made, each instant has its run,
        or an errand that begins it.
        """
        if self._keeps_s is not None:
            return
        begun: set[str] = {run.run_id for run in seen.all_runs}
        begun |= {row.errand.run_id for row in seen.outbox if isinstance(row.errand, Begin)}
        for _, schedule in seen.schedules:
            spec = schedule.spec
            own = spec.thread_id is None and spec.thread not in self._deleted
            if own and (spec.overlap, spec.missed) == ("queue", "all") and spec.name not in self._disturbed:
                assert spec.every_s is not None and schedule.next_at is not None
                for at in range(schedule.anchor_at + spec.every_s * 1000, schedule.next_at, spec.every_s * 1000):
                    assert spec.run_id(at) in begun, f"nothing was begun at {at}"

    # --- at the end ---------------------------------------------------------------------------------------------------

    def check_end(self, seen: View, effects: Effects) -> None:
        left = [run for run in seen.all_runs if run.status is not RunStatus.DONE]
        assert not left, f"these are stuck: {left}"
        assert not seen.outbox, f"these never arrived: {seen.outbox}"
        lost = [each for each in seen.receipts.values() if not each.is_final]
        assert not lost, f"these have no fate: {lost}"
        untold = [ticket for _, ticket in seen.tickets if ticket.is_open]
        assert not untold, f"nobody was told of {untold}"
        for run in seen.all_runs if self._keeps_s is None else ():
            if run.termination is not None and run.termination.type == ENDED_WELL and run.run_id in effects.taken:
                _check_taken(run, seen, effects)
        for _, ticket in seen.tickets:
            if ticket.asked.kind == "child":
                self._check_told(ticket, seen, effects)

    def _check_told(self, ticket: Ticket, seen: View, effects: Effects) -> None:
        """Who has not waited for a child is told of its end with a message, once; who was stopped is not."""
        told = seen.receipts.get((ticket.thread_id, told_message_id(ticket.ticket_id)))
        waits = "gather" in effects.programs.get(ticket.run_id, "gather")
        parents = [run for run in seen.all_runs if run.run_id == ticket.run_id]
        if waits or not parents or ticket.state != "decided":
            return
        assert told is not None, f"nobody was told of the end of {child_of(ticket)}"


def _check_taken(run: Run, seen: View, effects: Effects) -> None:
    """What came to a run while it was under way was found by it once, in order; what it went on with, at most once."""
    thread = seen.thread(run.thread_id)
    assert thread is not None
    events = [opened(event) for row in thread.events if row.run_id == run.run_id for event in row.events]
    consumed: dict[str, str] = {
        each.message_id: each.boundary for each in events if isinstance(each, MessageConsumedPayload)
    }
    taken = [message_id for message_id, boundary in consumed.items() if boundary == "next_step"]
    found = effects.taken[run.run_id]
    assert [each for each in found if consumed[each] == "next_step"] == taken, f"{run} took {taken} and found {found}"
    assert len(set(found)) == len(found), f"{run} found {found}"


async def check_reading(app: Awaken, thread_id: ThreadId) -> None:
    """Whoever reads on after any event gets exactly the rest."""
    whole = await app.list_events(thread_id)
    for place in (0, len(whole) // 2, len(whole) - 1):
        assert await app.list_events(thread_id, after=whole[place].cursor) == whole[place + 1 :]
