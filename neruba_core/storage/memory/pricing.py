"""Prices and prepaid meters in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import define, field

from neruba_core.instants import Instant, Period
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import Price
from neruba_core.storage.memory.ledger import MemoryLedger
from neruba_core.storage.memory.tables import EVERYONE, DuplicateKey, Table, Undo

_NONE: Mapping[str, tuple[Price, ...]] = {}


@define(eq=False)
class PricingTables:
    """The versions are by project (``EVERYONE`` for the catalogue) and metric, in their order."""

    versions: dict[str, dict[str, tuple[Price, ...]]] = field(factory=dict)
    by_id: dict[tuple[str, str], Price] = field(factory=dict)
    meters: Table[tuple[str, Instant], Meter] = field(factory=Table)


@define(eq=False)
class MemoryPricing:
    """``PricingStore`` within one unit."""

    _tables: PricingTables
    _undo: Undo
    _ledger: MemoryLedger

    def add_price(self, price: Price) -> Price | None:
        scope = price.project_id or EVERYONE
        others = self._versions(scope).get(price.metric_key, ())
        for other in others:
            if _start(other) == _start(price):
                return other
        if (scope, price.id) in self._tables.by_id or _number(price) in map(_number, others):
            raise DuplicateKey(f"price {price.id!r} or its version is there already")
        self._undo.put(self._tables.by_id, (scope, price.id), price)
        if scope not in self._tables.versions:
            self._undo.put(self._tables.versions, scope, {})
        ordered = tuple(sorted((*others, price), key=lambda each: (each.effective_from, each.id)))
        self._undo.put(self._tables.versions[scope], price.metric_key, ordered)
        return None

    def prices(self, project_ids: Iterable[str]) -> dict[str, dict[str, tuple[Price, ...]]]:
        return {project_id: dict(self._versions(project_id)) for project_id in project_ids}

    def shared_prices(self) -> dict[str, tuple[Price, ...]]:
        return dict(self._versions(EVERYONE))

    def price(self, project_id: str | None, price_id: str) -> Price | None:
        return self._tables.by_id.get((project_id or EVERYONE, price_id))

    def lock_catalogue(self) -> None:
        # One unit at a time: there is nobody to keep out.
        pass

    def export(self, project_id: str) -> Iterator[Price]:
        """The project's own prices."""
        for versions in self._versions(project_id).values():
            yield from versions

    def _versions(self, scope: str) -> Mapping[str, tuple[Price, ...]]:
        return self._tables.versions.get(scope, _NONE)

    # --- prepaid meters -----------------------------------------------------------------------

    def meters(
        self, project_id: str, names: Iterable[tuple[str, Instant]]
    ) -> dict[tuple[str, Instant], Meter]:
        return self._tables.meters.some(project_id, names)

    def meters_between(self, project_ids: Iterable[str], start: Instant, end: Instant) -> Sequence[Meter]:
        within = Period(start, end)
        return tuple(
            meter
            for project_id in sorted(set(project_ids))
            for meter in self._tables.meters.ascending(project_id)
            if meter.start in within
        )

    def write_meters(self, meters: Sequence[Meter]) -> None:
        for meter in meters:
            self._ledger.need_lock(meter.project_id)
            self._tables.meters.put(self._undo, meter.project_id, (meter.metric_key, meter.start), meter)


def _start(price: Price) -> tuple[str, Instant]:
    return price.currency, price.effective_from


def _number(price: Price) -> tuple[str, int]:
    return price.currency, price.version
