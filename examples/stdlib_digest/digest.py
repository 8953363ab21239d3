"""Submit a run per text, watch them, and say what an earlier start had done already.

The whole point is in three lines: `app.submit` with a `run_id` of our own (submitting the same again means the same
run), `handle.result()`, and the store, which knows what is finished.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from awaken import Awaken
from awaken.domain.errors import RunNotFound
from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.domain.message import Role
from awaken.domain.run import RunStatus
from awaken.store.contract import MessageQuery, Store
from examples.stdlib_digest.corpus import Text

AGENT = "digest"
MODEL_CALLS_PER_RUN = 2
TOOL_CALLS_PER_RUN = 2


class Finished(NamedTuple):
    """What the store held before this start."""

    runs: int
    submitted: int
    model_calls: int
    tool_calls: int


class Report(NamedTuple):
    """What there was, what was finished before this start, and what was done now."""

    total: int
    before: Finished
    now: Counter[str]
    digests: dict[str, str]
    failed: dict[str, str]

    @property
    def repeated_model_calls(self) -> int:
        """Model calls that were finished before and made again all the same."""
        return self.now["model"] - (MODEL_CALLS_PER_RUN * self.total - self.before.model_calls)

    @property
    def repeated_tool_calls(self) -> int:
        return self.now["tool"] - (TOOL_CALLS_PER_RUN * self.total - self.before.tool_calls)


async def finished_before(store: Store, texts: Sequence[Text]) -> Finished:
    """What earlier starts left in the store. A call is finished when the message it led to is stored."""
    runs = submitted = model_calls = tool_calls = 0
    for text in texts:
        run = await store.load_run(DEFAULT_SCOPE, RunId(text.run_id))
        if run is None:
            continue
        submitted += 1
        runs += run.status is RunStatus.DONE
        stored = await store.list_messages(DEFAULT_SCOPE, ThreadId(text.module), MessageQuery(run_id=run.run_id))
        roles = Counter(each.message.role for each in stored)
        model_calls += roles[Role.ASSISTANT]
        tool_calls += roles[Role.TOOL]
    return Finished(runs, submitted, model_calls, tool_calls)


async def digest_all(
    app: Awaken,
    texts: Sequence[Text],
    *,
    calls: Counter[str],
    before: Finished,
    on_digest: Callable[[str], None] = lambda module: None,
) -> Report:
    """Submit what was not submitted yet and wait for every run; `on_digest` hears of each module once it is done."""
    digests: dict[str, str] = {}
    failed: dict[str, str] = {}

    async def follow(text: Text) -> None:
        run = await app.wait(text.run_id)
        if run.termination is not None and run.termination.type == "natural_end":
            digests[text.module] = run.final_output or ""
        else:
            failed[text.module] = str(run.termination)
        on_digest(text.module)

    async with asyncio.TaskGroup() as group:
        for text in texts:
            await submit_once(app, text)
            group.create_task(follow(text))
    return Report(len(texts), before, calls, dict(sorted(digests.items())), failed)


async def submit_once(app: Awaken, text: Text) -> None:
    """Ask for the digest of a text, unless that was asked for before."""
    try:
        await app.get_run(text.run_id)
    except RunNotFound:
        await app.submit(text.module, f"{text.module}\n\n{text.docstring}", agent=AGENT, run_id=text.run_id)
