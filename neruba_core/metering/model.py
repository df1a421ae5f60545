"""Metrics: what is counted, how it is aggregated, and what its events must carry."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from neruba_core.instants import Instant


class Aggregation(StrEnum):
    """How the events of a period become one quantity."""

    SUM = "sum"
    COUNT = "count"
    MAX = "max"
    MIN = "min"
    LAST = "last"
    UNIQUE = "unique"
    AVG = "avg"


class PropertyType(StrEnum):
    """The type that a property of an event must have."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@frozen
class PropertyRule:
    """The contract of one property of a metric's events."""

    name: str
    type: PropertyType
    required: bool = False


@frozen
class Metric:
    """A named quantity of a project. *auto_declared* tells one that usage brought in on sight, *shared* one
    that follows the catalogue's metric of the same key."""

    project_id: str
    key: str
    aggregation: Aggregation
    unit: str | None
    unique_property: str | None
    free: bool
    properties: tuple[PropertyRule, ...]
    auto_declared: bool
    created_at: Instant
    shared: bool = False


@frozen
class SharedMetric:
    """A metric of the catalogue: what a project counts under this key unless it declares its own."""

    key: str
    aggregation: Aggregation
    unit: str | None
    unique_property: str | None
    free: bool
    properties: tuple[PropertyRule, ...]
    created_at: Instant
    created_by: str

    def followed_by(self, project_id: str) -> Metric:
        """The metric as the project has it."""
        return Metric(
            project_id=project_id,
            key=self.key,
            aggregation=self.aggregation,
            unit=self.unit,
            unique_property=self.unique_property,
            free=self.free,
            properties=self.properties,
            auto_declared=False,
            created_at=self.created_at,
            shared=True,
        )
