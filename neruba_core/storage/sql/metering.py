"""Metrics: table, queries and row mapping."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Index, PrimaryKeyConstraint, Table, select
from sqlalchemy import text as sql
from sqlalchemy import update as changing

from neruba_core.metering.model import Aggregation, Metric, PropertyRule, PropertyType, SharedMetric
from neruba_core.storage.sql.bulk import insert_new
from neruba_core.storage.sql.codec import dump, instant, micros
from neruba_core.storage.sql.columns import METADATA, flag, one_of, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, given
from neruba_core.storage.sql.statements import SqlStore

METRICS = Table(
    "neruba_metrics",
    METADATA,
    text("project_id"),
    text("key"),
    text("aggregation"),
    text("unit", optional=True),
    text("unique_property", optional=True),
    flag("free"),
    text("properties"),
    flag("auto_declared"),
    whole("created_at"),
    flag("shared"),
    PrimaryKeyConstraint("project_id", "key", name="neruba_metrics_pk"),
    tenant("neruba_metrics"),
    one_of("aggregation", Aggregation, "neruba_metrics_aggregation_ck"),
    # A change of the catalogue goes to all that follow it, whichever projects they are.
    Index("neruba_metrics_shared_ix", "key", postgresql_where=sql("shared"), sqlite_where=sql("shared")),
)

SHARED_METRICS = Table(
    "neruba_shared_metrics",
    METADATA,
    text("key"),
    text("aggregation"),
    text("unit", optional=True),
    text("unique_property", optional=True),
    flag("free"),
    text("properties"),
    whole("created_at"),
    text("created_by"),
    PrimaryKeyConstraint("key", name="neruba_shared_metrics_pk"),
    one_of("aggregation", Aggregation, "neruba_shared_metrics_aggregation_ck"),
)

_ADD = insert_new(METRICS, "project_id", "key")
_ADD_SHARED = insert_new(SHARED_METRICS, "key")
_OF_PROJECTS = Query(
    lambda postgresql: (
        select(METRICS)
        .where(among(postgresql, METRICS.c.project_id, "project_ids"))
        .order_by(METRICS.c.project_id, METRICS.c.key)
    )
)
_SHARED = Query(select(SHARED_METRICS).order_by(SHARED_METRICS.c.key))
# Locked in one order, so that two units never wait for each other.
_HOLD_SHARED = Query(
    lambda postgresql: (
        select(SHARED_METRICS)
        .where(among(postgresql, SHARED_METRICS.c.key, "keys"))
        .order_by(SHARED_METRICS.c.key)
        .with_for_update(read=True)
    )
)
_LOCK_SHARED = Query(
    select(SHARED_METRICS).where(SHARED_METRICS.c.key == given("key")).with_for_update(key_share=True)
)


@frozen
class SqlMetering(SqlStore):
    """``MeteringStore`` within one unit."""

    def metrics(self, project_ids: Iterable[str]) -> dict[str, dict[str, Metric]]:
        found: dict[str, dict[str, Metric]] = {project_id: {} for project_id in project_ids}
        for row in self._statements.ask(_OF_PROJECTS, project_ids=list(found)):
            found[row[0]][row[1]] = _metric(row)
        return found

    def add_metrics(self, metrics: Sequence[Metric]) -> int:
        rows = sorted(map(_metric_row, metrics), key=lambda row: row[:2])
        return self._statements.write(_ADD, rows)

    def replace_metric(self, metric: Metric) -> None:
        names = [column.name for column in METRICS.columns]
        query = (
            changing(METRICS)
            .where(METRICS.c.project_id == metric.project_id, METRICS.c.key == metric.key)
            .values(dict(zip(names[2:], _metric_row(metric)[2:], strict=True)))
        )
        self._statements.change(query)

    # --- the catalogue ------------------------------------------------------------------------

    def shared_metrics(self) -> dict[str, SharedMetric]:
        return {row[0]: _shared_metric(row) for row in self._statements.ask(_SHARED)}

    def hold_shared_metrics(self, keys: Iterable[str]) -> dict[str, SharedMetric]:
        rows = self._statements.ask(_HOLD_SHARED, keys=list(keys))
        return {row[0]: _shared_metric(row) for row in rows}

    def lock_shared_metric(self, key: str) -> SharedMetric | None:
        row = self._statements.ask_one(_LOCK_SHARED, key=key)
        return None if row is None else _shared_metric(row)

    def add_shared_metric(self, metric: SharedMetric) -> bool:
        return self._statements.write(_ADD_SHARED, [_shared_row(metric)]) == 1

    def replace_shared_metric(self, metric: SharedMetric) -> None:
        names = [column.name for column in SHARED_METRICS.columns]
        values = dict(zip(names[1:], _shared_row(metric)[1:], strict=True))
        self._statements.change(
            changing(SHARED_METRICS).where(SHARED_METRICS.c.key == metric.key).values(values)
        )

    def update_followers(self, metric: SharedMetric) -> None:
        names = [column.name for column in METRICS.columns]
        values = dict(zip(names[2:], _metric_row(metric.followed_by(""))[2:], strict=True))
        self._statements.change(
            changing(METRICS).where(METRICS.c.key == metric.key, METRICS.c.shared).values(values)
        )

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of this table."""
        yield from (("metrics", metric) for metric in self.metrics([project_id])[project_id].values())


def _metric_row(metric: Metric) -> tuple[Any, ...]:
    return (
        metric.project_id,
        metric.key,
        metric.aggregation.value,
        metric.unit,
        metric.unique_property,
        metric.free,
        _dump_rules(metric.properties),
        metric.auto_declared,
        micros(metric.created_at),
        metric.shared,
    )


def _metric(row: Any) -> Metric:
    project_id, key, aggregation, unit, unique_property, free, rules, auto_declared, created_at, shared = row
    return Metric(
        project_id,
        key,
        Aggregation(aggregation),
        unit,
        unique_property,
        bool(free),
        _load_rules(rules),
        bool(auto_declared),
        instant(created_at),
        bool(shared),
    )


def _shared_row(metric: SharedMetric) -> tuple[Any, ...]:
    return (
        metric.key,
        metric.aggregation.value,
        metric.unit,
        metric.unique_property,
        metric.free,
        _dump_rules(metric.properties),
        micros(metric.created_at),
        metric.created_by,
    )


def _shared_metric(row: Any) -> SharedMetric:
    key, aggregation, unit, unique_property, free, rules, created_at, created_by = row
    return SharedMetric(
        key,
        Aggregation(aggregation),
        unit,
        unique_property,
        bool(free),
        _load_rules(rules),
        instant(created_at),
        created_by,
    )


def _dump_rules(rules: Iterable[PropertyRule]) -> str:
    return dump([[rule.name, rule.type.value, rule.required] for rule in rules])


def _load_rules(kept: str) -> tuple[PropertyRule, ...]:
    # Most metrics have none.
    rules = () if kept == "[]" else json.loads(kept)
    return tuple(PropertyRule(name, PropertyType(kind), required) for name, kind, required in rules)
