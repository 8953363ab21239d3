"""The routes are held to their own description by somebody else's tool, over loopback."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final, cast

import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from awaken.domain.ids import MessageId
from awaken.domain.message import user_message
from awaken.executors.function import Context
from awaken.executors.registry import Agents
from awaken.http.app import build_app
from awaken.http.openapi import describe
from awaken.http.operation import Operation
from awaken.http.settings import HttpSettings
from awaken.mailbox.service import Mailbox
from awaken.mailbox.submission import RunSubmission
from awaken.protocols.langgraph.routes import OPERATIONS
from awaken.store.memory import MemoryStore
from awaken.testing.behaviour import behaviour

FUZZ: Final[Any] = importlib.import_module("schemathesis")
RULES: Final[Any] = importlib.import_module("schemathesis.specs.openapi.checks")
"""Modules as plain objects: their generics are not typed."""
CHECKS: Final[list[Any]] = [
    FUZZ.checks.not_a_server_error,
    RULES.status_code_conformance,
    RULES.content_type_conformance,
    RULES.response_schema_conformance,
]
SETTINGS: Final = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=max(settings().max_examples // 12, 1),
    phases=[Phase.generate],
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
)
DOCUMENT: Final[dict[str, Any]] = json.loads(describe(OPERATIONS, ""))
THERE: Final = {"thread_id": "t", "run_id": "r", "agent_id": "talk", "assistant_id": "talk", "checkpoint_id": "r"}


async def echo(context: Context) -> str:
    return await context.input()


class Served:
    """A server on a thread of its own, whose streams live briefly, with something to be found."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _serve(self) -> None:
        agents = Agents()
        agents.add("talk", echo)
        mailbox = Mailbox(MemoryStore(), agents)
        brief = HttpSettings(max_stream_life_s=0.3, keepalive_s=0.2)
        app = build_app(mailbox, mailbox.store, OPERATIONS, settings=brief)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
        async with mailbox:
            hello = user_message(MessageId("m"), "hello")
            await mailbox.submit(RunSubmission(messages=(hello,), thread_id="t", run_id="r"))
            await self._server.serve(sockets=[self._socket])


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as server:
        yield server


@behaviour("SRV-008")
@pytest.mark.hypothesis
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_each_route_does_what_its_description_says(served: Served, operation: Operation) -> None:
    described = FUZZ.openapi.from_dict(DOCUMENT)[operation.path][operation.method]
    valid = described.as_strategy(generation_mode=FUZZ.GenerationMode.POSITIVE)
    invalid = described.as_strategy(generation_mode=FUZZ.GenerationMode.NEGATIVE)

    @SETTINGS
    @given(st.one_of(valid, invalid), st.booleans())
    def hold(case: Any, known: bool) -> None:
        if known and case.path_parameters:
            case.path_parameters.update({name: THERE[name] for name in THERE if name in case.path_parameters})
        body = case.body
        if isinstance(body, dict) and "after_seconds" in body:
            case.body = {**cast(dict[str, Any], body), "after_seconds": 0}  # it would be waited for
        case.call_and_validate(base_url=served.url, checks=CHECKS)

    hold()
