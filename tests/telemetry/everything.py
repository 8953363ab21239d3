"""A server in which each thing that is counted has happened, and what a scrape of it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from awaken import Context
from awaken.domain.errors import PermanentFailure, TransientFailure
from awaken.domain.event import ErrorRecorded, InferenceComplete, ToolCallDone
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, ThreadId
from awaken.domain.run import Usage
from awaken.executors.contract import Entry, Finished, RunPort
from awaken.http.app import build_app
from awaken.http.settings import HttpSettings
from awaken.http.table import OPERATIONS
from awaken.mailbox.settings import MailboxSettings
from awaken.store.memory import MemoryStore
from awaken.store.transitions import Release, Settle
from awaken.telemetry.prometheus import DEPTH_AGE_S, PrometheusObserver
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World
from tests.http.asgi import Client
from tests.http.test_resuming import Speaker, with_ids

Samples = Mapping[str, list[Mapping[str, str]]]
"""The labels of each sample of a scrape, by its name."""

_USAGE: Final = Usage(input_tokens=1, output_tokens=1, cache_read_tokens=1, cache_write_tokens=1, reasoning_tokens=1)


class Thorough:
    """Calls a model and a tool, which fails, and goes on."""

    async def drive(self, entry: Entry, port: RunPort) -> Finished:
        await port.emit(InferenceComplete(MessageId("m"), _USAGE, 100, model="small", provider="acme"))
        await port.emit(ToolCallDone(MessageId("m"), "c", "tool", MessageId("r"), "failed"))
        await port.emit(ErrorRecorded("no such file"))
        return Finished(final_output="done")


async def asking(ctx: Context) -> str:
    return await ctx.ask("how many?")


async def scrape() -> Samples:
    """Everything is done once, over HTTP where that is how it is done; then the server is asked for its metrics."""
    clock = ManualClock()
    store = WatchedStore(MemoryStore(clock), exclusive=False)
    observer = PrometheusObserver(store, clock)
    speaker = Speaker()
    agents: dict[str, Any] = {"thorough": Thorough(), "asking": asking, "speaker": speaker}
    settings = MailboxSettings(drain_s=0, handover_s=0, lease_ms=12_000, renew_interval_s=4, poll_interval_s=30)
    async with World(store, clock, agents=agents, settings=settings, observer=observer) as world:
        http = HttpSettings(authorize=lambda request: request.headers.get("x-user") and DEFAULT_SCOPE)
        app = build_app(
            world.mailbox, world.store, OPERATIONS, settings=http, metrics=observer.scrape, observer=observer.http
        )
        client = Client(app, headers={"x-user": "ann"})
        await client.get("/v1/runs", headers={"x-user": ""})
        await _works(world, client)
        await _streams(world, client, speaker)
        await _waits(world, client)
        await _fails(world, client)
        await _loses(world, client)
        await world.advance(DEPTH_AGE_S)
        answer = await client.get("/metrics")
    assert answer.status == 200
    return _samples(answer.body.decode())


def _samples(text: str) -> Samples:
    found: defaultdict[str, list[Mapping[str, str]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append(sample.labels)
    return found


async def _submit(client: Client, agent_id: str, **fields: Any) -> Any:
    body = {"agent_id": agent_id, "input": "hello", "if_not_exists": "create", **fields}
    answer = await client.post("/v1/runs", body)
    assert answer.status in (200, 202), answer
    return answer.json()


async def _works(world: World, client: Client) -> None:
    run = await _submit(client, "thorough")
    await world.quiet()
    assert (await client.get(f"/v1/runs/{run['run_id']}")).json()["phase"] == "completed"


async def _streams(world: World, client: Client, speaker: Speaker) -> None:
    """One that is watched from its start and comes back for the rest."""
    run = await _submit(client, "speaker")
    path = f"/v1/runs/{run['run_id']}/stream"
    await world.advance(1)
    async with client.open("GET", path) as stream:
        await stream.until("RunStarted")
        speaker.say("hello")
        await stream.until("TextDeltaObserved")
        last = with_ids(stream.received)[-1].id or ""
    speaker.end()
    await world.quiet()
    await client.get(path, headers={"last-event-id": last})


async def _waits(world: World, client: Client) -> None:
    """One ticket is decided, the next stays open."""
    for is_decided in (True, False):
        run = await _submit(client, "asking")
        await world.quiet()
        if is_decided:
            [ticket] = (await client.get(f"/v1/tickets?run_id={run['run_id']}")).json()["items"]
            answer = await client.post(
                f"/v1/tickets/{ticket['ticket_id']}/decision", {"action": "answer", "result": "3"}
            )
            assert answer.status < 300, answer
            await world.quiet()


async def _fails(world: World, client: Client) -> None:
    """For a while, for good, and because the store is away for longer than a lease."""
    await _submit(client, "gated")
    (await world.agent.next_call()).fail(TransientFailure("busy"))
    await world.quiet()
    await world.advance(0.25)
    (await world.agent.next_call()).fail(PermanentFailure("no such model"))
    await world.quiet()
    await _submit(client, "gated")
    await world.agent.next_call()
    world.store.go_down()
    assert (await client.post("/v1/runs", {"agent_id": "thorough", "input": "hello"})).status == 503
    await world.advance(13)
    world.store.come_back()
    await world.advance(3)
    (await world.agent.next_call()).release("done")
    await world.quiet()


async def _loses(world: World, client: Client) -> None:
    """A claim that somebody else has ended."""
    run = await _submit(client, "gated")
    await world.agent.next_call()
    dispatch = await world.store.active_dispatch(DEFAULT_SCOPE, ThreadId(run["thread_id"]))
    assert dispatch is not None and dispatch.claim_token is not None
    ended = Settle(
        scope=DEFAULT_SCOPE,
        thread_id=dispatch.thread_id,
        run_id=dispatch.run_id,
        dispatch_id=dispatch.dispatch_id,
        token=dispatch.claim_token,
        number=0,
        ending=Release("elsewhere"),
    )
    await world.store.apply([ended])
    await world.advance(4)
    (await world.agent.next_call()).release("done")
    await world.quiet()
