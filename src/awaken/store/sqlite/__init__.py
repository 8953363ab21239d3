"""A store in one SQLite file, for one process."""

from awaken.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
