"""From what was declared to a tariff that makes sense.

Each model takes its own parameters and refuses those of the others, so that nothing that was sent is
silently ignored. Every refusal points to the field at fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import TypedDict, TypeVar

from attrs import frozen

from neruba_core import money
from neruba_core.choices import choice
from neruba_core.errors import PriceInvalid
from neruba_core.money import Amount
from neruba_core.pricing.exact import parse_rate
from neruba_core.pricing.model import (
    Graduated,
    Package,
    Percentage,
    PriceModel,
    Tariff,
    Terms,
    Tier,
    Unit,
    Volume,
)

T = TypeVar("T")

MOST_TIERS = 100

_TAKES: dict[PriceModel, tuple[str, ...]] = {
    PriceModel.UNIT: ("unitAmount",),
    PriceModel.GRADUATED: ("tiers",),
    PriceModel.VOLUME: ("tiers",),
    PriceModel.PACKAGE: ("packageSize", "packageAmount"),
    PriceModel.PERCENTAGE: ("rate", "fixedAmount"),
}
"""The parameters of each model by their names on the wire; all but ``fixedAmount`` are needed."""


@frozen
class Parameters:
    """A price model and its parameters as they were declared, in checked form."""

    model: PriceModel
    unit_amount: Decimal | None = None
    tiers: tuple[Tier, ...] | None = None
    package_size_micros: int | None = None
    package_amount: Decimal | None = None
    rate: Decimal | None = None
    fixed_amount: Decimal | None = None
    included_micros: int | None = None
    minimum_micros: int | None = None
    maximum_micros: int | None = None


class TariffFields(TypedDict, total=False):
    """A tariff's parameters as an embedder gives them."""

    unit_amount: Amount | None
    tiers: Sequence[Tier] | None
    package_size: Amount | None
    package_amount: Amount | None
    rate: Amount | None
    fixed_amount: Amount | None
    included: Amount | None
    minimum_amount: Amount | None
    maximum_amount: Amount | None


def tariff_of(model: PriceModel | str, fields: TariffFields, *, under: str = "") -> Tariff:
    """The tariff of an embedder's values. Raises ``FormatInvalid``, ``Amount…`` refusals or
    ``PriceInvalid`` with a path below *under*."""
    tiers, package_size = fields.get("tiers"), fields.get("package_size")
    return tariff(
        Parameters(
            model=choice(PriceModel, model, "a price model"),
            unit_amount=_rate(fields.get("unit_amount")),
            tiers=None if tiers is None else tuple(tiers),
            package_size_micros=None if package_size is None else money.parse_positive(package_size),
            package_amount=_rate(fields.get("package_amount")),
            rate=_rate(fields.get("rate")),
            fixed_amount=_rate(fields.get("fixed_amount")),
            included_micros=_micros(fields.get("included")),
            minimum_micros=_micros(fields.get("minimum_amount")),
            maximum_micros=_micros(fields.get("maximum_amount")),
        ),
        under=under,
    )


def tariff(given: Parameters, *, under: str = "") -> Tariff:
    """The tariff that *given* describes.

    Raises ``PriceInvalid`` with the path of the field at fault, below *under*: a parameter that is missing
    or of another model, tiers that leave a gap or overlap, a maximum below the minimum.
    """
    _only_its_own(given, under)
    if (
        given.minimum_micros is not None
        and given.maximum_micros is not None
        and given.maximum_micros < given.minimum_micros
    ):
        raise PriceInvalid(f"{under}/maximumAmount", "it must not be below minimumAmount")
    return Tariff(
        terms=_terms(given, under),
        included_micros=given.included_micros or 0,
        minimum_micros=given.minimum_micros,
        maximum_micros=given.maximum_micros,
    )


def _only_its_own(given: Parameters, under: str) -> None:
    taken = _TAKES[given.model]
    for name, value in _of_models(given).items():
        if value is not None and name not in taken:
            raise PriceInvalid(
                f"{under}/{name}", f"the model {given.model.value} takes {' and '.join(taken)} instead"
            )


def _of_models(given: Parameters) -> dict[str, object]:
    return {
        "unitAmount": given.unit_amount,
        "tiers": given.tiers,
        "packageSize": given.package_size_micros,
        "packageAmount": given.package_amount,
        "rate": given.rate,
        "fixedAmount": given.fixed_amount,
    }


def _terms(given: Parameters, under: str) -> Terms:
    def needed(name: str, value: T | None) -> T:
        if value is None:
            raise PriceInvalid(f"{under}/{name}", f"the model {given.model.value} needs it")
        return value

    match given.model:
        case PriceModel.UNIT:
            return Unit(needed("unitAmount", given.unit_amount))
        case PriceModel.GRADUATED:
            return Graduated(_seamless(needed("tiers", given.tiers), under))
        case PriceModel.VOLUME:
            return Volume(_seamless(needed("tiers", given.tiers), under))
        case PriceModel.PACKAGE:
            return Package(
                needed("packageSize", given.package_size_micros),
                needed("packageAmount", given.package_amount),
            )
        case PriceModel.PERCENTAGE:
            return Percentage(needed("rate", given.rate), given.fixed_amount)


def _seamless(tiers: tuple[Tier, ...], under: str) -> tuple[Tier, ...]:
    """The tiers, if each begins where the one before ends and the last one never does.

    A tier begins at the bound of the one before, so what could be a gap or an overlap is a bound that
    does not lie above its predecessor's.
    """
    if not 1 <= len(tiers) <= MOST_TIERS:
        raise PriceInvalid(f"{under}/tiers", f"give 1 to {MOST_TIERS} tiers")
    last = len(tiers) - 1
    for index, tier in enumerate(tiers):
        if tier.up_to_micros is None and index < last:
            raise PriceInvalid(f"{under}/tiers/{index}/upTo", "only the last tier may be without a bound")
    if tiers[last].up_to_micros is not None:
        raise PriceInvalid(
            f"{under}/tiers/{last}/upTo", "the last tier must take all the rest: give null as its bound"
        )
    bounds = [tier.up_to_micros for tier in tiers if tier.up_to_micros is not None]
    for index, (lower, upper) in enumerate(pairwise([0, *bounds])):
        if upper <= lower:
            raise PriceInvalid(
                f"{under}/tiers/{index}/upTo",
                "the bounds must ascend, each above the one before, without a gap or an overlap",
            )
    return tiers


def _micros(amount: Amount | None) -> int | None:
    return None if amount is None else money.parse_non_negative(amount)


def _rate(amount: Amount | None) -> Decimal | None:
    return None if amount is None else parse_rate(amount)
