"""``volume``: the whole quantity costs what the tier that it falls in says.

Upper bounds belong to their tier. One unit more can therefore make the whole cheaper.
"""

from __future__ import annotations

from fractions import Fraction

from neruba_core.pricing.exact import units
from neruba_core.pricing.model import Tier, Volume
from neruba_core.pricing.parts import ONCE, Part, between, times


def parts(terms: Volume, quantity: Fraction) -> tuple[Part, ...]:
    """All of *quantity* at the unit amount of its tier, and that tier's flat amount."""
    lower_micros, tier = _tier_of(terms, quantity)
    name = between(lower_micros, tier.up_to_micros)
    whole = times(name, quantity, tier.unit_amount)
    if tier.flat_amount is None:
        return (whole,)
    return whole, times(f"{name}, flat", ONCE, tier.flat_amount)


def _tier_of(terms: Volume, quantity: Fraction) -> tuple[int, Tier]:
    """The tier and its lower bound."""
    lower_micros = 0
    for tier in terms.tiers:
        if tier.up_to_micros is None or quantity <= units(tier.up_to_micros):
            return lower_micros, tier
        lower_micros = tier.up_to_micros
    raise AssertionError("the last tier has no upper bound")
