"""The statements of `queries.sql`, by name."""

from __future__ import annotations

from typing import Final

from awaken.store.statements import load_statements

SQL: Final = load_statements("awaken.store.sqlite")
