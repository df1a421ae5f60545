"""From the events of a period to one quantity per metric.

Every aggregation looks at the events with ``timestamp`` in ``[start, end)`` that are not voided. All
arithmetic is exact; an average alone is rounded, half-even, to a micro-unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from attrs import frozen

from neruba_core import money
from neruba_core.instants import Period
from neruba_core.metering.model import Aggregation, Metric
from neruba_core.money import MICROS
from neruba_core.texts import PropertyValue
from neruba_core.usage.model import Totals, Wanted
from neruba_core.usage.store import HasUsage

_OF_SUMS = {Aggregation.SUM, Aggregation.COUNT, Aggregation.AVG, Aggregation.UNIQUE}
"""The aggregations that need no more than the count and the sum."""


@frozen
class Quantity:
    """What one metric came to in one period. *units_micros* may exceed 64 bits.

    *group* is the value of the property by which usage was split; it is ``None`` for the events without
    that property, and where usage was not split by a property.
    """

    metric: Metric
    period: Period
    units_micros: int
    events: int
    group: PropertyValue | None = None

    @property
    def units(self) -> Decimal:
        """The quantity, in units of the metric."""
        return money.decimal(self.units_micros)


def quantity(work: HasUsage, metric: Metric, period: Period) -> Quantity:
    """Aggregate one metric over *period*; zero without events."""
    return quantities(work, [(metric, period)])[0]


def quantities(work: HasUsage, asked: Sequence[tuple[Metric, Period]]) -> list[Quantity]:
    """Aggregate each metric over its period, with few statements for many; of any projects."""
    wanted = [wanted_of(metric, period) for metric, period in asked]
    totals = work.usage.totals_of(wanted)
    by_property: dict[str, list[int]] = defaultdict(list)
    for place, (metric, _) in enumerate(asked):
        if metric.aggregation is Aggregation.UNIQUE and totals[place].count:
            by_property[unique_property(metric)].append(place)
    distinct: dict[int, int] = {}
    for name, places in by_property.items():
        counted = work.usage.distinct_of([wanted[place] for place in places], name)
        distinct.update(zip(places, counted, strict=True))
    return [
        Quantity(
            metric,
            period,
            distinct.get(place, 0) * MICROS
            if metric.aggregation is Aggregation.UNIQUE
            else aggregate(metric.aggregation, totals[place]),
            totals[place].count,
        )
        for place, (metric, period) in enumerate(asked)
    ]


def wanted_of(metric: Metric, period: Period) -> Wanted:
    """What is asked of the store for a metric and a period."""
    sums_only = metric.aggregation in _OF_SUMS
    return Wanted(metric.project_id, metric.key, period.start, period.end, sums_only)


def unique_property(metric: Metric) -> str:
    """The property whose values a ``unique`` metric counts."""
    assert metric.unique_property is not None, "a unique metric names its property"
    return metric.unique_property


def aggregate(aggregation: Aggregation, totals: Totals) -> int:
    """The quantity in micro-units that *totals* come to; ``unique`` needs the values themselves."""
    match aggregation:
        case Aggregation.SUM:
            return totals.sum_micros
        case Aggregation.COUNT:
            return totals.count * MICROS
        case Aggregation.MAX:
            return totals.max_micros or 0
        case Aggregation.MIN:
            return totals.min_micros or 0
        case Aggregation.LAST:
            return totals.last_micros or 0
        case Aggregation.AVG:
            return money.divided(totals.sum_micros, totals.count) if totals.count else 0
        case Aggregation.UNIQUE:
            raise ValueError("distinct values cannot be told from totals")
