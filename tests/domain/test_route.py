"""What names who can run a run."""

from __future__ import annotations

import pytest

from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId
from awaken.domain.route import checked_version, is_ahead, route_of, split_route
from awaken.testing.behaviour import behaviour

AGENT = AgentId("support")


@pytest.mark.parametrize("version", [None, "1", "v1.2-rc:3", "2026-05-01"])
def test_a_route_is_read_as_it_was_made(version: str | None) -> None:
    assert split_route(route_of(AGENT, version)) == (AGENT, version)


@behaviour("RT-011", "MBX-043", "MBX-044")
@pytest.mark.parametrize("version", ["", " ", "1@2", "1!", "é", "1 ", "1/2", "x" * 65, 1, True])
def test_what_is_no_version_is_refused(version: object) -> None:
    with pytest.raises(ValidationError) as refused:
        checked_version(version, AGENT)
    assert refused.value.code == "invalid_id"


def test_a_name_with_its_version_is_an_id() -> None:
    name = AgentId("a" * 120)
    assert checked_version("1234567", name) == "1234567"
    with pytest.raises(ValidationError, match="not a valid id"):
        checked_version("12345678", name)


@behaviour("RT-014")
@pytest.mark.parametrize(
    ("version", "of", "ahead"),
    [
        ("2", "1", True),
        ("1", "2", False),
        ("1", "1", False),
        ("10", "9", True),
        ("1.10", "1.9", True),
        ("v2", "1", True),
        ("1.0.1", "1.0", True),
        ("2026-05-02", "2026-05-01", True),
        ("c0ffee", "1", False),
        ("2", "beta", False),
        (None, "1", False),
        ("2", None, False),
    ],
)
def test_a_version_is_ahead_where_both_are_numbers_and_it_is_the_larger(
    version: str | None, of: str | None, ahead: bool
) -> None:
    assert is_ahead(version, of) is ahead
