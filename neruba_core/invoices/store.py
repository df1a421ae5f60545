"""What invoices ask of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.invoices.model import Invoice, InvoiceState


class InvoiceStore(Protocol):
    """Invoices, unique by (project, period, part) and by (project, number).

    Everything but ``keep_pdf`` is written under the project's locked head. Whatever would change a finalized
    invoice but for ``set_state`` fails the unit (a database has triggers for it), and so does a key that is
    taken.
    """

    def put_drafts(self, invoices: Sequence[Invoice]) -> None:
        """Insert, or overwrite the drafts of the same (project, id)."""

    def finalize(self, invoices: Sequence[Invoice]) -> None:
        """Insert finalized invoices, or overwrite the drafts of the same (project, id) with them."""

    def remove_draft(self, project_id: str, invoice_id: str) -> None:
        """Forget a draft that nothing is left of; where there is none, nothing happens."""

    def set_state(self, invoice: Invoice) -> None:
        """Write ``state``, ``paid_micros``, ``voided_at``, ``void_reason``, ``past_due_at`` and
        ``disputed_micros`` of an invoice that is not a draft, and does not become one again; the rest of
        *invoice* is left aside."""

    def invoice(self, project_id: str, invoice_id: str) -> Invoice | None: ...

    def of_period(self, project_ids: Iterable[str], period: str) -> dict[str, tuple[Invoice, ...]]:
        """The documents of the period by ascending part. Every project asked for is there."""

    def last_numbers(self, project_ids: Iterable[str]) -> dict[str, int]:
        """The highest number given in each project; 0 where none is."""

    def issued(self, project_id: str, periods: Iterable[str] | None = None) -> Sequence[Invoice]:
        """Every finalized or paid (not void) document with a line about one of *periods* (service or own
        period; ``None``: all of them), by ascending number."""

    def voided(self, project_ids: Iterable[str]) -> Sequence[Invoice]:
        """Every void document of the projects, by project and ascending number."""

    def invoices(
        self, project_id: str, *, limit: int, before: str | None, state: InvoiceState | None = None
    ) -> Sequence[Invoice]:
        """By descending id, below *before*."""

    def left_to_pay(self, project_id: str) -> Sequence[Invoice]:
        """The finalized invoices that have something left to pay, by ascending number."""

    def open_totals(self, project_id: str) -> tuple[int, int]:
        """How many finalized invoices have something left to pay, and how much that is in all. What a credit
        note gives back is not among it."""

    def keep_pdf(self, project_id: str, invoice_id: str, content: bytes) -> bytes:
        """Keep the PDF of a finalized invoice unless one is kept already; what is kept. Waits for a
        competitor in flight."""

    def pdf(self, project_id: str, invoice_id: str) -> bytes | None: ...


class HasInvoices(Protocol):
    @property
    def invoices(self) -> InvoiceStore: ...
