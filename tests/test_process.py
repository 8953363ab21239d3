"""What a server sets for its process: noticed by nothing that is stored."""

from __future__ import annotations

import gc
import sqlite3
import sys
from collections.abc import Iterator

import pytest

from awaken.process import GC_THRESHOLDS, SWITCH_INTERVAL_S, tune_process


@pytest.fixture(scope="module")
def tuned() -> Iterator[None]:
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    adapters = dict(sqlite3.adapters)
    tune_process()
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)
    sqlite3.adapters.clear()
    sqlite3.adapters.update(adapters)


def test_a_tuned_process_collects_rarely_and_takes_turns_quickly(tuned: None) -> None:
    assert gc.get_threshold() == GC_THRESHOLDS
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("value", [None, b"", b"\x00\xff", "text", "", 0, -(2**63), 1.5])
def test_what_a_tuned_process_binds_is_what_it_reads(tuned: None, value: object) -> None:
    db = sqlite3.connect(":memory:")
    try:
        assert db.execute("SELECT ?, typeof(?)", (value, value)).fetchone() == (value, _TYPES[type(value)])
    finally:
        db.close()


_TYPES: dict[type, str] = {type(None): "null", bytes: "blob", str: "text", int: "integer", float: "real"}
