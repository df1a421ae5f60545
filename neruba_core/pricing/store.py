"""What pricing asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import Price


class PricingStore(Protocol):
    """Prices, append-only: unique by (project, metric, currency, version) and by (project, metric, currency,
    effective from). Those of the catalogue are a table of their own with the same promises."""

    def add_price(self, price: Price) -> Price | None:
        """Insert and return None, or return the price of the same project, metric, currency and
        *effective_from*. Any other key that is taken fails the unit.
        The caller holds ``lock_project``, or ``lock_catalogue`` for a price of the catalogue."""

    def prices(self, project_ids: Iterable[str]) -> dict[str, dict[str, tuple[Price, ...]]]:
        """The projects' own prices: project id → metric key → versions by ascending ``effective_from``
        (then id). Every project asked for is there, if only with nothing in it."""

    def shared_prices(self) -> dict[str, tuple[Price, ...]]:
        """The catalogue's prices: metric key → versions by ascending ``effective_from`` (then id)."""

    def price(self, project_id: str | None, price_id: str) -> Price | None:
        """The project's own price of this id; with None the catalogue's."""

    def lock_catalogue(self) -> None:
        """Keep others from changing the catalogue until the unit ends."""

    # --- prepaid meters -----------------------------------------------------------------------

    def meters(
        self, project_id: str, names: Iterable[tuple[str, Instant]]
    ) -> dict[tuple[str, Instant], Meter]:
        """Meters by (metric key, start of the slice); read and written under the project's head."""

    def meters_between(self, project_ids: Iterable[str], start: Instant, end: Instant) -> Sequence[Meter]:
        """The meters whose slices start in ``[start, end)``, by project, metric and start."""

    def write_meters(self, meters: Sequence[Meter]) -> None:
        """Insert or overwrite, under the project's locked head. Units may exceed 64 bits."""


class HasPricing(Protocol):
    @property
    def pricing(self) -> PricingStore: ...
