"""The benchmarks work: small sizes, no judgement of speed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest

from benchmarks import raw
from benchmarks.__main__ import main
from benchmarks.cycles import Cycles
from benchmarks.desk import TEXT
from benchmarks.dialects import ENCODERS
from benchmarks.growth import Costs
from benchmarks.machine import percentile, probe
from benchmarks.naive import NaiveResult
from benchmarks.process import MeasurementFailed, alone
from benchmarks.stock import Size, Stock
from benchmarks.table import Findings, Gate, save


@pytest.fixture(autouse=True)
def on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is counted there only."""
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_gate_is_passed_when_its_value_is_on_the_right_side_of_its_target(tmp_path: Path) -> None:
    findings = Findings("anything")
    findings.gate("speed", 30, "at least", 30, "x")
    findings.gate("speed", 29.9, "at least", 30, "x")
    findings.gate("delay", 5.01, "at most", 5, "ms")
    findings.row("not a gate", 1.0)
    save(tmp_path / "results.json", [findings])

    written = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=list[Gate], strict=True)
    assert [gate.passed for gate in written] == [True, False, False]
    assert msgspec.to_builtins(written[0]) == {
        "gate": "speed, at least",
        "value": 30.0,
        "target": 30.0,
        "unit": "x",
        "passed": True,
    }


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]

    assert (percentile(values, 50), percentile(values, 99), percentile([7.0], 99)) == (50.0, 99.0, 7.0)


def test_the_ceiling_writes_what_the_product_wrote(tmp_path: Path) -> None:
    """Every run of the closed loop ends, and its rows go into a second database with the same constraints."""
    tape = tmp_path / "written.tape"
    product = alone(
        Cycles, "benchmarks.cycles:measure", threads=20, turns=2, max_concurrent_runs=20, idle=2, tape=str(tape)
    )
    ceiling = alone(raw.Ceiling, "benchmarks.raw:replay", tape=str(tape))

    assert product.cycles_s > 0 < product.idle_start_ms
    assert ceiling.rows >= 40 * 5
    assert ceiling.commits >= 1


def test_the_reference_runs_every_run_to_its_end() -> None:
    assert alone(NaiveResult, "benchmarks.naive:measure", threads=5, turns=2, text=TEXT, idle=2).cycles_s > 0


def test_a_measurement_that_fails_says_why() -> None:
    with pytest.raises(MeasurementFailed, match="ConnectionRefused"):
        alone(float, "benchmarks.clients:prepare_thread", port=1, thread_id="thread")


@pytest.mark.parametrize(
    ("question", "gates"),
    [
        ("growth", 3),
        ("lists", 3),
        ("audit", 3),
        ("consoles", 4),
        ("sustained", 2),
        ("streams", 2),
        ("reading", 1),
        ("waiting", 5),
        ("startup", 4),
        ("idle", 2),
        ("postgres", 2),
        ("limits", 2),
        ("dialects", 2 * len(ENCODERS)),
    ],
)
def test_a_question_is_answered_on_the_command_line(
    question: str, gates: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its gates are met depends on the size, so that is not asked here."""
    results = tmp_path / "results.json"

    code = main([question, "--quick"], results=results)

    judged = msgspec.json.decode(results.read_bytes(), type=list[Gate])
    printed = capsys.readouterr().out
    assert len(judged) + printed.count("skipped: ") == gates  # what is written is not counted everywhere
    assert code == (0 if all(gate.passed for gate in judged) else 1)
    assert printed.count("missed: ") == sum(not gate.passed for gate in judged)


def test_a_question_nobody_answers_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])

    assert "there is no question 'nonsense'; there are cycles, growth, lists" in capsys.readouterr().err


def test_a_file_with_a_past_is_filled_once_and_measured_files_keep_their_first_size(tmp_path: Path) -> None:
    stock, held = Stock(tmp_path), Size(threads=20, waiting=2, few=10, many=30)

    first = stock.filled(held.few, held)
    costs = alone(
        Costs,
        "benchmarks.growth:in_turns",
        small=str(first.path),
        large=str(stock.filled(held.many, held).path),
        threads=held.threads,
        batches=1,
        seed=1,
    )

    assert costs.small_us > 0 < costs.large_us
    assert stock.filled(held.few, held) is first
    assert first.path.stat().st_size > first.bytes


def test_the_machine_is_described(tmp_path: Path) -> None:
    assert probe(tmp_path).fsync_us > 0
