"""A tariff as plain JSON values under the wire's names, as people declared it."""

from __future__ import annotations

from collections.abc import Iterable

from neruba_core import money
from neruba_core.idempotency.fingerprint import Json
from neruba_core.pricing.exact import rate_text
from neruba_core.pricing.model import Graduated, Package, Percentage, Tariff, Terms, Tier, Unit, Volume


def described(tariff: Tariff) -> dict[str, Json]:
    """The model and its parameters; what was not given is not there.

    Rates and what they multiply are canonical text; quantities and amounts per period have six places.
    """
    document: dict[str, Json] = {"model": tariff.model.value, **_terms(tariff.terms)}
    if tariff.included_micros:
        document["included"] = money.text(tariff.included_micros)
    if tariff.minimum_micros is not None:
        document["minimumAmount"] = money.text(tariff.minimum_micros)
    if tariff.maximum_micros is not None:
        document["maximumAmount"] = money.text(tariff.maximum_micros)
    return document


def _terms(terms: Terms) -> dict[str, Json]:
    match terms:
        case Unit():
            return {"unitAmount": rate_text(terms.unit_amount)}
        case Graduated() | Volume():
            return {"tiers": _tiers(terms.tiers)}
        case Package():
            return {
                "packageSize": money.text(terms.package_size_micros),
                "packageAmount": rate_text(terms.package_amount),
            }
        case Percentage():
            portion: dict[str, Json] = {"rate": rate_text(terms.rate)}
            if terms.fixed_amount is not None:
                portion["fixedAmount"] = rate_text(terms.fixed_amount)
            return portion


def _tiers(tiers: Iterable[Tier]) -> list[Json]:
    return [_tier(tier) for tier in tiers]


def _tier(tier: Tier) -> dict[str, Json]:
    document: dict[str, Json] = {
        "upTo": None if tier.up_to_micros is None else money.text(tier.up_to_micros),
        "unitAmount": rate_text(tier.unit_amount),
    }
    if tier.flat_amount is not None:
        document["flatAmount"] = rate_text(tier.flat_amount)
    return document
