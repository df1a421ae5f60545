"""Where money in and out is booked: one project's books under its locked head, for one unit of work.

What changes an invoice's open amount is written three times, or not at all: as entries on ``receivable``, as
``paid_micros`` of the invoice, and as the allocation that says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from attrs import define, evolve, field

from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.currencies import currency_of
from neruba_core.errors import (
    AmountNotPayable,
    InvoiceNotFound,
    InvoiceNotIssued,
    ProjectArchived,
    ProjectNotFound,
)
from neruba_core.idempotency.fingerprint import fingerprint
from neruba_core.idempotency.store import HasIdempotency
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.invoices.answer import render
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState
from neruba_core.invoices.store import HasInvoices
from neruba_core.ledger.chart import Chart
from neruba_core.ledger.model import Transaction
from neruba_core.money import PLACES
from neruba_core.outbox.emit import Data, Telling
from neruba_core.outbox.model import MessageType
from neruba_core.outbox.store import HasOutbox
from neruba_core.payments.model import Allocation, AllocationKind
from neruba_core.payments.store import HasPayments
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.store import HasTenancy
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.booking import Booking, BookingWork, Cause, open_books


class PaymentWork(
    BookingWork,
    HasTenancy,
    HasIdempotency,
    HasInvoices,
    HasPayments,
    HasOutbox,
    HasAudit,
    Protocol,
):
    """What payments read and write."""


@define
class Desk:
    """See the module."""

    work: PaymentWork
    book: Book
    at: Instant
    ids: Ids
    origin: Origin
    telling: Telling = field(factory=Telling)

    @property
    def project(self) -> Project:
        return self.book.project

    def require_open(self) -> None:
        """Raise ``ProjectArchived`` where nothing new may begin."""
        if self.project.archived_at is not None:
            raise ProjectArchived(self.project.id)

    def require_payable(self, micros: int) -> None:
        """Raise ``AmountNotPayable`` unless *micros* are a whole number of the currency's minor units."""
        currency = self.project.currency
        places = currency_of(currency).exponent
        if micros % 10 ** (PLACES - places):
            raise AmountNotPayable(currency, places)

    def issued(self, invoice_id: str) -> Invoice:
        """The invoice, which somebody has to pay. Raises ``InvoiceNotFound`` or ``InvoiceNotIssued``."""
        invoice = self.work.invoices.invoice(self.project.id, invoice_id)
        if invoice is None:
            raise InvoiceNotFound(invoice_id)
        if invoice.state not in (InvoiceState.FINALIZED, InvoiceState.PAID):
            raise InvoiceNotIssued(invoice_id, invoice.state.value)
        if invoice.kind is InvoiceKind.CREDIT_NOTE:
            raise InvoiceNotIssued(invoice_id, "credit note")
        return invoice

    def post(self, decision: Decision, operation: str, subject_id: str) -> Transaction:
        """Book *decision*, once per operation and subject, and write it."""
        digest = fingerprint(operation, f"/projects/{self.project.id}", {"subject": subject_id})
        booking = Booking(self.at, self.telling)
        booked = booking.book(self.book, decision, Cause(operation, subject_id, digest, self.origin))
        booking.write(self.work, [self.book])
        return booked

    def settle(
        self,
        decision: Decision,
        kind: AllocationKind,
        subject_id: str,
        changes: Sequence[tuple[Invoice, int]],
        payment_id: str | None = None,
    ) -> None:
        """Write that *decision*, which is booked, settled so much of these invoices (below zero: opened), for
        the payment, refund, dispute or correction *subject_id*."""
        for invoice, micros in changes:
            self.settle_invoice(invoice, micros)
        allocations = [
            Allocation(
                self.project.id, decision.transaction_id, invoice.id, subject_id, kind, micros, payment_id
            )
            for invoice, micros in changes
        ]
        if allocations:
            self.work.payments.add_allocations(allocations)

    def settle_invoice(self, invoice: Invoice, micros: int) -> None:
        """Write the invoice with *micros* more of it settled; the allocation of it is written elsewhere."""
        changed = settled(invoice, micros)
        self.work.invoices.set_state(changed)
        if changed.state is InvoiceState.PAID and invoice.state is not InvoiceState.PAID:
            self.tell(MessageType.INVOICE_PAID, partial(render, changed))

    def tell(self, type: MessageType, data: Data) -> None:
        """Have the listeners told when everything is written."""
        self.telling.tell(self.project, type, data)

    def close(self) -> None:
        """Tell the listeners; the last thing in a unit."""
        self.telling.write(self.work, at=self.at, ids=self.ids)


def desk(work: PaymentWork, project_id: str, *, at: Instant, ids: Ids, chart: Chart, origin: Origin) -> Desk:
    """The desk of a project, whose head is locked from here on. Raises ``ProjectNotFound``."""
    heads = work.ledger.lock_heads([project_id])
    projects = work.tenancy.projects([project_id])
    if project_id not in projects:
        raise ProjectNotFound(project_id)
    books = open_books(work, projects, heads, chart, at=at)
    return Desk(work, books[project_id], at, ids, origin)


def settled(invoice: Invoice, micros: int) -> Invoice:
    """The invoice with *micros* more of it settled: paid when nothing is open, and open again below that."""
    paid = invoice.paid_micros + micros
    state = InvoiceState.PAID if paid >= invoice.amount_due_micros else InvoiceState.FINALIZED
    past_due_at = None if state is InvoiceState.PAID else invoice.past_due_at
    return evolve(invoice, paid_micros=paid, state=state, past_due_at=past_due_at)
