"""What a colour means: the same everywhere, and four meanings are all there are.

Above: every command that prints. Below: rich, and `is_styled`, which says where there are none: so none says anything
that the words do not say as well.
"""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from typing import Final, TextIO

from rich.console import Console, ConsoleDimensions

from awaken.telemetry.styling import is_styled

OK: Final = "green"
"""It went well."""
ATTENTION: Final = "yellow"
"""It waits for somebody, or for better times; nothing is lost."""
BAD: Final = "red"
"""It failed, and does not go on by itself."""
QUIET: Final = "dim"
"""Beside the point: headings, notes, what is over and done with."""
PLAIN: Final = "default"

_WORDS: Final = {
    OK: ("completed", "stopped", "served", "serves", "decided", "succeeded", "mended", "healthy", "ready", "full"),
    ATTENTION: (
        *("retrying", "waiting", "needs_decision", "needs_input", "open", "paused", "drained", "stale", "suspect"),
        *("degraded", "starting", "expired"),
    ),
    BAD: ("failed", "dead_letter", "not loadable", "refused", "found", "unavailable", "error"),
    QUIET: ("cancelled", "superseded", "withdrawn", "discarded", "retried", "acked", "idle"),
}
_STYLES: Final = {word: style for style, words in _WORDS.items() for word in words}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Left to the command line, which ends quietly and well; rich would end the process with a failure."""
        raise


def console_on(out: TextIO | None = None, *, width: int | None = None, soft_wrap: bool = False) -> Console:
    """What prints to a stream, the standard output when none is named: styled where that may be."""
    stream = out or sys.stdout
    console = _Console(
        file=stream,
        width=width,
        force_terminal=stream.isatty(),
        color_system="auto" if is_styled(stream) else None,
        highlight=False,
        soft_wrap=soft_wrap,
    )
    if width is None and console.is_dumb_terminal:
        console.size = ConsoleDimensions(*get_terminal_size())  # rich believes that it has 80 columns
    return console


def style_of(word: str) -> str:
    """The colour of a phase, a status or a state, as the server or a command names it."""
    return _STYLES.get(word, PLAIN)
