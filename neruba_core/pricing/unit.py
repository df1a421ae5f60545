"""``unit``: every unit costs the same."""

from __future__ import annotations

from fractions import Fraction

from neruba_core.pricing.model import Unit
from neruba_core.pricing.parts import Part, times


def parts(terms: Unit, quantity: Fraction) -> tuple[Part, ...]:
    """All of *quantity* at the unit amount."""
    return (times("all units", quantity, terms.unit_amount),)
