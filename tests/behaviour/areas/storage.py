"""Durability, refusals, and what is on disk."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, absent, built, cannot, same

AREA: Final = Area(
    "stores and their files",
    built("MB-160", sentence="Everything is there after reopening, and a claim is still fenced."),
    built("MB-161", sentence="A new file gets its schema, and opening it again changes nothing."),
    built("MB-172", sentence="No id is taken for another."),
    built(
        "MB-173",
        sentence="A store that cannot be reached is refused with a reason, and can be opened once it can be reached.",
    ),
    built("EV-021", sentence="Opening a file whose schema is there already is fine."),
    built("TR-111", sentence="A write that fails leaves earlier data as it was."),
    built("TR-112", sentence="After a failed write the next one is stored, and only that one."),
    built("TR-113", sentence="Writers that fail cost the others nothing."),
    built("TR-114", sentence="Readers see the old state while writers fail."),
    built("TR-117", sentence="A process killed in the middle of a write leaves what was stored before."),
    built(
        "TR-118",
        sentence="A process killed while it deletes a tree of threads leaves the tree as it was, or goes on.",
        note="It goes on when it is asked again: each thread is deleted by itself.",
    ),
    built("TR-119", sentence="An id that could be part of a path is refused, and no file is made of one."),
    built("TR-120", sentence="Two spellings of one file are one file, with one owner."),
    cannot("TR-121", because="Nothing is kept in JSON files; a damaged row is an error that names it."),
    same("CC-020", as_="TR-121"),
    absent("TR-036", because="The first schema has no older one whose rows could lack a column."),
    cannot(
        "SP-001",
        "SP-002",
        "SP-003",
        because="What was streamed of an unfinished turn stands in the log and is void when the run goes on; no copy of it is kept, replaced or deleted.",
    ),
)
