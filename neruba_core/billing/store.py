"""What billing asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.billing.model import BillingPeriod, Run


class BillingStore(Protocol):
    """Billing periods (unique by (project, name), and by start) and the records of runs (append-only).
    Both are written under the project's locked head."""

    def periods(self, project_ids: Iterable[str]) -> dict[str, tuple[BillingPeriod, ...]]:
        """The stored periods by ascending start. Every project asked for is there."""

    def put_periods(self, periods: Sequence[BillingPeriod]) -> None:
        """Insert, or overwrite ``invoiced_at`` of those of the same project and name; nothing else of a
        stored period ever changes. A start that is taken fails the unit."""

    def add_runs(self, runs: Sequence[Run]) -> None:
        """Insert; an id that is taken fails the unit. Counts and totals may exceed 64 bits."""

    def run(self, project_id: str, run_id: str) -> Run | None: ...

    def runs(
        self, project_id: str, *, limit: int, before: str | None, period: str | None = None
    ) -> Sequence[Run]:
        """By descending id, below *before*."""


class HasBilling(Protocol):
    @property
    def billing(self) -> BillingStore: ...
