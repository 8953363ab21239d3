"""Which protocols there are, and the operations of those that are served.

Above: `wiring`, which hands the operations to the application. Below: `protocols/<name>/routes.py`, imported when its
protocol is served, and not before.

Source: docs/concepts/protocols.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from awaken.domain.errors import ValidationError
from awaken.http.operation import Operation

PROTOCOLS: tuple[str, ...] = ("ag_ui", "ai_sdk", "langgraph", "open_responses")
"""By the names of their folders. The `routes` of each has `OPERATIONS`."""


def chosen_of(names: Iterable[str] | None) -> tuple[str, ...]:
    """These protocols, each once; None: all there are.

    Raises:
        ValidationError: There is none of that name.
    """
    chosen = PROTOCOLS if names is None else tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in PROTOCOLS:
            known = ", ".join(PROTOCOLS) or "none in this version"
            raise ValidationError(f"there is no protocol {name!a:.80}; there are: {known}", loc=("protocols",))
    return chosen


def operations_of(names: Iterable[str] | None) -> tuple[Operation, ...]:
    """Their operations. Raises as `chosen_of`."""
    found: list[Operation] = []
    for name in chosen_of(names):
        found += import_module(f"awaken.protocols.{name}.routes").OPERATIONS
    return tuple(found)
