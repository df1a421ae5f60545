"""Leases and the records of jobs: tables, queries and row mapping. They are global: work is named, not
owned."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table, delete, select

from neruba_core.instants import Instant
from neruba_core.schedule.model import JobRecord
from neruba_core.storage.sql.bulk import insert, upsert
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, micros_or_none
from neruba_core.storage.sql.columns import METADATA, small, text, whole
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

JOBS = Table(
    "neruba_jobs",
    METADATA,
    text("name"),
    whole("started_at"),
    whole("ended_at", optional=True),
    whole("succeeded_at", optional=True),
    whole("failed_at", optional=True),
    text("error", optional=True),
    small("failures"),
    PrimaryKeyConstraint("name", name="neruba_jobs_pk"),
    CheckConstraint("failures >= 0", name="neruba_jobs_failures_ck"),
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
_PUT_JOB = upsert(JOBS, "started_at", "ended_at", "succeeded_at", "failed_at", "error", "failures")
_JOBS = Query(select(JOBS).order_by(JOBS.c.name))


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

    def jobs(self) -> Mapping[str, JobRecord]:
        return {
            name: JobRecord(
                name,
                instant(started_at),
                instant_or_none(ended_at),
                instant_or_none(succeeded_at),
                instant_or_none(failed_at),
                error,
                failures,
            )
            for name, started_at, ended_at, succeeded_at, failed_at, error, failures in self._statements.ask(
                _JOBS
            )
        }

    def put_job(self, record: JobRecord) -> None:
        row = (
            record.name,
            micros(record.started_at),
            micros_or_none(record.ended_at),
            micros_or_none(record.succeeded_at),
            micros_or_none(record.failed_at),
            record.error,
            record.failures,
        )
        self._statements.write(_PUT_JOB, [row])
