"""Money and units as signed 64-bit micro-units.

Inside, every amount is an ``int`` of micro-units (10⁻⁶ of the currency's unit, or of a metric's
unit), so sums are exact and order never matters. At the doors, amounts are decimal text with at
most six places in and exactly six out. A float is refused at every door: it has already lost what
we promise to keep.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

from neruba_core.errors import (
    AmountFloat,
    AmountInvalid,
    AmountNegative,
    AmountNotPositive,
    AmountOverflow,
    AmountTooPrecise,
)
from neruba_core.texts import shown

Amount: TypeAlias = str | int | Decimal
"""What an embedder may give: decimal text, a whole number of units, or a ``Decimal``."""

MICROS = 1_000_000
PLACES = 6

MAX_MICROS = 9_000_000_000_000 * MICROS
"""The largest amount of one write; below 2⁶³ so that a single amount always fits."""

MAX_TOTAL_MICROS = 2**63 - 1
"""The largest balance: what a 64-bit column holds."""

_WHOLE_DIGITS = 13


def parse(amount: Amount) -> int:
    """Read *amount* as micro-units.

    Raises ``AmountFloat``, ``AmountInvalid`` (exponent, NaN, blank, sign other than ``-``),
    ``AmountTooPrecise`` (a seventh place, even if zero) or ``AmountOverflow``.
    """
    text = amount if isinstance(amount, str) else _plain_text(amount)
    unsigned = text.removeprefix("-")
    whole, point, fraction = unsigned.partition(".")
    if not (unsigned.isascii() and whole.isdigit() and (fraction.isdigit() or not point)):
        raise AmountInvalid(shown(text))
    whole = whole.lstrip("0")
    if len(whole) > _WHOLE_DIGITS:
        raise AmountOverflow
    if len(fraction) > PLACES:
        raise AmountTooPrecise(text[:40], PLACES)
    micros = int(whole + fraction.ljust(PLACES, "0"))
    if micros > MAX_MICROS:
        raise AmountOverflow
    return -micros if text[0] == "-" else micros


def parse_positive(amount: Amount) -> int:
    """Like ``parse``, but refuses zero and less with ``AmountNotPositive``."""
    micros = parse(amount)
    if micros <= 0:
        raise AmountNotPositive(str(amount))
    return micros


def parse_non_negative(amount: Amount) -> int:
    """Like ``parse``, but refuses less than zero with ``AmountNegative``."""
    micros = parse(amount)
    if micros < 0:
        raise AmountNegative(str(amount))
    return micros


def text(micros: int) -> str:
    """Write *micros* as decimal text with exactly six places: ``1250000000`` → ``"1250.000000"``."""
    if micros < 0:
        return "-" + text(-micros)
    return "%d.%06d" % divmod(micros, MICROS)  # noqa: UP031  # twice as fast as an f-string, and hot


def decimal(micros: int) -> Decimal:
    """Give *micros* as a ``Decimal`` with exactly six places, for an embedder's own arithmetic."""
    return Decimal(micros).scaleb(-PLACES)


def divided(dividend: int, divisor: int) -> int:
    """*dividend* / *divisor* as a whole number; a tie goes to the even one. The divisor is positive."""
    whole, rest = divmod(dividend, divisor)
    twice = 2 * rest
    return whole + (twice > divisor or (twice == divisor and whole % 2 == 1))


def within_total(micros: int) -> int:
    """Return *micros*, or raise ``AmountOverflow`` where a 64-bit column could not hold it."""
    if not -MAX_TOTAL_MICROS <= micros <= MAX_TOTAL_MICROS:
        raise AmountOverflow(text(MAX_TOTAL_MICROS))
    return micros


def _plain_text(amount: object) -> str:
    if isinstance(amount, float):
        raise AmountFloat
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        raise AmountInvalid(shown(amount))
    # What is out of range is refused before it is written out: Decimal("1E+999999999") has a gigabyte
    # of digits.
    if isinstance(amount, int):
        if abs(amount) > MAX_MICROS // MICROS:
            raise AmountOverflow
        return str(amount)
    if not amount.is_finite():
        raise AmountInvalid(str(amount)[:40])
    _, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int), "a finite decimal has a whole exponent"
    if exponent < -PLACES:
        raise AmountTooPrecise(str(amount)[:40], PLACES)
    if any(digits) and len(digits) + exponent > _WHOLE_DIGITS:
        raise AmountOverflow
    if not any(digits):
        return "0"
    # str(Decimal("1E+3")) is "1E+3"; "f" writes it out.
    return format(amount, "f")
