"""The examples do what their pages say, in a small form."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from awaken.testing.crash import CRASH_AT
from examples.fastapi_mount.main import make_api
from tests.docs.repository import environment

LIMIT_S = 120
TEXTS = 24


# --- stdlib_digest ----------------------------------------------------------------------------------------------------


def test_the_digest_of_the_standard_library_finishes_and_counts_its_calls(tmp_path: Path) -> None:
    printed = digest(tmp_path / "digest.db")

    assert f"runs: {TEXTS}, of which 0 were done before and 0 submitted" in printed
    assert f"model calls: 0 finished before and not repeated, {2 * TEXTS} made now, 0 made twice" in printed
    assert f"tool calls: 0 finished before and not repeated, {2 * TEXTS} made now, 0 made twice" in printed
    assert re.search(r"\w+: \d+ words of [\d.]+ letters on average, about \w+", printed)


@pytest.mark.parametrize("crash_at", ["before:12", "after:24"])
def test_a_digest_that_was_killed_goes_on_where_it_was(crash_at: str, tmp_path: Path) -> None:
    """What was finished is counted before anything goes on, and exactly the rest is done."""
    file = tmp_path / "digest.db"
    killed = subprocess.run(
        [sys.executable, "-m", "tests.docs.killed_digest", str(file), str(TEXTS)],
        cwd=tmp_path,
        env=environment(**{CRASH_AT: crash_at}),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    printed = digest(file)

    done, submitted = numbers(printed, r"of which (\d+) were done before and (\d+) submitted")
    assert done + submitted > 0
    assert done < TEXTS
    for what in ("model", "tool"):
        before, now, twice = numbers(
            printed, rf"{what} calls: (\d+) finished before and not repeated, (\d+) made now, (\d+) made twice"
        )
        assert (before + now, twice) == (2 * TEXTS, 0)
        assert before >= 2 * done
    again = digest(file)
    assert f"runs: {TEXTS}, of which {TEXTS} were done before and 0 submitted" in again
    assert f"model calls: {2 * TEXTS} finished before and not repeated, 0 made now, 0 made twice" in again


def digest(file: Path) -> str:
    """Run the command of the example over a file to its end; what it printed."""
    options = ["--store", f"sqlite:///{file}", "--limit", str(TEXTS), "--think-ms", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "examples.stdlib_digest", *options],
        cwd=file.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(text: str, pattern: str) -> list[int]:
    found = re.search(pattern, text)
    assert found is not None, text
    return [int(number) for number in found.groups()]


# --- fastapi_mount ----------------------------------------------------------------------------------------------------


async def test_a_mounted_server_starts_with_the_applications_lifespan_and_knows_its_prefix(tmp_path: Path) -> None:
    api = make_api(f"sqlite:///{tmp_path / 'shop.db'}")
    asked = {"agent_id": "support", "input": "Where is it?"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://shop.test") as client:
        early = await client.post("/awaken/v1/runs", json=asked)
        assert (early.status_code, early.json()["code"]) == (503, "starting")

        async with api.router.lifespan_context(api):
            accepted = await client.post("/awaken/v1/runs", json=asked)
            assert accepted.status_code == 202
            assert accepted.headers["Location"].startswith("/awaken/v1/runs/")
            assert accepted.headers["Content-Location"].startswith("/awaken/v1/runs/")
            done = await client.get(accepted.headers["Content-Location"] + "/wait")
            assert (done.status_code, done.json()["run"]["status"]) == (200, "done")

            question = await client.post("/orders/4711/question", params={"text": "Where is it?"})
            assert question.status_code == 202
            await client.get(f"/awaken/v1/runs/{question.json()['run_id']}/wait")
            said = (await client.get("/awaken/v1/threads/order-4711/messages")).json()["items"]
            assert [message["role"] for message in said] == ["user", "assistant"]
