"""Decide what the text of an error says to those who did not write the agent: its model, and readers of its streams.

Above: `classify` names a failure with it, drivers tell a model with it that a tool failed. Below: nothing.
Holds: the class of an exception is always named, its text only where that is meant for them: the errors of this
package, and everything of an agent registered with `expose_tool_errors=True`. Texts of other exceptions hold what their
library saw fit, which may be a password, a path or somebody's data. The log has all of it.

Source: ADR 0029; `docs/concepts/executors.md` (errors).
"""

from __future__ import annotations

from typing import Final, cast

from awaken.domain.errors import AwakenError
from awaken.executors.containment import Exited

MAX_MEMBERS: Final = 8
"""How many members of a group are named."""


def described(error: BaseException, *, exposed: bool = False) -> str:
    """One line about the exception. `exposed`: its text may be read by everybody."""
    name = type(error).__name__
    if isinstance(error, Exited) and error.__cause__ is not None:
        return described(error.__cause__, exposed=exposed)
    if isinstance(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        named = [described(member, exposed=exposed) for member in members[:MAX_MEMBERS]]
        more = [] if len(members) <= MAX_MEMBERS else [f"{len(members) - MAX_MEMBERS} more"]
        return f"{name} ({'; '.join([*named, *more])})"
    if exposed or isinstance(error, AwakenError):
        text = _text(error)
        return f"{name}: {text}" if text else name
    status = getattr(error, "status_code", None)
    return f"{name} (status {status})" if isinstance(status, int) else name


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception whose own methods fail
        return ""
