"""JSON schemas of agents: what their input has to be, and what their output is.

Above: `registry`, when an agent is added, when something is submitted to it, and when it has ended. Below:
`jsonschema_rs`, imported when the first schema is given.
Holds: a schema that is none is refused when the agent is added, and nothing is ever fetched for one.

Source: ADR 0032.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from awaken.domain.errors import ValidationError
from awaken.domain.explaining import shown

Schema = Mapping[str, Any] | type
"""A JSON schema, or a Pydantic model that has one."""
Direction = Literal["validation", "serialization"]
"""Of a Pydantic model: what it takes, or what it becomes."""
_MAX_SHOWN = 3
"""Faults of one value that an error names."""


def schema_of(given: Schema | None, direction: Direction, what: str) -> dict[str, Any] | None:
    """The schema itself. Raises ValidationError for what is none."""
    if given is None:
        return None
    make = getattr(given, "model_json_schema", None)
    found = make(mode=direction) if make is not None else given
    if not isinstance(found, Mapping):
        raise ValidationError(f"{what} is a JSON schema (a mapping), or a Pydantic model, and not {shown(given)}")
    schema: dict[str, Any] = {**found}
    SchemaCheck(schema, what)
    return schema


class SchemaCheck:
    """Holds values to one schema."""

    def __init__(self, schema: dict[str, Any], what: str) -> None:
        """Raises ValidationError when it is no schema."""
        import jsonschema_rs

        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise ValidationError(f"{what} is not a JSON schema: {error}") from error

    def faults(self, value: Any) -> str:
        """The first faults and where they are; empty for a value that fits."""
        faults = [_fault(error) for error in self._validator.iter_errors(value)]
        more = f"; and {len(faults) - _MAX_SHOWN} more" if len(faults) > _MAX_SHOWN else ""
        return "; ".join(faults[:_MAX_SHOWN]) + more

    def place_of_fault(self, value: Any) -> tuple[str | int, ...]:
        """Where the first fault is: names and positions, from the outside in; empty where it is the value itself."""
        return next((tuple(error.instance_path) for error in self._validator.iter_errors(value)), ())


def _fault(error: Any) -> str:
    place = "/".join(map(str, error.instance_path))
    return f"{place}: {error.message}" if place else str(error.message)


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"{uri} is elsewhere; put what it holds into the schema")
