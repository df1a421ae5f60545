"""The sweep of holds: what heads and lots say is held, held against the open holds themselves."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from attrs import evolve

from neruba_core.instants import Instant
from neruba_core.ledger import sweep as ledger
from neruba_core.ledger.store import HasLedger
from neruba_core.ledger.sweep import Sweep
from neruba_core.wallets.store import HasWallets


class SweepWork(HasLedger, HasWallets, Protocol):
    """What sweeping reads."""


def sweep(work: SweepWork, project_id: str, *, at: Instant) -> Sweep:
    """Sweep the project's ledger, and what it says is held. Reads everything: linear in its entries."""
    swept = ledger.sweep(work, project_id, at=at)
    return evolve(swept, faults=(*swept.faults, *held_faults(work, project_id, at=at)))


def held_faults(work: SweepWork, project_id: str, *, at: Instant) -> list[str]:
    """Every difference between the open holds and what is kept of them."""
    head = work.ledger.head(project_id)
    assert head is not None, "every project has a head"
    holds = work.wallets.open_holds(project_id)
    held = sum(hold.amount_micros for hold in holds)
    faults = [] if held == head.held_micros else [f"head held: holds say {held}, kept is {head.held_micros}"]
    drawn: Counter[str] = Counter()
    for hold in holds:
        for draw in hold.draws:
            drawn[draw.grant_id] += draw.micros
        if head.due_at is None or head.due_at > hold.expires_at:
            faults.append(f"hold {hold.id} expires before the project is due")
    for lot in work.wallets.open_lots([project_id]):
        derived = drawn.pop(lot.grant.id, 0)
        if derived != lot.held_micros:
            faults.append(f"grant {lot.grant.id} held: holds say {derived}, kept is {lot.held_micros}")
        if lot.free_micros < 0:
            faults.append(f"grant {lot.grant.id} holds more than remains of it")
        expires_at = lot.grant.expires_at
        if expires_at is not None and lot.free_micros:
            # What was held when the grant expired falls due when it is freed.
            if head.due_at is None or head.due_at > max(expires_at, at):
                faults.append(f"grant {lot.grant.id} expires before the project is due")
    faults.extend(f"grant {grant_id} is empty, but held" for grant_id in sorted(drawn))
    return faults
