"""Payments, refunds and corrections as their readers see them: plain JSON values by their wire names."""

from __future__ import annotations

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import Json
from neruba_core.instants import Instant
from neruba_core.payments.model import Payment, PaymentMethod, Refund


def payment_values(payment: Payment) -> dict[str, Json]:
    """A payment, as ``GET …/payments/{id}`` shows it."""
    return {
        "id": payment.id,
        "projectId": payment.project_id,
        "provider": payment.provider,
        "amount": money.text(payment.amount_micros),
        "status": payment.status.value,
        "invoiceId": payment.invoice_id,
        "reference": payment.reference,
        "providerId": payment.provider_id,
        "failure": payment.failure,
        "transactionId": payment.transaction_id,
        "grantId": payment.grant_id,
        "refunded": money.text(payment.refunded_micros),
        "disputed": money.text(payment.disputed_micros),
        "fee": money.text(payment.fee_micros),
        "createdAt": instants.text(payment.created_at),
        "settledAt": _moment(payment.settled_at),
    }


def method_values(method: PaymentMethod) -> dict[str, Json]:
    """How a project pays, as ``GET …/payment-method`` shows it."""
    return {
        "projectId": method.project_id,
        "provider": method.provider,
        "customer": method.customer,
        "method": method.method,
        "collectsInvoices": method.collects,
        "changedAt": instants.text(method.changed_at),
    }


def refund_values(refund: Refund) -> dict[str, Json]:
    """A refund, as the route that makes it answers."""
    return {
        "id": refund.id,
        "projectId": refund.project_id,
        "paymentId": refund.payment_id,
        "amount": money.text(refund.amount_micros),
        "reason": refund.reason,
        "status": refund.status.value,
        "providerId": refund.provider_id,
        "failure": refund.failure,
        "transactionId": refund.transaction_id,
        "createdAt": instants.text(refund.created_at),
        "settledAt": _moment(refund.settled_at),
    }


def _moment(moment: Instant | None) -> str | None:
    return None if moment is None else instants.text(moment)
