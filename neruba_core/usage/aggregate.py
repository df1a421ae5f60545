"""From the events of a period to one quantity per metric.

Every aggregation looks at the events with ``timestamp`` in ``[start, end)`` that are not voided. All
arithmetic is exact; an average alone is rounded, half-even, to a micro-unit.
"""

from __future__ import annotations

from decimal import Decimal

from attrs import frozen

from neruba_core import money
from neruba_core.instants import Period
from neruba_core.metering.model import Aggregation, Metric
from neruba_core.money import MICROS
from neruba_core.usage.model import Totals
from neruba_core.usage.store import HasUsage


@frozen
class Quantity:
    """What one metric came to in one period. *units_micros* may exceed 64 bits."""

    metric: Metric
    period: Period
    units_micros: int
    events: int

    @property
    def units(self) -> Decimal:
        """The quantity, in units of the metric."""
        return money.decimal(self.units_micros)


def quantity(work: HasUsage, metric: Metric, period: Period) -> Quantity:
    """Aggregate one metric over *period*; zero without events."""
    totals = work.usage.totals(metric.project_id, metric.key, period.start, period.end)
    if metric.aggregation is Aggregation.UNIQUE:
        assert metric.unique_property is not None, "a unique metric names its property"
        distinct = work.usage.distinct(
            metric.project_id, metric.key, metric.unique_property, period.start, period.end
        )
        return Quantity(metric, period, distinct * MICROS, totals.count)
    return Quantity(metric, period, aggregate(metric.aggregation, totals), totals.count)


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
            return _divide_half_even(totals.sum_micros, totals.count) if totals.count else 0
        case Aggregation.UNIQUE:
            raise ValueError("distinct values cannot be told from totals")


def _divide_half_even(dividend: int, divisor: int) -> int:
    whole, rest = divmod(dividend, divisor)
    twice = 2 * rest
    return whole + (twice > divisor or (twice == divisor and whole % 2 == 1))
