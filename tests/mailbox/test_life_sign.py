"""Signs of life: found dead is only who certainly is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from awaken.domain.ids import ConsumerId
from awaken.domain.worker import LifeSign
from awaken.mailbox.life_sign import FileSigns

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no sign is shown")

NEIGHBOUR = """
import os, sys
from pathlib import Path
from awaken.mailbox.life_sign import FileSigns
signs = FileSigns(Path(sys.argv[1]), boot_id="boot")
sign = signs.show("neighbour")
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(sign.path, flush=True)
sys.stdin.read()
signs.hide()
"""
LOOKS = """
import sys
from pathlib import Path
from awaken.domain.worker import LifeSign
from awaken.mailbox.life_sign import FileSigns
print(FileSigns(Path(sys.argv[1]), boot_id="boot").is_dead(LifeSign("boot", sys.argv[2])))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@contextmanager
def neighbour(folder: Path, *, how: str = "alone") -> Generator[tuple[subprocess.Popen[str], LifeSign]]:
    """A process that shows a sign until its input ends; so does what it has forked."""
    command = [sys.executable, "-c", NEIGHBOUR, str(folder), how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT) as child:
        assert child.stdout is not None
        yield child, LifeSign("boot", child.stdout.readline().strip())


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_process_that_is_killed_is_dead_at_once_whatever_it_has_forked(tmp_path: Path, how: str) -> None:
    signs = FileSigns(tmp_path, boot_id="boot")
    with neighbour(tmp_path, how=how) as (child, sign):
        assert not signs.is_dead(sign)

        child.kill()
        child.wait()

        assert signs.is_dead(sign)
        assert signs.is_dead(sign), "looking changes nothing"
    signs.bury(sign)
    assert not Path(sign.path).exists()
    assert not signs.is_dead(sign), "nothing is known of it any more"


def test_a_process_that_ends_well_leaves_no_sign(tmp_path: Path) -> None:
    with neighbour(tmp_path) as (_, sign):
        assert Path(sign.path).exists()
    assert not Path(sign.path).exists()
    assert not FileSigns(tmp_path, boot_id="boot").is_dead(sign)


def test_no_sign_of_this_process_is_a_dead_one_and_looking_does_not_break_it(tmp_path: Path) -> None:
    mine, other = FileSigns(tmp_path, boot_id="boot"), FileSigns(tmp_path, boot_id="boot")
    sign = mine.show(ConsumerId("mine"))
    assert sign is not None

    assert not other.is_dead(sign)

    looks = [sys.executable, "-c", LOOKS, str(tmp_path), sign.path]
    found = subprocess.run(looks, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert found.stdout == "False\n", "a neighbour still sees it"
    mine.hide()
    mine.hide()
    assert list(tmp_path.iterdir()) == []


def test_of_another_machine_or_boot_nothing_is_known(tmp_path: Path) -> None:
    with neighbour(tmp_path) as (child, sign):
        child.kill()
    assert not FileSigns(tmp_path, boot_id="later").is_dead(sign)
    assert FileSigns(tmp_path, boot_id="boot").is_dead(sign)


@pytest.mark.parametrize("place", ["../precious.life", "precious.txt", "deeper/precious.life"])
def test_a_path_out_of_the_store_leads_nowhere_else(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "signs"
    precious = folder / place
    precious.parent.mkdir(parents=True, exist_ok=True)
    precious.write_text("mine")
    signs, sign = FileSigns(folder, boot_id="boot"), LifeSign("boot", str(precious))

    assert not signs.is_dead(sign)
    signs.bury(sign)

    assert precious.read_text() == "mine"


def test_a_folder_that_others_may_write_to_holds_no_sign(tmp_path: Path) -> None:
    folder = tmp_path / "signs"
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    assert FileSigns(folder, boot_id="boot").show(ConsumerId("mine")) is None
    assert list(folder.iterdir()) == []


def test_where_none_can_be_shown_there_is_none(tmp_path: Path) -> None:
    taken = tmp_path / "signs"
    taken.write_text("a file")
    signs = FileSigns(taken, boot_id="boot")
    assert signs.show(ConsumerId("mine")) is None
    assert not signs.is_dead(LifeSign("boot", str(taken / "x.life")))
