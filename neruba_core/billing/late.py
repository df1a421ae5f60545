"""Usage that arrived, or was voided, after its period had been billed.

What the period comes to now is compared with what has been billed for it so far, metric by metric, with
earlier adjustments included; only a difference makes a line. So it does not matter how often a change was
noticed, and a change that changes nothing is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from attrs import frozen

from neruba_core.billing.inputs import LateUsage
from neruba_core.billing.lines import Pen, RatedSlice, rated, sums
from neruba_core.billing.priced import PriceList
from neruba_core.invoices.model import Line, LineKind
from neruba_core.ledger.chart import Chart
from neruba_core.pricing.exact import half_even, micros_text
from neruba_core.subscriptions.fees import commitment

OF_USAGE = {LineKind.USAGE, LineKind.MINIMUM, LineKind.ADJUSTMENT}
COMMITMENT = "commitment"


@frozen
class Change:
    """What has changed of a closed period: of a metric, or of what is missing to the plan's commitment. Of a
    decrease, *given_micros* were given back by hand already; see ``apart``."""

    late: LateUsage
    metric_key: str | None
    was_micros: int
    is_micros: int
    was_drawn_micros: int = 0
    is_drawn_micros: int = 0
    was_quantity_micros: int = 0
    is_quantity_micros: int = 0
    events: int = 0
    slices: tuple[RatedSlice, ...] = ()
    given_micros: int = 0

    @property
    def amount_micros(self) -> int:
        return self.is_micros - self.was_micros + self.given_micros

    @property
    def drawn_micros(self) -> int:
        return self.is_drawn_micros - self.was_drawn_micros

    def line(self, pen: Pen, account: str) -> Line:
        """The adjustment, which shows the service period that it is about."""
        parts = [
            {"what": "as it is now", "amount": micros_text(self.is_micros)},
            {"what": "billed before", "amount": micros_text(-self.was_micros)},
        ]
        if self.given_micros:
            parts.append(
                {"what": "credited or written off by hand", "amount": micros_text(self.given_micros)}
            )
        quantity = self.is_quantity_micros - self.was_quantity_micros
        what = "minimum commitment" if self.metric_key is None else self.metric_key
        return pen.line(
            LineKind.ADJUSTMENT,
            self.amount_micros,
            account=account,
            description=f"Adjustment of {what}, {self.late.period.name}",
            metric_key=self.metric_key,
            about=self.late.period.name,
            service=self.late.period.span,
            reference=COMMITMENT if self.metric_key is None else "",
            quantity_micros=None if self.metric_key is None else quantity,
            model=self.slices[-1].model if self.slices else None,
            already_drawn_micros=self.drawn_micros,
            events=self.events,
            how={
                **sums(parts, self.amount_micros),
                "slices": [each.workings() for each in self.slices],
            },
        )


def changes(prices: PriceList, late: LateUsage) -> Iterator[Change]:
    """What differs, by metric; the plan's commitment last."""
    billed = [line for line in late.billed if line.kind in OF_USAGE]
    now: dict[str, int] = {}
    for key, group in groupby(late.usage, key=lambda each: each.metric.key):
        usage = tuple(group)
        slices = tuple(each for each in map(rated, usage) if each is not None)
        before = [line for line in billed if line.metric_key == key]
        now[key] = sum(each.amount_micros for each in slices)
        change = Change(
            late,
            key,
            was_micros=sum(line.amount_micros for line in before),
            is_micros=now[key],
            was_drawn_micros=sum(line.already_drawn_micros for line in before),
            is_drawn_micros=sum(each.drawn_micros for each in usage),
            was_quantity_micros=sum(line.quantity_micros or 0 for line in before),
            is_quantity_micros=sum(each.usage.quantity_micros for each in slices),
            events=sum(each.events for each in usage),
            slices=slices,
        )
        if change.amount_micros or change.drawn_micros:
            yield change
    yield from _commitment(prices, late, billed, now)


def _commitment(
    prices: PriceList, late: LateUsage, billed: Sequence[Line], now: dict[str, int]
) -> Iterator[Change]:
    """What is missing to the plan's commitment moves against the usage, in a period that had an invoice."""
    least = commitment(prices.decisions, prices.plans, late.period.span) if prices.decisions else None
    if least is None or late.invoice is None:
        return
    others = sum(
        line.amount_micros for line in billed if line.metric_key is not None and line.metric_key not in now
    )
    missing = max(half_even(least) - others - sum(now.values()), 0)
    before = sum(line.amount_micros for line in billed if line.metric_key is None)
    if missing != before:
        yield Change(late, None, was_micros=before, is_micros=missing)


def account_of(change: Change, chart: Chart) -> str:
    """Where a change is booked, if not on a credit note."""
    return chart.subscriptions if change.metric_key is None else chart.usage_of(change.metric_key)
