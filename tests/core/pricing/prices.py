"""Prices by chance, for properties."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import strategies as st

from neruba_core.pricing.model import Graduated, Package, Percentage, Tariff, Terms, Tier, Unit, Volume

MICROS = 1_000_000

quantities = st.one_of(st.integers(0, 30 * MICROS), st.integers(0, 10**12))
rates = st.one_of(
    st.integers(0, 3 * 10**12).map(lambda digits: Decimal(digits).scaleb(-12)),
    st.integers(0, 1_000).map(Decimal),
)
shares = st.builds(
    lambda part, whole: Fraction(min(part, whole), whole),
    st.integers(1, 2_678_400_000_000),
    st.integers(1, 2_678_400_000_000),
)


@st.composite
def tiers(draw: st.DrawFn, *, flat: bool = True) -> tuple[Tier, ...]:
    bounds = sorted(draw(st.sets(st.integers(1, 20 * MICROS), max_size=4)))
    flats = st.none() | rates if flat else st.none()
    return tuple(Tier(bound, draw(rates), draw(flats)) for bound in (*bounds, None))


units = st.builds(Unit, rates)
packages = st.builds(Package, st.integers(1_000, 20 * MICROS), rates)
percentages = st.builds(Percentage, rates, st.none() | rates)
terms: st.SearchStrategy[Terms] = st.one_of(
    units, st.builds(Graduated, tiers()), st.builds(Volume, tiers()), packages, percentages
)
rising: st.SearchStrategy[Terms] = st.one_of(units, st.builds(Graduated, tiers()), packages, percentages)
"""Terms by which more never costs less: all but volume."""


@st.composite
def tariffs(draw: st.DrawFn, of: st.SearchStrategy[Terms] = terms) -> Tariff:
    minimum = draw(st.none() | st.integers(0, 50 * MICROS))
    maximum = draw(st.none() | st.integers(minimum or 0, 100 * MICROS))
    return Tariff(draw(of), draw(st.just(0) | st.integers(0, 20 * MICROS)), minimum, maximum)
