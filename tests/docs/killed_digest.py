"""The digest example over a store that kills it: `python -m tests.docs.killed_digest FILE LIMIT`.

Everything else is as the command of the example has it; see `awaken.testing.crash` for when it dies.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from awaken.mailbox.settings import MailboxSettings
from awaken.store.sqlite import SqliteStore
from awaken.testing.crash import CrashingStore, CrashPoint
from awaken.wiring import Awaken
from examples.stdlib_digest.agent import make_agent
from examples.stdlib_digest.corpus import stdlib_texts
from examples.stdlib_digest.digest import AGENT, Finished, digest_all


async def main(file: Path, limit: int) -> None:
    texts = stdlib_texts(limit)
    calls: Counter[str] = Counter()
    store = CrashingStore(SqliteStore(file), at=CrashPoint.from_environment())
    app = Awaken(store=store, settings=MailboxSettings(max_concurrent_runs=4))
    app.agent(AGENT, make_agent({text.module: text.docstring for text in texts}, calls=calls))
    async with app:
        await digest_all(app, texts, calls=calls, before=Finished(0, 0, 0, 0))
    print(store.apply_count)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
