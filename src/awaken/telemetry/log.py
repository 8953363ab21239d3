"""How our commands write their logs: lines for people on a terminal, JSON lines anywhere else.

Above: `awaken serve` calls `configure_logging` once; nothing else does, so that importing this package changes no
program's logging. Below: the standard `logging` module, under whose name `awaken` every layer logs, and structlog for
the rendering.
Holds: one record is one line of JSON, with `timestamp`, `level`, `logger`, `event`, and `exception` where there is one.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from awaken.domain.clock import to_rfc3339
from awaken.telemetry.styling import is_styled

LogFormat = Literal["auto", "console", "json"]
"""`auto`: console on a terminal, json otherwise."""
LogLevel = Literal["debug", "info", "warning", "error"]

_QUIET: Final = ("asyncio", "httpcore", "httpx", "uvicorn.access")
"""Loggers of libraries whose ordinary lines repeat ours."""


def configure_logging(log_format: LogFormat = "auto", level: LogLevel = "info", stream: TextIO | None = None) -> None:
    """Send every log record of this process to `stream` (the standard error). A second call replaces the first."""
    out: TextIO = sys.stderr if stream is None else stream
    as_json = log_format == "json" or (log_format == "auto" and not out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                _timestamp,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(as_json, colors=is_styled(out)),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _rendering(as_json: bool, *, colors: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0)
    ]


def _timestamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """When the record was made, not when it was written."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["timestamp"] = to_rfc3339(round(record.created * 1000))
    return event
