"""Metrics in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.metering.model import Metric, SharedMetric
from neruba_core.storage.memory.tables import EVERYONE, Table, Undo


@define(eq=False)
class MeteringTables:
    """By project and metric key, and those of the catalogue by key."""

    metrics: Table[str, Metric] = field(factory=Table)
    shared: Table[str, SharedMetric] = field(factory=Table)


@define(eq=False)
class MemoryMetering:
    """``MeteringStore`` within one unit."""

    _tables: MeteringTables
    _undo: Undo

    def metrics(self, project_ids: Iterable[str]) -> dict[str, dict[str, Metric]]:
        return {project_id: self._tables.metrics.all(project_id) for project_id in project_ids}

    def add_metrics(self, metrics: Sequence[Metric]) -> int:
        added = 0
        for metric in metrics:
            if self._tables.metrics.get(metric.project_id, metric.key) is None:
                self._tables.metrics.add(self._undo, metric.project_id, metric.key, metric)
                added += 1
        return added

    def replace_metric(self, metric: Metric) -> None:
        self._tables.metrics.replace(self._undo, metric.project_id, metric.key, metric)

    # --- the catalogue ------------------------------------------------------------------------

    def shared_metrics(self) -> dict[str, SharedMetric]:
        return self._tables.shared.all(EVERYONE)

    def hold_shared_metrics(self, keys: Iterable[str]) -> dict[str, SharedMetric]:
        return self._tables.shared.some(EVERYONE, keys)

    def lock_shared_metric(self, key: str) -> SharedMetric | None:
        return self._tables.shared.get(EVERYONE, key)

    def add_shared_metric(self, metric: SharedMetric) -> bool:
        if self._tables.shared.get(EVERYONE, metric.key) is not None:
            return False
        self._tables.shared.add(self._undo, EVERYONE, metric.key, metric)
        return True

    def replace_shared_metric(self, metric: SharedMetric) -> None:
        self._tables.shared.replace(self._undo, EVERYONE, metric.key, metric)

    def update_followers(self, metric: SharedMetric) -> None:
        for project_id in self._tables.metrics.scopes():
            present = self._tables.metrics.get(project_id, metric.key)
            if present is not None and present.shared:
                self.replace_metric(metric.followed_by(project_id))
