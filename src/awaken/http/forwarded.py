"""What a trusted proxy reports about a request that it hands on: the client, the scheme, and the name it was called by.

Above: `app` looks at every request through this before anything else does. Below: the settings, and headers as they
came.
Holds: nothing is believed that does not come from an address that is trusted, and nothing that is not in the form it
should have. What is believed stands in the request as if there were no proxy, so whoever looks at it, an `authorize`
too, need not know of one.

Source: docs/howto/behind-a-proxy.md, ADR 0031; WEB-003.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from awaken.http import addresses
from awaken.http.guards import Headers
from awaken.http.settings import ANY, HttpSettings

AsgiScope = MutableMapping[str, Any]
_SCHEMES: Final = ("http", "https")


class Proxies:
    """The proxies that are trusted."""

    def __init__(self, settings: HttpSettings) -> None:
        self._any = ANY in settings.forwarded_allow_ips
        self._networks = [addresses.network(each) for each in settings.forwarded_allow_ips if each != ANY]
        self._is_used = bool(settings.forwarded_allow_ips)

    def seen_through(self, scope: AsgiScope, headers: Headers) -> tuple[AsgiScope, str | None]:
        """The request as its client made it, and the name by which it called the proxy, where one is reported."""
        if not self._is_used or not self._is_trusted_peer(scope.get("client")):
            return scope, None
        host, scheme = _nearest(headers, b"x-forwarded-host"), _nearest(headers, b"x-forwarded-proto")
        client = self._client(headers.get(b"x-forwarded-for", b"").decode("latin-1"))
        seen = dict(scope)
        if scheme in _SCHEMES:
            seen["scheme"] = scheme
        if client is not None:
            seen["client"] = (client, 0)  # its port is not reported
        return seen, host

    def _is_trusted_peer(self, client: tuple[str, int] | None) -> bool:
        """Whether the request comes from a proxy that is believed. One through a Unix socket has no address."""
        if self._any or client is None:
            return self._any
        address = _address(client[0])
        return address is not None and self._is_trusted(address)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any([address in network for network in self._networks])

    def _client(self, forwarded: str) -> str | None:
        """The client's address. Each proxy adds at the end whom it was called by, so what stands before the first that
        is not trusted could have been written by anybody. Where any is trusted that is nobody, and the first counts.
        """
        found = None
        for each in reversed(forwarded.split(",")):
            address = _address(each)
            if address is None:
                break
            found = str(address)
            if not self._any and not self._is_trusted(address):
                break
        return found


def _nearest(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    """What the nearest proxy, the trusted one, reports: one behind another proxy adds its word at the end."""
    reported = headers.get(name)
    return None if reported is None else reported.decode("latin-1").lower().rpartition(",")[2].strip()


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it, with or without a port; None for what is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
