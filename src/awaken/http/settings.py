"""Every limit and interval of the HTTP layer, with its reason.

Source: docs/reference/settings.md.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from awaken.domain.checking import MAX_DEPTH, Interval, check_settings
from awaken.http import addresses
from awaken.http.auth import Authorize

Source = Literal["default", "program", "flag", "environment", "command"]
"""Who has chosen a setting. `command`: what serves it, by itself."""
ANY: Final = "*"
MAX_MESSAGES: Final = 256
"""Messages in one request."""
MAX_BATCH_RUNS: Final = 100
"""Runs that one request may submit."""
MAX_CANCELLED_RUNS: Final = 1_000
"""Runs that one request may stop."""
MAX_BLOCKS: Final = 64
"""Blocks in one message."""
MAX_TEXT_CHARS: Final = 512 * 1024
MAX_ATTACHMENTS: Final = 8
MAX_ATTACHMENT_BYTES: Final = 8 * 1024 * 1024
"""All attachments of one request together, decoded."""
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_METADATA_KEYS: Final = 64
MAX_METADATA_KEY_CHARS: Final = 64
MAX_WAIT_S: Final = 300
MAX_STOP_WAIT_S: Final = 60
DEFAULT_WAIT_S: Final = 60
MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50

_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Bytes = Annotated[int, Meta(ge=1, le=2**40)]


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations end in their unit. One object may serve any number of applications. Checked whole when it is made.

    Raises:
        ValidationError: A setting has another type, or lies outside its bounds.
    """

    authorize: Authorize | None = None
    """Finds who asks, for every request: the scope whose data it sees. It gets the request without its body, and may be
    async. None or `Unauthorized` refuses with 401, `Forbidden` with 403; health is answered to anybody. Without it
    everybody sees everything of the application's scope."""
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
    protocols: tuple[str, ...] | None = None
    """Which other protocols are served beside this API, by name; None: all there are. What is not served is not
    imported."""
    console: bool | None = None
    """Whether the console, a page that shows and operates the server, is at `/console`. None: where `awaken serve`
    listens on loopback. It asks for a key where `authorize` wants one."""
    forwarded_allow_ips: tuple[str, ...] = ()
    """Addresses, or ranges of them, of proxies that are believed when they report the client (`X-Forwarded-For`), the
    scheme (`X-Forwarded-Proto`) and the name (`X-Forwarded-Host`); `*` for any. The name has to be allowed like that in
    `Host`."""
    max_body_bytes: _Bytes = 1024 * 1024
    max_run_body_bytes: _Bytes = 16 * 1024 * 1024
    """For the routes that take messages, which may carry attachments."""
    max_header_bytes: _Bytes = 64 * 1024
    max_uri_bytes: _Bytes = 8 * 1024
    max_json_depth: Annotated[int, Meta(ge=1, le=MAX_DEPTH)] = 64
    max_requests: _Count = 512
    """Requests in progress, streams and requests that wait not counted. Beyond it waiting would only add to the
    load.
    """
    max_streams: _Count = 4096
    """Open streams, and requests that wait for a run, a receipt or a stop."""
    retry_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 2000
    """How long a browser waits before it reconnects a stream."""
    keepalive_s: Interval = 15.0
    """Of silence; proxies drop connections that are silent for about a minute."""
    write_stall_s: Interval = 30.0
    """A reader that takes nothing for this long is disconnected; it can resume."""
    max_stream_life_s: Interval = 3600.0
    """A stream is closed, without an end event, after this long, so that balancers can move it."""
    chunk_bytes: _Bytes = 64 * 1024
    """What is ready is sent together up to about this size."""
    frame_cache_bytes: Annotated[int, Meta(ge=0, le=2**40)] = 8 * 1024 * 1024
    """Encoded rows kept for the other readers of the same thread."""
    cancel_wait_s: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = 30.0
    """The bound of `wait=true` on cancel and interrupt."""
    retry_after_s: Annotated[int, Meta(ge=0, le=86_400)] = 1
    """The `Retry-After` of what is refused because of load or start-up."""

    def __post_init__(self) -> None:
        # Addresses first: what is wrong with one has words of its own.
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
        check_settings(self, "of HttpSettings")
