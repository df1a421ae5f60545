"""Disputes: the payer's bank takes money back, and may give it back again.

What a payment paid is undone from its end, as by a refund, but the money leaves the till at once and nobody
is owed it: an invoice that it paid is open again and marked as disputed, credit is clawed back. A dispute
that is won settles the invoices again as far as they are open, and the rest is a paid grant. Lost, everything
stays as it is.
"""

from __future__ import annotations

from attrs import evolve

from neruba_core import money
from neruba_core.audit.changes import note_change
from neruba_core.idempotency.fingerprint import Json
from neruba_core.invoices.model import Invoice
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import AllocationKind, Dispute, DisputeStatus, Payment
from neruba_core.payments.postings import Share, charged_back, fee_kept, reinstated, returned
from neruba_core.payments.provider import DisputeTold
from neruba_core.payments.refund import payment_of


def book_dispute(desk: Desk, payment_id: str, told: DisputeTold) -> Dispute:
    """Book what is new about the dispute; told again, or told late, it changes nothing."""
    known = [
        each
        for each in desk.work.payments.disputes(desk.project.id, payment_id)
        if each.provider_id == told.provider_id
    ]
    dispute = known[0] if known else _take(desk, payment_of(desk, payment_id), told)
    if told.fee_micros and not dispute.fee_micros:
        payment = payment_of(desk, payment_id)
        desk.post(fee_kept(desk.book, payment, told.fee_micros, dispute.digits), "provider_fee", dispute.id)
        dispute = evolve(dispute, fee_micros=told.fee_micros)
        desk.work.payments.put_dispute(dispute)
    if told.status is DisputeStatus.OPEN or dispute.status is not DisputeStatus.OPEN:
        return dispute
    if told.status is DisputeStatus.WON:
        _give_back(desk, payment_of(desk, payment_id), dispute)
    closed = evolve(dispute, status=told.status, closed_at=desk.at)
    desk.work.payments.put_dispute(closed)
    _note(desk, f"dispute.{told.status.value}", closed)
    return closed


def _take(desk: Desk, payment: Payment, told: DisputeTold) -> Dispute:
    work, project_id = desk.work, desk.project.id
    taken = min(told.amount_micros, payment.left_micros)
    dispute_id = desk.ids.new("dsp")
    of_grant, of_invoices = returned(
        payment, work.payments.allocations_of_payment(project_id, payment.id), payment.gone_micros, taken
    )
    decision = charged_back(
        desk.book,
        payment,
        digits=dispute_id.removeprefix("dsp_"),
        of_grant=of_grant,
        of_invoices=sum(micros for _, micros in of_invoices),
        lost=told.amount_micros - taken,
        reason=told.reason,
        at=desk.at,
    )
    booked = desk.post(decision, "dispute", dispute_id)
    changes = []
    for invoice_id, micros in of_invoices:
        invoice = _invoice(desk, invoice_id)
        changes.append((evolve(invoice, disputed_micros=invoice.disputed_micros + micros), -micros))
    desk.settle(decision, AllocationKind.DISPUTE, changes, payment.id)
    dispute = Dispute(
        project_id=project_id,
        id=dispute_id,
        payment_id=payment.id,
        provider_id=told.provider_id,
        amount_micros=told.amount_micros,
        taken_micros=taken,
        reason=told.reason,
        status=DisputeStatus.OPEN,
        transaction_id=booked.id,
        created_at=desk.at,
    )
    work.payments.add_dispute(dispute)
    work.payments.put_payment(evolve(payment, disputed_micros=payment.disputed_micros + taken))
    _note(desk, "dispute.opened", dispute)
    return dispute


def _give_back(desk: Desk, payment: Payment, dispute: Dispute) -> None:
    opened = {
        each.invoice_id: -each.micros
        for each in desk.work.payments.allocations_of_payment(desk.project.id, payment.id)
        if each.transaction_id == dispute.transaction_id
    }
    shares, changes = [], []
    for invoice_id, micros in sorted(opened.items()):
        invoice = _invoice(desk, invoice_id)
        cleared = evolve(invoice, disputed_micros=max(invoice.disputed_micros - micros, 0))
        share = min(invoice.open_micros, micros)
        if share:
            shares.append(Share(invoice, share))
            changes.append((cleared, share))
        else:
            desk.work.invoices.set_state(cleared)
    decision = reinstated(desk.book, payment, dispute, shares, at=desk.at)
    desk.post(decision, "dispute_won", dispute.id)
    desk.settle(decision, AllocationKind.DISPUTE, changes, payment.id)
    left = payment.disputed_micros - dispute.taken_micros
    desk.work.payments.put_payment(evolve(payment, disputed_micros=left))


def _invoice(desk: Desk, invoice_id: str) -> Invoice:
    found = desk.work.invoices.invoice(desk.project.id, invoice_id)
    assert found is not None, "what was paid is there"
    return found


def _note(desk: Desk, action: str, dispute: Dispute) -> None:
    details: dict[str, Json] = {
        "paymentId": dispute.payment_id,
        "amount": money.text(dispute.amount_micros),
        "reason": dispute.reason,
    }
    note_change(
        desk.work,
        desk.project.id,
        action,
        dispute.id,
        details,
        at=desk.at,
        ids=desk.ids,
        origin=desk.origin,
    )
