"""Names, origins and addresses as people write them in settings, checked and in the one form that is compared.

Above: `settings`, which checks with these, and `guards`, which compares what they return. Below: nothing.

Source: docs/howto/behind-a-proxy.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, cast
from urllib.parse import unquote, urlsplit

import msgspec

from awaken.domain.errors import ValidationError
from awaken.domain.explaining import shown

_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\]|[0-9a-f:.]*:[0-9a-f:.]*")
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://((?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

Network = IPv4Network | IPv6Network


class PublicUrl(msgspec.Struct, frozen=True):
    """Where clients find an application that stands behind a proxy."""

    host: str
    """The name alone."""
    authority: str
    """The name, with the port where it is not the scheme's own."""
    path: str
    """What every link begins with; empty for the root."""


def texts(value: object, setting: str) -> tuple[str, ...]:
    """The texts of a setting that takes several. Raises ValidationError for one text, and for what is none."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValidationError(f"{setting} takes several texts, in a tuple; got {shown(value)}")
    several = tuple(cast("Sequence[object]", value))
    for each in several:
        if not isinstance(each, str):
            raise ValidationError(f"{setting} takes texts; got {shown(each)}")
    return cast("tuple[str, ...]", several)


def host_name(text: str) -> str:
    """A name or an address as it is compared. Raises ValidationError."""
    lower = text.lower()
    if _HOST.fullmatch(lower) is None:
        raise ValidationError(f"allowed_hosts: {text!r} is no name; write agents.example, without scheme, port or path")
    return lower.strip("[]")


def origin(text: str) -> str:
    """An origin as browsers send it, without the port that its scheme has anyway. Raises ValidationError."""
    parts = _ORIGIN.fullmatch(text.lower())
    if parts is None:
        raise ValidationError(
            f"allowed_origins: {text!r} is no origin; write https://app.example, with a port where it has one of its"
            " own and without a path, or * for any"
        )
    return f"{parts[1]}://{without_default_port(parts[2], parts[1])}"


def public_url(text: object) -> PublicUrl:
    """Raises ValidationError."""
    try:
        if not isinstance(text, str):
            raise ValueError
        parts = urlsplit(text)
        extra = parts.query or parts.fragment or "@" in parts.netloc or "?" in text or "#" in text
        if parts.scheme not in _DEFAULT_PORTS or extra:
            raise ValueError
        authority = origin(f"{parts.scheme}://{parts.netloc}").partition("://")[2]
        return PublicUrl(host_name(parts.hostname or ""), authority, unquote(parts.path).rstrip("/"))
    except (ValueError, ValidationError) as error:
        raise ValidationError(
            f"public_url: {shown(text)} is not where a browser finds a server; write https://agents.example, with the"
            " path at which the proxy has it"
        ) from error


def network(text: str) -> Network:
    """An address, or a range of them. Raises ValidationError."""
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise ValidationError(
            f"forwarded_allow_ips: {text!r} is no address; write 127.0.0.1, 10.0.0.0/8 or * for any"
        ) from error


def without_default_port(authority: str, scheme: str) -> str:
    return authority.removesuffix(_DEFAULT_PORTS.get(scheme, "\0"))
