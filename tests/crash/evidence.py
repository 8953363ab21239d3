"""What a series of processes left behind, and the judgement on it.

Above: the crash test. Below: the files of `life`, and the store's reads on the database while nobody serves it.
Holds: the judgement uses nothing that only the processes knew: the log says which calls were finished, the notebooks
say what a caller and a reader outside would have seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.event import DELTA_KINDS, TERMINAL_KINDS
from awaken.domain.ids import DEFAULT_SCOPE, RunId
from awaken.domain.message import Role, ToolStatus, unanswered_calls
from awaken.domain.run import CANCELLED, NATURAL_END, Run, RunStatus
from awaken.store.contract import MessageQuery, StoredMessage
from awaken.testing.audit import check_sound
from tests.crash.life import Call, Frame, entries, frames, store_of
from tests.crash.scenarios import THREAD, Scenario

STOPS: Final = frozenset({"CancelRequested", "RunCancelled", "RunSuperseded"})
"""Once the log says one of these of a run, nobody takes it again."""


class Evidence(msgspec.Struct, frozen=True):
    """One look at everything, between two processes or after the last."""

    runs: dict[str, Run | None]
    log: list[Frame]
    messages: list[StoredMessage]
    finished: frozenset[str]
    """The calls whose commit had returned: they are never to be made again."""
    open_dispatches: int
    accepted: list[str]
    calls: list[Call]
    received: dict[str, list[Frame]]

    @property
    def stopped(self) -> frozenset[str | None]:
        """The runs that were asked to stop, or stopped before they started."""
        return frozenset(frame.run_id for frame in self.log if frame.event in STOPS)

    def calls_of(self, run_id: str) -> list[Call]:
        return [call for call in self.calls if call.name.startswith(f"{run_id} ")]


async def look(folder: Path, scenario: Scenario) -> Evidence:
    """Read what is there. Nobody serves the store meanwhile."""
    async with store_of(folder) as store:
        await check_sound(store)
        runs = {ask.run_id: await store.load_run(DEFAULT_SCOPE, RunId(ask.run_id)) for ask in scenario.asks}
        rows = await store.list_events(DEFAULT_SCOPE, THREAD, after=0, limit=10_000)
        messages = await store.list_messages(DEFAULT_SCOPE, THREAD, MessageQuery(limit=1_000))
        steps = [
            f"{run_id} step:{entry.key}"
            for run_id in runs
            for entry in await store.list_journal(DEFAULT_SCOPE, RunId(run_id))
        ]
        counts = await store.count_dispatches()
    return Evidence(
        runs=runs,
        log=[frame for row in rows for frame in frames(row)],
        messages=messages,
        finished=frozenset([*steps, *_answered(messages)]),
        open_dispatches=counts[DispatchStatus.QUEUED] + counts[DispatchStatus.CLAIMED],
        accepted=entries(folder / "accepted", str),
        calls=entries(folder / "calls", Call),
        received={run_id: entries(folder / f"frames.{run_id}", Frame) for run_id in runs},
    )


def _answered(messages: list[StoredMessage]) -> list[str]:
    """The model calls and tool calls whose messages are in the log."""
    names: list[str] = []
    turns: dict[str | None, int] = {}
    for stored in messages:
        message, run_id = stored.message, stored.run_id
        if message.role is Role.ASSISTANT:
            turns[run_id] = turns.get(run_id, 0) + 1
            names.append(f"{run_id} model:{turns[run_id]}")
        elif message.role is Role.TOOL and message.tool_status is ToolStatus.SUCCESS:
            names.append(f"{run_id} tool:{message.tool_call_id}")
    return names


# --- what holds at every moment ---------------------------------------------------------------------------------------


def judge_life(before: Evidence | None, after: Evidence, scenario: Scenario, life: int) -> None:
    """Nothing accepted is lost, nothing finished or stopped was done again, nothing was shown that is not stored."""
    for ask in scenario.asks:
        assert ask.name not in after.accepted or after.runs[ask.run_id], f"run {ask.run_id} was accepted and is lost"
    for stop in scenario.stops:
        assert stop.name not in after.accepted or scenario.stopped <= after.stopped, f"the {stop.name} is lost"
    made = [call.name for call in after.calls if call.life == life]
    assert len(made) == len(set(made)), f"one process made a call twice: {made}"
    assert [frame.id for frame in after.log] == list(range(1, len(after.log) + 1)), "the numbering has a gap"
    if before is not None:
        repeated = before.finished.intersection(made)
        assert not repeated, f"finished calls were repeated: {repeated}"
        for run_id in before.stopped:
            assert after.calls_of(str(run_id)) == before.calls_of(str(run_id)), f"run {run_id} was to be stopped"
        assert after.log[: len(before.log)] == before.log, "the log changed what it had said"
    for run_id, received in after.received.items():
        stored = [frame for frame in after.log if frame.run_id == run_id]
        assert received == stored[: len(received)], f"the stream of run {run_id} is not the start of its log"


def judge_end(end: Evidence, scenario: Scenario) -> None:
    """Every run is done or stopped, every call was made, each stream is whole, and the conversation well formed."""
    assert end.open_dispatches == 0, "a dispatch is stuck"
    for run_id, calls in scenario.calls.items():
        run = end.runs[run_id]
        assert run is not None, f"run {run_id} is lost"
        ending = CANCELLED if run_id in scenario.stopped else NATURAL_END
        assert (run.status, run.termination) == (RunStatus.DONE, ending), f"run {run_id} ended otherwise: {run}"
        assert run_id in scenario.stopped or run.final_output == scenario.answers[run_id], run
        stored = [frame for frame in end.log if frame.run_id == run_id]
        assert end.received[run_id] == stored, f"the stream of run {run_id} differs from its log"
        _judge_stream(stored, starts=len(calls) > 0)
        assert {call.name for call in end.calls_of(run_id)} == {f"{run_id} {name}" for name in calls}
    _judge_order(end.log)
    _judge_conversation(end.messages, scenario)


def _judge_conversation(stored: list[StoredMessage], scenario: Scenario) -> None:
    """It holds what was said to every run that was taken, in order, and an answer to each call of a tool."""
    messages = tuple(each.message for each in stored)
    asked = [message.text for message in messages if message.role is Role.USER]
    assert asked == [ask.text for ask in scenario.asks if scenario.calls[ask.run_id]], "a message was lost or doubled"
    assert [each.seq for each in stored] == list(range(1, len(stored) + 1))
    for index, message in enumerate(messages):
        if message.role is Role.USER:
            assert not unanswered_calls(messages[:index]), "a run began on calls without an answer"
    answers = [message.tool_call_id for message in messages if message.role is Role.TOOL]
    assert len(answers) == len(set(answers)), f"a call was answered twice: {answers}"


def _judge_stream(stream: list[Frame], *, starts: bool) -> None:
    """What a client shows that follows the rule of `StreamReset`: at each commit exactly the message's text."""
    kinds = [frame.event for frame in stream]
    assert kinds.count("RunStarted") == starts, kinds
    assert [kind for kind in kinds if kind in TERMINAL_KINDS] == kinds[-1:], kinds
    shown, is_open = "", False
    for frame in stream:
        if frame.event == "TextDeltaObserved":
            shown += frame.payload["delta"]
        if frame.event in DELTA_KINDS:
            is_open = True
        elif frame.event == "StreamReset":
            assert is_open, "a reset of nothing"
            shown, is_open = "", False
        elif frame.event == "RunResumed":
            assert not is_open, f"text of a lost turn was not withdrawn: {shown!r}"
        elif frame.event == "MessageCommitted" and frame.payload["role"] == "assistant":
            assert shown == "".join(block.get("text", "") for block in frame.payload["content_blocks"])
            shown, is_open = "", False
    assert not is_open, f"the stream ends with text of no message: {shown!r}"


def _judge_order(log: list[Frame]) -> None:
    """From the moment a worker takes a run until that run ends or goes back, nobody takes another one.

    What ends without being taken is work that was stopped in the queue, and what is to be stopped is not taken.
    """
    taken: str | None = None
    stopped: set[str | None] = set()
    for frame in log:
        if frame.event in STOPS:
            stopped.add(frame.run_id)
        if frame.event == "RunSubmitted":
            assert taken is None, f"run {frame.run_id} was taken while {taken} was executing"
            assert frame.run_id not in stopped, f"run {frame.run_id} was taken after it was stopped"
            taken = frame.run_id
        elif frame.event == "RunRescheduled" or frame.event in TERMINAL_KINDS:
            assert frame.run_id == taken or frame.event in STOPS
            taken = None if frame.run_id == taken else taken
