"""``volume``: the whole quantity costs what the tier that it falls in says.

Upper bounds belong to their tier. One unit more can therefore make the whole cheaper.
"""

from __future__ import annotations

from fractions import Fraction

from neruba_core.pricing.exact import units
from neruba_core.pricing.model import Volume
from neruba_core.pricing.parts import ONCE, Part, times
from neruba_core.pricing.tiers import described, with_lower_bounds


def parts(terms: Volume, quantity: Fraction) -> tuple[Part, ...]:
    """All of *quantity* at the unit amount of its tier, and that tier's flat amount."""
    lower_micros, tier = next(
        (lower_micros, tier)
        for lower_micros, tier in with_lower_bounds(terms.tiers)
        if tier.up_to_micros is None or quantity <= units(tier.up_to_micros)
    )
    name = described(lower_micros, tier)
    whole = times(name, quantity, tier.unit_amount)
    if tier.flat_amount is None:
        return (whole,)
    return whole, times(f"{name}, flat", ONCE, tier.flat_amount)
