"""Spending order for credit grants.

A wallet spends the grant that would be missed least: lowest priority number first, then soonest to
expire (never is last), promotional and goodwill before paid, then earliest effective, then earliest
id. The order is total, so two runs over the same grants always draw the same amounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeAlias

from attrs import frozen

from neruba_core.instants import Instant
from neruba_core.wallets.model import GrantKind, Lot

_NEVER = datetime.max.replace(tzinfo=UTC)

Rank: TypeAlias = tuple[int, Instant, bool, Instant, str]


@frozen
class Take:
    """*micros* > 0 to be taken from *lot*."""

    lot: Lot
    micros: int


def spending_order(lot: Lot) -> Rank:
    """The sort key of a lot: lower is spent first."""
    grant = lot.grant
    return (
        grant.priority,
        grant.expires_at or _NEVER,
        grant.kind is GrantKind.PAID,
        grant.effective_at,
        grant.id,
    )


def takes(lots: Iterable[Lot], due_micros: int, *, at: Instant) -> Iterator[Take]:
    """Yield what covers *due_micros*, or as much of it as unexpired credit that is not held allows."""
    for lot in sorted(lots, key=spending_order):
        if due_micros == 0:
            return
        if lot.expired(at):
            continue
        micros = min(lot.free_micros, due_micros)
        if micros:
            yield Take(lot, micros)
        due_micros -= micros
