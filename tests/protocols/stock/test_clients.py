"""The stock clients can be imported, and what goes wrong in JavaScript fails the test that asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.protocols.stock.clients import Failed, Module

PROBE = Path(__file__).with_name("probe.mjs")


async def test_every_stock_client_is_there() -> None:
    async with Module(PROBE) as probe:
        assert await probe.call("importable") == [
            "ai6",
            "ai7",
            "@ag-ui/client",
            "@langchain/langgraph-sdk",
            "openai",
        ]


async def test_calls_run_side_by_side_and_what_is_thrown_or_ends_fails_the_call() -> None:
    async with Module(PROBE) as probe:
        assert await asyncio.gather(*(probe.call("echo", {"n": n}) for n in range(20))) == [{"n": n} for n in range(20)]
        with pytest.raises(Failed, match="on purpose"):
            await probe.call("broken")
        with pytest.raises(Failed, match="the process has ended"):
            await probe.call("end")
        with pytest.raises(Failed, match="the process has ended"):
            await probe.call("echo", 1)
