"""Under which names the server answers, whose pages may call it, and what their browsers are told.

Above: `app` asks before anything else is looked at, and hands every answer through. Below: the settings, and headers as
they came.
Holds: a name that somebody could point at this machine is refused, whoever reports it: the name that a trusted proxy
reports (`forwarded`) is looked at beside `Host`, not instead of it. Where origins are named, an answer depends on
`Origin`, so every one says so (`Vary`), also one to somebody else.

Source: docs/howto/behind-a-proxy.md, docs/howto/in-a-browser.md; SRV-040.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from awaken.http import addresses
from awaken.http.addresses import without_default_port
from awaken.http.guards import Headers
from awaken.http.problems import Problem
from awaken.http.settings import ANY, HttpSettings

PREFLIGHT_AGE_S: Final = 600
METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSED: Final = (
    b"Awaken-Durability, Content-Location, ETag, Last-Event-ID, Location, Retry-After, WWW-Authenticate, X-Request-Id"
)
"""What a page may read of an answer besides what browsers show anyway."""
_HEADER_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]{1,2000}")
_VARIES: Final = (b"vary", b"Origin")


class Origins:
    """The settings about names and origins, ready to be compared with a request."""

    def __init__(self, settings: HttpSettings) -> None:
        public = None if settings.public_url is None else addresses.public_url(settings.public_url)
        self._public = public
        self._names = None
        if settings.allowed_hosts is not None:
            own = () if public is None else (public.host,)
            self._names = frozenset([*own, *(addresses.host_name(host) for host in settings.allowed_hosts)])
        self._any_origin = ANY in settings.allowed_origins
        self._origins = frozenset(addresses.origin(each) for each in settings.allowed_origins if each != ANY)

    def root_path(self, scope: Mapping[str, Any]) -> str:
        """What comes before the paths of this application where a client finds it."""
        return scope.get("root_path", "").rstrip("/") if self._public is None else self._public.path

    def check(self, scope: Mapping[str, Any], headers: Headers, forwarded_host: str | None = None) -> None:
        """Refuse a name that is not the server's own, and a page of another origin. The names are those by which the
        server was called: by its client, and by the client of a trusted proxy, where that reports one.

        Raises:
            Problem: `host_not_allowed`, `origin_not_allowed`.
        """
        origin = headers.get(b"origin")
        if self._names is None and origin is None:
            return
        hosts = [headers.get(b"host", b"").decode("latin-1").lower()]
        if forwarded_host is not None:
            hosts.append(forwarded_host)
        if "," in hosts[0]:
            raise Problem("host_not_allowed", "the request has more than one Host header")
        if self._names is not None and not all([_name(host) in self._names for host in hosts]):
            raise Problem("host_not_allowed", "this server does not answer to the name in the Host header")
        if origin is not None and not self._is_own(origin, hosts, scope) and not self._is_listed(origin):
            raise Problem("origin_not_allowed", "pages of this origin may not call this server")

    def preflight(self, method: str, headers: Headers) -> Response | None:
        """The answer to a browser that asks whether a page of an allowed origin may call; None for anything else."""
        if method != "OPTIONS" or b"access-control-request-method" not in headers:
            return None
        if not self._is_listed(headers.get(b"origin", b"")):
            return None
        response = Response(status_code=204)
        asked = headers.get(b"access-control-request-headers", b"")
        if _HEADER_NAMES.fullmatch(asked):
            response.raw_headers.append((b"access-control-allow-headers", asked))
        response.raw_headers.append((b"access-control-allow-methods", METHODS))
        response.raw_headers.append((b"access-control-max-age", b"%d" % PREFLIGHT_AGE_S))
        return response

    def mark(self, response: Response, headers: Headers) -> None:
        """Add what lets the browser hand the answer to a page of an allowed origin."""
        added = response.raw_headers
        if self._any_origin:
            added += [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED)]
        elif self._origins:
            added.append(_VARIES)
            origin = headers.get(b"origin", b"")
            if self._is_listed(origin):
                added.append((b"access-control-allow-origin", origin))
                added.append((b"access-control-allow-credentials", b"true"))
                added.append((b"access-control-expose-headers", EXPOSED))

    def _is_own(self, origin: bytes, hosts: list[str], scope: Mapping[str, Any]) -> bool:
        """Compared are name and port: a proxy that ends TLS need not report the scheme; only the browser knows it."""
        its_scheme, _, authority = origin.decode("latin-1").lower().partition("://")
        own = {without_default_port(host, each) for host in hosts for each in (its_scheme, scope.get("scheme", "http"))}
        own.update(hosts)
        if self._public is not None:
            own.add(self._public.authority)
        return bool(authority) and authority in own

    def _is_listed(self, origin: bytes) -> bool:
        return self._any_origin or origin.decode("latin-1").lower() in self._origins


def _name(host: str) -> str:
    return (host if host.endswith("]") else host.rsplit(":", 1)[0]).strip("[]")
