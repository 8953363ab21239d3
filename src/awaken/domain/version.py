"""Which version of the package this is.

Above: whoever says so to a user. Below: what was installed.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """`unknown` where the package lies in a folder and was not installed."""
    try:
        return metadata.version("awaken")
    except metadata.PackageNotFoundError:
        return "unknown"
