"""What a request must satisfy before anything looks at what it asks for.

Above: `app` runs these checks in order, cheapest first. Below: the raw ASGI scope.
Holds: nothing here allocates in proportion to what a client sent beyond the limits it enforces.

Source: docs/reference/errors.md; SRV-007.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from awaken.http.problems import Problem
from awaken.http.settings import HttpSettings

Headers = Mapping[bytes, bytes]

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_HEADER_OVERHEAD_BYTES: Final = 4
_JSON_TYPE: Final = re.compile(rb"\s*application/json\s*(;\s*charset\s*=\s*\"?utf-8\"?\s*)?;?\s*", re.IGNORECASE)


def request_id_of(headers: Headers) -> str | None:
    """The caller's own request id, when it is fit to be repeated."""
    named = headers.get(b"x-request-id")
    return named.decode("ascii") if named is not None and _REQUEST_ID.fullmatch(named) else None


def check_size(scope: Mapping[str, Any], settings: HttpSettings) -> None:
    """Raises Problem `uri_too_long` or `headers_too_large`."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(path) + len(scope["query_string"]) + 1 > settings.max_uri_bytes:
        raise _too_large("uri_too_long", "the address", settings.max_uri_bytes)
    size = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value) + _HEADER_OVERHEAD_BYTES
    if size > settings.max_header_bytes:
        raise _too_large("headers_too_large", "the header block", settings.max_header_bytes)


def check_accept(headers: Headers, media_type: str) -> None:
    """Raises Problem `not_acceptable` when `Accept` leaves the media type out."""
    accept = headers.get(b"accept")
    if accept is None or (b"*/*" in accept and b"q=0" not in accept):
        return
    main = media_type.partition("/")[0]
    for part in accept.decode("latin-1").lower().split(","):
        wanted, *parameters = (piece.strip() for piece in part.split(";"))
        if wanted in (media_type, f"{main}/*", "*/*") and not any(_is_zero(each) for each in parameters):
            return
    raise Problem("not_acceptable", f"this route answers with {media_type}, which Accept leaves out")


def check_content_type(headers: Headers) -> None:
    """Raises Problem `unsupported_media_type` for a body that is not declared as JSON in UTF-8, or is compressed."""
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.strip().lower() != b"identity":
        raise Problem("unsupported_media_type", "send the body as it is, without Content-Encoding")
    declared = headers.get(b"content-type", b"")
    if declared != b"application/json" and _JSON_TYPE.fullmatch(declared) is None:
        raise Problem("unsupported_media_type", "send the body as application/json")


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and re.fullmatch(r"0(\.0{0,3})?", value.strip()) is not None


def _too_large(code: str, what: str, limit_bytes: int) -> Problem:
    return Problem(code, f"{what} is larger than {limit_bytes} bytes", facts={"limit_bytes": limit_bytes})
