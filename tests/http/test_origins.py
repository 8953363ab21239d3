"""Under which names a server is reached, and what a page of another origin may do and see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.requests import Request

from awaken import Awaken
from awaken.domain.errors import ValidationError
from awaken.http.forwarded import Proxies
from awaken.http.settings import HttpSettings
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import Answer, Client
from tests.http.site import Site, served

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHOP = "https://shop.example"
PUBLIC = "https://agents.example"


async def wait(site: Site, headers: Mapping[str, str]) -> Answer:
    """A run as a page starts it, with these headers."""
    return await site.http.post("/v1/runs/wait", {"agent_id": "talk", "input": "x"}, headers=headers)


async def preflight(site: Site, origin: str, *, asks: str = "content-type", path: str = "/v1/runs/wait") -> Answer:
    headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": asks}
    return await site.http.request("OPTIONS", path, headers=headers)


# --- names ------------------------------------------------------------------------------------------------------------


@behaviour("SRV-040")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8000", 421),
        ("", 421),
        ("127.0.0.1:8000, evil.example:8000", 421),  # two headers, as they are joined
        ("evil.example, 127.0.0.1:8000", 421),
    ],
)
async def test_only_the_servers_own_names_are_answered_to(
    memory: Store, clock: ManualClock, host: str, status: int
) -> None:
    async with served(memory, clock, settings=HttpSettings(allowed_hosts=LOOPBACK)) as site:
        answer = await site.http.get("/v1/agents", headers={"host": host})

        assert answer.status == status
        if status == 421:
            assert answer.code == "host_not_allowed"


@behaviour("WEB-003")
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "agents.example"},
        {"host": "agents.example:443"},
        {"host": "127.0.0.1:8000"},
        {"host": "127.0.0.1:8000", "x-forwarded-host": "agents.example", "x-forwarded-proto": "https"},
        {"host": "127.0.0.1:8000", "x-forwarded-host": "somewhere.example"},
    ],
)
async def test_behind_a_proxy_a_page_of_the_public_origin_may_call_whichever_host_the_proxy_sends(
    memory: Store, clock: ManualClock, headers: dict[str, str]
) -> None:
    """Nothing that a proxy reports is needed for it, or believed."""
    settings = HttpSettings(public_url=PUBLIC, allowed_hosts=LOOPBACK)
    async with served(memory, clock, settings=settings) as site:
        assert (await wait(site, {**headers, "origin": PUBLIC})).status == 200
        assert (await wait(site, {**headers, "origin": "https://evil.example"})).code == "origin_not_allowed"
        assert (await wait(site, {"host": "evil.example", "origin": PUBLIC})).code == "host_not_allowed"


@behaviour("WEB-003")
async def test_a_public_port_that_is_not_the_schemes_own_belongs_to_the_origin(
    memory: Store, clock: ManualClock
) -> None:
    settings = HttpSettings(public_url="https://agents.example:8443/", allowed_hosts=LOOPBACK)
    async with served(memory, clock, settings=settings) as site:
        host = {"host": "127.0.0.1:8000"}
        assert (await wait(site, {**host, "origin": "https://agents.example:8443"})).status == 200
        assert (await wait(site, {**host, "origin": "https://agents.example"})).code == "origin_not_allowed"


@behaviour("WEB-003")
async def test_links_begin_with_the_path_at_which_the_proxy_has_the_server(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, settings=HttpSettings(public_url=f"{PUBLIC}/my%20agents/")) as site:
        made = await site.http.post("/v1/runs", {"agent_id": "talk", "input": "x"})
        assert made.headers["location"] == f"/my%20agents/v1/runs/{made.json()['run_id']}/stream"
        described = (await site.http.get("/openapi.json")).json()
        assert described["servers"] == [{"url": "/my agents"}]


@behaviour("WEB-003")
@pytest.mark.parametrize(
    ("trusted", "forwarded", "host", "status"),
    [
        (("127.0.0.1",), "agents.example", "127.0.0.1:8000", 200),
        (("127.0.0.0/8", "::1"), "agents.example", "127.0.0.1:8000", 200),
        (("*",), "agents.example:443", "127.0.0.1:8000", 200),
        (("127.0.0.1",), "outer.example, agents.example", "127.0.0.1:8000", 200),
        (("10.0.0.0/8", "::/0"), "agents.example", "127.0.0.1:8000", 403),
        ((), "agents.example", "127.0.0.1:8000", 403),
        # A page that was pointed at this machine can send the header too, so it makes no other name good.
        (("*",), "agents.example", "evil.example", 421),
        (("*",), "evil.example", "127.0.0.1:8000", 421),
    ],
)
async def test_only_a_trusted_proxy_reports_the_name_by_which_it_was_called(
    memory: Store, clock: ManualClock, trusted: tuple[str, ...], forwarded: str, host: str, status: int
) -> None:
    settings = HttpSettings(allowed_hosts=(*LOOPBACK, "agents.example"), forwarded_allow_ips=trusted)
    async with served(memory, clock, settings=settings) as site:
        answer = await wait(site, {"host": host, "x-forwarded-host": forwarded, "origin": PUBLIC})
        assert answer.status == status, answer


def asked_by(client: tuple[str, int] | None, headers: Mapping[str, str], *trusted: str) -> tuple[Any, str, str | None]:
    """The client, the scheme, and the reported name of a request, as they are seen."""
    scope = {"type": "http", "client": client, "scheme": "http"}
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    seen, host = Proxies(HttpSettings(forwarded_allow_ips=trusted)).seen_through(scope, raw)
    assert scope["client"] == client, "the server's own view of its connection stays"
    return seen["client"], seen["scheme"], host


PROXY = ("10.0.0.9", 4711)
REPORTED = {"x-forwarded-for": "8.8.8.8", "x-forwarded-proto": "https", "x-forwarded-host": "agents.example"}


@behaviour("WEB-003")
def test_a_trusted_proxy_reports_client_scheme_and_name() -> None:
    assert asked_by(PROXY, REPORTED, "10.0.0.0/8") == (("8.8.8.8", 0), "https", "agents.example")
    assert asked_by(("::ffff:10.0.0.9", 1), REPORTED, "10.0.0.0/8")[0] == ("8.8.8.8", 0)
    assert asked_by(None, REPORTED, "*")[0] == ("8.8.8.8", 0)  # through a Unix socket


@behaviour("WEB-003")
def test_nobody_else_is_believed() -> None:
    for client, trusted in ((PROXY, ()), (PROXY, ("10.1.0.0/16",)), (None, ("10.0.0.0/8",)), (("web", 1), ("::1",))):
        assert asked_by(client, REPORTED, *trusted) == (client, "http", None)


@behaviour("WEB-003")
@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("8.8.8.8, 10.0.0.7", "8.8.8.8"),
        ("1.1.1.1, 8.8.8.8, 10.0.0.7", "8.8.8.8"),  # what the client itself wrote stands first
        ("10.0.0.5, 10.0.0.7", "10.0.0.5"),
        ("8.8.8.8:1234", "8.8.8.8"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown, 10.0.0.7", "10.0.0.7"),
        ("unknown", "10.0.0.9"),
        ("", "10.0.0.9"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(forwarded: str, client: str) -> None:
    assert asked_by(PROXY, {"x-forwarded-for": forwarded}, "10.0.0.0/8")[0][0] == client


@behaviour("WEB-003")
def test_where_any_proxy_is_trusted_the_first_address_is_the_client() -> None:
    assert asked_by(PROXY, {"x-forwarded-for": "1.1.1.1, 8.8.8.8"}, "*")[0] == ("1.1.1.1", 0)


@behaviour("WEB-003")
@pytest.mark.parametrize(("proto", "scheme"), [("https", "https"), ("HTTP, HTTPS", "https"), ("gopher", "http")])
def test_the_scheme_is_the_one_that_the_nearest_proxy_reports(proto: str, scheme: str) -> None:
    assert asked_by(PROXY, {"x-forwarded-proto": proto}, "10.0.0.9")[1] == scheme


@behaviour("WEB-003")
async def test_whoever_authorises_sees_the_client_and_not_the_proxy() -> None:
    seen: list[tuple[Any, str]] = []

    def authorize(request: Request) -> str:
        seen.append((request.client and request.client.host, request.url.scheme))
        return "anybody"

    app = Awaken("memory://")
    async with asyncio.timeout(20), app:
        client = Client(app.asgi(authorize=authorize, settings=HttpSettings(forwarded_allow_ips=("127.0.0.1",))))
        assert (await client.get("/v1/agents", headers=REPORTED)).status == 200
    assert seen == [("8.8.8.8", "https")]


# --- origins ----------------------------------------------------------------------------------------------------------


@behaviour("SRV-040")
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://testserver", 200),
        ("https://testserver", 200),
        ("http://testserver:80", 403),
        (SHOP, 200),
        ("HTTPS://shop.example", 200),
        ("http://shop.example", 403),
        ("https://shop.example:8443", 403),
        ("https://shop.example.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_pages_of_other_origins_may_not_call(
    memory: Store, clock: ManualClock, origin: str | None, status: int
) -> None:
    async with served(memory, clock, settings=HttpSettings(allowed_origins=(f"{SHOP}:443",))) as site:
        answer = await site.http.post("/v1/threads", {}, headers={} if origin is None else {"origin": origin})

        assert answer.status == (201 if status == 200 else 403)
        if status == 403:
            assert (answer.code, await site.stored()) == ("origin_not_allowed", (0, 0))
            assert "access-control-allow-origin" not in answer.headers


@behaviour("SRV-040")
async def test_an_allowed_origin_is_all_that_a_page_needs(store: Store, clock: ManualClock) -> None:
    """Answers, refusals and streams alike can be read by it, with the headers that a client goes by."""
    async with served(store, clock, settings=HttpSettings(allowed_origins=(SHOP,))) as site:
        asked = await preflight(site, SHOP, asks="content-type, x-api-key,last-event-id")
        assert (asked.status, asked.body) == (204, b"")
        assert asked.headers["access-control-allow-origin"] == SHOP
        assert asked.headers["access-control-allow-headers"] == "content-type, x-api-key,last-event-id"
        assert {"GET", "POST"} <= set(asked.headers["access-control-allow-methods"].split(", "))
        assert int(asked.headers["access-control-max-age"]) > 0

        page = {"origin": SHOP}
        answers = [
            await site.http.post("/v1/runs", {"agent_id": "talk", "input": "x"}, headers=page),
            await site.http.get("/v1/runs/nobody", headers=page),
            await site.http.post("/v1/runs", b"{", headers=page),
            await site.http.get("/nowhere", headers=page),
            await site.http.post("/v1/runs/stream", {"agent_id": "talk", "input": "x"}, headers=page),
        ]
        assert [answer.status for answer in answers] == [202, 404, 400, 404, 200]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == SHOP
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert answer.headers["vary"] == "Origin"
            exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
            assert {"location", "content-location", "retry-after", "etag", "last-event-id", "x-request-id"} <= {
                *exposed
            }


@behaviour("SRV-040")
async def test_answers_to_others_are_not_taken_for_that_of_the_page(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, settings=HttpSettings(allowed_origins=(SHOP,))) as site:
        for headers in ({}, {"origin": "http://testserver"}, {"origin": "https://evil.example"}):
            answer = await site.http.get("/v1/agents", headers=headers)
            assert (answer.headers["vary"], answer.headers.get("access-control-allow-origin")) == ("Origin", None)
    async with served(memory, clock) as site:
        plain = await site.http.get("/v1/agents", headers={"origin": "http://testserver"})
        assert [name for name in plain.headers if name.startswith(("access-control", "vary"))] == []


@behaviour("SRV-040")
async def test_pages_of_any_origin_may_call_without_credentials_where_that_was_asked_for(
    memory: Store, clock: ManualClock
) -> None:
    async with served(memory, clock, settings=HttpSettings(allowed_origins=("*",))) as site:
        assert (await preflight(site, "https://anybody.example")).headers["access-control-allow-origin"] == "*"
        answer = await wait(site, {"origin": "null"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert {"vary", "access-control-allow-credentials"} & answer.headers.keys() == set()


@behaviour("SRV-040")
async def test_a_preflight_is_answered_before_the_server_is_ready_and_to_named_origins_only(
    memory: Store, clock: ManualClock
) -> None:
    """A refused pre-flight hides from the page that it has only to wait."""
    async with served(memory, clock, settings=HttpSettings(allowed_origins=(SHOP,))) as site:
        assert (await preflight(site, "https://evil.example")).code == "origin_not_allowed"
        assert (await preflight(site, "http://testserver")).code == "method_not_allowed"
        assert (await site.http.request("OPTIONS", "/v1/runs", headers={"origin": SHOP})).code == "method_not_allowed"
        odd = await preflight(site, SHOP, asks="x-a\x00b")
        assert (odd.status, "access-control-allow-headers" in odd.headers) == (204, False)
        assert ("OPTIONS", "preflight", 204) in site.counts.requests
    assert (await preflight(site, SHOP)).status == 204
    late = await wait(site, {"origin": SHOP})
    assert (late.code, late.headers["access-control-allow-origin"]) == ("stopping", SHOP)


@behaviour("SRV-040")
@pytest.mark.parametrize("origins", [(SHOP,), ("*",)])
@pytest.mark.parametrize("middleware", [{"allow_origins": [SHOP]}, {"allow_origins": ["*"]}])
async def test_beside_the_cors_of_the_application_around_it_nothing_is_answered_twice(
    memory: Store, clock: ManualClock, origins: tuple[str, ...], middleware: dict[str, Any]
) -> None:
    async with served(memory, clock, settings=HttpSettings(allowed_origins=origins)) as site:

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
            yield

        api = FastAPI(lifespan=lifespan)
        api.add_middleware(CORSMiddleware, allow_methods=["*"], allow_headers=["*"], **middleware)
        api.mount("/agents", site.app)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api.example") as client:
            asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
            asked = await client.options("/agents/v1/runs/wait", headers={"Origin": SHOP, **asks})
            body = {"agent_id": "talk", "input": "x"}
            answer = await client.post("/agents/v1/runs/wait", json=body, headers={"Origin": SHOP})
        for answered in (asked, answer):
            assert answered.status_code == 200
            names = [name for name, _ in answered.headers.raw if name.lower().startswith(b"access-control")]
            assert len(names) == len(set(names))
            assert answered.headers["access-control-allow-origin"] in (SHOP, "*")


# --- what is no address -----------------------------------------------------------------------------------------------


@behaviour("SRV-040", "WEB-003")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *(
            ({"allowed_origins": (origin,)}, ("allowed_origins", "https://app.example"))
            for origin in ("shop.example", "https://shop.example/", "https://shop.example/x", "https://", "null", "")
        ),
        ({"allowed_origins": ("https://müller.example",)}, ("allowed_origins",)),
        ({"allowed_origins": "https://shop.example"}, ("allowed_origins", "several")),
        ({"allowed_origins": (1,)}, ("allowed_origins",)),
        *(
            ({"allowed_hosts": (host,)}, ("allowed_hosts", "without scheme, port or path"))
            for host in ("https://agents.example", "agents.example:80", "a/b", "*", "", "-")
        ),
        *(
            ({"public_url": url}, ("public_url", "https://agents.example"))
            for url in (
                "agents.example",
                "ftp://agents.example",
                "https://",
                "https://u:p@agents.example",
                "https://agents.example?x",
                "https://agents.example/#a",
                "https://agents.example:port",
                7,
            )
        ),
        *(
            ({"forwarded_allow_ips": (proxy,)}, ("forwarded_allow_ips", "10.0.0.0/8"))
            for proxy in ("nginx", "10.0.0.0/99", "")
        ),
        ({"forwarded_allow_ips": "127.0.0.1"}, ("forwarded_allow_ips", "several")),
    ],
)
def test_an_address_that_is_none_is_refused_when_the_settings_are_made(
    settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as refused:
        HttpSettings(**settings)
    for word in words:
        assert word in str(refused.value)


def test_addresses_may_be_written_in_any_usual_form() -> None:
    HttpSettings(
        public_url="HTTP://Agents.Example:8080/a/b/",
        allowed_hosts=("[::1]", "::1", "10.0.0.7", "a_b", "x-y.example"),
        allowed_origins=(
            "capacitor://localhost",
            "chrome-extension://abcdef",
            "http://[::1]:5173",
            "HTTPS://X.example",
        ),
        forwarded_allow_ips=("::1", "10.1.2.3/8", "*"),
    )
