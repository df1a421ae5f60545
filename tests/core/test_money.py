"""Amounts at the door: exact, bounded, and never a float."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import (
    AmountFloat,
    AmountInvalid,
    AmountNegative,
    AmountNotPositive,
    AmountOverflow,
    AmountTooPrecise,
)

amounts = st.integers(-money.MAX_MICROS, money.MAX_MICROS)


@given(amounts)
def test_what_is_written_is_read_back(micros):
    """
    Text with six places carries every amount exactly.
    """
    text = money.text(micros)

    assert money.parse(text) == micros
    assert text.partition(".")[2].isdigit()
    assert len(text.partition(".")[2]) == 6


@given(amounts)
def test_decimals_carry_amounts_both_ways(micros):
    """
    An embedder's own arithmetic starts and ends on the same amount.
    """
    amount = money.decimal(micros)

    assert money.parse(amount) == micros
    assert str(amount) == money.text(micros) or micros == 0
    assert amount.as_tuple().exponent == -6


@given(st.integers(-(9 * 10**12), 9 * 10**12))
def test_whole_numbers_are_whole_units(units):
    """
    An int counts units of the currency, not micro-units.
    """
    assert money.parse(units) == units * 1_000_000
    assert money.parse(str(units)) == units * 1_000_000


@given(st.integers(0, 9 * 10**12), st.text("0123456789", min_size=1, max_size=6), st.integers(0, 20))
def test_zeros_around_the_digits_change_nothing(whole, fraction, zeros):
    """
    "1.5", "001.5" and "1.500000" are one amount.
    """
    plain = whole * 10**6 + int(fraction.ljust(6, "0")) <= money.MAX_MICROS
    text = f"{'0' * zeros}{whole}.{fraction}"

    if plain:
        assert money.parse(text) == money.parse(f"{whole}.{fraction.ljust(6, '0')}")
        assert money.parse(text) == whole * 10**6 + int(fraction.ljust(6, "0"))
    else:
        with pytest.raises(AmountOverflow):
            money.parse(text)


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_any_decimal_is_exact_or_refused(amount):
    """
    There is no third way, such as rounding.
    """
    try:
        micros = money.parse(amount)
    except (AmountInvalid, AmountTooPrecise, AmountOverflow):
        return

    assert Decimal(micros) == amount * 10**6


@given(st.text("-+.019e \n²٣", max_size=8))
def test_text_is_plain_digits_or_refused(text):
    """
    A sign, digits, a point and digits: whatever else some language takes for a number is none.
    """
    plain = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text)

    if plain is None:
        with pytest.raises(AmountInvalid):
            money.parse(text)
    elif len(plain[1] or ".") > 7:
        with pytest.raises(AmountTooPrecise):
            money.parse(text)
    else:
        assert money.parse(text) == Decimal(text) * 10**6


@pytest.mark.parametrize(
    ("amount", "refusal"),
    [
        (1.5, AmountFloat),
        (0.0, AmountFloat),
        (float("nan"), AmountFloat),
        (True, AmountInvalid),
        (None, AmountInvalid),
        (b"1", AmountInvalid),
        ([1], AmountInvalid),
        ("", AmountInvalid),
        (" 1", AmountInvalid),
        ("1 ", AmountInvalid),
        ("1\n", AmountInvalid),
        ("+1", AmountInvalid),
        ("--1", AmountInvalid),
        ("-", AmountInvalid),
        (".5", AmountInvalid),
        ("1.", AmountInvalid),
        ("1.2.3", AmountInvalid),
        ("1,5", AmountInvalid),
        ("1_000", AmountInvalid),
        ("1e3", AmountInvalid),
        ("1E-3", AmountInvalid),
        ("NaN", AmountInvalid),
        ("Infinity", AmountInvalid),
        ("0x10", AmountInvalid),
        ("１", AmountInvalid),
        ("٣", AmountInvalid),
        ("1\x00", AmountInvalid),
        ("\ud800", AmountInvalid),
        (Decimal("NaN"), AmountInvalid),
        (Decimal("sNaN"), AmountInvalid),
        (Decimal("-Infinity"), AmountInvalid),
        ("1.0000000", AmountTooPrecise),
        ("0.0000001", AmountTooPrecise),
        (Decimal("1.0000000"), AmountTooPrecise),
        (Decimal("1E-7"), AmountTooPrecise),
        (Decimal("1E-999999"), AmountTooPrecise),
        ("9000000000000.000001", AmountOverflow),
        ("9000000000001", AmountOverflow),
        ("10000000000000", AmountOverflow),
        ("-9000000000000.000001", AmountOverflow),
        (9_000_000_000_001, AmountOverflow),
        pytest.param(-(10**5000), AmountOverflow, id="5001 digits"),
        (Decimal("9000000000000.000001"), AmountOverflow),
        (Decimal("1E+13"), AmountOverflow),
        (Decimal("1E+999999"), AmountOverflow),
    ],
)
def test_what_is_no_plain_decimal_is_refused(amount, refusal):
    """
    Each with its own code, and a message that can be shown anywhere.
    """
    with pytest.raises(refusal) as caught:
        money.parse(amount)

    assert type(caught.value) is refusal
    str(caught.value).encode()
    assert all(len(str(fact)) <= 60 for fact in caught.value.facts().values())


@pytest.mark.parametrize(
    ("amount", "micros"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.000000", 0),
        ("12.5", 12_500_000),
        ("-12.5", -12_500_000),
        ("0.000001", 1),
        ("-0.000001", -1),
        ("1.23", 1_230_000),
        ("0012", 12_000_000),
        ("9000000000000", money.MAX_MICROS),
        ("9000000000000.000000", money.MAX_MICROS),
        (9_000_000_000_000, money.MAX_MICROS),
        (-9_000_000_000_000, -money.MAX_MICROS),
        (Decimal("1E+3"), 1_000_000_000),
        (Decimal("9E+12"), money.MAX_MICROS),
        (Decimal("0E+99"), 0),
        (Decimal("-0"), 0),
        (Decimal("1.5"), 1_500_000),
        (Decimal("-0.000001"), -1),
    ],
)
def test_plain_decimals_are_read(amount, micros):
    """
    Up to the very limits.
    """
    assert money.parse(amount) == micros


@pytest.mark.parametrize(
    "text",
    ["0" * 1_000_000 + "x", "1" * 1_000_000, "1." + "0" * 1_000_000 + "x"],
    ids=["zeros", "ones", "decimals"],
)
def test_a_megabyte_of_digits_costs_no_time(text):
    """
    A hostile body must not keep a worker busy.
    """
    began = time.perf_counter()

    with pytest.raises((AmountInvalid, AmountOverflow)):
        money.parse(text)

    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("amount", ["0", "-0", "-1", "-0.000001", 0, Decimal(0)])
def test_money_that_moves_is_above_zero(amount):
    """
    Corrections are voids and reversals, never negative writes.
    """
    with pytest.raises(AmountNotPositive, match="must be greater than zero") as caught:
        money.parse_positive(amount)

    assert caught.value.value == str(amount)
    assert money.parse_positive("0.000001") == 1


def test_units_may_be_zero_and_no_less():
    """
    An event of nothing is an event.
    """
    with pytest.raises(AmountNegative, match="must not be negative") as caught:
        money.parse_non_negative("-0.000001")

    assert caught.value.value == "-0.000001"
    assert money.parse_non_negative("0") == 0
    assert money.parse_non_negative("1") == 1_000_000


@pytest.mark.parametrize("micros", [2**63 - 1, -(2**63 - 1), 0])
def test_totals_fit_a_column(micros):
    """
    The largest total is what 64 bits hold.
    """
    assert money.within_total(micros) == micros


@pytest.mark.parametrize("micros", [2**63, -(2**63), 10**30])
def test_totals_beyond_a_column_are_refused(micros):
    """
    A sum that would wrap around is no sum; the refusal names the limit.
    """
    with pytest.raises(AmountOverflow) as caught:
        money.within_total(micros)

    assert caught.value.limit == "9223372036854.775807"


@pytest.mark.parametrize(
    ("micros", "text"),
    [(1_250_000_000, "1250.000000"), (-1, "-0.000001"), (0, "0.000000"), (-12_500_000, "-12.500000")],
)
def test_text_has_six_places(micros, text):
    """
    Always, and a sign only below zero.
    """
    assert money.text(micros) == text


def test_a_refusal_says_the_limits():
    """
    Whoever reads it knows what would be accepted.
    """
    with pytest.raises(AmountTooPrecise) as caught:
        money.parse("1.0000000")
    with pytest.raises(AmountTooPrecise) as of_decimal:
        money.parse(Decimal("1.0000000"))

    assert caught.value.facts() == of_decimal.value.facts() == {"value": "1.0000000", "places": 6}
    assert AmountOverflow().limit == money.text(money.MAX_MICROS)


@pytest.mark.parametrize(
    ("amount", "value"),
    [
        (True, "True"),
        ("1e3", "1e3"),
        (Decimal("NaN"), "NaN"),
        ([1] * 30, ("[" + "1, " * 30)[:40]),
        ("x" * 60, "x" * 40),
        ("0." + "1" * 60, "0." + "1" * 38),
        (Decimal("0." + "1" * 60), "0." + "1" * 38),
        (Decimal("NaN" + "1" * 60), "NaN" + "1" * 37),
    ],
    ids=range(8),
)
def test_a_refusal_repeats_the_beginning_of_what_it_refuses(amount, value):
    """
    Forty characters are enough to find it by, and not enough to fill a log.
    """
    with pytest.raises((AmountInvalid, AmountTooPrecise)) as caught:
        money.parse(amount)

    assert caught.value.facts()["value"] == value


@given(st.integers(-200, 200) | amounts, st.integers(1, 12) | st.integers(1, money.MAX_MICROS))
def test_a_quotient_is_rounded_once_and_a_tie_goes_to_the_even_one(dividend, divisor):
    """
    As Python rounds a fraction.
    """
    assert money.divided(dividend, divisor) == round(Fraction(dividend, divisor))
