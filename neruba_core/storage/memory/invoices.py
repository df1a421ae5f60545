"""Invoices in memory.

Like a database's triggers, this store refuses every change of a finalized invoice but those of its state and
of what has been paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, evolve, field

from neruba_core.invoices.model import Invoice, InvoiceState, KeptPdf
from neruba_core.storage.memory.ledger import MemoryLedger
from neruba_core.storage.memory.tables import DuplicateKey, Table, Undo

_ISSUED = {InvoiceState.FINALIZED, InvoiceState.PAID}


class InvoiceFinalized(RuntimeError):
    """A finalized invoice was to be overwritten, reopened or removed."""


@define(eq=False)
class InvoiceTables:
    """By project and the invoice's id."""

    invoices: Table[str, Invoice] = field(factory=Table)
    pdfs: Table[str, KeptPdf] = field(factory=Table)


@define(eq=False)
class MemoryInvoices:
    """``InvoiceStore`` within one unit."""

    _tables: InvoiceTables
    _undo: Undo
    _ledger: MemoryLedger

    def put_drafts(self, invoices: Sequence[Invoice]) -> None:
        self._put(invoices)

    def finalize(self, invoices: Sequence[Invoice]) -> None:
        self._put(invoices)

    def _put(self, invoices: Sequence[Invoice]) -> None:
        for invoice in invoices:
            self._ledger.need_lock(invoice.project_id)
            self._need_draft(invoice.project_id, invoice.id)
            for other in self._tables.invoices.ascending(invoice.project_id):
                if other.id != invoice.id and _collide(other, invoice):
                    raise DuplicateKey(f"invoice {other.id!r} has the part or number of {invoice.id!r}")
            self._tables.invoices.put(self._undo, invoice.project_id, invoice.id, invoice)

    def remove_draft(self, project_id: str, invoice_id: str) -> None:
        self._ledger.need_lock(project_id)
        self._need_draft(project_id, invoice_id)
        self._tables.invoices.remove(self._undo, project_id, invoice_id)

    def _need_draft(self, project_id: str, invoice_id: str) -> None:
        current = self.invoice(project_id, invoice_id)
        if current is not None and current.state is not InvoiceState.DRAFT:
            raise InvoiceFinalized(f"invoice {invoice_id!r} is {current.state.value}")

    def set_state(self, invoice: Invoice) -> None:
        self._ledger.need_lock(invoice.project_id)
        current = self.invoice(invoice.project_id, invoice.id)
        if current is None or current.state is InvoiceState.DRAFT:
            return
        if invoice.state is InvoiceState.DRAFT:
            raise InvoiceFinalized(f"invoice {invoice.id!r} is {current.state.value}")
        changed = evolve(
            current,
            state=invoice.state,
            paid_micros=invoice.paid_micros,
            voided_at=invoice.voided_at,
            void_reason=invoice.void_reason,
            past_due_at=invoice.past_due_at,
            disputed_micros=invoice.disputed_micros,
        )
        self._tables.invoices.replace(self._undo, invoice.project_id, invoice.id, changed)

    def invoice(self, project_id: str, invoice_id: str) -> Invoice | None:
        return self._tables.invoices.get(project_id, invoice_id)

    def of_period(self, project_ids: Iterable[str], period: str) -> dict[str, tuple[Invoice, ...]]:
        return {project_id: self._of_period(project_id, period) for project_id in project_ids}

    def _of_period(self, project_id: str, period: str) -> tuple[Invoice, ...]:
        found = [each for each in self._tables.invoices.ascending(project_id) if each.period == period]
        return tuple(sorted(found, key=lambda invoice: invoice.part))

    def last_numbers(self, project_ids: Iterable[str]) -> dict[str, int]:
        invoices = self._tables.invoices
        return {
            project_id: max((each.number or 0 for each in invoices.ascending(project_id)), default=0)
            for project_id in project_ids
        }

    def issued(self, project_id: str, periods: Iterable[str] | None = None) -> Sequence[Invoice]:
        wanted = None if periods is None else set(periods)
        found = [
            invoice
            for invoice in self._tables.invoices.ascending(project_id)
            if invoice.state in _ISSUED and (wanted is None or wanted & invoice.periods)
        ]
        return tuple(sorted(found, key=lambda invoice: invoice.number or 0))

    def voided(self, project_ids: Iterable[str]) -> Sequence[Invoice]:
        found = [
            invoice
            for project_id in sorted(set(project_ids))
            for invoice in self._tables.invoices.ascending(project_id)
            if invoice.state is InvoiceState.VOID
        ]
        return tuple(sorted(found, key=lambda invoice: (invoice.project_id, invoice.number or 0)))

    def invoices(
        self, project_id: str, *, limit: int, before: str | None, state: InvoiceState | None = None
    ) -> Sequence[Invoice]:
        def wanted(invoice: Invoice) -> bool:
            return state is None or invoice.state is state

        return self._tables.invoices.page(project_id, limit=limit, before=before, wanted=wanted)

    def left_to_pay(self, project_id: str) -> Sequence[Invoice]:
        found = [each for each in self._tables.invoices.ascending(project_id) if each.open_micros > 0]
        return tuple(sorted(found, key=lambda invoice: invoice.number or 0))

    def open_totals(self, project_id: str) -> tuple[int, int]:
        invoices = self._tables.invoices.ascending(project_id)
        left = [invoice.open_micros for invoice in invoices if invoice.open_micros > 0]
        return len(left), sum(left)

    def keep_pdf(self, project_id: str, invoice_id: str, content: bytes) -> bytes:
        kept = self._tables.pdfs.get(project_id, invoice_id)
        if kept is not None:
            return kept.content
        self._tables.pdfs.add(self._undo, project_id, invoice_id, KeptPdf(project_id, invoice_id, content))
        return content

    def pdf(self, project_id: str, invoice_id: str) -> bytes | None:
        kept = self._tables.pdfs.get(project_id, invoice_id)
        return None if kept is None else kept.content


def _collide(one: Invoice, other: Invoice) -> bool:
    same_part = (one.period, one.part) == (other.period, other.part)
    return same_part or (one.number is not None and one.number == other.number)
