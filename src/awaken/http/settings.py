"""Every limit and interval of the HTTP layer, with its reason.

Source: docs/reference/settings.md.
"""

from __future__ import annotations

from typing import Final

import msgspec

from awaken.http import addresses

ANY: Final = "*"
MAX_MESSAGES: Final = 256
"""Messages in one request."""
MAX_BLOCKS: Final = 64
"""Blocks in one message."""
MAX_TEXT_CHARS: Final = 512 * 1024
MAX_ATTACHMENTS: Final = 8
MAX_ATTACHMENT_BYTES: Final = 8 * 1024 * 1024
"""All attachments of one request together, decoded."""
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_METADATA_KEYS: Final = 64
MAX_METADATA_KEY_CHARS: Final = 64
MAX_DELAY_S: Final = 31_536_000
MAX_WAIT_S: Final = 300
MAX_STOP_WAIT_S: Final = 60
DEFAULT_WAIT_S: Final = 60
MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations end in their unit. One object may serve any number of applications."""

    public_url: str | None = None
    """Where clients find this application when a proxy stands in front of it, such as `https://agents.example`, with
    the path at which the proxy has it. Its name is one of the server's own, its pages may call, and links begin with
    its path. None: clients come directly, or the proxy changes neither name nor path."""
    allowed_hosts: tuple[str, ...] | None = None
    """Names a `Host` header may carry, without the port, besides that of `public_url`. None: any. A server on loopback
    must name its own, or a web page could reach it through a name it points there."""
    allowed_origins: tuple[str, ...] = ()
    """Origins besides the server's own whose pages may call, such as `https://app.example.org`; `*` for any. Nothing
    else is needed for such a page: pre-flights are answered, and answers carry what browsers ask for."""
    forwarded_allow_ips: tuple[str, ...] = ()
    """Addresses, or ranges of them, of proxies whose `X-Forwarded-Host` is believed; `*` for any. The name in it has to
    be allowed like that in `Host`."""
    max_body_bytes: int = 1024 * 1024
    max_run_body_bytes: int = 16 * 1024 * 1024
    """For the routes that take messages, which may carry attachments."""
    max_header_bytes: int = 64 * 1024
    max_uri_bytes: int = 8 * 1024
    max_json_depth: int = 64
    max_requests: int = 512
    """Requests in progress, streams not counted. Beyond it waiting would only add to the load."""
    max_streams: int = 4096
    retry_ms: int = 2000
    """How long a browser waits before it reconnects a stream."""
    keepalive_s: float = 15.0
    """Of silence; proxies drop connections that are silent for about a minute."""
    write_stall_s: float = 30.0
    """A reader that takes nothing for this long is disconnected; it can resume."""
    max_stream_life_s: float = 3600.0
    """A stream is closed, without an end event, after this long, so that balancers can move it."""
    chunk_bytes: int = 64 * 1024
    """What is ready is sent together up to about this size."""
    frame_cache_bytes: int = 8 * 1024 * 1024
    """Encoded rows kept for the other readers of the same thread."""
    cancel_wait_s: float = 30.0
    """The bound of `wait=true` on cancel and interrupt."""
    retry_after_s: int = 1
    """The `Retry-After` of what is refused because of load or start-up."""

    def __post_init__(self) -> None:
        """Raises ValidationError for an address that is none."""
        if self.public_url is not None:
            addresses.public_url(self.public_url)
        for host in addresses.texts(self.allowed_hosts or (), "allowed_hosts"):
            addresses.host_name(host)
        for origin in addresses.texts(self.allowed_origins, "allowed_origins"):
            if origin != ANY:
                addresses.origin(origin)
        for proxy in addresses.texts(self.forwarded_allow_ips, "forwarded_allow_ips"):
            if proxy != ANY:
                addresses.network(proxy)
