"""The figures that anyone can check by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from neruba_core import money
from neruba_core.pricing.declared import tariff_of
from neruba_core.pricing.model import Tier
from neruba_core.pricing.rate import Rated, rate

TIERS = [Tier.of("100", "1.00"), Tier.of("1000", "0.50"), Tier.of(None, "0.10")]
PACKAGES = {"package_size": "1000", "package_amount": "5.00"}


def rated(quantity: str, model: str, *, share: Fraction = Fraction(1), **fields: Any) -> Rated:
    return rate(tariff_of(model, fields), money.parse(quantity), share=share)  # type: ignore[arg-type]


def amount(quantity: str, model: str, **fields: Any) -> str:
    return money.text(rated(quantity, model, **fields).amount_micros)


@pytest.mark.parametrize(
    ("unit_amount", "quantity", "expected"),
    [("0.000002", "1250", "0.002500"), ("0.0000015", "1", "0.000002"), ("0.0000025", "1", "0.000002")],
)
def test_units_are_rounded_half_to_even(unit_amount, quantity, expected):
    """
    A tie goes to the even micro-unit: 1.5 goes up, 2.5 goes down.
    """
    assert amount(quantity, "unit", unit_amount=unit_amount) == expected


def test_a_graduated_price_bills_each_slice_at_its_own_tier():
    """
    100 at 1.00, the next 900 at 0.50, the last 500 at 0.10.
    """
    whole = rated("1500", "graduated", tiers=TIERS)

    assert money.text(whole.amount_micros) == "600.000000"
    assert [(part.what, int(part.quantity), int(part.amount)) for part in whole.parts] == [
        ("up to 100", 100, 100),
        ("above 100 up to 1000", 900, 450),
        ("above 1000", 500, 50),
    ]


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("1500", "150.000000"), ("100", "100.000000"), ("100.000001", "50.000000")],
)
def test_a_volume_price_bills_everything_at_the_tier_it_falls_in(quantity, expected):
    """
    A bound belongs to its tier; a micro-unit above it, all of it is cheaper (50.0000005, a tie).
    """
    assert amount(quantity, "volume", tiers=TIERS) == expected


@pytest.mark.parametrize(
    ("quantity", "expected"), [("1", "5.000000"), ("1000", "5.000000"), ("1000.000001", "10.000000")]
)
def test_a_package_that_is_begun_is_due(quantity, expected):
    """
    A micro-unit more than a package is another one.
    """
    assert amount(quantity, "package", **PACKAGES) == expected


def test_a_percentage_adds_its_fixed_amount_once():
    """
    2.9 % of 200 and 0.30.
    """
    assert amount("200", "percentage", rate="0.029", fixed_amount="0.30") == "6.100000"
    assert amount("200", "percentage", rate="0.029") == "5.800000"


def test_a_tiers_flat_amount_is_due_once_it_is_entered():
    """
    At the bound it is not; graduated adds up the flats of all tiers entered, volume takes its tier's.
    """
    tiers = [Tier.of("10", "1", "3"), Tier.of(None, "2", "7")]

    assert amount("10", "graduated", tiers=tiers) == "13.000000"
    assert amount("10.000001", "graduated", tiers=tiers) == "20.000002"
    assert amount("10", "volume", tiers=tiers) == "13.000000"
    assert amount("11", "volume", tiers=tiers) == "29.000000"


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("unit", {"unit_amount": "2"}),
        ("graduated", {"tiers": [Tier.of(None, "2", "5")]}),
        ("volume", {"tiers": [Tier.of(None, "2", "5")]}),
        ("package", PACKAGES),
        ("percentage", {"rate": "0.5", "fixed_amount": "1"}),
    ],
)
def test_what_is_included_costs_nothing_at_all(model, fields):
    """
    Up to what is included there are no fixed or flat amounts either; but a minimum is due even so.
    """
    nothing = rated("0", model, included="10", minimum_amount="3", **fields)
    included = rated("10", model, included="10", minimum_amount="3", **fields)

    for free in (nothing, included):
        assert not free.parts
        assert free.amount_micros == free.counted == 0
        assert money.text(free.minimum_line_micros) == "3.000000"
    assert rated("10.000001", model, included="10", **fields).amount_micros > 0


def test_a_minimum_is_a_line_of_its_own():
    """
    It brings the two lines together to the minimum, and is nothing once usage reaches it.
    """
    below = rated("2", "unit", unit_amount="1", minimum_amount="5")
    at = rated("5", "unit", unit_amount="1", minimum_amount="5")
    above = rated("6", "unit", unit_amount="1", minimum_amount="5")

    assert (below.amount_micros, below.minimum_line_micros) == (2_000_000, 3_000_000)
    assert (at.amount_micros, at.minimum_line_micros) == (5_000_000, 0)
    assert (above.amount_micros, above.minimum_line_micros) == (6_000_000, 0)


def test_a_maximum_takes_off_what_lies_beyond():
    """
    What it takes off is a part like any other, so the parts still add up.
    """
    capped = rated("9", "unit", unit_amount="1", maximum_amount="5")
    below = rated("5", "unit", unit_amount="1", maximum_amount="5")

    assert (capped.amount_micros, capped.capped) == (5_000_000, True)
    whole, beyond = capped.parts
    assert whole.amount == 9
    assert beyond.amount == -4
    assert (beyond.what, beyond.rate) == ("beyond the maximum", None)
    assert (below.amount_micros, below.capped) == (5_000_000, False)


def test_a_part_of_a_period_has_its_exact_share():
    """
    10 of 31 days of 1 included unit, a minimum and a maximum; rates and flat amounts stay as they are.
    """
    share = Fraction(10, 31)
    fields = {"tiers": [Tier.of(None, "1", "2")], "included": "1"}

    some = rated("1", "graduated", share=share, minimum_amount="31", maximum_amount="62", **fields)
    much = rated("100", "graduated", share=share, maximum_amount="31", **fields)

    assert some.counted == Fraction(21, 31)
    assert some.exact == Fraction(21, 31) + 2
    assert (some.amount_micros, some.minimum_line_micros) == (2_677_419, 10_000_000 - 2_677_419)
    assert much.amount_micros == 10_000_000
