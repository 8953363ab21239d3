"""The example does what its page says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import examples.openai_client.main as example
from tests.docs.repository import ROOT, code
from tests.protocols.langgraph.server import serving


async def test_the_example_prints_what_its_page_says() -> None:
    [printed] = code(Path(ROOT / "examples/openai_client/README.md"), "text")
    async with asyncio.timeout(30), example.app, serving(example.app.asgi()) as url:
        assert await example.talk(url) == printed.text.splitlines()
