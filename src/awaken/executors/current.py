"""The run that the code around is executed for: `current_run()`.

Above: tools, dependencies and whatever else an agent calls ask. Below: a context variable that drivers set around each
execution, so that tasks an agent starts see it too.

Source: `docs/howto/use-pydantic-ai.md`.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from awaken.executors.function import Context

_CURRENT: Final[ContextVar[Context | None]] = ContextVar("awaken_current_run", default=None)


def current_run() -> Context:
    """What an agent function is given as `ctx`, wherever a run is executed: its request, metadata, state and steps.

    Raises:
        LookupError: No run is executed here.
    """
    context = _CURRENT.get()
    if context is None:
        raise LookupError("current_run() is only known where a run is executed: inside an agent, its tools and deps")
    return context


class executing:
    """Make it the current run for what is called inside: `with executing(context):`."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._context)

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):  # thrown away with its event loop, outside the context it had
            _CURRENT.reset(self._token)
