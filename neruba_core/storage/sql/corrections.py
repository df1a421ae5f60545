"""Allocations, credit notes and write-offs, which settle invoices or open them again: tables, queries and row
mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, func, select

from neruba_core.payments.model import Allocation, AllocationKind, Correction, CorrectionKind
from neruba_core.storage.sql.bulk import insert
from neruba_core.storage.sql.codec import instant, row_of
from neruba_core.storage.sql.columns import METADATA, one_of, small, tenant, text, whole
from neruba_core.storage.sql.payment_shapes import of_invoice, of_payment, of_transaction
from neruba_core.storage.sql.queries import Query, among, given
from neruba_core.storage.sql.statements import SqlStore

ALLOCATIONS = Table(
    "neruba_allocations",
    METADATA,
    text("project_id"),
    text("transaction_id"),
    text("invoice_id"),
    text("subject_id"),
    text("kind"),
    whole("micros"),
    text("payment_id", optional=True),
    PrimaryKeyConstraint(
        "project_id", "transaction_id", "invoice_id", "subject_id", name="neruba_allocations_pk"
    ),
    tenant("neruba_allocations"),
    of_transaction("neruba_allocations"),
    of_invoice("neruba_allocations"),
    of_payment("neruba_allocations"),
    one_of("kind", AllocationKind, "neruba_allocations_kind_ck"),
    CheckConstraint("micros <> 0", name="neruba_allocations_micros_ck"),
    Index("neruba_allocations_invoice_ix", "project_id", "invoice_id"),
    Index("neruba_allocations_payment_ix", "project_id", "payment_id"),
)

CORRECTIONS = Table(
    "neruba_corrections",
    METADATA,
    text("project_id"),
    text("id"),
    text("kind"),
    small("number"),
    text("invoice_id"),
    whole("amount_micros"),
    whole("tax_micros"),
    whole("settled_micros"),
    text("reason"),
    text("transaction_id"),
    whole("created_at"),
    text("actor"),
    text("request_id", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_corrections_pk"),
    UniqueConstraint("project_id", "kind", "number", name="neruba_corrections_number_uq"),
    tenant("neruba_corrections"),
    of_invoice("neruba_corrections"),
    of_transaction("neruba_corrections"),
    one_of("kind", CorrectionKind, "neruba_corrections_kind_ck"),
    CheckConstraint(
        "number > 0 AND amount_micros > 0 AND tax_micros BETWEEN 0 AND amount_micros "
        "AND settled_micros BETWEEN 0 AND amount_micros",
        name="neruba_corrections_amounts_ck",
    ),
    Index("neruba_corrections_invoice_ix", "project_id", "invoice_id", "id"),
)

_ADD_ALLOCATIONS = insert(ALLOCATIONS)
_ADD_CORRECTION = insert(CORRECTIONS)

_A, _C = ALLOCATIONS.c, CORRECTIONS.c
_OF_PAYMENT = Query(
    select(ALLOCATIONS)
    .where(_A.project_id == given("project_id"), _A.payment_id == given("payment_id"))
    .order_by(_A.transaction_id, _A.invoice_id, _A.subject_id)
)
_OF_INVOICE = Query(
    select(ALLOCATIONS)
    .where(_A.project_id == given("project_id"), _A.invoice_id == given("invoice_id"))
    .order_by(_A.transaction_id, _A.subject_id)
)
_ALLOCATIONS_OF = Query(select(ALLOCATIONS).where(_A.project_id == given("project_id")))
_CORRECTIONS = Query(
    lambda postgresql: (
        select(CORRECTIONS)
        .where(_C.project_id == given("project_id"), among(postgresql, _C.invoice_id, "invoice_ids"))
        .order_by(_C.id)
    )
)
_CORRECTIONS_OF = Query(select(CORRECTIONS).where(_C.project_id == given("project_id")))
_LAST_CORRECTION = Query(
    select(func.max(_C.number)).where(_C.project_id == given("project_id"), _C.kind == given("kind"))
)


@frozen
class SqlCorrections(SqlStore):
    """The part of ``PaymentStore`` that is about what settles invoices."""

    def add_allocations(self, allocations: Sequence[Allocation]) -> None:
        rows = [row_of(each, _ADD_ALLOCATIONS.columns) for each in allocations]
        self._statements.write(_ADD_ALLOCATIONS, rows)

    def allocations_of_payment(self, project_id: str, payment_id: str) -> Sequence[Allocation]:
        rows = self._statements.ask(_OF_PAYMENT, project_id=project_id, payment_id=payment_id)
        return [_allocation(row) for row in rows]

    def allocations_of_invoice(self, project_id: str, invoice_id: str) -> Sequence[Allocation]:
        rows = self._statements.ask(_OF_INVOICE, project_id=project_id, invoice_id=invoice_id)
        return [_allocation(row) for row in rows]

    def add_correction(self, correction: Correction) -> None:
        self._statements.write(_ADD_CORRECTION, [row_of(correction, _ADD_CORRECTION.columns)])

    def corrections(self, project_id: str, invoice_ids: Iterable[str]) -> Sequence[Correction]:
        rows = self._statements.ask(_CORRECTIONS, project_id=project_id, invoice_ids=sorted(set(invoice_ids)))
        return [_correction(row) for row in rows]

    def last_correction(self, project_id: str, kind: CorrectionKind) -> int:
        (number,) = self._statements.ask_one(_LAST_CORRECTION, project_id=project_id, kind=kind.value)
        return number or 0

    def _export_corrections(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        for row in self._statements.ask(_ALLOCATIONS_OF, project_id=project_id):
            yield "allocations", _allocation(row)
        for row in self._statements.ask(_CORRECTIONS_OF, project_id=project_id):
            yield "corrections", _correction(row)


def _allocation(row: Any) -> Allocation:
    project_id, transaction_id, invoice_id, subject_id, kind, micros_, payment_id = row
    return Allocation(
        project_id, transaction_id, invoice_id, subject_id, AllocationKind(kind), micros_, payment_id
    )


def _correction(row: Any) -> Correction:
    project_id, correction_id, kind, number, invoice_id, amount, tax, settled, *rest = row
    reason, transaction_id, created_at, actor, request_id = rest
    return Correction(
        project_id,
        correction_id,
        CorrectionKind(kind),
        number,
        invoice_id,
        amount,
        tax,
        settled,
        reason,
        transaction_id,
        instant(created_at),
        actor,
        request_id,
    )
