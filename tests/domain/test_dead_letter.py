"""By what dead letters are grouped."""

from __future__ import annotations

import pytest

from awaken.domain.dead_letter import error_class
from awaken.domain.dispatch import LEASE_EXPIRED


@pytest.mark.parametrize(
    ("error", "named"),
    [
        ("ValueError: no", "ValueError"),
        ("ValueError", "ValueError"),
        ("ModelHTTPError (status 401)", "ModelHTTPError"),
        ("ExceptionGroup (ValueError; KeyError)", "ExceptionGroup"),
        (LEASE_EXPIRED, "ProcessDied"),
        ("no luck", "other"),
        ("No luck", "other"),
        ("", "other"),
        (None, "other"),
    ],
)
def test_an_error_is_grouped_by_the_class_that_it_names_first(error: str | None, named: str) -> None:
    assert error_class(error) == named
