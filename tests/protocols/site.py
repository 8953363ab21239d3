"""An app with an agent of every shape, served with some protocols, for the tests of adapters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from awaken.domain.clock import Clock
from awaken.http.app import HttpApp, build_app
from awaken.http.operation import Operation
from awaken.http.settings import HttpSettings
from awaken.http.table import OPERATIONS
from awaken.mailbox.settings import MailboxSettings
from awaken.testing.agents import memory_app
from awaken.testing.scripted import add_scripted
from awaken.wiring import Awaken
from tests.http.asgi import Client, Frame, parsed


class ProtocolSite(NamedTuple):
    app: Awaken
    served: HttpApp
    http: Client
    operations: Sequence[Operation] = ()


@asynccontextmanager
async def protocol_site(
    operations: Sequence[Operation],
    *,
    settings: HttpSettings | None = None,
    mailbox: MailboxSettings | None = None,
    clock: Clock | None = None,
    **agents: Any,
) -> AsyncGenerator[ProtocolSite]:
    """The operations beside this API's own, over an app in memory: real time, and no waiting."""
    async with memory_app(settings=mailbox, clock=clock, **agents) as app:
        add_scripted(app)
        served = build_app(app.mailbox, app.store, (*OPERATIONS, *operations), settings=settings, scope=app.scope)
        yield ProtocolSite(app, served, Client(served), operations)


def protocol_served(site: ProtocolSite) -> Client:
    """Another server over the same app, with the same operations."""
    return Client(build_app(site.app.mailbox, site.app.store, (*OPERATIONS, *site.operations), scope=site.app.scope))


def frames_in(body: bytes) -> list[Frame]:
    """Every complete frame, those without a name too; comments left out."""
    *blocks, _ = body.split(b"\n\n")
    return [found for found in (parsed(block + b"\n\n") for block in blocks) if found.event != ":" and found.data]


def without_beginning(body: bytes) -> bytes:
    """The stream without what a connection begins with."""
    return body.split(b": connected\n\n", 1)[-1]


def cuts(body: bytes) -> list[tuple[bytes, str]]:
    """A stream cut at every byte: the complete frames before the cut, and the id that a client has then, or none."""
    found: list[tuple[bytes, str]] = []
    whole = without_beginning(body)
    ends = [place + 2 for place in range(len(whole)) if whole[place : place + 2] == b"\n\n"]
    for end in ends:
        seen = whole[:end]
        ids = [each.id for each in frames_in(seen) if each.id is not None]
        found.append((seen, ids[-1] if ids else ""))
    return found
