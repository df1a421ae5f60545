"""What metrics cost."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from neruba_core.pricing import declared
from neruba_core.pricing.model import Graduated, Package, Percentage, PriceModel, Tariff, Unit, Volume
from neruba_core.pricing.model import Price as CorePrice
from neruba_core.pricing.model import Tier as CoreTier
from neruba_core.pricing.prices import NewPrice as CoreNewPrice
from neruba_server.wire.kinds import Amount, Currency, MetricKey, Moment, Money, Rate, Units


@frozen
class NewTier:
    """The units above the tier before, up to and including ``upTo``; ``null`` takes all the rest."""

    up_to: Amount | None
    unit_amount: Rate
    flat_amount: Rate | None = None


@frozen
class NewTariff:
    """What a metric is to cost: a model, its parameters, and what bounds a period.

    ``unit`` takes ``unitAmount``, ``graduated`` and ``volume`` take ``tiers``, ``package`` takes
    ``packageSize`` and ``packageAmount``, ``percentage`` takes ``rate`` and perhaps ``fixedAmount``.
    """

    metric_key: MetricKey
    model: PriceModel
    unit_amount: Rate | None = None
    tiers: tuple[NewTier, ...] | None = None
    package_size: Amount | None = None
    package_amount: Rate | None = None
    rate: Rate | None = None
    fixed_amount: Rate | None = None
    included: Units | None = None
    minimum_amount: Units | None = None
    maximum_amount: Units | None = None

    def tariff(self, *, under: str = "") -> Tariff:
        """The tariff as the core takes it. Raises ``PriceInvalid`` with a path below *under*."""
        tiers = None
        if self.tiers is not None:
            tiers = tuple(CoreTier(tier.up_to, tier.unit_amount, tier.flat_amount) for tier in self.tiers)
        return declared.tariff(
            declared.Parameters(
                model=self.model,
                unit_amount=self.unit_amount,
                tiers=tiers,
                package_size_micros=self.package_size,
                package_amount=self.package_amount,
                rate=self.rate,
                fixed_amount=self.fixed_amount,
                included_micros=self.included,
                minimum_micros=self.minimum_amount,
                maximum_micros=self.maximum_amount,
            ),
            under=under,
        )


@frozen
class NewPrice(NewTariff):
    """A price to be declared: in the project's currency and from now on unless it says otherwise."""

    currency: Currency | None = None
    effective_from: Moment | None = None

    def checked(self) -> CoreNewPrice:
        """The price as the core takes it. Raises ``PriceInvalid``."""
        return CoreNewPrice(self.metric_key, self.tariff(), self.currency, self.effective_from)


@frozen
class Tier:
    """A tier of a price."""

    up_to: Money | None
    unit_amount: Rate
    flat_amount: Rate | None


@frozen
class Price:
    """A version of what a metric costs; ``projectId`` is ``null`` in the catalogue. Parameters of other
    models are ``null``."""

    id: str
    project_id: str | None
    metric_key: str
    version: int
    currency: str
    model: PriceModel
    unit_amount: Rate | None
    tiers: tuple[Tier, ...] | None
    package_size: Money | None
    package_amount: Rate | None
    rate: Rate | None
    fixed_amount: Rate | None
    included: Money
    minimum_amount: Money | None
    maximum_amount: Money | None
    effective_from: Moment
    created_at: Moment
    created_by: str

    @classmethod
    def of(cls, price: CorePrice) -> Price:
        """The price as people see it."""
        return cls(
            id=price.id,
            project_id=price.project_id,
            metric_key=price.metric_key,
            version=price.version,
            currency=price.currency,
            effective_from=price.effective_from,
            created_at=price.created_at,
            created_by=price.created_by,
            **tariff_fields(price.tariff),
        )


@frozen
class Prices:
    """Prices, newest first."""

    items: tuple[Price, ...]
    next_cursor: str | None


def tariff_fields(tariff: Tariff) -> dict[str, Any]:
    """The members of an answer that say what *tariff* is, by the names of ``Price``."""
    shown: dict[str, Any] = dict.fromkeys(
        ("unit_amount", "tiers", "package_size", "package_amount", "rate", "fixed_amount")
    )
    match tariff.terms:
        case Unit(unit_amount=unit_amount):
            shown["unit_amount"] = unit_amount
        case Graduated(tiers=tiers) | Volume(tiers=tiers):
            shown["tiers"] = tuple(
                Tier(tier.up_to_micros, tier.unit_amount, tier.flat_amount) for tier in tiers
            )
        case Package(package_size_micros=size, package_amount=amount):
            shown |= {"package_size": size, "package_amount": amount}
        case Percentage(rate=rate, fixed_amount=amount):
            shown |= {"rate": rate, "fixed_amount": amount}
    return {
        "model": tariff.model,
        **shown,
        "included": tariff.included_micros,
        "minimum_amount": tariff.minimum_micros,
        "maximum_amount": tariff.maximum_micros,
    }
