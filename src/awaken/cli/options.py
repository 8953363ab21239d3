"""The options that many commands have, each said once."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Group, Parameter

from awaken.domain.address import DEFAULT_URL

_SERVER = Group("The server", sort_key=1)

URL_VARIABLE: Final = "AWAKEN_URL"
_ADDRESS: Final = Parameter(
    env_var=URL_VARIABLE, group=_SERVER, help=f"The server's address; {URL_VARIABLE} when absent."
)
Url = Annotated[str, _ADDRESS]
UrlInstead = Annotated[str | None, _ADDRESS]
"""Of a command that need not talk to one."""
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
