"""Statements live in a `.sql` file beside the code that runs them; this reads such a file, once, at import.

Above: each SQL store names the statements it runs. Below: files made of blocks headed by `-- name: word`.
Holds: a name that is missing, or there twice, stops the import.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_HEAD: Final = "-- name:"


def load_statements(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """The statements of a file of the package by name, without their comments."""
    return parse_statements(files(package).joinpath(file).read_text(encoding="utf-8"), file)


def parse_statements(text: str, source: str) -> Mapping[str, str]:
    """As `load_statements`, for a text. What stands before the first name is a comment.

    Raises:
        ValueError: A name appears twice, or has no statement.
    """
    blocks: dict[str, list[str]] = {}
    block: list[str] | None = None
    for line in text.splitlines():
        if line.startswith(_HEAD):
            name = line.removeprefix(_HEAD).strip()
            if name in blocks:
                raise ValueError(f"{source}: the statement {name!r} appears twice")
            block = blocks[name] = []
        elif block is not None and line.strip() and not line.lstrip().startswith("--"):
            block.append(line.strip())
    for name, lines in blocks.items():
        if not lines:
            raise ValueError(f"{source}: the statement {name!r} is empty")
    return MappingProxyType({name: " ".join(lines).removesuffix(";") for name, lines in blocks.items()})
