"""Metrics: table, queries and row mapping."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import PrimaryKeyConstraint, Table, select
from sqlalchemy import update as changing

from neruba_core.metering.model import Aggregation, Metric, PropertyRule, PropertyType
from neruba_core.storage.sql.bulk import insert_new
from neruba_core.storage.sql.codec import dump, instant, micros
from neruba_core.storage.sql.columns import METADATA, flag, one_of, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among
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
)

_ADD = insert_new(METRICS, "project_id", "key")
_OF_PROJECTS = Query(
    lambda postgresql: (
        select(METRICS)
        .where(among(postgresql, METRICS.c.project_id, "project_ids"))
        .order_by(METRICS.c.project_id, METRICS.c.key)
    )
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


def _dump_rules(rules: Iterable[PropertyRule]) -> str:
    return dump([[rule.name, rule.type.value, rule.required] for rule in rules])


def _load_rules(kept: str) -> tuple[PropertyRule, ...]:
    rules = json.loads(kept)
    return tuple(PropertyRule(name, PropertyType(kind), required) for name, kind, required in rules)
