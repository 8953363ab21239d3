"""Versions as entity tags: what `ETag` says of a resource, what `If-Match` demands of it, what `If-None-Match` knows.

Source: RFC 9110, 8.8.3, 13.1.1 and 13.1.2; docs/reference/http.md.
"""

from __future__ import annotations

import re
from typing import Final

from awaken.http.operation import Call
from awaken.http.problems import invalid

_TAG: Final = re.compile(r'(?:W/)?"?(\d{1,18})"?', re.ASCII)


def etag(version: int) -> str:
    return f'"{version}"'


def if_match(call: Call) -> int | None:
    """The version that the request names; None where it names none, or `*`.

    Raises:
        Problem: `If-Match` is no entity tag of this server.
    """
    asked = call.header(b"if-match")
    if asked is None or asked.strip() == "*":
        return None
    found = _TAG.fullmatch(asked.strip())
    if found is None:
        raise invalid(
            "invalid_request", "If-Match names one version, as the ETag of the resource does", "header", "if-match"
        )
    return int(found[1])


def matches(call: Call, version: int) -> bool:
    """Whether the client has this version already, as its `If-None-Match` says."""
    asked = call.header(b"if-none-match")
    return asked is not None and etag(version) in [each.strip().removeprefix("W/") for each in asked.split(",")]
