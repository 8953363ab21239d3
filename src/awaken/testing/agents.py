"""Test your agent: an app that leaves nothing behind, and agents of an app that are replaced for a while.

Above: tests of whoever uses `awaken`. Below: `Awaken` on a memory store; the agents of an app.
Holds: a run that starts inside `override` is executed by the substitute, also where it was accepted before. Without
`allow_models` no real model is asked by accident: a run that would ask one fails, permanently.

Source: docs/howto/test-your-agent.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from awaken.domain.clock import Clock
from awaken.mailbox.settings import MailboxSettings
from awaken.wiring import Awaken


@asynccontextmanager
async def memory_app(
    *, clock: Clock | None = None, settings: MailboxSettings | None = None, allow_models: bool = False, **agents: Any
) -> AsyncGenerator[Awaken]:
    """A running app in memory, with these agents. It gives them no time when it is left: a test is over then."""
    app = Awaken("memory://", clock=clock, settings=settings or MailboxSettings(drain_s=0, handover_s=0))
    for name, agent in agents.items():
        app.agent(name, agent)
    with no_models(allow=allow_models):
        async with app:
            yield app


@contextmanager
def override(app: Awaken, **agents: Any) -> Generator[None]:
    """Have runs that start meanwhile executed by these agents, in the place of those of the same names.

    Raises:
        AgentNotFound: The app has no agent of that name.
        ValidationError: Nothing here can run a substitute.
    """
    with ExitStack() as undo:
        for name, agent in agents.items():
            undo.callback(app.agents.replace, name, app.agents.replace(name, agent))
        yield


@contextmanager
def no_models(*, allow: bool = False) -> Generator[None]:
    """Have Pydantic AI refuse to ask real models meanwhile. Scripted ones, and its `TestModel`, are asked."""
    from pydantic_ai import models

    before = models.ALLOW_MODEL_REQUESTS
    models.ALLOW_MODEL_REQUESTS = allow and before
    try:
        yield
    finally:
        models.ALLOW_MODEL_REQUESTS = before
