"""What a scrape shows after a real mailbox has done something."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest

from awaken.domain.agent_event import CallStatus
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import PermanentFailure, StoreUnavailable, TransientFailure
from awaken.domain.event import ErrorRecorded, InferenceComplete, ToolCallDone
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, ThreadId
from awaken.domain.run import Usage
from awaken.domain.ticket import Verdict
from awaken.executors.contract import Entry, Finished, RunPort
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store, TicketQuery
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Settle, Submit
from awaken.telemetry import names
from awaken.telemetry.models import MAX_MODELS, ModelMetrics
from awaken.telemetry.prometheus import DEPTH_AGE_S, PrometheusObserver
from awaken.telemetry.tally import Number
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
        agents: dict[str, Any] | None = None,
    ) -> None:
        self.store = WatchedStore(store, exclusive=exclusive)
        self.observer = PrometheusObserver(self.store, clock)
        self.world = World(self.store, clock, agents=agents, settings=settings, observer=self.observer)

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


@behaviour("MBX-109", "D-017")
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


@behaviour("OBS-010")
async def test_what_the_audit_mends_and_what_it_cannot_mend_is_counted(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "awaken.db"
    observed = Observed(SqliteStore(path, clock=clock), clock)
    observed.world.audits = False  # a hole stays
    async with observed.world as world:
        before = await observed.samples()
        run = await world.submit()
        (await world.agent.next_call()).release()
        await world.done(run)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE threads SET waiting = 9")
            db.execute("DELETE FROM events WHERE first_seq = 1")
        await world.advance(2 * 30 * 40)  # more than a round of the audit, and than another
        after = await observed.samples()

    mended = 'awaken_audit_mended_total{invariant="counters_agree"}'
    assert [(each["awaken_audit_refused"], each[mended]) for each in (before, after)] == [(0, 0), (1, 1)]


async def test_a_dispatch_that_a_mending_closes_is_counted_as_any_other(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "awaken.db"
    observed = Observed(SqliteStore(path, clock=clock), clock)
    async with observed.world as world:
        run = await world.submit(delay_s=86_400)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE runs SET status = 'done', finished_at = updated_at")
        await world.advance(2 * 30 * 40)
        operations = await observed.operations()
        assert (await world.dispatch(run)).status is DispatchStatus.SUPERSEDED

    assert operations["mark_run_superseded/ok"] == 1


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


@behaviour("P-001")
async def test_scrapes_close_together_count_the_dispatches_once(clock: ManualClock) -> None:
    observed = Observed(MemoryStore(clock), clock)
    async with observed.world as world:
        await observed.samples()
        await world.submit(delay_s=60)
        assert (await observed.samples())["awaken_mailbox_queue_depth"] == 0
        await world.advance(DEPTH_AGE_S)
        assert (await observed.samples())["awaken_mailbox_queue_depth"] == 1


@behaviour("P-001")
async def test_what_is_counted_of_a_run_costs_it_no_read(store: Store, clock: ManualClock) -> None:
    """How much is queued is not counted after each operation, but when somebody asks."""
    observed = Observed(store, clock)
    async with observed.world as world:
        before = len(observed.store.transitions)
        observed.store.refuse_read = StoreUnavailable("nothing is to be read")
        for number in range(3):
            await world.submit(f"m{number}")
            (await world.agent.next_call()).release("done")
            await world.quiet()
        observed.store.refuse_read = None

        assert [type(each) for each in observed.store.transitions[before:]] == [Submit, Settle] * 3
        assert (await observed.samples())['awaken_runs_total{outcome="completed"}'] == 3


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
    assert {label for label in re.findall(r'[{,](\w+)="', text)} <= {
        "operation", "result", "status", "outcome", "class", "invariant", "kind", "le",
    }  # fmt: skip


# --- agents and people ------------------------------------------------------------------------------------------------


def answered(model: str | None, **details: Any) -> InferenceComplete:
    usual: dict[str, Any] = {"usage": Usage(input_tokens=7, output_tokens=3), "duration_ms": 1500, "provider": "acme"}
    return InferenceComplete(MessageId("m"), model=model, **{**usual, **details})


async def thinking(ctx: Context) -> str:
    await ctx.emit(answered("small"))
    await ctx.emit(answered("small", usage=Usage(input_tokens=1, cache_read_tokens=1)))
    await ctx.emit(answered(None, provider=None, finish_reason="error"))
    await ctx.emit(ErrorRecorded("no such file"))
    return "done"


class Calling:
    """Makes calls that end in every way."""

    async def drive(self, entry: Entry, port: RunPort) -> Finished:
        for number, status in enumerate(get_args(CallStatus)):
            await port.emit(ToolCallDone(MessageId("m"), f"c{number}", "tool", MessageId("r"), status))
        return Finished()


@behaviour("MBX-370")
async def test_calls_of_models_are_counted_with_their_time_and_tokens(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock, agents={"thinking": thinking})
    async with observed.world as world:
        await world.done(await world.submit(agent_id="thinking"))
        samples = await observed.samples()

    labels = '{model="small",provider="acme",status="ok"}'
    assert samples[f"awaken_inference_requests_total{labels}"] == 2
    assert samples[f"awaken_inference_duration_seconds_sum{labels}"] == 3
    unknown = '{model="unknown",provider="unknown",status="error"}'
    assert samples[f"awaken_inference_requests_total{unknown}"] == 1
    of = 'awaken_inference_tokens_total{model="small",provider="acme",type='
    tokens = {name.removeprefix(of): value for name, value in samples.items() if name.startswith(of)}
    assert tokens == {'"input"}': 8, '"output"}': 3, '"cache_read"}': 1}


@behaviour("SRV-044")
def test_however_many_models_there_are_their_series_are_bounded() -> None:
    models = ModelMetrics()
    for number in range(MAX_MODELS + 10):
        models.answered(answered(f"model-{number}"))
    models.answered(answered("model-0"))

    [requests, *_] = models.families()

    found = {labels[0]: child.value for labels, child in requests if isinstance(child, Number)}
    assert len(found) == MAX_MODELS + 1
    assert (found["model-0"], found["other"]) == (2, 10)


@behaviour("OBS-002")
async def test_errors_are_counted_by_class(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock, agents={"thinking": thinking, "calling": Calling()})
    async with observed.world as world:
        await world.done(await world.submit(agent_id="thinking"))
        await world.done(await world.submit(agent_id="calling"))
        run = await world.submit()
        (await world.agent.next_call()).fail(TransientFailure("busy"))
        await world.quiet()
        await world.advance(0.25)
        (await world.agent.next_call()).fail(PermanentFailure("no such model"))
        await world.done(run)
        observed.store.fail_once(Submit)
        with pytest.raises(StoreUnavailable):
            await world.submit()
        await world.quiet()
        samples = await observed.samples()

    classes = {name: value for name, value in samples.items() if name.startswith("awaken_errors_total")}
    assert classes == {
        'awaken_errors_total{class="recorded"}': 1,
        'awaken_errors_total{class="tool"}': 4,
        'awaken_errors_total{class="transient"}': 1,
        'awaken_errors_total{class="permanent"}': 1,
        'awaken_errors_total{class="store"}': 1,
    }


async def asking(ctx: Context) -> int:
    return await ctx.ask("how many?", type=int, expires_in_s=60, default=0)


@behaviour("OBS-003", "OBS-004")
async def test_open_tickets_and_decisions_are_counted(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock, agents={"asking": asking})
    async with observed.world as world:
        decided, expired = [await world.submit(agent_id="asking", thread_id=thread) for thread in ("t1", "t2")]
        await world.quiet()
        await world.advance(10)
        waiting = await observed.samples()
        [ticket, _] = (await store.list_tickets(DEFAULT_SCOPE, TicketQuery(state="open"))).items
        for _ in range(2):
            verdict = Verdict(action="answer", result=3, decision_id="one")
            await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, verdict)
        await world.done(decided)
        await world.advance(51)
        await world.done(expired)
        await world.advance(DEPTH_AGE_S)
        samples = await observed.samples()

    assert waiting['awaken_tickets_open{kind="input"}'] == 2
    assert waiting['awaken_ticket_age_seconds{kind="input"}'] == 10
    assert waiting['awaken_tickets_open{kind="approval"}'] == 0
    assert samples['awaken_decisions_total{action="answer",path="durable"}'] == 1, "a repetition is no decision"
    assert samples['awaken_decisions_total{action="expire",path="durable"}'] == 1
    assert samples['awaken_tickets_open{kind="input"}'] == samples['awaken_ticket_age_seconds{kind="input"}'] == 0


@behaviour("OBS-005")
async def test_what_is_read_from_the_database_is_for_max(clock: ManualClock) -> None:
    text = (await PrometheusObserver(MemoryStore(clock), clock).scrape()).decode()
    said = {found[1] for found in re.finditer(r"# HELP (\S+) .*take the max over them, never the sum", text)}
    assert said == {
        "awaken_mailbox_queue_depth",
        "awaken_mailbox_dispatch_depth",
        "awaken_mailbox_unserved_routes",
        "awaken_audit_refused",
        "awaken_tickets_open",
        "awaken_ticket_age_seconds",
    }


@behaviour("OBS-008")
async def test_no_operation_is_counted_that_is_part_of_another_one(store: Store, clock: ManualClock) -> None:
    observed = Observed(store, clock)
    async with observed.world as world:
        before = await observed.operations()
        run = await world.submit()
        (await world.agent.next_call()).release("hi")
        await world.done(run)
        await world.quiet()
        operations = await observed.operations()

    done = {name for name, count in operations.items() if count != before.get(name, 0)}
    assert done == {"enqueue/ok", "claim/ok", "ack/ok"}, "a whole run, in two transactions"


@behaviour("SRV-044")
async def test_a_scrape_reads_twice_however_much_there_is(clock: ManualClock) -> None:
    observed = Observed(MemoryStore(clock), clock)
    async with observed.world as world:
        for number in range(50):
            await world.submit(thread_id=f"t{number}", delay_s=60)
        await world.advance(DEPTH_AGE_S)
        before = observed.store.ended_count
        await observed.samples()
        await observed.samples()
        assert observed.store.ended_count - before == 2


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
    http.stream_opened("run", "native")
    http.stream_opened("thread", "native")
    http.frames_sent("native", 7, 700, 0.25)
    http.frames_sent("native", 2, 200, None)
    http.stream_closed("run", "native", caught_up=2, stalled=True)
    http.came_back("native", "resync")
    http.turned_away("forbidden")

    text = observer.render().decode()

    assert 'awaken_http_requests_total{method="GET",route="/v1/runs/{run_id}",status="200"} 1.0' in text
    assert 'awaken_http_requests_total{method="other",route="unmatched",status="405"} 1.0' in text
    assert 'awaken_http_request_duration_seconds_sum{method="GET",route="/v1/runs/{run_id}",status="200"} 0.004' in text
    assert "awaken_http_requests_in_flight 0.0" in text
    assert 'awaken_sse_connections{scope="run"} 0.0' in text
    assert 'awaken_sse_connections{scope="thread"} 1.0' in text
    assert 'awaken_streams_open{dialect="native"} 1.0' in text
    assert 'awaken_stream_frames_total{dialect="native"} 9.0' in text
    assert 'awaken_stream_bytes_total{dialect="native"} 900.0' in text
    assert 'awaken_stream_catchups_total{dialect="native"} 2.0' in text
    assert 'awaken_stream_stalled_closed_total{dialect="native"} 1.0' in text
    assert 'awaken_stream_resumes_total{dialect="native",result="resync"} 1.0' in text
    assert 'awaken_stream_delivery_lag_seconds_sum{dialect="native"} 0.25' in text
    assert 'awaken_stream_delivery_lag_seconds_count{dialect="native"} 1.0' in text
    assert 'awaken_auth_failures_total{reason="forbidden"} 1.0' in text
