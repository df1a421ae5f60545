"""Leases: table, queries and row mapping. The table is global: work is named, not owned."""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import PrimaryKeyConstraint, Table, delete, select

from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import insert
from neruba_core.storage.sql.codec import instant, micros
from neruba_core.storage.sql.columns import METADATA, text, whole
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore

LEASES = Table(
    "neruba_leases",
    METADATA,
    text("name"),
    text("holder"),
    whole("taken_at"),
    whole("leased_until"),
    PrimaryKeyConstraint("name", name="neruba_leases_pk"),
)

# The moment comes with the row, so that one statement compares and sets.
_LEASE = insert(
    LEASES,
    ending=(
        "ON CONFLICT (name) DO UPDATE SET "
        "holder = excluded.holder, taken_at = excluded.taken_at, leased_until = excluded.leased_until "
        "WHERE neruba_leases.holder = excluded.holder OR neruba_leases.leased_until <= excluded.taken_at"
    ),
)
_LEASED = Query(select(LEASES.c.holder, LEASES.c.leased_until).where(LEASES.c.name == given("name")))


@frozen
class SqlSchedule(SqlStore):
    """``ScheduleStore`` within one unit."""

    def lease(self, name: str, holder: str, *, now: Instant, until: Instant) -> bool:
        return self._statements.write(_LEASE, [(name, holder, micros(now), micros(until))]) == 1

    def release(self, name: str, holder: str) -> None:
        self._statements.change(delete(LEASES).where(LEASES.c.name == name, LEASES.c.holder == holder))

    def leased(self, name: str) -> tuple[str, Instant] | None:
        row = self._statements.ask_one(_LEASED, name=name)
        return None if row is None else (row[0], instant(row[1]))
