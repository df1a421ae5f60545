"""What a project counts."""

from __future__ import annotations

from attrs import frozen
from msgspec import UNSET, UnsetType

from neruba_core.metering.model import Aggregation, PropertyRule, PropertyType
from neruba_core.metering.model import Metric as CoreMetric
from neruba_core.metering.model import SharedMetric as CoreSharedMetric
from neruba_server.wire.kinds import MetricKey, Moment, PropertyName, UnitName


@frozen
class Rule:
    """The contract of one property of a metric's events."""

    type: PropertyType
    required: bool | None = None


def rules_of(rules: dict[str, Rule]) -> tuple[PropertyRule, ...]:
    """The rules as the core takes them."""
    return tuple(PropertyRule(name, rule.type, bool(rule.required)) for name, rule in rules.items())


def _rules(rules: tuple[PropertyRule, ...]) -> dict[str, Rule]:
    return {rule.name: Rule(rule.type, rule.required) for rule in rules}


@frozen
class NewMetric:
    """A metric to be declared; ``sum`` and not free unless said otherwise."""

    key: MetricKey
    aggregation: Aggregation | None = None
    unit: UnitName | None = None
    unique_property: PropertyName | None = None
    free: bool | None = None
    properties: dict[str, Rule] | None = None


@frozen
class MetricChanges:
    """What to change of a metric; what is left out stays as it is."""

    aggregation: Aggregation | UnsetType = UNSET
    unit: UnitName | UnsetType | None = UNSET
    unique_property: PropertyName | UnsetType | None = UNSET
    free: bool | UnsetType = UNSET
    properties: dict[str, Rule] | UnsetType = UNSET


@frozen
class Metric:
    """A named quantity; ``autoDeclared`` tells one that usage brought in on sight, ``shared`` one that
    follows the catalogue."""

    key: str
    aggregation: Aggregation
    unit: str | None
    unique_property: str | None
    free: bool
    properties: dict[str, Rule]
    auto_declared: bool
    shared: bool
    created_at: Moment

    @classmethod
    def of(cls, metric: CoreMetric) -> Metric:
        """The metric as people see it."""
        return cls(
            key=metric.key,
            aggregation=metric.aggregation,
            unit=metric.unit,
            unique_property=metric.unique_property,
            free=metric.free,
            properties=_rules(metric.properties),
            auto_declared=metric.auto_declared,
            shared=metric.shared,
            created_at=metric.created_at,
        )


@frozen
class Metrics:
    """Metrics by ascending key."""

    items: tuple[Metric, ...]
    next_cursor: str | None


@frozen
class SharedMetric:
    """A metric of the catalogue, which projects have unless they declare their own."""

    key: str
    aggregation: Aggregation
    unit: str | None
    unique_property: str | None
    free: bool
    properties: dict[str, Rule]
    created_at: Moment

    @classmethod
    def of(cls, metric: CoreSharedMetric) -> SharedMetric:
        """The metric as people see it."""
        return cls(
            key=metric.key,
            aggregation=metric.aggregation,
            unit=metric.unit,
            unique_property=metric.unique_property,
            free=metric.free,
            properties=_rules(metric.properties),
            created_at=metric.created_at,
        )


@frozen
class SharedMetrics:
    """The catalogue's metrics by ascending key."""

    items: tuple[SharedMetric, ...]
    next_cursor: str | None
