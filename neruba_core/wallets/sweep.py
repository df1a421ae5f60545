"""The sweep of wallets: what heads and lots say is held, held against the open holds themselves; every
expiry that was posted, against its grant; and what was taken from credit for some metrics, against these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from attrs import evolve

from neruba_core.instants import Instant
from neruba_core.ledger import sweep as ledger
from neruba_core.ledger.model import Transaction, TransactionType
from neruba_core.ledger.store import HasLedger
from neruba_core.ledger.sweep import Sweep
from neruba_core.wallets.model import Grant
from neruba_core.wallets.store import HasWallets

_PAGE = 500


class SweepWork(HasLedger, HasWallets, Protocol):
    """What sweeping reads."""


def sweep(work: SweepWork, project_id: str, *, at: Instant) -> Sweep:
    """Sweep the project's ledger, and what it says is held. Reads everything: linear in its entries."""
    swept = ledger.sweep(work, project_id, at=at)
    return evolve(
        swept,
        faults=(
            *swept.faults,
            *held_faults(work, project_id, at=at),
            *expiry_faults(work, project_id),
            *scope_faults(work, project_id),
        ),
    )


def expiry_faults(work: SweepWork, project_id: str) -> Iterator[str]:
    """Every expiry that was posted of what had not expired, or of more than there was."""
    grants = {grant.id: grant for grant in work.wallets.grants_of(project_id)}
    expired: Counter[str] = Counter()
    before: str | None = None
    while page := work.ledger.transactions(
        project_id, limit=_PAGE, before=before, type=TransactionType.EXPIRY
    ):
        before = page[-1].place
        for posted in page:
            grant = grants.get(posted.grant_id or "")
            if grant is None or grant.expires_at is None:
                yield f"transaction {posted.id} expires what has no end"
            elif not grant.expires_at <= posted.effective_at <= posted.recorded_at:
                yield f"transaction {posted.id} is not effective when grant {grant.id} had expired"
            expired[posted.grant_id or ""] += posted.amount_micros
    for grant_id, micros in sorted(expired.items()):
        if grant_id in grants and micros > grants[grant_id].amount_micros:
            yield f"grant {grant_id}: more has expired than was granted"


def scope_faults(work: SweepWork, project_id: str) -> Iterator[str]:
    """Everything that was taken from credit for some metrics but by usage of these, by invoices, by its
    expiry or by its own reversal."""
    for grant in work.wallets.grants_of(project_id):
        if not grant.metric_keys:
            continue
        before: str | None = None
        while page := work.ledger.entries(project_id, limit=_PAGE, before=before, account=grant.account):
            before = page[-1].place
            for entry in page:
                if entry.debit_micros:
                    taken = work.ledger.transaction(project_id, entry.transaction_id)
                    if taken is None or not _may_take(grant, taken):
                        yield f"transaction {entry.transaction_id} may take nothing from grant {grant.id}"


def _may_take(grant: Grant, taken: Transaction) -> bool:
    if taken.type is TransactionType.USAGE:
        return grant.pays_for(str((taken.metadata or {}).get("metricKey")))
    if taken.type is TransactionType.REVERSAL:
        return taken.reverses == grant.transaction_id
    return taken.type in {TransactionType.INVOICE, TransactionType.EXPIRY}


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
