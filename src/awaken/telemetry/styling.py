"""Whether what is printed may have colours and weights.

Above: the log of a server on a terminal, and every command.
Holds: a pipe gets plain text, whatever the environment wants to force; so does a terminal that can do no more, or whose
user asks for it (https://no-color.org).
"""

from __future__ import annotations

import os
from typing import TextIO


def is_styled(out: TextIO) -> bool:
    """Whether what is written there may carry codes that style it."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")
