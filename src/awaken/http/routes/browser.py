"""The client for browsers, as a file.

Holds: it is that of this version; a browser that has it asks whether it still is, and is answered without it (304).

Source: docs/howto/in-a-browser.md.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from starlette.responses import Response

from awaken.http.operation import Call, Operation

JAVASCRIPT: Final = "text/javascript"
_FILE: Final = Path(__file__).parents[1] / "static" / "awaken.js"


async def awaken_js(call: Call) -> Response:
    content, etag = _module()
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in (call.header(b"if-none-match") or ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "Content-Type": f"{JAVASCRIPT}; charset=utf-8"})


@cache
def _module() -> tuple[bytes, str]:
    """The file and its tag. Read once, when it is first asked for."""
    content = _FILE.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'


BROWSER_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/awaken.js",
        id="awaken_js",
        summary="The client for browsers, a JavaScript module",
        handler=awaken_js,
        answers={200: JAVASCRIPT, 304: None},
        always_answers=True,
    ),
)
