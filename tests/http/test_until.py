"""How long the stream of a run goes on: until the run has ended, or until it waits for somebody.

Whatever its agent does, a store makes a suspension of what its owner settles.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from awaken.domain.ids import DispatchId, RunId, Scope
from awaken.domain.run import Run, Waiting
from awaken.executors.function import Context
from awaken.store.contract import Store
from awaken.store.transitions import Ack, Outcome, Settle, Suspend, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.forwarding import ForwardingStore
from tests.http.asgi import Frame, all_frames
from tests.http.site import Site, served


class Suspending(ForwardingStore):
    """Every run that would end well waits instead. Its record can be made to look otherwise."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.run_changes: dict[str, Any] = {}

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        return await super().apply([_suspending(transition) for transition in batch])

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        run = await super().load_run(scope, run_id)
        return None if run is None else replace(run, **self.run_changes)


def _suspending(transition: Transition) -> Transition:
    if isinstance(transition, Settle) and isinstance(transition.ending, Ack):
        return replace(transition, ending=Suspend(next_dispatch_id=DispatchId(f"next-{transition.dispatch_id}")))
    return transition


@asynccontextmanager
async def suspending(store: Store, clock: ManualClock) -> AsyncGenerator[tuple[Site, Suspending]]:
    wrapped = Suspending(store)
    async with served(wrapped, clock) as site:
        yield site, wrapped


async def suspended(site: Site) -> Any:
    """A run that waits."""
    run = await site.submit("talk", "t")
    await site.world.quiet()
    assert (await site.http.get(f"/v1/runs/{run['run_id']}")).json()["phase"] == "waiting"
    return run


def ending_of(body: bytes) -> tuple[str, Any]:
    """The last event of the log that is shown, and what the stream ends with."""
    frames = all_frames(body)
    assert frames[-1].event == "stream.end"
    return frames[-2].event, frames[-1].json()


async def stream(site: Site, run: Any, query: str = "", **headers: str) -> bytes:
    return (await site.http.get(f"/v1/runs/{run['run_id']}/stream{query}", headers=headers)).body


async def test_a_stream_is_over_when_its_run_waits_for_somebody(store: Store, clock: ManualClock) -> None:
    async with suspending(store, clock) as (site, _):
        async with site.http.open("POST", "/v1/runs/stream", {"agent_id": "gated", "input": "hello"}) as live:
            (await site.world.agent.next_call()).release("may I?")
            body = await live.rest()
        run = all_frames(body)[0].json()

        assert ending_of(body) == ("RunSuspended", {"reason": "waiting"})
        assert ending_of(await stream(site, run)) == ("RunSuspended", {"reason": "waiting"})
        assert ending_of(await stream(site, run, "?until=waiting_or_done")) == ("RunSuspended", {"reason": "waiting"})
        assert site.counts.open_streams == 0


async def test_what_the_stream_shows_has_no_part_in_it(memory: Store, clock: ManualClock) -> None:
    async with suspending(memory, clock) as (site, _):
        frames = all_frames(await stream(site, await suspended(site), "?channels=messages&include_deltas=false"))

        assert "RunSuspended" not in {frame.event for frame in frames}
        assert frames[-1].json() == {"reason": "waiting"}


@behaviour("SRV-020")
async def test_resumed_anywhere_the_stream_of_a_waiting_run_is_the_rest_and_its_end(
    store: Store, clock: ManualClock
) -> None:
    async with suspending(store, clock) as (site, _):
        run = await suspended(site)
        first, *frames, last = all_frames(await stream(site, run))

        for index, frame in enumerate(frames):
            rest = all_frames(await stream(site, run, **{"last-event-id": frame.id or ""}))
            assert rest[0].event == first.event == "stream.open"
            assert rest[1:] == [*frames[index + 1 :], last]


async def test_until_done_a_stream_goes_on_beyond_a_wait(store: Store, clock: ManualClock) -> None:
    async with suspending(store, clock) as (site, _):
        async with site.http.open("POST", "/v1/runs", {"agent_id": "gated", "input": "hello"}) as submitting:
            await submitting.rest()
        call = await site.world.agent.next_call()
        path = f"/v1/runs/{call.run_id}/stream?until=done"
        async with site.http.open("GET", path) as from_the_start:
            call.release("may I?")
            at_the_wait = (await from_the_start.until("RunSuspended"))[-1]
            async with site.http.open("GET", path, headers={"last-event-id": at_the_wait.id or ""}) as resumed:
                await site.world.advance(15)
                cancelled = await site.http.post(f"/v1/runs/{call.run_id}/cancel")
                assert cancelled.json()["state"] == "stopped"
                bodies = [await from_the_start.rest(), await resumed.rest()]

        for body in bodies:
            assert b": ka" in body, "it was open while the run waited"
            assert ending_of(body) == ("RunCancelled", {"reason": "done"})


async def test_a_run_that_has_waited_and_ended_is_shown_to_its_end(store: Store, clock: ManualClock) -> None:
    async with suspending(store, clock) as (site, _):
        run = await suspended(site)
        await site.http.post(f"/v1/runs/{run['run_id']}/cancel")
        body = await stream(site, run)

        assert "RunSuspended" in {frame.event for frame in all_frames(body)}
        assert ending_of(body) == ("RunCancelled", {"reason": "done"})


@pytest.mark.parametrize(
    "changes",
    [
        {"updated_seq": 1_000},
        {"dispatch_id": DispatchId("the next one")},
        {"waiting": Waiting("background_tasks")},
    ],
    ids=["suspended again later", "decided meanwhile", "for its children"],
)
@pytest.mark.parametrize("resumes", [False, True])
async def test_a_run_that_goes_on_is_not_taken_for_one_that_waits(
    memory: Store, clock: ManualClock, changes: Any, resumes: bool
) -> None:
    async with suspending(memory, clock) as (site, store):
        run = await suspended(site)
        last = all_frames(await stream(site, run))[-2]
        store.run_changes = changes
        headers = {"last-event-id": last.id or ""} if resumes else {}
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream", headers=headers) as goes_on:
            await site.world.advance(15)
            store.run_changes = {}
            await site.http.post(f"/v1/runs/{run['run_id']}/cancel")

            assert ending_of(await goes_on.rest()) == ("RunCancelled", {"reason": "done"})


async def parent(context: Context) -> str:
    return f"the child said {await context.call('gated', 'go')}, and a person {await context.ask('and you?')}"


@pytest.mark.parametrize("path", ["stream", "wait", "join"])
async def test_whoever_follows_a_run_follows_it_over_the_work_of_its_children(
    store: Store, clock: ManualClock, path: str
) -> None:
    """A run that waits for its children goes on by itself; it is over when it waits for a person."""
    async with served(store, clock, agents={"parent": parent}) as site:
        run = await site.submit("parent")
        child = await site.world.agent.next_call()
        await site.world.quiet()
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/{path}") as following:
            await site.world.advance(15)
            assert not following.is_complete
            child.release("yes")
            body = await following.rest()

        if path == "stream":
            assert ending_of(body) == ("RunSuspended", {"reason": "waiting"})
        else:
            [ticket] = json.loads(body)["run"]["waiting"]["tickets"]
            assert ticket["message"] == "and you?"


async def test_a_client_whose_place_is_lost_gets_the_state_of_the_waiting_run_and_the_end(
    store: Store, clock: ManualClock
) -> None:
    async with suspending(store, clock) as (site, _):
        run = await suspended(site)
        future = run["cursor"].rpartition(".")[0] + ".999"
        frames: list[Frame] = all_frames(await stream(site, run, **{"last-event-id": future}))

        assert [frame.event for frame in frames] == ["stream.open", "stream.resync", "stream.end"]
        assert (frames[1].json()["run"]["phase"], frames[2].json()) == ("waiting", {"reason": "waiting"})


async def test_the_stream_of_a_thread_never_ends_because_a_run_waits(store: Store, clock: ManualClock) -> None:
    async with suspending(store, clock) as (site, _):
        await suspended(site)
        async with site.http.open("GET", "/v1/threads/t/stream?since=start") as watching:
            await watching.until("RunSuspended")
            await site.submit("talk", "t")
            await watching.until("RunQueued")
