"""Spending from the wallet, and giving back.

A spending draws unexpired grants in spending order, then the overdraft up to the credit limit; beyond
that it is refused. Giving back repays the overdraft first, then the original draws in reverse. A
share owed to a grant that has expired meanwhile opens a new grant of the same kind, with the lifetime
that the old one had left when it was drawn: the customer gets back what was taken, no more and no
less. What no grant is owed any more opens a goodwill grant without expiry.

Credit for some metrics only is drawn by their usage alone, and what it is owed repays no overdraft: it goes
back to it whole, or it would have paid for something else in the end.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from neruba_core import money
from neruba_core.errors import InsufficientCredit
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.texts import Properties
from neruba_core.wallets.book import Book, Decision, Original
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
    metric_key: str | None = None,
    beyond_limit: bool = False,
    at: Instant,
    ids: Ids,
) -> Decision | InsufficientCredit:
    """Move *micros* from the wallet to the account *towards*, or refuse it whole; *beyond_limit* lets the
    overdraft take whatever is missing. Usage names its metric."""
    common = book.available_micros(at)
    available = common if metric_key is None else book.available_for(metric_key, at)
    if micros > available and not beyond_limit:
        return InsufficientCredit(money.text(available))
    postings: list[Posting] = []
    missing = micros
    # Within the limit, credit for anything pays no more than is available of it, whatever comes first.
    cap = None if beyond_limit else max(common, 0)
    lots = book.in_spending_order()
    for lot, taken in takes(lots, micros, at=at, metric_key=metric_key, common_micros=cap):
        postings.append(debit(lot.grant.account, taken))
        missing -= taken
    if missing:
        postings.append(debit(OVERDRAFT, missing))
    postings.append(credit(towards, micros))
    return Decision(
        transaction_id=ids.new("txn"),
        type=type,
        amount_micros=micros,
        description=description,
        postings=balanced(postings),
        metadata=metadata,
    )


@frozen
class Claim:
    """What *grant* is owed of a spending: *micros* of it, drawn at *drawn_at*."""

    grant: Grant
    micros: int
    drawn_at: Instant


def give_back(
    book: Book, original: Original, micros: int, reason: str, *, source: str, at: Instant, ids: Ids
) -> Decision:
    """Give *micros* of a spending back to the wallet, from the account *source*."""
    claims = (
        Claim(grant, drawn - original.returned_micros.get(grant.id, 0), original.drawn_at(grant))
        for grant, drawn in (
            (original.grants[grant_id], drawn) for grant_id, drawn in reversed(original.drawn)
        )
    )
    return hand_back(
        book,
        micros,
        claims,
        source=source,
        type=TransactionType.REVERSAL,
        description=reason,
        reverses=original.transaction.id,
        at=at,
        ids=ids,
    )


def hand_back(
    book: Book,
    micros: int,
    claims: Iterable[Claim],
    *,
    source: str,
    type: TransactionType,
    description: str,
    metadata: Properties | None = None,
    reverses: str | None = None,
    at: Instant,
    ids: Ids,
) -> Decision:
    """Move *micros* from the account *source* to the wallet: to the overdraft first, then to *claims* in
    their order, each as far as it goes. What claims of credit for some metrics come to is theirs alone."""
    claims = tuple(claims)
    scoped = min(micros, sum(max(claim.micros, 0) for claim in claims if claim.grant.metric_keys))
    transaction_id = ids.new("txn")
    postings = [debit(source, micros)]
    opened: list[Grant] = []
    left = micros - scoped

    def open_grant(
        kind: GrantKind,
        priority: int,
        share: int,
        expires_at: Instant | None,
        succeeds: str | None,
        metric_keys: tuple[str, ...] = (),
    ) -> Grant:
        grant = Grant(
            project_id=book.project.id,
            id=ids.new("grt"),
            kind=kind,
            priority=priority,
            amount_micros=share,
            effective_at=at,
            expires_at=expires_at,
            transaction_id=transaction_id,
            succeeds=succeeds,
            metric_keys=metric_keys,
        )
        opened.append(grant)
        return grant

    repaid = min(left, book.overdraft_micros)
    if repaid:
        postings.append(credit(OVERDRAFT, repaid))
        left -= repaid
    for claim in claims:
        grant = claim.grant
        share = min(claim.micros, scoped if grant.metric_keys else left)
        if share <= 0:
            continue
        if grant.metric_keys:
            scoped -= share
        else:
            left -= share
        if grant.expires_at is not None and grant.expires_at <= at:
            ends = at + (grant.expires_at - claim.drawn_at)
            grant = open_grant(grant.kind, grant.priority, share, ends, grant.id, grant.metric_keys)
        postings.append(credit(grant.account, share))
    if left:
        postings.append(
            credit(open_grant(GrantKind.GOODWILL, DEFAULT_PRIORITY, left, None, None).account, left)
        )
    return Decision(
        transaction_id=transaction_id,
        type=type,
        amount_micros=micros,
        description=description,
        postings=balanced(postings),
        grants=tuple(opened),
        metadata=metadata,
        reverses=reverses,
    )
