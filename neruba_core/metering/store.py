"""What metering asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.metering.model import Metric, SharedMetric


class MeteringStore(Protocol):
    """Metrics, unique by (project, key), and those of the catalogue, unique by key."""

    def metrics(self, project_ids: Iterable[str]) -> dict[str, dict[str, Metric]]:
        """All metrics of the projects: project id → metric key → metric, keys ascending bytewise. Every
        project asked for is there, if only with nothing in it."""

    def add_metrics(self, metrics: Sequence[Metric]) -> int:
        """Insert those whose key is free, in key order, and leave the others alone; how many went in.
        Waits for a competitor in flight."""

    def replace_metric(self, metric: Metric) -> None:
        """Overwrite the metric of the same project and key."""

    # --- the catalogue ------------------------------------------------------------------------

    def shared_metrics(self) -> dict[str, SharedMetric]:
        """The catalogue's metrics by key, ascending bytewise."""

    def hold_shared_metrics(self, keys: Iterable[str]) -> dict[str, SharedMetric]:
        """Those of these keys, which nobody can lock until the unit ends; others may hold them too."""

    def lock_shared_metric(self, key: str) -> SharedMetric | None:
        """The one of this key, which nobody can lock or hold until the unit ends."""

    def add_shared_metric(self, metric: SharedMetric) -> bool:
        """Insert; False, with nothing changed, where its key is taken. Waits for a competitor in flight."""

    def replace_shared_metric(self, metric: SharedMetric) -> None:
        """Overwrite the catalogue's metric of the same key."""

    def update_followers(self, metric: SharedMetric) -> None:
        """Overwrite every project's metric of this key that is shared with what the project would have by
        ``metric.followed_by``."""


class HasMetering(Protocol):
    @property
    def metering(self) -> MeteringStore: ...
