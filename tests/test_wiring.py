"""The app as a program uses it, where it says more than the mailbox under it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from awaken.domain.errors import Unavailable, ValidationError
from awaken.mailbox.settings import MailboxSettings
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import GatedAgent
from awaken.wiring import Awaken


async def test_events_that_are_cut_off_by_a_stop_do_not_end_as_if_the_run_had() -> None:
    clock, agent = ManualClock(), GatedAgent()
    settings = MailboxSettings(drain_s=0, handover_s=0)
    app = Awaken(store=MemoryStore(clock), clock=clock, settings=settings)
    app.agent("gated", agent)
    async with asyncio.timeout(20):
        await app.start()
        handle = await app.submit("t", "hello")
        await agent.next_call()
        kinds: list[str] = []

        async def follow() -> None:
            async for event in handle.events():
                kinds.append(event.kind)

        following = asyncio.create_task(follow())
        while kinds[-1:] != ["RunStarted"]:
            await settle()
        await app.stop()
        with pytest.raises(Unavailable) as refused:
            await following

    assert refused.value.code == "stopping"
    assert kinds[-1] == "RunStarted"


# --- the address of a store -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:///a b.db?durability=process", "a b.db"),
        ("sqlite:///tenant%231.db", "tenant#1.db"),
        ("sqlite:///what%3F.db", "what?.db"),
        ("sqlite:///50%25.db", "50%.db"),
        ("sqlite:///%C3%BC.db", "ü.db"),
        ("sqlite:///ü&;=.db", "ü&;=.db"),
        ("SQLite:///a.db", "a.db"),
    ],
)
def test_an_address_is_used_in_full(address: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Awaken(address).store
    assert isinstance(store, SqliteStore)
    assert store.path == tmp_path / name
    assert store.capabilities.durability == ("process" if "process" in address else "full")


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///tenant#1.db", "sqlite:///a.db#", "sqlite:///what?.db", "sqlite:///a.db?", "sqlite:///a.db?durability",
        "sqlite:///a.db?durability=", "sqlite:///a.db?durability=none", "sqlite:///a.db?wal=1",
        "sqlite:///a.db?durability=full&durability=process", "sqlite:///a\tb.db", "sqlite:///a.db\n", "sqlite:///%00.db",
        "sqlite:///%0a.db", "sqlite:///%zz.db", "sqlite:///%ff.db", "sqlite:///\ud800.db", "sqlite:///", "sqlite://host/a.db",
        "sqlite:a.db", "sqlite:///:memory:", "memory:", "memory://x?y", "memory://?a=1", "memory://#", "memory:// ", "",
        "a.db", "redis://a", 5, b"sqlite:///a.db", Path("a.db"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_in_full_is_refused(address: Any) -> None:
    with pytest.raises(ValidationError):
        Awaken(address)
