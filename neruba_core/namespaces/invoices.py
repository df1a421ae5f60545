"""``neruba.invoices``: the documents that runs make."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.billing.run import Options, run
from neruba_core.billing.void import void
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.errors import InvoiceBlocked, InvoiceNotFound, NerubaError
from neruba_core.invoices.explain import Explanation, explanation
from neruba_core.invoices.html import html
from neruba_core.invoices.model import Invoice, InvoiceState
from neruba_core.invoices.page import InvoicePage, as_issued, invoice_page
from neruba_core.invoices.pdf import pdf
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing


@frozen
class Invoices:
    """Reached as ``neruba.invoices``."""

    _context: Context

    def get(self, project_id: str, invoice_id: str) -> Invoice:
        """One invoice, draft or issued. Raises ``ProjectNotFound`` or ``InvoiceNotFound``."""
        return self._context.read(lambda work: _existing(work, project_id, invoice_id))

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

    def finalize(
        self, project_id: str, invoice_id: str, *, ignore_unpriced: bool = False, origin: Origin = SYSTEM
    ) -> Invoice:
        """Issue a draft, waiving what is left of the grace; an issued invoice is answered as it is.

        Raises ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound`` (also where nothing is left to
        bill), ``InvoiceBlocked``, ``PeriodOpen`` or ``PeriodEarlierOpen``.
        """
        context = self._context
        options = Options(finalize=True, ignore_unpriced=ignore_unpriced)

        def act(work: UnitOfWork) -> Invoice:
            found = _existing(work, project_id, invoice_id)
            if found.state is not InvoiceState.DRAFT:
                return found
            (answer,) = run(
                work,
                [project_id],
                found.period,
                options,
                at=context.clock(),
                ids=context.ids,
                chart=context.chart,
                origin=origin,
            )
            if isinstance(answer, NerubaError):
                raise answer
            issued = None if answer is None else answer.invoice
            if issued is None:
                raise InvoiceNotFound(invoice_id)
            if issued.blockers:
                raise InvoiceBlocked(invoice_id, issued.blockers)
            return issued

        return context.write(act)

    def void(self, project_id: str, invoice_id: str, *, reason: str, origin: Origin = SYSTEM) -> Invoice:
        """Undo an issued invoice by a reversal, and open its period to be run again; again gives the same.

        Raises ``TextInvalid``, ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound`` or
        ``InvoiceNotVoidable``.
        """
        context = self._context
        return context.write(
            lambda work: void(
                work,
                project_id,
                invoice_id,
                reason,
                at=context.clock(),
                ids=context.ids,
                chart=context.chart,
                origin=origin,
            )
        )

    # --- what people see ----------------------------------------------------------------------

    def explain(
        self,
        project_id: str,
        invoice_id: str,
        *,
        line_id: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Explanation:
        """Why the invoice says what it says; with *line_id* that line alone, and a page of the events
        behind it. ``neruba_core.invoices.spoken`` puts it into words.

        Raises ``ProjectNotFound``, ``InvoiceNotFound``, ``LineNotFound``, ``FormatInvalid``,
        ``CursorInvalid`` or ``CursorMismatch``.
        """

        def read(work: UnitOfWork) -> Explanation:
            invoice = _existing(work, project_id, invoice_id)
            return explanation(work, invoice, line_id=line_id, limit=limit, cursor=cursor)

        return self._context.read(read)

    def page(self, project_id: str, invoice_id: str) -> InvoicePage:
        """The invoice as its reader sees it, before it is laid out. Raises as ``get`` does."""
        return invoice_page(self.get(project_id, invoice_id))

    def html(self, project_id: str, invoice_id: str) -> str:
        """The invoice as a printable page that needs nothing else. The same invoice gives the same text at
        any later time. Raises as ``get`` does, or ``RenderingUnavailable``."""
        return html(self.page(project_id, invoice_id))

    def pdf(self, project_id: str, invoice_id: str) -> bytes:
        """The invoice as a PDF. One that was issued is typeset once, as it was issued, and its bytes are
        kept; drafts and void ones bear their mark. Raises as ``html`` does."""

        invoice = self.get(project_id, invoice_id)
        if invoice.state in (InvoiceState.DRAFT, InvoiceState.VOID):
            return pdf(invoice_page(invoice))
        kept = self._context.read(lambda work: work.invoices.pdf(project_id, invoice_id))
        if kept is not None:
            return kept
        content = pdf(invoice_page(as_issued(invoice)))
        return self._context.write(lambda work: work.invoices.keep_pdf(project_id, invoice_id, content))


def _existing(work: UnitOfWork, project_id: str, invoice_id: str) -> Invoice:
    found = work.invoices.invoice(existing(work, project_id).id, invoice_id)
    if found is None:
        raise InvoiceNotFound(invoice_id)
    return found
