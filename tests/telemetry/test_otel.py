"""Spans of a real mailbox, as an exporter gets them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from awaken import Awaken, Context
from awaken.domain.errors import PermanentFailure, StoreUnavailable, TransientFailure
from awaken.domain.event import InferenceComplete, StepEnded, StepStarted, ToolCallDone, ToolCallReady
from awaken.domain.ids import MessageId
from awaken.domain.run import Usage
from awaken.domain.traceparent import current_traceparent, nearest_traceparent, read_traceparent
from awaken.executors.contract import Entry, Finished, RunPort
from awaken.mailbox.observer import Observers
from awaken.store.contract import Store
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Submit
from awaken.telemetry.otel import Traces
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import World
from tests.http.asgi import Client

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{PARENT}-01"
SECRET = "sk-secret"


class Exported:
    """A provider whose spans are kept."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._kept.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span


def place(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Its trace, itself, and its parent."""
    own, parent = span.context, span.parent
    assert own is not None
    return f"{own.trace_id:032x}", f"{own.span_id:016x}", None if parent is None else f"{parent.span_id:016x}"


def took_s(span: ReadableSpan) -> float:
    assert span.start_time is not None and span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def is_inside(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    return place(inner)[2] == place(outer)[1]


@pytest.fixture
def exported() -> Exported:
    return Exported()


@asynccontextmanager
async def traced(store: Store, clock: ManualClock, exported: Exported, **options: Any) -> AsyncGenerator[World]:
    traces = Traces(exported.provider, clock)
    observers = Observers(traces)
    async with World(store, clock, observer=observers, **options) as world:
        world.mailbox.observers.tracer = traces
        yield world


class Assistant:
    """A step with a model call and two tool calls, one of which fails; time passes while they last."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def drive(self, entry: Entry, port: RunPort) -> Finished:
        turn = MessageId("turn")
        await port.emit(StepStarted(turn, 0))
        self._clock.tick(2)
        usage = Usage(input_tokens=7, output_tokens=3)
        await port.emit(
            InferenceComplete(turn, usage, 1500, model="small", provider="acme", finish_reason="stop"),
            ToolCallReady(turn, "c1", "look_up", {"key": SECRET}),
            ToolCallReady(turn, "c2", "pay", {"key": SECRET}),
        )
        self._clock.tick(1)
        await port.emit(ToolCallDone(turn, "c1", "look_up", MessageId("r1"), "succeeded", result=SECRET))
        self._clock.tick(1)
        await port.emit(ToolCallDone(turn, "c2", "pay", MessageId("r2"), "failed", error_text=SECRET))
        await port.emit(StepEnded(0))
        return Finished(final_output=SECRET)


@behaviour("OT-001")
async def test_a_run_is_submitted_waits_is_executed_and_settled_in_one_trace(
    store: Store, clock: ManualClock, exported: Exported
) -> None:
    async with traced(store, clock, exported) as world:
        run = await world.submit(delay_s=2)
        await world.advance(2)
        call = await world.agent.next_call()
        clock.tick(3)
        call.release("hi")
        await world.done(run)
        await world.quiet()

    submit, waiting = exported.one("submit gated"), exported.one("wait gated")
    execution, settling = exported.one("invoke_agent gated"), exported.one("settle")
    assert {place(span)[0] for span in exported.spans} == {place(submit)[0]}
    assert place(submit)[2] is None
    assert is_inside(waiting, submit) and is_inside(execution, submit) and is_inside(settling, execution)
    assert took_s(execution) == 3
    known = {"gen_ai.agent.name": "gated", "gen_ai.conversation.id": "t", "awaken.run.id": run.run.run_id}
    assert attributes(submit) == {**known, "awaken.outcome": "accepted"}
    assert attributes(execution) == {
        **known,
        "gen_ai.operation.name": "invoke_agent",
        "awaken.dispatch.id": run.run.dispatch_id,
        "awaken.attempt": 1,
        "awaken.why": "start",
        "awaken.outcome": "completed",
    }
    assert attributes(settling) == {"awaken.ending": "Ack", "awaken.outcome": "Settled"}


@behaviour("OT-002")
async def test_steps_model_calls_and_tool_calls_are_spans_inside_the_execution(
    store: Store, clock: ManualClock, exported: Exported
) -> None:
    async with traced(store, clock, exported, agents={"assistant": Assistant(clock)}) as world:
        await world.done(await world.submit(agent_id="assistant"))
        await world.quiet()

    execution, step = exported.one("invoke_agent assistant"), exported.one("step 0")
    chat = exported.one("chat small")
    look_up, pay = exported.one("execute_tool look_up"), exported.one("execute_tool pay")
    assert is_inside(step, execution)
    assert all([is_inside(inner, step) for inner in (chat, look_up, pay)])
    assert [took_s(span) for span in (step, chat, look_up, pay)] == [4, 1.5, 1, 2]
    assert attributes(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "small",
        "gen_ai.provider.name": "acme",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ("stop",),
    }
    assert attributes(look_up) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up",
        "gen_ai.tool.call.id": "c1",
        "awaken.outcome": "succeeded",
    }
    assert (look_up.status.status_code, pay.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert attributes(pay)["error.type"] == "failed"


@behaviour("OT-003")
async def test_nothing_that_somebody_wrote_is_in_a_span(store: Store, clock: ManualClock, exported: Exported) -> None:
    async def failing(ctx: Context) -> None:
        await ctx.emit(SECRET)
        raise PermanentFailure(SECRET)

    agents: dict[str, Any] = {"assistant": Assistant(clock), "failing": failing}
    async with traced(store, clock, exported, agents=agents) as world:
        for agent_id in agents:
            await world.done(await world.submit(SECRET, agent_id=agent_id))
        await world.quiet()

    assert len(exported.spans) > 8
    assert SECRET not in "".join([span.to_json() for span in exported.spans])


async def two_steps(ctx: Context) -> str:
    await ctx.step("first", lambda: 1)
    await ctx.emit("then")
    await ctx.step("second", lambda: 2)
    return "done"


@behaviour("OT-002")
async def test_steps_of_a_function_follow_each_other(store: Store, clock: ManualClock, exported: Exported) -> None:
    """Of steps side by side each has gone on since the one before it ended."""

    async def agent(ctx: Context) -> str:
        begun = asyncio.Event()

        async def long() -> None:
            begun.set()
            clock.tick(1)

        async def longer() -> None:
            await begun.wait()
            await asyncio.sleep(0)
            clock.tick(2)

        await asyncio.gather(ctx.step("first", long), ctx.step("second", longer))
        return "done"

    async with traced(store, clock, exported, agents={"agent": agent}) as world:
        await world.done(await world.submit(agent_id="agent"))
        await world.quiet()

    steps = [exported.one(f"step {index}") for index in range(2)]
    assert [took_s(step) for step in steps] == [1, 2]
    assert steps[0].end_time == steps[1].start_time


@behaviour("OT-004")
async def test_every_execution_of_a_run_is_a_span_with_how_it_ended(
    store: Store, clock: ManualClock, exported: Exported
) -> None:
    async with traced(store, clock, exported) as world:
        run = await world.submit()
        (await world.agent.next_call()).fail(TransientFailure("busy"))
        await world.quiet()
        await world.advance(0.25)
        (await world.agent.next_call()).release("hi")
        await world.done(run)
        await world.quiet()

    executions = exported.named("invoke_agent gated")
    found = [(attributes(each)["awaken.attempt"], attributes(each)["awaken.outcome"]) for each in executions]
    assert found == [(1, "transient_error"), (2, "completed")]
    assert [each.status.status_code for each in executions] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [attributes(each)["awaken.ending"] for each in exported.named("settle")] == ["Retry", "Ack"]
    assert len({place(span)[0] for span in exported.spans}) == 1
    assert [took_s(each) for each in exported.named("wait gated")] == [0, 0], "a back-off is not waiting for anybody"


@behaviour("OT-004")
async def test_a_submit_that_the_store_did_not_take_is_an_error(
    store: Store, clock: ManualClock, exported: Exported
) -> None:
    async with traced(store, clock, exported) as world:
        world.store.fail_once(Submit)
        with pytest.raises(StoreUnavailable):
            await world.submit()
        await world.quiet()

    submit = exported.one("submit gated")
    assert (submit.status.status_code, attributes(submit)["error.type"]) == (StatusCode.ERROR, "store")


# --- whose trace it is ------------------------------------------------------------------------------------------------


@behaviour("OT-005")
async def test_a_run_is_in_the_trace_of_whoever_asks_in_a_program(exported: Exported) -> None:
    """And what its agent traces is inside its execution."""
    tracer = exported.provider.get_tracer("theirs")

    async def agent(ctx: Context) -> str:
        with tracer.start_as_current_span("theirs"):
            return "done"

    app = Awaken("memory://", tracer_provider=exported.provider)
    app.agent("agent", agent)
    async with app:
        with tracer.start_as_current_span("click"):
            run = await app.submit("t", "hello")
        await run.result()

    click, submit = exported.one("click"), exported.one("submit agent")
    execution, theirs = exported.one("invoke_agent agent"), exported.one("theirs")
    assert is_inside(submit, click) and is_inside(execution, submit) and is_inside(theirs, execution)


@behaviour("OT-005")
async def test_a_run_is_in_the_trace_that_its_request_names(exported: Exported) -> None:
    app = Awaken("memory://", tracer_provider=exported.provider)
    app.agent("agent", two_steps)
    async with app:
        http = Client(app.asgi())
        body = {"input": "hello", "if_not_exists": "create"}
        for header in (HEADER, "00-nonsense", "x" * 5_000):
            answer = await http.post("/v1/runs/wait", body, headers={"traceparent": header})
            assert answer.status == 200, answer

    named, *others = exported.named("submit agent")
    assert place(named)[0] == TRACE and place(named)[2] == PARENT
    assert [place(other)[2] for other in others] == [None, None], "what is no traceparent is left out"
    assert len([span for span in exported.spans if place(span)[0] == TRACE]) == len(exported.spans) / 3


@behaviour("OT-006")
async def test_a_run_is_linked_where_and_whenever_it_is_executed(
    tmp_path: Path, clock: ManualClock, exported: Exported
) -> None:
    """The place in the trace is stored with the run: here by a life without a tracer, and without an agent at work."""
    path = tmp_path / "awaken.db"
    first = Awaken(store=SqliteStore(path, clock=clock), clock=clock)
    first.agent("agent", two_steps)
    async with first:
        http = Client(first.asgi())
        body = {"input": "hello", "if_not_exists": "create", "after_seconds": 60}
        accepted = await http.post("/v1/runs", body, headers={"traceparent": HEADER})
    assert accepted.status == 202 and not exported.spans

    second = Awaken(store=SqliteStore(path, clock=clock), clock=clock, tracer_provider=exported.provider)
    second.agent("agent", two_steps)
    clock.tick(61)
    async with second:
        run = await second.wait(accepted.json()["run_id"])
    assert run.phase == "completed"

    execution = exported.one("invoke_agent agent")
    assert place(execution)[0] == TRACE and place(execution)[2] == PARENT


@behaviour("OT-007")
async def test_a_child_is_linked_from_the_run_that_starts_it(exported: Exported) -> None:
    async def parent(ctx: Context) -> Any:
        return await ctx.call("child", "hello")

    async def child(ctx: Context) -> str:
        return "done"

    app = Awaken("memory://", tracer_provider=exported.provider)
    app.agent("parent", parent)
    app.agent("child", child)
    async with app:
        run = await app.submit("t", "hello", agent="parent")
        assert (await run.result()).output == "done"

    starting = exported.named("invoke_agent parent")[0]
    assert is_inside(exported.one("invoke_agent child"), starting)
    assert is_inside(exported.one("submit child"), starting)
    assert len({place(span)[0] for span in exported.spans}) == 1


@behaviour("OT-008")
async def test_the_same_request_in_another_trace_is_the_same_request(exported: Exported) -> None:
    app = Awaken("memory://", tracer_provider=exported.provider)
    app.agent("agent", two_steps)
    tracer = exported.provider.get_tracer("theirs")
    async with app:
        runs: list[Any] = []
        for _ in range(2):
            with tracer.start_as_current_span("click"):
                runs.append(await app.submit("t", "hello", run_id="run-1"))
        await runs[0].result()
    assert [run.replayed for run in runs] == [False, True]
    assert [attributes(each)["awaken.outcome"] for each in exported.named("submit agent")] == ["accepted", "replayed"]


# --- traceparent ------------------------------------------------------------------------------------------------------


@behaviour("OT-005")
@pytest.mark.parametrize(
    ("header", "read"),
    [
        (HEADER, HEADER),
        (f" {HEADER} ", HEADER),
        (f"01-{TRACE}-{PARENT}-01-what.comes-later", HEADER),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (HEADER.upper(), None),
        (HEADER[:-1], None),
        (HEADER + "\n", HEADER),
        ("", None),
        (None, None),
    ],
)
def test_a_traceparent_is_read_as_w3c_says(header: str | None, read: str | None) -> None:
    assert read_traceparent(header) == read


@behaviour("OT-005")
def test_a_span_in_which_a_server_was_started_is_none_of_its_callers(exported: Exported) -> None:
    tracer = exported.provider.get_tracer("theirs")
    assert current_traceparent() is None
    with tracer.start_as_current_span("main"):
        main = current_traceparent()
        assert main is not None
        assert nearest_traceparent(None) == main
        assert nearest_traceparent(HEADER) == HEADER
        with tracer.start_as_current_span("request"):
            assert nearest_traceparent(main) == current_traceparent() != main


# --- nobody traces ----------------------------------------------------------------------------------------------------


@behaviour("OT-009")
async def test_without_a_provider_nothing_is_traced() -> None:
    app = Awaken("memory://")
    async with app:
        assert app.mailbox.observers.tracer is None


@behaviour("OT-009")
def test_a_program_that_traces_nothing_does_not_import_opentelemetry() -> None:
    code = """
import asyncio, sys
from awaken import Awaken
async def agent(ctx): return "done"
async def main():
    app = Awaken("memory://")
    app.agent("agent", agent)
    async with app:
        await (await app.submit("t", "hello")).result()
asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@behaviour("OT-009")
def test_the_provider_that_a_process_sets_is_found() -> None:
    code = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from awaken import Awaken
async def agent(ctx): return "done"
async def main():
    app = Awaken("memory://")
    app.agent("agent", agent)
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    for _ in range(2):
        async with app:
            await (await app.submit("t", "hello")).result()
    print(*[span.name for span in kept.get_finished_spans() if span.name.startswith("invoke")], sep=",")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "invoke_agent agent,invoke_agent agent"
