"""Statements live in a `.sql` file beside the code that runs them; this reads such a file, once, at import.

Above: each SQL store names the statements it runs. Below: files made of blocks headed by `-- name: word`, and of parts
that several statements share, such as the columns of a table, headed by `-- part: word` and used as `{word}`.
Holds: a name that is missing, or there twice, stops the import. Nothing else is ever put into a statement's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_HEAD: Final = "-- name:"
_PART: Final = "-- part:"
_USE: Final = re.compile(r"\{([a-z_]+)\}")


def load_statements(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """The statements of a file of the package by name, without their comments."""
    return parse_statements(files(package).joinpath(file).read_text(encoding="utf-8"), file)


def parse_statements(text: str, source: str) -> Mapping[str, str]:
    """As `load_statements`, for a text. What stands before the first name is a comment.

    Raises:
        ValueError: A name appears twice, has no statement, or uses a part that the file lacks.
    """
    statements: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {}
    block: list[str] | None = None
    for line in text.splitlines():
        if line.startswith((_HEAD, _PART)):
            kind, name = (statements if line.startswith(_HEAD) else parts), line[len(_HEAD) :].strip()
            if name in kind:
                raise ValueError(f"{source}: the statement {name!r} appears twice")
            block = kind[name] = []
        elif block is not None and line.strip() and not line.lstrip().startswith("--"):
            block.append(line.strip())

    def used(match: re.Match[str]) -> str:
        if match[1] not in parts:
            raise ValueError(f"{source}: there is no part {match[1]!r}")
        return " ".join(parts[match[1]])

    for name, lines in (statements | parts).items():
        if not lines:
            raise ValueError(f"{source}: the statement {name!r} is empty")
    whole = {name: _USE.sub(used, " ".join(lines)).removesuffix(";") for name, lines in statements.items()}
    return MappingProxyType(whole)
