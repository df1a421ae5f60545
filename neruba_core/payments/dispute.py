"""Disputes: the payer's bank takes money back, and may give it back again.

What a payment paid is undone from its end, as by a refund, but the money leaves the till at once and nobody
is owed it: an invoice that it paid is open again and marked as disputed, credit is clawed back. A dispute
that is won settles the invoices again as far as they are open, and the rest is a paid grant; what it had
taken of the same money as a refund stays with the refund (``claims``). Lost, everything stays as it is.

What the dispute cost, and what of that the provider gave back, is booked when it is told of; where either
grows later, as it does once somebody answers the bank, so is what came on top.
"""

from __future__ import annotations

from attrs import evolve

from neruba_core import money
from neruba_core.audit.changes import note_change
from neruba_core.idempotency.fingerprint import Json
from neruba_core.payments.claims import ending, taking, write_ending, write_taking
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import Dispute, DisputeStatus, Payment
from neruba_core.payments.postings import charged_back, fee_given_back, fee_kept, reinstated
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
    dispute = _with_fees(desk, payment_of(desk, payment_id), dispute, told)
    if told.status is DisputeStatus.OPEN or dispute.status is not DisputeStatus.OPEN:
        return dispute
    if told.status is DisputeStatus.WON:
        _give_back(desk, payment_of(desk, payment_id), dispute)
    closed = evolve(dispute, status=told.status, closed_at=desk.at)
    desk.work.payments.put_dispute(closed)
    _note(desk, f"dispute.{told.status.value}", closed)
    return closed


def _take(desk: Desk, payment: Payment, told: DisputeTold) -> Dispute:
    taken = taking(desk, payment, told.amount_micros)
    dispute_id = desk.ids.new("dsp")
    decision = charged_back(
        desk.book,
        payment,
        digits=dispute_id.removeprefix("dsp_"),
        of_grant=taken.of_grant,
        of_invoices=taken.of_invoices_micros,
        lost=taken.lost,
        reason=told.reason,
        at=desk.at,
    )
    booked = desk.post(decision, "dispute", dispute_id)
    dispute = Dispute(
        project_id=desk.project.id,
        id=dispute_id,
        payment_id=payment.id,
        provider_id=told.provider_id,
        amount_micros=told.amount_micros,
        taken_micros=taken.micros,
        reason=told.reason,
        status=DisputeStatus.OPEN,
        transaction_id=booked.id,
        created_at=desk.at,
    )
    desk.work.payments.add_dispute(dispute)
    write_taking(desk, decision, payment, dispute, taken)
    _note(desk, "dispute.opened", dispute)
    return dispute


def _give_back(desk: Desk, payment: Payment, dispute: Dispute) -> None:
    ended = ending(desk, payment, dispute)
    decision = reinstated(
        desk.book,
        payment,
        dispute,
        settled=ended.settled_micros,
        granted=ended.granted_micros,
        recovered=ended.recovered_micros,
        at=desk.at,
    )
    desk.post(decision, "dispute_won", dispute.id)
    write_ending(desk, decision, payment, ended)


def _with_fees(desk: Desk, payment: Payment, dispute: Dispute, told: DisputeTold) -> Dispute:
    if told.fee_micros > dispute.fee_micros:
        known = dispute.fee_micros
        decision = fee_kept(desk.book, payment, told.fee_micros - known, _part(dispute.digits, known))
        desk.post(decision, "provider_fee", _part(dispute.id, known))
        dispute = evolve(dispute, fee_micros=told.fee_micros)
        desk.work.payments.put_dispute(dispute)
    if told.fee_back_micros > dispute.fee_back_micros:
        known = dispute.fee_back_micros
        more = told.fee_back_micros - known
        decision = fee_given_back(desk.book, payment, more, _part(dispute.digits, known))
        desk.post(decision, "provider_fee_back", _part(dispute.id, known))
        dispute = evolve(dispute, fee_back_micros=told.fee_back_micros)
        desk.work.payments.put_dispute(dispute)
    return dispute


def _part(name: str, known: int) -> str:
    """What is booked on top of what is *known* has a name of its own."""
    return f"{name}_{known}" if known else name


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
