"""How payments, refunds, credit notes and write-offs post: pure decisions under the project's locked head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.payments.model import Correction, CorrectionKind, Dispute, Payment, Refund
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.credit import DEFAULT_PRIORITY
from neruba_core.wallets.model import Grant, GrantKind


@frozen
class Share:
    """*micros* > 0 of an invoice."""

    invoice: Invoice
    micros: int


def allocate(open_invoices: Sequence[Invoice], named_id: str | None, micros: int) -> tuple[Share, ...]:
    """What *micros* settle: the named invoice, then the others from the oldest on.

    Without a named invoice it is a top-up and settles none.
    """
    if named_id is None:
        return ()
    shares = []
    for invoice in sorted(open_invoices, key=lambda each: (each.id != named_id, each.number or 0)):
        share = min(invoice.open_micros, micros)
        if share:
            shares.append(Share(invoice, share))
            micros -= share
    return tuple(shares)


def received(book: Book, payment: Payment, shares: Sequence[Share], *, at: Instant) -> Decision:
    """The money has come: it settles *shares*, and what exceeds them is a paid grant."""
    chart = book.chart
    settled = sum(share.micros for share in shares)
    grant, granting = _granting(book, payment.digits, payment.amount_micros - settled, GrantKind.PAID, at)
    return Decision(
        transaction_id=f"txn_{payment.digits}",
        type=TransactionType.PAYMENT,
        amount_micros=payment.amount_micros,
        description=_described(payment),
        postings=balanced(
            (
                debit(chart.cash_of(payment.provider), payment.amount_micros),
                credit(chart.receivable, settled),
                *granting,
            )
        ),
        grants=grant,
    )


def fee_kept(book: Book, payment: Payment, fee_micros: int, digits: str | None = None) -> Decision:
    """The provider kept *fee_micros* of the payment for itself, or for what came of it."""
    return Decision(
        transaction_id=f"txn_fee_{digits or payment.digits}",
        type=TransactionType.PROVIDER_FEE,
        amount_micros=fee_micros,
        description=f"Fee of {payment.provider}",
        postings=balanced(
            (
                debit(book.chart.provider_fees, fee_micros),
                credit(book.chart.cash_of(payment.provider), fee_micros),
            )
        ),
    )


def fee_given_back(book: Book, payment: Payment, fee_micros: int, digits: str) -> Decision:
    """The provider gave back *fee_micros* of what it had kept for what came of the payment."""
    return Decision(
        transaction_id=f"txn_fee_back_{digits}",
        type=TransactionType.PROVIDER_FEE,
        amount_micros=fee_micros,
        description=f"Fee given back by {payment.provider}",
        postings=balanced(
            (
                debit(book.chart.cash_of(payment.provider), fee_micros),
                credit(book.chart.provider_fees, fee_micros),
            )
        ),
    )


def refunded(
    book: Book,
    payment: Payment,
    *,
    digits: str,
    of_grant: int,
    of_invoices: int,
    lost: int,
    reason: str,
    at: Instant,
) -> Decision:
    """Money is to go back: invoices are open again, credit is taken wherever it has gone meanwhile, and what
    had gone back before is *lost*."""
    chart, micros = book.chart, of_grant + of_invoices + lost
    return Decision(
        transaction_id=f"txn_{digits}",
        type=TransactionType.REFUND,
        amount_micros=micros,
        description=reason,
        postings=balanced(
            (
                debit(chart.receivable, of_invoices),
                *_taken(book, payment.grant_id, of_grant, at),
                debit(chart.bad_debt, lost),
                credit(chart.refundable, micros),
            )
        ),
    )


def paid_back(book: Book, payment: Payment, refund: Refund) -> Decision:
    """What was promised has left the till."""
    return Decision(
        transaction_id=f"txn_paid_{refund.digits}",
        type=TransactionType.REFUND_PAID,
        amount_micros=refund.amount_micros,
        description=refund.reason,
        postings=balanced(
            (
                debit(book.chart.refundable, refund.amount_micros),
                credit(book.chart.cash_of(payment.provider), refund.amount_micros),
            )
        ),
    )


def sent_back(book: Book, payment: Payment, refund: Refund) -> Decision:
    """What had left the till has come back, because the payer's bank did not take it."""
    return Decision(
        transaction_id=f"txn_sent_{refund.digits}",
        type=TransactionType.REFUND_FAILED,
        amount_micros=refund.amount_micros,
        description=refund.reason,
        postings=balanced(
            (
                debit(book.chart.cash_of(payment.provider), refund.amount_micros),
                credit(book.chart.refundable, refund.amount_micros),
            )
        ),
    )


def charged_back(
    book: Book,
    payment: Payment,
    *,
    digits: str,
    of_grant: int,
    of_invoices: int,
    lost: int,
    reason: str,
    at: Instant,
) -> Decision:
    """The payer's bank has taken money back: invoices are open again, credit is taken wherever it has gone,
    and what had been refunded before is *lost*."""
    chart, micros = book.chart, of_grant + of_invoices + lost
    return Decision(
        transaction_id=f"txn_{digits}",
        type=TransactionType.DISPUTE,
        amount_micros=micros,
        description=reason,
        postings=balanced(
            (
                debit(chart.receivable, of_invoices),
                *_taken(book, payment.grant_id, of_grant, at),
                debit(chart.bad_debt, lost),
                credit(chart.cash_of(payment.provider), micros),
            )
        ),
    )


def reinstated(
    book: Book,
    payment: Payment,
    dispute: Dispute,
    *,
    settled: int,
    granted: int,
    recovered: int,
    at: Instant,
) -> Decision:
    """The payer's bank has given it back: it settles invoices, *recovered* of it is no loss any more, and the
    rest is a paid grant."""
    digits = f"won_{dispute.digits}"
    grant, granting = _granting(book, digits, granted, GrantKind.PAID, at)
    return Decision(
        transaction_id=f"txn_{digits}",
        type=TransactionType.DISPUTE_WON,
        amount_micros=dispute.amount_micros,
        description=dispute.reason,
        postings=balanced(
            (
                debit(book.chart.cash_of(payment.provider), dispute.amount_micros),
                credit(book.chart.receivable, settled),
                credit(book.chart.bad_debt, recovered),
                *granting,
            )
        ),
        grants=grant,
    )


def not_refunded(
    book: Book,
    refund: Refund,
    *,
    settled: int,
    granted: int,
    recovered: int,
    failure: str,
    at: Instant,
) -> Decision:
    """What was promised stays: it settles invoices, *recovered* of it is no loss any more, and the rest is a
    paid grant."""
    digits = f"back_{refund.digits}"
    grant, granting = _granting(book, digits, granted, GrantKind.PAID, at)
    return Decision(
        transaction_id=f"txn_{digits}",
        type=TransactionType.REFUND_FAILED,
        amount_micros=refund.amount_micros,
        description=failure,
        postings=balanced(
            (
                debit(book.chart.refundable, refund.amount_micros),
                credit(book.chart.receivable, settled),
                credit(book.chart.bad_debt, recovered),
                *granting,
            )
        ),
        grants=grant,
    )


def credited(book: Book, correction: Correction, *, at: Instant) -> Decision:
    """An invoice was too high: what is open of it is taken off, what was paid becomes goodwill."""
    chart, digits = book.chart, correction.id.partition("_")[2]
    grant, granting = _granting(book, digits, correction.granted_micros, GrantKind.GOODWILL, at)
    return Decision(
        transaction_id=correction.transaction_id,
        type=TransactionType.CREDIT_NOTE,
        amount_micros=correction.amount_micros,
        description=correction.reason,
        postings=balanced(
            (
                debit(chart.credit_notes, correction.amount_micros - correction.tax_micros),
                debit(chart.tax, correction.tax_micros),
                credit(chart.receivable, correction.settled_micros),
                *granting,
            )
        ),
        grants=grant,
    )


def written_off(book: Book, correction: Correction) -> Decision:
    """Nobody will pay it."""
    assert correction.kind is CorrectionKind.WRITE_OFF
    return Decision(
        transaction_id=correction.transaction_id,
        type=TransactionType.WRITE_OFF,
        amount_micros=correction.amount_micros,
        description=correction.reason,
        postings=balanced(
            (
                debit(book.chart.bad_debt, correction.amount_micros),
                credit(book.chart.receivable, correction.amount_micros),
            )
        ),
    )


def _granting(
    book: Book, digits: str, micros: int, kind: GrantKind, at: Instant
) -> tuple[tuple[Grant, ...], tuple[Posting, ...]]:
    """A new grant of *micros*, if that is anything, which repays the overdraft first."""
    if not micros:
        return (), ()
    grant = Grant(
        project_id=book.project.id,
        id=f"grt_{digits}",
        kind=kind,
        priority=DEFAULT_PRIORITY,
        amount_micros=micros,
        effective_at=at,
        expires_at=None,
        transaction_id=f"txn_{digits}",
    )
    repaid = min(micros, book.overdraft_micros)
    return (grant,), (
        credit(grant.account, micros),
        debit(grant.account, repaid),
        credit(OVERDRAFT, repaid),
    )


def _taken(book: Book, grant_id: str | None, micros: int, at: Instant) -> Iterator[Posting]:
    """Take *micros* from the grant, then from others that pay for anything, in spending order, then from the
    overdraft, even beyond the limit; never what is held."""
    for lot in sorted(book.in_spending_order(), key=lambda lot: lot.grant.id != grant_id):
        share = min(lot.free_micros, micros)
        if share > 0 and (lot.grant.id == grant_id or (lot.grant.pays_for(None) and not lot.expired(at))):
            yield debit(lot.grant.account, share)
            micros -= share
    yield debit(OVERDRAFT, micros)


def _described(payment: Payment) -> str:
    return payment.reference or ("Payment" if payment.invoice_id else "Top-up")
