"""Prices and prepaid meters: tables, queries and row mapping.

The catalogue's prices are a global table, which every project reads. A meter's units are text, since a
total may exceed 64 bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table, UniqueConstraint, select

from neruba_core.instants import Instant
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import Price
from neruba_core.storage.sql.bulk import insert_new, upsert
from neruba_core.storage.sql.codec import dump_tariff, instant, load_tariff, micros
from neruba_core.storage.sql.columns import METADATA, small, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, given
from neruba_core.storage.sql.statements import SqlStore

PRICES = Table(
    "neruba_prices",
    METADATA,
    text("project_id"),
    text("id"),
    text("metric_key"),
    small("version"),
    text("currency"),
    text("tariff"),
    whole("effective_from"),
    whole("created_at"),
    text("created_by"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_prices_pk"),
    UniqueConstraint("project_id", "metric_key", "currency", "version", name="neruba_prices_version_uq"),
    UniqueConstraint(
        "project_id", "metric_key", "currency", "effective_from", name="neruba_prices_effective_uq"
    ),
    tenant("neruba_prices"),
    CheckConstraint("version > 0", name="neruba_prices_version_ck"),
)

SHARED_PRICES = Table(
    "neruba_shared_prices",
    METADATA,
    text("id"),
    text("metric_key"),
    small("version"),
    text("currency"),
    text("tariff"),
    whole("effective_from"),
    whole("created_at"),
    text("created_by"),
    PrimaryKeyConstraint("id", name="neruba_shared_prices_pk"),
    UniqueConstraint("metric_key", "currency", "version", name="neruba_shared_prices_version_uq"),
    UniqueConstraint("metric_key", "currency", "effective_from", name="neruba_shared_prices_effective_uq"),
    CheckConstraint("version > 0", name="neruba_shared_prices_version_ck"),
)

METERS = Table(
    "neruba_meters",
    METADATA,
    text("project_id"),
    text("metric_key"),
    whole("span_start"),
    whole("span_end"),
    text("price_id"),
    text("units_micros"),
    whole("events"),
    whole("drawn_micros"),
    PrimaryKeyConstraint("project_id", "metric_key", "span_start", name="neruba_meters_pk"),
    tenant("neruba_meters"),
    CheckConstraint("span_start < span_end", name="neruba_meters_span_ck"),
)

_ADD_PRICE = insert_new(PRICES, "project_id", "metric_key", "currency", "effective_from")
_ADD_SHARED_PRICE = insert_new(SHARED_PRICES, "metric_key", "currency", "effective_from")
_WRITE_METERS = upsert(METERS, "span_end", "price_id", "units_micros", "events", "drawn_micros")

_PRICES = Query(
    lambda postgresql: (
        select(PRICES)
        .where(among(postgresql, PRICES.c.project_id, "project_ids"))
        .order_by(PRICES.c.effective_from, PRICES.c.id)
    )
)
_SHARED_PRICES = Query(select(SHARED_PRICES).order_by(SHARED_PRICES.c.effective_from, SHARED_PRICES.c.id))
_PRICE = Query(
    select(PRICES).where(PRICES.c.project_id == given("project_id"), PRICES.c.id == given("price_id"))
)
_SHARED_PRICE = Query(select(SHARED_PRICES).where(SHARED_PRICES.c.id == given("price_id")))
_METERS = Query(
    lambda postgresql: select(METERS).where(
        METERS.c.project_id == given("project_id"),
        among(postgresql, METERS.c.metric_key, "metric_keys"),
        METERS.c.span_start >= given("first"),
        METERS.c.span_start <= given("last"),
    )
)
_METERS_BETWEEN = Query(
    lambda postgresql: (
        select(METERS)
        .where(
            among(postgresql, METERS.c.project_id, "project_ids"),
            METERS.c.span_start >= given("first"),
            METERS.c.span_start < given("end"),
        )
        .order_by(METERS.c.project_id, METERS.c.metric_key, METERS.c.span_start)
    )
)
_METERS_OF = Query(select(METERS).where(METERS.c.project_id == given("project_id")))

_LOCK_CATALOGUE = "SELECT pg_advisory_xact_lock(hashtextextended('neruba catalogue', 0))"


@frozen
class SqlPricing(SqlStore):
    """``PricingStore`` within one unit."""

    def add_price(self, price: Price) -> Price | None:
        row = _price_row(price)
        if price.project_id is None:
            added = self._statements.write(_ADD_SHARED_PRICE, [row])
            others = () if added else self.shared_prices()[price.metric_key]
        else:
            added = self._statements.write(_ADD_PRICE, [(price.project_id, *row)])
            others = () if added else self.prices([price.project_id])[price.project_id][price.metric_key]
        start = price.currency, price.effective_from
        return next((other for other in others if (other.currency, other.effective_from) == start), None)

    def prices(self, project_ids: Iterable[str]) -> dict[str, dict[str, tuple[Price, ...]]]:
        found: dict[str, list[Price]] = {project_id: [] for project_id in project_ids}
        for row in self._statements.ask(_PRICES, project_ids=list(found)):
            found[row[0]].append(_price(*row))
        return {project_id: _by_metric(prices) for project_id, prices in found.items()}

    def shared_prices(self) -> dict[str, tuple[Price, ...]]:
        return _by_metric(_price(None, *row) for row in self._statements.ask(_SHARED_PRICES))

    def price(self, project_id: str | None, price_id: str) -> Price | None:
        if project_id is None:
            row = self._statements.ask_one(_SHARED_PRICE, price_id=price_id)
            return None if row is None else _price(None, *row)
        row = self._statements.ask_one(_PRICE, project_id=project_id, price_id=price_id)
        return None if row is None else _price(*row)

    def lock_catalogue(self) -> None:
        # SQLite has one writer at a time.
        if self._statements.postgresql:
            self._statements.command(_LOCK_CATALOGUE)

    # --- prepaid meters -----------------------------------------------------------------------

    def meters(
        self, project_id: str, names: Iterable[tuple[str, Instant]]
    ) -> dict[tuple[str, Instant], Meter]:
        wanted = set(names)
        if not wanted:
            return {}
        starts = [micros(start) for _, start in wanted]
        # Nearly always of one period, so the bounds leave nothing else to be read.
        rows = self._statements.ask(
            _METERS,
            project_id=project_id,
            metric_keys={metric_key for metric_key, _ in wanted},
            first=min(starts),
            last=max(starts),
        )
        found = {(meter.metric_key, meter.start): meter for meter in map(_meter, rows)}
        return {name: found[name] for name in wanted & found.keys()}

    def meters_between(self, project_ids: Iterable[str], start: Instant, end: Instant) -> Sequence[Meter]:
        rows = self._statements.ask(
            _METERS_BETWEEN, project_ids=set(project_ids), first=micros(start), end=micros(end)
        )
        return [_meter(row) for row in rows]

    def write_meters(self, meters: Sequence[Meter]) -> None:
        rows = [
            (
                m.project_id,
                m.metric_key,
                micros(m.start),
                micros(m.end),
                m.price_id,
                str(m.units_micros),
                m.events,
                m.drawn_micros,
            )
            for m in meters
        ]
        self._statements.write(_WRITE_METERS, rows)

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        for versions in self.prices([project_id])[project_id].values():
            yield from (("prices", price) for price in versions)
        for row in self._statements.ask(_METERS_OF, project_id=project_id):
            yield "meters", _meter(row)


def _by_metric(prices: Iterable[Price]) -> dict[str, tuple[Price, ...]]:
    found = defaultdict(list)
    for price in prices:
        found[price.metric_key].append(price)
    return {metric_key: tuple(versions) for metric_key, versions in found.items()}


def _price_row(price: Price) -> tuple[Any, ...]:
    return (
        price.id,
        price.metric_key,
        price.version,
        price.currency,
        dump_tariff(price.tariff),
        micros(price.effective_from),
        micros(price.created_at),
        price.created_by,
    )


def _price(project_id: str | None, *row: Any) -> Price:
    price_id, metric_key, version, currency, tariff, effective_from, created_at, created_by = row
    return Price(
        project_id,
        price_id,
        metric_key,
        version,
        currency,
        load_tariff(tariff),
        instant(effective_from),
        instant(created_at),
        created_by,
    )


def _meter(row: Any) -> Meter:
    project_id, metric_key, start, end, price_id, units, events, drawn = row
    return Meter(project_id, metric_key, instant(start), instant(end), price_id, int(units), events, drawn)
