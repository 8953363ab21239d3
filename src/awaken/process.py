"""What a process that only serves runs sets for itself.

Above: `awaken serve` and the benchmarks call it. A program of your own may, too; a library must not.
"""

from __future__ import annotations

import gc
import sqlite3
import sys
from typing import Final

SWITCH_INTERVAL_S: Final = 0.000_5
"""How long one thread may keep the interpreter while another waits. The thread that writes lets go of it around every
row and wants it back soon; at Python's default of 5 ms a busy event loop makes it wait (measured: twice as long delays
of the event loop)."""
GC_THRESHOLDS: Final = (100_000, 20, 100)
"""A run in progress is many small objects and leaves no reference cycles. With a thousand of them in progress, looking
for cycles more often makes the longest delays of the event loop two to four times as long (measured)."""
_ADAPTED_NONE: Final = dict[None, None]().get
"""A call that turns None into None, without a frame of Python's."""


def tune_process() -> None:
    """Collect garbage rarely, leave what was loaded at start alone, take turns quickly, and bind values quickly."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _shorten_binding()


def _shorten_binding() -> None:
    """Have `sqlite3` find an adapter for None and bytes at once, where it would search for one each time in vain.

    What is stored stays the same; a sixth of the time that writing rows takes is saved (measured).
    """
    sqlite3.register_adapter(type(None), _ADAPTED_NONE)
    sqlite3.register_adapter(bytes, bytearray)
