"""What an agent asks of somebody: the question of a function, or of a tool, and the answer when it is there.

Above: `Context.ask` and `Context.approve`. Below: the tickets of the run.
Holds: what was asked is known by its name and by how many of that name were asked for before it in this execution,
inside a tool by the call too, so that the same question asked again finds its answer. What is not answered yet suspends
the run: a function by cancelling its task, a turn of the event loop later, so that questions side by side are all
asked; a tool by an exception that no tool catches by chance. Until a function that is executed again has reached the
questions it waited with, what it says is dropped: it was said before.

Source: ADR 0034, `docs/howto/ask-a-person.md`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from awaken.domain.checking import checked_seconds, readable, shown
from awaken.domain.errors import PermanentFailure, TicketExpired, ValidationError
from awaken.domain.loop import check_loop
from awaken.domain.ticket import MAX_EXPIRY_MS, Decision, Ticket, TicketRequest
from awaken.executors.results import encoded, json_schema_of, step_decoder

UNSET: Final = msgspec.UNSET
NOT_IN_TIME: Final = "nobody decided in time"
_USUAL_NAMES: Final = ("ask", "approve")
"""Of questions that were given no name of their own."""
_IN_STEP: Final[ContextVar[bool]] = ContextVar("awaken_in_step", default=False)


_log = logging.getLogger("awaken.executors")


class Approval(msgspec.Struct, frozen=True):
    """What somebody said to `approve`. `arguments`: those that were asked for, or the ones given in their place."""

    approved: bool
    reason: str | None = None
    arguments: Any = None


class Waits(BaseException):
    """The tool being executed waits for an answer. It is no `Exception`, so that a tool that catches whatever it calls
    may raise does not take it for a failure.
    """


class Asks:
    """The questions of one execution of a function."""

    def __init__(self, known: Mapping[str, Ticket], *, suspends: bool = True) -> None:
        """`known`: the tickets that the run has opened so far, by key. `suspends` False: nothing but tools can ask."""
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._suspends = suspends
        self._task = asyncio.current_task() if suspends else None
        self._uses: Counter[str] | None = None
        self._ahead = {key for key, ticket in known.items() if _is_own(ticket)}
        """Those it waited with before and has not come to yet."""
        self.requests: dict[str, TicketRequest] = {}
        """What it waits for now."""
        self._seen = 0
        self._started: dict[str, TicketRequest] = {}
        self.notes: list[str] = []
        """Where it waits for children now, for the next execution to find."""
        self.is_suspending = False
        """Its task has been cancelled because of that."""
        self._is_warned = False

    # --- children -----------------------------------------------------------------------------------------------------

    def known(self, key: str) -> Ticket | None:
        """The ticket of that key, as it was when this execution began; None where there was none."""
        return self._known.get(key)

    def opened(self, request: TicketRequest) -> None:
        """A child was started."""
        self._started[request.key] = request

    def request_of(self, key: str) -> TicketRequest | None:
        """What was asked for under the key."""
        ticket = self._known.get(key)
        return self._started.get(key) if ticket is None else ticket.asked

    @property
    def open_children(self) -> int:
        """How many have not ended, as far as this execution knows."""
        return _count_open(self._known, self._started)

    def expect(self, places: Iterable[str]) -> None:
        """It has waited for children in these places before."""
        self._ahead.update(places)

    def reached(self, place: str) -> None:
        self._ahead.discard(place)

    def waits_at(self, place: str) -> None:
        self.notes.append(place)

    @property
    def is_replaying(self) -> bool:
        """Whether it has not come as far as it was."""
        return bool(self._ahead)

    def key_of(self, name: str) -> str:
        _check_name(name)
        if self._uses is None:
            self._uses = Counter()
        self._uses[name] += 1
        return f"{name}#{self._uses[name]}"

    async def answer(self, request: TicketRequest) -> Ticket:
        """The closed ticket, once there is one.

        Raises:
            PermanentFailure: It is asked inside of a step, whose result would be recorded without it.
            WrongLoop: It was called from another event loop than the run's.
        """
        check_loop(self._loop, "this run")
        if _IN_STEP.get():
            raise PermanentFailure(f"{request.key!r} is asked inside of a step; ask before it, and hand the answer in")
        if not self._suspends:
            raise PermanentFailure(
                f"{request.key!r} is asked outside of a tool; here only a tool can wait for somebody"
            )
        if self.is_suspending:
            self._warn()
            raise PermanentFailure(
                "the agent was cancelled because it waits for somebody, and went on; let that through"
            )
        self._ahead.discard(request.key)
        ticket = _ticket_of(request, self._known)
        if ticket is not None and is_final(ticket):
            return ticket
        self.requests[request.key] = request
        if len(self.requests) == 1:
            self._loop.call_soon(self._suspend)
        return await self._loop.create_future()  # never resolved: the task is about to be cancelled

    def _suspend(self) -> None:
        """Cancel the function, unless more was asked in this turn: whoever asks side by side is waited for."""
        if self._task is None or not self.requests or self.is_suspending:
            return
        if self._seen != len(self.requests):
            self._seen = len(self.requests)
            self._loop.call_soon(self._suspend)
            return
        self.is_suspending = True
        self._task.cancel()

    def _warn(self) -> None:
        if not self._is_warned:
            self._is_warned = True
            _log.warning("an agent that waits for %s was cancelled for it, and goes on", min(self.requests))

    def suspended(self) -> bool:
        """The function's task was cancelled. Whether that was only because of what it asks."""
        if not self.is_suspending or self._task is None:
            return False
        return self._task.uncancel() == 0

    def check_end(self) -> None:
        """The function has returned. Raises PermanentFailure when it should not have: it does not wait for what it
        asked, or has not asked again what it waited with.
        """
        if self.requests:
            self._task, waited = None, [*self.requests]
            raise PermanentFailure(f"the agent went on without waiting for {shown(waited[0])}, which it asked")
        if self._ahead:
            missed = shown(min(self._ahead))
            raise PermanentFailure(f"the agent waited for {missed}, and ended without coming to it again")


class CallAsks:
    """The questions of one call of a tool."""

    def __init__(self, call_id: str, tool_name: str, known: Mapping[str, Ticket]) -> None:
        self._call_id = call_id
        self._tool_name = tool_name
        self._known = known
        self._uses: Counter[str] = Counter()
        self._started: dict[str, TicketRequest] = {}
        self.requests: dict[str, TicketRequest] = {}

    @property
    def call_id(self) -> str:
        return self._call_id

    def known(self, key: str) -> Ticket | None:
        """As `Asks.known`; the others likewise."""
        return self._known.get(key)

    def opened(self, request: TicketRequest) -> None:
        self._started[request.key] = request

    def request_of(self, key: str) -> TicketRequest | None:
        ticket = self._known.get(key)
        return self._started.get(key) if ticket is None else ticket.asked

    @property
    def open_children(self) -> int:
        return _count_open(self._known, self._started)

    async def answer_all(self, requests: Iterable[TicketRequest]) -> None:
        """Wait for all of them. Raises Waits where one is open."""
        for request in requests:
            ticket = self._known.get(request.key)
            if ticket is None or not is_final(ticket):
                self.requests[request.key] = request
        if self.requests:
            raise Waits(self._tool_name)

    def key_of(self, name: str) -> str:
        _check_name(name)
        self._uses[name] += 1
        return f"{self._call_id}/{name}#{self._uses[name]}"

    async def answer(self, request: TicketRequest) -> Ticket:
        """As `Asks.answer`. Raises Waits where there is no answer yet."""
        ticket = _ticket_of(request, self._known)
        if ticket is not None and is_final(ticket):
            return ticket
        self.requests[request.key] = msgspec.structs.replace(request, tool_call_id=self._call_id)
        raise Waits(self._tool_name)


Asking = Asks | CallAsks
_IN_CALL: Final[ContextVar[CallAsks | None]] = ContextVar("awaken_call_asks", default=None)


@contextmanager
def asking_in_call(asks: CallAsks) -> Generator[None]:
    """What is asked inside belongs to this call."""
    before = _IN_CALL.get()
    _IN_CALL.set(asks)
    try:
        yield
    finally:
        _IN_CALL.set(before)  # and no reset: a loop that is abandoned has its tasks closed in another context


@contextmanager
def in_step() -> Generator[None]:
    """Nothing can be asked inside: it would be part of a step, and not be asked again when that is recorded."""
    _IN_STEP.set(True)
    try:
        yield
    finally:
        _IN_STEP.set(False)  # as above


async def ask(asks: Asking, question: str, name: str, type: Any, expires_in_s: float | None, default: Any) -> Any:
    """The answer to a question. See `Context.ask`."""
    asks = _IN_CALL.get() or asks
    key = asks.key_of(name)
    decoder = step_decoder(type, key)
    has_default = default is not UNSET
    if has_default:
        if expires_in_s is None:
            raise PermanentFailure(f"the default of {key!r} is for when its time is over: give expires_in_s, too")
        _decoded(default, decoder, f"the default of {key!r}")
    request = TicketRequest(
        key=key,
        kind="input",
        tool_name=name,
        message=_text(question, "question", key),
        response_schema=json_schema_of(type),
        expires_in_ms=expiry_ms(expires_in_s),
        on_expiry="answer" if has_default else "deny",
        default=msgspec.json.decode(encoded(default, f"the default of {key!r}")) if has_default else None,
    )
    ticket = await asks.answer(_checked(request))
    decision = ticket.decision
    if decision is None:
        raise TicketExpired(ticket.ticket_id, f"{NOT_IN_TIME}, asked as {key!r}")
    return _decoded(decision.result, decoder, f"the answer to {key!r}")


def _decoded(value: Any, decoder: msgspec.json.Decoder[Any], what: str) -> Any:
    encoding = encoded(value, what)
    try:
        return decoder.decode(encoding)
    except Exception as error:
        raise PermanentFailure(f"{what} does not fit its type") from error


async def approve(asks: Asking, question: str, name: str, arguments: Any, expires_in_s: float | None) -> Approval:
    """What somebody says to it. See `Context.approve`."""
    asks = _IN_CALL.get() or asks
    key = asks.key_of(name)
    given = msgspec.json.decode(encoded(arguments, f"the arguments of {key!r}"))
    if not isinstance(given, dict | None):
        raise PermanentFailure(f"the arguments of {key!r} are an object, as those of an edit are, not {shown(given)}")
    request = TicketRequest(
        key=key,
        kind="approval",
        tool_name=name,
        arguments=given,
        message=_text(question, "question", key),
        resume_mode="pass_decision_to_tool",
        expires_in_ms=expiry_ms(expires_in_s),
    )
    return approval_of((await asks.answer(_checked(request))).decision, given)


def approval_of(decision: Decision | None, asked: Any) -> Approval:
    """What a decision about an approval says; None: nobody decided in time."""
    if decision is None:
        return Approval(False, NOT_IN_TIME, asked)
    if decision.action == "edit":
        return Approval(True, decision.reason, decision.arguments)
    return Approval(decision.action == "approve", decision.reason, asked)


def in_call(asks: Asking) -> Asking:
    """What belongs to the call of a tool that is being executed, or else to the function."""
    return _IN_CALL.get() or asks


def _count_open(known: Mapping[str, Ticket], started: Mapping[str, TicketRequest]) -> int:
    open_before = [ticket for ticket in known.values() if ticket.asked.kind == "child" and ticket.is_open]
    return len(open_before) + len(started)


def is_final(ticket: Ticket) -> bool:
    """Whether it has come to something that an agent can go on with. One whose expiry ends the run has not."""
    return not (ticket.is_open or (ticket.state == "expired" and ticket.asked.on_expiry in ("fail", "cancel")))


def _ticket_of(request: TicketRequest, known: Mapping[str, Ticket]) -> Ticket | None:
    """The ticket of what is asked. Raises PermanentFailure where something else was asked under its key: what somebody
    has decided is no answer to that.
    """
    ticket = known.get(request.key)
    if ticket is None or request.kind == "child":
        return ticket
    asked = ticket.asked
    is_known_by_text = request.tool_name in _USUAL_NAMES
    if asked.kind != request.kind or (is_known_by_text and asked.message != request.message):
        raise PermanentFailure(
            f"{request.key!r} was {shown(asked.message)} before, and is {shown(request.message)} now: ask the same,"
            " in the same order, each time, or give each question a name of its own"
        )
    if asked.arguments != request.arguments:
        raise PermanentFailure(
            f"the arguments of {request.key!r} were {shown(asked.arguments)} when it was asked, and are"
            f" {shown(request.arguments)} now: have what they are made from in a step"
        )
    return ticket


def _is_own(ticket: Ticket) -> bool:
    """Whether the function itself has asked it, and no tool, and it is no child."""
    return ticket.asked.tool_call_id is None and ticket.asked.kind != "child"


def _checked(request: TicketRequest) -> TicketRequest:
    try:
        request = readable(request, TicketRequest, what=f"what is asked as {request.key!r}")
        request.check()
    except ValidationError as error:
        raise PermanentFailure(str(error)) from error
    return request


def expiry_ms(seconds: float | None) -> int | None:
    """How long a ticket stays open. Raises PermanentFailure for what is no number of seconds up to a year."""
    if seconds is None:
        return None
    try:
        expires_in_ms = round(checked_seconds(seconds, what="expires_in_s") * 1000)
    except ValidationError as error:
        raise PermanentFailure(str(error)) from error
    if expires_in_ms > MAX_EXPIRY_MS:
        longest_s = MAX_EXPIRY_MS // 1000
        raise PermanentFailure(f"expires_in_s is at most {longest_s} seconds, a year, and not {shown(seconds)}")
    return expires_in_ms


def _text(given: object, what: str, key: str) -> str:
    if not isinstance(given, str) or not given.strip():
        raise PermanentFailure(f"the {what} of {key!r} is a text, and not {shown(given)}")
    return given


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.isprintable() or not name or len(name) > 128:
        raise PermanentFailure(
            f"the name of what is asked is a text of 1 to 128 printable characters, not {name!a:.100}"
        )
