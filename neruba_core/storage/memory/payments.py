"""Payments and what came of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, evolve, field

from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice, InvoiceKind
from neruba_core.payments.model import (
    Allocation,
    Collection,
    Correction,
    CorrectionKind,
    Dispute,
    EventState,
    Payment,
    PaymentMethod,
    PaymentStatus,
    ProviderEvent,
    Refund,
)
from neruba_core.storage.memory.invoices import InvoiceTables
from neruba_core.storage.memory.ledger import MemoryLedger
from neruba_core.storage.memory.tables import EVERYONE, DuplicateKey, Table, Undo
from neruba_core.storage.memory.tenancy import MemoryTenancy


@define(eq=False)
class PaymentTables:
    """By project and id; allocations by project, transaction, invoice and subject."""

    payments: Table[str, Payment] = field(factory=Table)
    methods: Table[str, PaymentMethod] = field(factory=Table)
    refunds: Table[str, Refund] = field(factory=Table)
    allocations: Table[tuple[str, str, str], Allocation] = field(factory=Table)
    corrections: Table[str, Correction] = field(factory=Table)
    disputes: Table[str, Dispute] = field(factory=Table)
    collections: Table[str, Collection] = field(factory=Table)
    events: Table[str, ProviderEvent] = field(factory=Table)
    event_ids: Table[tuple[str, str], str] = field(factory=Table)


@define(eq=False)
class MemoryPayments:
    """``PaymentStore`` within one unit."""

    _tables: PaymentTables
    _undo: Undo
    _ledger: MemoryLedger
    _invoices: InvoiceTables
    _tenancy: MemoryTenancy

    def add_payment(self, payment: Payment) -> None:
        self._ledger.need_lock(payment.project_id)
        self._tables.payments.add(self._undo, payment.project_id, payment.id, payment)

    def put_payment(self, payment: Payment) -> None:
        self._ledger.need_lock(payment.project_id)
        current = self.payment(payment.project_id, payment.id)
        if current is None:
            return
        changed = evolve(
            current,
            status=payment.status,
            provider_id=payment.provider_id,
            failure=payment.failure,
            settled_at=payment.settled_at,
            transaction_id=payment.transaction_id,
            granted_micros=payment.granted_micros,
            refunded_micros=payment.refunded_micros,
            fee_micros=payment.fee_micros,
            tries=payment.tries,
            asked_at=payment.asked_at,
            due_at=payment.due_at,
            disputed_micros=payment.disputed_micros,
        )
        self._tables.payments.replace(self._undo, payment.project_id, payment.id, changed)

    def payment(self, project_id: str, payment_id: str) -> Payment | None:
        return self._tables.payments.get(project_id, payment_id)

    def payments(
        self, project_id: str, *, limit: int, before: str | None, status: PaymentStatus | None = None
    ) -> Sequence[Payment]:
        def wanted(payment: Payment) -> bool:
            return status is None or payment.status is status

        return self._tables.payments.page(project_id, limit=limit, before=before, wanted=wanted)

    def due_payments(self, now: Instant, *, limit: int) -> Sequence[tuple[str, str]]:
        return _due(self._tables.payments, now, limit)

    def next_due_payment(self, after: Instant) -> Instant | None:
        return _next_due(self._tables.payments, after)

    def put_method(self, method: PaymentMethod) -> None:
        self._tables.methods.put(self._undo, method.project_id, method.project_id, method)

    def remove_method(self, project_id: str) -> None:
        self._tables.methods.remove(self._undo, project_id, project_id)

    def method(self, project_id: str) -> PaymentMethod | None:
        return self._tables.methods.get(project_id, project_id)

    def add_refund(self, refund: Refund) -> None:
        self._ledger.need_lock(refund.project_id)
        self._tables.refunds.add(self._undo, refund.project_id, refund.id, refund)

    def put_refund(self, refund: Refund) -> None:
        self._ledger.need_lock(refund.project_id)
        current = self.refund(refund.project_id, refund.id)
        if current is None:
            return
        changed = evolve(
            current,
            taken_micros=refund.taken_micros,
            status=refund.status,
            provider_id=refund.provider_id,
            failure=refund.failure,
            settled_at=refund.settled_at,
            tries=refund.tries,
            asked_at=refund.asked_at,
            due_at=refund.due_at,
        )
        self._tables.refunds.replace(self._undo, refund.project_id, refund.id, changed)

    def refund(self, project_id: str, refund_id: str) -> Refund | None:
        return self._tables.refunds.get(project_id, refund_id)

    def due_refunds(self, now: Instant, *, limit: int) -> Sequence[tuple[str, str]]:
        return _due(self._tables.refunds, now, limit)

    def next_due_refund(self, after: Instant) -> Instant | None:
        return _next_due(self._tables.refunds, after)

    def pending_refunds(self, project_id: str) -> Sequence[Refund]:
        found = self._tables.refunds.ascending(project_id)
        return tuple(refund for refund in found if refund.status is PaymentStatus.PENDING)

    def refunds(self, project_id: str, payment_id: str) -> Sequence[Refund]:
        found = self._tables.refunds.ascending(project_id)
        return tuple(refund for refund in found if refund.payment_id == payment_id)

    def add_allocations(self, allocations: Sequence[Allocation]) -> None:
        for each in allocations:
            self._ledger.need_lock(each.project_id)
            key = (each.transaction_id, each.invoice_id, each.subject_id)
            self._tables.allocations.add(self._undo, each.project_id, key, each)

    def allocations_of_payment(self, project_id: str, payment_id: str) -> Sequence[Allocation]:
        found = self._tables.allocations.ascending(project_id)
        return tuple(each for each in found if each.payment_id == payment_id)

    def allocations_of_invoice(self, project_id: str, invoice_id: str) -> Sequence[Allocation]:
        found = self._tables.allocations.ascending(project_id)
        return tuple(each for each in found if each.invoice_id == invoice_id)

    def collectable(
        self, now: Instant, *, limit: int, project_id: str | None = None
    ) -> Sequence[tuple[str, str]]:
        found = []
        for scope in sorted(self._tables.methods.scopes()) if project_id is None else (project_id,):
            invoices = [each for each in self._to_collect(scope) if self._is_due(each, now)]
            found += sorted(invoices, key=lambda each: each.number or 0)
        return tuple((each.project_id, each.id) for each in found[:limit])

    def next_collection(self, after: Instant) -> Instant | None:
        known = [
            self.collection(scope, invoice.id)
            for scope in self._tables.methods.scopes()
            for invoice in self._to_collect(scope)
        ]
        moments = [each.due_at for each in known if each is not None and each.due_at is not None]
        return min((moment for moment in moments if moment > after), default=None)

    def _to_collect(self, project_id: str) -> list[Invoice]:
        """The invoices that are collected at some time."""
        method, project = self.method(project_id), self._tenancy.project(project_id)
        if method is None or not method.collects or project is None or project.archived_at is not None:
            return []
        return [each for each in self._invoices.invoices.ascending(project_id) if self._is_collected(each)]

    def _is_due(self, invoice: Invoice, now: Instant) -> bool:
        known = self.collection(invoice.project_id, invoice.id)
        return known is None or (known.due_at is not None and known.due_at <= now)

    def _is_collected(self, invoice: Invoice) -> bool:
        if invoice.open_micros <= 0 or invoice.disputed_micros or invoice.kind is InvoiceKind.CREDIT_NOTE:
            return False
        return not any(
            payment.invoice_id == invoice.id and payment.status is PaymentStatus.PENDING
            for payment in self._tables.payments.ascending(invoice.project_id)
        )

    def collection(self, project_id: str, invoice_id: str) -> Collection | None:
        return self._tables.collections.get(project_id, invoice_id)

    def put_collection(self, collection: Collection) -> None:
        self._ledger.need_lock(collection.project_id)
        self._tables.collections.put(self._undo, collection.project_id, collection.invoice_id, collection)

    def add_dispute(self, dispute: Dispute) -> None:
        self._ledger.need_lock(dispute.project_id)
        for each in self._tables.disputes.ascending(dispute.project_id):
            if each.provider_id == dispute.provider_id:
                raise DuplicateKey(f"{each.provider_id!r} is there as {each.id!r}")
        self._tables.disputes.add(self._undo, dispute.project_id, dispute.id, dispute)

    def put_dispute(self, dispute: Dispute) -> None:
        self._ledger.need_lock(dispute.project_id)
        current = self._tables.disputes.get(dispute.project_id, dispute.id)
        if current is None:
            return
        changed = evolve(
            current,
            taken_micros=dispute.taken_micros,
            status=dispute.status,
            fee_micros=dispute.fee_micros,
            closed_at=dispute.closed_at,
            fee_back_micros=dispute.fee_back_micros,
        )
        self._tables.disputes.replace(self._undo, dispute.project_id, dispute.id, changed)

    def disputes(self, project_id: str, payment_id: str) -> Sequence[Dispute]:
        found = self._tables.disputes.ascending(project_id)
        return tuple(each for each in found if each.payment_id == payment_id)

    def add_event(self, event: ProviderEvent) -> bool:
        key = (event.provider, event.event_id)
        if self._tables.event_ids.get(EVERYONE, key) is not None:
            return False
        self._tables.event_ids.add(self._undo, EVERYONE, key, event.id)
        self._tables.events.add(self._undo, EVERYONE, event.id, event)
        return True

    def event(self, event_id: str) -> ProviderEvent | None:
        return self._tables.events.get(EVERYONE, event_id)

    def put_event(self, event: ProviderEvent, *, tries: int) -> bool:
        current = self.event(event.id)
        if current is None or current.tries != tries:
            return False
        changed = evolve(
            current,
            state=event.state,
            tries=event.tries,
            due_at=event.due_at,
            ended_at=event.ended_at,
            failure=event.failure,
            project_id=event.project_id,
            payment_id=event.payment_id,
        )
        self._tables.events.replace(self._undo, EVERYONE, event.id, changed)
        return True

    def due_events(self, now: Instant, *, limit: int) -> Sequence[ProviderEvent]:
        due = [
            (each.due_at, each.id, each)
            for each in self._tables.events.ascending(EVERYONE)
            if each.due_at is not None and each.due_at <= now
        ]
        return tuple(event for _, _, event in sorted(due, key=lambda one: one[:2])[:limit])

    def next_due_event(self, after: Instant) -> Instant | None:
        return _next_due(self._tables.events, after)

    def events(
        self, *, limit: int, before: str | None, state: EventState | None = None
    ) -> Sequence[ProviderEvent]:
        def wanted(event: ProviderEvent) -> bool:
            return state is None or event.state is state

        return self._tables.events.page(EVERYONE, limit=limit, before=before, wanted=wanted)

    def add_correction(self, correction: Correction) -> None:
        self._ledger.need_lock(correction.project_id)
        for each in self._tables.corrections.ascending(correction.project_id):
            if (each.kind, each.number) == (correction.kind, correction.number):
                raise DuplicateKey(f"number {correction.number} is taken by {each.id!r}")
        self._tables.corrections.add(self._undo, correction.project_id, correction.id, correction)

    def corrections(self, project_id: str, invoice_ids: Iterable[str]) -> Sequence[Correction]:
        wanted, found = set(invoice_ids), self._tables.corrections.ascending(project_id)
        return tuple(each for each in found if each.invoice_id in wanted)

    def last_correction(self, project_id: str, kind: CorrectionKind) -> int:
        found = self._tables.corrections.ascending(project_id)
        return max((each.number for each in found if each.kind is kind), default=0)


def _next_due(
    table: Table[str, Payment] | Table[str, Refund] | Table[str, ProviderEvent], after: Instant
) -> Instant | None:
    moments = (row.due_at for scope in table.scopes() for row in table.ascending(scope))
    return min((each for each in moments if each is not None and each > after), default=None)


def _due(
    table: Table[str, Payment] | Table[str, Refund], now: Instant, limit: int
) -> tuple[tuple[str, str], ...]:
    due = [
        (row.due_at, row.project_id, row.id)
        for scope in table.scopes()
        for row in table.ascending(scope)
        if row.due_at is not None and row.due_at <= now
    ]
    return tuple((project_id, row_id) for _, project_id, row_id in sorted(due)[:limit])
