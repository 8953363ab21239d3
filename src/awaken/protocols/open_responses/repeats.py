"""A request that is sent again: under the same `Idempotency-Key` it finds the turn that the first one began.

Above: `routes`. Below: the gateway.
Holds: nothing is kept beside the log: what a key makes has ids that are derived from it, and the turn it begins carries
a name that is. So a repetition finds it on any server, after any crash, and of several at once one is accepted. Without
a key a client, which repeats by itself what it takes for passing, is told not to where the first request may have begun
something.

Source: docs/howto/use-openai-clients.md; OR-010, OR-012.
"""

from __future__ import annotations

import hashlib
from functools import wraps
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.errors import StoreUnavailable, Unavailable, ValidationError
from awaken.domain.ids import RunId, derived_id
from awaken.http.operation import Call, Handler
from awaken.http.problems import Problem, problem_of
from awaken.protocols.gateway import Gateway
from awaken.protocols.open_responses.wire import SHOULD_RETRY, ChatBody, ResponseBody
from awaken.protocols.turn_index import Turn

MAX_KEY_CHARS: Final = 255
_REFUSED: Final = frozenset({"queue_full", "thread_busy"})
"""Codes of what is worth trying again, and has begun nothing."""
_HEADER: Final = b"idempotency-key"
_LOC: Final = ("header", "idempotency-key")


def once(handler: Handler) -> Handler:
    """The same, for a route that begins a turn. What was accepted goes on, whatever becomes of its answer: sent again
    without a key, the request would begin another turn.
    """

    @wraps(handler)
    async def asked(call: Call) -> Response:
        try:
            return await handler(call)
        except (Problem, Unavailable, StoreUnavailable) as error:
            problem = problem_of(error)
            if problem.code not in _REFUSED and not call.header(_HEADER):
                problem.headers[SHOULD_RETRY] = "false"
            raise problem from error

    return asked


class Key(NamedTuple):
    """What is derived from the key of a request."""

    id: str
    """Of the run that the request would begin, and of the thread, where it names none or begins a branch."""
    name: str
    """Of the turn that it begins. It says what was asked for, too."""

    @property
    def prefix(self) -> str:
        return f"{self.id}:"


def key_of(call: Call, asked: ResponseBody | ChatBody) -> Key | None:
    """None where the request has no key. Whether it streams is no part of what it asks for.

    Raises:
        ValidationError: The key is too long, or not printable.
    """
    given = (call.header(_HEADER) or "").strip()
    if not given:
        return None
    if len(given) > MAX_KEY_CHARS or not given.isprintable():
        raise ValidationError(f"an Idempotency-Key has at most {MAX_KEY_CHARS} printable characters", loc=_LOC)
    id = derived_id("idempotency-key", call.scope, type(asked).__name__, given)
    said = msgspec.json.encode(replace(asked, stream=None), order="deterministic")
    return Key(id, f"{id}:{hashlib.sha256(said).hexdigest()[:32]}")


async def repeated(call: Call, gateway: Gateway, key: Key, thread_id: str) -> Turn | None:
    """The turn that a request with this key has begun: the first one of a run of its own, or one of a run on this
    thread that it has answered.

    Raises:
        ValidationError: It has asked for something else.
        Problem: `not_found`, its response was deleted.
    """
    run = await call.reads.load_run(call.scope, RunId(key.id))
    if run is not None:
        turn: Turn | None = (await gateway.turns_of(run))[0]
    elif await gateway.load_thread(thread_id) is None:
        return None
    else:
        turn = await gateway.turn_where(thread_id, lambda name: name.startswith(key.prefix))
    if turn is not None and turn.run.hidden:
        raise Problem("not_found", "the response that this Idempotency-Key has made was deleted")
    if turn is not None and turn.wire_run_id != key.name:
        raise ValidationError("this Idempotency-Key was sent before, with another request", loc=_LOC)
    return turn
