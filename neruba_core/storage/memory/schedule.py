"""Leases and the records of jobs in memory."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from neruba_core.instants import Instant
from neruba_core.schedule.model import JobRecord
from neruba_core.storage.memory.tables import Undo


@define(eq=False)
class ScheduleTables:
    """Who holds each name, and until when; how each job went."""

    leases: dict[str, tuple[str, Instant]] = field(factory=dict)
    jobs: dict[str, JobRecord] = field(factory=dict)


@define(eq=False)
class MemorySchedule:
    """``ScheduleStore`` within one unit."""

    _tables: ScheduleTables
    _undo: Undo

    def lease(self, name: str, holder: str, *, now: Instant, until: Instant) -> bool:
        current = self.leased(name)
        if current is not None and current[0] != holder and now < current[1]:
            return False
        self._undo.put(self._tables.leases, name, (holder, until))
        return True

    def release(self, name: str, holder: str) -> None:
        current = self.leased(name)
        if current is not None and current[0] == holder:
            self._undo.remove(self._tables.leases, name)

    def leased(self, name: str) -> tuple[str, Instant] | None:
        return self._tables.leases.get(name)

    def jobs(self) -> Mapping[str, JobRecord]:
        return dict(self._tables.jobs)

    def put_job(self, record: JobRecord) -> None:
        self._undo.put(self._tables.jobs, record.name, record)
