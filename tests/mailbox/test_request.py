"""What is asked reaches the agent, and stays with the run."""

from __future__ import annotations

import pytest

from awaken.domain.ids import RunId, ThreadId
from awaken.domain.run import Adapter, ClientTool, Origin, RunMode, RunOptions, Trace
from awaken.executors.function import Context
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

BEEP = ClientTool("beep", "Make a sound", {"type": "object"})


@behaviour("MBX-027", "MBX-038", "MBX-039", "MBX-040", "MBX-041")
@pytest.mark.parametrize("origin", Origin)
async def test_everything_a_request_says_is_told_to_the_agent_and_kept_with_the_run(
    store: WatchedStore, clock: ManualClock, origin: Origin
) -> None:
    seen: list[Context] = []

    async def agent(context: Context) -> None:
        seen.append(context)

    trace = Trace(
        origin=origin,
        adapter=Adapter.AG_UI,
        mode=RunMode.RESUME,
        parent_run_id=RunId("parent-123"),
        parent_thread_id=ThreadId("parent"),
        correlation_id="correlation",
        wire_run_id="request-1",
    )
    async with World(store, clock, agents={"agent": agent}) as world:
        submission = await world.submit(
            agent_id="agent",
            run_id="run-1",
            trace=trace,
            overrides={"model": "small"},
            client_tools=(BEEP,),
            metadata={"kept": [1]},
        )
        run = await world.done(submission)

        assert (run.run_id, run.request.trace) == ("run-1", trace)
        assert run.request.options == RunOptions(overrides={"model": "small"}, client_tools=(BEEP,))
        assert (run.agent_id, run.metadata) == ("agent", {"kept": [1]})
        assert [context.request for context in seen] == [run.request]
        assert [message.id for message in await world.messages()] == list(run.request.input_message_ids)
