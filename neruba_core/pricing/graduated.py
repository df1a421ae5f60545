"""``graduated``: each slice of the quantity costs what its own tier says.

So one unit more never changes what the units before it cost: without flat amounts the amount is continuous
at every bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from neruba_core.pricing.exact import units
from neruba_core.pricing.model import Graduated
from neruba_core.pricing.parts import ONCE, Part, times
from neruba_core.pricing.tiers import described, with_lower_bounds


def parts(terms: Graduated, quantity: Fraction) -> tuple[Part, ...]:
    """What lies in each tier at the tier's unit amount, and the flat amount of each tier entered."""
    return tuple(_tier_by_tier(terms, quantity))


def _tier_by_tier(terms: Graduated, quantity: Fraction) -> Iterator[Part]:
    for lower_micros, tier in with_lower_bounds(terms.tiers):
        lower = units(lower_micros)
        if quantity <= lower:
            return
        upper = quantity if tier.up_to_micros is None else min(quantity, units(tier.up_to_micros))
        name = described(lower_micros, tier)
        yield times(name, upper - lower, tier.unit_amount)
        if tier.flat_amount is not None:
            yield times(f"{name}, flat", ONCE, tier.flat_amount)
