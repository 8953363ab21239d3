"""What the database's own errors mean here, in words that name the way out.

Above: whoever runs a statement translates at its edge. Below: asyncpg.
Holds: `StoreUnavailable` means that nothing changed and trying again may help.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from awaken.domain.errors import StoreError, StoreUnavailable

LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)
"""The connection is gone, or may be."""
AGAIN: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
"""Another transaction was in the way: the same may succeed at once."""
OF_DATABASE: Final = (
    *LOST,
    *AGAIN,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InsufficientPrivilegeError,
)
"""Raised because of the database, and not because of what it was asked."""
OF_A_ROW: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""Raised because of the values of a row."""

_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (asyncpg.InvalidPasswordError, "the password is not accepted. Check the URL"),
    (asyncpg.InvalidAuthorizationSpecificationError, "the user is not accepted. Check the URL"),
    (asyncpg.InvalidCatalogNameError, "there is no such database. Create it, or check the URL"),
    (asyncpg.InsufficientPrivilegeError, "this user may not do that. Grant it the schema"),
    (asyncpg.DiskFullError, "its disk is full; nothing was written. Free some space: work continues by itself"),
    (asyncpg.ReadOnlySQLTransactionError, "it can only be read. Name the primary server in the URL"),
    (asyncpg.TooManyConnectionsError, "it takes no more connections. Raise max_connections, or make the pools smaller"),
    (asyncpg.UndefinedTableError, "a table is gone. Restore a backup, or choose another schema"),
    (asyncpg.QueryCanceledError, "it took too long to answer; nothing was written"),
    (asyncpg.LockNotAvailableError, "other transactions hold what is needed; nothing was written"),
)


def translated(error: BaseException, where: str) -> StoreError:
    """The package's error for one of the database's; `where` names it without a password."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return StoreUnavailable(f"{where}: {words} ({error})")
    if isinstance(error, LOST):
        return StoreUnavailable(f"{where}: it was not reached ({error or type(error).__name__})")
    return StoreUnavailable(f"{where}: Postgres refused ({error})")
