"""The last hour, minute by minute."""

from __future__ import annotations

import msgspec
import pytest

from awaken import Awaken, Context
from awaken.client import AsyncClient
from awaken.domain.errors import AgentNotFound, PermanentFailure, TransientFailure
from awaken.domain.event import InferenceComplete
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, MessageId
from awaken.domain.run import Usage
from awaken.mailbox.observer import Observers
from awaken.store.contract import Store
from awaken.telemetry.stats import BOUNDS_S, MINUTE_MS, MINUTES, Minute, Stats
from awaken.telemetry.tally import Spread
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import World
from tests.http.asgi import Client


async def thinking(ctx: Context) -> str:
    await ctx.emit(InferenceComplete(MessageId("m"), Usage(input_tokens=7, output_tokens=3), 1))
    return "done"


async def asking(ctx: Context) -> str:
    return await ctx.ask("how many?")


def total(minutes: list[Minute], name: str) -> int:
    return sum([getattr(minute, name) for minute in minutes])


@behaviour("OBS-013")
async def test_each_minute_says_what_was_done_in_it(store: Store, clock: ManualClock) -> None:
    stats = Stats(clock)
    agents = {"thinking": thinking, "asking": asking}
    async with World(store, clock, agents=agents, observer=Observers(stats)) as world:
        await world.done(await world.submit(agent_id="thinking", thread_id="a"))
        await world.submit(agent_id="asking", thread_id="b")
        await world.quiet()

        await world.advance(60)
        run = await world.submit(thread_id="c")
        (await world.agent.next_call()).fail(TransientFailure("busy"))
        await world.quiet()
        await world.advance(0.25)
        (await world.agent.next_call()).fail(PermanentFailure("no such model"))
        await world.done(run)

        await world.advance(120)
        run = await world.submit(thread_id="d", delay_s=2)
        await world.advance(2)
        call = await world.agent.next_call()
        clock.tick(10)
        await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        await call.over()
        await world.done(run)
        await world.quiet()
        minutes = stats.minutes()

    first, second, empty, last = minutes
    assert [minute.at - first.at for minute in minutes] == [0, 60_000, 120_000, 180_000]
    assert (first.submitted, first.started, first.completed, first.suspended) == (2, 2, 1, 1)
    assert (first.model_calls, first.input_tokens, first.output_tokens) == (1, 7, 3)
    assert (second.submitted, second.started, second.retried, second.failed, second.completed) == (1, 2, 1, 1, 0)
    assert (empty.submitted, empty.started, empty.wait.p50_s, empty.run.p99_s) == (0, 0, None, None)
    assert (last.submitted, last.cancelled) == (1, 1)
    assert last.run.p50_s is not None and 10 <= last.run.p50_s <= 11
    assert last.wait.p99_s is not None and last.wait.p99_s < 0.001, "a delay that was asked for is no waiting"


@behaviour("OBS-015")
async def test_of_an_agent_it_is_said_what_was_done_for_it_in_a_window(store: Store, clock: ManualClock) -> None:
    stats = Stats(clock)
    agents = {"thinking": thinking, "asking": asking}
    async with World(store, clock, agents=agents, observer=Observers(stats)) as world:
        await world.done(await world.submit(agent_id="thinking", thread_id="a"))
        await world.advance(90)
        for thread in "bc":
            await world.done(await world.submit(agent_id="thinking", thread_id=thread))
        await world.submit(agent_id="asking", thread_id="d")
        run = await world.submit(thread_id="e")
        (await world.agent.next_call()).fail(PermanentFailure("no such model"))
        await world.done(run)
        await world.quiet()

        hour, minute = stats.of_agent(AgentId("thinking")), stats.of_agent(AgentId("thinking"), 60)
        assert (hour.submitted, hour.started, hour.completed, hour.input_tokens) == (3, 3, 3, 21)
        assert (minute.submitted, minute.completed, minute.output_tokens) == (2, 2, 6)
        assert stats.of_agent(AgentId("thinking"), 61).submitted == 3, "a part of a minute counts as one"
        assert (hour.since, minute.since) == (stats.since, clock.now() // MINUTE_MS * MINUTE_MS)
        assert stats.of_agent(AgentId("asking")).suspended == 1
        assert stats.of_agent(AgentId("gated")).failed == 1
        nobody = stats.of_agent(AgentId("nobody"))
        assert (nobody.submitted, nobody.wait.p50_s, nobody.run.p99_s) == (0, None, None)
        whole = stats.minutes()
        assert (total(whole, "submitted"), total(whole, "completed"), total(whole, "failed")) == (5, 3, 1)


@behaviour("OBS-013")
async def test_no_more_than_an_hour_is_kept(store: Store, clock: ManualClock) -> None:
    stats = Stats(clock)
    async with World(store, clock, observer=Observers(stats)) as world:
        for _ in range(MINUTES + 5):
            await world.submit(delay_s=10**6)
            clock.tick(60)
        minutes = stats.minutes()
        assert [minute.submitted for minute in minutes] == [1] * (MINUTES - 1) + [0]
        clock.tick(86_400)
        assert (len(stats.minutes()), total(stats.minutes(), "submitted")) == (MINUTES, 0)
        assert stats.minutes()[-1].at == clock.now() // 60_000 * 60_000


@behaviour("OBS-013")
def test_quantiles_are_at_most_a_tenth_too_long() -> None:
    spread = Spread((1.0, 2.0, 4.0))
    assert spread.quantile(0.5) is None
    spread.observe_all([0.5] * 98 + [3.0, 100.0])
    assert [spread.quantile(part) for part in (0.5, 0.98, 0.99, 1.0)] == [1.0, 1.0, 4.0, 4.0]

    fine = Spread(BOUNDS_S)
    fine.observe_all([number / 100 for number in range(1, 10_001)])
    for part in (0.1, 0.5, 0.99, 1.0):
        known = fine.quantile(part)
        assert known is not None and 100 * part <= known <= 100 * part * 1.1 + 0.01
    fine.observe_all([10**9])
    assert fine.quantile(1.0) == BOUNDS_S[-1] >= 86_400, "a day at most"


@behaviour("OBS-013", "OBS-015")
async def test_a_program_and_a_server_say_the_same() -> None:
    app = Awaken("memory://")
    app.agent("thinking", thinking)
    async with app:
        await (await app.submit("t", "hello")).result()
        await settle()  # its execution ends after its caller is answered
        told = await app.stats()
        over_http = (await Client(app.asgi()).get("/v1/stats")).json()
        agent = await app.agent_stats("thinking", window_s=60)
        agent_over_http = (await Client(app.asgi()).get("/v1/agents/thinking/stats?window_s=60")).json()
        for path, code in (
            ("/v1/agents/nobody/stats", "agent_not_found"),
            ("/v1/agents/thinking/stats?window_s=59", "invalid_request"),
        ):
            assert (await Client(app.asgi()).get(path)).code == code
        with pytest.raises(AgentNotFound):
            await app.agent_stats("nobody")

    assert (told.minutes[-1].submitted, told.minutes[-1].completed) == (1, 1)
    assert over_http["since"] == told.since
    assert over_http["minutes"][-1]["submitted"] == 1
    assert (agent.agent_id, agent.submitted, agent.completed) == ("thinking", 1, 1)
    assert agent_over_http == msgspec.to_builtins(agent)
    assert AsyncClient.stats.__annotations__["return"] == Awaken.stats.__annotations__["return"]
