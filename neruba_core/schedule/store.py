"""What the schedule asks of storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.schedule.model import JobRecord


class ScheduleStore(Protocol):
    """Leases: who is doing a named piece of work, and until when nobody else may; and how jobs went."""

    def lease(self, name: str, holder: str, *, now: Instant, until: Instant) -> bool:
        """Compare and set: take or prolong the lease *name* for *holder*, unless another holder's still runs
        at *now* (it ends just before its *until*); whether *holder* has it. Waits for a competitor in
        flight."""

    def release(self, name: str, holder: str) -> None:
        """Give the lease back, if *holder* has it."""

    def leased(self, name: str) -> tuple[str, Instant] | None:
        """Who holds it, and until when; an expired one is shown as it is."""

    def jobs(self) -> Mapping[str, JobRecord]:
        """The records of all jobs that ever ran, by name."""

    def put_job(self, record: JobRecord) -> None:
        """Insert the record of a job, or overwrite it; its lease is held by the unit that does."""


class HasSchedule(Protocol):
    @property
    def schedule(self) -> ScheduleStore: ...
