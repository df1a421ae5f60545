"""Prices and what they charge.

A ``Tariff`` is a price model with its parameters, apart from where and when it applies; a ``Price`` is a
version of a metric's tariff. Unit amounts and rates are exact decimals with up to twelve places; bounds of
quantities and amounts per period are micro-units.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Self, TypeAlias

from attrs import frozen

from neruba_core import money
from neruba_core.instants import Instant
from neruba_core.money import Amount
from neruba_core.pricing.exact import parse_rate


class PriceModel(StrEnum):
    """How a quantity becomes an amount."""

    UNIT = "unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"
    PERCENTAGE = "percentage"


@frozen
class Unit:
    """Every unit at the same price."""

    unit_amount: Decimal


@frozen
class Tier:
    """The units above the tier before, up to and including *up_to_micros* (``None``: all the rest).

    *flat_amount* is due once the tier is entered.
    """

    up_to_micros: int | None
    unit_amount: Decimal
    flat_amount: Decimal | None = None

    @classmethod
    def of(cls, up_to: Amount | None, unit_amount: Amount, flat_amount: Amount | None = None) -> Self:
        """A tier of an embedder's values: ``Tier.of("100", "0.50")``. Raises ``Amount…`` refusals."""
        return cls(
            None if up_to is None else money.parse_positive(up_to),
            parse_rate(unit_amount),
            None if flat_amount is None else parse_rate(flat_amount),
        )


@frozen
class Graduated:
    """Each slice of the quantity at the price of its own tier."""

    tiers: tuple[Tier, ...]


@frozen
class Volume:
    """The whole quantity at the price of the tier that it falls in."""

    tiers: tuple[Tier, ...]


@frozen
class Package:
    """Whole packages; one that is begun is due."""

    package_size_micros: int
    package_amount: Decimal


@frozen
class Percentage:
    """A share of the quantity, and perhaps a fixed amount."""

    rate: Decimal
    fixed_amount: Decimal | None = None


Terms: TypeAlias = Unit | Graduated | Volume | Package | Percentage

MODELS: dict[type[Terms], PriceModel] = {
    Unit: PriceModel.UNIT,
    Graduated: PriceModel.GRADUATED,
    Volume: PriceModel.VOLUME,
    Package: PriceModel.PACKAGE,
    Percentage: PriceModel.PERCENTAGE,
}
"""What each kind of terms is called."""


@frozen
class Tariff:
    """Terms, with what is free and how little or much a period may come to.

    The model sees the quantity beyond *included_micros*. *minimum_micros* and *maximum_micros* bound the
    amount of a whole period; a part of a period has its share of all three, by seconds.
    """

    terms: Terms
    included_micros: int = 0
    minimum_micros: int | None = None
    maximum_micros: int | None = None

    @property
    def model(self) -> PriceModel:
        """The price model by its name."""
        return MODELS[type(self.terms)]


@frozen
class Price:
    """A version of a metric's tariff, in force from *effective_from* until a later one is.

    *project_id* is ``None`` in the catalogue, the price list that projects share.
    """

    project_id: str | None
    id: str
    metric_key: str
    version: int
    currency: str
    tariff: Tariff
    effective_from: Instant
    created_at: Instant
    created_by: str
