"""``neruba.catalogue``: the metrics that all projects share.

Prices of the catalogue are made and listed by ``neruba.prices`` with no project, plans by ``neruba.plans``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from attrs import frozen

from neruba_core import texts
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.metering import catalogue
from neruba_core.metering.model import Aggregation, PropertyRule, SharedMetric
from neruba_core.namespaces.metrics import Changes, declaration_of


@frozen
class Catalogue:
    """The deployment's metrics, which a project has unless it declares its own of the same key."""

    _context: Context

    def declare(
        self,
        *,
        key: str,
        aggregation: Aggregation | str = Aggregation.SUM,
        unit: str | None = None,
        unique_property: str | None = None,
        free: bool = False,
        properties: Iterable[PropertyRule] = (),
        origin: Origin = SYSTEM,
    ) -> SharedMetric:
        """Declare a metric for all projects; those that have one of this key keep it.

        The values are those of ``neruba.metrics.declare``. Raises ``FormatInvalid``, ``TextInvalid``,
        ``PropertyInvalid``, ``MetricInvalid`` or ``MetricExists``.
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
            lambda work: catalogue.declare(
                work, metric_key, declaration, at=context.clock(), actor=origin.actor
            )
        )

    def change(self, key: str, **changes: Unpack[Changes]) -> SharedMetric:
        """Change what is given of a metric, all or nothing, for every project that follows it.

        How it aggregates stays as it was declared. Raises ``FormatInvalid``, ``TextInvalid``,
        ``PropertyInvalid``, ``MetricInvalid``, ``MetricFixed`` or ``MetricNotFound``.
        """
        declaration = declaration_of(changes)
        return self._context.write(lambda work: catalogue.change(work, key, declaration))

    def metrics(self) -> tuple[SharedMetric, ...]:
        """All metrics of the catalogue by ascending key."""
        return self._context.read(lambda work: tuple(work.metering.shared_metrics().values()))
