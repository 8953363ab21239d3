"""The API in a program and that of the two clients: one surface, held together by inspection."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import pytest

import awaken
import awaken.client
from awaken import Awaken, RunHandle
from awaken.client import AsyncClient, AsyncRunHandle, Client
from awaken.client import RunHandle as BlockingHandle
from awaken.domain import shown
from awaken.http import attention_wire, system_wire, ticket_wire, timeline_wire, wire
from awaken.http.audit_wire import FindingResource
from awaken.http.dead_letter_wire import DeadLetterResource, GroupResource, HandledResource, SkippedResource
from awaken.http.stats_wire import AgentStatsResource, MinuteResource, StatsResource
from awaken.http.why_wire import BlockerResource, ExplanationResource, RepairResource

ONLY_IN_A_PROGRAM: Final = frozenset(
    {
        "act_as", "agent", "agents", "asgi", "check", "mailbox", "observer", "schedule", "scope", "send", "start",
        "stop", "store",
    }
)  # fmt: skip
"""What belongs to whoever runs a server."""
ONLY_OVER_HTTP: Final = frozenset({"close", "health", "send"})
"""What belongs to a connection, and to a server that may not be there."""
OF_ONE_SIDE: Final = frozenset({"on_reconnect", "connection"})
"""Parameters about the connection of a client, and about one to a program's own database."""


def methods(cls: type[Any]) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}


def parameters(method: Callable[..., Any]) -> list[tuple[str, Any, Any, Any]]:
    """Name, kind, default and annotation, in order."""
    return [
        (each.name, each.kind, each.default, each.annotation)
        for each in inspect.signature(method).parameters.values()
        if each.name not in OF_ONE_SIDE
    ]


@pytest.mark.parametrize("client", [AsyncClient, Client])
def test_an_app_and_a_client_have_the_same_methods(client: type[Any]) -> None:
    assert methods(Awaken) - ONLY_IN_A_PROGRAM == methods(client) - ONLY_OVER_HTTP


@pytest.mark.parametrize("client", [AsyncClient, Client])
@pytest.mark.parametrize("name", sorted(methods(Awaken) - ONLY_IN_A_PROGRAM))
def test_a_method_has_the_same_parameters_order_and_defaults(client: type[Any], name: str) -> None:
    assert parameters(getattr(Awaken, name)) == parameters(getattr(client, name))


@pytest.mark.parametrize("handle", [AsyncRunHandle, BlockingHandle])
def test_a_run_is_held_in_the_same_way(handle: type[Any]) -> None:
    assert methods(RunHandle) == methods(handle)
    for name in methods(RunHandle):
        assert parameters(getattr(RunHandle, name)) == parameters(getattr(handle, name)), name


def test_both_return_the_same_records() -> None:
    assert (awaken.Run, awaken.Thread, awaken.Event) == (shown.Run, shown.Thread, shown.Event)
    assert (awaken.client.Run, awaken.client.Thread, awaken.client.Event) == (shown.Run, shown.Thread, shown.Event)
    of_their_own = {"submit", "stream", "events", "run_events", "retry_run", "retry_dead_letter", "regenerate", "watch"}
    for name in sorted(methods(Awaken) - ONLY_IN_A_PROGRAM - of_their_own):
        told = [inspect.signature(getattr(cls, name)).return_annotation for cls in (Awaken, AsyncClient, Client)]
        assert told[0] == told[1] == told[2].replace("Items[", "Listing["), name


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (wire.RunResource, shown.Run),
        (wire.RunInput, shown.RunInput),
        (wire.RunWaiting, shown.RunWaiting),
        (wire.RunError, shown.RunError),
        (wire.ThreadResource, shown.Thread),
        (wire.MessageResource, shown.Message),
        (wire.DispatchResource, shown.Dispatch),
        (wire.EventResource, shown.Event),
        (wire.AgentResource, shown.Agent),
        (wire.CancelResource, shown.Cancellation),
        (DeadLetterResource, shown.DeadLetter),
        (GroupResource, shown.DeadLetterGroup),
        (SkippedResource, shown.SkippedLetter),
        (HandledResource, shown.HandledLetters),
        (wire.InterruptResource, shown.Interruption),
        (ExplanationResource, shown.Explanation),
        (BlockerResource, shown.Blocker),
        (ticket_wire.DecidedTickets, shown.DecidedTickets),
        (ticket_wire.SkippedTicketResource, shown.SkippedTicket),
        (timeline_wire.TimelineResource, shown.Timeline),
        (timeline_wire.TimeSpanResource, shown.TimeSpan),
        (RepairResource, shown.Repair),
        (wire.LastEventResource, shown.LastEvent),
        (attention_wire.AttentionResource, shown.Attention),
        (attention_wire.UnservedResource, shown.UnservedRoute),
        (StatsResource, shown.Stats),
        (MinuteResource, shown.StatsMinute),
        (AgentStatsResource, shown.AgentStats),
        (FindingResource, shown.Finding),
        (wire.DrainingResource, shown.Draining),
        (system_wire.SystemResource, shown.System),
        (system_wire.SettingResource, shown.Setting),
        (system_wire.WorkerResource, shown.Worker),
        (system_wire.SweptResource, shown.Swept),
        (system_wire.PurgedResource, shown.Purged),
    ],
)
def test_a_record_has_every_field_that_the_server_sends(sent: type[Any], read: type[Any]) -> None:
    assert set(sent.__struct_fields__) == set(read.__struct_fields__)


def test_nothing_takes_what_it_does_not_know() -> None:
    """An option that does not exist is a TypeError: no method swallows keywords."""
    for cls in (Awaken, AsyncClient, Client):
        for name in methods(cls):
            kinds = {each.kind for each in inspect.signature(getattr(cls, name)).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{cls.__name__}.{name}"
