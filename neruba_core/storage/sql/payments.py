"""Payments, refunds, allocations and corrections: tables, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import (
    CheckConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy import update as changing

from neruba_core.instants import Instant
from neruba_core.payments.model import (
    Allocation,
    AllocationKind,
    Collection,
    Correction,
    CorrectionKind,
    Dispute,
    DisputeStatus,
    EventState,
    Payment,
    PaymentMethod,
    PaymentStatus,
    ProviderEvent,
    Refund,
)
from neruba_core.storage.sql.bulk import insert, update
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, micros_or_none
from neruba_core.storage.sql.columns import METADATA, flag, one_of, reference, small, tenant, text, whole
from neruba_core.storage.sql.invoices import INVOICES
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore, below
from neruba_core.storage.sql.tenancy import PROJECTS

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
    text("provider_id", optional=True),
    text("failure", optional=True),
    whole("settled_at", optional=True),
    text("transaction_id", optional=True),
    whole("granted_micros"),
    whole("refunded_micros"),
    whole("fee_micros"),
    text("customer", optional=True),
    text("method", optional=True),
    small("tries"),
    whole("asked_at", optional=True),
    whole("due_at", optional=True),
    whole("disputed_micros"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_payments_pk"),
    tenant("neruba_payments"),
    reference(
        "neruba_payments_invoice_fk", ["project_id", "invoice_id"], "neruba_invoices", ["project_id", "id"]
    ),
    reference(
        "neruba_payments_transaction_fk",
        ["project_id", "transaction_id"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
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
    text("provider_id", optional=True),
    text("failure", optional=True),
    whole("settled_at", optional=True),
    small("tries"),
    whole("asked_at", optional=True),
    whole("due_at", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_refunds_pk"),
    tenant("neruba_refunds"),
    reference(
        "neruba_refunds_payment_fk", ["project_id", "payment_id"], "neruba_payments", ["project_id", "id"]
    ),
    reference(
        "neruba_refunds_transaction_fk",
        ["project_id", "transaction_id"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
    one_of("status", PaymentStatus, "neruba_refunds_status_ck"),
    CheckConstraint(
        "amount_micros > 0 AND taken_micros BETWEEN 0 AND amount_micros AND tries >= 0",
        name="neruba_refunds_amounts_ck",
    ),
    CheckConstraint("status = 'pending' OR due_at IS NULL", name="neruba_refunds_due_ck"),
    Index("neruba_refunds_due_ix", "due_at"),
    Index("neruba_refunds_payment_ix", "project_id", "payment_id", "id"),
)

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
    reference(
        "neruba_allocations_transaction_fk",
        ["project_id", "transaction_id"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
    reference(
        "neruba_allocations_invoice_fk",
        ["project_id", "invoice_id"],
        "neruba_invoices",
        ["project_id", "id"],
    ),
    reference(
        "neruba_allocations_payment_fk",
        ["project_id", "payment_id"],
        "neruba_payments",
        ["project_id", "id"],
    ),
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
    reference(
        "neruba_corrections_invoice_fk",
        ["project_id", "invoice_id"],
        "neruba_invoices",
        ["project_id", "id"],
    ),
    reference(
        "neruba_corrections_transaction_fk",
        ["project_id", "transaction_id"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
    one_of("kind", CorrectionKind, "neruba_corrections_kind_ck"),
    CheckConstraint(
        "number > 0 AND amount_micros > 0 AND tax_micros BETWEEN 0 AND amount_micros "
        "AND settled_micros BETWEEN 0 AND amount_micros",
        name="neruba_corrections_amounts_ck",
    ),
    Index("neruba_corrections_invoice_ix", "project_id", "invoice_id", "id"),
)

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
    reference(
        "neruba_disputes_payment_fk", ["project_id", "payment_id"], "neruba_payments", ["project_id", "id"]
    ),
    reference(
        "neruba_disputes_transaction_fk",
        ["project_id", "transaction_id"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
    one_of("status", DisputeStatus, "neruba_disputes_status_ck"),
    CheckConstraint(
        "amount_micros > 0 AND taken_micros BETWEEN 0 AND amount_micros "
        "AND fee_micros >= 0 AND fee_back_micros >= 0",
        name="neruba_disputes_amounts_ck",
    ),
    CheckConstraint("(status = 'open') = (closed_at IS NULL)", name="neruba_disputes_closed_ck"),
    Index("neruba_disputes_payment_ix", "project_id", "payment_id", "id"),
)

COLLECTIONS = Table(
    "neruba_collections",
    METADATA,
    text("project_id"),
    text("invoice_id"),
    small("tries"),
    whole("due_at", optional=True),
    PrimaryKeyConstraint("project_id", "invoice_id", name="neruba_collections_pk"),
    tenant("neruba_collections"),
    reference(
        "neruba_collections_invoice_fk",
        ["project_id", "invoice_id"],
        "neruba_invoices",
        ["project_id", "id"],
    ),
    CheckConstraint("tries >= 0", name="neruba_collections_tries_ck"),
)

EVENTS = Table(
    "neruba_provider_events",
    METADATA,
    text("id"),
    text("provider"),
    text("event_id"),
    text("type"),
    text("subject_id", optional=True),
    text("payload"),
    whole("received_at"),
    text("state"),
    small("tries"),
    whole("due_at", optional=True),
    whole("ended_at", optional=True),
    text("failure", optional=True),
    text("project_id", optional=True),
    text("payment_id", optional=True),
    PrimaryKeyConstraint("id", name="neruba_provider_events_pk"),
    UniqueConstraint("provider", "event_id", name="neruba_provider_events_event_uq"),
    one_of("state", EventState, "neruba_provider_events_state_ck"),
    CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="neruba_provider_events_due_ck"),
    Index("neruba_provider_events_due_ix", "due_at"),
    Index("neruba_provider_events_state_ix", "state", "id"),
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
_ADD_DISPUTE = insert(DISPUTES)
_PUT_DISPUTE = update(DISPUTES, "taken_micros", "status", "fee_micros", "closed_at", "fee_back_micros")
_PUT_COLLECTION = insert(
    COLLECTIONS,
    ending=(
        "ON CONFLICT (project_id, invoice_id) DO UPDATE SET tries = excluded.tries, due_at = excluded.due_at"
    ),
)
_ADD_EVENT = insert(EVENTS, ending="ON CONFLICT (provider, event_id) DO NOTHING")
_PUT_METHOD = insert(
    METHODS,
    ending=(
        "ON CONFLICT (project_id) DO UPDATE SET provider = excluded.provider, customer = excluded.customer, "
        "method = excluded.method, collects = excluded.collects, changed_at = excluded.changed_at, "
        "changed_by = excluded.changed_by"
    ),
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
_ADD_ALLOCATIONS = insert(ALLOCATIONS)
_ADD_CORRECTION = insert(CORRECTIONS)

_P, _R, _A, _C = PAYMENTS.c, REFUNDS.c, ALLOCATIONS.c, CORRECTIONS.c
_PAYMENT = Query(select(PAYMENTS).where(_P.project_id == given("project_id"), _P.id == given("payment_id")))
_PAYMENTS_OF = Query(select(PAYMENTS).where(_P.project_id == given("project_id")))
_DUE = Query(
    select(_P.project_id, _P.id)
    .where(_P.due_at <= given("now"))
    .order_by(_P.due_at, _P.project_id, _P.id)
    .limit(given("most"))
)
_METHOD = Query(select(METHODS).where(METHODS.c.project_id == given("project_id")))
_REFUND = Query(select(REFUNDS).where(_R.project_id == given("project_id"), _R.id == given("refund_id")))
_DUE_REFUNDS = Query(
    select(_R.project_id, _R.id)
    .where(_R.due_at <= given("now"))
    .order_by(_R.due_at, _R.project_id, _R.id)
    .limit(given("most"))
)
_REFUNDS = Query(
    select(REFUNDS)
    .where(_R.project_id == given("project_id"), _R.payment_id == given("payment_id"))
    .order_by(_R.id)
)
_REFUNDS_OF = Query(select(REFUNDS).where(_R.project_id == given("project_id")))
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
    select(CORRECTIONS)
    .where(_C.project_id == given("project_id"), _C.invoice_id == given("invoice_id"))
    .order_by(_C.id)
)
_CORRECTIONS_OF = Query(select(CORRECTIONS).where(_C.project_id == given("project_id")))
_I, _L, _M = INVOICES.c, COLLECTIONS.c, METHODS.c
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
_D, _E = DISPUTES.c, EVENTS.c
_DISPUTES = Query(
    select(DISPUTES)
    .where(_D.project_id == given("project_id"), _D.payment_id == given("payment_id"))
    .order_by(_D.id)
)
_DISPUTES_OF = Query(select(DISPUTES).where(_D.project_id == given("project_id")))
_EVENT = Query(select(EVENTS).where(_E.id == given("event_id")))
_DUE_EVENTS = Query(
    select(EVENTS).where(_E.due_at <= given("now")).order_by(_E.due_at, _E.id).limit(given("most"))
)
_LAST_CORRECTION = Query(
    select(func.max(_C.number)).where(_C.project_id == given("project_id"), _C.kind == given("kind"))
)


@frozen
class SqlPayments(SqlStore):
    """``PaymentStore`` within one unit."""

    def add_payment(self, payment: Payment) -> None:
        self._statements.write(_ADD_PAYMENT, [_payment_row(payment)])

    def put_payment(self, payment: Payment) -> None:
        row = (
            payment.status.value,
            payment.provider_id,
            payment.failure,
            micros_or_none(payment.settled_at),
            payment.transaction_id,
            payment.granted_micros,
            payment.refunded_micros,
            payment.fee_micros,
            payment.tries,
            micros_or_none(payment.asked_at),
            micros_or_none(payment.due_at),
            payment.disputed_micros,
            payment.project_id,
            payment.id,
        )
        self._statements.write(_PUT_PAYMENT, [row])

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

    def put_method(self, method: PaymentMethod) -> None:
        row = (
            method.project_id,
            method.provider,
            method.customer,
            method.method,
            method.collects,
            micros(method.changed_at),
            method.changed_by,
        )
        self._statements.write(_PUT_METHOD, [row])

    def remove_method(self, project_id: str) -> None:
        self._statements.change(delete(METHODS).where(METHODS.c.project_id == project_id))

    def method(self, project_id: str) -> PaymentMethod | None:
        row = self._statements.ask_one(_METHOD, project_id=project_id)
        return None if row is None else _method(row)

    def add_refund(self, refund: Refund) -> None:
        row = (
            refund.project_id,
            refund.id,
            refund.payment_id,
            refund.amount_micros,
            refund.taken_micros,
            refund.reason,
            refund.status.value,
            refund.transaction_id,
            micros(refund.created_at),
            refund.actor,
            refund.request_id,
            refund.provider_id,
            refund.failure,
            micros_or_none(refund.settled_at),
            refund.tries,
            micros_or_none(refund.asked_at),
            micros_or_none(refund.due_at),
        )
        self._statements.write(_ADD_REFUND, [row])

    def put_refund(self, refund: Refund) -> None:
        row = (
            refund.taken_micros,
            refund.status.value,
            refund.provider_id,
            refund.failure,
            micros_or_none(refund.settled_at),
            refund.tries,
            micros_or_none(refund.asked_at),
            micros_or_none(refund.due_at),
            refund.project_id,
            refund.id,
        )
        self._statements.write(_PUT_REFUND, [row])

    def refund(self, project_id: str, refund_id: str) -> Refund | None:
        row = self._statements.ask_one(_REFUND, project_id=project_id, refund_id=refund_id)
        return None if row is None else _refund(row)

    def due_refunds(self, now: Instant, *, limit: int) -> Sequence[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._statements.ask(_DUE_REFUNDS, now=micros(now), most=limit)]

    def refunds(self, project_id: str, payment_id: str) -> Sequence[Refund]:
        rows = self._statements.ask(_REFUNDS, project_id=project_id, payment_id=payment_id)
        return [_refund(row) for row in rows]

    def add_allocations(self, allocations: Sequence[Allocation]) -> None:
        rows = [
            (
                each.project_id,
                each.transaction_id,
                each.invoice_id,
                each.subject_id,
                each.kind.value,
                each.micros,
                each.payment_id,
            )
            for each in allocations
        ]
        self._statements.write(_ADD_ALLOCATIONS, rows)

    def allocations_of_payment(self, project_id: str, payment_id: str) -> Sequence[Allocation]:
        rows = self._statements.ask(_OF_PAYMENT, project_id=project_id, payment_id=payment_id)
        return [_allocation(row) for row in rows]

    def allocations_of_invoice(self, project_id: str, invoice_id: str) -> Sequence[Allocation]:
        rows = self._statements.ask(_OF_INVOICE, project_id=project_id, invoice_id=invoice_id)
        return [_allocation(row) for row in rows]

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
        row = (
            collection.project_id,
            collection.invoice_id,
            collection.tries,
            micros_or_none(collection.due_at),
        )
        self._statements.write(_PUT_COLLECTION, [row])

    def add_dispute(self, dispute: Dispute) -> None:
        row = (
            dispute.project_id,
            dispute.id,
            dispute.payment_id,
            dispute.provider_id,
            dispute.amount_micros,
            dispute.taken_micros,
            dispute.reason,
            dispute.status.value,
            dispute.transaction_id,
            micros(dispute.created_at),
            dispute.fee_micros,
            micros_or_none(dispute.closed_at),
            dispute.fee_back_micros,
        )
        self._statements.write(_ADD_DISPUTE, [row])

    def put_dispute(self, dispute: Dispute) -> None:
        row = (
            dispute.taken_micros,
            dispute.status.value,
            dispute.fee_micros,
            micros_or_none(dispute.closed_at),
            dispute.fee_back_micros,
            dispute.project_id,
            dispute.id,
        )
        self._statements.write(_PUT_DISPUTE, [row])

    def disputes(self, project_id: str, payment_id: str) -> Sequence[Dispute]:
        rows = self._statements.ask(_DISPUTES, project_id=project_id, payment_id=payment_id)
        return [_dispute(row) for row in rows]

    def add_event(self, event: ProviderEvent) -> bool:
        row = (
            event.id,
            event.provider,
            event.event_id,
            event.type,
            event.subject_id,
            event.payload,
            micros(event.received_at),
            event.state.value,
            event.tries,
            micros_or_none(event.due_at),
            micros_or_none(event.ended_at),
            event.failure,
            event.project_id,
            event.payment_id,
        )
        return self._statements.write(_ADD_EVENT, [row]) == 1

    def event(self, event_id: str) -> ProviderEvent | None:
        row = self._statements.ask_one(_EVENT, event_id=event_id)
        return None if row is None else _event(row)

    def put_event(self, event: ProviderEvent, *, tries: int) -> bool:
        query = (
            changing(EVENTS)
            .where(_E.id == event.id, _E.tries == tries)
            .values(
                state=event.state.value,
                tries=event.tries,
                due_at=micros_or_none(event.due_at),
                ended_at=micros_or_none(event.ended_at),
                failure=event.failure,
                project_id=event.project_id,
                payment_id=event.payment_id,
            )
        )
        return self._statements.change(query) == 1

    def due_events(self, now: Instant, *, limit: int) -> Sequence[ProviderEvent]:
        return [_event(row) for row in self._statements.ask(_DUE_EVENTS, now=micros(now), most=limit)]

    def events(
        self, *, limit: int, before: str | None, state: EventState | None = None
    ) -> Sequence[ProviderEvent]:
        query = select(EVENTS).where(*below(_E.id, before))
        if state is not None:
            query = query.where(_E.state == state.value)
        return [_event(row) for row in self._statements.rows(query.order_by(_E.id.desc()).limit(limit))]

    def add_correction(self, correction: Correction) -> None:
        row = (
            correction.project_id,
            correction.id,
            correction.kind.value,
            correction.number,
            correction.invoice_id,
            correction.amount_micros,
            correction.tax_micros,
            correction.settled_micros,
            correction.reason,
            correction.transaction_id,
            micros(correction.created_at),
            correction.actor,
            correction.request_id,
        )
        self._statements.write(_ADD_CORRECTION, [row])

    def corrections(self, project_id: str, invoice_id: str) -> Sequence[Correction]:
        rows = self._statements.ask(_CORRECTIONS, project_id=project_id, invoice_id=invoice_id)
        return [_correction(row) for row in rows]

    def last_correction(self, project_id: str, kind: CorrectionKind) -> int:
        (number,) = self._statements.ask_one(_LAST_CORRECTION, project_id=project_id, kind=kind.value)
        return number or 0

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        method = self.method(project_id)
        if method is not None:
            yield "payment_methods", method
        for row in self._statements.ask(_PAYMENTS_OF, project_id=project_id):
            yield "payments", _payment(row)
        for row in self._statements.ask(_REFUNDS_OF, project_id=project_id):
            yield "refunds", _refund(row)
        for row in self._statements.ask(_ALLOCATIONS_OF, project_id=project_id):
            yield "allocations", _allocation(row)
        for row in self._statements.ask(_COLLECTIONS_OF, project_id=project_id):
            yield "collections", _collection(row)
        for row in self._statements.ask(_DISPUTES_OF, project_id=project_id):
            yield "disputes", _dispute(row)
        for row in self._statements.ask(_CORRECTIONS_OF, project_id=project_id):
            yield "corrections", _correction(row)


def _payment_row(payment: Payment) -> tuple[Any, ...]:
    return (
        payment.project_id,
        payment.id,
        payment.provider,
        payment.amount_micros,
        payment.status.value,
        payment.invoice_id,
        payment.reference,
        micros(payment.created_at),
        payment.actor,
        payment.request_id,
        payment.provider_id,
        payment.failure,
        micros_or_none(payment.settled_at),
        payment.transaction_id,
        payment.granted_micros,
        payment.refunded_micros,
        payment.fee_micros,
        payment.customer,
        payment.method,
        payment.tries,
        micros_or_none(payment.asked_at),
        micros_or_none(payment.due_at),
        payment.disputed_micros,
    )


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


def _allocation(row: Any) -> Allocation:
    project_id, transaction_id, invoice_id, subject_id, kind, micros_, payment_id = row
    return Allocation(
        project_id, transaction_id, invoice_id, subject_id, AllocationKind(kind), micros_, payment_id
    )


def _collection(row: Any) -> Collection:
    project_id, invoice_id, tries, due_at = row
    return Collection(project_id, invoice_id, tries, instant_or_none(due_at))


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


def _event(row: Any) -> ProviderEvent:
    event_id, provider, their_id, type_, subject_id, payload, received_at, state, *rest = row
    tries, due_at, ended_at, failure, project_id, payment_id = rest
    return ProviderEvent(
        event_id,
        provider,
        their_id,
        type_,
        subject_id,
        payload,
        instant(received_at),
        EventState(state),
        tries,
        instant_or_none(due_at),
        instant_or_none(ended_at),
        failure,
        project_id,
        payment_id,
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
