"""Spending order for credit grants.

A wallet spends the grant that would be missed least: lowest priority number first, then what pays for some
metrics only before what pays for anything, then soonest to expire (never is last), promotional and goodwill
before paid, then earliest effective, then earliest id. The order is total, so two runs over the same grants
always draw the same amounts. A grant that may not be spent on something is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from neruba_core.instants import Instant
from neruba_core.wallets.model import Lot, Rank

Take: TypeAlias = tuple[Lot, int]
"""A lot, and how much is to be taken from it: more than nothing."""


def spending_order(lot: Lot) -> Rank:
    """The sort key of a lot: lower is spent first."""
    return lot.grant.rank


def takes(
    lots: Iterable[Lot],
    due_micros: int,
    *,
    at: Instant,
    metric_key: str | None = None,
    common_micros: int | None = None,
) -> Iterator[Take]:
    """Yield what covers *due_micros* of the metric, or of no metric, or as much of it as unexpired credit
    allows that is not held. At most *common_micros* of it, if given, is credit that pays for anything. The
    *lots* come in spending order."""
    for lot in lots:
        if due_micros == 0:
            return
        if lot.expired(at) or not lot.grant.pays_for(metric_key):
            continue
        micros = min(lot.free_micros, due_micros)
        if common_micros is not None and not lot.grant.metric_keys:
            micros = min(micros, common_micros)
            common_micros -= micros
        if micros:
            yield lot, micros
        due_micros -= micros
