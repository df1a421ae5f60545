"""Voiding an invoice: a reversal, never an edit.

The transaction is mirrored: what became receivable is receivable no more. On the wallet's side, what
finalization drew is given back as any spending is, and what it billed or granted is taken again, from credit
first and then into the overdraft, even beyond the limit. The period is open again; its usage counts as not
billed, and its next run makes the next part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from attrs import evolve

from neruba_core import texts
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.billing.run import BillingWork
from neruba_core.errors import InvoiceNotFound, InvoiceNotVoidable, ProjectArchived, ProjectNotFound
from neruba_core.idempotency.fingerprint import fingerprint
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.invoices.answer import render
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, LineKind
from neruba_core.ledger.chart import OVERDRAFT, WALLET, Chart
from neruba_core.ledger.model import Entry, Posting, TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.outbox.emit import Telling
from neruba_core.outbox.model import MessageType
from neruba_core.wallets.book import Book, Decision, Original
from neruba_core.wallets.booking import Booking, Cause, open_books
from neruba_core.wallets.model import Grant, Lot
from neruba_core.wallets.spend import Claim, hand_back
from neruba_core.wallets.spending import spending_order

OPERATION = "invoice_void"
_WALLET_PREFIX = f"{WALLET}:"


class VoidingWork(BillingWork, HasAudit, Protocol):
    """What voiding reads and writes."""


def void(
    work: VoidingWork,
    project_id: str,
    invoice_id: str,
    reason: str,
    *,
    at: Instant,
    ids: Ids,
    chart: Chart,
    origin: Origin,
) -> Invoice:
    """Void the invoice once; again gives it as it is.

    Raises ``TextInvalid``, ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound`` or
    ``InvoiceNotVoidable``.
    """
    clean_reason = texts.clean(reason)
    heads = work.ledger.lock_heads([project_id])
    projects = work.tenancy.lock_projects([project_id])
    if project_id not in projects:
        raise ProjectNotFound(project_id)
    invoice = work.invoices.invoice(project_id, invoice_id)
    if invoice is None:
        raise InvoiceNotFound(invoice_id)
    if invoice.state is InvoiceState.VOID:
        return invoice
    project = projects[project_id]
    if project.archived_at is not None:
        raise ProjectArchived(project_id)
    _require_voidable(work, invoice)
    book = open_books(work, projects, heads, chart, at=at)[project_id]
    telling = Telling()
    _reverse(work, book, invoice, clean_reason, telling, at=at, ids=ids, origin=origin)
    voided = evolve(invoice, state=InvoiceState.VOID, voided_at=at, void_reason=clean_reason)
    work.invoices.set_state(voided)
    if invoice.kind is InvoiceKind.INVOICE:
        _reopen(work, invoice)
    details = {"number": invoice.number, "period": invoice.period, "reason": clean_reason}
    note_change(work, project_id, "invoice.voided", invoice_id, details, at=at, ids=ids, origin=origin)
    telling.tell(project, MessageType.INVOICE_VOIDED, partial(render, voided))
    telling.write(work, at=at, ids=ids)
    return voided


def _require_voidable(work: VoidingWork, invoice: Invoice) -> None:
    if invoice.state is InvoiceState.DRAFT:
        raise InvoiceNotVoidable(invoice.id, "it is a draft, which the next run makes anew")
    if invoice.kind is InvoiceKind.CREDIT_NOTE:
        raise InvoiceNotVoidable(invoice.id, "a credit note stands; bill the amount again instead")
    if invoice.paid_micros or work.payments.corrections(invoice.project_id, [invoice.id]):
        raise InvoiceNotVoidable(invoice.id, "a part of it has been paid or credited")
    if invoice.kind is InvoiceKind.INVOICE:
        # The next run of a period that is open again bills the whole of it, and so what they have billed of
        # it once more.
        adjusting = _adjusting(work, invoice)
        if adjusting:
            numbers = ", ".join(str(each.number) for each in adjusting)
            raise InvoiceNotVoidable(
                invoice.id, f"other documents adjust what it closed; void number {numbers} first"
            )


def _adjusting(work: VoidingWork, invoice: Invoice) -> list[Invoice]:
    """The other documents in force that adjust a period which would be open again: that of *invoice*, and if
    no other is closed, those before it as well."""
    rows = work.billing.periods([invoice.project_id])[invoice.project_id]
    others_closed = any(row.invoiced_at is not None and row.name != invoice.period for row in rows)
    return [
        each
        for each in work.invoices.issued(invoice.project_id, [invoice.period] if others_closed else None)
        if each.id != invoice.id
        and any(
            line.kind is LineKind.ADJUSTMENT and (line.period == invoice.period or not others_closed)
            for line in each.lines
        )
    ]


def _reopen(work: VoidingWork, invoice: Invoice) -> None:
    rows = work.billing.periods([invoice.project_id])[invoice.project_id]
    work.billing.put_periods([evolve(row, invoiced_at=None) for row in rows if row.name == invoice.period])
    closed = [row.span.end for row in rows if row.name != invoice.period and row.invoiced_at is not None]
    work.tenancy.note_invoiced({invoice.project_id: max(closed, default=None)})


# --- the reversal -----------------------------------------------------------------------------


def _reverse(
    work: VoidingWork,
    book: Book,
    invoice: Invoice,
    reason: str,
    telling: Telling,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> None:
    if invoice.transaction_id is None:
        return
    original = _original(work, book, invoice.project_id, invoice.transaction_id)
    book.originals[invoice.transaction_id] = original
    entries = original.transaction.entries
    body = {"reason": reason}
    path = f"/projects/{invoice.project_id}/invoices/{invoice.id}/void"
    booking = Booking(at, telling)
    booking.book(
        book,
        reversal(book, original, entries, reason, at=at, ids=ids),
        Cause(OPERATION, f"{invoice.period}/{invoice.part}", fingerprint(OPERATION, path, body), origin),
    )
    booking.write(work, [book])


def _original(work: VoidingWork, book: Book, project_id: str, transaction_id: str) -> Original:
    transaction = work.ledger.transaction(project_id, transaction_id)
    assert transaction is not None, "an invoice names its transaction"
    wallet = [entry for entry in transaction.entries if entry.account.startswith(_WALLET_PREFIX)]
    grants = work.wallets.grants(project_id, {_grant_id(entry) for entry in wallet})
    drawn = [(_grant_id(entry), entry.debit_micros) for entry in wallet if entry.debit_micros]
    return Original(transaction, drawn, grants, 0, {})


def reversal(
    book: Book, original: Original, entries: Sequence[Entry], reason: str, *, at: Instant, ids: Ids
) -> Decision:
    """The mirror of an invoice's *entries*, with the wallet's side as it can be now."""
    moves: dict[str, int] = {}

    def move(account: str, micros: int) -> None:
        moves[account] = moves.get(account, 0) + micros

    taken, own = 0, None
    for entry in entries:
        on_wallet = entry.account.startswith(_WALLET_PREFIX)
        if entry.credit_micros and (on_wallet or entry.account == OVERDRAFT):
            taken += entry.credit_micros
            own = _grant_id(entry) if on_wallet else own
        elif not on_wallet:
            move(entry.account, entry.credit_micros - entry.debit_micros)
    returned = sum(micros for _, micros in original.drawn)
    opened: tuple[Grant, ...] = ()
    transaction_id = ids.new("txn")
    if returned:
        drawn_at = original.transaction.effective_at
        claims = (
            Claim(original.grants[grant_id], micros, drawn_at)
            for grant_id, micros in reversed(original.drawn)
        )
        given = hand_back(
            book,
            returned,
            claims,
            source="",
            type=TransactionType.INVOICE_VOID,
            description=reason,
            at=at,
            ids=ids,
        )
        transaction_id, opened = given.transaction_id, given.grants
        for posting in given.postings[1:]:
            move(posting.account, -posting.credit_micros)
    for account, micros in _taken_again(book, moves, opened, own, taken, at):
        move(account, micros)
    postings = _postings(moves)
    return Decision(
        transaction_id=transaction_id,
        type=TransactionType.INVOICE_VOID,
        amount_micros=sum(posting.debit_micros for posting in postings),
        description=reason,
        postings=balanced(postings),
        grants=opened,
        reverses=original.transaction.id,
    )


def _taken_again(
    book: Book, moves: dict[str, int], opened: Sequence[Grant], own: str | None, due: int, at: Instant
) -> Iterator[tuple[str, int]]:
    """Take *due* from the grant *own* first, then from other credit that pays for anything, in spending
    order, then from the overdraft."""
    lots = [
        *(
            Lot(lot.grant, lot.remaining_micros - moves.get(lot.grant.account, 0), lot.held_micros)
            for lot in book.lots.values()
        ),
        *(Lot(grant, -moves.get(grant.account, 0)) for grant in opened),
    ]
    for lot in sorted(lots, key=lambda lot: (lot.grant.id != own, spending_order(lot))):
        micros = min(lot.free_micros, due)
        if micros > 0 and (lot.grant.id == own or (lot.grant.pays_for(None) and not lot.expired(at))):
            yield lot.grant.account, micros
            due -= micros
    yield OVERDRAFT, due


def _postings(moves: dict[str, int]) -> list[Posting]:
    debits = [debit(account, micros) for account, micros in moves.items() if micros > 0]
    return debits + [credit(account, -micros) for account, micros in moves.items() if micros < 0]


def _grant_id(entry: Entry) -> str:
    return entry.account.removeprefix(_WALLET_PREFIX)
