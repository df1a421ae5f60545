"""What an invoice comes to for its payer, and the postings of its finalization.

Lines stay in micro-units. What the wallet has not paid before (``amount − already drawn``) is paid from
its unexpired credit first: lines of metrics from credit for these, but no tax, then the rest from credit for
anything. What was charged into the overdraft is billed; the rest is due, rounded half-even to the currency's
minor unit. Where that figure is below zero, it becomes credit instead. Everything is one
transaction, whose debits equal its credits however the lines' signs mix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from attrs import frozen

from neruba_core.currencies import currency_of
from neruba_core.instants import Instant
from neruba_core.invoices.model import Line, LineKind
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.money import PLACES
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.credit import DEFAULT_PRIORITY
from neruba_core.wallets.model import Grant, GrantKind, scoped_micros
from neruba_core.wallets.spending import Take, takes


@frozen
class Due:
    """How the net amount of an invoice is settled.

    ``amount_due = net − credit_applied + overdraft_billed + credit_granted + rounding``, a whole number of
    minor units. For a credit note it is zero or less: what it takes off the original.
    """

    credit_applied_micros: int = 0
    overdraft_billed_micros: int = 0
    credit_granted_micros: int = 0
    rounding_micros: int = 0
    amount_due_micros: int = 0


def net_of(lines: Iterable[Line]) -> int:
    """What the wallet has not paid of *lines* before."""
    return sum(line.amount_micros - line.already_drawn_micros for line in lines)


def credit_for(book: Book, lines: Sequence[Line], at: Instant) -> tuple[Take, ...]:
    """What of the wallet's credit pays for *lines*, in the order in which it is taken; together at most what
    they come to net."""
    net = max(net_of(lines), 0)
    untaxed = max(net_of(line for line in lines if line.kind is not LineKind.TAX), 0)
    scoped = tuple(_scoped_takes(book, lines, min(net, untaxed), at))
    rest = min(net - sum(micros for _, micros in scoped), spendable_micros(book, at))
    return scoped + tuple(takes(book.in_spending_order(), rest, at=at))


def _scoped_takes(book: Book, lines: Iterable[Line], most: int, at: Instant) -> Iterator[Take]:
    """What credit for some metrics pays of their lines: of each metric at most what they come to net."""
    uncovered: dict[str, int] = {}
    for line in lines:
        if line.metric_key is not None:
            micros = line.amount_micros - line.already_drawn_micros
            uncovered[line.metric_key] = uncovered.get(line.metric_key, 0) + micros
    for lot in book.in_spending_order():
        taken, left = 0, 0 if lot.expired(at) else min(lot.free_micros, most)
        for key in lot.grant.metric_keys:
            share = min(max(uncovered.get(key, 0), 0), left)
            if share:
                uncovered[key] -= share
                taken, left, most = taken + share, left - share, most - share
        if taken:
            yield lot, taken


def due(net_micros: int, *, credit_micros: int, overdraft_micros: int, currency: str) -> Due:
    """Settle an invoice that *credit_micros* of credit pay for, with *overdraft_micros* to bill."""
    applied = min(max(net_micros, 0), credit_micros)
    exact = net_micros - applied + overdraft_micros
    if exact < 0:
        return Due(overdraft_billed_micros=overdraft_micros, credit_granted_micros=-exact)
    amount_due = to_minor_unit(exact, currency)
    return Due(applied, overdraft_micros, 0, amount_due - exact, amount_due)


def due_back(net_micros: int, *, open_micros: int, currency: str) -> Due:
    """Settle a credit note for *net_micros* ≤ 0: it takes off what is still open of the original, and what
    has been paid already becomes credit."""
    assert net_micros <= 0, "a credit note gives back"
    owed = -net_micros
    granted = max(owed - open_micros, 0)
    taken_off = min(to_minor_unit(owed, currency), open_micros)
    return Due(
        credit_granted_micros=granted,
        rounding_micros=owed - taken_off - granted,
        amount_due_micros=-taken_off,
    )


def spendable_micros(book: Book, at: Instant) -> int:
    """What finalization may take from the wallet for lines of any kind: the credit that counts, but for what
    pays for some metrics only, less what is held."""
    counted = book.balance_micros(at) + book.overdraft_micros - scoped_micros(book.lots.values(), at)
    return max(counted - book.held_micros, 0)


def finalization(
    book: Book,
    lines: Sequence[Line],
    settled: Due,
    *,
    digits: str,
    description: str,
    grants: GrantKind,
    at: Instant,
) -> Decision | None:
    """The transaction of an invoice or credit note, or ``None`` where no money moves.

    *digits* are those of the document's id. Credit that it grants is of the kind *grants*, and repays first
    what the wallet is overdrawn by.
    """
    chart = book.chart
    moves: dict[str, int] = {}

    def move(account: str, micros: int) -> None:
        moves[account] = moves.get(account, 0) + micros

    for lot, micros in credit_for(book, lines, at):
        move(lot.grant.account, micros)
    move(chart.receivable, settled.amount_due_micros)
    move(OVERDRAFT, -settled.overdraft_billed_micros)
    opened = _opened(book, settled.credit_granted_micros, digits, grants, at)
    for grant in opened:
        repaid = min(grant.amount_micros, book.overdraft_micros - settled.overdraft_billed_micros)
        move(grant.account, repaid - grant.amount_micros)
        move(OVERDRAFT, -repaid)
    for line in lines:
        move(line.account, line.already_drawn_micros - line.amount_micros)
    move(chart.rounding, -settled.rounding_micros)
    postings = _postings(moves)
    if not postings:
        return None
    return Decision(
        transaction_id=f"txn_{digits}",
        type=TransactionType.INVOICE,
        amount_micros=sum(posting.debit_micros for posting in postings),
        description=description,
        postings=balanced(postings),
        grants=opened,
    )


def to_minor_unit(micros: int, currency: str) -> int:
    """*micros*, rounded half-even to the currency's minor unit."""
    minor: int = 10 ** (PLACES - currency_of(currency).exponent)
    return round(Fraction(micros, minor)) * minor


def _opened(book: Book, micros: int, digits: str, kind: GrantKind, at: Instant) -> tuple[Grant, ...]:
    if not micros:
        return ()
    return (
        Grant(
            project_id=book.project.id,
            id=f"grt_{digits}",
            kind=kind,
            priority=DEFAULT_PRIORITY,
            amount_micros=micros,
            effective_at=at,
            expires_at=None,
            transaction_id=f"txn_{digits}",
        ),
    )


def _postings(moves: dict[str, int]) -> list[Posting]:
    """Debits first; *moves* are debit positive."""
    debits = [debit(account, micros) for account, micros in moves.items() if micros > 0]
    return debits + [credit(account, -micros) for account, micros in moves.items() if micros < 0]
