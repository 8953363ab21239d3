"""The texts: the docstring of each module of Python's standard library, read without importing anything."""

from __future__ import annotations

import ast
import hashlib
import pkgutil
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SKIPPED = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "turtledemo"})
"""Packages that hold the library's own tests, a program, or somebody else's code."""


class Text(NamedTuple):
    """A module and what it says about itself."""

    module: str
    docstring: str

    @property
    def run_id(self) -> str:
        """The same for the same text, so that a second start means the same run and another Python another one."""
        return f"{self.module}:{hashlib.sha256(self.docstring.encode()).hexdigest()[:8]}"


def stdlib_texts(limit: int | None = None) -> list[Text]:
    """Every module of the standard library that has a docstring, by name; at most `limit` of them."""
    folder = Path(sysconfig.get_path("stdlib"))
    found: list[Text] = []
    for module, path in sorted(_sources(folder)):
        docstring = _docstring(path)
        if docstring:
            found.append(Text(module, docstring))
        if len(found) == limit:
            break
    return found


def _sources(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    for module in pkgutil.iter_modules([str(folder)]):
        name = prefix + module.name
        if module.name in SKIPPED or name.partition(".")[0] not in sys.stdlib_module_names:
            continue
        path = folder / module.name
        if module.ispkg:
            yield name, path / "__init__.py"
            yield from _sources(path, f"{name}.")
        elif (source := path.with_suffix(".py")).exists():
            yield name, source


def _docstring(path: Path) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old modules hold escapes that newer parsers complain about
        with tokenize.open(path) as file:
            return ast.get_docstring(ast.parse(file.read()))
