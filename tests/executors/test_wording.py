"""What those who did not write the agent get to know about an error."""

from __future__ import annotations

import pytest

from awaken.domain.errors import PermanentFailure, ValidationError
from awaken.executors.wording import MAX_MEMBERS, described


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Refused(Exception):
    status_code = 401


@pytest.mark.parametrize(
    ("error", "hidden", "exposed"),
    [
        (RuntimeError("password=hunter2"), "RuntimeError", "RuntimeError: password=hunter2"),
        (TimeoutError(), "TimeoutError", "TimeoutError"),
        (Unprintable(), "Unprintable", "Unprintable"),
        (SystemExit(2), "SystemExit", "SystemExit: 2"),
        (Refused("key sk-1"), "Refused (status 401)", "Refused: key sk-1"),
        (PermanentFailure("no such order"), "PermanentFailure: no such order", "PermanentFailure: no such order"),
        (ValidationError("wrong"), "ValidationError: wrong", "ValidationError: wrong"),
        (
            ExceptionGroup("all", [KeyError("a"), ExceptionGroup("more", [PermanentFailure("b")])]),
            "ExceptionGroup (KeyError; ExceptionGroup (PermanentFailure: b))",
            "ExceptionGroup (KeyError: 'a'; ExceptionGroup (PermanentFailure: b))",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_class_is_named_and_the_text_only_where_it_is_meant_for_them(
    error: BaseException, hidden: str, exposed: str
) -> None:
    assert described(error) == hidden
    assert described(error, exposed=True) == exposed


def test_of_a_large_group_some_members_are_named() -> None:
    group = ExceptionGroup("all", [OSError() for _ in range(MAX_MEMBERS + 5)])
    assert described(group).endswith("OSError; 5 more)")
