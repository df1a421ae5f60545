"""Metrics in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.metering.model import Metric
from neruba_core.storage.memory.tables import Table, Undo


@define(eq=False)
class MeteringTables:
    """By project and metric key."""

    metrics: Table[str, Metric] = field(factory=Table)


@define(eq=False)
class MemoryMetering:
    """``MeteringStore`` within one unit."""

    _tables: MeteringTables
    _undo: Undo

    def metrics(self, project_ids: Iterable[str]) -> dict[str, dict[str, Metric]]:
        return {
            project_id: {metric.key: metric for metric in self._tables.metrics.ascending(project_id)}
            for project_id in project_ids
        }

    def add_metrics(self, metrics: Sequence[Metric]) -> int:
        added = 0
        for metric in metrics:
            if self._tables.metrics.get(metric.project_id, metric.key) is None:
                self._tables.metrics.add(self._undo, metric.project_id, metric.key, metric)
                added += 1
        return added

    def replace_metric(self, metric: Metric) -> None:
        self._tables.metrics.replace(self._undo, metric.project_id, metric.key, metric)
