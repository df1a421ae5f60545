"""What holds of every price, whatever its model and however much was used."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from neruba_core.errors import AmountOverflow
from neruba_core.pricing.exact import units
from neruba_core.pricing.model import Graduated, Percentage, Tariff, Tier, Unit, Volume
from neruba_core.pricing.rate import rate, workings
from tests.core.pricing import prices

HALF_A_MICRO = Fraction(1, 2_000_000)


@given(prices.tariffs(), prices.quantities, prices.shares)
def test_the_parts_add_up_to_the_whole(tariff, quantity_micros, share):
    """
    And each is its quantity times its rate; only what a maximum takes off has none.
    """
    rated = rate(tariff, quantity_micros, share=share)

    assert sum(part.amount for part in rated.parts) == rated.exact
    for part in rated.parts:
        if part.rate is not None:
            assert part.amount == part.quantity * Fraction(part.rate)
    assert [part.rate is None for part in rated.parts].count(True) == rated.capped


@given(prices.tariffs(), prices.quantities, prices.shares)
def test_a_line_is_rounded_once(tariff, quantity_micros, share):
    """
    The amount lies within half a micro-unit of the exact one.
    """
    rated = rate(tariff, quantity_micros, share=share)

    assert abs(units(rated.amount_micros) - rated.exact) <= HALF_A_MICRO


@given(prices.tariffs(), prices.quantities, prices.shares)
def test_the_limits_hold(tariff, quantity_micros, share):
    """
    Usage and minimum line together reach the minimum; no line exceeds the maximum; nothing is negative.
    """
    rated = rate(tariff, quantity_micros, share=share)

    assert rated.amount_micros >= 0
    assert rated.minimum_line_micros >= 0
    if tariff.maximum_micros is not None:
        assert rated.exact <= units(tariff.maximum_micros) * share
    least = units(tariff.minimum_micros or 0) * share
    assert units(rated.amount_micros + rated.minimum_line_micros) >= least - HALF_A_MICRO
    assert rated.minimum_line_micros == 0 or rated.exact <= least


@given(prices.tariffs(of=prices.rising), st.lists(prices.quantities, min_size=2, max_size=2), prices.shares)
def test_more_never_costs_less(tariff, quantities, share):
    """
    With every model but volume, where a better tier can make the whole cheaper.
    """
    less, more = sorted(quantities)

    assert rate(tariff, less, share=share).amount_micros <= rate(tariff, more, share=share).amount_micros


@given(prices.tiers(), st.lists(prices.quantities, min_size=2, max_size=2))
def test_more_costs_no_less_within_a_tier_of_a_volume_price(tiers, quantities):
    """
    That much does hold of it.
    """
    less, more = sorted(quantities)
    bounds = [tier.up_to_micros for tier in tiers if tier.up_to_micros is not None]
    assume(not any(less <= bound < more for bound in bounds) and less > 0)

    tariff = Tariff(Volume(tiers))
    assert rate(tariff, less).exact <= rate(tariff, more).exact


@given(prices.tiers(flat=False), st.integers(0, 1_000))
def test_a_graduated_price_is_continuous_at_its_bounds(tiers, step_micros):
    """
    Without flat amounts a step over a bound costs what its two sides cost, and no more.
    """
    tariff = Tariff(Graduated(tiers))
    for tier, following in pairwise(tiers):
        assert tier.up_to_micros is not None
        before = rate(tariff, tier.up_to_micros).exact
        after = rate(tariff, tier.up_to_micros + step_micros)

        room = units(following.up_to_micros or 10**18) - units(tier.up_to_micros)
        assume(units(step_micros) <= room)
        assert after.exact - before == units(step_micros) * Fraction(following.unit_amount)


@given(prices.tiers(), prices.quantities)
def test_a_graduated_price_of_equal_tiers_is_a_unit_price(tiers, quantity_micros):
    """
    Bounds alone change nothing.
    """
    price = Decimal("0.123456789012")
    equal = tuple(Tier(tier.up_to_micros, price) for tier in tiers)

    graduated = rate(Tariff(Graduated(equal)), quantity_micros)
    assert graduated.exact == rate(Tariff(Unit(price)), quantity_micros).exact
    assert graduated.exact == rate(Tariff(Volume(equal)), quantity_micros).exact


@given(
    prices.tariffs(), st.lists(st.integers(0, 10**9), max_size=12), prices.shares, st.integers(0, 2**32 - 1)
)
def test_draws_add_up_to_the_line_in_any_order(tariff, events, share, seed):
    """
    Each event drawn by what it adds comes to the line of all of them, tiers and voids included.
    """
    tariff = evolve(tariff, minimum_micros=None)
    shuffled = [*events]
    Random(seed).shuffle(shuffled)
    voided = shuffled[: len(shuffled) // 3]
    total_micros = drawn_micros = 0
    for change in (*shuffled, *(-units_micros for units_micros in voided)):
        before = rate(tariff, total_micros, share=share).amount_micros
        total_micros += change
        drawn_micros += rate(tariff, total_micros, share=share).amount_micros - before

    left = sum(events) - sum(voided)
    assert drawn_micros == rate(tariff, left, share=share).amount_micros


@given(prices.tariffs(), prices.quantities)
def test_the_whole_period_is_a_share_of_one(tariff, quantity_micros):
    """
    A period without a change is not prorated.
    """
    assert rate(tariff, quantity_micros) == rate(tariff, quantity_micros, share=Fraction(1))


@given(prices.tariffs(), prices.quantities, prices.shares)
def test_the_workings_add_up_as_text(tariff, quantity_micros, share):
    """
    Whoever reads them as JSON re-adds them exactly, without knowing how they came about.
    """
    rated = rate(tariff, quantity_micros, share=share)

    told = json.loads(json.dumps(workings(rated, tariff, share)))

    exact = sum((Fraction(part["amount"]) for part in told["parts"]), start=Fraction(0))
    assert exact == Fraction(told["exact"])
    assert exact + Fraction(told["rounding"]) == Fraction(told["amount"]) == units(rated.amount_micros)
    for part in told["parts"]:
        if "rate" in part:
            assert Fraction(part["quantity"]) * Fraction(part["rate"]) == Fraction(part["amount"])
    beyond = Fraction(told["quantity"]) - Fraction(told["included"])
    assert Fraction(told["counted"]) == max(beyond, Fraction(0))
    assert told["tariff"]["model"] == tariff.model.value
    assert ("maximum" in told) == (tariff.maximum_micros is not None)
    if tariff.minimum_micros is not None:
        least = Fraction(told["minimum"])
        assert abs(Fraction(told["amount"]) + Fraction(told["minimumLine"]) - least) <= HALF_A_MICRO or (
            Fraction(told["minimumLine"]) == 0
        )


def test_the_workings_are_what_a_person_would_write():
    """
    Decimals where they are finite, fractions where they are not.
    """
    tariff = Tariff(
        Percentage(Decimal("0.029"), Decimal("0.3")),
        included_micros=10_000_000,
        minimum_micros=9_000_000,
        maximum_micros=6_000_000_000,
    )
    share = Fraction(1, 3)

    assert workings(rate(tariff, 200_000_000, share=share), tariff, share) == {
        "tariff": {
            "model": "percentage",
            "rate": "0.029",
            "fixedAmount": "0.3",
            "included": "10.000000",
            "minimumAmount": "9.000000",
            "maximumAmount": "6000.000000",
        },
        "share": "1/3",
        "quantity": "200",
        "included": "10/3",
        "counted": "590/3",
        "parts": [
            {"what": "rate", "quantity": "590/3", "rate": "0.029", "amount": "1711/300"},
            {"what": "fixed amount", "quantity": "1", "rate": "0.3", "amount": "0.3"},
        ],
        "exact": "1801/300",
        "rounding": "-1/3000000",
        "amount": "6.003333",
        "maximum": "2000",
        "minimum": "3",
        "minimumLine": "0.000000",
    }


def test_an_amount_that_no_column_holds_is_refused():
    """
    Rather than wrapped, or met as a failure of the database.
    """
    with pytest.raises(AmountOverflow):
        rate(Tariff(Unit(Decimal(9_000_000_000_000))), 9_000_000_000_000_000_000)
