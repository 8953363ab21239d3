"""What both transports share: where the server is, how long things may take, and how httpx speaks.

Above: `AsyncClient`, `Client`. Below: httpx, whose exceptions are translated here and nowhere else.
Holds: what goes to this machine goes there directly, whatever proxy the environment names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx
import msgspec

from awaken.client.calls import Call
from awaken.client.errors import Unreachable
from awaken.client.resume import ResumeSettings
from awaken.domain.checking import checked_seconds, shown, shown_url
from awaken.domain.clock import Clock, SystemClock
from awaken.domain.errors import RemoteProtocolError, ValidationError
from awaken.domain.ids import Chance, Ids, system_chance
from awaken.domain.traceparent import current_traceparent

DEFAULT_TIMEOUT_S: Final = 10.0
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


class Reconnect(msgspec.Struct, frozen=True):
    """A stream broke: why, and after how many seconds it will be tried again."""

    cause: Exception
    delay_s: float


OnReconnect = Callable[[Reconnect], None]


class Setup:
    """The arguments of a client, checked, with what stands in for those that were left out."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        resume: ResumeSettings | None,
        headers: Mapping[str, str] | None,
        clock: Clock | None,
        chance: Chance | None,
    ) -> None:
        """Raises ValidationError for a URL that is not http or https, and for a header that cannot be sent."""
        if not _is_address(url):
            raise ValidationError(f"{shown_url(url)} is not the address of a server; write http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self.timeout_s = checked_seconds(timeout_s, what="timeout_s")
        self.resume = ResumeSettings() if resume is None else resume
        if not isinstance(self.resume, ResumeSettings):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValidationError(f"resume= takes ResumeSettings(…), and not {shown(resume)}")
        self.clock: Clock = clock or SystemClock()
        self.chance = chance or system_chance()
        self.ids = Ids(self.clock, self.chance)
        self._headers = _checked({} if headers is None else headers)

    def httpx_arguments(self) -> dict[str, Any]:
        """For httpx's own client, async or not."""
        return {
            "base_url": self.url,
            "headers": self._headers,
            "timeout": self.timeout_s,
            # Streams stay open; httpx would let only 100 connections exist and make the next call wait for one.
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
            # Reading the certificates takes longer than a call to a server on the same machine, which needs none.
            "verify": urlsplit(self.url).scheme == "https",
            # HTTP_PROXY and its like are about other machines; a proxy would look for its own loopback.
            "trust_env": not _is_loopback(urlsplit(self.url).hostname or ""),
        }

    def request_arguments(self, call: Call[Any], *, streams: bool = False) -> dict[str, Any]:
        """One call as httpx takes it."""
        read_s = self.resume.silence_s if streams else (call.timeout_s or 0.0) + self.timeout_s
        headers = dict(call.headers)
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        traceparent = current_traceparent()
        if traceparent is not None:
            headers.setdefault("traceparent", traceparent)
        return {
            "method": call.method,
            "url": call.path,
            "params": dict(call.params),
            "headers": headers,
            "content": call.body,
            "timeout": httpx.Timeout(self.timeout_s, read=read_s),
        }

    def unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(self.url, str(error) or type(error).__name__)

    def cut(self) -> Unreachable:
        return Unreachable(self.url, "the stream was closed before its end")


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Raises ValidationError, which names the header and keeps its value, maybe a secret, to itself."""
    if not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"headers= takes a mapping of names to values, and not a {type(headers).__name__}")
    for name, value in cast("dict[object, object]", headers).items():
        if not isinstance(name, str) or _HEADER_NAME.fullmatch(name) is None:
            raise ValidationError(f"{shown(name)} cannot be the name of a header; write letters, digits and hyphens")
        if not isinstance(value, str) or _HEADER_VALUE.fullmatch(value) is None:
            raise ValidationError(f"the value of the header {name} is not a text of printable ASCII characters")
    return dict(headers)


def _is_address(url: object) -> bool:
    """Whether it is where a server could be: http or https, a name, and a port that there can be."""
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isprintable() else None
        return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half of an address in brackets
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_stream(response: httpx.Response) -> None:
    """Raises RemoteProtocolError when a 200 is not an event stream, as from a proxy with a page of its own."""
    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise RemoteProtocolError(f"expected an event stream, got {kind or 'an answer without a type'}")
