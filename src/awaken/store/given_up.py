"""Tell operators which runs the queue has given up, whoever decides it.

Above: the mailbox, for what its settlements, claims and sweeps decide; stores, for what they decide while they open.
Below: the log.
Holds: each dead letter is an error in the log, once.

Source: docs/concepts/executors.md (who gets to read what).
"""

from __future__ import annotations

import logging

from awaken.domain.dispatch import Dispatch, DispatchStatus

_log = logging.getLogger("awaken.mailbox")


def report_given_up(dispatch: Dispatch) -> None:
    """Log that nobody will try the run of this dispatch again, if that is so. To be called when it has just been moved,
    after the commit.
    """
    if dispatch.status is DispatchStatus.DEAD_LETTER:
        _log.error("run %s of agent %s is given up: %s", dispatch.run_id, dispatch.route, dispatch.last_error)
