"""The processes that work on a store which one process owns: those who share the store object.

Above: the stores of one process keep one of these. Below: the records.
Holds: as the contract says; the records end with the process, as what they are about does.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.clock import Clock
from awaken.domain.ids import ConsumerId
from awaken.domain.worker import FORGOTTEN_MS, WorkerRecord


class Register:
    """By consumer id, in the order in which they came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._workers: dict[ConsumerId, WorkerRecord] = {}

    def beat(self, worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
        self._workers[worker.consumer_id] = replace(worker, seen_at=self._clock.now())
        return self.everybody()

    def leave(self, consumer_id: ConsumerId) -> None:
        self._workers.pop(consumer_id, None)

    def everybody(self) -> tuple[WorkerRecord, ...]:
        oldest = self._clock.now() - FORGOTTEN_MS
        self._workers = {name: each for name, each in self._workers.items() if each.seen_at >= oldest}
        return tuple(self._workers.values())
