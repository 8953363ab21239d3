"""Stopping many runs at once.

Above: HTTP and `Awaken`. Below: `Mailbox.cancel`, once for each run.
Holds: a run that cannot be stopped costs the others nothing; what became of each is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from awaken.domain.checking import checked_choice, listed
from awaken.domain.errors import RunNotFound, RunNotOpen, ValidationError
from awaken.domain.ids import RunId, Scope, ThreadId, checked_id
from awaken.domain.run import RunStatus
from awaken.domain.shown import CancelledStatus
from awaken.mailbox.service import Mailbox
from awaken.store.contract import MAX_PAGE, RunQuery

MAX_CANCELLED: Final = 1_000
"""Runs that are stopped at once."""
_STATUSES: Final[dict[str, tuple[RunStatus, ...]]] = {
    "queued": (RunStatus.CREATED,),
    "running": (RunStatus.RUNNING, RunStatus.WAITING),
    "all": (RunStatus.CREATED, RunStatus.RUNNING, RunStatus.WAITING),
}


class CancelledRun(msgspec.Struct, frozen=True):
    """What became of one: `requested`, `acknowledged`, `stopped`; `ended` for one that had ended otherwise before, and
    `not_found`.
    """

    run_id: RunId
    state: str


async def cancel_many(
    mailbox: Mailbox,
    scope: Scope,
    *,
    run_ids: Sequence[str] | None = None,
    thread_id: str | None = None,
    status: CancelledStatus | None = None,
) -> list[CancelledRun]:
    """Stop the runs that are named; or those of a thread, of a status (of every thread), or both, at most 1 000,
    oldest first. A run that waits is `running`.

    Raises:
        ValidationError: Nothing says which runs, or too much does.
    """
    if (run_ids is None) == (thread_id is None and status is None):
        raise ValidationError(
            "say which runs: run_ids, or thread_id, status or both; status alone is that of every thread",
            loc=("body", "run_ids"),
        )
    if run_ids is None:
        found = await _open_runs(mailbox, scope, thread_id, status or "all")
    else:
        found = [
            RunId(checked_id(run_id, what="run_id", loc=("body", "run_ids", index)))
            for index, run_id in enumerate(listed(run_ids, "run_ids"))
        ]
    if len(found) > MAX_CANCELLED:
        raise ValidationError(f"at most {MAX_CANCELLED} runs are stopped at once", loc=("body", "run_ids"))
    return [await _cancelled(mailbox, scope, run_id) for run_id in dict.fromkeys(found)]


async def _open_runs(mailbox: Mailbox, scope: Scope, thread_id: str | None, status: str) -> list[RunId]:
    wanted = _STATUSES[checked_choice(status, _STATUSES, what="status")]
    thread = None if thread_id is None else ThreadId(checked_id(thread_id, what="thread_id"))
    if thread is not None:
        await mailbox.get_thread(scope, thread)
    found: list[RunId] = []
    for each in wanted:
        query = RunQuery(thread_id=thread, status=each, limit=MAX_PAGE)
        while len(found) < MAX_CANCELLED:
            page = await mailbox.store.list_runs(scope, query)
            found += [run.run_id for run in page.items]
            if page.next is None:
                break
            query = msgspec.structs.replace(query, after=page.next)
    return found[:MAX_CANCELLED]


async def _cancelled(mailbox: Mailbox, scope: Scope, run_id: RunId) -> CancelledRun:
    try:
        return CancelledRun(run_id, (await mailbox.cancel(scope, run_id)).state)
    except RunNotOpen:
        return CancelledRun(run_id, "ended")
    except RunNotFound:
        return CancelledRun(run_id, "not_found")
