"""The driver, asyncpg: the one module that imports it, which has no types.

Above: everything here that connects or meets an error. Below: asyncpg.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from asyncpg import exceptions as errors  # pyright: ignore[reportMissingTypeStubs]

connect: Final[Any] = asyncpg.connect  # pyright: ignore[reportUnknownMemberType]
create_pool: Final[Any] = asyncpg.create_pool  # pyright: ignore[reportUnknownMemberType]

__all__ = ["connect", "create_pool", "errors"]
