"""Where a request stands in a trace: the `traceparent` of W3C Trace Context, which is stored with the run it asks for.

Above: HTTP and clients carry it, the mailbox stores it, telemetry links the spans of a run to it. Below: nothing.
Holds: what is no `traceparent` is left out and refuses nothing. Its length is that of version 00, whatever came.

Source: docs/howto/observe.md; https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

TRACEPARENT_CHARS: Final = 55
_FORM: Final = re.compile(r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")
_TRACE_ID: Final = slice(3, 35)


def read_traceparent(text: str | None) -> str | None:
    """The header as version 00 has it; None for what is none. Of a later version the part that this one knows."""
    found = None if text is None else _FORM.fullmatch(text.strip())
    if found is None or (found[1] == "00" and found[3] is not None):
        return None
    return f"00-{found[2]}"


def nearest_traceparent(sent: str | None) -> str | None:
    """That of the span in which this is called, unless it belongs to another trace than the one that was sent: a server
    may have been started inside some span, which is none of its callers' affair.
    """
    current = current_traceparent()
    if sent is None or current is None:
        return sent or current
    return current if current[_TRACE_ID] == sent[_TRACE_ID] else sent


def current_traceparent() -> str | None:
    """That of the span in which this is called; None where this process traces nothing.

    OpenTelemetry is not imported for it: a process that traces has done so.
    """
    get_span: Any = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if get_span is None:
        return None
    place = get_span().get_span_context()
    if not place.is_valid:
        return None
    return traceparent(place.trace_id, place.span_id, place.trace_flags)


def traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """Of a span of this process."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
