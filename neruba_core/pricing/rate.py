"""Rating: from a quantity to an amount.

The model sees the quantity beyond what is included. What it says is bounded by the maximum and rounded
once, half-even, to a micro-unit. A minimum is a line of its own: what is missing between the rounded amount
and the rounded minimum. For a part of a period, included, minimum and maximum are its exact share; tiers,
packages, flat and fixed amounts stay as they are.
"""

from __future__ import annotations

from fractions import Fraction
from typing import assert_never

from attrs import frozen

from neruba_core import money
from neruba_core.idempotency.fingerprint import Json
from neruba_core.pricing import graduated, package, percentage, unit, volume
from neruba_core.pricing.described import described
from neruba_core.pricing.exact import WHOLE, fraction_text, half_even, micros_text, rate_text, units
from neruba_core.pricing.model import Graduated, Package, Percentage, Tariff, Terms, Unit, Volume
from neruba_core.pricing.parts import ONCE, Part

__all__ = ["Part", "Rated", "rate", "workings"]

_NOTHING = Fraction(0)


@frozen
class Rated:
    """What *quantity_micros* comes to. *counted* is the quantity, in units, beyond what is included.

    *exact* is the sum of *parts*, after the maximum and before rounding; *amount_micros* is *exact*
    rounded. *minimum_line_micros* is what a minimum adds, on a line of its own. *capped* tells whether the
    maximum took something off.
    """

    quantity_micros: int
    counted: Fraction
    parts: tuple[Part, ...]
    exact: Fraction
    amount_micros: int
    minimum_line_micros: int
    capped: bool


def rate(tariff: Tariff, quantity_micros: int, *, share: Fraction = WHOLE) -> Rated:
    """Rate *quantity_micros*, counted in *share* of a period.

    Where nothing is counted beyond what is included, the amount is zero without fixed or flat amounts,
    but a minimum applies all the same. Raises ``AmountOverflow`` for an amount beyond 64 bits.
    """
    assert quantity_micros >= 0, "usage is never negative"
    counted = units(quantity_micros)
    if tariff.included_micros:
        counted = max(_NOTHING, counted - units(tariff.included_micros, share))
    parts = _parts(tariff.terms, counted) if counted else ()
    most = None if tariff.maximum_micros is None else units(tariff.maximum_micros, share)
    exact = sum((part.amount for part in parts), start=_NOTHING)
    capped = most is not None and exact > most
    if most is not None and capped:
        parts = (*parts, Part("beyond the maximum", ONCE, None, most - exact))
        exact = most
    amount_micros = money.within_total(half_even(exact))
    least_micros = half_even(units(tariff.minimum_micros, share)) if tariff.minimum_micros else 0
    return Rated(
        quantity_micros=quantity_micros,
        counted=counted,
        parts=parts,
        exact=exact,
        amount_micros=amount_micros,
        minimum_line_micros=max(0, least_micros - amount_micros),
        capped=capped,
    )


def workings(rated: Rated, tariff: Tariff, share: Fraction) -> dict[str, Json]:
    """How *rated* came about, as plain JSON values that re-add exactly.

    Numbers are exact text: a decimal, or a fraction such as ``"31/3"`` where no decimal is finite.
    The amounts of ``parts`` add up to ``exact``; ``exact`` and ``rounding`` add up to ``amount``; ``amount``
    and ``minimumLine`` are the two lines.
    """
    document: dict[str, Json] = {
        "tariff": described(tariff),
        "share": fraction_text(share),
        "quantity": micros_text(rated.quantity_micros),
        "included": fraction_text(units(tariff.included_micros, share)),
        "counted": fraction_text(rated.counted),
        "parts": [_part(part) for part in rated.parts],
        "exact": fraction_text(rated.exact),
        "rounding": fraction_text(units(rated.amount_micros) - rated.exact),
        "amount": money.text(rated.amount_micros),
    }
    if tariff.maximum_micros is not None:
        document["maximum"] = fraction_text(units(tariff.maximum_micros, share))
    if tariff.minimum_micros is not None:
        document["minimum"] = fraction_text(units(tariff.minimum_micros, share))
        document["minimumLine"] = money.text(rated.minimum_line_micros)
    return document


def _parts(terms: Terms, counted: Fraction) -> tuple[Part, ...]:
    match terms:
        case Unit():
            return unit.parts(terms, counted)
        case Graduated():
            return graduated.parts(terms, counted)
        case Volume():
            return volume.parts(terms, counted)
        case Package():
            return package.parts(terms, counted)
        case Percentage():
            return percentage.parts(terms, counted)
        case _:
            assert_never(terms)


def _part(part: Part) -> dict[str, Json]:
    document: dict[str, Json] = {"what": part.what}
    if part.rate is not None:
        document["quantity"] = fraction_text(part.quantity)
        document["rate"] = rate_text(part.rate)
    document["amount"] = fraction_text(part.amount)
    return document
