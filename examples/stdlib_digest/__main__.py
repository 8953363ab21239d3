"""`python -m examples.stdlib_digest`: digest the standard library, and survive being killed while at it."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from awaken import Awaken, MailboxSettings
from awaken.wiring import open_store
from examples.stdlib_digest.agent import make_agent
from examples.stdlib_digest.corpus import Text, stdlib_texts
from examples.stdlib_digest.digest import AGENT, Report, digest_all, finished_before

SHOWN = 5


def main() -> None:
    options = _options()
    console = Console()
    texts = stdlib_texts(options.limit)
    asyncio.run(_run(texts, options, console))


async def _run(texts: list[Text], options: argparse.Namespace, console: Console) -> None:
    calls: Counter[str] = Counter()
    app = Awaken(options.store, settings=MailboxSettings(max_concurrent_runs=options.at_once))
    app.agent(
        AGENT,
        make_agent(
            {text.module: text.docstring for text in texts},
            calls=calls,
            think_s=options.think_ms / 1000,
            model=options.model,
        ),
    )
    async with open_store(options.store) as store:  # before anything goes on
        before = await finished_before(store, texts)
    with _progress(console) as progress:
        task = progress.add_task("digesting", total=len(texts), completed=before.runs, module="")
        async with app:
            done = iter(range(before.runs + 1, len(texts) + 1))

            def advance(module: str) -> None:
                progress.update(task, completed=next(done, len(texts)), module=module)

            report = await digest_all(app, texts, calls=calls, before=before, on_digest=advance)
    _print(report, console)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[module]}", style="dim"),
        console=console,
    )


def _print(report: Report, console: Console) -> None:
    digests = list(report.digests.values())
    for digest in digests[:: max(1, len(digests) // SHOWN)][:SHOWN]:
        console.print(f"  {digest}", highlight=False, soft_wrap=True, markup=False)
    before = report.before
    begun = before.submitted - before.runs
    console.print(f"runs: {report.total}, of which {before.runs} were done before and {begun} submitted")
    for what, done, made, repeated in (
        ("model", before.model_calls, report.now["model"], report.repeated_model_calls),
        ("tool", before.tool_calls, report.now["tool"], report.repeated_tool_calls),
    ):
        console.print(f"{what} calls: {done} finished before and not repeated, {made} made now, {repeated} made twice")
    if report.failed:
        console.print(f"failed: {report.failed}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="examples.stdlib_digest", description=__doc__)
    parser.add_argument("--store", default="sqlite:///stdlib_digest.db", help="where the runs are kept")
    parser.add_argument("--limit", type=int, help="at most so many modules")
    parser.add_argument("--at-once", type=int, default=8, help="runs executing at the same time")
    parser.add_argument("--think-ms", type=float, default=150, help="how long the scripted model takes for an answer")
    parser.add_argument("--model", help="a real model instead, for example openai:gpt-5")
    return parser.parse_args()


if __name__ == "__main__":
    main()
