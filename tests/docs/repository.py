"""The repository as the documentation tests see it: pages, their links, headings and code, and how to run a program.

Above: the tests of this folder. Below: the files of the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "benchmarks").rglob("*.md"),
    ]
)

_FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Code(NamedTuple):
    """A block of code in a page; `line` is where it begins."""

    page: Path
    line: int
    language: str
    text: str


def code(page: Path, language: str) -> list[Code]:
    """The blocks of a page in that language, in order."""
    text = page.read_text()
    return [
        Code(page, text.count("\n", 0, found.start()) + 2, language, found[3])
        for found in _FENCE.finditer(text)
        if found[2] == language
    ]


def links(page: Path) -> list[str]:
    """Where the page points to, outside its code."""
    return _LINK.findall(_FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The names of its headings, as a browser addresses them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def environment(**more: str) -> dict[str, str]:
    """For a program that is not started in this repository and still has to find it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), **more}
