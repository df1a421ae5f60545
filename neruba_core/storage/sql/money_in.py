"""Payments, and how projects pay: tables, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, delete, select

from neruba_core.instants import Instant
from neruba_core.payments.model import Payment, PaymentMethod, PaymentStatus
from neruba_core.storage.sql.bulk import insert, update, upsert
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, row_of
from neruba_core.storage.sql.columns import METADATA, flag, one_of, tenant, text, whole
from neruba_core.storage.sql.payment_shapes import answered, asked, due, next_due, of_invoice, of_transaction
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore, below

PAYMENTS = Table(
    "neruba_payments",
    METADATA,
    text("project_id"),
    text("id"),
    text("provider"),
    whole("amount_micros"),
    text("status"),
    text("invoice_id", optional=True),
    text("reference", optional=True),
    whole("created_at"),
    text("actor"),
    text("request_id", optional=True),
    *answered(),
    text("transaction_id", optional=True),
    whole("granted_micros"),
    whole("refunded_micros"),
    whole("fee_micros"),
    text("customer", optional=True),
    text("method", optional=True),
    *asked(),
    whole("disputed_micros"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_payments_pk"),
    tenant("neruba_payments"),
    of_invoice("neruba_payments"),
    of_transaction("neruba_payments"),
    one_of("status", PaymentStatus, "neruba_payments_status_ck"),
    CheckConstraint(
        "amount_micros > 0 AND granted_micros BETWEEN 0 AND amount_micros "
        "AND refunded_micros >= 0 AND disputed_micros >= 0 "
        "AND refunded_micros + disputed_micros <= amount_micros AND fee_micros >= 0 AND tries >= 0",
        name="neruba_payments_amounts_ck",
    ),
    CheckConstraint(
        "(status = 'pending') = (settled_at IS NULL) "
        "AND (status = 'succeeded') = (transaction_id IS NOT NULL)",
        name="neruba_payments_settled_ck",
    ),
    CheckConstraint("status = 'pending' OR due_at IS NULL", name="neruba_payments_due_ck"),
    Index("neruba_payments_due_ix", "due_at"),
)

METHODS = Table(
    "neruba_payment_methods",
    METADATA,
    text("project_id"),
    text("provider"),
    text("customer"),
    text("method", optional=True),
    flag("collects"),
    whole("changed_at"),
    text("changed_by"),
    PrimaryKeyConstraint("project_id", name="neruba_payment_methods_pk"),
    tenant("neruba_payment_methods"),
)

_ADD_PAYMENT = insert(PAYMENTS)
_PUT_PAYMENT = update(
    PAYMENTS,
    "status",
    "provider_id",
    "failure",
    "settled_at",
    "transaction_id",
    "granted_micros",
    "refunded_micros",
    "fee_micros",
    "tries",
    "asked_at",
    "due_at",
    "disputed_micros",
)
_PUT_METHOD = upsert(METHODS, "provider", "customer", "method", "collects", "changed_at", "changed_by")

_P = PAYMENTS.c
_PAYMENT = Query(select(PAYMENTS).where(_P.project_id == given("project_id"), _P.id == given("payment_id")))
_PAYMENTS_OF = Query(select(PAYMENTS).where(_P.project_id == given("project_id")))
_DUE, _NEXT_DUE = due(PAYMENTS), next_due(PAYMENTS)
_METHOD = Query(select(METHODS).where(METHODS.c.project_id == given("project_id")))


@frozen
class SqlMoneyIn(SqlStore):
    """The part of ``PaymentStore`` that is about payments and methods."""

    def add_payment(self, payment: Payment) -> None:
        self._statements.write(_ADD_PAYMENT, [row_of(payment, _ADD_PAYMENT.columns)])

    def put_payment(self, payment: Payment) -> None:
        self._statements.write(_PUT_PAYMENT, [row_of(payment, _PUT_PAYMENT.columns)])

    def payment(self, project_id: str, payment_id: str) -> Payment | None:
        row = self._statements.ask_one(_PAYMENT, project_id=project_id, payment_id=payment_id)
        return None if row is None else _payment(row)

    def payments(
        self, project_id: str, *, limit: int, before: str | None, status: PaymentStatus | None = None
    ) -> Sequence[Payment]:
        query = select(PAYMENTS).where(_P.project_id == project_id, *below(_P.id, before))
        if status is not None:
            query = query.where(_P.status == status.value)
        return [_payment(row) for row in self._statements.rows(query.order_by(_P.id.desc()).limit(limit))]

    def due_payments(self, now: Instant, *, limit: int) -> Sequence[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._statements.ask(_DUE, now=micros(now), most=limit)]

    def next_due_payment(self, after: Instant) -> Instant | None:
        return instant_or_none(self._statements.ask_one(_NEXT_DUE, after=micros(after))[0])

    def put_method(self, method: PaymentMethod) -> None:
        self._statements.write(_PUT_METHOD, [row_of(method, _PUT_METHOD.columns)])

    def remove_method(self, project_id: str) -> None:
        self._statements.change(delete(METHODS).where(METHODS.c.project_id == project_id))

    def method(self, project_id: str) -> PaymentMethod | None:
        row = self._statements.ask_one(_METHOD, project_id=project_id)
        return None if row is None else _method(row)

    def _export_money_in(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        method = self.method(project_id)
        if method is not None:
            yield "payment_methods", method
        for row in self._statements.ask(_PAYMENTS_OF, project_id=project_id):
            yield "payments", _payment(row)


def _payment(row: Any) -> Payment:
    project_id, payment_id, provider, amount, status, invoice_id, reference, created_at, *rest = row
    actor, request_id, provider_id, failure, settled_at, transaction_id, granted, refunded, *rest = rest
    fee, customer, method, tries, asked_at, due_at, disputed = rest
    return Payment(
        project_id,
        payment_id,
        provider,
        amount,
        PaymentStatus(status),
        invoice_id,
        reference,
        instant(created_at),
        actor,
        request_id,
        provider_id,
        failure,
        instant_or_none(settled_at),
        transaction_id,
        granted,
        refunded,
        fee,
        customer,
        method,
        tries,
        instant_or_none(asked_at),
        instant_or_none(due_at),
        disputed,
    )


def _method(row: Any) -> PaymentMethod:
    project_id, provider, customer, method, collects, changed_at, changed_by = row
    return PaymentMethod(
        project_id, provider, customer, method, bool(collects), instant(changed_at), changed_by
    )
