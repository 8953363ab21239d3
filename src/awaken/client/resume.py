"""What to do next for one stream, over as many connections as it takes. A state machine: no I/O, no clock.

Above: a transport asks `next_call`, sends it, reports what happened, and waits as long as it is asked to. Below:
`sse.py`.
Holds: the items handed out are those of one uncut stream: a connection that breaks goes on after the last id seen, and
one that breaks before the server has confirmed that it accepted a run is repeated under the same run id.
Only `stream.end` ends a stream, or a 204 in its place when it was lost; a connection that is closed without it was cut.
A stream that had given something is tried again soon, because most cuts are over soon: another server takes over, or
the same one is started again. After a few tries, or when a server answers with a refusal, the delays are those the
server asks for, and grow.

Source: `docs/concepts/events.md` (cursors, streams).
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from awaken.client.calls import Call
from awaken.client.errors import RETRYABLE, error_of
from awaken.client.sse import Frame, FrameParser
from awaken.client.wire import Event, Resync, StreamItem
from awaken.domain.checking import Interval, Patience, check_settings
from awaken.domain.errors import AwakenError, RemoteProtocolError
from awaken.domain.ids import Chance
from awaken.domain.shown import Hint, WatchedEvent
from awaken.domain.watching import Scopes, written_scopes

FrameT = TypeVar("FrameT")
_JITTER: Final = 0.25
"""Readers cut off together come back spread over this part of the delay."""


class ResumeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream comes back. Checked when they are made.

    Raises:
        ValidationError: A setting is no number of seconds, or lies outside its bounds.
    """

    first_delay_s: Patience = 0.15
    """About this long before the first try after a stream that had given something. Each failed try doubles it, until
    it reaches the delay of the server."""
    retry_delay_s: Patience = 0.25
    """The delay of a server that asked for none with `retry:`."""
    max_delay_s: Patience = 10.0
    """Each further failed try doubles the delay of the server up to this."""
    give_up_after_s: Patience = 300.0
    """Without a single frame for this long, the stream fails. 0: a broken stream fails at once."""
    silence_s: Interval = 45.0
    """A connection that is silent for this long, three keep-alives, is dead."""

    def __post_init__(self) -> None:
        check_settings(self, "of ResumeSettings")


class Resumption:
    """One stream. `run_id`, `thread_id` and `last_cursor` are what it has learned so far; of a run that it creates the
    id that was asked for, from the start: whoever gives up asks for that one again, and for no second run.
    """

    def __init__(
        self,
        settings: ResumeSettings,
        chance: Chance,
        *,
        watch: Call[None],
        create: Call[None] | None = None,
        run_id: str | None = None,
        after: str | None = None,
    ) -> None:
        """Follow `watch`, after the cursor `after`; with `create`, until it is accepted, send that first."""
        self._settings = settings
        self._chance = chance
        self._watch = watch
        self._create = create
        self._parser = FrameParser()
        self._base_s = settings.retry_delay_s
        self._soon_s: float | None = None
        """The next delay of the first tries; None when it is not the time for them."""
        self._failures = 0
        self._failing_since_s: float | None = None
        self._asked_s = 0.0
        self._reason: AwakenError | None = None
        self.last_cursor = after
        self.run_id = run_id
        self.thread_id: str | None = None
        self.reconnects = 0
        self.end_reason: str | None = None
        """Why the server ended the stream; None while it has not."""

    @property
    def ended(self) -> bool:
        return self.end_reason is not None

    def next_call(self) -> Call[None]:
        """What to send now."""
        self._parser = FrameParser()
        if self._create is not None:
            return self._create
        if self.last_cursor is None:
            return self._watch
        headers = {**self._watch.headers, "Last-Event-ID": self.last_cursor}  # wins over any place in the query
        return msgspec.structs.replace(self._watch, headers=headers)

    def accepted(self) -> None:
        """The server answered 200: what was to be created is stored."""
        self._create = None

    def nothing_left(self) -> None:
        """The server answered 204: the run has ended, and all its events were seen before."""
        self.end_reason = "done"

    def refused(self, status: int, body: bytes, retry_after: str | None, now_s: float) -> tuple[Exception, float]:
        """The answer was something else. Why, and how many seconds to wait before trying again.

        Raises:
            AwakenError: Trying again would not help, or the time for it is over.
        """
        error = error_of(status, body)
        if status not in RETRYABLE:
            raise error
        if retry_after is not None and retry_after.isdigit():
            self._asked_s = float(retry_after)
        self._soon_s = None
        return self.broken(error, now_s)

    def received(self, chunk: bytes) -> list[StreamItem]:
        """What these bytes bring.

        Raises:
            AwakenError: The stream failed at the server for good.
        """
        items: list[StreamItem] = []
        for frame in self._parser.feed(chunk):
            self._failures, self._failing_since_s = 0, None
            item = self._frame(frame)
            if item is not None:
                items.append(item)
                self._soon_s = self._settings.first_delay_s
            if self.ended:
                break
        if self._parser.retry_ms is not None:
            self._base_s = self._parser.retry_ms / 1000
        return items

    def broken(self, cause: Exception, now_s: float) -> tuple[Exception, float]:
        """The connection failed, or ended without `stream.end`. Why, and how many seconds to wait before `next_call`.

        Raises:
            AwakenError: The cause, when nothing has come for `give_up_after_s`.
        """
        self.reconnects += 1
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        cause, self._reason = self._reason or cause, None
        if now_s - self._failing_since_s >= self._settings.give_up_after_s:
            raise cause
        asked_s, self._asked_s = self._asked_s, 0.0
        return cause, max(self._delay_s(), asked_s)

    def _delay_s(self) -> float:
        """How long to wait this time; longer the next time."""
        if self._soon_s is not None and self._soon_s < self._base_s:
            soon_s, self._soon_s = self._soon_s, 2 * self._soon_s
            return soon_s * (0.5 + self._chance.random())  # too short a time to spread readers over a part of it only
        delay_s = min(self._base_s * 2**self._failures, max(self._settings.max_delay_s, self._base_s))
        self._failures = min(self._failures + 1, 32)
        return delay_s * (1 + _JITTER * self._chance.random())

    # --- frames -------------------------------------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> StreamItem | None:
        match frame.event:
            case "stream.open":
                self._learn(_object(frame))
                return None
            case "stream.resync":
                return self._resync(_object(frame))
            case "stream.end":
                self.end_reason = _text(_object(frame), "reason") or "done"
                return None
            case "stream.error":
                self._failed(_object(frame), frame.data)
                return None
            case name if name.startswith("stream."):
                return None  # of a newer server, which must not rely on it
            case _:
                return self._event(frame)

    def _event(self, frame: Frame) -> Event:
        event = _decoded(frame, Event)
        self.last_cursor = frame.id or event.cursor
        self.run_id = self.run_id or event.run_id
        self.thread_id = self.thread_id or event.thread_id or None
        return event

    def _learn(self, opened: dict[str, Any]) -> None:
        self.run_id = _text(opened, "run_id") or self.run_id
        self.thread_id = _text(opened, "thread_id") or self.thread_id
        # A stream that began "now" and breaks before its first event must not begin at a later "now".
        self.last_cursor = self.last_cursor or _text(opened, "cursor")

    def _resync(self, content: dict[str, Any]) -> Resync:
        cursor = _text(content, "cursor")
        self.last_cursor = cursor or self.last_cursor
        return Resync(cursor=cursor or "", state={name: value for name, value in content.items() if name != "cursor"})

    def _failed(self, problem: dict[str, Any], document: bytes) -> None:
        """The server breaks off. What may pass is reported once the connection has closed, like any other cut."""
        status = problem.get("status")
        error = error_of(status if isinstance(status, int) else 500, document)
        if status not in RETRYABLE:
            raise error
        self._reason = error


class WatchResumption(Resumption):
    """One stream over several threads and runs, each with a place of its own. Their frames have no ids, so a connection
    that follows names in its address where each of them goes on.
    """

    def __init__(self, settings: ResumeSettings, chance: Chance, *, watch: Call[None], scopes: Scopes) -> None:
        """`watch` lacks `on`, which is made of the scopes."""
        super().__init__(settings, chance, watch=watch)
        self.scopes = scopes
        """Up to where each of them was seen; None until that is known."""

    def next_call(self) -> Call[None]:
        call = super().next_call()
        on = {"on": written_scopes(self.scopes)} if self.scopes else {}
        return msgspec.structs.replace(call, params={**call.params, **on})

    def _frame(self, frame: Frame) -> Any:
        if frame.event == "stream.hint":
            return _decoded(frame, Hint)
        return super()._frame(frame)

    def _event(self, frame: Frame) -> WatchedEvent:
        event = _decoded(frame, WatchedEvent)
        self.scopes[event.on] = event.cursor
        return event

    def _learn(self, opened: dict[str, Any]) -> None:
        for each in _decoded_scopes(opened):
            # What begins "now" and breaks before its first event must not begin at a later "now".
            self.scopes[each.on] = self.scopes.get(each.on) or each.cursor

    def _resync(self, content: dict[str, Any]) -> Resync:
        on, cursor = _text(content, "on") or "", _text(content, "cursor") or ""
        self.scopes[on] = cursor or self.scopes.get(on)
        state = {name: value for name, value in content.items() if name not in ("cursor", "on")}
        return Resync(cursor=cursor, state=state, on=on)


class _OpenedScope(msgspec.Struct):
    on: str
    cursor: str


class _Opened(msgspec.Struct):
    scopes: tuple[_OpenedScope, ...] = ()


def _decoded_scopes(opened: dict[str, Any]) -> tuple[_OpenedScope, ...]:
    try:
        return msgspec.convert(opened, _Opened).scopes
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"a stream.open frame holds something else: {error}") from error


def _decoded(frame: Frame, type: type[FrameT]) -> FrameT:
    try:
        return msgspec.json.decode(frame.data, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(f"a {frame.event} frame holds something else: {error}") from error


def _object(frame: Frame) -> dict[str, Any]:
    try:
        return msgspec.json.decode(frame.data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(f"a {frame.event} frame is not an object: {error}") from error


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    return value if isinstance(value, str) and value else None
