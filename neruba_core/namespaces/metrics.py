"""``neruba.metrics``: what a project counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict, Unpack

from attrs import frozen

from neruba_core import texts
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.metering import metrics
from neruba_core.metering.metrics import Declaration
from neruba_core.metering.model import Aggregation, Metric, PropertyRule


class Changes(TypedDict, total=False):
    """What ``Metrics.change`` may change; a field that is left out stays as it is."""

    aggregation: Aggregation | str
    unit: str | None
    unique_property: str | None
    free: bool
    properties: Iterable[PropertyRule]


@frozen
class Metrics:
    """Metrics of a project, by key."""

    _context: Context

    def declare(
        self,
        project_id: str,
        *,
        key: str,
        aggregation: Aggregation | str = Aggregation.SUM,
        unit: str | None = None,
        unique_property: str | None = None,
        free: bool = False,
        properties: Iterable[PropertyRule] = (),
        origin: Origin = SYSTEM,
    ) -> Metric:
        """Declare a metric. ``unique`` needs *unique_property*, every other aggregation forbids it.

        *properties* is the contract of its events: at most 50 rules with distinct names; undeclared
        properties stay allowed. One that the project has from the catalogue becomes its own. Raises
        ``FormatInvalid``, ``TextInvalid``, ``PropertyInvalid``, ``MetricInvalid``, ``ProjectNotFound``,
        ``ProjectArchived``, ``MetricExists`` or ``MetricFixed`` (see ``change``).
        """
        context = self._context
        metric_key = texts.metric_key(key)
        declaration = declaration_of(
            Changes(
                aggregation=aggregation,
                unit=unit,
                unique_property=unique_property,
                free=free,
                properties=properties,
            )
        )
        return context.write(
            lambda work: metrics.declare(
                work, project_id, metric_key, declaration, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def change(
        self, project_id: str, key: str, *, origin: Origin = SYSTEM, **changes: Unpack[Changes]
    ) -> Metric:
        """Change what is given of a metric, all or nothing.

        How it aggregates can be changed only of a metric that usage brought in on sight or that follows
        the catalogue, and only until its usage is first invoiced. A change makes a metric the project's
        own, which follows the catalogue no more. Raises ``FormatInvalid``, ``TextInvalid``,
        ``PropertyInvalid``, ``MetricInvalid``, ``MetricFixed``, ``ProjectNotFound``, ``ProjectArchived`` or
        ``MetricNotFound``.
        """
        context = self._context
        parsed = declaration_of(changes)
        return context.write(
            lambda work: metrics.change(
                work, project_id, key, parsed, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def list(self, project_id: str) -> tuple[Metric, ...]:
        """All metrics of the project by ascending key, with those of the catalogue.

        Raises ``ProjectNotFound``.
        """
        return self._context.read(lambda work: metrics.metrics_of(work, project_id))

    def get(self, project_id: str, key: str) -> Metric:
        """The metric. Raises ``ProjectNotFound`` or ``MetricNotFound``."""
        return self._context.read(lambda work: metrics.metric_named(work, project_id, key))


def declaration_of(changes: Changes) -> Declaration:
    """Check an embedder's values, one field at a time; how they go together is the verb's matter."""
    parsed = Declaration()
    if "aggregation" in changes:
        parsed["aggregation"] = choice(Aggregation, changes["aggregation"], "an aggregation")
    if "unit" in changes:
        parsed["unit"] = metrics.unit(changes["unit"])
    if "unique_property" in changes:
        parsed["unique_property"] = metrics.property_name(changes["unique_property"])
    if "free" in changes:
        parsed["free"] = changes["free"]
    if "properties" in changes:
        parsed["properties"] = metrics.rules(changes["properties"])
    return parsed
