"""What may be said about a thread, and how its status follows from its rows."""

from __future__ import annotations

import pytest

from awaken.domain.errors import ValidationError
from awaken.domain.ids import RunId, ThreadId
from awaken.domain.run import Run, RunStatus, Termination, Waiting
from awaken.domain.thread import ThreadInfo, derive_status
from awaken.testing.behaviour import behaviour
from tests.domain.test_run import made


@behaviour("TR-004")
@pytest.mark.parametrize(
    ("thread_id", "info"),
    [
        ("", ThreadInfo()),
        (" ", ThreadInfo()),
        ("t", ThreadInfo(parent_thread_id=ThreadId("t"))),
        ("t", ThreadInfo(parent_thread_id=ThreadId(" "))),
        ("t", ThreadInfo(resource_id="")),
    ],
)
def test_a_thread_has_an_id_and_is_not_its_own_parent(thread_id: str, info: ThreadInfo) -> None:
    with pytest.raises(ValidationError):
        info.check(ThreadId(thread_id))


def test_a_sound_thread_passes() -> None:
    ThreadInfo("title", {"a": 1}, "resource", ThreadId("parent")).check(ThreadId("t"))
    ThreadInfo().check(ThreadId("t"))


@behaviour("TR-029", "TR-030", "TR-031", "TR-032")
def test_one_word_says_what_a_thread_is_doing() -> None:
    created, waiting = made(), made(status=RunStatus.WAITING, waiting=Waiting("user_input"))
    failed = made(status=RunStatus.DONE, finished_at=1, termination=Termination("error", detail="no"))

    def status(
        active: RunId | None = None, queued: int = 0, opened: Run | None = None, latest: Run | None = None
    ) -> str:
        return derive_status(active_run_id=active, queued_count=queued, open_run=opened, latest=latest)

    assert status() == "idle"
    assert status(RunId("r1"), 3, created, created) == "busy"
    assert status(None, 1, created, created) == "queued"
    assert status(None, 0, waiting, waiting) == "waiting"
    assert status(None, 1, waiting, waiting) == "queued"
    assert status(None, 0, None, failed) == "error"
    assert status(None, 1, created, failed) == "queued"
