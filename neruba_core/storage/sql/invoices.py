"""Invoices: tables, queries and row mapping.

A finalized invoice is guarded by triggers: only its state, what was paid of it and how it was voided may
change. Which periods it is about is also kept in a small table, so that late usage finds the documents that
billed a period without reading all the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from attrs import frozen
from sqlalchemy import (
    CheckConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    delete,
    func,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy import update as changing

from neruba_core.instants import Period
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, KeptPdf, Line
from neruba_core.pricing.exact import rate_text
from neruba_core.storage.sql.bulk import insert_new, upsert
from neruba_core.storage.sql.codec import (
    dump_nouns,
    dump_texts,
    instant,
    instant_or_none,
    load_nouns,
    load_texts,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.columns import METADATA, binary, one_of, reference, small, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, given
from neruba_core.storage.sql.statements import SqlStore, below

_OPEN = "state = 'finalized' AND paid_micros < amount_due_micros"
_VOID = "state = 'void'"

# The lines come last: SQLite then finds the rest of a row without reading through them.
INVOICES = Table(
    "neruba_invoices",
    METADATA,
    text("project_id"),
    text("id"),
    text("kind"),
    text("period"),
    whole("span_start"),
    whole("span_end"),
    small("part"),
    small("number", optional=True),
    text("state"),
    text("currency"),
    text("tax_rate"),
    whole("subtotal_micros"),
    whole("tax_micros"),
    whole("total_micros"),
    whole("already_drawn_micros"),
    whole("credit_applied_micros"),
    whole("overdraft_billed_micros"),
    whole("credit_granted_micros"),
    whole("rounding_micros"),
    whole("amount_due_micros"),
    whole("paid_micros"),
    text("blockers"),
    text("input_digest"),
    whole("cutoff"),
    whole("ledger_version", optional=True),
    text("transaction_id", optional=True),
    text("project_name"),
    text("timezone"),
    whole("created_at"),
    whole("finalized_at", optional=True),
    whole("voided_at", optional=True),
    text("void_reason", optional=True),
    whole("past_due_at", optional=True),
    whole("disputed_micros"),
    text("lines"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_invoices_pk"),
    UniqueConstraint("project_id", "period", "part", name="neruba_invoices_part_uq"),
    UniqueConstraint("project_id", "number", name="neruba_invoices_number_uq"),
    tenant("neruba_invoices"),
    reference(
        "neruba_invoices_transaction_fk",
        ["project_id", "transaction_id"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
    CheckConstraint("span_start < span_end", name="neruba_invoices_span_ck"),
    CheckConstraint("part > 0 AND number > 0", name="neruba_invoices_numbers_ck"),
    # A credit note is due to the payer.
    CheckConstraint(
        "kind = 'credit_note' OR amount_due_micros >= 0 AND paid_micros >= 0",
        name="neruba_invoices_amounts_ck",
    ),
    CheckConstraint(
        "(state = 'draft') = (number IS NULL) AND (state = 'draft') = (finalized_at IS NULL)",
        name="neruba_invoices_finalized_ck",
    ),
    CheckConstraint("(state = 'void') = (voided_at IS NOT NULL)", name="neruba_invoices_voided_ck"),
    one_of("kind", InvoiceKind, "neruba_invoices_kind_ck"),
    one_of("state", InvoiceState, "neruba_invoices_state_ck"),
    # The few that somebody still has to pay.
    Index(
        "neruba_invoices_open_ix",
        "project_id",
        postgresql_where=sql(_OPEN),
        sqlite_where=sql(_OPEN),
    ),
    # The few that every run looks at again.
    Index(
        "neruba_invoices_void_ix",
        "project_id",
        postgresql_where=sql(_VOID),
        sqlite_where=sql(_VOID),
    ),
)

INVOICE_PERIODS = Table(
    "neruba_invoice_periods",
    METADATA,
    text("project_id"),
    text("period"),
    text("invoice_id"),
    PrimaryKeyConstraint("project_id", "period", "invoice_id", name="neruba_invoice_periods_pk"),
    reference(
        "neruba_invoice_periods_invoice_fk",
        ["project_id", "invoice_id"],
        "neruba_invoices",
        ["project_id", "id"],
    ),
    tenant("neruba_invoice_periods"),
    sqlite_with_rowid=False,
)

PDFS = Table(
    "neruba_invoice_pdfs",
    METADATA,
    text("project_id"),
    text("invoice_id"),
    binary("content"),
    PrimaryKeyConstraint("project_id", "invoice_id", name="neruba_invoice_pdfs_pk"),
    reference(
        "neruba_invoice_pdfs_invoice_fk",
        ["project_id", "invoice_id"],
        "neruba_invoices",
        ["project_id", "id"],
    ),
    tenant("neruba_invoice_pdfs"),
)

_PUT = upsert(INVOICES, *[column.name for column in INVOICES.columns][2:])
_ADD_PERIODS = insert_new(INVOICE_PERIODS)
_KEEP_PDF = insert_new(PDFS)

_I = INVOICES.c
_OF_PROJECT = select(INVOICES).where(_I.project_id == given("project_id"))
_INVOICE = Query(_OF_PROJECT.where(_I.id == given("invoice_id")))
_ALL = Query(_OF_PROJECT)
_OF_PERIOD = Query(
    lambda postgresql: (
        select(INVOICES)
        .where(among(postgresql, _I.project_id, "project_ids"), _I.period == given("period"))
        .order_by(_I.project_id, _I.part)
    )
)
_LAST_NUMBERS = Query(
    lambda postgresql: (
        select(_I.project_id, func.max(_I.number))
        .where(among(postgresql, _I.project_id, "project_ids"), _I.number.is_not(None))
        .group_by(_I.project_id)
    )
)
_STATES_ISSUED = sql("state IN ('finalized', 'paid')")
_ISSUED = Query(_OF_PROJECT.where(_STATES_ISSUED).order_by(_I.number))
_ABOUT = Query(
    lambda postgresql: _OF_PROJECT.where(
        _STATES_ISSUED,
        _I.id.in_(
            select(INVOICE_PERIODS.c.invoice_id).where(
                INVOICE_PERIODS.c.project_id == given("project_id"),
                among(postgresql, INVOICE_PERIODS.c.period, "periods"),
            )
        ),
    ).order_by(_I.number)
)
_VOIDED = Query(
    lambda postgresql: (
        select(INVOICES)
        .where(among(postgresql, _I.project_id, "project_ids"), sql(_VOID))
        .order_by(_I.project_id, _I.number)
    )
)
_LEFT_TO_PAY = Query(
    select(_I.amount_due_micros - _I.paid_micros).where(_I.project_id == given("project_id"), sql(_OPEN))
)
_OPEN_ONES = Query(_OF_PROJECT.where(sql(_OPEN)).order_by(_I.number))
_PDF = Query(
    select(PDFS.c.content).where(
        PDFS.c.project_id == given("project_id"), PDFS.c.invoice_id == given("invoice_id")
    )
)
_PDFS_OF = Query(select(PDFS).where(PDFS.c.project_id == given("project_id")))


@frozen
class SqlInvoices(SqlStore):
    """``InvoiceStore`` within one unit."""

    def put_drafts(self, invoices: Sequence[Invoice]) -> None:
        self._statements.write(_PUT, [_invoice_row(invoice) for invoice in invoices])

    def finalize(self, invoices: Sequence[Invoice]) -> None:
        self._statements.write(_PUT, [_invoice_row(invoice) for invoice in invoices])
        about = [(each.project_id, name, each.id) for each in invoices for name in sorted(each.periods)]
        self._statements.write(_ADD_PERIODS, about)

    def remove_draft(self, project_id: str, invoice_id: str) -> None:
        query = delete(INVOICES).where(_I.project_id == project_id, _I.id == invoice_id)
        self._statements.change(query)

    def set_state(self, invoice: Invoice) -> None:
        query = (
            changing(INVOICES)
            .where(_I.project_id == invoice.project_id, _I.id == invoice.id, _I.state != "draft")
            .values(
                state=invoice.state.value,
                paid_micros=invoice.paid_micros,
                voided_at=micros_or_none(invoice.voided_at),
                void_reason=invoice.void_reason,
                past_due_at=micros_or_none(invoice.past_due_at),
                disputed_micros=invoice.disputed_micros,
            )
        )
        self._statements.change(query)

    def invoice(self, project_id: str, invoice_id: str) -> Invoice | None:
        row = self._statements.ask_one(_INVOICE, project_id=project_id, invoice_id=invoice_id)
        return None if row is None else _invoice(row)

    def of_period(self, project_ids: Iterable[str], period: str) -> dict[str, tuple[Invoice, ...]]:
        found: dict[str, list[Invoice]] = {project_id: [] for project_id in project_ids}
        for row in self._statements.ask(_OF_PERIOD, project_ids=list(found), period=period):
            found[row[0]].append(_invoice(row))
        return {project_id: tuple(invoices) for project_id, invoices in found.items()}

    def last_numbers(self, project_ids: Iterable[str]) -> dict[str, int]:
        found = dict.fromkeys(project_ids, 0)
        for project_id, number in self._statements.ask(_LAST_NUMBERS, project_ids=list(found)):
            found[project_id] = number
        return found

    def issued(self, project_id: str, periods: Iterable[str] | None = None) -> Sequence[Invoice]:
        if periods is None:
            rows = self._statements.ask(_ISSUED, project_id=project_id)
        else:
            rows = self._statements.ask(_ABOUT, project_id=project_id, periods=set(periods))
        return [_invoice(row) for row in rows]

    def voided(self, project_ids: Iterable[str]) -> Sequence[Invoice]:
        rows = self._statements.ask(_VOIDED, project_ids=sorted(set(project_ids)))
        return [_invoice(row) for row in rows]

    def invoices(
        self, project_id: str, *, limit: int, before: str | None, state: InvoiceState | None = None
    ) -> Sequence[Invoice]:
        query = select(INVOICES).where(_I.project_id == project_id, *below(_I.id, before))
        if state is not None:
            query = query.where(_I.state == state.value)
        return [_invoice(row) for row in self._statements.rows(query.order_by(_I.id.desc()).limit(limit))]

    def left_to_pay(self, project_id: str) -> Sequence[Invoice]:
        return [_invoice(row) for row in self._statements.ask(_OPEN_ONES, project_id=project_id)]

    def open_totals(self, project_id: str) -> tuple[int, int]:
        # Few rows, and their sum may exceed what SQLite can add up.
        left = [row[0] for row in self._statements.ask(_LEFT_TO_PAY, project_id=project_id)]
        return len(left), sum(left)

    def keep_pdf(self, project_id: str, invoice_id: str, content: bytes) -> bytes:
        if self._statements.write(_KEEP_PDF, [(project_id, invoice_id, content)]) == 1:
            return content
        kept = self.pdf(project_id, invoice_id)
        assert kept is not None, "what was in the way is there"
        return kept

    def pdf(self, project_id: str, invoice_id: str) -> bytes | None:
        row = self._statements.ask_one(_PDF, project_id=project_id, invoice_id=invoice_id)
        return None if row is None else bytes(row[0])

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's invoices and their PDFs."""
        for row in self._statements.ask(_ALL, project_id=project_id):
            yield "invoices", _invoice(row)
        for row in self._statements.ask(_PDFS_OF, project_id=project_id):
            yield "pdfs", KeptPdf(row[0], row[1], bytes(row[2]))


def _invoice_row(invoice: Invoice) -> tuple[Any, ...]:
    return (
        invoice.project_id,
        invoice.id,
        invoice.kind.value,
        invoice.period,
        micros(invoice.span.start),
        micros(invoice.span.end),
        invoice.part,
        invoice.number,
        invoice.state.value,
        invoice.currency,
        rate_text(invoice.tax_rate),
        invoice.subtotal_micros,
        invoice.tax_micros,
        invoice.total_micros,
        invoice.already_drawn_micros,
        invoice.credit_applied_micros,
        invoice.overdraft_billed_micros,
        invoice.credit_granted_micros,
        invoice.rounding_micros,
        invoice.amount_due_micros,
        invoice.paid_micros,
        dump_texts(invoice.blockers),
        invoice.input_digest,
        invoice.cutoff,
        invoice.ledger_version,
        invoice.transaction_id,
        invoice.project_name,
        invoice.timezone,
        micros(invoice.created_at),
        micros_or_none(invoice.finalized_at),
        micros_or_none(invoice.voided_at),
        invoice.void_reason,
        micros_or_none(invoice.past_due_at),
        invoice.disputed_micros,
        dump_nouns(invoice.lines),
    )


def _invoice(row: Any) -> Invoice:
    project_id, invoice_id, kind, period, start, end, part, number, state, currency, tax_rate = row[:11]
    subtotal, tax, total, already_drawn, credit_applied, overdraft_billed, credit_granted = row[11:18]
    rounding, amount_due, paid, blockers, input_digest, cutoff, ledger_version, transaction_id = row[18:26]
    project_name, timezone, created_at, finalized_at, voided_at, void_reason = row[26:32]
    past_due_at, disputed, lines = row[32:]
    return Invoice(
        project_id,
        invoice_id,
        InvoiceKind(kind),
        period,
        Period(instant(start), instant(end)),
        part,
        number,
        InvoiceState(state),
        currency,
        load_nouns(Line, lines),
        Decimal(tax_rate),
        subtotal,
        tax,
        total,
        already_drawn,
        credit_applied,
        overdraft_billed,
        credit_granted,
        rounding,
        amount_due,
        paid,
        load_texts(blockers),
        input_digest,
        cutoff,
        ledger_version,
        transaction_id,
        project_name,
        timezone,
        instant(created_at),
        instant_or_none(finalized_at),
        instant_or_none(voided_at),
        void_reason,
        instant_or_none(past_due_at),
        disputed,
    )
