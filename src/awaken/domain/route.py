"""Routes: who can run a run. The name of an agent, or, of an agent with versions, `name@version`.

Above: whoever names an agent, and the rules, which queue by route. Below: ids.
Holds: neither a name nor a version contains the mark between them, so every route is read in one way.

Source: ADR 0023, ADR 0043.
"""

from __future__ import annotations

import re
from typing import Final

from awaken.domain.checking import shown
from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId, Route, checked_id

VERSION_MARK: Final = "@"
MAX_VERSION_CHARS: Final = 64
_VERSION: Final = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_VERSION_CHARS}}}", re.ASCII)
_NUMBERED: Final = re.compile(r"v?\d+(?:[._:-]\d+)*", re.ASCII | re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d+", re.ASCII)


def route_of(agent_id: AgentId, version: str | None) -> Route:
    """Who can run the runs of that version; None: of the agent that has none."""
    return Route(agent_id if version is None else f"{agent_id}{VERSION_MARK}{version}")


def split_route(route: str) -> tuple[AgentId, str | None]:
    """The agent's name, and the version where one is named."""
    name, mark, version = route.partition(VERSION_MARK)
    return AgentId(name), version if mark else None


def checked_version(version: object, agent_id: AgentId) -> str:
    """The version itself, where an agent of that name may have it.

    Raises:
        ValidationError: with code `invalid_id`.
    """
    if not isinstance(version, str) or _VERSION.fullmatch(version) is None:
        raise ValidationError(
            f"version {shown(version)} of agent {agent_id!r} is not valid; use 1 to {MAX_VERSION_CHARS} characters of"
            " A-Z a-z 0-9 . _ : -",
            code="invalid_id",
        )
    checked_id(route_of(agent_id, version), what="the agent's name with its version,")
    return version


def is_ahead(version: str | None, of: str | None) -> bool:
    """Whether a version is newer than another by what they are called: both are numbers, such as `3`, `v1.10` or
    `2026-05-01`, and this is the larger one. Of other versions nobody can tell.
    """
    if version is None or of is None or not (_NUMBERED.fullmatch(version) and _NUMBERED.fullmatch(of)):
        return False
    return _numbers(version) > _numbers(of)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(version)]
