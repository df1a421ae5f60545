"""Rates at the door, and exact numbers as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.errors import AmountFloat, AmountInvalid, AmountNegative, AmountOverflow, AmountTooPrecise
from neruba_core.instants import Period
from neruba_core.pricing import exact
from neruba_core.pricing.exact import fraction_text, half_even, parse_rate, rate_text
from tests.core.pricing import prices


@given(prices.rates)
def test_a_rate_is_read_back_as_it_was_written(rate):
    """
    Twelve places carry it exactly, without a zero that says nothing.
    """
    text = rate_text(rate)

    assert parse_rate(text) == rate
    assert rate_text(parse_rate(text)) == text
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("0", "0"),
        ("000.500", "0.5"),
        ("0.000000000001", "0.000000000001"),
        ("100", "100"),
        ("-0", "0"),
        (3, "3"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0E-90"), "0"),
        ("9000000000000", "9000000000000"),
    ],
)
def test_rates_have_one_form(given, text):
    """
    However they were written.
    """
    assert rate_text(parse_rate(given)) == text


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (0.5, AmountFloat),
        ("", AmountInvalid),
        (" 1", AmountInvalid),
        ("+1", AmountInvalid),
        ("1e3", AmountInvalid),
        (".5", AmountInvalid),
        ("1.", AmountInvalid),
        ("1,5", AmountInvalid),
        ("NaN", AmountInvalid),
        ("١", AmountInvalid),
        (Decimal("NaN"), AmountInvalid),
        (Decimal("Infinity"), AmountInvalid),
        (True, AmountInvalid),
        (None, AmountInvalid),
        ("0.0000000000001", AmountTooPrecise),
        ("0.0000000000000", AmountTooPrecise),
        (Decimal("1E-13"), AmountTooPrecise),
        ("-0.000000000001", AmountNegative),
        (-1, AmountNegative),
        ("9000000000000.000000000001", AmountOverflow),
        ("9" * 1_000_000, AmountOverflow),
        (10**400, AmountOverflow),
        (Decimal("1E+999999"), AmountOverflow),
    ],
)
def test_what_is_no_rate_is_refused(given, refusal):
    """
    Never rounded, never guessed.
    """
    with pytest.raises(refusal):
        parse_rate(given)


@given(st.fractions())
def test_an_exact_number_is_read_back_as_it_was_written(value):
    """
    As a decimal where one is finite, else as a fraction.
    """
    text = fraction_text(value)

    assert Fraction(text) == value
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(-10), "-10"),
        (Fraction(3, 2_000_000), "0.0000015"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(100), "100"),
        (Fraction(31, 3), "31/3"),
        (Fraction(-1, 7), "-1/7"),
    ],
)
def test_exact_numbers_as_people_write_them(value, text):
    """
    Without an exponent and without zeros at the end.
    """
    assert fraction_text(value) == text


@pytest.mark.parametrize(
    ("halves", "micros"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2)]
)
def test_ties_go_to_the_even_micro_unit(halves, micros):
    """
    So that rounding neither favours the one who bills nor the one who pays.
    """
    assert half_even(Fraction(halves, 2_000_000)) == micros


moments = st.integers(0, 10**15).map(
    lambda micros: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0, 0, micros)
)


@given(st.integers(), st.fractions(0, 1))
def test_micro_units_and_their_share_are_exact(micros, share):
    """
    Whichever way they are counted and written.
    """
    assert exact.units(micros) == Fraction(micros, 10**6)
    assert exact.units(micros, share) == exact.units(micros) * share
    assert exact.micros_text(micros) == fraction_text(exact.units(micros))


@given(st.fractions())
def test_rounding_is_that_of_the_standard_library(value):
    """
    Python rounds fractions half-even too.
    """
    assert half_even(value) == round(value * 10**6)


@given(st.lists(moments, min_size=2, max_size=8, unique=True))
def test_the_shares_of_a_cut_add_up_to_the_whole(cuts):
    """
    Wherever it is cut, to the microsecond.
    """
    cuts.sort()
    whole = Period(cuts[0], cuts[-1])
    parts = [Period(start, end) for start, end in pairwise(cuts)]

    assert sum(exact.share(part, whole) for part in parts) == 1
