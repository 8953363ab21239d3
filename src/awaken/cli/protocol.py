"""uvicorn's HTTP/1.1 protocol with a bound on what it keeps of a request whose head does not end.

Above: `server.py`. Below: httptools, which itself would collect for ever; the application, which refuses a head that
is complete and too large, never sees one that is incomplete.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 96 * 1024
"""More than the application's own limits on address and header block together."""
_DETAIL: Final = f"the head of the request is larger than {MAX_HEAD_BYTES} bytes"
_PROBLEM: Final = msgspec.json.encode(
    {
        "type": "urn:awaken:problem:headers_too_large",
        "title": "Headers too large",
        "status": 431,
        "detail": _DETAIL,
        "code": "headers_too_large",
        "message": _DETAIL,
        "retryable": False,
        "limit_bytes": MAX_HEAD_BYTES,
    }
)
_REFUSAL: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_PROBLEM), _PROBLEM)
)


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request head exceeds `MAX_HEAD_BYTES` without having ended."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = False
        self._head_bytes = 0

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_REFUSAL)
                self.transport.close()
