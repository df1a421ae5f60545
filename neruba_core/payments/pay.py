"""Taking payments: written down first, booked once when the money has come.

Where the money is here already, both happen in one unit of work. Elsewhere the payment is committed as
pending before anybody is asked for it (``settling``).

A payment for an invoice settles that one first and then the oldest that are open; what exceeds them, and any
payment without an invoice, becomes a paid grant. Money that has come is booked whatever has become of the
invoice or the project meanwhile.
"""

from __future__ import annotations

from attrs import evolve, frozen

from neruba_core import money, texts
from neruba_core.audit.changes import note_change
from neruba_core.errors import InvoiceSettled, PaymentMethodMissing
from neruba_core.idempotency.fingerprint import Json
from neruba_core.invoices.model import Invoice
from neruba_core.money import Amount
from neruba_core.outbox.model import MessageType
from neruba_core.payments.answer import payment_values
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import MANUAL, AllocationKind, Payment, PaymentStatus
from neruba_core.payments.postings import allocate, received
from neruba_core.payments.provider import PaymentProvider

OPERATION = "payment"


@frozen
class NewPayment:
    """A payment as it was asked for; ``None`` means that the field was left out."""

    provider: str
    amount_micros: int
    invoice_id: str | None = None
    reference: str | None = None

    @classmethod
    def of(
        cls,
        *,
        amount: Amount,
        provider: str = MANUAL,
        invoice_id: str | None = None,
        reference: str | None = None,
    ) -> NewPayment:
        """Check an embedder's values; raises ``Invalid`` refusals."""
        return cls(
            provider=texts.clean(provider, most_bytes=64),
            amount_micros=money.parse_positive(amount),
            invoice_id=invoice_id,
            reference=None if reference is None else texts.clean(reference),
        )

    def body(self) -> dict[str, Json]:
        """What makes two requests the same."""
        return {
            "provider": self.provider,
            "amount": money.text(self.amount_micros),
            "invoiceId": self.invoice_id,
            "reference": self.reference,
        }


def record(desk: Desk, new: NewPayment, provider: PaymentProvider) -> Payment:
    """Write the payment down, and book it at once where the money is here already; otherwise it is pending,
    and due to be asked for.

    Raises ``ProjectArchived``, ``AmountNotPayable``, ``InvoiceNotFound``, ``InvoiceNotIssued``,
    ``InvoiceSettled`` or ``PaymentMethodMissing``.
    """
    # Who was let go may pay what is owed still, but is asked for nothing.
    if not provider.immediate or new.invoice_id is None:
        desk.require_open()
    desk.require_payable(new.amount_micros)
    if new.invoice_id is not None and desk.issued(new.invoice_id).open_micros <= 0:
        raise InvoiceSettled(new.invoice_id)
    method = None if provider.immediate else desk.work.payments.method(desk.project.id)
    if not provider.immediate and (method is None or method.provider != provider.name):
        raise PaymentMethodMissing(desk.project.id)
    payment = Payment(
        project_id=desk.project.id,
        id=desk.ids.new("pay"),
        provider=new.provider,
        amount_micros=new.amount_micros,
        status=PaymentStatus.PENDING,
        invoice_id=new.invoice_id,
        reference=new.reference,
        created_at=desk.at,
        actor=desk.origin.actor,
        request_id=desk.origin.request_id,
        customer=None if method is None else method.customer,
        method=None if method is None else method.method,
        due_at=None if provider.immediate else desk.at,
    )
    desk.work.payments.add_payment(payment)
    return succeed(desk, payment) if provider.immediate else payment


def succeed(desk: Desk, payment: Payment) -> Payment:
    """Book the money of *payment*, which is not booked yet, and write what has become of it."""
    work, project_id = desk.work, desk.project.id
    open_invoices = work.invoices.left_to_pay(project_id)
    shares = allocate(open_invoices, payment.invoice_id, payment.amount_micros)
    decision = received(desk.book, payment, shares, at=desk.at)
    booked = desk.post(decision, OPERATION, payment.id)
    changes = [(share.invoice, share.micros) for share in shares]
    desk.settle(decision, AllocationKind.PAYMENT, payment.id, changes, payment.id)
    done = evolve(
        payment,
        status=PaymentStatus.SUCCEEDED,
        failure=None,
        settled_at=desk.at,
        due_at=None,
        transaction_id=booked.id,
        granted_micros=payment.amount_micros - sum(share.micros for share in shares),
    )
    work.payments.put_payment(done)
    _note(desk, done, [share.invoice for share in shares])
    desk.tell(MessageType.PAYMENT_SUCCEEDED, payment_values(done))
    if done.granted_micros:
        desk.tell(MessageType.WALLET_TOPPED_UP, booked.body)
    return done


def _note(desk: Desk, payment: Payment, invoices: list[Invoice]) -> None:
    details: dict[str, Json] = {
        "provider": payment.provider,
        "amount": money.text(payment.amount_micros),
        "granted": money.text(payment.granted_micros),
        "invoiceIds": [invoice.id for invoice in invoices],
    }
    note_change(
        desk.work,
        desk.project.id,
        "payment.succeeded",
        payment.id,
        details,
        at=desk.at,
        ids=desk.ids,
        origin=desk.origin,
    )
