"""The sweep: everything that is kept for speed, re-derived from the entries and compared.

Heads and accounts are caches of the journal. The sweep trusts the entries alone and names every
difference; an empty list of faults is the proof that the books are right.
"""

from __future__ import annotations

from attrs import frozen

from neruba_core.instants import Instant
from neruba_core.ledger.chart import OVERDRAFT, WALLET
from neruba_core.ledger.store import HasLedger


@frozen
class Sweep:
    """What a sweep of one project found."""

    project_id: str
    checked_at: Instant
    transactions: int
    faults: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """Whether nothing differed."""
        return not self.faults


def sweep(work: HasLedger, project_id: str, *, at: Instant) -> Sweep:
    """Re-derive the project's head and accounts from its entries. Reads everything: linear in them."""
    derived = {name: micros for name, micros in work.ledger.balances(project_id).items() if micros}
    kept = {account.name: account.balance_micros for account in work.ledger.accounts([project_id])}
    count = work.ledger.transaction_count(project_id)
    faults = [
        f"account {name}: entries say {derived.get(name, 0)}, kept is {kept.get(name, 0)}"
        for name in sorted(derived.keys() | kept.keys())
        if derived.get(name, 0) != kept.get(name, 0)
    ]
    imbalance = sum(derived.values())
    if imbalance:
        faults.append(f"debits and credits differ by {imbalance}")
    return Sweep(project_id, at, count, (*faults, *_head_faults(work, project_id, derived, count)))


def proof(work: HasLedger, project_id: str, *, at: Instant) -> Sweep:
    """The cheap part, fit for every read: that the kept accounts balance and agree with the head."""
    kept = {account.name: account.balance_micros for account in work.ledger.accounts([project_id])}
    head = work.ledger.head(project_id)
    assert head is not None, "every project has a head"
    imbalance = sum(kept.values())
    faults = (f"debits and credits differ by {imbalance}",) if imbalance else ()
    return Sweep(project_id, at, head.version, (*faults, *_head_faults(work, project_id, kept, head.version)))


def _head_faults(work: HasLedger, project_id: str, balances: dict[str, int], count: int) -> list[str]:
    head = work.ledger.head(project_id)
    assert head is not None, "every project has a head"
    overdraft = balances.get(OVERDRAFT, 0)
    wallet = -sum(micros for name, micros in balances.items() if name.startswith(f"{WALLET}:"))
    receivable = balances.get("receivable", 0)
    expected = {
        "version": (count, head.version),
        "balance": (wallet - overdraft, head.balance_micros),
        "overdraft": (overdraft, head.overdraft_micros),
        "receivable": (receivable, head.receivable_micros),
    }
    return [
        f"head {name}: entries say {derived}, kept is {kept}"
        for name, (derived, kept) in expected.items()
        if derived != kept
    ]
