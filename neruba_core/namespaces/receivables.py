"""``neruba.receivables``: what is billed and not yet paid, and what lessens it without a payment."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.idempotency.outcomes import Success
from neruba_core.money import Amount
from neruba_core.namespaces.desks import at_most_once
from neruba_core.payments.correct import NewCorrection, correct
from neruba_core.payments.model import Correction
from neruba_core.payments.receivables import Receivables as Open
from neruba_core.payments.receivables import receivables
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing


@frozen
class Receivables:
    """Reached as ``neruba.receivables``; each call is one unit of work."""

    _context: Context

    def of(self, project_id: str) -> Open:
        """What is billed and not yet paid, by age. Raises ``ProjectNotFound``."""
        at = self._context.clock()
        return self._context.read(lambda work: receivables(work, existing(work, project_id), at=at))

    def credit_note(
        self,
        project_id: str,
        invoice_id: str,
        *,
        amount: Amount,
        reason: str,
        idempotency_key: str,
        origin: Origin = SYSTEM,
    ) -> Success[Correction]:
        """Take *amount*, tax included, off an issued invoice; what has been paid already becomes goodwill.

        Raises ``Invalid`` refusals, ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound``,
        ``InvoiceNotIssued``, ``CreditNoteExceedsInvoice``, ``KeyReused`` or ``KeyInProgress``.
        """
        new = NewCorrection.credit_note(invoice_id=invoice_id, amount=amount, reason=reason)
        return self._correct(project_id, "credit-notes", new, idempotency_key, origin)

    def write_off(
        self,
        project_id: str,
        invoice_id: str,
        *,
        reason: str,
        idempotency_key: str,
        amount: Amount | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[Correction]:
        """Give up what is open of an invoice, or *amount* of it; of an archived project's too.

        Raises ``InvoiceSettled``, ``WriteOffExceedsOpen``, and as ``credit_note`` but for
        ``ProjectArchived``.
        """
        new = NewCorrection.write_off(invoice_id=invoice_id, amount=amount, reason=reason)
        return self._correct(project_id, "write-off", new, idempotency_key, origin)

    def corrections(self, project_id: str, invoice_id: str) -> Sequence[Correction]:
        """The credit notes and write-offs of an invoice, oldest first. Raises ``ProjectNotFound``."""
        return self._context.read(
            lambda work: work.payments.corrections(existing(work, project_id).id, [invoice_id])
        )

    def _correct(
        self, project_id: str, route: str, new: NewCorrection, idempotency_key: str, origin: Origin
    ) -> Success[Correction]:
        def made(work: UnitOfWork, correction_id: str) -> Correction:
            found = work.payments.corrections(project_id, [new.invoice_id])
            return next(each for each in found if each.id == correction_id)

        return at_most_once(
            self._context,
            project_id,
            new.kind.value,
            f"/projects/{project_id}/invoices/{new.invoice_id}/{route}",
            new.body(),
            idempotency_key,
            origin,
            lambda at_desk: correct(at_desk, new),
            made,
        )
