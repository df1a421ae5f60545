"""Giving a payment back, in part or whole.

A payment is undone from its end: first what exceeded the invoices, then the invoices that it paid last. An
invoice is open again by what goes back; credit is taken from the payment's own grant, then from other credit,
and what has been spent becomes overdraft, even beyond the limit. What is open again is not collected by
itself any more.

The money is promised first and leaves the till when the provider has paid it out, which for money in hand is
at once.
"""

from __future__ import annotations

from attrs import evolve, frozen

from neruba_core import money, texts
from neruba_core.audit.changes import note_change
from neruba_core.errors import PaymentNotFound, PaymentNotSucceeded, RefundExceedsPayment
from neruba_core.idempotency.fingerprint import Json
from neruba_core.invoices.model import Invoice
from neruba_core.money import Amount
from neruba_core.outbox.model import MessageType
from neruba_core.payments.answer import payment_values
from neruba_core.payments.collect import stop
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import AllocationKind, Payment, PaymentStatus, Refund
from neruba_core.payments.postings import Share, not_refunded, paid_back, refunded, returned
from neruba_core.payments.provider import PaymentProvider

OPERATION = "refund"


@frozen
class NewRefund:
    """A refund as it was asked for."""

    payment_id: str
    amount_micros: int
    reason: str

    @classmethod
    def of(cls, *, payment_id: str, amount: Amount, reason: str) -> NewRefund:
        """Check an embedder's values; raises ``Invalid`` refusals."""
        return cls(payment_id, money.parse_positive(amount), texts.clean(reason))

    def body(self) -> dict[str, Json]:
        """What makes two requests the same."""
        return {"amount": money.text(self.amount_micros), "reason": self.reason}


def refund(desk: Desk, new: NewRefund, provider: PaymentProvider) -> Refund:
    """Promise the money, and pay it out at once where nobody has to be asked; otherwise the refund is
    pending, and due to be asked for.

    Raises ``ProjectArchived``, ``PaymentNotFound``, ``PaymentNotSucceeded``, ``AmountNotPayable`` or
    ``RefundExceedsPayment``.
    """
    desk.require_open()
    payment = payment_of(desk, new.payment_id)
    if payment.status is not PaymentStatus.SUCCEEDED:
        raise PaymentNotSucceeded(payment.id, payment.status.value)
    desk.require_payable(new.amount_micros)
    promised = promise(desk, payment, desk.ids.new("rfd"), new.amount_micros, new.reason)
    return paid_out(desk, promised) if provider.immediate else promised


def promise(
    desk: Desk,
    payment: Payment,
    refund_id: str,
    amount_micros: int,
    reason: str,
    provider_id: str | None = None,
) -> Refund:
    """Take back what the payment paid, and owe it to the payer. Raises ``RefundExceedsPayment``."""
    work, project_id = desk.work, desk.project.id
    if amount_micros > payment.left_micros:
        raise RefundExceedsPayment(payment.id, money.text(payment.left_micros))
    of_grant, of_invoices = returned(
        payment,
        work.payments.allocations_of_payment(project_id, payment.id),
        payment.gone_micros,
        amount_micros,
    )
    decision = refunded(
        desk.book,
        payment,
        digits=refund_id.removeprefix("rfd_"),
        of_grant=of_grant,
        of_invoices=sum(micros for _, micros in of_invoices),
        reason=reason,
        at=desk.at,
    )
    booked = desk.post(decision, OPERATION, refund_id)
    changes = [(_paid(desk, invoice_id), -micros) for invoice_id, micros in of_invoices]
    desk.settle(decision, AllocationKind.REFUND, changes, payment.id)
    for invoice_id, _ in of_invoices:
        stop(desk, invoice_id)
    made = Refund(
        project_id=project_id,
        id=refund_id,
        payment_id=payment.id,
        amount_micros=amount_micros,
        reason=reason,
        status=PaymentStatus.PENDING,
        transaction_id=booked.id,
        created_at=desk.at,
        actor=desk.origin.actor,
        request_id=desk.origin.request_id,
        provider_id=provider_id,
        due_at=desk.at,
    )
    work.payments.add_refund(made)
    work.payments.put_payment(evolve(payment, refunded_micros=payment.refunded_micros + amount_micros))
    return made


def paid_out(desk: Desk, refund: Refund) -> Refund:
    """The promised money has left the till."""
    payment = payment_of(desk, refund.payment_id)
    desk.post(paid_back(desk.book, payment, refund), "refund_paid", refund.id)
    done = evolve(refund, status=PaymentStatus.SUCCEEDED, settled_at=desk.at, failure=None, due_at=None)
    desk.work.payments.put_refund(done)
    _note(desk, "payment.refunded", done)
    desk.tell(MessageType.PAYMENT_REFUNDED, payment_values(payment))
    return done


def kept(desk: Desk, refund: Refund, failure: str) -> Refund:
    """The money could not go back: it settles again what it had settled, as far as that is open still, and
    the rest is a paid grant."""
    work, project_id = desk.work, desk.project.id
    payment = payment_of(desk, refund.payment_id)
    opened = {
        each.invoice_id: -each.micros
        for each in work.payments.allocations_of_payment(project_id, payment.id)
        if each.transaction_id == refund.transaction_id
    }
    shares = []
    for invoice_id, micros in sorted(opened.items()):
        invoice = _paid(desk, invoice_id)
        share = min(invoice.open_micros, micros)
        if share:
            shares.append(Share(invoice, share))
    decision = not_refunded(desk.book, refund, shares, failure, at=desk.at)
    desk.post(decision, "refund_failed", refund.id)
    desk.settle(
        decision, AllocationKind.REFUND, [(share.invoice, share.micros) for share in shares], payment.id
    )
    failed = evolve(refund, status=PaymentStatus.FAILED, settled_at=desk.at, failure=failure, due_at=None)
    work.payments.put_refund(failed)
    work.payments.put_payment(evolve(payment, refunded_micros=payment.refunded_micros - refund.amount_micros))
    _note(desk, "refund.failed", failed)
    return failed


def payment_of(desk: Desk, payment_id: str) -> Payment:
    """The payment. Raises ``PaymentNotFound``."""
    found = desk.work.payments.payment(desk.project.id, payment_id)
    if found is None:
        raise PaymentNotFound(payment_id)
    return found


def _note(desk: Desk, action: str, refund: Refund) -> None:
    details: dict[str, Json] = {
        "paymentId": refund.payment_id,
        "amount": money.text(refund.amount_micros),
        "reason": refund.reason,
    }
    if refund.failure is not None:
        details["failure"] = refund.failure
    note_change(
        desk.work,
        desk.project.id,
        action,
        refund.id,
        details,
        at=desk.at,
        ids=desk.ids,
        origin=desk.origin,
    )


def _paid(desk: Desk, invoice_id: str) -> Invoice:
    invoice = desk.work.invoices.invoice(desk.project.id, invoice_id)
    assert invoice is not None, "what was paid is there"
    return invoice
