"""``neruba.invoices``: the documents that runs make."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.errors import InvoiceNotFound
from neruba_core.invoices.model import Invoice, InvoiceState
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing


@frozen
class Invoices:
    """Reached as ``neruba.invoices``."""

    _context: Context

    def get(self, project_id: str, invoice_id: str) -> Invoice:
        """One invoice, draft or issued. Raises ``ProjectNotFound`` or ``InvoiceNotFound``."""

        def read(work: UnitOfWork) -> Invoice:
            found = work.invoices.invoice(existing(work, project_id).id, invoice_id)
            if found is None:
                raise InvoiceNotFound(invoice_id)
            return found

        return self._context.read(read)

    def list(
        self,
        project_id: str,
        *,
        state: InvoiceState | str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Invoice]:
        """Invoices by their period, latest first, and only those in *state*; *limit* 1–200.

        Raises ``ProjectNotFound``, ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        most = limited(limit)
        wanted = None if state is None else choice(InvoiceState, state, "a state of an invoice")
        filters = ("invoices", project_id, wanted)
        before = place_of(cursor, *filters)

        def read(work: UnitOfWork) -> Sequence[Invoice]:
            existing(work, project_id)
            return work.invoices.invoices(project_id, limit=most + 1, before=before, state=wanted)

        return page(self._context.read(read), most, "id", *filters)

    def finalize(self, project_id: str, invoice_id: str, *, origin: Origin = SYSTEM) -> Invoice:
        """Issue a draft, waiving what is left of the grace; an issued invoice is answered as it is.

        Raises ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound``, ``InvoiceBlocked``,
        ``PeriodOpen`` or ``PeriodEarlierOpen``.
        """
        raise NotImplementedError

    def void(self, project_id: str, invoice_id: str, *, reason: str, origin: Origin = SYSTEM) -> Invoice:
        """Undo an issued invoice by a reversal, and open its period to be run again; again gives the same.

        Raises ``TextInvalid``, ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound`` or
        ``InvoiceNotVoidable``.
        """
        raise NotImplementedError
