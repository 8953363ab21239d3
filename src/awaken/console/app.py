"""What the console is served by: one page, and the files that it loads.

Above: `wiring`, which serves these operations besides the others where the console is on. Below: `static/`; there is no
template and no build step, and no data of the store comes this way: the page reads and acts through the public API,
with the key that somebody types into it.
Holds: nothing outside is loaded, no inline script runs and no page frames it (`Content-Security-Policy`); only files
that were there when they were first listed are served, each with a tag. Links begin with the path at which the
application is found.

Source: docs/howto/look-at-it-in-the-console.md; docs/adr/0045-the-console.md.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from starlette.responses import Response

from awaken.http.operation import Call, Handler, Operation
from awaken.http.problems import Problem

STATIC: Final = Path(__file__).parent / "static"
POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_PAGE: Final = "index.html"
_PLACE: Final = b"{console}"
"""Stands in the page for the path of the console."""


async def show_console(call: Call) -> Response:
    page = (STATIC / _PAGE).read_bytes().replace(_PLACE, call.link("console").encode())
    return Response(page, headers=HEADERS, media_type="text/html")


async def open_console(call: Call) -> Response:
    return Response(status_code=307, headers={"Location": call.link("console"), "Cache-Control": "no-store"})


async def console_file(call: Call) -> Response:
    return _sent(call, call.ids["file"])


async def console_module(call: Call) -> Response:
    return _sent(call, f"vendor/{call.ids['module']}")


def _sent(call: Call, name: str) -> Response:
    """A file, or 304 where the browser has it already. Raises Problem `not_found`."""
    found = _files().get(name)
    if found is None:
        raise Problem("not_found", "the console has no such file", facts={"id": name[:200]})
    is_zipped = "gzip" in (call.header(b"accept-encoding") or "")
    tag = f'"{found.digest}{"-gzip" if is_zipped else ""}"'
    headers = {**HEADERS, "ETag": tag, "Vary": "Accept-Encoding"}
    if tag in (call.header(b"if-none-match") or ""):
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = found.media_type
    if is_zipped:
        headers["Content-Encoding"] = "gzip"
    return Response(found.zipped if is_zipped else found.content, headers=headers)


class _File(msgspec.Struct, frozen=True):
    content: bytes
    zipped: bytes
    media_type: str
    digest: str


@cache
def _files() -> dict[str, _File]:
    """Every file by its name."""
    files: dict[str, _File] = {}
    for path in STATIC.rglob("*"):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            name = path.relative_to(STATIC).as_posix()
            files[name] = _File(content, gzip.compress(content, mtime=0), _TYPES[path.suffix], digest)
    return files


def _get(
    path: str, id: str, summary: str, handler: Handler, answers: dict[int, str | None], *problems: str
) -> Operation:
    return Operation(
        method="GET",
        path=path,
        id=id,
        summary=summary,
        handler=handler,
        answers=answers,
        problems=problems,
        always_answers=True,
    )


_ANSWERS: Final[dict[int, str | None]] = {200: "*/*", 304: None}

CONSOLE_OPERATIONS: Final = (
    _get("/", "open_console", "To the console", open_console, {307: None}),
    _get("/console", "console", "The console, a page for browsers", show_console, {200: "text/html"}),
    _get("/console/{file}", "console_file", "A file of it", console_file, _ANSWERS, "not_found"),
    _get("/console/vendor/{module}", "console_module", "A module of it", console_module, _ANSWERS, "not_found"),
)
"""Answered before the mailbox is ready, and while it stops: the page says so."""
