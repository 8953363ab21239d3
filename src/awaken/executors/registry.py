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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, cast, get_args

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
from awaken.domain.route import VERSION_MARK, checked_version, is_ahead, route_of, split_route
from awaken.executors.contract import AgentDriver, DriveOutcome, Entry, RunPort
from awaken.executors.function import FunctionDriver
from awaken.executors.schema import Schema, SchemaCheck, schema_of
from awaken.threads import in_thread, result_of

AgentKind = Literal["function", "pydantic_ai", "driver", "import"]
"""What runs it. `import`: a `"module:attribute"` string, not looked at before its first run."""
Fallback = Literal["latest"]
"""What executes the runs of versions that are older and not registered: the newest."""

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


class AgentVersion(msgspec.Struct, frozen=True):
    """A version of an agent, or the agent that has none, as it is listed."""

    version: str | None
    paused: bool = False
    not_loadable: str | None = None


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
    version: str | None = None
    """Which version this describes, where it has any: the newest, unless another was asked for."""
    versions: tuple[AgentVersion, ...] = ()
    """All that are registered here, in the order in which they were; none where it has no versions."""
    fallback: Fallback | None = None


class LazyAgent(msgspec.Struct, frozen=True):
    """An agent that is made when its first run starts. `make` is called once, in a thread."""

    make: Callable[[], Any]
    kind: AgentKind = "import"


class Meant(NamedTuple):
    """The agent that somebody means. `names_version`: they have said which version."""

    agent_id: AgentId
    version: str | None
    names_version: bool

    @property
    def route(self) -> Route:
        return route_of(self.agent_id, self.version)

    @property
    def asked(self) -> str:
        """As it is asked for so that the version follows from the name again, if it did."""
        return self.route if self.names_version else self.agent_id


class _Registered(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, or a version of one, as it was added."""

    info: AgentInfo
    limit: int | None
    total: int | None
    retry: RetryPolicy | None
    takes: SchemaCheck | None
    gives: SchemaCheck | None
    exposes_errors: bool

    @property
    def route(self) -> Route:
        return route_of(self.info.agent_id, self.info.version)


class Agents:
    """Agents by name, in the order they were added. One may be there in several versions: the one that was added last
    is the newest, which a name without a version means.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._known: dict[Route, _Registered] = {}
        self._drivers: dict[Route, AgentDriver] = {}
        self._newest: dict[AgentId, Route] = {}
        self._withdrawn: dict[Route, str] = {}
        self._paused: set[str] = set()
        """Names, for all versions, and routes."""
        self._met: dict[Route, None] = {}
        """Routes of versions that are not registered here, and for which something was queued."""
        self._only: frozenset[str] | None = None
        """Names, for all versions, and routes; None: everything is executed here."""
        self._listeners: list[Callable[[], None]] = []
        self.routes: Mapping[Route, int | None] = {}
        """What can be run here, each with how many at once, None for as many as there is room for. Another object
        after each change.
        """
        self.stand_ins: Mapping[Route, Route] = {}
        """Of `routes` those whose runs another version executes, and which: they share its limits."""
        self.paused_routes: frozenset[Route] = frozenset()
        """What would be among `routes`, were it not paused."""
        self.totals: Mapping[Route, int] = {}
        """Who executes some of `routes`, and how many runs at once in all processes together, where that is limited.
        Another object after each change.
        """

    def add(
        self,
        agent_id: str,
        agent: Any,
        *,
        version: str | None = None,
        fallback: Fallback | None = None,
        title: str | None = None,
        description: str | None = None,
        input_schema: Schema | None = None,
        output_schema: Schema | None = None,
        skills: Sequence[Skill | Mapping[str, Any]] = (),
        max_concurrent: int | None = None,
        max_concurrent_total: int | None = None,
        retry: RetryPolicy | None = None,
        expose_tool_errors: bool = False,
    ) -> None:
        """Make an agent known: an async function or generator, a Pydantic AI agent, an `AgentDriver`, the place of
        one of these as `"module:attribute"`, or a `LazyAgent`. Without a description, a function's docstring is used.
        An agent that could not be loaded may be added again. `expose_tool_errors`: its model, and the readers of its
        streams, get the text of whatever it and its tools raise, and not the class alone.

        With a `version` it is one of several: a run is executed by the version it began with. `fallback="latest"`, on
        the one that is added last, has that one execute older versions too that are not registered here.

        Raises:
            ValidationError: The id or version is not valid, nothing here can run the object, or an option is
                unacceptable.
            AlreadyExists: The id is taken, in this version.
        """
        name = AgentId(checked_id(agent_id, what="agent_id"))
        if _RESERVED.intersection(name):
            raise ValidationError(f"agent_id {name!r} contains one of {' '.join(sorted(_RESERVED))}", code="invalid_id")
        route = route_of(name, None if version is None else checked_version(version, name))
        if fallback not in (None, *get_args(Fallback)):
            raise ValidationError(f'fallback of agent {route!r} is "latest" or None, and not {shown(fallback)}')
        for what, limit in (("max_concurrent", max_concurrent), ("max_concurrent_total", max_concurrent_total)):
            if limit is not None and (type(limit) is not int or limit < 1):
                raise ValidationError(
                    f"{what} of agent {route!r} is a whole number, at least 1, and not {shown(limit)}"
                )
        if description is not None:
            checked(description, str, what=f"the description of agent {route!r}")
        if route in self._known and route not in self._withdrawn:
            raise AlreadyExists("agent", route)
        if retry is not None:
            _check_retry(retry, route)
        checked_flag(expose_tool_errors, what="expose_tool_errors")
        kind = kind_of(agent)
        driver = make_driver(route, agent, self._clock)
        info = AgentInfo(
            name,
            _docline(agent) if description is None else description,
            kind,
            _CAPABILITIES[kind],
            title,
            schema_of(input_schema, "validation", f"input_schema of agent {route!r}"),
            schema_of(output_schema, "serialization", f"output_schema of agent {route!r}"),
            _skills(skills, route),
            version=version,
            fallback=fallback,
        )
        self._known[route] = _Registered(
            info=info,
            limit=max_concurrent,
            total=max_concurrent_total,
            retry=retry,
            takes=_check_of(info.input_schema),
            gives=_check_of(info.output_schema),
            exposes_errors=expose_tool_errors,
        )
        self._drivers[route] = driver
        if route not in self._withdrawn:
            self._newest[name] = route
        self._withdrawn.pop(route, None)
        self._changed()

    def replace(self, agent_id: str, agent: Any) -> AgentDriver:
        """Have another object executed under a name from now on, and return the driver that was: for tests. Of an agent
        with versions it is the newest, unless `name@version` says which.

        Raises:
            AgentNotFound: There is no agent of that name.
            ValidationError: Nothing here can run the object.
        """
        route = self._named(agent_id).route
        before = self._drivers[route]
        self._drivers[route] = make_driver(route, agent, self._clock)
        return before

    # --- who executes what --------------------------------------------------------------------------------------------

    def _executes(self, route: str) -> _Registered | None:
        """Who runs a route: the version itself. Of a version that is not here, the newest, where that falls back and
        cannot be older; and the newest of what has no version. None: nobody here.
        """
        found = self._known.get(Route(route))
        if found is not None:
            return found
        name, version = split_route(route)
        newest = self._newest.get(name)
        if newest is None:
            return None
        latest = self._known[newest]
        falls_back = latest.info.fallback == "latest" and not is_ahead(version, latest.info.version)
        return latest if version is None or falls_back else None

    def executor_of(self, route: str) -> Route | None:
        """Who was added to execute the runs of a route, whether it can be at the moment or not."""
        found = self._executes(route)
        return None if found is None else found.route

    @property
    def falls_back(self) -> bool:
        """Whether something here executes versions that are not registered."""
        return any(self._known[route].info.fallback is not None for route in self._newest.values())

    def meet(self, routes: Iterable[Route]) -> bool:
        """Something is queued for these; whether one of them is served from now on."""
        found = [route for route in routes if route not in self._met and route not in self._known]
        found = [route for route in found if self._executes(route) is not None and VERSION_MARK in route]
        self._met.update(dict.fromkeys(found))
        if found:
            self._changed()
        return bool(found)

    def withdraw(self, route: str, why: str) -> None:
        """Who executes it cannot be run here, and is not until it is added again: its runs wait."""
        found = self.executor_of(route)
        if found is not None and found not in self._withdrawn:
            self._withdrawn[found] = why
            _log.error("agent %r cannot run here; its runs wait until it is registered again: %s", found, why)
            self._changed()

    @property
    def withdrawn(self) -> Mapping[Route, str]:
        """The agents that could not be loaded, each with the reason."""
        return self._withdrawn

    def why_not_loadable(self, route: str) -> str | None:
        """Why the runs of a route cannot be executed, where their agent could not be loaded."""
        found = self.executor_of(route)
        return None if found is None else self._withdrawn.get(found)

    def pause(self, agent_id: str) -> None:
        """Begin no run of it in this process until it is resumed: they are accepted, and wait. What executes goes on,
        and what is being claimed at this moment may still begin. A restart forgets it. A name means all its versions.

        Raises:
            AgentNotFound: No agent has that id here.
        """
        self._named(agent_id)
        if agent_id not in self._paused:
            self._paused.add(agent_id)
            _log.warning("agent %r is paused here; its runs wait until it is resumed", agent_id)
            self._changed()

    def resume(self, agent_id: str) -> None:
        """Its runs begin again; those of all its versions, where a name is given. Raises as `pause`."""
        self._named(agent_id)
        ended = {each for each in self._paused if agent_id in (each, split_route(each)[0])}
        if ended:
            self._paused -= ended
            _log.info("agent %r is resumed", agent_id)
            self._changed()

    @property
    def paused(self) -> frozenset[str]:
        """The agents that somebody has paused, and versions of some: `name@version`."""
        return frozenset(self._paused)

    def is_paused(self, route: str) -> bool:
        """Whether its runs wait because somebody has paused it, or who executes it."""
        return not self._paused.isdisjoint((split_route(route)[0], route, self.executor_of(route) or route))

    def serve_only(self, agent_ids: Collection[str]) -> None:
        """Execute runs of these alone in this process, each an agent or one version of it, `name@version`; those of
        others are accepted, and left to other processes.

        Raises:
            AgentNotFound: No agent has one of the ids here.
        """
        for each in agent_ids:
            if not self.has(each):
                raise AgentNotFound(each)
        self._only = frozenset(agent_ids)
        self._changed()

    def is_left(self, route: str) -> bool:
        """Whether its runs are none of this process's business."""
        return self._only is not None and self._only.isdisjoint((split_route(route)[0], route))

    def has(self, agent_id: str) -> bool:
        """Whether a run may be asked for by this id: that of an agent, or `name@version`."""
        return agent_id in self._newest or agent_id in self._known

    def name(self, agent_id: str) -> AgentId:
        """The id itself, where it is the name of an agent, and of no single version. Raises AgentNotFound."""
        if agent_id not in self._newest:
            raise AgentNotFound(agent_id)
        return AgentId(agent_id)

    def _named(self, agent_id: str) -> _Registered:
        """The agent of that name, the newest where it has versions, or the one of that version."""
        name, version = split_route(agent_id)
        found = self._known.get(Route(agent_id) if version is not None else self._newest.get(name, Route("")))
        if found is None:
            raise AgentNotFound(agent_id[:200])
        return found

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when `routes` has changed."""
        self._listeners.append(listener)

    def _changed(self) -> None:
        served: dict[Route, int | None] = {}
        stand_ins: dict[Route, Route] = {}
        totals: dict[Route, int] = {}
        paused: set[Route] = set()
        for route in dict.fromkeys([*self._known, *map(Route, self._newest), *self._met]):
            found = self._executes(route)
            if found is None or found.route in self._withdrawn or self.is_left(route):
                continue
            if self.is_paused(route):
                paused.add(route)
                continue
            served[route] = found.limit
            if found.total is not None:
                totals[found.route] = found.total
            if found.route != route:
                stand_ins[route] = found.route
        self.stand_ins = MappingProxyType(stand_ins)
        self.paused_routes = frozenset(paused)
        self.totals = MappingProxyType(totals)
        self.routes = MappingProxyType(served)
        for listener in self._listeners:
            listener()

    def driver(self, route: str) -> AgentDriver:
        """The driver of who executes the runs of a route, always the same one.

        Raises:
            AgentNotFound: No agent has that id here, or no longer.
        """
        found = self.executor_of(route)
        if found is None:
            raise AgentNotFound(route)
        return self._drivers[found]

    async def load_all(self) -> None:
        """Import whatever is still to be imported. Raises AgentNotLoadable for the first that cannot be."""
        for driver in [*self._drivers.values()]:
            if isinstance(driver, LazyDriver):
                await driver.load()

    def serves(self, route: str) -> bool:
        """Whether its runs are executed here: it was added, could be loaded, and is not paused."""
        return Route(route) in self.routes

    def retry_policy(self, route: str) -> RetryPolicy | None:
        """How long its failed runs wait; None where that is left to the settings."""
        found = self._executes(route)
        return None if found is None else found.retry

    def check_input(self, route: str, messages: Sequence[Message]) -> None:
        """Hold the input to the agent's schema: the value of its one `Json` block, or else its text.

        Raises:
            ValidationError: It does not fit.
        """
        found = self._executes(route)
        if found is None or found.takes is None:
            return
        blocks = [block for message in messages for block in message.content if isinstance(block, Json)]
        text = "\n".join([message.text for message in messages])
        faults = found.takes.faults(blocks[0].value if len(blocks) == 1 else text)
        if faults:
            if len(blocks) != 1:
                faults += "; it was given a text: give a value as Json(…), a `json` block, or --data of `awaken run`"
            raise ValidationError(
                f"the input does not fit what agent {route!r} takes: {faults}", loc=("body", "messages")
            )

    def check_output(self, route: str, text: str | None, *, is_structured: bool) -> None:
        """Hold what the agent came to, to its schema: a text, or the value that the text is the JSON of.

        Raises:
            PermanentFailure: It does not fit; the agent would return the like again, after the same effects.
        """
        found = self._executes(route)
        if found is None or found.gives is None:
            return
        try:
            faults = found.gives.faults(msgspec.json.decode(text) if is_structured and text is not None else text)
        except msgspec.DecodeError as error:
            faults = f"it is not JSON: {error}"
        if faults:
            raise PermanentFailure(f"the output does not fit the output_schema of agent {route!r}: {faults}")

    def exposes_errors(self, route: str) -> bool:
        """Whether the texts of what the agent and its tools raise may be read by everybody."""
        found = self._executes(route)
        return found is not None and found.exposes_errors

    # --- agents by name -----------------------------------------------------------------------------------------------

    def ids(self) -> tuple[AgentId, ...]:
        """The names, in the order in which they were first added."""
        return tuple(self._newest)

    def describe(self) -> tuple[AgentInfo, ...]:
        """Each name once: the newest of its versions."""
        return tuple([self._described(self._known[route]) for route in self._newest.values()])

    def described(self, agent_id: str) -> AgentInfo:
        """An agent, the newest of its versions or, as `name@version`, that one. Raises AgentNotFound."""
        return self._described(self._named(agent_id))

    def _described(self, found: _Registered) -> AgentInfo:
        of_name = [each for each in self._known.values() if each.info.agent_id == found.info.agent_id]
        versions = tuple(
            [
                AgentVersion(each.info.version, self.is_paused(each.route), self._withdrawn.get(each.route))
                for each in of_name
            ]
        )
        return replace(
            found.info,
            paused=self.is_paused(found.route),
            not_loadable=self._withdrawn.get(found.route),
            versions=() if all(each.version is None for each in versions) else versions,
        )

    def resolve(self, agent_id: str | None, last: str | None = None) -> Meant:
        """The agent a submit means: the one it names, else the thread's last one, else the only one there is; and of
        its versions the newest, unless it says which.

        Raises:
            UnknownAgent: It names one that is not here, or names none where several could be meant.
        """
        asked = agent_id
        if asked is None:
            asked = last if last in self._newest else next(iter(self._newest)) if len(self._newest) == 1 else None
        if asked is None:
            raise UnknownAgent(None, self.ids())
        try:
            found = self._named(asked).info
        except AgentNotFound:
            of_name = [route for route in self._known if split_route(route)[0] == split_route(asked)[0]]
            raise UnknownAgent(asked, (*of_name,) or self.ids()) from None
        return Meant(found.agent_id, found.version, VERSION_MARK in asked)

    def newest(self, agent_id: AgentId) -> str | None:
        """Which version the name means at the moment; None where it has none, or is not here."""
        route = self._newest.get(agent_id)
        return None if route is None else self._known[route].info.version


def _check_of(schema: dict[str, Any] | None) -> SchemaCheck | None:
    return None if schema is None else SchemaCheck(schema, "a schema")


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


def make_driver(agent_id: str, agent: Any, clock: Clock) -> AgentDriver:
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

    def __init__(self, agent_id: str, make: Callable[[], Any], clock: Clock) -> None:
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
