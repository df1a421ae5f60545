"""Totals of usage events: what a metric comes to in a period, without the events that were voided.

Sums may exceed 64 bits, which SQLite's own SUM answers with an error: there the high and the low halves of
the units are summed instead.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement, Text, cast, exists, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import JSONB

from neruba_core.instants import Instant
from neruba_core.storage.sql.codec import instant, micros
from neruba_core.storage.sql.events import EVENTS, VOIDS
from neruba_core.storage.sql.queries import Query, Select, given
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.usage.model import Totals

_LOW_BITS = 0xFFFFFFFF

_UNVOIDED: Select = select(EVENTS.c.id).where(
    EVENTS.c.project_id == given("project_id"),
    ~exists().where(VOIDS.c.project_id == EVENTS.c.project_id, VOIDS.c.usage_id == EVENTS.c.id),
)
_IN_PERIOD: Select = _UNVOIDED.where(EVENTS.c.timestamp >= given("start"), EVENTS.c.timestamp < given("end"))
_OF_METRIC: Select = _IN_PERIOD.where(EVENTS.c.metric_key == given("metric_key"))


def _totals(postgresql: bool) -> Select:
    units = EVENTS.c.units_micros
    last = (
        _OF_METRIC.with_only_columns(units)
        .order_by(EVENTS.c.timestamp.desc(), EVENTS.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    # The sum's lower part, and its upper part in units of 2³²; PostgreSQL sums in NUMERIC.
    sums: tuple[ColumnElement[Any], ...] = (func.sum(units), literal_column("0"))
    if not postgresql:
        sums = (func.sum(units.op("&")(_LOW_BITS)), func.sum(units.op(">>")(32)))
    return _OF_METRIC.with_only_columns(func.count(), func.max(units), func.min(units), last, *sums)


def _distinct(postgresql: bool) -> Select:
    if postgresql:
        value = func.jsonb_extract_path(cast(EVENTS.c.properties, JSONB), given("property_name"))
        # As JSON text, in which 1, "1" and true differ; compared by its bytes, which is cheapest.
        return _OF_METRIC.with_only_columns(func.count(cast(value, Text).collate("C").distinct()))
    pair = func.json_each(EVENTS.c.properties).table_valued("key", "type", "value")
    values = (
        _OF_METRIC.with_only_columns(pair.c.type, pair.c.value)
        .select_from(EVENTS.join(pair, true()))
        .where(pair.c.key == given("property_name"))
        .distinct()
        .subquery()
    )
    return select(func.count()).select_from(values)


_TOTALS = Query(_totals)
_DISTINCT = Query(_distinct)
_EXTENT = Query(
    _UNVOIDED.with_only_columns(
        EVENTS.c.metric_key, func.min(EVENTS.c.timestamp), func.max(EVENTS.c.timestamp)
    ).group_by(EVENTS.c.metric_key)
)
_COUNTS = Query(_IN_PERIOD.with_only_columns(EVENTS.c.metric_key, func.count()).group_by(EVENTS.c.metric_key))


@frozen
class SqlTotals(SqlStore):
    """The part of ``UsageStore`` that adds up."""

    def totals(self, project_id: str, metric_key: str, start: Instant, end: Instant) -> Totals:
        count, most, least, last, low, high = self._statements.ask_one(
            _TOTALS, project_id=project_id, metric_key=metric_key, start=micros(start), end=micros(end)
        )
        return Totals(count, int(low or 0) + (int(high or 0) << 32), most, least, last)

    def distinct(
        self, project_id: str, metric_key: str, property_name: str, start: Instant, end: Instant
    ) -> int:
        (count,) = self._statements.ask_one(
            _DISTINCT,
            project_id=project_id,
            metric_key=metric_key,
            property_name=property_name,
            start=micros(start),
            end=micros(end),
        )
        return int(count)

    def extent(self, project_id: str) -> dict[str, tuple[Instant, Instant]]:
        rows = self._statements.ask(_EXTENT, project_id=project_id)
        return {metric_key: (instant(first), instant(last)) for metric_key, first, last in rows}

    def counts(self, project_id: str, start: Instant, end: Instant) -> dict[str, int]:
        rows = self._statements.ask(_COUNTS, project_id=project_id, start=micros(start), end=micros(end))
        return dict(map(tuple, rows))
