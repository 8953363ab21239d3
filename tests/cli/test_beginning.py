"""`awaken init`: what it writes runs at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from awaken.cli import main as main_module
from awaken.cli.failure import Exit
from awaken.cli.init import FILES
from tests.cli.conftest import Awaken

SOURCE = str(Path(main_module.__file__).parents[2])


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_starter_passes_its_test_and_could_be_served(awaken: Awaken, tmp_path: Path) -> None:
    folder = tmp_path / "some" / "where"
    shown = awaken("init", str(folder))
    assert shown.code == Exit.OK
    assert shown.out.split() == [str(folder / name) for name in FILES]
    assert f"cd {folder} && awaken serve agents:app" in shown.err
    assert "1 passed" in run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    run(folder, sys.executable, "-m", "awaken", "serve", "agents:app", "--check", "--port", "0")
    asked = "import asyncio, agents\nasync def main():\n  async with agents.app as app:\n"
    asked += "    print((await app.run(None, 'good morning', agent='hello')).output)\nasyncio.run(main())"
    assert "You said: good morning" in run(folder, sys.executable, "-c", asked)


def test_the_starter_is_tidy(awaken: Awaken, tmp_path: Path) -> None:
    awaken("init", str(tmp_path))
    for check in (("check", "--select", "E,F,I,UP,ANN"), ("format", "--check")):
        run(tmp_path, sys.executable, "-m", "ruff", *check, "--isolated", "--no-cache", ".")


def test_nothing_that_is_there_is_changed(awaken: Awaken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents.py").write_text("mine")
    shown = awaken("init")
    assert (shown.code, shown.out) == (Exit.CONFLICT, "")
    assert "agents.py is there already; nothing was written" in shown.err
    assert [each.name for each in tmp_path.iterdir()] == ["agents.py"]
    (tmp_path / "file").write_text("")
    assert awaken("init", "file").code == Exit.FAILED
