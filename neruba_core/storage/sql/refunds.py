"""Refunds: table, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, select

from neruba_core.instants import Instant
from neruba_core.payments.model import PaymentStatus, Refund
from neruba_core.storage.sql.bulk import insert, update
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, row_of
from neruba_core.storage.sql.columns import METADATA, one_of, tenant, text, whole
from neruba_core.storage.sql.payment_shapes import answered, asked, due, next_due, of_payment, of_transaction
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore

REFUNDS = Table(
    "neruba_refunds",
    METADATA,
    text("project_id"),
    text("id"),
    text("payment_id"),
    whole("amount_micros"),
    whole("taken_micros"),
    text("reason"),
    text("status"),
    text("transaction_id"),
    whole("created_at"),
    text("actor"),
    text("request_id", optional=True),
    *answered(),
    *asked(),
    PrimaryKeyConstraint("project_id", "id", name="neruba_refunds_pk"),
    tenant("neruba_refunds"),
    of_payment("neruba_refunds"),
    of_transaction("neruba_refunds"),
    one_of("status", PaymentStatus, "neruba_refunds_status_ck"),
    CheckConstraint(
        "amount_micros > 0 AND taken_micros BETWEEN 0 AND amount_micros AND tries >= 0",
        name="neruba_refunds_amounts_ck",
    ),
    CheckConstraint("status = 'pending' OR due_at IS NULL", name="neruba_refunds_due_ck"),
    Index("neruba_refunds_due_ix", "due_at"),
    Index("neruba_refunds_payment_ix", "project_id", "payment_id", "id"),
)

_ADD_REFUND = insert(REFUNDS)
_PUT_REFUND = update(
    REFUNDS,
    "taken_micros",
    "status",
    "provider_id",
    "failure",
    "settled_at",
    "tries",
    "asked_at",
    "due_at",
)

_R = REFUNDS.c
_REFUND = Query(select(REFUNDS).where(_R.project_id == given("project_id"), _R.id == given("refund_id")))
_DUE, _NEXT_DUE = due(REFUNDS), next_due(REFUNDS)
_PENDING = Query(
    select(REFUNDS).where(_R.project_id == given("project_id"), _R.status == "pending").order_by(_R.id)
)
_REFUNDS = Query(
    select(REFUNDS)
    .where(_R.project_id == given("project_id"), _R.payment_id == given("payment_id"))
    .order_by(_R.id)
)
_REFUNDS_OF = Query(select(REFUNDS).where(_R.project_id == given("project_id")))


@frozen
class SqlRefunds(SqlStore):
    """The part of ``PaymentStore`` that is about refunds."""

    def add_refund(self, refund: Refund) -> None:
        self._statements.write(_ADD_REFUND, [row_of(refund, _ADD_REFUND.columns)])

    def put_refund(self, refund: Refund) -> None:
        self._statements.write(_PUT_REFUND, [row_of(refund, _PUT_REFUND.columns)])

    def refund(self, project_id: str, refund_id: str) -> Refund | None:
        row = self._statements.ask_one(_REFUND, project_id=project_id, refund_id=refund_id)
        return None if row is None else _refund(row)

    def due_refunds(self, now: Instant, *, limit: int) -> Sequence[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._statements.ask(_DUE, now=micros(now), most=limit)]

    def next_due_refund(self, after: Instant) -> Instant | None:
        return instant_or_none(self._statements.ask_one(_NEXT_DUE, after=micros(after))[0])

    def pending_refunds(self, project_id: str) -> Sequence[Refund]:
        return [_refund(row) for row in self._statements.ask(_PENDING, project_id=project_id)]

    def refunds(self, project_id: str, payment_id: str) -> Sequence[Refund]:
        rows = self._statements.ask(_REFUNDS, project_id=project_id, payment_id=payment_id)
        return [_refund(row) for row in rows]

    def _export_refunds(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of this table."""
        for row in self._statements.ask(_REFUNDS_OF, project_id=project_id):
            yield "refunds", _refund(row)


def _refund(row: Any) -> Refund:
    project_id, refund_id, payment_id, amount, taken, reason, status, transaction_id, *rest = row
    created_at, actor, request_id, provider_id, failure, settled_at, tries, asked_at, due_at = rest
    return Refund(
        project_id,
        refund_id,
        payment_id,
        amount,
        taken,
        reason,
        PaymentStatus(status),
        transaction_id,
        instant(created_at),
        actor,
        request_id,
        provider_id,
        failure,
        instant_or_none(settled_at),
        tries,
        instant_or_none(asked_at),
        instant_or_none(due_at),
    )
