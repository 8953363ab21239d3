"""Whatever a program hands over is taken or refused, to that caller alone, and what is stored can be read."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import math
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awaken.domain.delivery import Delivery
from awaken.domain.errors import Conflict, CursorExpired, NotFound, QueueFull, ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, ThreadId
from awaken.domain.message import Json, Message, MessageMetadata, Role, Text, Thinking, ToolCall, user_message
from awaken.domain.run import Limits, Origin, Trace
from awaken.domain.thread import ThreadInfo
from awaken.executors.function import Context
from awaken.http.settings import HttpSettings
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import RunSubmission
from awaken.store.contract import MAX_PAGE, MessageQuery, RunQuery, ThreadQuery
from awaken.wiring import Awaken

pytestmark = pytest.mark.hypothesis
FUZZED: Final = settings()
DECIDED: Final = (ValidationError, Conflict, NotFound, QueueFull)
"""What a caller may be answered instead of what he asked for."""


SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400, 300, -1]),
    st.floats(),
    st.text(st.characters(), max_size=8),  # half characters and NUL among them
    st.sampled_from(["", " ", "a", "x" * 129, "..", "\0", "\ud800", "high", "user", "1"]),
    st.binary(max_size=4),
    st.sampled_from(
        [object(), int, len, 1j, decimal.Decimal(1), datetime.datetime(2026, 1, 1), Role.USER, bytearray(b"a")]
    ),
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(), st.none()), inner, max_size=3),
    ),
    max_leaves=5,
)
BLOCKS: Final = st.one_of(VALUES, st.builds(Text, VALUES), st.builds(Json, VALUES), st.builds(Thinking, VALUES, VALUES))


def _message(changed: dict[str, Any]) -> Message:
    fields: dict[str, Any] = {"id": "", "role": Role.USER, "content": (Text("hi"),), **changed}
    return Message(**fields)


MESSAGES: Final = st.builds(
    _message,
    st.fixed_dictionaries(
        {},
        optional={
            "id": VALUES,
            "role": VALUES,
            "content": st.one_of(VALUES, st.lists(BLOCKS, max_size=2).map(tuple)),
            "tool_calls": st.one_of(
                VALUES, st.lists(st.builds(ToolCall, VALUES, VALUES, VALUES), max_size=2).map(tuple)
            ),
            "tool_call_id": VALUES,
            "tool_status": VALUES,
            "visibility": VALUES,
            "state": VALUES,
            "metadata": st.one_of(VALUES, st.builds(MessageMetadata, VALUES, VALUES, VALUES)),
            "native": VALUES,
        },
    ),
)
ASKED: Final = st.one_of(VALUES, MESSAGES, st.lists(st.one_of(MESSAGES, VALUES), max_size=2))


async def answer(context: Context) -> str:
    return "done: " + await context.input()


@contextmanager
def served(url: str) -> Generator[tuple[Awaken, Callable[[Coroutine[Any, Any, Any]], Any]]]:
    """An app with two agents, and how to run something beside it."""
    with asyncio.Runner() as runner:
        app = Awaken(url)
        app.agent("a", answer)
        app.agent("b", answer)
        runner.run(app.start())
        try:
            yield app, runner.run
        finally:
            runner.run(app.stop())


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/a.db?durability=process"


async def beside_a_neighbour(app: Awaken, asked: Coroutine[Any, Any, Any]) -> None:
    """Ask, and have somebody else ask in the same batch: whatever becomes of the one, the other is served."""
    async with asyncio.timeout(60):
        got, neighbour = await asyncio.gather(
            asked, app.submit("of-the-neighbour", "hello", agent="a"), return_exceptions=True
        )
        if isinstance(got, BaseException) and not isinstance(got, DECIDED):
            raise AssertionError(f"neither taken nor refused: {got!r}") from got
        if isinstance(neighbour, BaseException):
            raise neighbour
        assert (await neighbour.result(timeout_s=20)).final_output == "done: hello"


async def all_can_be_read(app: Awaken) -> None:
    after: int | None = None
    seen: set[str] = set()
    while True:
        runs = await app.store.list_runs(app.scope, RunQuery(limit=MAX_PAGE, after=after))
        seen |= {run.thread_id for run in runs.items}
        assert runs.unreadable == ()
        after = runs.next
        if after is None:
            break
    threads = await app.store.list_threads(app.scope, ThreadQuery(limit=MAX_PAGE))
    assert threads.unreadable == ()
    for thread_id in seen | {thread.thread_id for thread in threads.items}:
        page = await app.store.page_messages(app.scope, ThreadId(thread_id), MessageQuery(limit=MAX_PAGE))
        events = await app.store.page_events(app.scope, ThreadId(thread_id), after=0, limit=1_000)
        assert page.unreadable == events.unreadable == ()


SUBMITTED: Final = st.fixed_dictionaries(
    {},
    optional={
        "thread_id": VALUES,
        "message": ASKED,
        "agent": VALUES,
        "run_id": VALUES,
        "dedupe_key": VALUES,
        "delay_s": VALUES,
        "priority": VALUES,
        "max_attempts": VALUES,
        "metadata": VALUES,
        "limits": st.one_of(VALUES, st.builds(Limits, VALUES)),
        "at": VALUES,
    },
)


def test_whatever_is_submitted_is_taken_or_refused_and_costs_nobody_else_anything(url: str) -> None:
    with served(url) as (app, run):

        @FUZZED
        @given(SUBMITTED)
        def check(changed: dict[str, Any]) -> None:
            asked: dict[str, Any] = {"thread_id": None, "message": "hi", "agent": "a", **changed}
            run(beside_a_neighbour(app, app.submit(**asked)))

        check()
        run(all_can_be_read(app))


def test_whatever_the_mailbox_is_asked_for_is_taken_or_refused(url: str) -> None:
    """Also where a program builds the records itself."""
    trace = st.one_of(VALUES, st.builds(Trace, origin=st.one_of(VALUES, st.just(Origin.A2A)), mode=VALUES))
    delivery = st.one_of(VALUES, st.builds(Delivery, priority=VALUES, max_attempts=VALUES, available_at=VALUES))
    fields = {"scope": VALUES, "agent_id": VALUES, "overrides": VALUES, "create_thread": VALUES, "trace": trace}
    submissions = st.fixed_dictionaries({}, optional={**fields, "delivery": delivery, "messages": ASKED})
    with served(url) as (app, run):

        @FUZZED
        @given(st.one_of(VALUES, submissions))
        def check(changed: Any) -> None:
            request: Any = changed
            if isinstance(changed, dict) and changed.keys() <= set(RunSubmission.__struct_fields__):  # pyright: ignore[reportUnknownMemberType]
                sound: dict[str, Any] = {"messages": (user_message(MessageId(""), "hi"),), "agent_id": "a", **changed}
                request = RunSubmission(**sound)
            run(beside_a_neighbour(app, app.mailbox.submit(request)))

        check()
        run(all_can_be_read(app))


def test_whatever_thread_is_saved_is_taken_or_refused(url: str) -> None:
    info = st.one_of(VALUES, st.builds(ThreadInfo, title=VALUES, metadata=VALUES, resource_id=VALUES))
    saved = st.fixed_dictionaries(
        {"thread_id": st.one_of(VALUES, st.just(""))},
        optional={"info": info, "messages": ASKED, "if_exists": st.one_of(VALUES, st.just("keep"))},
    )
    with served(url) as (app, run):

        @FUZZED
        @given(saved)
        def check(changed: dict[str, Any]) -> None:
            asked: dict[str, Any] = {"info": ThreadInfo(), **changed}
            run(beside_a_neighbour(app, app.mailbox.save_thread(DEFAULT_SCOPE, **asked)))

        check()
        run(all_can_be_read(app))


def test_whatever_thread_is_made_is_taken_or_refused(url: str) -> None:
    names = ("thread_id", "title", "metadata", "resource_id", "parent_thread_id", "messages", "if_exists")
    with served(url) as (app, run):

        @FUZZED
        @given(st.fixed_dictionaries({}, optional={name: VALUES for name in names}))
        def check(asked: dict[str, Any]) -> None:
            run(beside_a_neighbour(app, app.create_thread(**asked)))

        check()
        run(all_can_be_read(app))


async def test_a_patience_that_is_no_time_submits_nothing(url: str) -> None:
    app = Awaken(url)
    app.agent("a", answer)
    async with app:
        with pytest.raises(ValidationError, match="timeout_s is a number of seconds"):
            await app.run("t", "hi", timeout_s=math.nan)
        assert await app.list_runs() == []


ASKS: Final[dict[str, Callable[[Awaken, Any], Awaitable[Any]]]] = {
    "get a run": lambda app, value: app.get_run(value),
    "get a thread": lambda app, value: app.get_thread(value),
    "get an agent": lambda app, value: app.get_agent(value),
    "read messages": lambda app, value: app.messages(value),
    "read some messages": lambda app, value: app.messages("elsewhere", limit=value),
    "read messages of a run": lambda app, value: app.messages("elsewhere", run_id=value),
    "read messages for somebody": lambda app, value: app.messages("elsewhere", visibility=value),
    "read messages in an order": lambda app, value: app.messages("elsewhere", order=value),
    "list runs of a thread": lambda app, value: app.list_runs(thread_id=value),
    "list runs of an agent": lambda app, value: app.list_runs(agent=value, limit=1),
    "list runs of a status": lambda app, value: app.list_runs(status=value, limit=1),
    "list runs in an order": lambda app, value: app.list_runs(order=value, limit=1),
    "list some runs": lambda app, value: app.list_runs(thread_id="elsewhere", limit=value),
    "list dispatches": lambda app, value: app.list_dispatches("" if value is None else value),
    "list dispatches of a thread": lambda app, value: app.list_dispatches(thread_id=value),
    "list dispatches of a status": lambda app, value: app.list_dispatches(status=value),
    "list dispatches by age": lambda app, value: app.list_dispatches(older_than_s=value),
    "get a dispatch": lambda app, value: app.get_dispatch(value),
    "place a dispatch": lambda app, value: app.edit_dispatch(value, priority=1),
    "place with a priority": lambda app, value: app.edit_dispatch("d", priority=value),
    "place with a delay": lambda app, value: app.edit_dispatch("d", delay_s=value),
    "place at an instant": lambda app, value: app.edit_dispatch("d", available_at=value),
    "cancel a dispatch": lambda app, value: app.cancel_dispatch(value),
    "list threads of a resource": lambda app, value: app.list_threads(resource_id=value),
    "list threads by id": lambda app, value: app.list_threads(id_prefix=value),
    "list events": lambda app, value: app.list_events(value),
    "list events after": lambda app, value: app.list_events("elsewhere", after=value),
    "list events of channels": lambda app, value: app.list_events("elsewhere", channels=value),
    "list events of kinds": lambda app, value: app.list_events("elsewhere", kinds=value),
    "list some events": lambda app, value: app.list_events("elsewhere", limit=value),
    "list events of a run": lambda app, value: app.list_run_events(value),
    "read events": lambda app, value: _first_event(app, value),
    "read events after": lambda app, value: _first_event(app, "elsewhere", after=value),
    "read events since": lambda app, value: _first_event(app, "elsewhere", since=value),
    "cancel a run": lambda app, value: app.cancel(value),
    "wait for a cancel": lambda app, value: app.cancel("nobody", wait_s=value),
    "interrupt a thread": lambda app, value: app.interrupt(value),
    "wait for an interrupt": lambda app, value: app.interrupt("elsewhere", wait_s=value),
    "cancel a thread": lambda app, value: app.cancel_thread(value),
    "wait for a run": lambda app, value: app.wait("nobody", timeout_s=value),
}


async def _first_event(app: Awaken, thread_id: Any, **options: Any) -> None:
    with suppress(TimeoutError):  # there is none so late
        async with asyncio.timeout(0.01):
            async for _ in app.events(thread_id, **options):
                return


@pytest.mark.parametrize("ask", ASKS)
def test_whatever_is_asked_by_name_or_time_is_answered_or_refused(url: str, ask: str) -> None:
    with served(url) as (app, run):
        run(_begun(app))

        @settings(FUZZED, max_examples=max(FUZZED.max_examples // 3, 1))
        @given(VALUES)
        def check(value: Any) -> None:
            async def asked() -> None:
                async with asyncio.timeout(20):
                    with suppress(CursorExpired):
                        await ASKS[ask](app, value)

            run(beside_a_neighbour(app, asked()))

        check()


async def _begun(app: Awaken) -> None:
    await app.run("of-the-neighbour", "hello", agent="a", timeout_s=10)
    await app.run("elsewhere", "hello", agent="a", timeout_s=10)


@settings(FUZZED)
@given(VALUES, VALUES, VALUES)
def test_whatever_is_registered_as_an_agent_is_taken_or_refused(name: Any, description: Any, limit: Any) -> None:
    app = Awaken("memory://")
    with suppress(ValidationError):
        app.agent(name, answer, description=description, max_concurrent=limit)


@settings(FUZZED)
@given(VALUES, VALUES)
def test_whatever_is_given_as_an_address_is_taken_or_refused(address: Any, scope: Any) -> None:
    asked: tuple[dict[str, Any], ...] = (
        {"url": address},
        {"url": "memory://", "scope": scope},
        {"url": "memory://", "settings": address or 5},
    )
    for given_ in asked:
        with suppress(ValidationError):
            Awaken(**given_)


# --- and in which words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            {"message": Message(id=MessageId(""), role=Role.USER, content="hello")},  # pyright: ignore[reportArgumentType]
            "content: expected a list, got 'hello'",
        ),
        ({"message": Message(id=MessageId(""), role="boss")}, "one of system, user, assistant, tool"),  # pyright: ignore[reportArgumentType]
        ({"message": Message(id=MessageId(""), role=Role.USER, content=(Json(math.nan),))}, "nan is not a JSON number"),
        ({"message": Message(id=MessageId(""), role=Role.USER, content=(Json({"a": b"x"}),))}, "value.a: b'x' is not"),
        ({"message": Message(id=MessageId("a b"), role=Role.USER)}, "message id 'a b' is not a valid id"),
        ({"message": "\ud800"}, "half of a character"),
        ({"message": ""}, "a text, one Json.value., or one Message or several, and not ''"),
        ({"message": None}, "a text, one Json.value., or one Message or several"),
        ({"message": []}, "at least one message"),
        ({"metadata": ["x"]}, "metadata: expected an object, got a list"),
        ({"metadata": 0}, "metadata: expected an object, got 0"),
        ({"metadata": {1: 2}}, "expected a text|the key 1 is not a text"),
        ({"thread_id": 5}, "thread_id 5 is not a valid id"),
        ({"thread_id": "a\0"}, "thread_id .* is not a valid id"),
        ({"run_id": ""}, "run_id '' is not a valid id"),
        ({"agent": ["a"]}, "agent_id: expected a text"),
        ({"priority": "high"}, r"priority is a whole number, 0 \(first\) to 255 \(last\), and not 'high'"),
        ({"priority": True}, "priority is a whole number"),
        ({"max_attempts": 10**30}, "max_attempts is a whole number, 1 to 100"),
        ({"dedupe_key": ["a"]}, "dedupe_key is a text of 1 to 255 characters"),
        ({"dedupe_key": "a\0b"}, "dedupe_key is a text"),
        ({"delay_s": "1"}, "a delay is 0 to 31536000 seconds, and not '1'"),
        ({"delay_s": math.inf}, "a delay is 0 to"),
    ],
)
async def test_a_refusal_names_the_argument_and_what_it_may_be(asked: dict[str, Any], words: str) -> None:
    sound: dict[str, Any] = {"thread_id": None, "message": "hi", **asked}
    app = Awaken("memory://")
    app.agent("a", answer)
    async with app:
        with pytest.raises(ValidationError, match=words):
            await app.submit(**sound)
        assert (await app.store.list_runs(app.scope, RunQuery())).items == ()


async def test_what_was_submitted_is_what_is_stored_whatever_the_caller_does_with_it_later(url: str) -> None:
    metadata: dict[str, Any] = {"order": [1, (2, 3)]}
    app = Awaken(url)
    app.agent("a", answer)
    async with app:
        run = await app.run("t", Message(id=MessageId(""), role="user", content=[Text("hi")]), agent="a")  # pyright: ignore[reportArgumentType]
        handle = await app.submit("u", "hi", metadata=metadata)
        metadata["order"].append(object())
        assert (await handle.result(timeout_s=10)).metadata == {"order": [1, [2, 3]]}
        assert run.final_output == "done: hi"
        assert [message.role for message in await app.messages("t")] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"store": "sqlite:///x.db"}, r"store= takes a store object \(an address goes first, .* 'sqlite:///x.db'"),
        ({"store": Path("x.db")}, "store= takes a store object"),
        ({"url": "memory://", "clock": 5}, "clock= takes a Clock, and not 5"),
        ({"url": "memory://", "ids": 5}, r"ids= takes Ids\(…\), and not 5"),
        ({"url": "memory://", "http": MailboxSettings()}, r"http= takes HttpSettings\(…\), and not MailboxSettings"),
        ({"url": "memory://", "settings": "\ud800"}, r"settings are MailboxSettings\(…\), and not '.ud800'"),
        ({"url": "\ud800"}, "'.ud800' names no store"),
    ],
)
def test_what_an_app_cannot_be_made_of_is_refused_by_name(made: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Awaken(**made)


@pytest.mark.parametrize("settings_of", [MailboxSettings, HttpSettings])
def test_whatever_a_setting_is_given_is_taken_or_refused(settings_of: type[Any]) -> None:
    values: list[Any] = ["\ud800", 10**5000, [[], []], math.nan, {1: {2}}, _deep(5000)]
    for field in settings_of.__struct_fields__:
        for value in values:
            with pytest.raises(ValidationError):
                settings_of(**{field: value})


@pytest.mark.parametrize("value", [5, 10**5000, "\ud800"], ids=["number", "huge", "half"])
def test_an_agent_is_registered_with_what_it_can_have(value: Any) -> None:
    app = Awaken("memory://")
    for option in ("input_schema", "output_schema", "expose_tool_errors", "retry", "skills"):
        with pytest.raises(ValidationError):
            app.agent("q", answer, **{option: value})
    with pytest.raises(ValidationError):
        app.agent("q", value)
    with pytest.raises(ValidationError):
        app.agent("q", _deep(5000))


def _deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


async def test_a_text_of_a_class_of_its_own_is_an_id_everywhere(url: str) -> None:
    class Name(str):
        pass

    app = Awaken(url)
    app.agent("a", answer)
    async with app:
        run = await app.run("t", "hi", agent="a")
        assert (await app.get_run(Name(run.run_id))).run_id == run.run_id
        assert len(await app.messages(Name("t"))) == len(await app.list_events(Name("t"), kinds=["MessageCommitted"]))
