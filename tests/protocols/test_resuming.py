"""At whichever commit a server dies, the client of each protocol comes back to the next one and shows the same."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from awaken import Awaken
from awaken.domain.retry import RetryPolicy
from awaken.http.app import build_app
from awaken.http.table import OPERATIONS
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.store.sqlite import SqliteStore
from awaken.testing.audit import check_sound
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import Final
from awaken.testing.scripted import scripted_agents
from tests.crash.theatre import TURNS, FailingStore, Failure, Fault
from tests.http.asgi import Client
from tests.protocols.dialects import DIALECTS
from tests.protocols.returning import CLIENTS, Returning

SHAPES = ("text", "tool", "approval")
AGENTS = scripted_agents()
"""Which keep nothing, and take their time to be made."""
MOST = 60
SETTINGS = MailboxSettings(drain_s=0, handover_s=0, retry=RetryPolicy(0, 0))
SERVED = (
    *OPERATIONS,
    *[each for name in ("ag_ui", "ai_sdk", "langgraph", "open_responses") for each in DIALECTS[name].operations],
)


class MortalStore(FailingStore):
    """One that says when its process has died."""

    def __init__(self, store: Store, fault: Fault | None) -> None:
        super().__init__(store, fault)
        self.died = asyncio.Event()

    async def _unless_dead(self) -> None:
        if self.is_dead:
            self.died.set()
        await super()._unless_dead()


def live(path: Path, client: Returning, fault: Fault | None = None) -> bool:
    """One server, until the client has its answer or the server dies. Whether it died."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        return runner.run(_live(path, client, fault))


async def _live(path: Path, client: Returning, fault: Fault | None) -> bool:
    store = MortalStore(SqliteStore(path, durability="process"), fault)
    app = Awaken(store=store, settings=SETTINGS)
    app.agent(client.agent_id, AGENTS[client.agent_id])

    async def talk() -> None:
        await app.start()
        await client.talk(Client(build_app(app.mailbox, app.store, SERVED, scope=app.scope)))
        await check_sound(store)
        await app.stop()

    async with asyncio.timeout(20):
        talking, dying = asyncio.ensure_future(talk()), asyncio.ensure_future(store.died.wait())
        await asyncio.wait((talking, dying), return_when=asyncio.FIRST_COMPLETED)
        if not store.is_dead:
            await talking
            return False
        turns = 0
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            assert turns < TURNS, left
            turns += 1
            for task in left:  # they may tidy up, which nobody outside of the process sees
                task.cancel()
            await asyncio.wait(left, timeout=0.02)
        await store.bury()
    return True


def answered(path: Path, make: type[Returning], shape: str, *faults: Fault) -> tuple[Final, bool]:
    """What the client shows in the end, and whether the first server died."""
    client = make(shape)
    died = [live(path, client, fault) for fault in faults]
    if not client.is_over:
        live(path, client)
    assert client.is_over
    ids = [frame.id for frame in client.frames if frame.id is not None]
    assert len(ids) == len({*ids}), "it was sent something twice"
    return client.final(), any(died[:1])


# What a process had begun when it was killed is not ended properly, and here that would be heard.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@behaviour("SRV-020", "SRV-038")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", CLIENTS, ids=[each.name for each in CLIENTS])
def test_a_client_shows_the_same_at_whichever_commit_its_server_dies(
    make: type[Returning], shape: str, tmp_path: Path
) -> None:
    undisturbed, _ = answered(tmp_path / "0.db", make, shape)
    assert undisturbed.outcome == "finished" and undisturbed.text
    for number in range(1, MOST):
        failure: Failure = "dies before" if number % 2 else "dies after"
        final, died = answered(tmp_path / f"{number}.db", make, shape, Fault(failure, number))
        assert final == undisturbed, f"apply {number} {failure}"
        if not died:
            assert number > 3
            gc.collect()
            return
    pytest.fail("it never went through undisturbed")
