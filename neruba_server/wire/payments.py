"""Payments, refunds, receivables, credit notes and write-offs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from neruba_core.payments.model import Allocation as CoreAllocation
from neruba_core.payments.model import (
    AllocationKind,
    CorrectionKind,
    DisputeStatus,
    EventState,
    PaymentStatus,
)
from neruba_core.payments.model import Correction as CoreCorrection
from neruba_core.payments.model import Dispute as CoreDispute
from neruba_core.payments.model import Payment as CorePayment
from neruba_core.payments.model import PaymentMethod as CoreMethod
from neruba_core.payments.model import ProviderEvent as CoreEvent
from neruba_core.payments.model import Refund as CoreRefund
from neruba_core.payments.receivables import Bucket as CoreBucket
from neruba_core.payments.receivables import OpenInvoice as CoreOpenInvoice
from neruba_core.payments.receivables import Receivables as CoreReceivables
from neruba_server.wire.kinds import Amount, Key255, Moment, Money, Name


@frozen
class NewPayment:
    """Money received, or to be asked of another provider than ``manual``: for the invoice, then for the
    oldest others that are open; the rest, and all of it without an invoice, becomes paid credit."""

    provider: Key255
    amount: Amount
    invoice_id: Key255 | None = None
    reference: Name | None = None


@frozen
class Payment:
    """A payment; ``grantId`` is the credit that it opened, ``refunded`` what of it was promised back,
    ``disputed`` what of it the payer's bank has taken, ``fee`` what the provider kept."""

    id: str
    project_id: str
    provider: str
    amount: Money
    status: PaymentStatus
    invoice_id: str | None
    reference: str | None
    provider_id: str | None
    failure: str | None
    transaction_id: str | None
    grant_id: str | None
    refunded: Money
    disputed: Money
    fee: Money
    created_at: Moment
    settled_at: Moment | None

    @classmethod
    def of(cls, payment: CorePayment) -> Payment:
        """The payment as people see it."""
        return cls(**_told(payment))


@frozen
class Payments:
    """Payments, newest first."""

    items: tuple[Payment, ...]
    next_cursor: str | None


@frozen
class Allocation:
    """What the payment settled of an invoice, or below zero what a refund or a dispute opened again;
    ``subjectId`` is which of them it was."""

    invoice_id: str
    transaction_id: str
    subject_id: str
    kind: AllocationKind
    amount: Money

    @classmethod
    def of(cls, allocation: CoreAllocation) -> Allocation:
        """The allocation as people see it."""
        return cls(
            allocation.invoice_id,
            allocation.transaction_id,
            allocation.subject_id,
            allocation.kind,
            allocation.micros,
        )


@frozen
class Received:
    """It is kept."""

    received: bool


@frozen
class ProviderEvent:
    """What a payment provider has sent, without its body, and what became of it."""

    id: str
    provider: str
    event_id: str
    type: str
    subject_id: str | None
    state: EventState
    tries: int
    failure: str | None
    project_id: str | None
    payment_id: str | None
    received_at: Moment
    due_at: Moment | None
    ended_at: Moment | None

    @classmethod
    def of(cls, event: CoreEvent) -> ProviderEvent:
        """The event as operators see it."""
        return cls(
            id=event.id,
            provider=event.provider,
            event_id=event.event_id,
            type=event.type,
            subject_id=event.subject_id,
            state=event.state,
            tries=event.tries,
            failure=event.failure,
            project_id=event.project_id,
            payment_id=event.payment_id,
            received_at=event.received_at,
            due_at=event.due_at,
            ended_at=event.ended_at,
        )


@frozen
class ProviderEvents:
    """What payment providers have sent, newest first."""

    items: tuple[ProviderEvent, ...]
    next_cursor: str | None


@frozen
class NewPaymentMethod:
    """The project's customer at a provider; without a ``method`` the customer's usual one pays. Finalized
    invoices are paid with it unless ``collectsInvoices`` is false."""

    provider: Key255
    customer: Key255
    method: Key255 | None = None
    collects_invoices: bool | None = None


@frozen
class PaymentMethod:
    """How a project pays."""

    project_id: str
    provider: str
    customer: str
    method: str | None
    collects_invoices: bool
    changed_at: Moment

    @classmethod
    def of(cls, method: CoreMethod) -> PaymentMethod:
        """The method as people see it."""
        return cls(
            project_id=method.project_id,
            provider=method.provider,
            customer=method.customer,
            method=method.method,
            collects_invoices=method.collects,
            changed_at=method.changed_at,
        )


@frozen
class NewRefund:
    """How much goes back, and why."""

    amount: Amount
    reason: Name


@frozen
class Refund:
    """Money that goes back to the payer; until the provider has paid it out it is pending."""

    id: str
    project_id: str
    payment_id: str
    amount: Money
    reason: str
    status: PaymentStatus
    provider_id: str | None
    failure: str | None
    transaction_id: str
    created_at: Moment
    settled_at: Moment | None

    @classmethod
    def of(cls, refund: CoreRefund) -> Refund:
        """The refund as people see it."""
        return cls(
            id=refund.id,
            project_id=refund.project_id,
            payment_id=refund.payment_id,
            amount=refund.amount_micros,
            reason=refund.reason,
            status=refund.status,
            provider_id=refund.provider_id,
            failure=refund.failure,
            transaction_id=refund.transaction_id,
            created_at=refund.created_at,
            settled_at=refund.settled_at,
        )


@frozen
class Dispute:
    """Money that the payer's bank took back, and gives back if it is won; ``fee`` is what it cost, of which
    ``feeBack`` was given back. ``providerId`` is what the provider calls it."""

    id: str
    amount: Money
    reason: str
    status: DisputeStatus
    provider_id: str
    fee: Money
    fee_back: Money
    transaction_id: str
    created_at: Moment
    closed_at: Moment | None

    @classmethod
    def of(cls, dispute: CoreDispute) -> Dispute:
        """The dispute as people see it."""
        return cls(
            id=dispute.id,
            amount=dispute.amount_micros,
            reason=dispute.reason,
            status=dispute.status,
            provider_id=dispute.provider_id,
            fee=dispute.fee_micros,
            fee_back=dispute.fee_back_micros,
            transaction_id=dispute.transaction_id,
            created_at=dispute.created_at,
            closed_at=dispute.closed_at,
        )


@frozen
class PaymentInFull(Payment):
    """A payment, what it settled, and what of it went back or is disputed, each oldest first."""

    allocations: tuple[Allocation, ...]
    refunds: tuple[Refund, ...]
    disputes: tuple[Dispute, ...]

    @classmethod
    def of_all(
        cls,
        payment: CorePayment,
        allocations: Sequence[CoreAllocation],
        refunds: Sequence[CoreRefund],
        disputes: Sequence[CoreDispute],
    ) -> PaymentInFull:
        """The payment as people see it."""
        return cls(
            **_told(payment),
            allocations=tuple(Allocation.of(each) for each in allocations),
            refunds=tuple(Refund.of(each) for each in refunds),
            disputes=tuple(Dispute.of(each) for each in disputes),
        )


def _told(payment: CorePayment) -> dict[str, Any]:
    return {
        "id": payment.id,
        "project_id": payment.project_id,
        "provider": payment.provider,
        "amount": payment.amount_micros,
        "status": payment.status,
        "invoice_id": payment.invoice_id,
        "reference": payment.reference,
        "provider_id": payment.provider_id,
        "failure": payment.failure,
        "transaction_id": payment.transaction_id,
        "grant_id": payment.grant_id,
        "refunded": payment.refunded_micros,
        "disputed": payment.disputed_micros,
        "fee": payment.fee_micros,
        "created_at": payment.created_at,
        "settled_at": payment.settled_at,
    }


# --- receivables ------------------------------------------------------------------------------


@frozen
class Bucket:
    """What has been open for ``firstDay`` to ``lastDay`` days (``null``: or longer)."""

    first_day: int
    last_day: int | None
    invoices: int
    open: Money

    @classmethod
    def of(cls, bucket: CoreBucket) -> Bucket:
        """The bucket as people see it."""
        return cls(bucket.first_day, bucket.last_day, bucket.invoices, bucket.open_micros)


@frozen
class OpenInvoice:
    """An invoice with something left to pay, ``days`` after it was finalized."""

    invoice_id: str
    number: int | None
    period: str
    finalized_at: Moment | None
    days: int
    amount_due: Money
    open: Money

    @classmethod
    def of(cls, each: CoreOpenInvoice) -> OpenInvoice:
        """The invoice as people see it."""
        invoice = each.invoice
        return cls(
            invoice_id=invoice.id,
            number=invoice.number,
            period=invoice.period,
            finalized_at=invoice.finalized_at,
            days=each.days,
            amount_due=invoice.amount_due_micros,
            open=each.open_micros,
        )


@frozen
class Receivables:
    """All that is open, oldest invoice first, and the same by age."""

    project_id: str
    currency: str
    as_of: Moment
    open: Money
    buckets: tuple[Bucket, ...]
    invoices: tuple[OpenInvoice, ...]

    @classmethod
    def of(cls, found: CoreReceivables) -> Receivables:
        """The receivables as people see them."""
        return cls(
            project_id=found.project_id,
            currency=found.currency,
            as_of=found.as_of,
            open=found.open_micros,
            buckets=tuple(Bucket.of(each) for each in found.buckets),
            invoices=tuple(OpenInvoice.of(each) for each in found.invoices),
        )


# --- credit notes and write-offs --------------------------------------------------------------


@frozen
class NewCreditNote:
    """How much of an invoice, tax included, is not owed, and why."""

    amount: Amount
    reason: Name


@frozen
class NewWriteOff:
    """Why an invoice is given up; without an amount, all that is open of it."""

    reason: Name
    amount: Amount | None = None


@frozen
class Correction:
    """A credit note or write-off: ``settled`` was taken off what was open; ``granted`` had been paid already
    and became credit."""

    id: str
    project_id: str
    kind: CorrectionKind
    number: int
    invoice_id: str
    amount: Money
    tax: Money
    settled: Money
    granted: Money
    grant_id: str | None
    reason: str
    transaction_id: str
    created_at: Moment

    @classmethod
    def of(cls, correction: CoreCorrection) -> Correction:
        """The correction as people see it."""
        return cls(
            id=correction.id,
            project_id=correction.project_id,
            kind=correction.kind,
            number=correction.number,
            invoice_id=correction.invoice_id,
            amount=correction.amount_micros,
            tax=correction.tax_micros,
            settled=correction.settled_micros,
            granted=correction.granted_micros,
            grant_id=correction.grant_id,
            reason=correction.reason,
            transaction_id=correction.transaction_id,
            created_at=correction.created_at,
        )
