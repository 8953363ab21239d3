"""Every metric this package exports, with its labels, in one place.

Above: `prometheus.py` fills them; dashboards and alerts are written against them, so a name here is a promise.
Holds: no label ever names a thread, a run or a dispatch: each has few values, however much passes through.

Operations that are one transaction here (loading, start and result records) have no count of their own; an operation
takes as long as the batch it shares. Signals do not exist.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

_BOUNDS_MS: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 3.6e6)
SECONDS: Final = tuple(bound_ms / 1000 for bound_ms in _BOUNDS_MS)
"""Upper bounds of every histogram of durations: a submit-to-start of a millisecond and a run of an hour both show."""


class Metric(msgspec.Struct, frozen=True):
    """A family of time series. Counters end in `_total`, durations in `_seconds`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


# --- the mailbox ------------------------------------------------------------------------------------------------------

OPERATIONS: Final = Metric(
    "awaken_mailbox_operations_total",
    "counter",
    "What was asked of the queue and how it went; single dispatches where an operation moves several.",
    ("operation", "result"),
)
OPERATION_DURATION: Final = Metric(
    "awaken_mailbox_operation_duration_seconds",
    "histogram",
    "From when the batch of an operation left for the store until it was committed and its answer was back.",
    ("operation", "result"),
)
QUEUE_DEPTH: Final = Metric("awaken_mailbox_queue_depth", "gauge", "Dispatches waiting to be claimed.")
UNSERVED_ROUTES: Final = Metric(
    "awaken_mailbox_unserved_routes",
    "gauge",
    "Agents for which runs wait and which cannot run in this process, as of its last sweep.",
)
DISPATCH_DEPTH: Final = Metric(
    "awaken_mailbox_dispatch_depth",
    "gauge",
    "Dispatches in the database, finished ones until they are purged; 10000 means that many or more.",
    ("status",),
)
ENQUEUE_TO_START: Final = Metric(
    "awaken_mailbox_dispatch_enqueue_to_start_seconds", "histogram", "From acceptance to the start of an execution."
)
ELIGIBLE_TO_START: Final = Metric(
    "awaken_mailbox_dispatch_eligible_to_start_seconds",
    "histogram",
    "From the instant a dispatch was due (after a delay or a back-off) to the start of its execution.",
)
CLAIM_TO_START: Final = Metric(
    "awaken_mailbox_dispatch_claim_to_start_seconds", "histogram", "From the claim to the start of the execution."
)
ENQUEUE_TO_COMPLETE: Final = Metric(
    "awaken_mailbox_dispatch_enqueue_to_complete_seconds",
    "histogram",
    "From acceptance to the end of an execution.",
    ("outcome",),
)
RUNTIME: Final = Metric(
    "awaken_mailbox_dispatch_runtime_seconds", "histogram", "How long a worker held a dispatch.", ("outcome",)
)
ACTIVE_RUNS: Final = Metric("awaken_active_runs", "gauge", "Executions in progress in this process.")
RUNS: Final = Metric(
    "awaken_runs_total",
    "counter",
    "Executions by how they ended; runs that ended without one, and those given up, by that (dead_letter).",
    ("outcome",),
)
RUN_DURATION: Final = Metric("awaken_run_duration_seconds", "histogram", "How long an execution took.", ("outcome",))

# --- HTTP -------------------------------------------------------------------------------------------------------------

HTTP_REQUESTS: Final = Metric(
    "awaken_http_requests_total",
    "counter",
    "Answered requests; `route` is the pattern, or `unmatched`.",
    ("method", "route", "status"),
)
HTTP_DURATION: Final = Metric(
    "awaken_http_request_duration_seconds",
    "histogram",
    "From a request's first byte to the last byte of its answer.",
    ("method", "route", "status"),
)
HTTP_IN_FLIGHT: Final = Metric("awaken_http_requests_in_flight", "gauge", "Requests being answered, streams included.")
SSE_CONNECTIONS: Final = Metric("awaken_sse_connections", "gauge", "Open event streams.", ("scope",))
SSE_FRAMES: Final = Metric("awaken_sse_frames_total", "counter", "Frames sent to event streams.")
SSE_CATCHUPS: Final = Metric(
    "awaken_sse_catchups_total", "counter", "Times a reader fell behind its buffer and went back to reading the log."
)
SSE_STALLED: Final = Metric(
    "awaken_sse_stalled_total", "counter", "Streams closed because their client took nothing for too long."
)
