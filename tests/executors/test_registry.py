"""Agents by name: what is accepted, when it is imported, which one a submit means."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from pydantic_ai import Agent

from awaken.domain.errors import (
    AgentNotFound,
    AgentNotLoadable,
    AlreadyExists,
    PermanentFailure,
    UnknownAgent,
    ValidationError,
)
from awaken.domain.ids import AgentId, MessageId, Route
from awaken.domain.message import Json, Message, Role, Text
from awaken.domain.retry import RetryPolicy
from awaken.executors.contract import DriveOutcome, Entry, Finished, RunPort
from awaken.executors.function import Context, FunctionDriver
from awaken.executors.registry import Agents, LazyAgent, Skill
from awaken.executors.results import encoded
from awaken.testing.behaviour import behaviour
from awaken.testing.executors import RecordedRun, Script


async def hello(ctx: Context) -> str:
    """Say hello.

    And nothing else.
    """
    return "hello"


class OwnDriver:
    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        return Finished(final_output="own")


def agents(**given: Any) -> Agents:
    found = Agents()
    for name, agent in given.items():
        found.add(name, agent)
    return found


# --- adding -----------------------------------------------------------------------------------------------------------


def test_agents_are_listed_as_they_were_added_without_running_them() -> None:
    found = agents(hello=hello, mine=OwnDriver(), there="no.such.module:agent")
    found.add("ai", Script().agent(), description="A scripted one.")

    assert found.ids() == ("hello", "mine", "there", "ai")
    described = [(info.agent_id, info.description, info.kind) for info in found.describe()]
    assert described == [
        ("hello", "Say hello.", "function"),
        ("mine", "", "driver"),
        ("there", "", "import"),
        ("ai", "A scripted one.", "pydantic_ai"),
    ]


def test_an_agents_driver_is_always_the_same() -> None:
    found = agents(hello=hello)
    assert found.driver("hello") is found.driver("hello")
    assert isinstance(found.driver("hello"), FunctionDriver)


def blocking(ctx: Context) -> None: ...


@pytest.mark.parametrize(
    "agent", [7, None, object(), OwnDriver, Script().model(), blocking, "module-without-attribute", ":x"]
)
def test_what_cannot_run_is_refused(agent: Any) -> None:
    with pytest.raises(ValidationError):
        agents(bad=agent)


@behaviour("RT-009")
@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 129, "support@2", "support!"])
def test_a_name_that_is_no_id_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="agent_id"):
        Agents().add(name, hello)


@pytest.mark.parametrize("limit", [0, -1, "3", True, 1.0, [1]])
def test_a_limit_that_lets_nothing_run_or_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(ValidationError, match="max_concurrent of agent 'hello' is a whole number, at least 1, and not"):
        Agents().add("hello", hello, max_concurrent=limit)


@pytest.mark.parametrize("name", [5, None, b"hello", ["hello"], "a\0", "\ud800"])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(ValidationError, match="agent_id"):
        Agents().add(name, hello)


def test_a_name_is_given_once() -> None:
    found = agents(hello=hello)
    with pytest.raises(AlreadyExists, match="the agent 'hello' is registered already; choose another name"):
        found.add("hello", hello)


def test_an_unknown_name_has_no_driver() -> None:
    with pytest.raises(AgentNotFound, match="gone"):
        agents(hello=hello).driver("gone")


# --- importing late ---------------------------------------------------------------------------------------------------


async def test_a_named_agent_is_imported_at_its_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "class Box:\n    async def agent(ctx):\n        return 'imported'\n    agent = staticmethod(agent)\n"
    (tmp_path / "late_agents.py").write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = agents(late="late_agents:Box.agent")
    assert "late_agents" not in sys.modules

    run = RecordedRun("hi")
    await run.drive(found.driver("late"))

    assert run.texts[-1] == "assistant: imported"


async def test_an_agent_is_made_once_and_off_the_event_loop() -> None:
    made: list[threading.Thread] = []

    def make() -> Any:
        made.append(threading.current_thread())
        return hello

    found = agents(lazy=LazyAgent(make))
    for _ in range(2):
        await RecordedRun("hi").drive(found.driver("lazy"))

    assert len(made) == 1
    assert made[0] is not threading.main_thread()


@behaviour("MBX-088")
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("no.such.module:agent", "cannot be imported: No module named 'no'; is it installed"),
        ("json:no_agent", "'json' has no 'no_agent'"),
        ("json:__name__", "does not name an agent"),
        ("json:JSONDecoder", "is not an agent"),
    ],
)
async def test_what_cannot_be_imported_is_not_loadable_and_says_why(place: str, says: str) -> None:
    with pytest.raises(AgentNotLoadable) as failure:
        await RecordedRun("hi").drive(agents(bad=place).driver("bad"))
    assert says in str(failure.value)


@behaviour("RT-007")
def test_an_agent_that_is_withdrawn_is_not_served_until_it_is_registered_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = agents(hello=hello, late="no.such.module:agent")
    changes: list[list[str]] = []
    found.on_change(lambda: changes.append([*found.routes]))

    for _ in range(2):
        found.withdraw(AgentId("late"), "there is no such module")
    assert (changes, dict(found.withdrawn)) == ([["hello"]], {"late": "there is no such module"})
    assert [record.levelname for record in caplog.records] == ["ERROR"], "it is logged once"
    assert found.ids() == ("hello", "late"), "it is known, and submits for it are accepted"

    found.add("late", hello, max_concurrent=3)
    assert (changes[-1], dict(found.withdrawn), dict(found.routes)) == (
        ["hello", "late"],
        {},
        {"hello": None, "late": 3},
    )


@pytest.mark.parametrize(("module", "why"), [("1 / 0", "ZeroDivisionError"), ("raise SystemExit(1)", "SystemExit")])
async def test_a_module_that_fails_while_it_is_imported_is_not_loadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, why: str
) -> None:
    name = f"broken_by_{why.lower()}"
    (tmp_path / f"{name}.py").write_text(f"{module}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    with pytest.raises(AgentNotLoadable, match=why):
        await RecordedRun("hi").drive(agents(bad=f"{name}:agent").driver("bad"))


def test_whether_the_texts_of_errors_may_be_read_is_said_with_each_registration() -> None:
    found = Agents()
    found.add("open", hello, expose_tool_errors=True)
    found.add("closed", hello)
    assert [found.exposes_errors(AgentId(name)) for name in ("open", "closed", "unknown")] == [True, False, False]

    found.withdraw(AgentId("open"), "gone")
    found.add("open", hello)
    assert not found.exposes_errors(AgentId("open"))


async def test_every_kind_of_agent_runs() -> None:
    ai: Agent[Any, Any] = Script("from the model").agent()
    found = agents(hello=hello, mine=OwnDriver(), ai=ai)

    outputs: list[str] = []
    for name in found.ids():
        run = RecordedRun("hi")
        outcome = await run.drive(found.driver(name))
        outputs.append(outcome.final_output or run.messages[-1].text)

    assert outputs == ["hello", "own", "from the model"]


def test_adding_and_listing_agents_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from awaken.executors.registry import Agents\n"
        "from awaken.executors.demo import add_demo_agents\n"
        "from awaken.domain.clock import SystemClock\n"
        "agents = Agents()\n"
        "add_demo_agents(agents, clock=SystemClock(), environment={})\n"
        "agents.add('there', 'some.module:agent')\n"
        "assert len(agents.describe()) == 6\n"
        "loaded = {'pydantic_ai', 'pydantic', 'langgraph', 'agents'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- resolving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "asked", "last", "meant"),
    [
        (("a", "b"), "b", None, "b"),
        (("a", "b"), "b", "a", "b"),
        (("a", "b"), None, "b", "b"),
        (("a",), None, None, "a"),
        (("a",), None, "gone", "a"),
    ],
)
def test_a_submit_means_the_agent_it_names_else_the_threads_last_else_the_only_one(
    known: tuple[str, ...], asked: str | None, last: str | None, meant: str
) -> None:
    assert agents(**dict.fromkeys(known, hello)).resolve(asked, last) == (meant, None, False)


@pytest.mark.parametrize(
    ("known", "asked", "last"),
    [(("a", "b"), "c", "a"), (("a", "b"), None, None), (("a", "b"), None, "gone"), ((), None, None)],
)
def test_a_submit_that_could_mean_any_agent_or_none_is_refused_naming_them(
    known: tuple[str, ...], asked: str | None, last: str | None
) -> None:
    with pytest.raises(UnknownAgent) as refused:
        agents(**dict.fromkeys(known, hello)).resolve(asked, last)
    assert refused.value.known == known
    assert (", ".join(known) or "none") in str(refused.value)


# --- what is shown, and held to ---------------------------------------------------------------------------------------


ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}


def given(value: Any) -> list[Message]:
    content = (Text(value),) if isinstance(value, str) else (Json(value),)
    return [Message(id=MessageId("m"), role=Role.USER, content=content)]


def test_an_agent_is_shown_with_what_its_author_says_of_it() -> None:
    class Answer(BaseModel):
        found: bool

    found = Agents()
    skill = {"id": "find", "name": "Find an order", "tags": ["orders"]}
    found.add("a", hello, title="Orders", input_schema=ORDER, output_schema=Answer, skills=[skill])

    [info] = found.describe()
    assert (info.title, info.input_schema) == ("Orders", ORDER)
    assert info.output_schema == Answer.model_json_schema(mode="serialization")
    assert info.skills == (Skill(id="find", name="Find an order", tags=("orders",)),)


@pytest.mark.parametrize(
    "options",
    [
        {"input_schema": {"type": "nonsense"}},
        {"input_schema": {"$ref": "http://example.org/schema"}},
        {"input_schema": "object"},
        {"output_schema": 5},
        {"skills": [{"name": "without an id"}]},
        {"skills": [{"id": "x", "colour": "blue"}]},
        {"retry": RetryPolicy(10, 5)},
        {"retry": RetryPolicy(-1, 5)},
        {"retry": RetryPolicy(5, 2**60)},
        {"retry": 5},
    ],
)
def test_an_option_of_an_agent_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    found = Agents()
    with pytest.raises(ValidationError, match="'a'"):
        found.add("a", hello, **options)
    assert found.ids() == ()


def test_output_is_held_to_the_schema_of_its_agent() -> None:
    class Found(BaseModel):
        order_id: str = Field(alias="orderId")
        price: Decimal = Decimal(0)

    found = Agents()
    found.add("orders", hello, output_schema=ORDER)
    found.add("finds", hello, output_schema=Found)
    found.add("texts", hello, output_schema={"type": "string", "maxLength": 5})
    found.add("free", hello)

    def check(agent_id: str, text: str | None, *, is_structured: bool = True) -> None:
        found.check_output(AgentId(agent_id), text, is_structured=is_structured)

    check("orders", '{"number":7}')
    check("finds", encoded(Found(orderId="7", price=Decimal("1.5")), "the agent", is_output=True).decode())
    check("texts", "short", is_structured=False)
    check("free", "anything", is_structured=False)
    check("free", None)
    for agent_id, text, is_structured, says in (
        ("orders", '{"number":"7"}', True, 'number: "7" is not of type "integer"'),
        ("orders", '{"number":7}', False, 'is not of type "object"'),
        ("orders", None, False, 'null is not of type "object"'),
        ("orders", '{"number":', True, "it is not JSON"),
        ("texts", "too long", False, "longer than 5"),
    ):
        with pytest.raises(PermanentFailure, match=re.escape(says)):
            check(agent_id, text, is_structured=is_structured)


def test_input_is_held_to_the_schema_of_its_agent() -> None:
    found = Agents()
    found.add("orders", hello, input_schema=ORDER)
    found.add("texts", hello, input_schema={"type": "string", "maxLength": 5})
    found.add("free", hello)

    found.check_input(AgentId("orders"), given({"number": 7}))
    found.check_input(AgentId("texts"), given("short"))
    found.check_input(AgentId("free"), given({"anything": True}))
    for agent_id, value, says in (
        ("orders", {"number": "7"}, 'number: "7" is not of type "integer"'),
        ("orders", {}, '"number" is a required property'),
        ("orders", "order 7", 'is not of type "object"'),
        ("texts", "too long", "longer than 5"),
    ):
        with pytest.raises(ValidationError, match=re.escape(says)):
            found.check_input(AgentId(agent_id), given(value))


# --- versions ---------------------------------------------------------------------------------------------------------


@behaviour("RT-010", "RT-011")
def test_a_version_is_registered_once_and_each_name_is_listed_with_its_versions() -> None:
    found = Agents()
    found.add("support", hello, version="1")
    found.add("support", hello, version="2", description="newer", fallback="latest")
    found.add("other", hello)
    with pytest.raises(AlreadyExists):
        found.add("support", hello, version="1")
    for wrong in ("", "1@2", 3):
        with pytest.raises(ValidationError):
            found.add("support", hello, version=wrong)  # type: ignore[arg-type]
    for wrong in ("newest", True, 1):
        with pytest.raises(ValidationError, match="fallback of agent 'support@3'"):
            found.add("support", hello, version="3", fallback=wrong)  # type: ignore[arg-type]

    support, other = found.describe()

    assert found.ids() == ("support", "other")
    assert (support.agent_id, support.version, support.description, support.fallback) == (
        "support", "2", "newer", "latest",
    )  # fmt: skip
    assert [each.version for each in support.versions] == ["1", "2"]
    assert (other.version, other.versions) == (None, ())
    older = found.described("support@1")
    assert (older.agent_id, older.version, older.description) == ("support", "1", "Say hello.")
    for unknown in ("support@3", "other@1", "nobody"):
        with pytest.raises(AgentNotFound):
            found.described(unknown)


@behaviour("RT-012", "RT-014")
def test_who_executes_a_route_is_its_version_or_the_newest_that_falls_back() -> None:
    found = Agents()
    found.add("support", hello, version="1", fallback="latest")
    assert not found.meet([Route("other@1")])
    assert found.meet([Route("support@0")]) and not found.meet([Route("support@0")])
    assert (found.executor_of("support@0"), found.executor_of("support@2")) == ("support@1", None)
    assert dict(found.stand_ins) == {"support": "support@1", "support@0": "support@1"}

    found.add("support", hello, version="2")

    assert not found.falls_back
    assert (found.executor_of("support@0"), found.executor_of("support")) == (None, "support@2")
    assert dict(found.stand_ins) == {"support": "support@2"}
    assert set(found.routes) == {"support", "support@1", "support@2"}
    found.add("support", hello)
    assert (found.executor_of("support"), found.newest(AgentId("support"))) == ("support", None)
    assert dict(found.stand_ins) == {}


def test_what_is_left_to_other_processes_is_known_here_and_not_served() -> None:
    found = Agents()
    found.add("mine", hello)
    found.add("theirs", hello)
    with pytest.raises(AgentNotFound):
        found.serve_only(["mine", "nobody"])
    assert set(found.routes) == {"mine", "theirs"}

    found.serve_only(["mine"])

    assert set(found.routes) == {"mine"}
    assert found.is_left(Route("theirs")) and not found.is_left(Route("mine"))
    found.add("theirs", hello, version="2")
    assert found.is_left("theirs@2") and set(found.routes) == {"mine"}
    found.serve_only(["theirs@2"])
    assert set(found.routes) == {"theirs@2"}
