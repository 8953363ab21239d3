"""One Postgres database as a store: durable, and served by any number of processes."""

from awaken.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
