"""What a process that only serves runs sets for itself.

Above: `awaken serve` and the benchmarks call it. A program of your own may, too; a library must not.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH_INTERVAL_S: Final = 0.000_5
"""How long one thread may keep the interpreter while another waits. The thread that writes lets go of it around every
row and wants it back soon; at Python's default of 5 ms a busy event loop makes it wait (measured: a sixth of all
throughput, and a third of the longest delays)."""
GC_THRESHOLDS: Final = (100_000, 20, 100)
"""A run in progress is many small objects and leaves no reference cycles, so looking for cycles as often as Python
does by default costs a sixth of all throughput and most of the longest delays (measured)."""


def tune_process() -> None:
    """Collect garbage rarely, leave what was loaded at start alone, and let threads take turns quickly."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
