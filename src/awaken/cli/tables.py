"""Tables that fit the terminal, whatever its width; a pipe has none and gets everything.

Above: every command that lists. Below: rich.
Holds: an id is whole or not there, so that what is shown can be used. A row is one line where what may not be left out
fits in one, and otherwise one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from rich.text import Text

from awaken.cli.palette import QUIET, console_on, style_of
from awaken.cli.terminal import one_line

_GAP: Final = 2
_INDENT: Final = 2
"""Of each line of a block but its first."""
_LEAST_WIDTH: Final = 10
"""Nobody's terminal is so narrow; what says so knows its width no better."""

Line = dict[int, int]
"""The places of the columns that it shows, each with its width."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """`least`: it may be cut at its end to so many characters; None: it is whole or not there at all. `leaves`: when it
    is left out on a narrow terminal, the lowest first; None: never.
    """

    name: str
    least: int | None = None
    leaves: int | None = None
    is_status: bool = False
    """It has the colour of its word."""
    is_number: bool = False


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> None:
    """A line or a block for each row, below the names. A terminal is not shown what may be left out and no row has."""
    console = console_on()
    cells = cells_of(columns, rows)
    whole = [max(len(column.name), *[row[at].cell_len for row in cells]) for at, column in enumerate(columns)]
    lines = [dict(enumerate(whole))]
    if console.is_terminal:
        told = [at for at, column in enumerate(columns) if column.leaves is None or any(row[at].plain for row in cells)]
        columns, whole = [columns[at] for at in told], [whole[at] for at in told]
        cells = [[row[at] for at in told] for row in cells]
        lines = fitted(columns, whole, max(console.width, _LEAST_WIDTH))
    names = [Text(column.name, style=QUIET) for column in columns]
    console.print(Text("\n").join(laid_out(columns, [names, *cells], lines)), soft_wrap=True)


def cells_of(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> list[list[Text]]:
    """As they are printed where there is room."""
    return [[_text(column, cell) for column, cell in zip(columns, row, strict=True)] for row in rows]


def laid_out(columns: Sequence[Column], cells: Sequence[Sequence[Text]], lines: Sequence[Line]) -> list[Text]:
    """Each row in so many lines."""
    return [
        _line(columns, row, line, indent=_INDENT if number else 0) for row in cells for number, line in enumerate(lines)
    ]


def fitted(columns: Sequence[Column], whole: Sequence[int], room: int) -> list[Line]:
    """The lines of a row, given how wide its columns would be.

    One line shows as many columns as fit when each is cut as far as it may be; what is left of the room goes to the
    first ones. Where not even those fit that may not be left out, the first of these has a line of its own, and the
    rest is fitted below it. Only what is alone may be wider than the room.
    """
    found: list[Line] = []
    left: Sequence[int] = range(len(columns))
    while left:
        own = room - (_INDENT if found else 0)
        line = _fitting(columns, whole, left, own)
        if _taken(line) <= own:
            return [*found, line] if line else found
        alone = next(at for at in left if columns[at].leaves is None)
        found.append({alone: whole[alone] if columns[alone].least is None else min(whole[alone], own)})
        left = range(alone + 1, len(columns))
    return found


def _fitting(columns: Sequence[Column], whole: Sequence[int], places: Sequence[int], room: int) -> Line:
    """As much of these columns as fits; those that may not be left out are there even where they do not."""
    shown = {at: _least(columns[at], whole[at]) for at in places}
    left_out: Line = {}
    for at in sorted([at for at in places if columns[at].leaves is not None], key=lambda at: columns[at].leaves or 0):
        if _taken(shown) > room:
            left_out[at] = shown.pop(at)
    for at, width in reversed(left_out.items()):  # a wide one that went last may leave room for one before it
        if _taken(shown) + _GAP + width <= room:
            shown[at] = width
    for at in sorted(shown):
        shown[at] = min(whole[at], shown[at] + max(room - _taken(shown), 0))
    return dict(sorted(shown.items()))


def _least(column: Column, whole: int) -> int:
    return whole if column.least is None else min(whole, column.least)


def _taken(line: Line) -> int:
    return sum(line.values()) + _GAP * (len(line) - 1)


def _text(column: Column, cell: str | Text) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(one_line(cell), style=style_of(cell) if column.is_status else "")


def _line(columns: Sequence[Column], row: Sequence[Text], line: Line, *, indent: int) -> Text:
    shown = Text(" " * indent)
    for number, (at, width) in enumerate(line.items()):
        cell = row[at].copy()
        cell.truncate(width, overflow="ellipsis")
        room = " " * (width - cell.cell_len)
        shown.append(" " * _GAP if number else "")
        is_right = columns[at].is_number and len(line) > 1
        shown.append_text(Text.assemble(room, cell) if is_right else Text.assemble(cell, room))
    shown.rstrip()
    return shown
