"""A parent with two children and a message, over a store that kills it: `python -m tests.crash.family FILE NOTES`.

Each agent notes that it began to do its part; the parent's step, which nothing repeats once it is recorded, likewise.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from awaken.executors.function import Context
from awaken.store.sqlite import SqliteStore
from awaken.testing.crash import CrashingStore, CrashPoint
from awaken.wiring import Awaken


def make_app(file: Path, notes: Path) -> Awaken:
    def note(what: str) -> None:
        with notes.open("a") as out:
            out.write(what + "\n")

    async def worker(ctx: Context) -> str:
        text = await ctx.input()
        note(f"worker {text}")
        return f"did {text}"

    async def clerk(ctx: Context) -> str:
        note("clerk")
        return f"filed {await ctx.input()}"

    async def parent(ctx: Context) -> str:
        children = [await ctx.start("worker", text) for text in ("one", "two")]
        found = await ctx.gather(*children)
        await ctx.send("clerk", "the report", thread_id="desk")
        return " and ".join(found)

    app = Awaken(store=CrashingStore(SqliteStore(file), at=CrashPoint.from_environment()))
    for name, agent in {"parent": parent, "worker": worker, "clerk": clerk}.items():
        app.agent(name, agent)
    return app


async def main(file: Path, notes: Path) -> None:
    async with asyncio.timeout(60), make_app(file, notes) as app:
        run = await app.submit("home", "go", agent="parent", run_id="r")
        await run.result()
        while True:
            sent = await app.list_runs(agent="clerk")
            for each in sent:
                await app.wait(each.run_id)
            if sent and not await app.store.list_outbox():
                return
            await asyncio.sleep(0)  # the errand is on its way, and nothing says when it is there


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
