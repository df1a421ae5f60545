"""What the tables around payments share: what their rows belong to, and how what is due is found."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, Table, func, select

from neruba_core.storage.sql.columns import reference, small, text, whole
from neruba_core.storage.sql.queries import Query, given


def of_payment(table: str) -> ForeignKeyConstraint:
    """Every row of *table* that names a payment names one of its project."""
    return _of(table, "payment", "neruba_payments")


def of_invoice(table: str) -> ForeignKeyConstraint:
    """Every row of *table* that names an invoice names one of its project."""
    return _of(table, "invoice", "neruba_invoices")


def of_transaction(table: str) -> ForeignKeyConstraint:
    """Every row of *table* that names a transaction names one of its project, which may be written later in
    the same unit."""
    return _of(table, "transaction", "neruba_transactions", deferred=True)


def answered() -> tuple[Column[Any], ...]:
    """What the provider calls it, why it failed, and when it was settled."""
    return (
        text("provider_id", optional=True),
        text("failure", optional=True),
        whole("settled_at", optional=True),
    )


def asked() -> tuple[Column[Any], ...]:
    """How often somebody set out to ask, since when, and when the next may."""
    return small("tries"), whole("asked_at", optional=True), whole("due_at", optional=True)


def due(table: Table) -> Query:
    """Project and id of what is due at *now*, longest due first."""
    columns = table.c
    return Query(
        select(columns.project_id, columns.id)
        .where(columns.due_at <= given("now"))
        .order_by(columns.due_at, columns.project_id, columns.id)
        .limit(given("most"))
    )


def next_due(table: Table) -> Query:
    """The first moment later than *after* at which something is due."""
    return Query(select(func.min(table.c.due_at)).where(table.c.due_at > given("after")))


def _of(table: str, name: str, target: str, *, deferred: bool = False) -> ForeignKeyConstraint:
    columns = ["project_id", f"{name}_id"]
    return reference(f"{table}_{name}_fk", columns, target, ["project_id", "id"], deferred=deferred)
