"""What a colour means: the same everywhere, and four meanings are all there are.

Above: every command that prints. Below: rich, which leaves colours out on a pipe and where `NO_COLOR` is set, so that
none says anything that the words do not say as well.
"""

from __future__ import annotations

from typing import Final

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


def style_of(word: str) -> str:
    """The colour of a phase, a status or a state, as the server or a command names it."""
    return _STYLES.get(word, PLAIN)
