"""Answer some or all of the questions, print a table, write `benchmarks/results.json`.

    python -m benchmarks                 everything, in at most 15 minutes on two cores
    python -m benchmarks growth lists    some of it; these two, audit and consoles share a file of a million runs
    python -m benchmarks --quick         small sizes: shows that everything works, measures little

Exit code 1 when a gate is missed. Only ratios inside one run mean something on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console

from benchmarks import (
    audit,
    consoles,
    cycles,
    dialects,
    growth,
    idle,
    limits,
    lists,
    peers,
    postgres,
    reading,
    server,
    sse,
    startup,
    streams,
    sustained,
    waiting,
)
from benchmarks.machine import probe
from benchmarks.process import MeasurementFailed, scratch
from benchmarks.stock import Stock
from benchmarks.table import Findings, save, show

RESULTS: Final = Path(__file__).resolve().parent / "results.json"


class Question(Protocol):
    def __call__(self, *, quick: bool) -> Findings: ...


def main(arguments: Sequence[str] | None = None, *, results: Path = RESULTS) -> int:
    console, progress = Console(), Console(stderr=True)
    with scratch() as folder:
        questions = _questions(Stock(folder))
        asked = _parsed(arguments, questions)
        before = probe(folder)
        names: list[str] = asked.questions or [*questions]
        findings = [_answered(name, questions[name], asked.quick, progress) for name in names]
        after = probe(folder)
    show(console, before, after, findings)
    save(results, findings)
    missed = [gate for finding in findings for gate in finding.gates if not gate.passed]
    failed = [finding for finding in findings if finding.failure]
    met = sum(len(finding.gates) for finding in findings) - len(missed)
    console.print(f"\n{met} gates met, {len(missed)} missed; written to {results}", highlight=False)
    for gate in missed:
        console.print(f"missed: {gate}", highlight=False)
    return 1 if missed or failed else 0


def _questions(stock: Stock) -> dict[str, Question]:
    """In the order in which they are answered."""
    return {
        "cycles": cycles.answer,
        "growth": partial(growth.answer, stock=stock),
        "lists": partial(lists.answer, stock=stock),
        "audit": partial(audit.answer, stock=stock),
        "consoles": partial(consoles.answer, stock=stock),
        "sustained": sustained.answer,
        "streams": streams.answer,
        "waiting": waiting.answer,
        "server": server.answer,
        "startup": startup.answer,
        "idle": idle.answer,
        "reading": reading.answer,
        "sse": sse.answer,
        "dialects": dialects.answer,
        "postgres": postgres.answer,
        "limits": limits.answer,
        "peers": peers.answer,
    }


def _parsed(arguments: Sequence[str] | None, questions: Mapping[str, Question]) -> argparse.Namespace:
    description, _, epilog = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="question", help=", ".join(questions))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.questions if name not in questions]
    if unknown:
        parser.error(f"there is no question {unknown[0]!r}; there are {', '.join(questions)}")
    return asked


def _answered(name: str, question: Question, quick: bool, progress: Console) -> Findings:
    """One question; a measurement that fails costs its own figures only."""
    started = time.perf_counter()
    progress.print(f"{name} …", highlight=False)
    try:
        findings = question(quick=quick)
    except MeasurementFailed as error:
        findings = Findings(name, failure=str(error))
    progress.print(f"{name}: {time.perf_counter() - started:.0f} s", highlight=False)
    return findings


if __name__ == "__main__":
    sys.exit(main())
