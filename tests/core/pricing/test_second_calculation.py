"""Every model, at its bounds and within limits, against a second calculation.

The second calculation knows the price as it is declared, and nothing of the product's code: it is written
anew with ``Fraction`` alone. A period has either one price or a second one from the middle of a day on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import pytest

from neruba_core import money
from neruba_core.instants import Period
from neruba_core.pricing.declared import tariff_of
from neruba_core.pricing.model import Price, Tier
from neruba_core.pricing.rate import rate
from neruba_core.pricing.timeline import slices

MARCH = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
CHANGE = datetime(2026, 3, 11, 6, 30, 0, 7, tzinfo=UTC)


# The upper bound, the unit amount, the flat amount.
PLAIN = [("100", "1.00", None), ("1000", "0.50", None), (None, "0.10", None)]
FLAT = [("0.000003", "0.333333333333", "0.000000500000"), ("10", "0", "7"), (None, "1.5", "0.25")]

MODELS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unit": ({"model": "unit", "unit_amount": "0.0000015"}, ["1", "3", "1250", "0.000001"]),
    "unit for nothing": ({"model": "unit", "unit_amount": "0"}, ["1", "9000000000000"]),
    "graduated": (
        {"model": "graduated", "tiers": PLAIN},
        ["0.000001", "100", "100.000001", "1000", "1000.000001", "1500"],
    ),
    "graduated, flat": (
        {"model": "graduated", "tiers": FLAT},
        ["0.000003", "0.000004", "10", "10.000001", "12"],
    ),
    "volume": (
        {"model": "volume", "tiers": PLAIN},
        ["0.000001", "100", "100.000001", "1000", "1000.000001", "1500"],
    ),
    "volume, flat": ({"model": "volume", "tiers": FLAT}, ["0.000003", "0.000004", "10", "10.000001", "12"]),
    "package": (
        {"model": "package", "package_size": "1000", "package_amount": "5.00"},
        ["1", "1000", "1000.000001", "4001"],
    ),
    "package of parts": (
        {"model": "package", "package_size": "0.3", "package_amount": "0.000000000001"},
        ["0.3", "0.300001", "900000"],
    ),
    "percentage": ({"model": "percentage", "rate": "0.029"}, ["0.000001", "19.99", "200"]),
    "percentage, fixed": (
        {"model": "percentage", "rate": "0.0150000005", "fixed_amount": "0.30"},
        ["0.000001", "19.99", "200"],
    ),
}
LIMITS: list[dict[str, str]] = [
    {},
    {"included": "100"},
    {"minimum_amount": "7.000001"},
    {"maximum_amount": "6.1"},
    {"included": "0.5", "minimum_amount": "2", "maximum_amount": "50"},
]


# --- the second calculation --------------------------------------------------------------------


def at_list_price(price: dict[str, Any], quantity: Fraction) -> Fraction:
    """The exact amount for a *quantity* above zero, as the table of models has it."""
    match price["model"]:
        case "unit":
            return quantity * Fraction(price["unit_amount"])
        case "package":
            return -(-quantity // Fraction(price["package_size"])) * Fraction(price["package_amount"])
        case "percentage":
            return quantity * Fraction(price["rate"]) + Fraction(price.get("fixed_amount", "0"))
    bounds = [Fraction(0), *(Fraction(upper or "1e99") for upper, _, _ in price["tiers"])]
    entered = [
        (lower, min(upper, quantity), one)
        for (lower, upper), one in zip(pairwise(bounds), price["tiers"], strict=True)
        if quantity > lower
    ]
    if price["model"] == "volume":
        entered = [(Fraction(0), quantity, entered[-1][2])]
    return sum(
        (
            (upper - lower) * Fraction(unit_amount) + Fraction(flat_amount or 0)
            for lower, upper, (_, unit_amount, flat_amount) in entered
        ),
        start=Fraction(0),
    )


def to_micros(amount: Fraction) -> int:
    """Half-even, by looking at what is left over."""
    below, left = divmod(amount * 1_000_000, 1)
    up = left > Fraction(1, 2) or (left == Fraction(1, 2) and below % 2 == 1)
    return int(below) + up


def lines(price: dict[str, Any], quantity: str, share: Fraction) -> tuple[int, int]:
    """The usage line and the minimum line, in micro-units."""
    beyond = Fraction(quantity) - Fraction(price.get("included", "0")) * share
    amount = at_list_price(price, beyond) if beyond > 0 else Fraction(0)
    if "maximum_amount" in price:
        amount = min(amount, Fraction(price["maximum_amount"]) * share)
    usage = to_micros(amount)
    least = to_micros(Fraction(price.get("minimum_amount", "0")) * share)
    return usage, least - usage if least > usage else 0


# --- the product -------------------------------------------------------------------------------


def version(number: int, price: dict[str, Any], start: datetime) -> Price:
    fields = {name: value for name, value in price.items() if name != "model"}
    if "tiers" in fields:
        fields["tiers"] = [Tier.of(*one) for one in fields["tiers"]]
    tariff = tariff_of(price["model"], fields)  # type: ignore[arg-type]
    return Price("prj_a", f"prc_{number}", "api_tokens", number, "USD", tariff, start, start, "user:usr_a")


def billed(versions: list[Price], quantities: list[str]) -> list[tuple[int, int]]:
    """The two lines of each slice of March, as a run has them."""
    cut = slices(Period(*MARCH), own=versions, planned=(), shared=(), currency="USD", additive=True)
    assert len(cut) == len(quantities)
    results = []
    for piece, quantity in zip(cut, quantities, strict=True):
        assert piece.price is not None
        rated = rate(piece.price.tariff, money.parse(quantity), share=piece.share)
        results.append((rated.amount_micros, rated.minimum_line_micros))
    return results


CASES = [
    pytest.param({**price, **limits}, quantity, id=f"{name} | {quantity} | {limits}")
    for name, (price, quantities) in MODELS.items()
    for quantity, limits in product(quantities, LIMITS)
]
CHANGES = [
    pytest.param(
        {**one, **limits}, {**other, **limits}, quantity, id=f"{name} then {after} | {quantity} | {limits}"
    )
    for (name, (one, quantities)), (after, (other, _)) in pairwise([*MODELS.items(), *MODELS.items()][:11])
    for quantity, limits in product(quantities[1:3], LIMITS)
]


@pytest.mark.parametrize(("price", "quantity"), CASES)
def test_a_period_of_one_price_comes_to_what_the_second_calculation_says(price, quantity):
    """
    To the micro-unit, with and without what is included, a minimum and a maximum.
    """
    assert billed([version(1, price, MARCH[0])], [quantity]) == [lines(price, quantity, Fraction(1))]


@pytest.mark.parametrize(("price", "later", "quantity"), CHANGES)
def test_a_period_of_two_prices_comes_to_what_the_second_calculation_says(price, later, quantity):
    """
    Two slices, each with its own tiers and its share, by the microsecond, of all that is per period.
    """
    first = Fraction(10 * 86_400_000_000 + 6 * 3_600_000_000 + 30 * 60_000_000 + 7, 31 * 86_400_000_000)
    versions = [version(1, price, MARCH[0]), version(2, later, CHANGE)]

    assert billed(versions, [quantity, "42.5"]) == [
        lines(price, quantity, first),
        lines(later, "42.5", 1 - first),
    ]


def test_the_tables_are_as_long_as_promised():
    """
    Every model at its bounds, with every limit, and before and after another.
    """
    assert len(CASES) >= 60
    assert len(CHANGES) >= 60
