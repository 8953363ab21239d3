"""How the demonstration counts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from awaken.cli.demo import Calls, Note, Report, calls_of, read_notes

NONE = Calls(3, 0, 0)


def notes(*lines: str) -> list[Note]:
    return [Note(*line.split()) for line in lines]


def test_a_call_begun_again_was_either_cut_off_or_is_a_repetition() -> None:
    noted = notes(
        "model a started",
        "model a done",
        "tool x started",
        "tool x done",
        "model b started",
        "model b started",
        "model b done",
        "tool x started",
        "tool x done",
    )
    assert calls_of("model", noted) == Calls(made=3, cut_off=1, repeated=0)
    assert calls_of("tool", noted) == Calls(made=2, cut_off=0, repeated=1)


def test_notes_are_read_and_a_line_cut_off_by_the_kill_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    assert read_notes(file) == []
    whole = Note("model", "a", "started")
    file.write_bytes(b"\n" + msgspec.json.encode(whole) + b'\n{"what": "mod\n\n' + msgspec.json.encode(whole) + b"\n")
    assert read_notes(file) == [whole, whole]


def test_a_report_is_clean_only_when_something_was_resumed_and_nothing_went_wrong() -> None:
    clean = Report(NONE, NONE, before=10, after=20, missing=0, doubled=0, takeover_s=0.5)
    assert clean.is_clean
    for changed in (
        {"takeover_s": None},
        {"before": 0},
        {"after": 0},
        {"missing": 1},
        {"doubled": 1},
        {"model": Calls(3, 0, 1)},
        {"tool": Calls(3, 0, 1)},
    ):
        assert not msgspec.structs.replace(clean, **changed).is_clean
    assert msgspec.structs.replace(clean, model=Calls(4, 1, 0)).is_clean
