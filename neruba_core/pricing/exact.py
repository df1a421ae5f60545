"""Exact arithmetic for prices.

Rates are decimals with up to twelve places; what they lead to is kept as fractions until a line is rounded,
once, half-even, to a micro-unit. A float is refused: it has already lost what is promised.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from neruba_core import money
from neruba_core.errors import AmountFloat, AmountInvalid, AmountNegative, AmountOverflow, AmountTooPrecise
from neruba_core.instants import Period
from neruba_core.money import MICROS, Amount
from neruba_core.texts import shown

RATE_PLACES = 12
_SCALE = 10 ** (RATE_PLACES + money.PLACES)
"""What a quantity times a rate has at most."""

_PLAIN = re.compile(r"(-?)([0-9]++)(?:\.([0-9]++))?", re.ASCII)
_MAX_RATE = Decimal(money.MAX_MICROS // MICROS)
_WHOLE_DIGITS = _MAX_RATE.adjusted() + 1
_MICROSECOND = timedelta(microseconds=1)
WHOLE = Fraction(1)
"""All of it, as a share."""


def parse_rate(rate: Amount) -> Decimal:
    """Read a unit amount or a rate: zero or more, with at most twelve places.

    Raises ``AmountFloat``, ``AmountInvalid`` (exponent in text, NaN, blank), ``AmountTooPrecise`` (a
    thirteenth place, even if zero), ``AmountNegative`` or ``AmountOverflow`` (above what an amount can be).
    """
    if isinstance(rate, float):
        raise AmountFloat
    if isinstance(rate, bool) or not isinstance(rate, str | int | Decimal):
        raise AmountInvalid(shown(rate))
    text = rate if isinstance(rate, str) else _plain_text(rate)
    match = _PLAIN.fullmatch(text)
    if match is None:
        raise AmountInvalid(shown(text))
    sign, whole, places = match[1], match[2].lstrip("0"), match[3] or ""
    if len(whole) > _WHOLE_DIGITS:
        raise AmountOverflow
    if len(places) > RATE_PLACES:
        raise AmountTooPrecise(text[:40], RATE_PLACES)
    value = Decimal(f"{whole or '0'}.{places.rstrip('0') or '0'}")
    if sign and value:
        raise AmountNegative(text[:40])
    if value > _MAX_RATE:
        raise AmountOverflow
    return Decimal(rate_text(value))


def rate_text(rate: Decimal) -> str:
    """Write *rate* canonically: no exponent, no zeros that say nothing. ``Decimal("1.50")`` → ``"1.5"``."""
    text = format(rate, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def units(micros: int, share: Fraction = WHOLE) -> Fraction:
    """Micro-units, or their *share*, as the exact number of units."""
    return Fraction(micros * share.numerator, MICROS * share.denominator)


def half_even(amount: Fraction) -> int:
    """Round an *amount* in units to whole micro-units; a tie goes to the even one."""
    return money.divided(amount.numerator * MICROS, amount.denominator)


def share(part: Period, whole: Period) -> Fraction:
    """How much of *whole* the time of *part* is, by the microsecond."""
    return Fraction((part.end - part.start) // _MICROSECOND, (whole.end - whole.start) // _MICROSECOND)


def micros_text(micros: int) -> str:
    """Write micro-units exactly, as units: what ``fraction_text(units(micros))`` is, in less time."""
    return money.text(micros).rstrip("0").rstrip(".")


def fraction_text(value: Fraction) -> str:
    """Write *value* exactly: as a decimal where one is finite (``"0.0000015"``), else as ``"1/3"``."""
    numerator, denominator = value.numerator, value.denominator
    if denominator == 1:
        return str(numerator)
    scale = _SCALE
    if scale % denominator:
        scale = 10 ** max(_factors(denominator, 2), _factors(denominator, 5))
        if scale % denominator:
            return f"{numerator}/{denominator}"
    whole, rest = divmod(abs(numerator) * (scale // denominator), scale)
    places = str(scale + rest)[1:].rstrip("0")
    return f"{'-' if numerator < 0 else ''}{whole}.{places}"


def _factors(number: int, prime: int) -> int:
    count = 0
    while number % prime == 0:
        number //= prime
        count += 1
    return count


def _plain_text(rate: int | Decimal) -> str:
    # What is out of range is refused before it is written out: Decimal("1E+999999999") has a gigabyte
    # of digits.
    if isinstance(rate, int):
        if abs(rate) > _MAX_RATE:
            raise AmountOverflow
        return str(rate)
    if not rate.is_finite():
        raise AmountInvalid(str(rate)[:40])
    if not rate:
        return "0"
    _, _, exponent = rate.as_tuple()
    assert isinstance(exponent, int), "a finite decimal has a whole exponent"
    if exponent < -RATE_PLACES:
        raise AmountTooPrecise(str(rate)[:40], RATE_PLACES)
    if rate.adjusted() >= _WHOLE_DIGITS:
        raise AmountOverflow
    return format(rate, "f")
