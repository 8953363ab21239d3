"""A thread as it is read: its row, and what is derived from its runs and its queue.

Above: every store, after it has looked up the rows named here. Below: `domain.thread`.

Source: ADR 0007.
"""

from __future__ import annotations

from awaken.domain.run import Run
from awaken.domain.thread import Thread, derive_status
from awaken.store.rules.facts import ThreadRow


def derive_thread(
    row: ThreadRow,
    *,
    active: Run | None,
    head: Run | None,
    waits: Run | None,
    latest: Run | None,
    open_tickets: int,
) -> Thread:
    """`active`: the run of the claimed dispatch; `head`: of the first queued one; `waits`: the run that suspended last;
    `latest`: the newest one.
    """
    open_run = active or head or waits
    return Thread(
        thread_id=row.thread_id,
        info=row.info,
        epoch=row.epoch,
        message_count=row.message_seq,
        event_count=row.event_seq,
        queued_count=row.queued,
        open_ticket_count=open_tickets,
        pending_count=row.pending,
        info_version=row.info_version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        active_run_id=None if active is None else active.run_id,
        open_run_id=None if open_run is None else open_run.run_id,
        latest_run_id=None if latest is None else latest.run_id,
        status=derive_status(
            active_run_id=None if active is None else active.run_id,
            queued_count=row.queued,
            open_run=open_run,
            latest=latest,
        ),
    )
