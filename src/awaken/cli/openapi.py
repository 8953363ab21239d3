"""`awaken openapi`: what a server understands and answers, as an OpenAPI document."""

from __future__ import annotations

from awaken.cli.failure import Exit
from awaken.cli.options import URL, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.terminal import print_json
from awaken.client import calls


def openapi(*, url: Url = URL, header: Headers = ()) -> int:
    """Print the OpenAPI document of a server, to make a client from.

    Example: awaken openapi --url http://127.0.0.1:8000
    """
    with connected(url, header) as client:
        print_json(client.send(calls.openapi()))
    return Exit.OK
