"""Prices: declaring and listing.

A price is never edited. A later version supersedes it from its ``effective_from`` on, and what has been
billed stays as it was: a version can begin neither in a time that has been invoiced nor in a slice that a
prepaid project has paid events of, because what a slice includes is its share of the period. The
catalogue's prices rule in more projects than could be asked, so there a version that supersedes another
begins now or later, and neither does it cut draws under a price that has a share of anything. Only the first
of a metric and currency may begin in the past, where no project has been invoiced for a time in which it used
the metric without a price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, Self, Unpack

from attrs import frozen

from neruba_core import instants, texts
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.currencies import CURRENCIES, currency_of
from neruba_core.errors import PriceAlreadyEffective, PriceInvalid, PriceRetroactive
from neruba_core.ids import Ids
from neruba_core.instants import EPOCH, Instant
from neruba_core.ledger.store import HasLedger
from neruba_core.metering.catalogue import known
from neruba_core.metering.store import HasMetering
from neruba_core.pages import Page, limited, page, place_of
from neruba_core.pricing.declared import TariffFields, tariff_of
from neruba_core.pricing.described import described
from neruba_core.pricing.model import Price, PriceModel, Tariff
from neruba_core.pricing.store import HasPricing
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.projects import existing, locked_writable, open_ids
from neruba_core.tenancy.store import HasTenancy

DEFAULT_CURRENCY = "USD"
"""What a price of the catalogue is in unless it says so."""


_NEVER = datetime.max.replace(tzinfo=UTC)
_TWO_MONTHS = timedelta(days=62)
"""Longer than any period, and so than any slice of one."""


class Priced(HasPricing, HasTenancy, Protocol):
    """Prices and the projects they belong to."""


class _ActiveDay(Protocol):
    @property
    def project_id(self) -> str: ...
    @property
    def metric_key(self) -> str: ...
    @property
    def day(self) -> Instant: ...


class _Usage(Protocol):
    def active_days(
        self, project_ids: Iterable[str], *, start: Instant | None, end: Instant | None
    ) -> Sequence[_ActiveDay]: ...


class Pricing(Priced, HasMetering, HasLedger, HasAudit, Protocol):
    """What declaring a price reads and writes, with a look at when a metric was used."""

    @property
    def usage(self) -> _Usage: ...


@frozen
class NewPrice:
    """A price to be declared, in checked form: in the project's currency and from now on unless it says
    otherwise."""

    metric_key: str
    tariff: Tariff
    currency: str | None = None
    effective_from: Instant | None = None

    @classmethod
    def of(
        cls,
        *,
        metric_key: str,
        model: PriceModel | str,
        currency: str | None = None,
        effective_from: Instant | None = None,
        **fields: Unpack[TariffFields],
    ) -> Self:
        """A price of an embedder's values. Raises ``FormatInvalid``, ``Amount…`` and ``Instant…``
        refusals, or ``PriceInvalid``."""
        return cls(
            texts.metric_key(metric_key),
            tariff_of(model, fields),
            None if currency is None else currency_of(currency).code,
            instants.maybe_utc(effective_from),
        )


def declare_price(
    work: Pricing, project_id: str | None, new: NewPrice, *, at: Instant, ids: Ids, origin: Origin
) -> Price:
    """Add a version to a metric's prices, of the project or (without one) of the catalogue.

    Raises ``ProjectNotFound``, ``ProjectArchived``, ``PriceInvalid`` (a metric that is not there, another
    currency than the project's), ``PriceAlreadyEffective`` or ``PriceRetroactive``.
    """
    if project_id is None:
        return _declare_shared(work, new, at=at, ids=ids, origin=origin)
    # The head first, as whoever bills the project takes it: nothing is drawn or invoiced meanwhile.
    work.ledger.lock_heads([project_id])
    project = locked_writable(work, project_id)
    if known(work, project_id, new.metric_key) is None:
        raise _unknown(new.metric_key)
    if new.currency not in (None, project.currency):
        raise PriceInvalid("/currency", f"the project's currency is {project.currency}")
    versions = work.pricing.prices([project_id])[project_id].get(new.metric_key, ())
    price = _next(project_id, new, versions, project.currency, at=at, ids=ids, origin=origin)
    _require_unbilled(work, project, price, versions)
    _add(work, price)
    note_change(
        work,
        project_id,
        "price.declared",
        price.id,
        {
            "metricKey": price.metric_key,
            "version": price.version,
            "effectiveFrom": instants.text(price.effective_from),
            **described(price.tariff),
        },
        at=at,
        ids=ids,
        origin=origin,
    )
    return price


def prices_of(
    work: Priced, project_id: str | None, metric_key: str | None, *, limit: int, cursor: str | None
) -> Page[Price]:
    """The project's own prices or the catalogue's, of one metric or all, newest first.

    Raises ``ProjectNotFound``, ``FormatInvalid`` (limit), ``CursorInvalid`` or ``CursorMismatch``.
    """
    filters = ("prices", project_id, metric_key)
    most, before = limited(limit) + 1, place_of(cursor, *filters)
    if project_id is None:
        by_metric = work.pricing.shared_prices()
    else:
        existing(work, project_id)
        by_metric = work.pricing.prices([project_id])[project_id]
    found = [
        price
        for key, versions in by_metric.items()
        for price in versions
        if metric_key in (None, key) and (before is None or price.id < before)
    ]
    newest_first = sorted(found, key=lambda price: price.id, reverse=True)
    return page(newest_first[:most], limit, "id", *filters)


def _declare_shared(work: Pricing, new: NewPrice, *, at: Instant, ids: Ids, origin: Origin) -> Price:
    work.pricing.lock_catalogue()
    if new.metric_key not in work.metering.shared_metrics():
        raise _unknown(new.metric_key)
    currency = new.currency or DEFAULT_CURRENCY
    if currency not in CURRENCIES:
        raise PriceInvalid("/currency", f"{currency!r} is no currency of ISO 4217")
    versions = [
        price for price in work.pricing.shared_prices().get(new.metric_key, ()) if price.currency == currency
    ]
    price = _next(None, new, versions, currency, at=at, ids=ids, origin=origin)
    if versions and price.effective_from < at:
        raise PriceRetroactive(instants.text(price.effective_from), instants.text(at))
    projects = [
        project for project in work.tenancy.projects(open_ids(work)).values() if project.currency == currency
    ]
    billed_until = _shared_until(work, projects, price, versions)
    if billed_until is not None:
        raise PriceRetroactive(instants.text(price.effective_from), instants.text(billed_until))
    _add(work, price)
    return price


def _shared_until(
    work: Pricing, projects: Sequence[Project], price: Price, versions: Sequence[Price]
) -> Instant | None:
    """Until when the catalogue's *price* would change what *projects* were billed, or ``None``."""
    if not versions:
        return _used_and_invoiced_until(work, projects, price)
    began = [other for other in versions if other.effective_from <= price.effective_from]
    ruling = max(began, key=lambda other: other.effective_from, default=None)
    if ruling is None or not (ruling.tariff.included_micros or ruling.tariff.maximum_micros is not None):
        return None
    drawing = sorted(project.id for project in projects if project.draws_usage)
    meters = work.pricing.meters_between(drawing, price.effective_from - _TWO_MONTHS, _NEVER)
    ends = (
        meter.end
        for meter in meters
        if meter.price_id == ruling.id and meter.events and meter.end > price.effective_from
    )
    return max(ends, default=None)


def _used_and_invoiced_until(work: Pricing, projects: Sequence[Project], price: Price) -> Instant | None:
    """Until when those projects have been invoiced that used the metric meanwhile."""
    until = {
        project.id: project.invoiced_until
        for project in projects
        if project.invoiced_until is not None and project.invoiced_until > price.effective_from
    }
    if not until:
        return None
    start, end = price.effective_from, max(until.values())
    days = work.usage.active_days(sorted(until), start=start, end=end)
    found = (
        until[each.project_id]
        for each in days
        if each.metric_key == price.metric_key and each.day < until[each.project_id]
    )
    return max(found, default=None)


def _next(
    project_id: str | None,
    new: NewPrice,
    versions: Sequence[Price],
    currency: str,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Price:
    """The version after *versions*."""
    return Price(
        project_id=project_id,
        id=ids.new("prc"),
        metric_key=new.metric_key,
        version=len(versions) + 1,
        currency=currency,
        tariff=new.tariff,
        effective_from=new.effective_from or at,
        created_at=at,
        created_by=origin.actor,
    )


def _add(work: HasPricing, price: Price) -> None:
    other = work.pricing.add_price(price)
    if other is not None:
        raise PriceAlreadyEffective(instants.text(price.effective_from), other.id)


def _require_unbilled(work: HasPricing, project: Project, price: Price, versions: Sequence[Price]) -> None:
    """Refuse a price that would rule in a time that is billed already, by invoice or by draws."""
    billed_until = max((project.invoiced_until or EPOCH, *_drawn_until(work, project, price, versions)))
    if price.effective_from < billed_until:
        raise PriceRetroactive(instants.text(price.effective_from), instants.text(billed_until))


def _drawn_until(
    work: HasPricing, project: Project, price: Price, versions: Sequence[Price]
) -> list[Instant]:
    """The ends of the slices that events were drawn in; those after *price* begins it would cut or rule."""
    later = [other.effective_from for other in versions if other.effective_from > price.effective_from]
    until = min(later, default=_NEVER)
    meters = work.pricing.meters_between([project.id], project.invoiced_until or EPOCH, until)
    return [meter.end for meter in meters if meter.metric_key == price.metric_key and meter.events]


def _unknown(metric_key: str) -> PriceInvalid:
    return PriceInvalid("/metricKey", f"there is no metric {metric_key!r}; declare it first")
