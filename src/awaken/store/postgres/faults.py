"""What the database's own errors mean here, in words that name the way out.

Above: whoever runs a statement translates at its edge. Below: asyncpg.
Holds: `StoreUnavailable` means that nothing changed. What the server says is passed on; what the driver says about
itself is not, because nobody who uses this package can do anything with it.
"""

from __future__ import annotations

from ssl import SSLError
from typing import Final

from awaken.domain.errors import StoreError, StoreRefused, StoreUnavailable, StoreUnreachable
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
_POOLED: Final = (
    errors.DuplicatePreparedStatementError,
    errors.InvalidSQLStatementNameError,
)
"""What a session does not find again is in the session of somebody else."""

NOT_KEPT: Final = (
    "what is set in a session does not stay, as behind a pooler that hands out sessions for one transaction. Connect to"
    " the server itself, or have the pooler keep sessions (pool_mode = session)"
)
_WORDS: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], type[StoreError], str], ...]] = (
    (errors.InvalidPasswordError, StoreRefused, "the password is not accepted. Check the URL"),
    (errors.InvalidAuthorizationSpecificationError, StoreRefused, "the user is not accepted. Check the URL"),
    (errors.InvalidCatalogNameError, StoreRefused, "there is no such database. Create it, or check the URL"),
    (errors.InsufficientPrivilegeError, StoreRefused, "this user may not do that. Grant it what a store takes"),
    (errors.UndefinedObjectError, StoreRefused, "it does not know what the URL asks for. Check what follows its ?"),
    (
        errors.ClientConfigurationError,
        StoreRefused,
        "the URL asks for what cannot be. Check what follows its ?",
    ),
    (
        errors.TargetServerAttributeNotMatched,
        StoreUnreachable,
        "no server of the URL is one that target_session_attrs asks for",
    ),
    (_POOLED, StoreRefused, NOT_KEPT),
    (
        errors.UndefinedTableError,
        StoreRefused,
        "a table of the store is not there. Restore a backup, or choose another schema",
    ),
    (SSLError, StoreUnavailable, "TLS was not agreed on. Check sslmode and the certificates that the URL names"),
    (
        errors.DiskFullError,
        StoreUnavailable,
        "its disk is full; nothing was written. Free some space: work continues by itself",
    ),
    (errors.ReadOnlySQLTransactionError, StoreUnavailable, "it can only be read. Name the primary server in the URL"),
    (
        errors.TooManyConnectionsError,
        StoreUnreachable,
        "it takes no more connections. Raise max_connections, or make the pools smaller",
    ),
    (errors.QueryCanceledError, StoreUnavailable, "it took too long to answer; nothing was written"),
    (
        errors.LockNotAvailableError,
        StoreUnavailable,
        "other transactions hold what is needed; nothing was written",
    ),
    (LOST, StoreUnreachable, "it was not reached"),
)


def translated(error: BaseException, where: str) -> StoreError:
    """The package's error for one of the database's; `where` names it without a password."""
    if isinstance(error, StoreError):
        return error
    said = reason(error)
    for kind, become, words in _WORDS:
        if isinstance(error, kind):
            return become(f"{where}: {words}{f' ({said})' if said else ''}")
    return StoreUnavailable(f"{where}: Postgres refused{f' ({said})' if said else ''}")


def reason(error: BaseException) -> str:
    """What the server or the operating system says, in one line; empty where only the driver says something."""
    if isinstance(error, StoreError):
        return str(error)
    if isinstance(error, errors.PostgresError):
        # What has no severity did not come from the server: the driver made it.
        return _first_line(error.args[0]) if getattr(error, "severity", None) else "the connection was lost"
    match error:
        case errors.ClientConfigurationError():
            return _first_line(error.args[0])  # the one thing that it says of the URL and not of itself
        case TimeoutError():
            return "there was no answer in time"
        case SSLError():
            return getattr(error, "verify_message", "") or (error.reason or "").replace("_", " ").lower()
        case OSError() if error.errno is not None or type(error) is OSError:
            return _first_line(str(error))
        case _:
            return "the connection was lost"


def _first_line(text: object) -> str:
    return str(text).partition("\n")[0].strip()
