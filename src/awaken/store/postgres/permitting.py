"""Whether the user of the URL may make, read or write a store in its schema, and what stands in the way.

Above: `opening` asks before it makes anything, `inspection` and `arriving` where nothing is made. Below: the catalogs
of Postgres, which everybody may read.
Holds: nothing is written, and nothing is tried. Whoever is refused is told the statement that would help.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from awaken.domain.errors import StoreRefused

READS: Final = ("SELECT",)
WRITES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_NAMED: Final = 5
_MADE: Final = re.compile(r"(?m)^CREATE (?:UNIQUE )?(?:TABLE|SEQUENCE|INDEX) (\w+)")
_VERSION: Final = "schema_version"
_STANDING: Final = """
SELECT quote_ident(current_user), quote_ident(current_database()), quote_ident($1), schema.oid IS NOT NULL,
       has_database_privilege(current_database(), 'CREATE'),
       coalesce(has_schema_privilege(schema.oid, 'USAGE'), false),
       coalesce(has_schema_privilege(schema.oid, 'CREATE'), false),
       (SELECT count(*) = 2
          FROM pg_attribute AS col
          JOIN pg_class AS made ON made.oid = col.attrelid
         WHERE made.relnamespace = schema.oid AND made.relname = 'schema_version'
           AND col.attname IN ('version', 'oldest_reader')),
       (SELECT quote_ident(pg_get_userbyid(relowner))
          FROM pg_class WHERE relnamespace = schema.oid AND relname = 'schema_version'),
       coalesce((SELECT pg_has_role(relowner, 'USAGE')
          FROM pg_class WHERE relnamespace = schema.oid AND relname = 'schema_version'), false),
       ARRAY(SELECT relname::text FROM pg_class
              WHERE relnamespace = schema.oid AND relname = ANY($2::text[]) ORDER BY relname),
       ARRAY(SELECT relname::text FROM pg_class
              WHERE relnamespace = schema.oid AND relname = ANY($2::text[])
                AND CASE relkind
                    WHEN 'r' THEN NOT (SELECT bool_and(has_table_privilege(pg_class.oid, kind))
                                         FROM unnest($3::text[]) AS each (kind))
                    WHEN 'S' THEN 'INSERT' = ANY($3::text[]) AND NOT has_sequence_privilege(pg_class.oid, 'USAGE')
                    ELSE false END
              ORDER BY relname)
  FROM (SELECT 1) AS one LEFT JOIN pg_namespace AS schema ON schema.nspname = $1
"""


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """What is there, and what the user may do with it. Names are written as SQL takes them."""

    user: str
    database: str
    schema: str
    is_there: bool
    may_make_schemas: bool
    may_use: bool
    may_make: bool
    is_store: bool
    owner: str | None
    """Of the store's tables."""
    is_owner: bool
    found: list[str]
    """What has a name that something of a store has."""
    lacking: list[str]
    """Of those, what the user may not use."""

    @property
    def may_read_version(self) -> bool:
        return self.may_use and _VERSION not in self.lacking

    def refusal_to_make(self, shown: str) -> StoreRefused | None:
        """Why no store can be made here; None where it can."""
        if not self.is_there and not self.may_make_schemas:
            return StoreRefused(
                f"{shown}: the schema is not there, and user {self.user} may not make it. Whoever may can let it, with"
                f" GRANT CREATE ON DATABASE {self.database} TO {self.user}, or make it for it, with CREATE SCHEMA"
                f" {self.schema} AUTHORIZATION {self.user}"
            )
        if self.is_there and self.found:
            return StoreRefused(
                f"{shown} has {_listed(self.found)} of another program. Choose another schema with ?schema="
            )
        if self.is_there and not (self.may_use and self.may_make):
            return StoreRefused(
                f"{shown}: user {self.user} may make no tables in the schema. Choose another with ?schema=, or let it,"
                f" with GRANT USAGE, CREATE ON SCHEMA {self.schema} TO {self.user}"
            )
        return None

    def refusal_to_change(self, shown: str, version: int, known: int) -> StoreRefused | None:
        """Why a store of an older version cannot be brought to this one; None where it can."""
        if self.is_owner and self.may_make:
            return None
        return StoreRefused(
            f"{shown} has schema {version}, which only its owner can bring to {known}, and user {self.user} is not."
            f" Begin `awaken migrate` as {self.owner} first"
        )

    def refusal_to_own(self, shown: str) -> StoreRefused | None:
        """Why the user cannot do everything with the store that is there; None where it can."""
        if self.is_owner:
            return None
        return StoreRefused(f"{shown} belongs to {self.owner}, and user {self.user} is not. Connect as {self.owner}")

    def refusal_to_use(self, shown: str, kinds: Sequence[str]) -> StoreRefused | None:
        """Why the user cannot work on the store that is there; None where it can."""
        if self.may_use and not self.lacking:
            return None
        grants = [f"USAGE ON SCHEMA {self.schema}"] if not self.may_use else []
        if self.lacking:
            grants.append(f"{', '.join(kinds)} ON ALL TABLES IN SCHEMA {self.schema}")
        if self.lacking and "INSERT" in kinds:
            grants.append(f"USAGE ON ALL SEQUENCES IN SCHEMA {self.schema}")
        what = f"may not use {_listed(self.lacking)}" if self.lacking else "may not use the schema"
        let = "; ".join([f"GRANT {each} TO {self.user}" for each in grants])
        return StoreRefused(f"{shown}: user {self.user} {what}. Its owner, {self.owner}, can let it: {let}")


async def standing(connection: Any, schema: str, scripts: Sequence[tuple[int, str]], kinds: Sequence[str]) -> Standing:
    """How the user of a connection stands to a schema, for a store that these scripts make."""
    names = [_VERSION, *[name for _, script in scripts for name in _MADE.findall(script)]]
    row = await connection.fetchrow(_STANDING, schema, names, list(kinds))
    return Standing(*row)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
