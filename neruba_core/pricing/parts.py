"""The addends that an amount is made of.

Every price model gives its amount as parts, so that whoever asks can add them up again.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from attrs import frozen

from neruba_core import money
from neruba_core.pricing.exact import rate_text

ONCE = Fraction(1)
"""The quantity of what is due once, however much was used."""


@frozen
class Part:
    """One addend: *amount* in units of the currency, exactly *quantity* × *rate* where there is a rate.

    *quantity* counts units of the metric, packages, or 1 for what is due once. Only what a maximum takes
    off has no rate.
    """

    what: str
    quantity: Fraction
    rate: Decimal | None
    amount: Fraction


def times(what: str, quantity: Fraction, rate: Decimal) -> Part:
    """The part of *quantity* at *rate* each."""
    return Part(what, quantity, rate, quantity * Fraction(rate))


def quantity_text(micros: int) -> str:
    """A quantity as people write it: ``100000000`` → ``"100"``."""
    return rate_text(money.decimal(micros))
