"""Tables that fit the terminal, whatever its width; a pipe has none and gets everything.

Above: every command that lists. Below: rich.
Holds: each row is one line. What a command takes as an argument, the first column, is whole as long as it and what may
not be left out fit; other ids are whole where there is room, and cut in their middle otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from awaken.cli.palette import QUIET, style_of
from awaken.cli.terminal import one_line

_GAP: Final = 2
ID_CHARS: Final = 13
"""Of an id that is cut: eight in front and four behind, which tell apart two of the same second."""
_LEAST_WIDTH: Final = 10
"""Nobody's terminal is so narrow; what says so knows its width no better."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """`least`: it may be cut at its end to so many characters; None: it is whole or not there at all. `leaves`: when it
    is left out on a narrow terminal, the lowest first; None: never.
    """

    name: str
    least: int | None = None
    leaves: int | None = None
    is_id: bool = False
    """It is cut in its middle, to `ID_CHARS`."""
    is_status: bool = False
    """It has the colour of its word."""
    is_number: bool = False


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> None:
    """One line a row, below a line with the names. A terminal is not shown what may be left out and no row has."""
    console = Console(highlight=False)
    cells = cells_of(columns, rows)
    whole = [max(len(column.name), *[row[at].cell_len for row in cells]) for at, column in enumerate(columns)]
    if console.is_terminal:
        told = [at for at, column in enumerate(columns) if column.leaves is None or any(row[at].plain for row in cells)]
        columns, whole = [columns[at] for at in told], [whole[at] for at in told]
        cells = [[row[at] for at in told] for row in cells]
        widths = fitted(columns, whole, max(console.width, _LEAST_WIDTH))
    else:
        widths = dict(enumerate(whole))
        console = Console(highlight=False, width=_taken(widths))
    console.print(table_of(columns, cells, widths))


def cells_of(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> list[list[Text]]:
    """As they are printed where there is room."""
    return [[_text(column, cell) for column, cell in zip(columns, row, strict=True)] for row in rows]


def table_of(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], widths: dict[int, int], *, with_names: bool = True
) -> Table:
    """The columns that have a width, by their places."""
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style=QUIET, show_header=with_names)
    for at, width in widths.items():
        justify = "right" if columns[at].is_number else "left"
        table.add_column(columns[at].name, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(*[_elided(row[at], width) if columns[at].is_id else row[at] for at, width in widths.items()])
    return table


def fitted(columns: Sequence[Column], whole: Sequence[int], room: int) -> dict[int, int]:
    """The places of the columns that fit, each with its width, given how wide they would be.

    As many as fit when each is cut as far as it may be; what is left of the room goes to the first ones. The first
    column is cut only where nothing that may be left out is left.
    """
    shown = {at: _least(column, whole[at], is_first=at == 0) for at, column in enumerate(columns)}
    left_out: dict[int, int] = {}
    for at in sorted([at for at, column in enumerate(columns) if column.leaves is not None], key=_leaving(columns)):
        if _taken(shown) > room:
            left_out[at] = shown.pop(at)
    for at, width in reversed(left_out.items()):  # a wide one that went last may leave room for one before it
        if _taken(shown) + _GAP + width <= room:
            shown[at] = width
    shown = dict(sorted(shown.items()))
    shown[0] = max(shown[0] - max(_taken(shown) - room, 0), 1)
    for at in shown:
        left = room - _taken(shown)
        if whole[at] - shown[at] <= left or not columns[at].is_id:
            shown[at] = min(whole[at], shown[at] + max(left, 0))
    return shown


def _least(column: Column, whole: int, *, is_first: bool) -> int:
    if column.is_id:
        return whole if is_first else min(whole, ID_CHARS)
    return whole if column.least is None else min(whole, column.least)


def _leaving(columns: Sequence[Column]) -> Callable[[int], int]:
    return lambda at: columns[at].leaves or 0


def _taken(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _text(column: Column, cell: str | Text) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(one_line(cell), style=style_of(cell) if column.is_status else "")


def _elided(cell: Text, width: int) -> Text:
    return Text(elided(cell.plain, width), style=cell.style)


def elided(id: str, chars: int) -> str:
    """An id in so many characters: its end tells more than its middle."""
    if len(id) <= chars:
        return id
    behind = (chars - 1) // 3
    return f"{id[: chars - 1 - behind]}…{id[len(id) - behind :]}"
