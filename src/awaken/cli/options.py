"""The options that many commands have, each said once."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Group, Parameter

from awaken.domain.address import DEFAULT_URL

_SERVER = Group("The server", sort_key=1)

Url = Annotated[
    str, Parameter(env_var="AWAKEN_URL", group=_SERVER, help="The server's address; AWAKEN_URL when absent.")
]
URL: Url = DEFAULT_URL
Headers = Annotated[
    tuple[str, ...],
    Parameter(
        name="--header",
        negative=(),
        group=_SERVER,
        show_default=False,
        help='A header for every request, as "Name: value"; may be given again. AWAKEN_HEADERS has more, one a line.',
    ),
]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
AsJson = Annotated[
    bool, Parameter(name="--json", negative=(), show_default=False, help="Print one JSON document, for programs.")
]
EndAsJson = Annotated[
    AsJson, Parameter(help="Print the run as one JSON document when it has ended, and nothing before.")
]
