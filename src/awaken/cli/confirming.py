"""Nothing is taken away by accident: whoever sits at a terminal is asked first, and a script has said it by its call.

Above: the commands that delete or discard.
"""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from awaken.cli.failure import Failure
from awaken.cli.terminal import printable

Yes = Annotated[bool, Parameter(negative=(), show_default=False, help="Do not ask first, where a terminal would be.")]


def confirm(what: str, yes: bool) -> None:
    """Return where it may be done.

    Raises:
        Failure: Whoever was asked has not said yes.
    """
    if yes or not sys.stdin.isatty():
        return
    print(f"{printable(what)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("left as it is")
