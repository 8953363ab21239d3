"""`awaken drain` and `awaken undrain`: have a server's process begin no run, and have it begin them again.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.terminal import print_json
from awaken.client import Draining


def drain(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Have the server's process begin no run until it is undrained.

    It forgets so when it starts anew. What is submitted waits; what executes goes on.

    Example: awaken drain --url http://10.0.0.7:8000
    """
    with connected(url, header) as client:
        return _shown(client.drain(), as_json)


def undrain(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Have the server's process begin runs again.

    Example: awaken undrain --url http://10.0.0.7:8000
    """
    with connected(url, header) as client:
        return _shown(client.undrain(), as_json)


def _shown(draining: Draining, as_json: bool) -> int:
    if as_json:
        print_json(draining)
        return Exit.OK
    runs = "1 run is" if draining.executing == 1 else f"{draining.executing} runs are"
    print(f"drained; {runs} still executing" if draining.drained else "runs begin again")
    return Exit.OK
