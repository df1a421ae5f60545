"""Billing periods and the records of runs in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, evolve, field

from neruba_core.billing.model import BillingPeriod, Run
from neruba_core.instants import Instant
from neruba_core.storage.memory.ledger import MemoryLedger
from neruba_core.storage.memory.tables import Table, Undo


@define(eq=False)
class BillingTables:
    """Periods by project and start, *starts* by project and name; runs by project and id."""

    periods: Table[Instant, BillingPeriod] = field(factory=Table)
    starts: dict[tuple[str, str], Instant] = field(factory=dict)
    runs: Table[str, Run] = field(factory=Table)


@define(eq=False)
class MemoryBilling:
    """``BillingStore`` within one unit."""

    _tables: BillingTables
    _undo: Undo
    _ledger: MemoryLedger

    def periods(self, project_ids: Iterable[str]) -> dict[str, tuple[BillingPeriod, ...]]:
        periods = self._tables.periods
        return {project_id: tuple(periods.ascending(project_id)) for project_id in project_ids}

    def put_periods(self, periods: Sequence[BillingPeriod]) -> None:
        for period in periods:
            self._ledger.need_lock(period.project_id)
            self._put_period(period)

    def _put_period(self, period: BillingPeriod) -> None:
        project_id, name = period.project_id, period.name
        start = self._tables.starts.get((project_id, name))
        stored = None if start is None else self._tables.periods.get(project_id, start)
        if stored is None:
            self._tables.periods.add(self._undo, project_id, period.span.start, period)
            self._undo.put(self._tables.starts, (project_id, name), period.span.start)
        else:
            changed = evolve(stored, invoiced_at=period.invoiced_at)
            self._tables.periods.replace(self._undo, project_id, stored.span.start, changed)

    def add_runs(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._ledger.need_lock(run.project_id)
            kept = evolve(run, counts=dict(run.counts), totals=dict(run.totals))
            self._tables.runs.add(self._undo, run.project_id, run.id, kept)

    def run(self, project_id: str, run_id: str) -> Run | None:
        return self._tables.runs.get(project_id, run_id)

    def runs(
        self, project_id: str, *, limit: int, before: str | None, period: str | None = None
    ) -> Sequence[Run]:
        def wanted(run: Run) -> bool:
            return period is None or run.period == period

        return self._tables.runs.page(project_id, limit=limit, before=before, wanted=wanted)
