"""What the mailbox reports to whoever counts: batches as they are applied, executions as they start and end.

Above: telemetry implements it. Holds: called on the event loop, on the hot path; it must neither wait nor raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from awaken.store.transitions import Claimed, Outcome, Transition

OutcomeLabel = Literal["completed", "transient_error", "permanent_error", "cancelled", "suspended", "released", "lost"]
"""How an execution ended, as metrics name it (MBX-016). The first three are the classes of an executor's failures."""


class Observer(Protocol):
    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        """A batch came back from the store, which took `took_s` seconds for it, the commit included.

        An outcome that is `Failed` is also reported with `failed`.
        """
        ...

    def failed(self, transition: Transition) -> None: ...

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        """An execution begins, so many seconds after its claim was asked for."""
        ...

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None: ...

    def unserved(self, routes: int) -> None:
        """For so many routes something is queued that nobody here can run, as a sweep has found."""
        ...


class Unobserved:
    """Counts nothing."""

    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        return None

    def failed(self, transition: Transition) -> None:
        return None

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        return None

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        return None

    def unserved(self, routes: int) -> None:
        return None
