"""Tiers with the bound that each begins above: that of the tier before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from neruba_core.pricing.model import Tier
from neruba_core.pricing.parts import quantity_text


def with_lower_bounds(tiers: Iterable[Tier]) -> Iterator[tuple[int, Tier]]:
    """Each tier after its lower bound in micro-units; the first begins above zero."""
    lower_micros = 0
    for tier in tiers:
        yield lower_micros, tier
        if tier.up_to_micros is not None:
            lower_micros = tier.up_to_micros


def described(lower_micros: int, tier: Tier) -> str:
    """The quantities of a tier in words: ``above 100 up to 1000``."""
    above = f"above {quantity_text(lower_micros)}" if lower_micros else ""
    up_to = "" if tier.up_to_micros is None else f"up to {quantity_text(tier.up_to_micros)}"
    return " ".join(filter(None, (above, up_to))) or "all units"
