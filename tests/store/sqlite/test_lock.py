"""One owner per file: a second one is told who has it and what to do instead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from awaken.domain.clock import to_rfc3339
from awaken.domain.errors import StoreUnavailable
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.lock import FileLock
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import SCOPE, THREAD, submitted

OPEN_AND_WAIT = """
import asyncio, sys
from awaken.store.sqlite import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1]):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def test_a_second_store_in_the_same_process_is_refused(path: Path, clock: ManualClock) -> None:
    async with SqliteStore(path, clock=clock):
        with pytest.raises(StoreUnavailable) as refused:
            async with SqliteStore(path):
                pass
    said = str(refused.value)
    assert f"process {os.getpid()} on " in said
    assert to_rfc3339(clock.now()) in said
    assert "over HTTP" in said and "--url" in said
    assert "Postgres" in said


async def test_another_name_for_the_file_is_the_same_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with SqliteStore(path):
        with pytest.raises(StoreUnavailable, match="already served"):
            async with SqliteStore(link):
                pass


async def test_a_refused_store_does_no_harm_and_the_file_is_free_after_the_first_has_left(path: Path) -> None:
    async with SqliteStore(path) as first:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                async with SqliteStore(path):
                    pass
        await submitted(first, "d1")
    async with SqliteStore(path) as second:
        assert await second.load_thread(SCOPE, THREAD) is not None


@pytest.fixture
def other_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves the file until it is killed."""
    command = [sys.executable, "-c", OPEN_AND_WAIT, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


async def test_the_lock_dies_with_its_process(path: Path, other_process: subprocess.Popen[bytes]) -> None:
    with pytest.raises(StoreUnavailable, match=f"process {other_process.pid} on "):
        async with SqliteStore(path):
            pass
    kill(other_process)
    async with SqliteStore(path) as store:
        await submitted(store, "d1")


def damage(path: Path) -> None:
    path.write_bytes(b"no database" * 100)


def remove(path: Path) -> None:
    path.unlink()


async def test_a_store_that_could_not_open_gives_the_lock_back(path: Path) -> None:
    damage(path)
    for _ in range(2):
        with pytest.raises(Exception, match="not an SQLite database"):
            async with SqliteStore(path):
                pass
    remove(path)
    async with SqliteStore(path):
        pass


def test_the_holder_need_not_be_readable(path: Path, clock: ManualClock) -> None:
    first = FileLock(path)
    first.take(clock)
    Path(f"{path}.lock").write_bytes(b"half a rec")
    with pytest.raises(StoreUnavailable, match="another process"):
        FileLock(path).take(clock)
    first.release()
    first.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_neither_uses_the_store_nor_keeps_its_lock(path: Path) -> None:
    read_end, write_end = os.pipe()
    async with SqliteStore(path) as store:
        child = os.fork()
        if child == 0:
            os.close(write_end)
            try:
                store.load_thread(SCOPE, THREAD).send(None)
                code = 1
            except StoreUnavailable as error:
                code = 0 if "forked" in str(error) else 2
            os.read(read_end, 1)  # outlive the parent's store
            os._exit(code)
        os.close(read_end)
    async with SqliteStore(path):
        os.close(write_end)
    assert exit_code_of(child) == 0


def exit_code_of(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_threads_that_take_and_release_files_of_their_own_do_not_meet(tmp_path: Path, clock: ManualClock) -> None:
    """A handle that one of them closes may be looked at by another at that moment, or belong to its file by then."""
    together = threading.Barrier(4)

    def take_and_release(name: str) -> None:
        together.wait(timeout=10)
        for _ in range(300):
            lock = FileLock(tmp_path / name)
            lock.take(clock)
            lock.release()

    with ThreadPoolExecutor(4) as threads:
        for each in [threads.submit(take_and_release, f"{n}.db") for n in range(4)]:
            each.result(timeout=30)
