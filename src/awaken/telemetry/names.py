"""Every metric this package exports, with its labels, in one place.

Above: `prometheus.py` fills them; dashboards and alerts are written against them, so a name here is a promise.
Holds: no label ever names a thread, a run or a dispatch: each has few values, however much passes through.

Operations that are one transaction here (loading, start and result records) have no count of their own; an operation
takes as long as the batch it shares. Signals do not exist.

What a gauge reads from the database is the same in every process that shares it, and says so in its `help`.

Source: docs/howto/observe.md.
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


OF_ALL: Final = "Read from the database, which processes may share: take the max over them, never the sum."
"""Part of the help of every gauge of which that is true."""

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
QUEUE_DEPTH: Final = Metric("awaken_mailbox_queue_depth", "gauge", "Dispatches waiting to be claimed. " + OF_ALL)
UNSERVED_ROUTES: Final = Metric(
    "awaken_mailbox_unserved_routes",
    "gauge",
    "Agents for which runs wait and which cannot run in this process, as of its last sweep. " + OF_ALL,
)
DISPATCH_DEPTH: Final = Metric(
    "awaken_mailbox_dispatch_depth",
    "gauge",
    "Dispatches, finished ones until they are purged; 10000 means that many or more. " + OF_ALL,
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
ERRORS: Final = Metric(
    "awaken_errors_total",
    "counter",
    "What went wrong, by its class: an execution that failed (transient, permanent) or lost its claim (lost), a tool"
    " call that did not succeed (tool), an error that an agent recorded and survived (recorded), a request to the store"
    " that failed (store).",
    ("class",),
)

# --- the audit --------------------------------------------------------------------------------------------------------

AUDIT_MENDED: Final = Metric(
    "awaken_audit_mended_total",
    "counter",
    "Stored rows that contradicted others and were mended, by what they had broken.",
    ("invariant",),
)
AUDIT_REFUSED: Final = Metric(
    "awaken_audit_refused",
    "gauge",
    "Rows that contradict others and could not be mended when they were last looked at; 10000 means that many or more. "
    + OF_ALL,
)

# --- models -----------------------------------------------------------------------------------------------------------

INFERENCES: Final = Metric(
    "awaken_inference_requests_total",
    "counter",
    "Model calls that were answered, as agents report them; `status` is error where the model said so itself.",
    ("model", "provider", "status"),
)
INFERENCE_DURATION: Final = Metric(
    "awaken_inference_duration_seconds", "histogram", "How long a model call took.", ("model", "provider", "status")
)
INFERENCE_TOKENS: Final = Metric(
    "awaken_inference_tokens_total",
    "counter",
    "Tokens by type; those of a provider's cache are part of the input, those of reasoning of the output.",
    ("model", "provider", "type"),
)

# --- people -----------------------------------------------------------------------------------------------------------

DECISIONS: Final = Metric(
    "awaken_decisions_total",
    "counter",
    "Tickets that were decided, or that expired (the action expire). `path`: durable where the run goes on with a"
    " dispatch of its own, live where it is executing or waits for more. Without ends of child runs, and repetitions.",
    ("action", "path"),
)
TICKETS_OPEN: Final = Metric(
    "awaken_tickets_open",
    "gauge",
    "Tickets that wait for a decision; 10000 means that many or more. " + OF_ALL,
    ("kind",),
)
TICKET_AGE: Final = Metric(
    "awaken_ticket_age_seconds", "gauge", "For how long the oldest open ticket has waited. " + OF_ALL, ("kind",)
)

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
STREAMS_OPEN: Final = Metric(
    "awaken_streams_open", "gauge", "Open event streams, by the protocol they are written in.", ("dialect",)
)
STREAM_FRAMES: Final = Metric("awaken_stream_frames_total", "counter", "Frames sent to event streams.", ("dialect",))
STREAM_BYTES: Final = Metric(
    "awaken_stream_bytes_total", "counter", "Bytes of the frames sent to event streams.", ("dialect",)
)
STREAM_CATCHUPS: Final = Metric(
    "awaken_stream_catchups_total",
    "counter",
    "Times a reader fell behind its buffer and went back to reading the log.",
    ("dialect",),
)
STREAM_STALLED: Final = Metric(
    "awaken_stream_stalled_closed_total",
    "counter",
    "Streams closed because their client took nothing for too long.",
    ("dialect",),
)
STREAM_RESUMES: Final = Metric(
    "awaken_stream_resumes_total",
    "counter",
    "Clients that came back: resumed where they were; resync, what they knew is gone; over, they have it all.",
    ("dialect", "result"),
)
DELIVERY_LAG: Final = Metric(
    "awaken_stream_delivery_lag_seconds",
    "histogram",
    "From when an event was stored to when it was written to a stream that was open by then.",
    ("dialect",),
)
AUTH_FAILURES: Final = Metric(
    "awaken_auth_failures_total",
    "counter",
    "Requests turned away: unauthorized and forbidden are the answers of `authorize`, error its own failures.",
    ("reason",),
)
