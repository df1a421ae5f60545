"""An invoice as its readers see it: plain JSON text by its wire names, for whoever is told of it."""

from __future__ import annotations

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import Json, canonical
from neruba_core.instants import Instant, Period
from neruba_core.invoices.model import Invoice, Line
from neruba_core.pricing.exact import rate_text


def render(invoice: Invoice) -> str:
    """The JSON text of an invoice, as ``GET …/invoices/{id}`` shows it."""
    return canonical(_values(invoice))


def _values(invoice: Invoice) -> dict[str, Json]:
    version = invoice.ledger_version
    return {
        "id": invoice.id,
        "number": invoice.number,
        "kind": invoice.kind.value,
        "projectId": invoice.project_id,
        "projectName": invoice.project_name,
        "period": invoice.period,
        "servicePeriod": _period(invoice.span),
        "state": invoice.state.value,
        "currency": invoice.currency,
        "lines": [_line(line) for line in invoice.lines],
        "taxRate": rate_text(invoice.tax_rate),
        "subtotal": money.text(invoice.subtotal_micros),
        "tax": money.text(invoice.tax_micros),
        "total": money.text(invoice.total_micros),
        "alreadyDrawn": money.text(invoice.already_drawn_micros),
        "creditApplied": money.text(invoice.credit_applied_micros),
        "overdraftBilled": money.text(invoice.overdraft_billed_micros),
        "creditGranted": money.text(invoice.credit_granted_micros),
        "rounding": money.text(invoice.rounding_micros),
        "amountDue": money.text(invoice.amount_due_micros),
        "paid": money.text(invoice.paid_micros),
        "blockers": list(invoice.blockers),
        "inputDigest": invoice.input_digest,
        "ledgerHead": None if version is None else {"version": version},
        "transactionId": invoice.transaction_id,
        "createdAt": instants.text(invoice.created_at),
        "finalizedAt": _moment(invoice.finalized_at),
        "voidedAt": _moment(invoice.voided_at),
        "voidReason": invoice.void_reason,
        "pastDueAt": _moment(invoice.past_due_at),
        "disputed": money.text(invoice.disputed_micros),
    }


def _line(line: Line) -> dict[str, Json]:
    quantity = line.quantity_micros
    return {
        "id": line.id,
        "kind": line.kind.value,
        "metricKey": line.metric_key,
        "description": line.description,
        "quantity": None if quantity is None else money.text(quantity),
        "model": line.model,
        "period": line.period,
        "servicePeriod": _period(line.service),
        "amount": money.text(line.amount_micros),
        "alreadyDrawn": money.text(line.already_drawn_micros),
    }


def _period(span: Period) -> dict[str, Json]:
    return {"start": instants.text(span.start), "end": instants.text(span.end)}


def _moment(moment: Instant | None) -> str | None:
    return None if moment is None else instants.text(moment)
