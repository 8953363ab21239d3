"""Spans of OpenTelemetry, and how a run is linked to the trace of whoever asked for it."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "traces",
    built("OT-001", sentence="A submit, the wait, the execution and its settlement are spans of one trace."),
    built("OT-002", sentence="Steps, model calls and tool calls are spans inside the execution, named by convention."),
    built("OT-003", sentence="No text that anybody wrote is in a span."),
    built("OT-004", sentence="Every execution is a span with how it ended; what failed is an error."),
    built(
        "OT-005",
        sentence="A run is linked from the span of whoever asks: in a program, by a client, by the header traceparent.",
        note="tracestate is not kept.",
    ),
    built(
        "OT-006",
        sentence="The link is stored with the run, and holds after a restart and in another process.",
        note="In the run's request, with everything else that is known of where it came from.",
    ),
    built("OT-007", sentence="A child, and a run that a run sends a message to, is linked from the run that asks."),
    built("OT-008", sentence="The same request in another trace is the same request."),
    built("OT-009", sentence="Without a tracer in the process nothing is traced, nor OpenTelemetry imported."),
)
