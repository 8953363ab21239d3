"""The ledger of behaviour: what is built, what cannot occur, what comes later, and what is not part of the package.

An id is a row of the specifications this package is built from: of stores (MB, LV, SG, TR, PM, CC, EV, DS, OB, VR, PR,
SP, CF, SC, SV, NBF), of the mailbox (MBX, and D and P for its known faults) and of the server (SRV); or one of this
package's own, with the prefix of its area. Each area has a file of its own in `areas`, which names `AREA`; a new file
is found by itself.

Above: `test_ledger`, which compares the ledger with the `@behaviour` marks both ways, and the summary of a test run.
Below: the files of `areas`.
Holds: an id stands in one place. An entry is added, may change its kind, and is never taken away.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "areas"


class Wing(StrEnum):
    """What a later entry waits for."""

    SECOND_SHAPE = "the second shape of the store"
    """Routes, suspects, numbered commits, retention by run and event, signals, a bounded start and stop."""
    REAL_USE = "what real use found"
    """Input checked at the edge, browsers and proxies, failures of agents."""
    PEOPLE = "people"
    """Steering, pending messages, tickets and decisions, waiting runs, child runs, thread state, spans."""
    AUDITOR = "auditor"
    """The invariants with their repairs, and the sentence that says why something waits."""
    OPERATIONS = "operations"
    """Dead letters to look at and retry, deleting threads, metrics and traces in full."""
    PROTOCOLS = "protocols"
    """The dialects over the one log, and calls to the outside."""
    POSTGRES = "Postgres"
    """Many processes on one database."""
    FACES = "console and command line"
    TENANTS = "tenants"
    """Keys, tenants, limits, repeatable requests."""


class Built(msgspec.Struct, frozen=True):
    """Users get it; a marked test shows it."""

    sentence: str
    note: str = ""
    """Where it differs from the row's letter, or how far it goes."""


class CannotOccur(msgspec.Struct, frozen=True):
    """What makes the case impossible; a marked test would fail if it were possible."""

    reason: str


class Later(msgspec.Struct, frozen=True):
    """Not there yet, so that no test can show it."""

    sentence: str
    by: Wing


class NotInPackage(msgspec.Struct, frozen=True):
    """Not there, and not meant to be."""

    reason: str


class Same(msgspec.Struct, frozen=True):
    """Says what another entry says, and is shown by that entry's test."""

    as_: str


Entry = Built | CannotOccur | Later | NotInPackage
Group = tuple[tuple[str, ...], Entry | Same]
KINDS: Final[dict[type[Entry], str]] = {
    Built: "built",
    CannotOccur: "cannot occur",
    Later: "later",
    NotInPackage: "not in the package",
}


def built(*ids: str, sentence: str, note: str = "") -> Group:
    return ids, Built(sentence, note)


def cannot(*ids: str, because: str) -> Group:
    return ids, CannotOccur(because)


def later(*ids: str, sentence: str, by: Wing) -> Group:
    return ids, Later(sentence, by)


def absent(*ids: str, because: str) -> Group:
    return ids, NotInPackage(because)


def same(*ids: str, as_: str) -> Group:
    return ids, Same(as_)


class Area:
    """Entries about one subject, in the order in which its file has them."""

    def __init__(self, name: str, *groups: Group) -> None:
        self.name = name
        self.rows = [(each, entry) for ids, entry in groups for each in ids]


class Ledger:
    """The areas together.

    Raises:
        ValueError: An id stands in two places, or an entry is the same as none, or as one that is itself the same.
    """

    def __init__(self, areas: Iterable[Area]) -> None:
        self.areas = tuple(areas)
        self.home: dict[str, str] = {}
        """The area of every id."""
        self.rows: dict[str, Entry | Same] = {}
        for area in self.areas:
            for each, entry in area.rows:
                if each in self.home:
                    raise ValueError(f"{each} stands in {self.home[each]!r} and in {area.name!r}")
                self.home[each] = area.name
                self.rows[each] = entry
        for each, entry in self.rows.items():
            if isinstance(entry, Same) and isinstance(self.rows.get(entry.as_), Same | None):
                raise ValueError(f"{each} is to be the same as {entry.as_}, which says nothing itself")

    def entry(self, id: str) -> Entry:
        """What holds for the id. Raises KeyError."""
        row = self.rows[id]
        if not isinstance(row, Same):
            return row
        meant = self.rows[row.as_]
        assert not isinstance(meant, Same), "looked at when the ledger was made"
        return meant

    def wrong(self, marks: Mapping[str, list[str]]) -> list[str]:
        """A line for each contradiction between the ledger and the marks: the tests by the id they are marked with."""
        return [
            *(f"{each} has no entry, but marks {tests[0]}" for each, tests in marks.items() if each not in self.rows),
            *(line for each, row in self.rows.items() for line in _wrong_row(each, row, marks.get(each, []))),
        ]

    def counts(self) -> str:
        """How many entries of each kind, by area; several lines."""
        width = max(len(area.name) for area in self.areas)
        lines = ["".join(["behaviour ledger".ljust(width), *(f"  {name}" for name in KINDS.values())])]
        for name, ids in [
            *((area.name, [each for each, _ in area.rows]) for area in self.areas),
            ("all", [*self.rows]),
        ]:
            kinds = [type(self.entry(each)) for each in ids]
            counted = [str(kinds.count(kind)).rjust(len(label) + 2) for kind, label in KINDS.items()]
            lines.append("".join([name.ljust(width), *counted]))
        return "\n".join(lines)


def _wrong_row(id: str, row: Entry | Same, tests: list[str]) -> Iterator[str]:
    match row:
        case Built() | CannotOccur():
            if not tests:
                yield f"{id} is {KINDS[type(row)]}, but no test shows it"
        case Later(by=wing):
            if tests:
                yield f"{id} comes later, with {wing}, but marks {tests[0]}"
        case NotInPackage():
            if tests:
                yield f"{id} is not in the package, but marks {tests[0]}"
        case Same(as_=as_):
            if tests:
                yield f"{id} is the same as {as_}: mark {tests[0]} with that"


def load() -> Ledger:
    """Read every file of `areas`, by name. Raises as `Ledger`."""
    modules = [importlib.import_module(f"tests.behaviour.areas.{path.stem}") for path in sorted(FOLDER.glob("*.py"))]
    return Ledger([_area_of(vars(module)) for module in modules])


def _area_of(names: Mapping[str, object]) -> Area:
    area = names["AREA"]
    assert isinstance(area, Area)
    return area


LEDGER: Final = load()
