"""The agents of one server: what was added under which name, and the driver that runs it.

Above: the mailbox asks for drivers; submits resolve names here. Below: one driver per kind of agent.
Holds: adding and listing agents imports no agent framework; a framework is imported when the first run of one of its
agents starts, in a thread, so that the event loop goes on.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, cast

import msgspec
from msgspec.structs import replace

from awaken.domain.checking import checked, checked_flag, shown
from awaken.domain.clock import Clock, SystemClock
from awaken.domain.errors import (
    AgentNotFound,
    AgentNotLoadable,
    AlreadyExists,
    PermanentFailure,
    UnknownAgent,
    ValidationError,
)
from awaken.domain.ids import AgentId, Route, checked_id
from awaken.domain.message import Json, Message
from awaken.domain.retry import RetryPolicy
from awaken.executors.contract import AgentDriver, DriveOutcome, Entry, RunPort
from awaken.executors.function import FunctionDriver
from awaken.executors.schema import Schema, SchemaCheck, schema_of
from awaken.threads import in_thread, result_of

AgentKind = Literal["function", "pydantic_ai", "driver", "import"]
"""What runs it. `import`: a `"module:attribute"` string, not looked at before its first run."""

_RESERVED: Final = frozenset("@!")
"""What a route may end in besides the agent's name."""
_log = logging.getLogger("awaken.executors")
_CAPABILITIES: Final[dict[AgentKind, tuple[str, ...]]] = {
    "function": ("streaming", "steps", "steering", "decisions"),
    "pydantic_ai": ("streaming", "tools", "steering", "decisions", "client_tools"),
    "driver": ("streaming",),
    "import": ("streaming",),
}


class Skill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something an agent can do, for whoever looks for one."""

    id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


class AgentInfo(msgspec.Struct, frozen=True):
    """An agent as it is listed."""

    agent_id: AgentId
    description: str
    kind: AgentKind
    capabilities: tuple[str, ...]
    title: str | None = None
    """Its name for people."""
    input_schema: dict[str, Any] | None = None
    """What its input has to be; None: any text or messages."""
    output_schema: dict[str, Any] | None = None
    """What its output is; None: anything."""
    skills: tuple[Skill, ...] = ()
    paused: bool = False
    """Its runs wait until somebody resumes it."""
    not_loadable: str | None = None
    """Why it cannot be executed, where it could not be loaded: its runs wait until it is added again. None: it could,
    or nobody has tried yet, see `LazyAgent`."""


class LazyAgent(msgspec.Struct, frozen=True):
    """An agent that is made when its first run starts. `make` is called once, in a thread."""

    make: Callable[[], Any]
    kind: AgentKind = "import"


class Agents:
    """Agents by name, in the order they were added."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._infos: dict[AgentId, AgentInfo] = {}
        self._drivers: dict[AgentId, AgentDriver] = {}
        self._limits: dict[AgentId, int | None] = {}
        self._retries: dict[AgentId, RetryPolicy | None] = {}
        self._inputs: dict[AgentId, SchemaCheck] = {}
        self._outputs: dict[AgentId, SchemaCheck] = {}
        self._exposing: set[AgentId] = set()
        self._withdrawn: dict[AgentId, str] = {}
        self._paused: set[AgentId] = set()
        self._listeners: list[Callable[[], None]] = []
        self.routes: Mapping[Route, int | None] = {}
        """What can be run here, each with how many at once, None for as many as there is room for. Another object
        after each change.
        """

    def add(
        self,
        agent_id: str,
        agent: Any,
        *,
        title: str | None = None,
        description: str | None = None,
        input_schema: Schema | None = None,
        output_schema: Schema | None = None,
        skills: Sequence[Skill | Mapping[str, Any]] = (),
        max_concurrent: int | None = None,
        retry: RetryPolicy | None = None,
        expose_tool_errors: bool = False,
    ) -> None:
        """Make an agent known: an async function or generator, a Pydantic AI agent, an `AgentDriver`, the place of
        one of these as `"module:attribute"`, or a `LazyAgent`. Without a description, a function's docstring is used.
        An agent that could not be loaded may be added again. `expose_tool_errors`: its model, and the readers of its
        streams, get the text of whatever it and its tools raise, and not the class alone.

        Raises:
            ValidationError: The id is not valid, nothing here can run the object, or an option is unacceptable.
            AlreadyExists: The id is taken.
        """
        name = AgentId(checked_id(agent_id, what="agent_id"))
        if _RESERVED.intersection(name):
            raise ValidationError(f"agent_id {name!r} contains one of {' '.join(sorted(_RESERVED))}", code="invalid_id")
        if max_concurrent is not None and (type(max_concurrent) is not int or max_concurrent < 1):
            raise ValidationError(
                f"max_concurrent of agent {name!r} is a whole number, at least 1, and not {shown(max_concurrent)}"
            )
        if description is not None:
            checked(description, str, what=f"the description of agent {name!r}")
        if name in self._infos and name not in self._withdrawn:
            raise AlreadyExists("agent", name)
        if retry is not None:
            _check_retry(retry, name)
        checked_flag(expose_tool_errors, what="expose_tool_errors")
        kind = kind_of(agent)
        driver = make_driver(name, agent, self._clock)
        info = AgentInfo(
            name,
            _docline(agent) if description is None else description,
            kind,
            _CAPABILITIES[kind],
            title,
            schema_of(input_schema, "validation", f"input_schema of agent {name!r}"),
            schema_of(output_schema, "serialization", f"output_schema of agent {name!r}"),
            _skills(skills, name),
        )
        self._infos[name], self._drivers[name] = info, driver
        for checks, schema in ((self._inputs, info.input_schema), (self._outputs, info.output_schema)):
            checks.pop(name, None)
            if schema is not None:
                checks[name] = SchemaCheck(schema, "a schema")
        self._limits[name] = max_concurrent
        self._retries[name] = retry
        (self._exposing.add if expose_tool_errors else self._exposing.discard)(name)
        self._withdrawn.pop(name, None)
        self._changed()

    def replace(self, agent_id: str, agent: Any) -> AgentDriver:
        """Have another object executed under a name from now on, and return the driver that was: for tests.

        Raises:
            AgentNotFound: There is no agent of that name.
            ValidationError: Nothing here can run the object.
        """
        before = self.driver(agent_id)
        self._drivers[AgentId(agent_id)] = make_driver(AgentId(agent_id), agent, self._clock)
        return before

    def withdraw(self, agent_id: AgentId, why: str) -> None:
        """It cannot be run here, and is not until it is added again: its runs wait."""
        if agent_id not in self._withdrawn:
            self._withdrawn[agent_id] = why
            _log.error("agent %r cannot run here; its runs wait until it is registered again: %s", agent_id, why)
            self._changed()

    @property
    def withdrawn(self) -> Mapping[AgentId, str]:
        """The agents that could not be loaded, each with the reason."""
        return self._withdrawn

    def pause(self, agent_id: str) -> None:
        """Begin no run of it in this process until it is resumed: they are accepted, and wait. What executes goes on,
        and what is being claimed at this moment may still begin. A restart forgets it.

        Raises:
            AgentNotFound: No agent has that id here.
        """
        if self.known(agent_id) not in self._paused:
            self._paused.add(AgentId(agent_id))
            _log.warning("agent %r is paused here; its runs wait until it is resumed", agent_id)
            self._changed()

    def resume(self, agent_id: str) -> None:
        """Its runs begin again. Raises as `pause`."""
        if self.known(agent_id) in self._paused:
            self._paused.remove(AgentId(agent_id))
            _log.info("agent %r is resumed", agent_id)
            self._changed()

    @property
    def paused(self) -> frozenset[AgentId]:
        """The agents that somebody has paused."""
        return frozenset(self._paused)

    def known(self, agent_id: str) -> AgentId:
        """Raises AgentNotFound when no agent has that id here."""
        if agent_id not in self._infos:
            raise AgentNotFound(agent_id)
        return AgentId(agent_id)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when `routes` has changed."""
        self._listeners.append(listener)

    def _changed(self) -> None:
        absent = {*self._withdrawn, *self._paused}
        served = {Route(name): limit for name, limit in self._limits.items() if name not in absent}
        self.routes = MappingProxyType(served)
        for listener in self._listeners:
            listener()

    def driver(self, agent_id: str) -> AgentDriver:
        """The agent's driver, always the same one.

        Raises:
            AgentNotFound: No agent has that id here, or no longer.
        """
        driver = self._drivers.get(AgentId(agent_id))
        if driver is None:
            raise AgentNotFound(agent_id)
        return driver

    async def load_all(self) -> None:
        """Import whatever is still to be imported. Raises AgentNotLoadable for the first that cannot be."""
        for driver in [*self._drivers.values()]:
            if isinstance(driver, LazyDriver):
                await driver.load()

    def serves(self, agent_id: str) -> bool:
        """Whether its runs are executed here: it was added, could be loaded, and is not paused."""
        return Route(agent_id) in self.routes

    def retry_policy(self, agent_id: AgentId) -> RetryPolicy | None:
        """How long its failed runs wait; None where that is left to the settings."""
        return self._retries.get(agent_id)

    def check_input(self, agent_id: AgentId, messages: Sequence[Message]) -> None:
        """Hold the input to the agent's schema: the value of its one `Json` block, or else its text.

        Raises:
            ValidationError: It does not fit.
        """
        check = self._inputs.get(agent_id)
        if check is None:
            return
        blocks = [block for message in messages for block in message.content if isinstance(block, Json)]
        text = "\n".join([message.text for message in messages])
        faults = check.faults(blocks[0].value if len(blocks) == 1 else text)
        if faults:
            if len(blocks) != 1:
                faults += "; it was given a text: give a value as Json(…), a `json` block, or --data of `awaken run`"
            raise ValidationError(
                f"the input does not fit what agent {agent_id!r} takes: {faults}", loc=("body", "messages")
            )

    def check_output(self, agent_id: AgentId, text: str | None, *, is_structured: bool) -> None:
        """Hold what the agent came to, to its schema: a text, or the value that the text is the JSON of.

        Raises:
            PermanentFailure: It does not fit; the agent would return the like again, after the same effects.
        """
        check = self._outputs.get(agent_id)
        if check is None:
            return
        try:
            faults = check.faults(msgspec.json.decode(text) if is_structured and text is not None else text)
        except msgspec.DecodeError as error:
            faults = f"it is not JSON: {error}"
        if faults:
            raise PermanentFailure(f"the output does not fit the output_schema of agent {agent_id!r}: {faults}")

    def exposes_errors(self, agent_id: AgentId) -> bool:
        """Whether the texts of what the agent and its tools raise may be read by everybody."""
        return agent_id in self._exposing

    def ids(self) -> tuple[AgentId, ...]:
        return tuple(self._infos)

    def describe(self) -> tuple[AgentInfo, ...]:
        return tuple(
            [
                replace(info, paused=name in self._paused, not_loadable=self._withdrawn.get(name))
                for name, info in self._infos.items()
            ]
        )

    def resolve(self, agent_id: str | None, last: str | None = None) -> AgentId:
        """The agent a submit means: the one it names, else the thread's last one, else the only one there is.

        Raises:
            UnknownAgent: It names one that is not here, or names none where several could be meant.
        """
        if agent_id is not None:
            if agent_id in self._infos:
                return AgentId(agent_id)
        elif last is not None and last in self._infos:
            return AgentId(last)
        elif len(self._infos) == 1:
            return next(iter(self._infos))
        raise UnknownAgent(agent_id, self.ids())


def _check_retry(retry: object, name: str) -> None:
    if not isinstance(retry, RetryPolicy):
        raise ValidationError(f"retry = {shown(retry)} of agent {name!r} is no RetryPolicy")
    try:
        retry.check()
    except ValidationError as error:
        raise ValidationError(f"retry of agent {name!r}: {error}") from None


def _skills(given: Sequence[Skill | Mapping[str, Any]], name: str) -> tuple[Skill, ...]:
    try:
        return tuple([each if isinstance(each, Skill) else msgspec.convert(dict(each), Skill) for each in given])
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise ValidationError(f"skills of agent {name!r} cannot be read: {error}") from error


def kind_of(agent: Any) -> AgentKind:
    """How the object will be run, found without importing anything.

    Raises:
        ValidationError: Nothing here can run it.
    """
    if isinstance(agent, str):
        return "import"
    if isinstance(agent, LazyAgent):
        return agent.kind
    if any(_is_pydantic_ai_agent(cls) for cls in type(agent).__mro__):
        return "pydantic_ai"
    if inspect.iscoroutinefunction(getattr(agent, "drive", None)) and not isinstance(agent, type):
        return "driver"
    if callable(agent) and not isinstance(agent, type):
        return "function"
    raise ValidationError(
        f"{shown(agent)} is not an agent: give an async function, an async generator function, a Pydantic AI agent, "
        'an AgentDriver, or the place of one as "module:attribute"'
    )


def make_driver(agent_id: AgentId, agent: Any, clock: Clock) -> AgentDriver:
    """A driver for the object. What cannot run is refused here, except what is not imported or made yet."""
    if isinstance(agent, LazyAgent):
        return LazyDriver(agent_id, agent.make, clock)
    match kind_of(agent):
        case "driver":
            return cast(AgentDriver, agent)
        case "function":
            return FunctionDriver(agent)
        case "pydantic_ai":
            return LazyDriver(agent_id, lambda: agent, clock)
        case "import":
            if not all(part.strip() for part in _place(agent)):
                raise ValidationError(f'{shown(agent)} does not name an agent; write it as "module:attribute"')
            return LazyDriver(agent_id, partial(imported, agent), clock)


class LazyDriver:
    """Imports what an agent needs when its first run starts, then hands every run to the driver it found."""

    def __init__(self, agent_id: AgentId, make: Callable[[], Any], clock: Clock) -> None:
        self._agent_id = agent_id
        self._make = make
        self._clock = clock
        self._driver: AgentDriver | None = None
        self._loading = asyncio.Lock()

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        """As the agent's own driver.

        Raises:
            AgentNotLoadable: What should be imported is not there, or is not an agent.
        """
        driver = self._driver or await self.load()
        return await driver.drive(entry, port)

    async def load(self) -> AgentDriver:
        """The agent's own driver, imported once. Raises as `drive`."""
        async with self._loading:
            if self._driver is None:
                found = in_thread(self._find, name=f"awaken-import-{self._agent_id}")
                self._driver = await result_of(found)
            return self._driver

    def _find(self) -> AgentDriver:
        agent = self._make()
        try:
            if kind_of(agent) != "pydantic_ai":
                return make_driver(self._agent_id, agent, self._clock)
        except ValidationError as error:
            raise AgentNotLoadable(f"agent {self._agent_id!r} cannot run: {error}") from error
        from awaken.executors.pydantic_ai import PydanticAIDriver

        return PydanticAIDriver(agent, clock=self._clock)


def imported(place: str) -> Any:
    """The object at `"module:attribute"`; the attribute may be a dotted path.

    Raises:
        AgentNotLoadable: naming the part that could not be found, or what importing it raised.
    """
    module_name, path = _place(place)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = "is it installed, and does the server start in the folder it is in?"
        raise AgentNotLoadable(f"the agent {place!r} cannot be imported: {error}; {hint}") from error
    except (Exception, SystemExit) as error:
        # A user's module may raise anything while it is imported; whatever it is, the run cannot start.
        raise AgentNotLoadable(f"importing the agent {place!r} failed: {type(error).__name__}: {error}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise AgentNotLoadable(f"the agent {place!r} cannot be imported: {module_name!r} has no {path!r}")
        found = getattr(found, name)
    return found


def _is_pydantic_ai_agent(cls: type[Any]) -> bool:
    return cls.__name__ == "AbstractAgent" and cls.__module__.partition(".")[0] == "pydantic_ai"


def _place(text: str) -> tuple[str, str]:
    module_name, _, path = text.partition(":")
    return module_name, path


def _docline(agent: Any) -> str:
    if not inspect.isroutine(agent):
        return ""
    return (inspect.getdoc(agent) or "").partition("\n")[0]
