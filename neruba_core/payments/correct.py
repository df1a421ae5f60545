"""Credit notes and write-offs: less of an invoice is to be paid, because it was too much or nobody will.

A credit note takes off what is open first; what has been paid already becomes a goodwill grant. All credit
notes of an invoice together, those of runs for late usage as well, come at most to its total without what was
written off: see ``invoices.credited``. A write-off takes off what is open and nothing else.
"""

from __future__ import annotations

from attrs import frozen

from neruba_core import money, texts
from neruba_core.audit.changes import note_change
from neruba_core.billing.inputs import issued_of
from neruba_core.errors import CreditNoteExceedsInvoice, InvoiceSettled, WriteOffExceedsOpen
from neruba_core.idempotency.fingerprint import Json
from neruba_core.invoices.credited import Credited
from neruba_core.invoices.model import Invoice
from neruba_core.money import Amount
from neruba_core.outbox.model import MessageType
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import AllocationKind, Correction, CorrectionKind
from neruba_core.payments.postings import credited, written_off
from neruba_core.wallets.book import Decision


@frozen
class NewCorrection:
    """A credit note or write-off as it was asked for; a write-off without an amount takes all that is
    open."""

    kind: CorrectionKind
    invoice_id: str
    reason: str
    amount_micros: int | None

    @classmethod
    def credit_note(cls, *, invoice_id: str, amount: Amount, reason: str) -> NewCorrection:
        """Check an embedder's values; raises ``Invalid`` refusals."""
        return cls(CorrectionKind.CREDIT_NOTE, invoice_id, texts.clean(reason), money.parse_positive(amount))

    @classmethod
    def write_off(cls, *, invoice_id: str, reason: str, amount: Amount | None = None) -> NewCorrection:
        """Check an embedder's values; raises ``Invalid`` refusals."""
        micros = None if amount is None else money.parse_positive(amount)
        return cls(CorrectionKind.WRITE_OFF, invoice_id, texts.clean(reason), micros)

    def body(self) -> dict[str, Json]:
        """What makes two requests the same."""
        amount = None if self.amount_micros is None else money.text(self.amount_micros)
        return {"amount": amount, "reason": self.reason}


def correct(desk: Desk, new: NewCorrection) -> Correction:
    """Issue the credit note, or write off, which may be done in an archived project too.

    Raises ``ProjectArchived``, ``InvoiceNotFound``, ``InvoiceNotIssued``, ``AmountNotPayable``,
    ``InvoiceSettled`` (write-off), ``WriteOffExceedsOpen`` or ``CreditNoteExceedsInvoice``.
    """
    is_note = new.kind is CorrectionKind.CREDIT_NOTE
    if is_note:
        desk.require_open()
    invoice = desk.issued(new.invoice_id)
    correction = _credit_note(desk, invoice, new) if is_note else _write_off(desk, invoice, new)
    decision = credited(desk.book, correction, at=desk.at) if is_note else written_off(desk.book, correction)
    _write(desk, invoice, correction, decision)
    return correction


def _credit_note(desk: Desk, invoice: Invoice, new: NewCorrection) -> Correction:
    assert new.amount_micros is not None, "a credit note names its amount"
    desk.require_payable(new.amount_micros)
    work, project_id = desk.work, desk.project.id
    documents = issued_of(work.invoices.of_period([project_id], invoice.period)[project_id])
    corrections = work.payments.corrections(project_id, [each.id for each in documents])
    credited_so_far = Credited.of(documents, corrections)
    own = sum(each.amount_micros for each in corrections if each.invoice_id == invoice.id)
    left = min(credited_so_far.left_micros, max(invoice.total_micros - own, 0))
    if new.amount_micros > left:
        raise CreditNoteExceedsInvoice(invoice.id, money.text(left))
    return _correction(
        desk,
        invoice,
        new,
        new.amount_micros,
        tax_micros=credited_so_far.tax_share(new.amount_micros),
        settled_micros=min(new.amount_micros, invoice.open_micros),
    )


def _write_off(desk: Desk, invoice: Invoice, new: NewCorrection) -> Correction:
    if invoice.open_micros <= 0:
        raise InvoiceSettled(invoice.id)
    micros = invoice.open_micros if new.amount_micros is None else new.amount_micros
    desk.require_payable(micros)
    if micros > invoice.open_micros:
        raise WriteOffExceedsOpen(invoice.id, money.text(invoice.open_micros))
    return _correction(desk, invoice, new, micros, tax_micros=0, settled_micros=micros)


def _correction(
    desk: Desk, invoice: Invoice, new: NewCorrection, micros: int, *, tax_micros: int, settled_micros: int
) -> Correction:
    prefix = "crn" if new.kind is CorrectionKind.CREDIT_NOTE else "wof"
    correction_id = desk.ids.new(prefix)
    return Correction(
        project_id=desk.project.id,
        id=correction_id,
        kind=new.kind,
        number=desk.work.payments.last_correction(desk.project.id, new.kind) + 1,
        invoice_id=invoice.id,
        amount_micros=micros,
        tax_micros=tax_micros,
        settled_micros=settled_micros,
        reason=new.reason,
        transaction_id=f"txn_{correction_id.removeprefix(f'{prefix}_')}",
        created_at=desk.at,
        actor=desk.origin.actor,
        request_id=desk.origin.request_id,
    )


def _write(desk: Desk, invoice: Invoice, correction: Correction, decision: Decision) -> None:
    booked = desk.post(decision, correction.kind.value, correction.id)
    if booked.grant_id is not None:
        desk.tell(MessageType.CREDIT_GRANTED, booked.body)
    if correction.settled_micros:
        kind = AllocationKind(correction.kind.value)
        desk.settle(decision, kind, correction.id, [(invoice, correction.settled_micros)])
    desk.work.payments.add_correction(correction)
    details: dict[str, Json] = {
        "number": correction.number,
        "amount": money.text(correction.amount_micros),
        "reason": correction.reason,
    }
    action = f"invoice.{'credited' if correction.kind is CorrectionKind.CREDIT_NOTE else 'written_off'}"
    note_change(
        desk.work,
        desk.project.id,
        action,
        invoice.id,
        details,
        at=desk.at,
        ids=desk.ids,
        origin=desk.origin,
    )
