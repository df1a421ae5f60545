"""Access keys and platform keys: tables, queries and row mapping.

The tables are global, since a request names a key and not its project; a platform key has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Index, PrimaryKeyConstraint, Table, select
from sqlalchemy import update as changing

from neruba_core.access.model import AccessKey, PlatformKey, PlatformScope, Scope
from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import Bulk, insert
from neruba_core.storage.sql.codec import (
    dump_enums,
    instant,
    instant_or_none,
    load_enums,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.columns import METADATA, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, given
from neruba_core.storage.sql.statements import SqlStore, below

ACCESS_KEYS = Table(
    "neruba_access_keys",
    METADATA,
    text("id"),
    text("project_id"),
    text("name"),
    text("scopes"),
    text("prefix"),
    text("secret_hash"),
    whole("created_at"),
    whole("expires_at", optional=True),
    whole("revoked_at", optional=True),
    whole("last_used_at", optional=True),
    PrimaryKeyConstraint("id", name="neruba_access_keys_pk"),
    tenant("neruba_access_keys"),
    Index("neruba_access_keys_project_ix", "project_id", "id"),
)

PLATFORM_KEYS = Table(
    "neruba_platform_keys",
    METADATA,
    text("id"),
    text("name"),
    text("scopes"),
    text("prefix"),
    text("secret_hash"),
    whole("created_at"),
    text("created_by"),
    whole("expires_at", optional=True),
    whole("revoked_at", optional=True),
    whole("last_used_at", optional=True),
    PrimaryKeyConstraint("id", name="neruba_platform_keys_pk"),
)


def _touching(table: Table) -> Bulk:
    return Bulk(
        ("id", "last_used_at"),
        ("text", "int8"),
        # Two servers touch many keys at once: locking them in one order keeps them out of a circle.
        f"UPDATE {table.name} k SET last_used_at = due.used_at FROM ("
        f"SELECT t.id, v.used_at FROM {table.name} t "
        "JOIN unnest(%b::text[], %b::int8[]) v(id, used_at) ON t.id = v.id "
        "ORDER BY t.id FOR NO KEY UPDATE OF t) due "
        "WHERE k.id = due.id AND (k.last_used_at IS NULL OR k.last_used_at < due.used_at)",
        f"UPDATE {table.name} SET last_used_at = ?2 "
        "WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)",
    )


_ADD = insert(ACCESS_KEYS)
_TOUCH = _touching(ACCESS_KEYS)
_BY_ID = Query(select(ACCESS_KEYS).where(ACCESS_KEYS.c.id == given("key_id")))
_EXPIRING = Query(
    lambda postgresql: (
        select(ACCESS_KEYS)
        .where(
            among(postgresql, ACCESS_KEYS.c.project_id, "project_ids"),
            ACCESS_KEYS.c.revoked_at.is_(None),
            ACCESS_KEYS.c.expires_at >= given("start"),
            ACCESS_KEYS.c.expires_at < given("end"),
        )
        .order_by(ACCESS_KEYS.c.id)
    )
)
_ADD_PLATFORM = insert(PLATFORM_KEYS)
_TOUCH_PLATFORM = _touching(PLATFORM_KEYS)
_PLATFORM_BY_ID = Query(select(PLATFORM_KEYS).where(PLATFORM_KEYS.c.id == given("key_id")))
_LOCK_PLATFORM = Query(
    select(PLATFORM_KEYS).where(PLATFORM_KEYS.c.id == given("key_id")).with_for_update(key_share=True)
)


@frozen
class SqlAccess(SqlStore):
    """``AccessStore`` within one unit."""

    def add_key(self, key: AccessKey) -> None:
        self._statements.write(_ADD, [_key_row(key)])

    def key(self, key_id: str) -> AccessKey | None:
        row = self._statements.ask_one(_BY_ID, key_id=key_id)
        return None if row is None else _key(row)

    def keys(self, project_id: str, *, limit: int, before: str | None) -> Sequence[AccessKey]:
        query = (
            select(ACCESS_KEYS)
            .where(ACCESS_KEYS.c.project_id == project_id, *below(ACCESS_KEYS.c.id, before))
            .order_by(ACCESS_KEYS.c.id.desc())
            .limit(limit)
        )
        return [_key(row) for row in self._statements.rows(query)]

    def replace_key(self, key: AccessKey) -> None:
        query = (
            changing(ACCESS_KEYS)
            .where(ACCESS_KEYS.c.project_id == key.project_id, ACCESS_KEYS.c.id == key.id)
            .values(revoked_at=micros_or_none(key.revoked_at), expires_at=micros_or_none(key.expires_at))
        )
        self._statements.change(query)

    def expiring_keys(
        self, project_ids: Collection[str], *, start: Instant, end: Instant
    ) -> Sequence[AccessKey]:
        rows = self._statements.ask(
            _EXPIRING, project_ids=list(project_ids), start=micros(start), end=micros(end)
        )
        return [_key(row) for row in rows]

    def touch_keys(self, used_at: Mapping[str, Instant]) -> None:
        rows = [(key_id, micros(at)) for key_id, at in sorted(used_at.items())]
        self._statements.write(_TOUCH, rows)
        self._statements.write(_TOUCH_PLATFORM, rows)

    # --- platform keys ------------------------------------------------------------------------

    def add_platform_key(self, key: PlatformKey) -> None:
        self._statements.write(_ADD_PLATFORM, [_platform_row(key)])

    def platform_key(self, key_id: str) -> PlatformKey | None:
        row = self._statements.ask_one(_PLATFORM_BY_ID, key_id=key_id)
        return None if row is None else _platform_key(row)

    def lock_platform_key(self, key_id: str) -> PlatformKey | None:
        row = self._statements.ask_one(_LOCK_PLATFORM, key_id=key_id)
        return None if row is None else _platform_key(row)

    def platform_keys(self, *, limit: int, before: str | None) -> Sequence[PlatformKey]:
        query = (
            select(PLATFORM_KEYS)
            .where(*below(PLATFORM_KEYS.c.id, before))
            .order_by(PLATFORM_KEYS.c.id.desc())
            .limit(limit)
        )
        return [_platform_key(row) for row in self._statements.rows(query)]

    def replace_platform_key(self, key: PlatformKey) -> None:
        query = (
            changing(PLATFORM_KEYS)
            .where(PLATFORM_KEYS.c.id == key.id)
            .values(revoked_at=micros_or_none(key.revoked_at), expires_at=micros_or_none(key.expires_at))
        )
        self._statements.change(query)

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of this table."""
        query = select(ACCESS_KEYS).where(ACCESS_KEYS.c.project_id == project_id)
        yield from (("access_keys", _key(row)) for row in self._statements.rows(query))


def _key_row(key: AccessKey) -> tuple[Any, ...]:
    return (
        key.id,
        key.project_id,
        key.name,
        dump_enums(key.scopes),
        key.prefix,
        key.secret_hash,
        micros(key.created_at),
        micros_or_none(key.expires_at),
        micros_or_none(key.revoked_at),
        micros_or_none(key.last_used_at),
    )


def _key(row: Any) -> AccessKey:
    key_id, project_id, name, scopes, prefix, secret_hash, created_at, *times = row
    return AccessKey(
        key_id,
        project_id,
        name,
        load_enums(Scope, scopes),
        prefix,
        secret_hash,
        instant(created_at),
        *map(instant_or_none, times),
    )


def _platform_row(key: PlatformKey) -> tuple[Any, ...]:
    return (
        key.id,
        key.name,
        dump_enums(key.scopes),
        key.prefix,
        key.secret_hash,
        micros(key.created_at),
        key.created_by,
        micros_or_none(key.expires_at),
        micros_or_none(key.revoked_at),
        micros_or_none(key.last_used_at),
    )


def _platform_key(row: Any) -> PlatformKey:
    key_id, name, scopes, prefix, secret_hash, created_at, created_by, *times = row
    return PlatformKey(
        key_id,
        name,
        load_enums(PlatformScope, scopes),
        prefix,
        secret_hash,
        instant(created_at),
        created_by,
        *map(instant_or_none, times),
    )
