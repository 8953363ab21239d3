"""The driver, asyncpg: the one module that imports it, which has no types.

Above: everything here that connects or meets an error. Below: asyncpg.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from asyncpg import exceptions as errors  # pyright: ignore[reportMissingTypeStubs]

_library: Final[Any] = asyncpg
connect: Final = _library.connect
create_pool: Final = _library.create_pool

__all__ = ["connect", "create_pool", "errors"]
