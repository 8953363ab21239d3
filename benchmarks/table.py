"""What a run of the benchmarks has to say: gates, which are met or missed, and rows, which inform.

Below: `results.json` holds the gates; the printed table holds everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.machine import Machine

Sense = Literal["at least", "at most"]


class Gate(msgspec.Struct, frozen=True):
    """A figure that has to reach a target."""

    gate: str
    value: float
    target: float
    unit: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.gate} {written(self.target, self.unit)}: measured {written(self.value, self.unit)}"


class Row(msgspec.Struct, frozen=True):
    """A figure, or a sentence, that helps to understand the gates."""

    name: str
    value: float | None
    unit: str = ""
    note: str = ""


class Findings(msgspec.Struct):
    """What one question answered."""

    question: str
    gates: list[Gate] = []
    rows: list[Row] = []
    failure: str | None = None
    """Why it could not be answered."""

    def gate(self, name: str, value: float, sense: Sense, target: float, unit: str) -> None:
        value = rounded(value)
        passed = value >= target if sense == "at least" else value <= target
        self.gates.append(Gate(f"{name}, {sense}", value, rounded(target), unit, passed))

    def row(self, name: str, value: float | None, unit: str = "", note: str = "") -> None:
        self.rows.append(Row(name, None if value is None else rounded(value), unit, note))

    def skipped(self, name: str, why: object) -> None:
        self.rows.append(Row(name, None, note=f"skipped: {why}"))


def rounded(value: float) -> float:
    """Three digits are more than a measurement of this kind can stand for."""
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))


def written(value: float, unit: str = "") -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:g}"
    return f"{text} {unit}".rstrip()


def show(console: Console, machine: Machine, after: Machine, findings: list[Findings]) -> None:
    """Print everything for somebody who sees it for the first time."""
    console.print(
        f"\n[bold]Machine[/bold]  {machine.cores} cores of {machine.processor}, {machine.memory_gb:g} GB, "
        f"{machine.system}, Python {machine.python}, SQLite {machine.sqlite}, "
        f"fsync {machine.fsync_us:g} µs (after: {after.fsync_us:g}), "
        f"{machine.loop_millions_s:g} million Python loops/s (after: {after.loop_millions_s:g})\n",
        highlight=False,
    )
    gates = Table(title="Gates", title_justify="left", title_style="bold", show_edge=False)
    for name in ("", "gate", "measured", "target"):
        gates.add_column(name, justify="right" if name in ("measured", "target") else "left")
    for finding in findings:
        for gate in finding.gates:
            mark = "[green]✓[/green]" if gate.passed else "[red]✗[/red]"
            name, _, sense = gate.gate.rpartition(", ")
            bound = "≥" if sense == "at least" else "≤"
            gates.add_row(mark, name, written(gate.value, gate.unit), f"{bound} {written(gate.target, gate.unit)}")
    console.print(gates)
    for finding in findings:
        if finding.failure:
            console.print(
                f"\n[red]{escape(finding.question)} could not be measured[/red]\n{escape(finding.failure)}",
                soft_wrap=True,
            )
            continue
        table = Table(title=f"\n{finding.question}", title_justify="left", title_style="bold", show_edge=False)
        table.add_column("", justify="left")
        table.add_column("measured", justify="right")
        table.add_column("", justify="left", style="dim")
        for row in finding.rows:
            table.add_row(row.name, "" if row.value is None else written(row.value, row.unit), row.note)
        console.print(table)


def save(path: Path, findings: list[Findings]) -> None:
    """Write the gates, all of them anew."""
    gates = [gate for finding in findings for gate in finding.gates]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(gates), indent=2) + b"\n")
