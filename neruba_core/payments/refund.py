"""Giving a payment back, in part or whole.

A payment is undone from its end: first what exceeded the invoices, then the invoices that it paid last. An
invoice is open again by what goes back; credit is taken from the payment's own grant, then from other credit,
and what has been spent becomes overdraft, even beyond the limit. What is open again is not collected by
itself any more. Nobody may give back more than is left; but what a provider has given back has left, and what
of it exceeds the rest of the payment is a loss (``claims``).

The money is promised first and leaves the till when the provider has paid it out, which for money in hand is
at once.
"""

from __future__ import annotations

from attrs import evolve, frozen

from neruba_core import money, texts
from neruba_core.audit.changes import note_change
from neruba_core.errors import PaymentNotFound, PaymentNotSucceeded, RefundExceedsPayment
from neruba_core.idempotency.fingerprint import Json
from neruba_core.money import Amount
from neruba_core.outbox.model import MessageType
from neruba_core.payments.answer import payment_values
from neruba_core.payments.claims import ending, taking, write_ending, write_taking
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import Payment, PaymentStatus, Refund
from neruba_core.payments.postings import not_refunded, paid_back, refunded
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
    pending, and due to be asked for. Of an archived project, only money in hand is given back.

    Raises ``ProjectArchived``, ``PaymentNotFound``, ``PaymentNotSucceeded``, ``AmountNotPayable`` or
    ``RefundExceedsPayment``.
    """
    if not provider.immediate:
        desk.require_open()
    payment = payment_of(desk, new.payment_id)
    if payment.status is not PaymentStatus.SUCCEEDED:
        raise PaymentNotSucceeded(payment.id, payment.status.value)
    desk.require_payable(new.amount_micros)
    if new.amount_micros > payment.left_micros:
        raise RefundExceedsPayment(payment.id, money.text(payment.left_micros))
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
    """Take back what the payment paid, and owe it to the payer."""
    taken = taking(desk, payment, amount_micros)
    decision = refunded(
        desk.book,
        payment,
        digits=refund_id.removeprefix("rfd_"),
        of_grant=taken.of_grant,
        of_invoices=taken.of_invoices_micros,
        lost=taken.lost,
        reason=reason,
        at=desk.at,
    )
    booked = desk.post(decision, OPERATION, refund_id)
    made = Refund(
        project_id=desk.project.id,
        id=refund_id,
        payment_id=payment.id,
        amount_micros=amount_micros,
        taken_micros=taken.micros,
        reason=reason,
        status=PaymentStatus.PENDING,
        transaction_id=booked.id,
        created_at=desk.at,
        actor=desk.origin.actor,
        request_id=desk.origin.request_id,
        provider_id=provider_id,
        due_at=desk.at,
    )
    desk.work.payments.add_refund(made)
    write_taking(desk, decision, payment, made, taken)
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
    """The money could not go back: what other claims lack of it has gone to them; it settles again what it
    had settled, as far as that is open still, and the rest is a paid grant."""
    payment = payment_of(desk, refund.payment_id)
    ended = ending(desk, payment, refund)
    decision = not_refunded(
        desk.book,
        refund,
        settled=ended.settled_micros,
        granted=ended.granted_micros,
        recovered=ended.recovered_micros,
        failure=failure,
        at=desk.at,
    )
    desk.post(decision, "refund_failed", refund.id)
    write_ending(desk, decision, payment, ended)
    failed = evolve(refund, status=PaymentStatus.FAILED, settled_at=desk.at, failure=failure, due_at=None)
    desk.work.payments.put_refund(failed)
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
