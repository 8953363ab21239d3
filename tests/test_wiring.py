"""The app as a program uses it, where it says more than the mailbox under it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from awaken import Json
from awaken.domain.errors import (
    AlreadyExists,
    PermanentFailure,
    RunFailed,
    RunTimeout,
    ScheduleDeclared,
    StoreUnavailable,
    ThreadNotFound,
    Unavailable,
    Unsupported,
    ValidationError,
    WatchedNotFound,
    WrongLoop,
)
from awaken.domain.ids import RunId
from awaken.domain.run import Origin
from awaken.domain.shown import Hint, WatchedEvent
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.memory import MemoryStore
from awaken.store.postgres import PostgresStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import GatedAgent, WatchedStore
from awaken.wiring import Awaken, RunHandle, open_store


async def echo(context: Context) -> str:
    return await context.input()


async def test_events_that_are_cut_off_by_a_stop_do_not_end_as_if_the_run_had() -> None:
    clock, agent = ManualClock(), GatedAgent()
    settings = MailboxSettings(drain_s=0, handover_s=0)
    app = Awaken(store=MemoryStore(clock), clock=clock, settings=settings)
    app.agent("gated", agent)
    async with asyncio.timeout(20):
        await app.start()
        handle = await app.submit("t", "hello")
        await agent.next_call()
        kinds: list[str] = []

        async def follow() -> None:
            async for event in handle.events():
                kinds.append(event.kind)

        following = asyncio.create_task(follow())
        while kinds[-1:] != ["RunStarted"]:
            await settle()
        await app.stop()
        with pytest.raises(Unavailable) as refused:
            await following

    assert refused.value.code == "stopping"
    assert kinds[-1] == "RunStarted"


async def test_structured_output_is_a_value_and_text_stays_text() -> None:
    async def data(context: Context) -> dict[str, object]:
        yielded = '{"a": 1}'
        await context.emit(yielded)
        return {"a": 1}

    async def text(context: Context) -> str:
        return '{"a": 1}'

    app = Awaken("memory://")
    app.agent("data", data)
    app.agent("text", text)
    async with asyncio.timeout(20), app:
        assert (await app.run("t", "x", agent="data")).output == {"a": 1}
        assert (await app.run("u", "x", agent="text")).output == '{"a": 1}'


async def test_whoever_runs_an_agent_hears_that_it_failed_or_takes_too_long() -> None:
    async def broken(context: Context) -> str:
        raise PermanentFailure("the model is gone")

    async def stuck(context: Context) -> None:
        await asyncio.Event().wait()

    app = Awaken("memory://", settings=MailboxSettings(drain_s=0, handover_s=0))
    app.agent("broken", broken)
    app.agent("stuck", stuck)
    async with asyncio.timeout(20), app:
        with pytest.raises(RunFailed, match="the model is gone") as failed:
            await app.run("t", "x", agent="broken")
        assert failed.value.run.phase == "dead_letter"
        with pytest.raises(TimeoutError, match="goes on") as late:
            await app.run("u", "x", agent="stuck", timeout_s=0)
        assert isinstance(late.value, RunTimeout)
        assert not (await app.wait(late.value.run.run_id, timeout_s=0)).is_done
        stopped = await app.cancel(late.value.run.run_id, wait_s=5)
        assert (stopped.state, stopped.run and stopped.run.phase) == ("stopped", "cancelled")


async def test_everything_of_a_thread_is_read_as_a_client_reads_it() -> None:
    app = Awaken("memory://")
    app.agent("echo", echo)
    async with asyncio.timeout(20), app:
        made = await app.create_thread("t", title="Orders", resource_id="user-7", messages="before")
        assert (made.title, made.message_count) == ("Orders", 1)
        assert (await app.create_thread("t", if_exists="do_nothing")).title == "Orders"
        with pytest.raises(AlreadyExists):
            await app.create_thread("t")
        runs = [await app.run("t", f"number {index}") for index in range(3)]

        assert [run.run_id for run in await app.list_runs(thread_id="t", order="asc")] == [r.run_id for r in runs]
        assert [run.run_id async for run in app.list_runs(thread_id="t", limit=1)] == [runs[-1].run_id]
        assert [thread.thread_id for thread in await app.list_threads(resource_id="user-7")] == ["t"]
        texts = [(message.role, message.text) for message in await app.messages("t", limit=3)]
        assert texts == [("user", "before"), ("user", "number 0"), ("assistant", "number 0")]
        assert [message.text for message in await app.messages("t", order="desc", limit=1)] == ["number 2"]
        [dispatch] = await app.list_dispatches(runs[0].run_id)
        assert dispatch.status == "acked"
        log = await app.list_events("t")
        assert [event.kind for event in await app.list_run_events(runs[2].run_id)][-1] == "RunFinished"
        assert [event async for event in app.run_events(runs[2].run_id, after=log[-2].cursor)] == log[-1:]
        assert [agent.agent_id for agent in await app.list_agents()] == ["echo"]
        with pytest.raises(ValidationError, match="status is one of"):
            app.list_runs(status="red")
        with pytest.raises(ValidationError, match="channels does not know"):
            app.list_events("t", channels=["red"])
        with pytest.raises(ThreadNotFound):
            await app.messages("nowhere")


@behaviour("WAT-001", "WAT-003")
async def test_a_program_watches_several_threads_and_runs_as_one() -> None:
    async with asyncio.timeout(20), Awaken("memory://") as app:
        app.agent("echo", echo)
        ended = await (await app.submit("a", "one", agent="echo")).result()
        log = await app.list_run_events(ended.run_id)
        assert [event async for event in app.watch(ended.run_id)] == [
            WatchedEvent(on=ended.run_id, **structs.asdict(event)) for event in log
        ]
        place = (await app.get_thread("a")).cursor
        assert [event async for event in app.watch({ended.run_id: place})] == []

        after = (await app.create_thread("b")).cursor
        found: list[WatchedEvent | Hint] = []
        async with aclosing(app.watch({"b": None}, hints=True)) as watching:
            following = asyncio.ensure_future(anext(watching))
            await settle()
            for thread_id in ("elsewhere", "b"):
                await (await app.submit(thread_id, "two", agent="echo")).result()
            found.append(await following)
            while not (isinstance(found[-1], WatchedEvent) and found[-1].kind == "RunFinished"):
                found.append(await anext(watching))
        assert [each.kind for each in found if isinstance(each, WatchedEvent)] == [
            event.kind for event in await app.list_events("b", after=after)
        ]
        assert "elsewhere" in [each.thread_id for each in found if isinstance(each, Hint)]
        with pytest.raises(WatchedNotFound):
            await anext(app.watch(["nowhere"]))
        with pytest.raises(ValidationError, match="nothing is named"):
            await anext(app.watch())


async def test_a_run_whose_agent_is_missing_waits_for_it_in_so_many_words(tmp_path: Path) -> None:
    """It had started before, in a process that had the agent."""
    started = asyncio.Event()

    async def stuck(context: Context) -> None:
        started.set()
        await asyncio.Event().wait()

    url = f"sqlite:///{tmp_path}/t.db"
    before = Awaken(url, settings=MailboxSettings(drain_s=0, handover_s=0))
    before.agent("stuck", stuck)
    async with asyncio.timeout(20), before:
        await before.submit("t", "x", run_id="r")
        await started.wait()
    after = Awaken(url)
    after.agent("echo", echo)
    async with asyncio.timeout(20), after:
        run = await after.get_run("r")

        assert run.phase == "queued"
        assert run.waiting is not None
        assert run.waiting.reason == "no_agent"
        assert "'stuck' is not registered here" in (run.waiting.message or "")


async def test_a_run_whose_agent_cannot_be_loaded_does_not_say_that_it_was_never_registered() -> None:
    app = Awaken("memory://")
    app.agent("lost", "no.such:thing")
    async with asyncio.timeout(20), app:
        await app.submit("t", "x", run_id="r")
        while (run := await app.get_run("r")).waiting is None:
            await settle()
        assert run.waiting.reason == "no_agent"
        assert "'lost' cannot be loaded here, for a reason that is in the log" in (run.waiting.message or "")


# --- entered several times --------------------------------------------------------------------------------------------


async def test_an_app_that_is_entered_again_runs_until_the_last_one_leaves() -> None:
    app = Awaken("memory://")
    app.agent("echo", echo)
    async with asyncio.timeout(20):
        async with app:
            async with app:
                assert (await app.run("t", "inner")).output == "inner"
            assert (await app.run("t", "outer")).output == "outer"
        with pytest.raises(Unavailable):
            await app.submit("t", "nobody is left")
        async with app:
            assert app.mailbox.state == "ready"
        assert app.mailbox.state == "stopped"


async def test_many_tasks_enter_and_leave_an_app_beside_one_another() -> None:
    app = Awaken("memory://")
    app.agent("echo", echo)
    begun = [asyncio.Event() for _ in range(5)]

    async def visit(number: int) -> str:
        async with app:
            begun[number].set()
            for other in begun[: number + 2]:
                await other.wait()
            return (await app.run(f"t{number}", str(number))).output

    async with asyncio.timeout(20):
        assert await asyncio.gather(*[visit(number) for number in range(5)]) == ["0", "1", "2", "3", "4"]
        assert app.mailbox.state == "stopped"


async def test_whoever_fails_to_enter_an_app_takes_nothing_from_those_inside(tmp_path: Path) -> None:
    """And where nobody is inside, it is as if nobody had tried."""
    broken = Awaken(f"sqlite:///{tmp_path}/no/such/folder/a.db")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await broken.__aenter__()
    app = Awaken("memory://")
    async with asyncio.timeout(20):
        first, second = [asyncio.create_task(app.__aenter__()) for _ in range(2)]
        await asyncio.sleep(0)
        assert app.mailbox.state == "starting"
        first.cancel()
        await second
        assert (first.cancelled(), app.mailbox.state) == (True, "ready")
        await app.__aexit__(None, None, None)
    assert app.mailbox.state == "stopped"


async def test_a_stop_is_for_everybody_whoever_is_inside() -> None:
    app = Awaken("memory://")
    async with asyncio.timeout(20), app:
        await app.stop()
        with pytest.raises(Unavailable):
            await app.submit("t", "x")
    assert app.mailbox.state == "stopped"


async def test_what_does_not_fit_an_agents_schema_is_not_accepted_and_a_repetition_still_is(tmp_path: Path) -> None:
    async def orders(context: Context) -> int:
        return (await context.data())["number"]

    url = f"sqlite:///{tmp_path}/t.db"
    schema = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
    app = Awaken(url)
    app.agent("orders", orders, title="Orders", input_schema=schema)
    async with asyncio.timeout(20), app:
        assert (await app.run("t", Json({"number": 7}), run_id="r")).output == 7
        for wrong in ("order 7", Json({"number": "7"})):
            with pytest.raises(ValidationError, match="does not fit what agent 'orders' takes"):
                await app.submit("u", wrong)
        assert [thread.thread_id for thread in await app.list_threads()] == ["t"]
        agent = await app.get_agent("orders")
        assert (agent.title, agent.input_schema) == ("Orders", schema)
    stricter = Awaken(url)
    stricter.agent("orders", orders, input_schema={"type": "string"})
    async with asyncio.timeout(20), stricter:
        assert (await stricter.submit("t", Json({"number": 7}), run_id="r")).replayed


# --- the address of a store -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:///a b.db?durability=process", "a b.db"),
        ("sqlite:///tenant%231.db", "tenant#1.db"),
        ("sqlite:///what%3F.db", "what?.db"),
        ("sqlite:///50%25.db", "50%.db"),
        ("sqlite:///%C3%BC.db", "ü.db"),
        ("sqlite:///ü&;=.db", "ü&;=.db"),
        ("SQLite:///a.db", "a.db"),
    ],
)
def test_an_address_is_used_in_full(address: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Awaken(address).store
    assert isinstance(store, SqliteStore)
    assert store.path == tmp_path / name
    assert store.capabilities.durability == ("process" if "process" in address else "full")


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///tenant#1.db", "sqlite:///a.db#", "sqlite:///what?.db", "sqlite:///a.db?", "sqlite:///a.db?durability",
        "sqlite:///a.db?durability=", "sqlite:///a.db?durability=none", "sqlite:///a.db?wal=1",
        "sqlite:///a.db?durability=full&durability=process", "sqlite:///a\tb.db", "sqlite:///a.db\n", "sqlite:///%00.db",
        "sqlite:///%0a.db", "sqlite:///%zz.db", "sqlite:///%ff.db", "sqlite:///\ud800.db", "sqlite:///", "sqlite://host/a.db",
        "sqlite:a.db", "sqlite:///:memory:", "memory:", "memory://x?y", "memory://?a=1", "memory://#", "memory:// ", "",
        "a.db", "redis://a", 5, b"sqlite:///a.db", Path("a.db"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_in_full_is_refused(address: Any) -> None:
    with pytest.raises(ValidationError):
        Awaken(address)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://me:secret@db:5433/runs", ("database db:5433/runs (schema awaken)", "awaken", 4, "full")),
        ("postgres:///runs?schema=mine&pool_size=9", ("database /runs (schema mine)", "mine", 9, "full")),
        ("postgresql://db/runs?durability=process", ("database db/runs (schema awaken)", "awaken", 4, "process")),
    ],
)
def test_a_postgres_url_says_where_and_how(url: str, place: tuple[str, str, int, str]) -> None:
    store = open_store(url)
    assert isinstance(store, PostgresStore)
    found = store.place
    assert (found.shown, found.schema, found.pool_size, found.durability) == place


@pytest.mark.parametrize(
    "option", ["schema=", "schema=Mine", "schema=a;b", "pool_size=0", "pool_size=x", "durability=no"]
)
def test_an_option_of_a_postgres_url_that_is_not_understood_is_refused(option: str) -> None:
    with pytest.raises(ValidationError, match=option.partition("=")[0]):
        open_store(f"postgresql://db/runs?{option}")


def test_without_its_driver_postgres_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awaken.store.postgres", None)
    with pytest.raises(Unsupported, match=re.escape("pip install '.[postgres]'")):
        open_store("postgresql://db/runs")


async def test_events_of_a_thread_that_does_not_exist_are_refused() -> None:
    async with Awaken("memory://") as app:
        with pytest.raises(ThreadNotFound):
            await anext(app.events("no-such-thread"))


# --- event loops ------------------------------------------------------------------------------------------------------

Asked = Callable[[Awaken, RunHandle], Awaitable[object]]

CALLS: dict[str, Asked] = {
    "submit": lambda app, run: app.submit("t", "x"),
    "run": lambda app, run: app.run("t", "x", timeout_s=3600),
    "get_run": lambda app, run: app.get_run(run.run_id),
    "wait": lambda app, run: app.wait(run.run_id, timeout_s=3600),
    "list_runs": lambda app, run: app.list_runs(),
    "list_threads": lambda app, run: app.list_threads(),
    "create_thread": lambda app, run: app.create_thread(),
    "run_events": lambda app, run: anext(app.run_events(run.run_id)),
    "list_events": lambda app, run: app.list_events("t"),
    "cancel": lambda app, run: app.cancel(run.run_id),
    "interrupt": lambda app, run: app.interrupt("t"),
    "get_thread": lambda app, run: app.get_thread("t"),
    "messages": lambda app, run: app.messages("t"),
    "events": lambda app, run: anext(app.events("t")),
    "start": lambda app, run: app.start(),
    "stop": lambda app, run: app.stop(),
    "a run's events": lambda app, run: anext(run.events()),
    "a run's result": lambda app, run: run.result(timeout_s=3600),
    "a run's refresh": lambda app, run: run.refresh(),
    "a run's cancel": lambda app, run: run.cancel(),
}


def elsewhere(call: Callable[[], Coroutine[Any, Any, object]]) -> Awaitable[object]:
    """Run a coroutine on another event loop, in another thread."""
    return asyncio.to_thread(lambda: asyncio.run(call()))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{folder}/loops.db"])
async def test_a_call_from_another_event_loop_is_refused_at_once_and_names_the_loop(
    tmp_path: Path, url: str, name: str
) -> None:
    agent = GatedAgent()
    app = Awaken(url.format(folder=tmp_path), settings=MailboxSettings(drain_s=0, handover_s=0))
    app.agent("gated", agent)
    async with asyncio.timeout(20), app:
        handle = await app.submit("t", "hello")
        call = await agent.next_call()

        async def asked() -> object:
            return await CALLS[name](app, handle)

        with pytest.raises(WrongLoop, match="belongs to the event loop"):
            await elsewhere(asked)

        assert app.mailbox.health().executing == 1
        call.release("unharmed")
        assert (await handle.result()).final_output == "unharmed"
        assert [message.text for message in await app.messages("t")] == ["hello", "unharmed"]


async def test_a_step_asked_for_on_another_event_loop_is_refused_before_its_effect() -> None:
    effects: list[str] = []

    async def agent(ctx: Context) -> str:
        async def wrongly() -> object:
            return await ctx.step("pay", lambda: effects.append("paid"))

        async def spoken() -> object:
            return await ctx.emit("text")

        refused = 0
        for call in (wrongly, spoken):
            try:
                await elsewhere(call)
            except WrongLoop as error:
                refused += "this run belongs to the event loop" in str(error)
        return f"{refused} refused"

    app = Awaken("memory://")
    app.agent("agent", agent)
    async with asyncio.timeout(20), app:
        assert (await app.run("t", "x")).final_output == "2 refused"
    assert effects == []


async def test_an_agent_that_another_thread_registers_runs_what_waited_for_it() -> None:
    app = Awaken("memory://")
    app.agent("first", _answer)
    app.agent("late", "no_such_module:agent")
    async with asyncio.timeout(20), app:
        handle = await app.submit("t", "x", agent="late")
        while not app.mailbox.agents.withdrawn:
            await settle()
        await asyncio.to_thread(app.agent, "late", _answer)
        assert (await handle.result()).final_output == "answered"


async def _answer(ctx: Context) -> str:
    return "answered"


ABANDONED = """
import asyncio, gc, sys, threading
from awaken import Awaken

async def agent(ctx):
    await asyncio.Event().wait()

app = Awaken(sys.argv[1])
app.agent("agent", agent)
loop = asyncio.new_event_loop()
loop.run_until_complete(app.start())
loop.run_until_complete(app.submit("t", "x"))
loop.close()
try:
    asyncio.run(app.submit("t", "y"))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
for thread in threading.enumerate():
    if thread.name == "awaken-loop-watch":
        thread.join()
del app, loop, thread
gc.collect()
"""


@pytest.mark.parametrize("url", ["memory://", "sqlite:///abandoned.db"])
def test_a_loop_that_is_closed_under_a_running_app_is_explained_without_a_traceback(tmp_path: Path, url: str) -> None:
    command = [sys.executable, "-c", ABANDONED, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.startswith("WrongLoop: this Awaken object belongs to an event loop that was closed"), done.stderr
    assert done.stdout.count("\n") == 1
    assert "an event loop was closed while the mailbox ran on it" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


# --- schedules and messages to agents ---------------------------------------------------------------------------------


async def test_a_declared_schedule_is_stored_at_the_start_and_only_there_changed() -> None:
    clock = ManualClock()
    app = Awaken(store=MemoryStore(clock), clock=clock)
    app.agent("echo", echo)
    app.schedule("nightly", "tidy up", agent="echo", cron="0 3 * * *", zone="Europe/Paris", metadata={"a": 1})
    with pytest.raises(ValidationError, match="declared already"):
        app.schedule("nightly", "tidy up", agent="echo", every_s=60)
    async with app:
        [schedule] = await app.list_schedules()
        assert (schedule.name, schedule.cron, schedule.declared, schedule.next_at) == (
            "nightly", "0 3 * * *", True, "2027-01-16T02:00:00.000Z",
        )  # fmt: skip
        with pytest.raises(ScheduleDeclared):
            await app.update_schedule("nightly", every_s=60)
        with pytest.raises(ValidationError, match="before the app is started"):
            app.schedule("more", "tidy up", agent="echo", every_s=60)
        made = await app.create_schedule("more", "tidy up", agent="echo", every_s=60)
        assert await app.get_schedule("more") == made
        assert (await app.pause_schedule("more")).paused
        assert not (await app.resume_schedule("more")).paused
        await app.delete_schedule("more")
        assert [each.name for each in await app.list_schedules(limit=5)] == ["nightly"]


@pytest.mark.parametrize(
    "details",
    [{}, {"every_s": 1.5}, {"every_s": 60, "overlap": "often"}, {"cron": 5}, {"every_s": 60, "metadata": {1: 2}}],
)
async def test_what_is_no_schedule_is_refused_where_it_is_declared(details: dict[str, Any]) -> None:
    app = Awaken(store=MemoryStore())
    with pytest.raises(ValidationError):
        app.schedule("nightly", "tidy up", agent="echo", **details)


async def test_a_program_sends_an_agent_a_message_that_is_from_no_user() -> None:
    app = Awaken(store=MemoryStore())
    app.agent("echo", echo)
    async with app:
        handle = await app.send("echo", "hello", thread_id="t", run_id="r", metadata={"a": 1})
        run = await handle.result()
        assert (run.output, run.metadata, run.run_id) == ("hello", {"a": 1}, "r")
        assert (await app.send("echo", "hello", thread_id="t", run_id="r", metadata={"a": 1})).replayed
        stored = await app.mailbox.get_run(app.scope, RunId("r"))
        assert stored.request.trace.origin is Origin.INTERNAL


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_store_of_one_process_is_served_and_executed_by_one(role: Any) -> None:
    with pytest.raises(ValidationError, match=r"'memory' belongs to one process.*postgresql://"):
        Awaken("memory://", role=role)
    app = Awaken("memory://", role="all")
    app.agent("echo", echo)
    with pytest.raises(ValidationError, match="belongs to one process"):
        app.act_as("all", agents=["echo"])
    assert app.role == "all"


async def test_what_a_process_does_is_said_before_it_starts() -> None:
    app = Awaken(store=WatchedStore(MemoryStore(), exclusive=False), role="api")
    app.agent("echo", echo)
    for unknown in ("boss", None):
        with pytest.raises(ValidationError, match="all, api, worker"):
            app.act_as(unknown)  # pyright: ignore[reportArgumentType]
    async with app:
        assert (await app.system()).role == "api"
        run = await app.submit("t", "hello", agent="echo")
        assert (await run.result(timeout_s=0)).phase == "queued"
        with pytest.raises(Unavailable, match="before it starts"):
            app.act_as("worker")
    app.act_as("worker", agents=["echo"])
    async with app:
        assert (await app.get_run(run.run_id)).phase in ("queued", "starting", "running", "completed")
        assert [(each.role, each.routes) async for each in app.list_workers()] == [("worker", ("echo",))]
