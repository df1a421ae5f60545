"""Metrics: declaring, changing, finding.

How a metric aggregates decides what past usage comes to, so it is chosen once: only a metric that usage
brought in on sight, where nobody has chosen yet, can be given another aggregation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypedDict

from attrs import evolve

from neruba_core import texts
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.choices import choice
from neruba_core.errors import MetricExists, MetricFixed, MetricInvalid, MetricNotFound, PropertyInvalid
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.metering.model import Aggregation, Metric, PropertyRule, PropertyType
from neruba_core.metering.store import HasMetering
from neruba_core.tenancy.projects import existing, locked_writable
from neruba_core.tenancy.store import HasTenancy

MOST_UNIT_BYTES = 64
MOST_PROPERTY_NAME_BYTES = 128


class Metered(HasMetering, HasTenancy, Protocol):
    """Metrics and the projects they belong to."""


class Declaring(Metered, HasAudit, Protocol):
    """What a change of a project's metrics reads and writes."""


class Declaration(TypedDict, total=False):
    """What a metric is declared or changed to, in checked form; what is left out stays as it is."""

    aggregation: Aggregation
    unit: str | None
    unique_property: str | None
    free: bool
    properties: tuple[PropertyRule, ...]


def unit(name: str | None) -> str | None:
    """Return *name* if it can be shown behind a quantity. Raises ``TextInvalid``."""
    return None if name is None else texts.clean(name, most_bytes=MOST_UNIT_BYTES)


def property_name(name: str | None) -> str | None:
    """Return *name* if an event's property can be called so. Raises ``TextInvalid``."""
    return None if name is None else texts.clean(name, most_bytes=MOST_PROPERTY_NAME_BYTES)


def rules(given: Iterable[PropertyRule]) -> tuple[PropertyRule, ...]:
    """The rules by ascending name, so that their order never makes a difference.

    Raises ``TextInvalid``, ``FormatInvalid`` (type) or ``PropertyInvalid`` (a name twice, or too many).
    """
    checked: dict[str, PropertyRule] = {}
    for rule in given:
        name = texts.clean(rule.name, most_bytes=MOST_PROPERTY_NAME_BYTES)
        if name in checked:
            raise PropertyInvalid(ascii(name), "has two rules")
        checked[name] = evolve(rule, type=choice(PropertyType, rule.type, "a property type"))
    if len(checked) > texts.MAX_PROPERTIES:
        raise PropertyInvalid("*", f"more than {texts.MAX_PROPERTIES} of them")
    return tuple(checked[name] for name in sorted(checked))


def declare(
    work: Declaring,
    project_id: str,
    key: str,
    declaration: Declaration,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Metric:
    """Declare a metric: ``sum`` of no particular unit where *declaration* says nothing else.

    Raises ``MetricInvalid``, ``ProjectNotFound``, ``ProjectArchived`` or ``MetricExists``.
    """
    plain = Metric(
        project_id=project_id,
        key=key,
        aggregation=Aggregation.SUM,
        unit=None,
        unique_property=None,
        free=False,
        properties=(),
        auto_declared=False,
        created_at=at,
    )
    metric = _consistent(evolve(plain, **declaration))
    locked_writable(work, project_id)
    if work.metering.add_metrics([metric]) == 0:
        raise MetricExists(key)
    note_change(work, project_id, "metric.declared", key, _details(metric), at=at, ids=ids, origin=origin)
    return metric


def change(
    work: Declaring,
    project_id: str,
    key: str,
    changes: Declaration,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Metric:
    """Change what *changes* names, all or nothing.

    Raises ``ProjectNotFound``, ``ProjectArchived``, ``MetricNotFound``, ``MetricFixed`` or
    ``MetricInvalid``.
    """
    locked_writable(work, project_id)
    metric = _named(work, project_id, key)
    changed = evolve(metric, **changes)
    if changed == metric:
        return metric
    if changed.aggregation is not metric.aggregation and not metric.auto_declared:
        raise MetricFixed(key)
    work.metering.replace_metric(_consistent(changed))
    note_change(work, project_id, "metric.changed", key, _details(changed), at=at, ids=ids, origin=origin)
    return changed


def metrics_of(work: Metered, project_id: str) -> tuple[Metric, ...]:
    """All metrics by ascending key. Raises ``ProjectNotFound``."""
    existing(work, project_id)
    return tuple(work.metering.metrics([project_id])[project_id].values())


def metric_named(work: Metered, project_id: str, key: str) -> Metric:
    """The metric. Raises ``ProjectNotFound`` or ``MetricNotFound``."""
    existing(work, project_id)
    return _named(work, project_id, key)


def _named(work: HasMetering, project_id: str, key: str) -> Metric:
    metric = work.metering.metrics([project_id])[project_id].get(key)
    if metric is None:
        raise MetricNotFound(key)
    return metric


def _consistent(metric: Metric) -> Metric:
    if metric.aggregation is Aggregation.UNIQUE:
        if metric.unique_property is None:
            raise MetricInvalid(
                "aggregation unique counts the values of a property; name it as uniqueProperty"
            )
    elif metric.unique_property is not None:
        raise MetricInvalid(
            f"uniqueProperty goes with aggregation unique, not with {metric.aggregation.value}"
        )
    return metric


def _details(metric: Metric) -> dict[str, Json]:
    """The metric as it is now, by the names of the wire."""
    return {
        "aggregation": metric.aggregation.value,
        "unit": metric.unit,
        "uniqueProperty": metric.unique_property,
        "free": metric.free,
        "properties": {
            rule.name: {"type": rule.type.value, "required": rule.required} for rule in metric.properties
        },
    }
