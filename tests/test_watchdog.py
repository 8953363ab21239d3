"""What becomes of a test that hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HANGS = """
import asyncio
import threading

async def test_tasks():
    async def inner():
        await asyncio.Event().wait()

    await asyncio.create_task(inner(), name="stuck task")

def test_threads():
    never = threading.Event()
    threading.Thread(target=never.wait, name="stuck thread", daemon=True).start()
    never.wait()

def test_the_next():
    pass
"""


def test_it_fails_with_its_name_and_all_stacks_and_the_next_one_begins(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nhangs_after_s = 0.2\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.watchdog", "--rootdir", tmp_path, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    for words in (
        "test_tasks",
        "task stuck task",
        "in inner",
        "test_threads",
        "thread stuck thread",
        "it hangs: 0.2 s",
    ):
        assert words in done.stdout, done.stdout
