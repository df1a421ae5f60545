"""Spending from the wallet, and giving back.

A spending draws unexpired grants in spending order, then the overdraft up to the credit limit; beyond
that it is refused. Giving back repays the overdraft first, then the original draws in reverse. A
share owed to a grant that has expired meanwhile opens a new grant of the same kind, with the lifetime
that the old one had left when it was drawn: the customer gets back what was taken, no more and no
less. What no grant is owed any more opens a goodwill grant without expiry.
"""

from __future__ import annotations

from neruba_core import money
from neruba_core.errors import InsufficientCredit
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.texts import Properties
from neruba_core.wallets.book import Book, Decision, Original, Taken
from neruba_core.wallets.credit import DEFAULT_PRIORITY
from neruba_core.wallets.model import Grant, GrantKind
from neruba_core.wallets.spending import takes


def spend(
    book: Book,
    micros: int,
    *,
    towards: str,
    type: TransactionType,
    description: str,
    metadata: Properties | None = None,
    at: Instant,
    ids: Ids,
) -> Decision | InsufficientCredit:
    """Move *micros* from the wallet to the account *towards*, or refuse it whole."""
    available = book.available_micros(at)
    if micros > available:
        return InsufficientCredit(money.text(available))
    postings: list[Posting] = []
    draws: list[Taken] = []
    missing = micros
    for take in takes(book.lots.values(), micros, at=at):
        postings.append(debit(take.lot.grant.account, take.micros))
        draws.append(Taken(take.lot.grant.id, take.micros))
        missing -= take.micros
    if missing:
        postings.append(debit(OVERDRAFT, missing))
        draws.append(Taken(None, missing))
    postings.append(credit(towards, micros))
    return Decision(
        transaction_id=ids.new("txn"),
        type=type,
        amount_micros=micros,
        description=description,
        postings=balanced(postings),
        draws=tuple(draws),
        metadata=metadata,
    )


def give_back(
    book: Book, original: Original, micros: int, reason: str, *, source: str, at: Instant, ids: Ids
) -> Decision:
    """Give *micros* of a spending back to the wallet, from the account *source*."""
    transaction_id = ids.new("txn")
    postings = [debit(source, micros)]
    draws: list[Taken] = []
    opened: list[Grant] = []
    left = micros

    def to_grant(grant: Grant, share: int, reverses_grant_id: str | None = None) -> None:
        postings.append(credit(grant.account, share))
        draws.append(Taken(grant.id, -share, reverses_grant_id))

    def open_grant(kind: GrantKind, priority: int, share: int, expires_at: Instant | None) -> Grant:
        grant = Grant(book.project.id, ids.new("grt"), kind, priority, share, at, expires_at, transaction_id)
        opened.append(grant)
        return grant

    repaid = min(left, book.overdraft_micros)
    if repaid:
        postings.append(credit(OVERDRAFT, repaid))
        draws.append(Taken(None, -repaid))
        left -= repaid
    for draw in reversed(original.draws):
        if draw.grant_id is None or left == 0:
            continue
        share = min(draw.micros - original.returned_micros.get(draw.grant_id, 0), left)
        if share <= 0:
            continue
        grant = original.grants[draw.grant_id]
        if grant.expires_at is not None and grant.expires_at <= at:
            lifetime_left = grant.expires_at - original.transaction.effective_at
            successor = open_grant(grant.kind, grant.priority, share, at + lifetime_left)
            to_grant(successor, share, reverses_grant_id=grant.id)
        else:
            to_grant(grant, share)
        left -= share
    if left:
        to_grant(open_grant(GrantKind.GOODWILL, DEFAULT_PRIORITY, left, None), left)
    return Decision(
        transaction_id=transaction_id,
        type=TransactionType.REVERSAL,
        amount_micros=micros,
        description=reason,
        postings=balanced(postings),
        draws=tuple(draws),
        grants=tuple(opened),
        reverses=original.transaction.id,
    )
