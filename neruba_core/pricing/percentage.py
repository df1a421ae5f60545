"""``percentage``: a share of the quantity, which is a sum of money counted as units, and perhaps a fixed
amount."""

from __future__ import annotations

from fractions import Fraction

from neruba_core.pricing.model import Percentage
from neruba_core.pricing.parts import ONCE, Part, times


def parts(terms: Percentage, quantity: Fraction) -> tuple[Part, ...]:
    """The rate's share of *quantity*, and the fixed amount."""
    portion = times("rate", quantity, terms.rate)
    if terms.fixed_amount is None:
        return (portion,)
    return portion, times("fixed amount", ONCE, terms.fixed_amount)
