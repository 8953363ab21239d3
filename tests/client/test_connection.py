"""How a client reaches a server: with which headers, and through which proxy."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.client import AsyncClient, Client
from awaken.domain.errors import ValidationError
from tests.client.scripted import KINDS, Kind, Script, call, document

PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
AGENTS: dict[str, Any] = {"items": [], "has_more": False, "next_cursor": None}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment whose proxy is not there."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return monkeypatch


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_goes_to_this_machine_goes_through_no_proxy(
    kind: Kind, server: str, host: str, proxied: pytest.MonkeyPatch
) -> None:
    url = server.replace("127.0.0.1", host)
    assert {agent.agent_id for agent in call(kind, None, lambda c: c.list_agents(), url=url)} >= {"talk"}


def test_what_goes_elsewhere_goes_through_the_proxy_of_the_environment(
    kind: Kind, server: str, proxied: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:
        proxied.setenv(name, server)  # it takes requests for any host, as a proxy does
    listed = call(kind, None, lambda c: c.list_agents(), url="http://agents.example")
    assert {agent.agent_id for agent in listed} >= {"talk"}


def test_headers_go_with_every_request() -> None:
    script = Script(document(AGENTS))
    with Client("http://server", headers={"Authorization": "Bearer abc"}, transport=script) as client:
        assert list(client.list_agents()) == []
    assert [request.headers["authorization"] for request in script.requests] == ["Bearer abc"]


@pytest.mark.parametrize("headers", [{"X Y": "1"}, {"": "1"}, {"X": "a\nB: c"}, {"X": "geheimnis-ü"}, {"X:": "1"}])
def test_a_header_that_cannot_be_sent_is_refused_and_its_value_kept_secret(headers: dict[str, str]) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValidationError, match="header") as refused:
            kind("http://server", headers=headers)
        assert "geheimnis" not in str(refused.value)
