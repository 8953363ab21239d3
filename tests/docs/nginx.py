"""A real nginx for the tests, without root: one that is there, or Debian's package, unpacked and not installed.

Above: the test of the page about proxies. Below: apt, asked for one package by name.
Holds: nothing outside the environment that runs the tests is changed. `AWAKEN_TEST_NGINX=/path/to/nginx` names another.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

VARIABLE: Final = "AWAKEN_TEST_NGINX"
_LIMIT_S: Final = 120
_AROUND: Final = """
worker_processes 1;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


class Missing(Exception):
    """There is no nginx, and why."""


class Nginx:
    """Serves the configuration of a page while it is entered, with a port of the test in the place of 80."""

    def __init__(self, program: Path, folder: Path, port: int, servers: str) -> None:
        folder.mkdir(parents=True)
        assert "listen 80;" in servers
        servers = servers.replace("listen 80;", f"listen 127.0.0.1:{port};")
        (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, servers=servers))
        self._command = [str(program), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        printed = ""
        for line in self._process.stderr:
            printed += line
            if "event method" in line:  # it listens before it chooses how to wait
                return self
        raise AssertionError(printed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=_LIMIT_S)


def find() -> Path:
    """The program. Raises Missing."""
    named = os.environ.get(VARIABLE) or shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    program = Path(named) if named else _unpacked()
    if named is None:
        _try(program, "-v", what="nginx, unpacked, does not start")
    return program


def _unpacked() -> Path:
    """Debian's package in a folder of the environment."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Missing(f"this is no Debian, and there is no nginx; {VARIABLE}=/path/to/nginx names one")
    home = Path(sys.prefix) / "nginx"
    home.mkdir(exist_ok=True)
    program = home / "root" / "usr" / "sbin" / "nginx"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _unpack(home)
    return program


def _unpack(home: Path) -> None:
    for old in home.glob("nginx_*.deb"):
        old.unlink()
    try:
        _try("apt-get", "download", "nginx", folder=home, what="apt-get could not fetch the package nginx")
    except Missing:
        # A fresh machine has no lists of packages yet. These are kept here, which takes no rights.
        for name in ("lists/partial", "cache/archives/partial"):
            (home / name).mkdir(parents=True, exist_ok=True)
        own = ["-o", f"Dir::State::Lists={home / 'lists'}", "-o", f"Dir::Cache={home / 'cache'}"]
        _try("apt-get", *own, "update", folder=home, what="apt-get could not fetch its lists")
        _try("apt-get", *own, "download", "nginx", folder=home, what="apt-get could not fetch the package nginx")
    [package] = home.glob("nginx_*.deb")
    _try("dpkg-deb", "-x", package.name, "root", folder=home, what="dpkg-deb could not unpack nginx")


def _try(*command: str | Path, what: str, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S)
        reason = "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip() or "no reason given"
    except (subprocess.TimeoutExpired, OSError) as error:
        reason = str(error)
    if reason:
        raise Missing(f"{what}: {reason.splitlines()[-1]}; {VARIABLE}=/path/to/nginx names another")
