"""Schedules, for whoever makes, changes, pauses and reads them; and those that a program declares.

Above: `Awaken`, HTTP. Below: the `EditSchedules` transition.
Holds: what a program declares is written when it starts, before anything falls due. What a method changes is durable
when it returns.

Source: ADR 0036; docs/howto/schedule-a-run.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from awaken.domain.checking import measured
from awaken.domain.errors import AlreadyExists, ScheduleDeclared, ScheduleNotFound, TooManySchedules, ValidationError
from awaken.domain.ids import AgentId, MessageId, Scope
from awaken.domain.message import check_messages
from awaken.domain.schedule import Schedule, ScheduleSpec, check_schedule_name
from awaken.executors.registry import Agents
from awaken.store.combiner import Combiner
from awaken.store.contract import Page, Store
from awaken.store.rules.schedule import MAX_SCHEDULES
from awaken.store.transitions import (
    ChangeSchedule,
    DeclareSchedules,
    EditSchedules,
    MakeSchedule,
    PauseSchedule,
    RemoveSchedule,
    ResumeSchedule,
    ScheduleEdit,
    SchedulesEdited,
)

MAX_SPEC_BYTES: Final = 256 * 1024


class Schedules:
    """Those of one mailbox."""

    def __init__(self, combiner: Combiner, store: Store, agents: Agents, require_ready: Callable[[], None]) -> None:
        """`require_ready` raises where nothing can be changed now."""
        self._combiner = combiner
        self._require_ready = require_ready
        self._store = store
        self._agents = agents
        self.declared: dict[Scope, tuple[ScheduleSpec, ...]] = {}
        """What the program declares, by scope; nothing is asked about a scope that is not here."""

    async def declare(self) -> None:
        """Have the declared schedules be as the program says.

        Raises:
            ValidationError: One of them is for an agent that is not known, or whose input it does not suit.
        """
        for scope, specs in self.declared.items():
            if len(specs) > MAX_SCHEDULES:
                raise ValidationError(f"a program declares at most {MAX_SCHEDULES} schedules, not {len(specs)}")
            sound = tuple([self._declarable(spec) for spec in specs])
            if sound or await self._has_declared(scope):
                edit = EditSchedules(scope=scope, edit=DeclareSchedules(sound))
                await self._combiner.apply(edit, SchedulesEdited)

    def _declarable(self, spec: ScheduleSpec) -> ScheduleSpec:
        try:
            return self._sound(spec)[0]
        except ValidationError as error:
            raise ValidationError(f"schedule {spec.name!r} cannot be declared: {error}", code=error.code) from error

    async def _has_declared(self, scope: Scope) -> bool:
        after: int | None = None
        while True:
            page = await self._store.list_schedules(scope, after=after)
            if any(schedule.declared for schedule in page.items):
                return True
            if page.next is None:
                return False
            after = page.next

    async def make(self, scope: Scope, spec: ScheduleSpec) -> tuple[Schedule, bool]:
        """Make a schedule; and whether it is new. One that is there already and says the same is the answer.

        Raises:
            ValidationError: It is no schedule, its agent is not known (UnknownAgent), or the input does not suit that.
            AlreadyExists: One of that name says something else, or is declared by the program.
            TooManySchedules: The scope has as many as it may have.
        """
        sound, size = self._sound(spec)
        edited = await self._edit(scope, MakeSchedule(sound), size)
        return self._answered(sound.name, edited), edited.made

    async def change(self, scope: Scope, name: str, changes: dict[str, Any]) -> Schedule:
        """Change some fields of it. What its instants depend on, changed, lets it begin anew.

        Raises:
            ScheduleNotFound, ScheduleDeclared: There is none, or only the program may change it.
            ValidationError: As `make`.
        """
        while True:
            was = (await self.get(scope, name)).spec
            spec, size = self._sound(replace(was, **changes))
            edited = await self._edit(scope, ChangeSchedule(spec, was), size)
            if edited.refused != "changed":  # else somebody was quicker, and it is looked at again
                return self._answered(name, edited)

    async def pause(self, scope: Scope, name: str) -> Schedule:
        """Have it begin nothing until it is resumed. Raises ScheduleNotFound."""
        return self._answered(name, await self._edit(scope, PauseSchedule(check_schedule_name(name))))

    async def resume(self, scope: Scope, name: str) -> Schedule:
        """Have it go on with its next instant. Raises ScheduleNotFound."""
        return self._answered(name, await self._edit(scope, ResumeSchedule(check_schedule_name(name))))

    async def remove(self, scope: Scope, name: str) -> Schedule:
        """Remove it; the runs that it has begun go on.

        Raises:
            ScheduleNotFound: There is none.
            ScheduleDeclared: The program declares it.
        """
        return self._answered(name, await self._edit(scope, RemoveSchedule(check_schedule_name(name))))

    async def get(self, scope: Scope, name: str) -> Schedule:
        """Raises ScheduleNotFound; ValidationError for what is no name."""
        schedule = await self._store.load_schedule(scope, check_schedule_name(name))
        if schedule is None:
            raise ScheduleNotFound(name)
        return schedule

    async def page(self, scope: Scope, *, after: int | None = None, limit: int) -> Page[Schedule]:
        """In the order in which they were made."""
        return await self._store.list_schedules(scope, after=after, limit=limit)

    def _sound(self, spec: ScheduleSpec) -> tuple[ScheduleSpec, int]:
        """The spec as it can be stored, and its size.

        Raises ValidationError.
        """
        spec, size = measured(spec, ScheduleSpec)
        if size > MAX_SPEC_BYTES:
            raise ValidationError(f"a schedule has at most {MAX_SPEC_BYTES} bytes as JSON, and this has {size}")
        spec.check()
        meant = self._agents.resolve(spec.agent_id or None)
        self._agents.check_input(meant.route, spec.messages)
        check_messages(tuple([replace(each, id=MessageId(f"m{no}")) for no, each in enumerate(spec.messages)]))
        return replace(spec, agent_id=AgentId(meant.asked)), size

    async def _edit(self, scope: Scope, edit: ScheduleEdit, size: int = 0) -> SchedulesEdited:
        self._require_ready()
        outcome = await self._combiner.ask(EditSchedules(scope=scope, edit=edit), size)
        assert isinstance(outcome, SchedulesEdited), "an edit answers with what it changed"
        return outcome

    def _answered(self, name: str, edited: SchedulesEdited) -> Schedule:
        match edited.refused:
            case None:
                assert edited.schedule is not None, "what was changed is there"
                return edited.schedule
            case "missing":
                raise ScheduleNotFound(name)
            case "exists":
                raise AlreadyExists("schedule", name)
            case "declared":
                raise ScheduleDeclared(name)
            case "too_many":
                raise TooManySchedules(MAX_SCHEDULES)
            case "changed":
                raise AssertionError("whoever changes it looks again")
