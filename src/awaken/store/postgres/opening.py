"""Connects to the database: what the URL says, the schema, and whether what stands between passes sessions on.

Above: `store` and `writer` get their connections here. Below: `migrations/NNNN_what.sql`.
Holds: the schema is brought up to date by one process at a time. What cannot be served is refused with the reason.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, Literal, get_args
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec

from awaken.domain.checking import shown
from awaken.domain.errors import StoreRefused, StoreUnavailable, ValidationError
from awaken.store.postgres import driver
from awaken.store.postgres.driver import errors
from awaken.store.postgres.faults import LOST, NOT_KEPT, translated
from awaken.store.postgres.permitting import READS, WRITES, standing

Durability = Literal["full", "process"]
DURABILITIES: Final = get_args(Durability)

OLDEST_POSTGRES: Final = 14
STATEMENT_TIMEOUT_MS: Final = 2_000
LOCK_TIMEOUT_MS: Final = 1_500
"""For whom a set transition has to wait. Nothing of one thread waits for another process."""
IDLE_TIMEOUT_MS: Final = 10_000
"""A process that stops in the middle of a transaction holds its threads for so long."""
CONNECT_TIMEOUT_S: Final = 5
COMMAND_TIMEOUT_S: Final = 10.0
"""After which an answer does not come any more: the server would have given up long before."""
MIN_POOL: Final = 1
MAX_POOL: Final = 100
AS_WHOM: Final = {"application_name": "awaken", "client_encoding": "UTF8"}
"""What a session begins with, and every pooler lets pass."""
_SET: Final = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS each (name, value)"
_ECHO_TIMEOUT_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 2.0
_STATEMENT_CACHE: Final = 1_000
_PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
}
"""For what writes: its statements find few rows by their keys, with one index for each table. So each is planned once,
and not by statistics: a new database has none, and those of a growing one are old.
"""
_SCHEMA: Final = re.compile("(?!pg_|information_schema$)[a-z_][a-z0-9_]{0,49}")
_TLS: Final = ("require", "verify-ca", "verify-full")
_TLS_MODES: Final = ("disable", "allow", "prefer", *_TLS)
_TLS_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


class Place(msgspec.Struct, frozen=True):
    """What a URL says."""

    dsn: str
    schema: str
    pool_size: int
    durability: Durability

    @property
    def shown(self) -> str:
        """Without the password."""
        parts = urlsplit(self.dsn)
        server = parts.netloc.rpartition("@")[2]
        return f"database {server}{parts.path} (schema {self.schema})"

    @property
    def channel(self) -> str:
        return f"awaken_{self.schema}"


def place_of(url: str) -> Place:
    """Read a URL such as `postgresql://user:password@host:5432/database?schema=awaken`.

    Options: `schema` (awaken), `pool_size` (reading connections, 4), `durability` (`full` or `process`). Any other is
    handed to the driver.

    Raises:
        ValidationError: An option is not what it should be; the message names what it can be.
    """
    _check_password(url)
    parts = urlsplit(url)
    own = {"schema": "awaken", "pool_size": "4", "durability": "full"}
    others: list[str] = []
    given: set[str] = set()
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in given:
            raise ValidationError(f"{shown(name)} is twice in the URL; which one counts is not said. Leave one out")
        given.add(name)
        if name == "sslmode" and value not in _TLS_MODES:
            raise ValidationError(f"sslmode is one of {', '.join(_TLS_MODES)}, and not {shown(value)}")
        if name in own:
            own[name] = value
        else:
            others.append(f"{name}={value}")
    if _SCHEMA.fullmatch(own["schema"]) is None:
        raise ValidationError(
            "schema is 1 to 50 of a-z 0-9 _ that begin with no digit, none of Postgres' own (pg_…, information_schema),"
            f" and not {shown(own['schema'])}"
        )
    if not own["pool_size"].isdecimal() or not MIN_POOL <= int(own["pool_size"]) <= MAX_POOL:
        raise ValidationError(
            f"pool_size is a whole number from {MIN_POOL} to {MAX_POOL}, and not {shown(own['pool_size'])}"
        )
    if own["durability"] not in DURABILITIES:
        raise ValidationError(f"durability is one of {', '.join(DURABILITIES)}, and not {shown(own['durability'])}")
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, "&".join(others), ""))
    durability: Durability = "full" if own["durability"] == "full" else "process"
    return Place(dsn, own["schema"], int(own["pool_size"]), durability)


def _check_password(url: str) -> None:
    """Refuse a URL whose password would be taken for another part of it, which messages show."""
    server = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    if "@" in url and "@" not in server:
        raise ValidationError(
            "the user name and the password of a postgresql URL are not written as in a URL; in them, write %2F for /,"
            " %3F for ?, %23 for # and %40 for @"
        )


def settings_of(place: Place, *, writes: bool) -> dict[str, str]:
    """What holds in every session."""
    return {
        "search_path": place.schema,
        # What is read is found by its keys, a page at a time. Where statistics are missing, or most rows are alike, a
        # table would be read from one end to the other in the hope that the first ones will do.
        "enable_seqscan": "off",
        "statement_timeout": str(STATEMENT_TIMEOUT_MS if writes else 5 * STATEMENT_TIMEOUT_MS),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
        "synchronous_commit": "on" if place.durability == "full" else "off",
        "default_transaction_read_only": "off" if writes else "on",
        "jit": "off",
        **(_PLANS if writes else {}),
    }


async def prepare(connection: Any, settings: Mapping[str, str]) -> None:
    """Put settings in force in a new session: by a statement, because poolers refuse them where a session begins."""
    await connection.execute(_SET, list(settings), list(settings.values()))


async def connect(place: Place, *, writes: bool = True) -> Any:
    """A connection with all of that in force.

    Raises:
        StoreUnavailable: The server was not reached, or refuses.
    """
    connection: Any = None
    try:
        connection = await driver.connect(
            place.dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            statement_cache_size=_STATEMENT_CACHE,
            max_cacheable_statement_size=0,
            server_settings=AS_WHOM,
        )
        await prepare(connection, settings_of(place, writes=writes))
    except (errors.PostgresError, *LOST) as error:
        await disconnect(connection)
        raise _of_tls(error, place) or translated(error, place.shown) from error
    except ValueError as error:  # of a part of the URL, such as a port that is no number
        raise StoreRefused(
            f"{place.shown}: the URL is not understood; write postgresql://user:password@host:5432/database"
        ) from error
    return connection


def _of_tls(error: BaseException, place: Place) -> StoreUnavailable | None:
    """What the URL asks for of TLS and cannot be had; the error alone does not tell it from a server that is away."""
    asked = dict(parse_qsl(urlsplit(place.dsn).query))
    if isinstance(error, OSError):
        for name in _TLS_FILES:
            if name in asked and not os.access(asked[name], os.R_OK):
                return StoreRefused(f"{place.shown}: {name}, {shown(asked[name])}, is no file that can be read")
    if type(error) is ConnectionError and asked.get("sslmode") in _TLS:
        return StoreUnavailable(
            f"{place.shown}: the server did not agree to TLS, which sslmode={asked['sslmode']} asks for. Let it have a"
            " certificate (ssl = on), or choose another sslmode"
        )
    return None


async def disconnect(connection: Any) -> None:
    """Close a connection, if there is one, whatever state it is in; returns when it is closed."""
    if connection is None or connection.is_closed():
        return
    try:
        await connection.close(timeout=_CLOSE_TIMEOUT_S)
    except (errors.PostgresError, *LOST):
        connection.terminate()
        await asyncio.sleep(0)  # which lets go of the socket


def migrations() -> list[tuple[int, str]]:
    """Every migration's number and script, in order, numbered from 1 without a gap."""
    folder = files("awaken.store.postgres").joinpath("migrations")
    found = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    numbered = [(int(name[:4]), entry.read_text(encoding="utf-8")) for name, entry in found]
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1)), "migrations are numbered 1, 2, 3 …"
    return numbered


async def migrate(connection: Any, place: Place, scripts: Sequence[tuple[int, str]] | None = None) -> bool:
    """Bring the schema up to date; processes that start together do it one after another. True: a store was made.

    Raises:
        StoreRefused: A newer version of this package made it, and this one cannot read it; or the user may not do that.
    """
    scripts = migrations() if scripts is None else scripts
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        await connection.execute(f"SET LOCAL search_path TO {place.schema}")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", place.channel)
        version, is_there = await _permitted(connection, place, scripts, WRITES)
        if version == 0:
            if not is_there:
                await connection.execute(f"CREATE SCHEMA {place.schema}")
            await connection.execute(
                "CREATE TABLE schema_version (version bigint NOT NULL, oldest_reader bigint NOT NULL)"
            )
            await connection.execute("INSERT INTO schema_version (version, oldest_reader) VALUES (0, 1)")
        for number, script in scripts:
            if number > version:
                await connection.execute(script)
        if version < len(scripts):
            await connection.execute("UPDATE schema_version SET version = $1", len(scripts))
        return version == 0


async def check_schema(connection: Any, place: Place, *, may_be_new: bool = False) -> int:
    """The schema that is there; 0 where no store was ever opened. Reads only. `may_be_new`: what is not there would be
    made, and what is old be brought up to date.

    Raises:
        StoreRefused: A newer version of this package made it, and this one cannot read it; or the user may not do that.
    """
    scripts = migrations()
    if may_be_new:
        return (await _permitted(connection, place, scripts, WRITES))[0]
    found = await standing(connection, place.schema, scripts, READS)
    if not found.is_store:
        return 0
    refusal = found.refusal_to_use(place.shown, READS)
    if refusal is not None:
        raise refusal
    return await _version(connection, place, len(scripts))


async def check_owner(connection: Any, place: Place) -> None:
    """Raises StoreRefused where the store that is there belongs to another user: its numbers can only be set by its
    own.
    """
    refusal = (await standing(connection, place.schema, migrations(), WRITES)).refusal_to_own(place.shown)
    if refusal is not None:
        raise refusal


async def _permitted(
    connection: Any, place: Place, scripts: Sequence[tuple[int, str]], kinds: Sequence[str]
) -> tuple[int, bool]:
    """The version that is there, and whether the schema is. Raises StoreRefused where the user may not open it."""
    found = await standing(connection, place.schema, scripts, kinds)
    version, refusal = 0, None
    if not found.is_store:
        refusal = found.refusal_to_make(place.shown)
    elif not found.may_read_version:
        refusal = found.refusal_to_use(place.shown, kinds)
    else:
        version = await _version(connection, place, len(scripts))
        refusal = (
            found.refusal_to_change(place.shown, version, len(scripts))
            if version < len(scripts)
            else found.refusal_to_use(place.shown, kinds)
        )
    if refusal is not None:
        raise refusal
    return version, found.is_there


async def _version(connection: Any, place: Place, known: int) -> int:
    row = await connection.fetchrow(f"SELECT version, oldest_reader FROM {place.schema}.schema_version")
    version, oldest_reader = row
    _check_readable(place, version, oldest_reader, known)
    return version


def _check_readable(place: Place, version: int, oldest_reader: int, known: int) -> None:
    if oldest_reader > known:
        raise StoreRefused(
            f"{place.shown} has schema {version}, for versions of awaken that know schema {oldest_reader}; this one"
            f" knows schemas up to {known}. Upgrade awaken"
        )


async def check_server(connection: Any, place: Place) -> bool:
    """Whether a commit survives power loss, as far as the server says.

    Raises:
        StoreRefused: The server is too old, or something between hands out its sessions transaction by transaction.
    """
    if connection.get_server_version().major < OLDEST_POSTGRES:
        raise StoreRefused(f"{place.shown}: awaken needs Postgres {OLDEST_POSTGRES} or newer")
    await _check_session(connection, place)
    fsync = await connection.fetchval("SELECT current_setting('fsync')")
    commit = await connection.fetchval("SELECT current_setting('synchronous_commit')")
    return fsync == "on" and commit not in ("off", "local")


async def _check_session(connection: Any, place: Place) -> None:
    """A pooler that has one session at leisure gives it to whoever asks: so it shows only when two ask."""
    heard = asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    refusal = StoreRefused(f"{place.shown}: {NOT_KEPT}")
    await connection.execute("SELECT set_config('awaken.mine', $1, false)", "yes")
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    await connection.add_listener(f"{place.channel}_echo", hear)
    try:
        await connection.execute(f"NOTIFY {place.channel}_echo")
        async with asyncio.timeout(_ECHO_TIMEOUT_S):
            await heard.wait()
    except TimeoutError:
        raise refusal from None
    finally:
        await connection.remove_listener(f"{place.channel}_echo", hear)
    second = await connect(place)
    try:
        shared = await second.fetchval("SELECT pg_backend_pid()") == pid
    finally:
        await disconnect(second)
    mine = await connection.fetchval("SELECT current_setting('awaken.mine', true)")
    if shared or mine != "yes" or await connection.fetchval("SELECT pg_backend_pid()") != pid:
        raise refusal
