"""What metering asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.metering.model import Metric


class MeteringStore(Protocol):
    """Metrics, unique by (project, key)."""

    def metrics(self, project_ids: Iterable[str]) -> dict[str, dict[str, Metric]]:
        """All metrics of the projects: project id → metric key → metric, keys ascending bytewise. Every
        project asked for is there, if only with nothing in it."""

    def add_metrics(self, metrics: Sequence[Metric]) -> int:
        """Insert those whose key is free, in key order, and leave the others alone; how many went in.
        Waits for a competitor in flight."""

    def replace_metric(self, metric: Metric) -> None:
        """Overwrite the metric of the same project and key."""


class HasMetering(Protocol):
    @property
    def metering(self) -> MeteringStore: ...
