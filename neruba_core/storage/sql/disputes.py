"""Disputes: table, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, select

from neruba_core.payments.model import Dispute, DisputeStatus
from neruba_core.storage.sql.bulk import insert, update
from neruba_core.storage.sql.codec import instant, instant_or_none, row_of
from neruba_core.storage.sql.columns import METADATA, one_of, tenant, text, whole
from neruba_core.storage.sql.payment_shapes import of_payment, of_transaction
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore

DISPUTES = Table(
    "neruba_disputes",
    METADATA,
    text("project_id"),
    text("id"),
    text("payment_id"),
    text("provider_id"),
    whole("amount_micros"),
    whole("taken_micros"),
    text("reason"),
    text("status"),
    text("transaction_id"),
    whole("created_at"),
    whole("fee_micros"),
    whole("closed_at", optional=True),
    whole("fee_back_micros"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_disputes_pk"),
    UniqueConstraint("project_id", "provider_id", name="neruba_disputes_provider_uq"),
    tenant("neruba_disputes"),
    of_payment("neruba_disputes"),
    of_transaction("neruba_disputes"),
    one_of("status", DisputeStatus, "neruba_disputes_status_ck"),
    CheckConstraint(
        "amount_micros > 0 AND taken_micros BETWEEN 0 AND amount_micros "
        "AND fee_micros >= 0 AND fee_back_micros >= 0",
        name="neruba_disputes_amounts_ck",
    ),
    CheckConstraint("(status = 'open') = (closed_at IS NULL)", name="neruba_disputes_closed_ck"),
    Index("neruba_disputes_payment_ix", "project_id", "payment_id", "id"),
)

_ADD_DISPUTE = insert(DISPUTES)
_PUT_DISPUTE = update(DISPUTES, "taken_micros", "status", "fee_micros", "closed_at", "fee_back_micros")

_D = DISPUTES.c
_DISPUTES = Query(
    select(DISPUTES)
    .where(_D.project_id == given("project_id"), _D.payment_id == given("payment_id"))
    .order_by(_D.id)
)
_DISPUTES_OF = Query(select(DISPUTES).where(_D.project_id == given("project_id")))


@frozen
class SqlDisputes(SqlStore):
    """The part of ``PaymentStore`` that is about disputes."""

    def add_dispute(self, dispute: Dispute) -> None:
        self._statements.write(_ADD_DISPUTE, [row_of(dispute, _ADD_DISPUTE.columns)])

    def put_dispute(self, dispute: Dispute) -> None:
        self._statements.write(_PUT_DISPUTE, [row_of(dispute, _PUT_DISPUTE.columns)])

    def disputes(self, project_id: str, payment_id: str) -> Sequence[Dispute]:
        rows = self._statements.ask(_DISPUTES, project_id=project_id, payment_id=payment_id)
        return [_dispute(row) for row in rows]

    def _export_disputes(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of this table."""
        for row in self._statements.ask(_DISPUTES_OF, project_id=project_id):
            yield "disputes", _dispute(row)


def _dispute(row: Any) -> Dispute:
    project_id, dispute_id, payment_id, provider_id, amount, taken, reason, status, *rest = row
    transaction_id, created_at, fee, closed_at, fee_back = rest
    return Dispute(
        project_id,
        dispute_id,
        payment_id,
        provider_id,
        amount,
        taken,
        reason,
        DisputeStatus(status),
        transaction_id,
        instant(created_at),
        fee,
        instant_or_none(closed_at),
        fee_back,
    )
