"""Granting credit, and taking it back.

A credit opens a grant. If the wallet is overdrawn, the new grant first repays the overdraft, in the
same transaction, unless it pays for some metrics only. Reversing a credit claws it back: from the grant's own
remainder, expired or not, and what was posted as expired of it, then from other grants in spending order,
but for those that pay for some metrics only, and what is still missing becomes overdraft, here even beyond
the limit, for the credit was never due. What is held stays where it is: its capture may not fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from attrs import frozen

from neruba_core import instants, money, texts
from neruba_core.errors import ExpiryPassed, FormatInvalid
from neruba_core.ids import Ids
from neruba_core.instants import Instant, utc
from neruba_core.ledger.chart import OVERDRAFT, Chart
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.money import Amount
from neruba_core.wallets.book import Book, Decision, Original
from neruba_core.wallets.model import Grant, GrantKind, expires_to

DEFAULT_KIND = GrantKind.PROMOTIONAL
DEFAULT_PRIORITY = 50
MAX_PRIORITY = 1000
MAX_METRIC_KEYS = 20


@frozen
class NewCredit:
    """Credit as it was asked for; ``None`` means that the field was left out."""

    amount_micros: int
    description: str
    idempotency_key: str
    kind: GrantKind | None = None
    priority: int | None = None
    expires_at: Instant | None = None
    metric_keys: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        *,
        amount: Amount,
        description: str,
        idempotency_key: str,
        kind: GrantKind | str | None = None,
        priority: int | None = None,
        expires_at: Instant | None = None,
        metric_keys: Iterable[str] | None = None,
    ) -> NewCredit:
        """Check an embedder's values; raises ``Invalid`` refusals and ``KeyInvalid``."""
        return cls(
            amount_micros=money.parse_positive(amount),
            description=texts.clean(description),
            idempotency_key=texts.idempotency_key(idempotency_key),
            kind=None if kind is None else _kind(kind),
            priority=None if priority is None else _priority(priority),
            expires_at=None if expires_at is None else utc(expires_at),
            metric_keys=None if metric_keys is None else spendable_on(metric_keys),
        )


def decide_credit(book: Book, new: NewCredit, *, at: Instant, ids: Ids) -> Decision | ExpiryPassed:
    """Open a grant of the credit and repay the overdraft from it first; credit for some metrics repays
    none."""
    if new.expires_at is not None and new.expires_at <= at:
        return ExpiryPassed(instants.text(new.expires_at))
    transaction_id = ids.new("txn")
    grant = Grant(
        project_id=book.project.id,
        id=ids.new("grt"),
        kind=new.kind or DEFAULT_KIND,
        priority=DEFAULT_PRIORITY if new.priority is None else new.priority,
        amount_micros=new.amount_micros,
        effective_at=at,
        expires_at=new.expires_at,
        transaction_id=transaction_id,
        metric_keys=new.metric_keys or (),
    )
    repaid = 0 if grant.metric_keys else min(new.amount_micros, book.overdraft_micros)
    return Decision(
        transaction_id=transaction_id,
        type=TransactionType.CREDIT,
        amount_micros=new.amount_micros,
        description=new.description,
        postings=balanced(
            (
                debit(source_of(book.chart, grant.kind), new.amount_micros),
                credit(grant.account, new.amount_micros),
                debit(grant.account, repaid),
                credit(OVERDRAFT, repaid),
            )
        ),
        grants=(grant,),
    )


def claw_back(book: Book, original: Original, micros: int, reason: str, *, at: Instant, ids: Ids) -> Decision:
    """Take *micros* of a credit back, wherever it has gone meanwhile."""
    grant_id = original.transaction.grant_id
    assert grant_id is not None, "a credit opens a grant"
    postings: list[Posting] = []
    missing = micros
    kind = original.grants[grant_id].kind
    sources = (
        # Even an expired remainder is taken: it is the very credit that was never due.
        _own(book, grant_id),
        # And where that is posted already, from where it went, so that it does not matter whether it is.
        [(expires_to(book.chart, kind), original.expired_micros)],
        _others(book, grant_id, at),
    )
    for account, free in chain.from_iterable(sources):
        share = min(free, missing)
        if share:
            postings.append(debit(account, share))
            missing -= share
    if missing:
        postings.append(debit(OVERDRAFT, missing))
    return Decision(
        transaction_id=ids.new("txn"),
        type=TransactionType.REVERSAL,
        amount_micros=micros,
        description=reason,
        postings=balanced((*postings, credit(source_of(book.chart, kind), micros))),
        reverses=original.transaction.id,
    )


def spendable_on(metric_keys: Iterable[str]) -> tuple[str, ...]:
    """The keys in their order, if there are 1 to 20 of them and none twice. Raises ``FormatInvalid``."""
    # Text is a sequence of letters, each of which could be a key.
    keys = () if isinstance(metric_keys, str) else tuple(texts.metric_key(key) for key in metric_keys)
    if not 1 <= len(set(keys)) == len(keys) <= MAX_METRIC_KEYS:
        raise FormatInvalid(
            f"1 to {MAX_METRIC_KEYS} metric keys, none of them twice", texts.shown(keys, most=80)
        )
    return tuple(sorted(keys))


def source_of(chart: Chart, kind: GrantKind) -> str:
    """The account that a grant's credit comes from."""
    return {
        GrantKind.PROMOTIONAL: chart.promotions,
        GrantKind.GOODWILL: chart.goodwill,
        GrantKind.PAID: chart.cash,
    }[kind]


def _own(book: Book, grant_id: str) -> Iterator[tuple[str, int]]:
    lot = book.lots.get(grant_id)
    if lot is not None:
        yield lot.grant.account, lot.free_micros


def _others(book: Book, grant_id: str, at: Instant) -> Iterator[tuple[str, int]]:
    for lot in book.in_spending_order():
        if lot.grant.id != grant_id and lot.grant.pays_for(None) and not lot.expired(at):
            yield lot.grant.account, lot.free_micros


def _kind(kind: GrantKind | str) -> GrantKind:
    try:
        return GrantKind(kind)
    except ValueError:
        raise FormatInvalid("a kind of credit: promotional, paid or goodwill", str(kind)[:40]) from None


def _priority(priority: int) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= MAX_PRIORITY:
        raise FormatInvalid(f"a priority from 0 to {MAX_PRIORITY}", str(priority)[:40])
    return priority
