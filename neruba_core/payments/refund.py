"""Giving a payment back, in part or whole.

A payment is undone from its end: first what exceeded the invoices, then the invoices that it paid last. An
invoice is open again by what goes back; credit is taken from the payment's own grant, then from other credit,
and what has been spent becomes overdraft, even beyond the limit.
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
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import AllocationKind, Payment, PaymentStatus, Refund
from neruba_core.payments.postings import refunded, returned

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


def refund(desk: Desk, new: NewRefund) -> Refund:
    """Promise the money and pay it out.

    Raises ``ProjectArchived``, ``PaymentNotFound``, ``PaymentNotSucceeded``, ``AmountNotPayable`` or
    ``RefundExceedsPayment``.
    """
    desk.require_open()
    payment = desk.work.payments.payment(desk.project.id, new.payment_id)
    if payment is None:
        raise PaymentNotFound(new.payment_id)
    if payment.status is not PaymentStatus.SUCCEEDED:
        raise PaymentNotSucceeded(payment.id, payment.status.value)
    desk.require_payable(new.amount_micros)
    if new.amount_micros > payment.left_micros:
        raise RefundExceedsPayment(payment.id, money.text(payment.left_micros))
    return _book(desk, payment, new)


def _book(desk: Desk, payment: Payment, new: NewRefund) -> Refund:
    work, project_id = desk.work, desk.project.id
    refund_id = desk.ids.new("rfd")
    of_grant, of_invoices = returned(
        payment,
        work.payments.allocations_of_payment(project_id, payment.id),
        payment.refunded_micros,
        new.amount_micros,
    )
    decision = refunded(
        desk.book,
        payment,
        digits=refund_id.removeprefix("rfd_"),
        of_grant=of_grant,
        of_invoices=sum(micros for _, micros in of_invoices),
        reason=new.reason,
        at=desk.at,
    )
    booked = desk.post(decision, OPERATION, refund_id)
    changes = [(_paid(desk, invoice_id), -micros) for invoice_id, micros in of_invoices]
    desk.settle(decision, AllocationKind.REFUND, changes, payment.id)
    made = Refund(
        project_id=project_id,
        id=refund_id,
        payment_id=payment.id,
        amount_micros=new.amount_micros,
        reason=new.reason,
        status=PaymentStatus.SUCCEEDED,
        transaction_id=booked.id,
        created_at=desk.at,
        actor=desk.origin.actor,
        request_id=desk.origin.request_id,
    )
    work.payments.add_refund(made)
    changed = evolve(payment, refunded_micros=payment.refunded_micros + new.amount_micros)
    work.payments.put_payment(changed)
    details: dict[str, Json] = {"paymentId": payment.id, **new.body()}
    note_change(
        work, project_id, "payment.refunded", refund_id, details, at=desk.at, ids=desk.ids, origin=desk.origin
    )
    desk.tell(MessageType.PAYMENT_REFUNDED, payment_values(changed))
    return made


def _paid(desk: Desk, invoice_id: str) -> Invoice:
    invoice = desk.work.invoices.invoice(desk.project.id, invoice_id)
    assert invoice is not None, "what was paid is there"
    return invoice
