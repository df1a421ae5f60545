"""Totals without late usage that waits for support.

Held events are rare, and what is held of one changes any aggregation: so where there are some, the events of
their metric and time are read one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import field, frozen

from neruba_core.instants import Instant, Period
from neruba_core.metering.model import Aggregation, Metric
from neruba_core.money import MICROS
from neruba_core.usage.aggregate import Quantity, aggregate, unique_property
from neruba_core.usage.model import HoldKind, LateHold, QuarantineState, Totals, UsageEvent
from neruba_core.usage.store import HasUsage

_PAGE = 1_000

LATE = "late: its period was invoiced when it arrived"
"""Why late usage waits."""

LET_GO = f"late_usage.{QuarantineState.REPLAYED.value}"
"""What the audit calls it when support lets late usage be billed."""


@frozen
class Held:
    """What of a project's late usage is held back, or was dropped."""

    holds: tuple[LateHold, ...] = ()
    _kinds: dict[str, set[HoldKind]] = field(factory=dict, init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        for hold in self.holds:
            self._kinds.setdefault(hold.usage_id, set()).add(hold.kind)

    @classmethod
    def of(cls, holds: Iterable[LateHold]) -> Held:
        """Those of *holds* that are in force: what was replayed counts again."""
        return cls(tuple(hold for hold in holds if hold.state is not QuarantineState.REPLAYED))

    def touches(self, metric_key: str, span: Period) -> bool:
        """Whether something of the metric is held in *span*."""
        return any(hold.metric_key == metric_key and hold.timestamp in span for hold in self.holds)

    def counts(self, event: UsageEvent, *, voided: bool) -> bool:
        """Whether the event counts in what is billed."""
        kinds = self._kinds.get(event.id, set())
        return HoldKind.EVENT not in kinds and (not voided or HoldKind.VOID in kinds)


def hold_of(event: UsageEvent, kind: HoldKind, at: Instant) -> LateHold:
    """What lets *event*, or its void, wait for support from now on."""
    return LateHold(
        event.project_id, event.id, kind, event.metric_key, event.timestamp, QuarantineState.WAITING, at
    )


def quantity_without(work: HasUsage, metric: Metric, span: Period, held: Held) -> Quantity:
    """Aggregate the metric over *span* without what is held."""
    events = list(_counted(work, metric, span, held))
    if metric.aggregation is Aggregation.UNIQUE:
        name = unique_property(metric)
        found = [each.properties[name] for each in events if each.properties and name in each.properties]
        # The type goes along, for Python holds 1 and True to be equal.
        return Quantity(metric, span, len({(type(each), each) for each in found}) * MICROS, len(events))
    return Quantity(metric, span, aggregate(metric.aggregation, _totals(events)), len(events))


def _counted(work: HasUsage, metric: Metric, span: Period, held: Held) -> Iterator[UsageEvent]:
    before: str | None = None
    while True:
        rows = work.usage.events(
            metric.project_id,
            limit=_PAGE,
            before=before,
            metric_key=metric.key,
            start=span.start,
            end=span.end,
        )
        voids = work.usage.voids(metric.project_id, [event.id for event in rows])
        yield from (event for event in rows if held.counts(event, voided=event.id in voids))
        if len(rows) < _PAGE:
            return
        before = rows[-1].id


def _totals(events: Sequence[UsageEvent]) -> Totals:
    units = [event.units_micros for event in events]
    last = max(events, key=lambda event: (event.timestamp, event.id), default=None)
    return Totals(
        count=len(units),
        sum_micros=sum(units),
        max_micros=max(units, default=None),
        min_micros=min(units, default=None),
        last_micros=None if last is None else last.units_micros,
    )
