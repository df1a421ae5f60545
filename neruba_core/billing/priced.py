"""Priced usage: what a project's metrics cost at any time, and what was used of them, slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from attrs import field, frozen

from neruba_core.instants import Instant, Period
from neruba_core.metering.model import Aggregation, Metric
from neruba_core.metering.store import HasMetering
from neruba_core.pricing.model import Price
from neruba_core.pricing.store import HasPricing
from neruba_core.pricing.timeline import Slice, slices
from neruba_core.subscriptions.fees import planned_prices
from neruba_core.subscriptions.model import Plan, SubscriptionDecision
from neruba_core.subscriptions.store import HasSubscriptions
from neruba_core.tenancy.model import BillingMode, Project
from neruba_core.usage.aggregate import Quantity, quantities
from neruba_core.usage.held import Held, quantity_without
from neruba_core.usage.store import HasUsage

_ADDITIVE = {Aggregation.SUM, Aggregation.COUNT}


class PricedWork(HasMetering, HasPricing, HasSubscriptions, HasUsage, Protocol):
    """What priced usage is read from."""


@frozen
class PriceList:
    """What a project's metrics are and cost, at any time."""

    project: Project
    metrics: Mapping[str, Metric] = field(hash=False)
    own: Mapping[str, Sequence[Price]] = field(hash=False)
    shared: Mapping[str, Sequence[Price]] = field(hash=False)
    decisions: tuple[SubscriptionDecision, ...]
    plans: Mapping[str, Plan] = field(hash=False)

    def slices(self, period: Period, metric_keys: Iterable[str]) -> Iterator[tuple[Metric, Slice]]:
        """How *period* is cut for each of the metrics, by key and start."""
        planned = planned_prices(self.decisions, self.plans, period) if self.decisions else {}
        for key in sorted(metric_keys):
            metric = self.metrics[key]
            for piece in slices(
                period,
                own=self.own.get(key, ()),
                planned=planned.get(key, ()),
                shared=self.shared.get(key, ()),
                currency=self.project.currency,
                additive=metric.aggregation in _ADDITIVE,
            ):
                yield metric, piece

    def with_minimum(self, period: Period) -> set[str]:
        """The metrics that cost something in *period* even without usage."""
        candidates = {
            key
            for prices in (self.own, self.shared)
            for key, versions in prices.items()
            if key in self.metrics and any(each.tariff.minimum_micros for each in versions)
        }
        candidates |= {
            price.metric_key
            for plan in self.plans.values()
            for price in plan.prices
            if price.metric_key in self.metrics and price.tariff.minimum_micros
        }
        return {
            metric.key
            for metric, piece in self.slices(period, candidates)
            if piece.price is not None and piece.price.tariff.minimum_micros
        }


@frozen
class SliceUsage:
    """What a metric came to in a slice of a period, and what the wallet has paid of it."""

    metric: Metric
    slice: Slice
    quantity_micros: int
    events: int
    drawn_micros: int


@frozen
class Asked:
    """The usage of some metrics of a project in a period, without what is *held*."""

    prices: PriceList
    span: Period
    metric_keys: frozenset[str]
    held: Held = field(factory=Held)


def price_lists(work: PricedWork, projects: Mapping[str, Project]) -> dict[str, PriceList]:
    """The price list of each project."""
    ids = sorted(projects)
    metrics, own = work.metering.metrics(ids), work.pricing.prices(ids)
    shared = work.pricing.shared_prices()
    decisions = work.subscriptions.decisions(ids)
    plans = work.subscriptions.plans(
        {decision.plan_id for taken in decisions.values() for decision in taken if decision.plan_id}
    )
    return {
        project_id: PriceList(
            project=projects[project_id],
            metrics=metrics[project_id],
            own=own[project_id],
            shared=shared,
            decisions=decisions[project_id],
            plans={
                decision.plan_id: plans[decision.plan_id]
                for decision in decisions[project_id]
                if decision.plan_id
            },
        )
        for project_id in ids
    }


def usage_of(work: PricedWork, asked: Sequence[Asked]) -> list[tuple[SliceUsage, ...]]:
    """What is *asked* for, slice by slice, one answer each; with few statements for many."""
    pieces = [list(each.prices.slices(each.span, each.metric_keys)) for each in asked]
    found = iter(quantities(work, [(metric, piece.span) for cut in pieces for metric, piece in cut]))
    drawn = _drawn(work, asked)
    return [
        tuple(
            _slice_usage(work, piece, quantity, _within(drawn, quantity.metric, piece), each.held)
            for (_, piece), quantity in zip(cut, found, strict=False)
        )
        for each, cut in zip(asked, pieces, strict=True)
    ]


def _slice_usage(
    work: PricedWork, piece: Slice, quantity: Quantity, drawn_micros: int, held: Held
) -> SliceUsage:
    if held.touches(quantity.metric.key, piece.span):
        quantity = quantity_without(work, quantity.metric, piece.span, held)
    return SliceUsage(quantity.metric, piece, quantity.units_micros, quantity.events, drawn_micros)


_Drawn: TypeAlias = dict[tuple[str, str], list[tuple[Instant, int]]]


def _drawn(work: PricedWork, asked: Sequence[Asked]) -> _Drawn:
    """What prepaid usage has drawn, by project and metric: (start of the slice, micro-units)."""
    prepaid = [each for each in asked if _ever_prepaid(each.prices.project)]
    drawn: _Drawn = {}
    if prepaid:
        ids = sorted({each.prices.project.id for each in prepaid})
        start, end = min(each.span.start for each in prepaid), max(each.span.end for each in prepaid)
        for meter in work.pricing.meters_between(ids, start, end):
            drawn.setdefault((meter.project_id, meter.metric_key), []).append(
                (meter.start, meter.drawn_micros)
            )
    return drawn


def _within(drawn: _Drawn, metric: Metric, piece: Slice) -> int:
    starts = drawn.get((metric.project_id, metric.key), ())
    return sum(micros for start, micros in starts if start in piece.span)


def _ever_prepaid(project: Project) -> bool:
    modes = {project.billing_mode, *(terms.billing_mode for terms in project.earlier_terms)}
    return BillingMode.PREPAID in modes
