"""What a reader wants: which events, by channel, by kind, with the pieces of text or without; what is said beside runs.

Above: streams and pages over HTTP, and `Awaken`. Below: the table of kinds.
Holds: equal selections are the same object, so that what is encoded for one reader serves all with that selection.

Source: `docs/reference/events.md` (channels); SRV-024.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, get_args

from awaken.domain.checking import checked_flag, shown
from awaken.domain.errors import ValidationError
from awaken.domain.event import CHANNELS, DELTA_KINDS
from awaken.domain.log import ALL, ReadEvent
from awaken.domain.shown import Include

OTHER_CHANNEL: Final = "other"
CHANNEL_NAMES: Final = tuple(sorted({*CHANNELS.values(), OTHER_CHANNEL}))
INCLUDED: Final = tuple(sorted(get_args(Include)))
DEFAULT_CHANNELS: Final = frozenset(CHANNEL_NAMES) - {"debug"}


class Selection:
    """Which events a reader wants. Made by `select`, so that equal ones are the same object."""

    __slots__ = ("_channels", "_kinds", "_wanted", "_with_deltas")

    def __init__(self, channels: frozenset[str], include_deltas: bool, kinds: frozenset[str] | None) -> None:
        self._channels = channels
        self._with_deltas = include_deltas
        self._kinds = kinds
        self._wanted: dict[str, bool] = {}

    def wants(self, kind: str) -> bool:
        wanted = self._wanted.get(kind)
        if wanted is None:
            in_channel = CHANNELS.get(kind, OTHER_CHANNEL) in self._channels
            named = self._kinds is None or kind in self._kinds
            wanted = in_channel and named and (self._with_deltas or kind not in DELTA_KINDS)
            if len(self._wanted) < 256:
                self._wanted[kind] = wanted
        return wanted

    def shows(self, event: ReadEvent) -> bool:
        """Whether it is sent. Internal ones are not for clients."""
        return self.wants(event.kind) and event.visibility is ALL


@lru_cache(maxsize=1024)
def select(
    channels: frozenset[str] | None = None, include_deltas: bool = True, kinds: frozenset[str] | None = None
) -> Selection:
    """The selection of some channels (None: all but `debug`), with or without deltas, or of some kinds only."""
    return Selection(DEFAULT_CHANNELS if channels is None else channels, include_deltas, kinds)


def selection_of(channels: Iterable[str] | None, kinds: Iterable[str] | None, include_deltas: bool) -> Selection:
    """As `select`; a kind asked for by name is wanted whatever channel it is in.

    Raises:
        ValidationError: There is no such channel or kind, or a choice of none, with which nothing would ever come.
    """
    checked_flag(include_deltas, what="include_deltas")
    chosen = _known(channels, frozenset(CHANNEL_NAMES), "channels")
    named = _known(kinds, frozenset(CHANNELS), "kinds")
    if chosen is None and named is not None:
        chosen = frozenset(CHANNEL_NAMES)
    return select(chosen, include_deltas, named)


def included(include: Iterable[str]) -> frozenset[str]:
    """What is to be said beside runs. Raises ValidationError for what is not known."""
    return frozenset() if include == () else _known(include, frozenset(INCLUDED), "include") or frozenset()


def chosen_names(names: Iterable[str] | None, what: str) -> frozenset[str] | None:
    """The names of a choice; None for all. Raises ValidationError for what is none, and for a choice of nothing."""
    if names is None:
        return None
    try:
        asked = frozenset((names,) if isinstance(names, str) else names)
    except TypeError:
        raise ValidationError(f"{what} are names, and not {shown(names)}", loc=(what,)) from None
    if not asked:
        raise ValidationError(f"{what} names none, so that nothing would come; leave it out", loc=(what,))
    return asked


def _known(names: Iterable[str] | None, known: frozenset[str], what: str) -> frozenset[str] | None:
    asked = chosen_names(names, what)
    if asked is None:
        return None
    for name in sorted(asked - known, key=shown):
        raise ValidationError(f"{what} does not know {shown(name)}; there are: {', '.join(sorted(known))}", loc=(what,))
    return asked
