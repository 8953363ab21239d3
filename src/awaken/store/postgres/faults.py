"""What the database's own errors mean here, in words that name the way out.

Above: whoever runs a statement translates at its edge. Below: asyncpg.
Holds: `StoreUnavailable` means that nothing changed and trying again may help.
"""

from __future__ import annotations

from typing import Final

from awaken.domain.errors import StoreError, StoreUnavailable
from awaken.store.postgres.driver import errors

LOST: Final = (
    errors.PostgresConnectionError,
    errors.InterfaceError,
    errors.InternalClientError,  # of a connection on which the server says goodbye at this moment
    errors.AdminShutdownError,
    errors.CrashShutdownError,
    errors.CannotConnectNowError,
    errors.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)
"""The connection is gone, or may be."""
AGAIN: Final = (errors.DeadlockDetectedError, errors.SerializationError, errors.LockNotAvailableError)
"""Another transaction was in the way: the same may succeed at once."""
OF_DATABASE: Final = (
    *LOST,
    *AGAIN,
    errors.InsufficientResourcesError,
    errors.OperatorInterventionError,
    errors.PostgresSystemError,
    errors.ReadOnlySQLTransactionError,
    errors.InsufficientPrivilegeError,
)
"""Raised because of the database, and not because of what it was asked."""
OF_A_ROW: Final = (errors.IntegrityConstraintViolationError, errors.DataError, errors.ProgramLimitExceededError)
"""Raised because of the values of a row."""

_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.InvalidPasswordError, "the password is not accepted. Check the URL"),
    (errors.InvalidAuthorizationSpecificationError, "the user is not accepted. Check the URL"),
    (errors.InvalidCatalogNameError, "there is no such database. Create it, or check the URL"),
    (errors.InsufficientPrivilegeError, "this user may not do that. Grant it the schema"),
    (errors.DiskFullError, "its disk is full; nothing was written. Free some space: work continues by itself"),
    (errors.ReadOnlySQLTransactionError, "it can only be read. Name the primary server in the URL"),
    (errors.TooManyConnectionsError, "it takes no more connections. Raise max_connections, or make the pools smaller"),
    (errors.UndefinedTableError, "a table is gone. Restore a backup, or choose another schema"),
    (errors.QueryCanceledError, "it took too long to answer; nothing was written"),
    (errors.LockNotAvailableError, "other transactions hold what is needed; nothing was written"),
)


def translated(error: BaseException, where: str) -> StoreError:
    """The package's error for one of the database's; `where` names it without a password."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return StoreUnavailable(f"{where}: {words} ({error})")
    if isinstance(error, LOST):
        return StoreUnavailable(f"{where}: it was not reached ({error or type(error).__name__})")
    return StoreUnavailable(f"{where}: Postgres refused ({error})")
