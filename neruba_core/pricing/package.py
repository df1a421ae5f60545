"""``package``: whole packages; one that is begun is due."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from neruba_core.pricing.exact import units
from neruba_core.pricing.model import Package
from neruba_core.pricing.parts import Part, quantity_text, times


def parts(terms: Package, quantity: Fraction) -> tuple[Part, ...]:
    """As many packages as hold all of *quantity*, at the package's amount."""
    packages = ceil(quantity / units(terms.package_size_micros))
    name = f"packages of {quantity_text(terms.package_size_micros)}"
    return (times(name, Fraction(packages), terms.package_amount),)
