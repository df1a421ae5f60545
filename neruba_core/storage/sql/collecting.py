"""Which invoices are collected, and when next: table, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table, and_, exists, func, or_, select

from neruba_core.instants import Instant
from neruba_core.payments.model import Collection
from neruba_core.storage.sql.bulk import upsert
from neruba_core.storage.sql.codec import instant_or_none, micros, row_of
from neruba_core.storage.sql.columns import METADATA, small, tenant, text, whole
from neruba_core.storage.sql.invoices import INVOICES
from neruba_core.storage.sql.money_in import METHODS, PAYMENTS
from neruba_core.storage.sql.payment_shapes import of_invoice
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.storage.sql.tenancy import PROJECTS

COLLECTIONS = Table(
    "neruba_collections",
    METADATA,
    text("project_id"),
    text("invoice_id"),
    small("tries"),
    whole("due_at", optional=True),
    PrimaryKeyConstraint("project_id", "invoice_id", name="neruba_collections_pk"),
    tenant("neruba_collections"),
    of_invoice("neruba_collections"),
    CheckConstraint("tries >= 0", name="neruba_collections_tries_ck"),
)

_PUT_COLLECTION = upsert(COLLECTIONS, "tries", "due_at")

_I, _L, _M, _P = INVOICES.c, COLLECTIONS.c, METHODS.c, PAYMENTS.c
_COLLECTABLE = (
    select(_I.project_id, _I.id)
    .join(METHODS, and_(_M.project_id == _I.project_id, _M.collects))
    .join(PROJECTS, and_(PROJECTS.c.id == _I.project_id, PROJECTS.c.archived_at.is_(None)))
    .outerjoin(COLLECTIONS, and_(_L.project_id == _I.project_id, _L.invoice_id == _I.id))
    .where(
        _I.state == "finalized",
        _I.paid_micros < _I.amount_due_micros,
        _I.kind != "credit_note",
        _I.disputed_micros == 0,
        ~exists().where(_P.project_id == _I.project_id, _P.invoice_id == _I.id, _P.status == "pending"),
    )
    .order_by(_I.project_id, _I.number)
)
_NEXT_COLLECTION = Query(
    _COLLECTABLE.with_only_columns(func.min(_L.due_at)).order_by(None).where(_L.due_at > given("after"))
)
_COLLECTION = Query(
    select(COLLECTIONS).where(_L.project_id == given("project_id"), _L.invoice_id == given("invoice_id"))
)
_COLLECTIONS_OF = Query(select(COLLECTIONS).where(_L.project_id == given("project_id")))


@frozen
class SqlCollecting(SqlStore):
    """The part of ``PaymentStore`` that is about collecting invoices."""

    def collectable(
        self, now: Instant, *, limit: int, project_id: str | None = None
    ) -> Sequence[tuple[str, str]]:
        query = _COLLECTABLE.where(or_(_L.invoice_id.is_(None), _L.due_at <= micros(now))).limit(limit)
        if project_id is not None:
            query = query.where(_I.project_id == project_id)
        return [(row[0], row[1]) for row in self._statements.rows(query)]

    def next_collection(self, after: Instant) -> Instant | None:
        (due_at,) = self._statements.ask_one(_NEXT_COLLECTION, after=micros(after))
        return instant_or_none(due_at)

    def collection(self, project_id: str, invoice_id: str) -> Collection | None:
        row = self._statements.ask_one(_COLLECTION, project_id=project_id, invoice_id=invoice_id)
        return None if row is None else _collection(row)

    def put_collection(self, collection: Collection) -> None:
        self._statements.write(_PUT_COLLECTION, [row_of(collection, _PUT_COLLECTION.columns)])

    def _export_collecting(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of this table."""
        for row in self._statements.ask(_COLLECTIONS_OF, project_id=project_id):
            yield "collections", _collection(row)


def _collection(row: Any) -> Collection:
    project_id, invoice_id, tries, due_at = row
    return Collection(project_id, invoice_id, tries, instant_or_none(due_at))
