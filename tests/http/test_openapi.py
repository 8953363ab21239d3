"""The server held to its own description by somebody else's tool.

A real server answers, over loopback: the tool drives it with a blocking client. Streams live one second, so that a
fuzzed one ends. The same requests are made every time.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

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
from awaken.store.sqlite import SqliteStore
from awaken.testing.behaviour import behaviour
from tests.http.site import SERVED

FUZZ: Final[Any] = importlib.import_module("schemathesis")
RULES: Final[Any] = importlib.import_module("schemathesis.specs.openapi.checks")
"""Modules as plain objects: their generics are not typed."""
CHECKS: Final[list[Any]] = [
    FUZZ.checks.not_a_server_error,
    RULES.status_code_conformance,
    RULES.content_type_conformance,
    RULES.response_headers_conformance,
    RULES.response_schema_conformance,
    RULES.negative_data_rejection,
    RULES.unsupported_method,
]
EXAMPLES: Final = max(settings().max_examples // 6, 1)
"""Per operation; about half of them break the description on purpose."""
SETTINGS: Final = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
)
DOCUMENT: Final[dict[str, Any]] = json.loads(describe(SERVED, ""))
REFUSALS: Final = ["400", "404", "405", "406", "409", "410", "413", "414", "415", "422", "428", "431"]
CONFIG: Final = FUZZ.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})


async def echo(context: Context) -> str:
    return await context.input()


class Served:
    """A server on a thread of its own, with a thread `t`, a run `r` and the agent `talk` to be found."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(64)
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
        store = SqliteStore(self._file, durability="process")
        mailbox = Mailbox(store, agents)
        app = build_app(
            mailbox, store, SERVED, settings=HttpSettings(max_stream_life_s=1), metrics=lambda: b"awaken_up 1\n"
        )
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
        async with mailbox:
            hello = user_message(MessageId("m"), "hello")
            await mailbox.submit(RunSubmission(messages=(hello,), thread_id="t", run_id="r"))
            await self._server.serve(sockets=[self._socket])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("fuzz") / "fuzz.db") as server:
        yield server


@behaviour("SRV-008")
@pytest.mark.hypothesis
@pytest.mark.parametrize("operation", SERVED, ids=lambda operation: operation.id)
def test_the_server_does_what_its_description_says(served: Served, operation: Operation) -> None:
    described = FUZZ.openapi.from_dict(DOCUMENT, config=CONFIG)[operation.path][operation.method]
    valid = described.as_strategy(generation_mode=FUZZ.GenerationMode.POSITIVE)
    invalid = described.as_strategy(generation_mode=FUZZ.GenerationMode.NEGATIVE)

    @SETTINGS
    @given(st.one_of(valid, invalid), st.booleans())
    def hold(case: Any, known: bool) -> None:
        if known:
            _make_findable(case)
        if "timeout_s" in operation.query.__struct_fields__:
            _make_impatient(case)
        case.call_and_validate(base_url=served.url, checks=CHECKS)

    hold()


def _make_findable(case: Any) -> None:
    """Point the request at something that exists, so that more than 404s are looked at."""
    for name, value in (("thread_id", "t"), ("run_id", "r"), ("agent_id", "talk")):
        if case.path_parameters and name in case.path_parameters:
            case.path_parameters[name] = value


def _make_impatient(case: Any) -> None:
    """Wait no time where the request would wait some: a fuzzed run may be due in a year."""
    query: dict[str, Any] = dict(case.query or {})
    asked = query.get("timeout_s", 60)
    if isinstance(asked, int | float) and 0 <= asked <= 300:
        case.query = {**query, "timeout_s": 0}
