"""What a scrape shows after a real mailbox has done something."""

from __future__ import annotations

import asyncio
import re

from awaken.domain.errors import PermanentFailure, TransientFailure
from awaken.domain.ids import DEFAULT_SCOPE, ThreadId
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.transitions import Submit
from awaken.telemetry import names
from awaken.telemetry.prometheus import DEPTH_AGE_S, PrometheusObserver
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import WatchedStore, World

_SAMPLE = re.compile(r"^([a-z_]+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


class Observed:
    """A world that is counted."""

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        settings: MailboxSettings | None = None,
        *,
        exclusive: bool | None = None,
    ) -> None:
        self.store = WatchedStore(store, exclusive=exclusive)
        self.observer = PrometheusObserver(self.store, clock)
        self.world = World(self.store, clock, settings=settings, observer=self.observer)

    async def samples(self) -> dict[str, float]:
        """Every series of a scrape, by its name with its labels."""
        text = (await self.observer.scrape()).decode()
        return {f"{name}{labels}": float(value) for name, labels, value in _SAMPLE.findall(text)}

    async def operations(self) -> dict[str, float]:
        """How often each operation was counted, as `operation/result`."""
        found = re.compile(rf'{names.OPERATIONS.name}{{operation="(\w+)",result="(\w+)"}}')
        counted = [(found.fullmatch(name), value) for name, value in (await self.samples()).items()]
        return {f"{match[1]}/{match[2]}": value for match, value in counted if match is not None}


async def test_an_operation_takes_as_long_as_its_batch_and_is_counted_once(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock)
    async with observed.world as world:
        observed.store.hold(Submit)
        submitting = [asyncio.create_task(world.submit(thread_id=thread, delay_s=60)) for thread in ("t1", "t2")]
        await settle()
        clock.tick(0.5)
        observed.store.let_go()
        await asyncio.wait(submitting)
        samples, operations = await observed.samples(), await observed.operations()

    labels = '{operation="enqueue",result="ok"}'
    assert samples[f"awaken_mailbox_operation_duration_seconds_sum{labels}"] == 1.0
    assert samples[f"awaken_mailbox_operation_duration_seconds_count{labels}"] == operations["enqueue/ok"] == 2


@behaviour("MBX-065")
async def test_one_background_run_shows_in_every_family(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock)
    async with observed.world as world:
        run = await world.submit(delay_s=2)
        await world.advance(3)
        call = await world.agent.next_call()
        assert (await observed.samples())["awaken_active_runs"] == 1

        await world.advance(1.5)
        call.release("hi")
        await world.done(run)
        await world.quiet()
        await world.advance(DEPTH_AGE_S)
        samples, operations = await observed.samples(), await observed.operations()

    assert operations["enqueue/ok"] == operations["claim/ok"] == operations["ack/ok"] == 1
    assert samples["awaken_mailbox_dispatch_enqueue_to_start_seconds_sum"] == 2
    assert samples["awaken_mailbox_dispatch_eligible_to_start_seconds_sum"] == 0
    assert samples["awaken_mailbox_dispatch_claim_to_start_seconds_count"] == 1
    assert samples['awaken_mailbox_dispatch_enqueue_to_complete_seconds_sum{outcome="completed"}'] == 4.5
    assert samples['awaken_mailbox_dispatch_runtime_seconds_sum{outcome="completed"}'] == 2.5
    assert samples['awaken_mailbox_dispatch_runtime_seconds_bucket{le="2.5",outcome="completed"}'] == 1
    assert samples['awaken_mailbox_dispatch_runtime_seconds_bucket{le="1.0",outcome="completed"}'] == 0
    assert samples['awaken_mailbox_dispatch_runtime_seconds_bucket{le="+Inf",outcome="completed"}'] == 1
    assert samples['awaken_runs_total{outcome="completed"}'] == 1
    assert samples['awaken_run_duration_seconds_count{outcome="completed"}'] == 1
    assert samples["awaken_active_runs"] == 0
    assert samples["awaken_mailbox_queue_depth"] == 0
    assert samples['awaken_mailbox_dispatch_depth{status="queued"}'] == 0
    assert samples['awaken_mailbox_dispatch_depth{status="acked"}'] == 1


@behaviour("MBX-016", "MBX-368")
async def test_failures_are_counted_by_their_class(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock)
    async with observed.world as world:
        run = await world.submit()
        (await world.agent.next_call()).fail(TransientFailure("busy"))
        await world.quiet()
        await world.advance(0.25)
        (await world.agent.next_call()).fail(PermanentFailure("no such model"))
        await world.done(run)
        await world.quiet()
        samples, operations = await observed.samples(), await observed.operations()

    assert samples['awaken_runs_total{outcome="transient_error"}'] == 1
    assert samples['awaken_runs_total{outcome="dead_letter"}'] == 1
    assert samples['awaken_runs_total{outcome="permanent_error"}'] == 0, "a dead letter is counted once"
    assert samples['awaken_mailbox_dispatch_runtime_seconds_count{outcome="permanent_error"}'] == 1
    assert (operations["nack/ok"], operations["dead_letter/ok"]) == (1, 1)
    assert operations["mark_run_dead_letter/ok"] == 1


@behaviour("MBX-066")
async def test_kept_and_lost_leases_are_counted(store: Store, clock: ManualClock) -> None:
    settings = MailboxSettings(drain_s=0, lease_ms=12_000, renew_interval_s=4)
    observed = Observed(store, clock, settings, exclusive=False)
    async with observed.world as world:
        run = await world.submit()
        call = await world.agent.next_call()
        await world.advance(9)
        assert (await observed.operations())["lease_renewal/ok"] == 2
        call.release("hi")
        await world.done(run)


@behaviour("MBX-100", "MBX-102")
async def test_what_never_ran_is_counted_as_cancelled_or_superseded(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock)
    async with observed.world as world:
        first = await world.submit()
        call = await world.agent.next_call()
        cancelled, *_ = [await world.submit() for _ in range(3)]
        await world.mailbox.cancel(DEFAULT_SCOPE, cancelled.run.run_id)
        await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        call.release()
        await world.done(first)
        await world.quiet()
        samples, operations = await observed.samples(), await observed.operations()

    assert operations["cancel/ok"] == operations["mark_run_cancelled/ok"] == operations["interrupt/ok"] == 1
    assert operations["supersede/ok"] == 2
    assert operations["mark_run_superseded/ok"] == 3, "the two queued ones, and the one that was stopped"
    assert samples['awaken_runs_total{outcome="superseded"}'] == 2
    assert samples['awaken_runs_total{outcome="cancelled"}'] == 2, "one queued, one stopped"


@behaviour("MBX-109")
async def test_a_run_that_died_with_its_last_attempt_is_counted_as_dead_letter(
    store: Store, clock: ManualClock
) -> None:
    """Lost twice, it is a suspect; lost as the only one of these that was executing, it has spent an attempt."""
    observed = Observed(store, clock, exclusive=False)
    async with observed.world as world:
        run = await world.submit(max_attempts=1)
        for lost in range(1, 4):
            await world.agent.next_call()
            assert (await world.dispatch(run)).crash_count == lost - 1
            observed.store.go_down()
            await world.advance(13)  # longer than the lease: it is lost, and not only handed back
            observed.store.come_back()
            await world.advance(3)
        samples, operations = await observed.samples(), await observed.operations()

    assert samples['awaken_runs_total{outcome="dead_letter"}'] == 1
    assert samples['awaken_runs_total{outcome="lost"}'] == 3
    assert (operations["reclaim_dispatch/ok"], operations["mark_run_dead_letter/ok"]) == (3, 1)
    assert operations["lease_renewal/error"] >= 1


@behaviour("RT-002")
async def test_routes_that_nobody_here_serves_are_counted(store: Store, clock: ManualClock) -> None:
    """As of the last sweep: here one of an agent that cannot be imported, before and after it is registered again."""
    observed = Observed(store, clock)
    agents = observed.world.mailbox.agents
    agents.add("late", "no_such_module:agent")
    withdrawn = asyncio.Event()
    agents.on_change(withdrawn.set)
    async with observed.world as world:
        found = [(await observed.samples())["awaken_mailbox_unserved_routes"]]
        run = await world.submit(agent_id="late")
        await withdrawn.wait()  # it is imported in a thread
        await world.advance(31)
        found.append((await observed.samples())["awaken_mailbox_unserved_routes"])
        agents.add("late", world.agent)
        (await world.agent.next_call()).release()
        await world.done(run)
        await world.advance(31)
        found.append((await observed.samples())["awaken_mailbox_unserved_routes"])

    assert found == [0, 1, 0]


async def test_an_operation_the_store_refused_is_counted_as_an_error(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock)
    async with observed.world as world:
        observed.store.fail_once(Submit)
        try:
            await world.submit()
        except Exception:
            operations = await observed.operations()
        else:
            raise AssertionError("the store was down")
    assert operations["enqueue/error"] == 1
    assert operations["enqueue/ok"] == 0


async def test_scrapes_close_together_count_the_dispatches_once(clock: ManualClock) -> None:
    observed = Observed(MemoryStore(clock), clock)
    async with observed.world as world:
        await observed.samples()
        await world.submit(delay_s=60)
        assert (await observed.samples())["awaken_mailbox_queue_depth"] == 0
        await world.advance(DEPTH_AGE_S)
        assert (await observed.samples())["awaken_mailbox_queue_depth"] == 1


async def test_labels_name_no_thread_run_or_dispatch(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock)
    async with observed.world as world:
        runs = [await world.submit(thread_id=f"thread-{number}") for number in range(20)]
        for run in runs:
            (await world.agent.next_call()).release("hi")
            await world.done(run)
        text = (await observed.observer.scrape()).decode()
    assert "thread-" not in text
    assert not [run for run in runs if run.run.run_id in text]
    assert {label for label in re.findall(r'[{,](\w+)="', text)} <= {"operation", "result", "status", "outcome", "le"}


@behaviour("MBX-363")
async def test_two_servers_in_one_process_count_apart(clock: ManualClock) -> None:
    one, other = Observed(MemoryStore(clock), clock), Observed(MemoryStore(clock), clock)
    async with one.world as world, other.world:
        await world.submit()
        (await world.agent.next_call()).release()
        await world.quiet()
        assert (await one.operations())["enqueue/ok"] == 1
        assert (await other.operations())["enqueue/ok"] == 0


@behaviour("MBX-369", "MBX-376")
async def test_the_http_layers_reports_are_shown_by_route(clock: ManualClock) -> None:
    observer = PrometheusObserver(MemoryStore(clock), clock)
    http = observer.http
    http.request_started()
    http.request_started()
    http.request_ended("GET", "/v1/runs/{run_id}", 200, 0.004)
    http.request_ended("BREW", "unmatched", 405, 0.001)
    http.stream_opened("run")
    http.stream_opened("thread")
    http.frames_sent(7)
    http.stream_closed("run", caught_up=2, stalled=True)

    text = observer.render().decode()

    assert 'awaken_http_requests_total{method="GET",route="/v1/runs/{run_id}",status="200"} 1.0' in text
    assert 'awaken_http_requests_total{method="other",route="unmatched",status="405"} 1.0' in text
    assert 'awaken_http_request_duration_seconds_sum{method="GET",route="/v1/runs/{run_id}",status="200"} 0.004' in text
    assert "awaken_http_requests_in_flight 0.0" in text
    assert 'awaken_sse_connections{scope="run"} 0.0' in text
    assert 'awaken_sse_connections{scope="thread"} 1.0' in text
    assert "awaken_sse_frames_total 7.0" in text
    assert "awaken_sse_catchups_total 2.0" in text
    assert "awaken_sse_stalled_total 1.0" in text
